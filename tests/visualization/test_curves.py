import re

import numpy as np
import pytest
from mmengine.config import Config
from PIL import Image

from cda_mmseg.visualization.curves import (
    find_warm_start_end,
    group_training_names,
    plot_domain_curves,
    plot_training_curves,
    split_losses,
)
from cda_mmseg.visualization.figures import COLORS, GREY, inline_svg, save_figure
from cda_mmseg.visualization.html import HEAD
from cda_mmseg.visualization.run_log import RunLog, Series


def series(values, step=100):
    return Series(np.arange(step, step * len(values) + 1, step), np.array(values, dtype=float))


def make_run(name, target=(10, 30, 20), source=(20, 40, 60), **training):
    validation = {'source/mIoU': series(source)}
    if target:
        validation['target/mIoU'] = series(target)
    return RunLog(name, {key.replace('__', '.'): series(values, 10) for key, values in training.items()}, validation)


def lines_by_label(axes):
    return {line.get_label(): line for line in axes.lines if not line.get_label().startswith('_')}


def legend_texts(figure):
    return [text.get_text() for legend in figure.legends for text in legend.get_texts()]


def test_curves_show_the_logged_numbers(tmp_path):
    runs = [make_run('source only'), make_run('adapted', target=(11, 12, 33))]
    figure = plot_domain_curves(runs, warm_start_end=150)
    for axes, domain in zip(figure.axes, ('target', 'source'), strict=True):
        assert axes.get_title() == domain
        lines = lines_by_label(axes)
        for run, color in zip(runs, COLORS, strict=False):
            np.testing.assert_array_equal(lines[run.name].get_xdata(), [100, 200, 300])
            np.testing.assert_array_equal(lines[run.name].get_ydata(), run.validation[f'{domain}/mIoU'].values)
            assert lines[run.name].get_color() == color
        assert [list(line.get_xdata()) for line in axes.lines if line.get_linestyle() == '--'] == [[150, 150]]
    stars, squares = (
        [
            [(line.get_xdata()[0], line.get_ydata()[0]) for line in axes.lines if line.get_marker() == marker]
            for axes in figure.axes
        ]
        for marker in '*s'
    )
    # On the source the star stays at the step that the target's labels chose.
    assert stars == [[(200, 30), (300, 33)], [(200, 40), (300, 60)]]
    assert squares == [[(300, 20), (300, 33)], [(300, 60), (300, 60)]]
    assert 'oracle: chosen by target labels' in legend_texts(figure)
    assert 'source only: last 20.0, oracle 30.0 at 200' in legend_texts(figure)
    files = save_figure(figure, tmp_path / 'new' / 'curves.v1')
    assert [file.name for file in files] == ['curves.v1.png', 'curves.v1.svg', 'curves.v1.pdf']
    assert np.array(Image.open(files[0]).convert('L')).std() > 10
    assert 'chosen by target labels' in files[1].read_text()
    assert files[2].read_bytes().startswith(b'%PDF')


def test_a_target_without_labels_has_a_source_curve_and_no_oracle():
    figure = plot_domain_curves([make_run('bare', target=None)], source_note='seen in training')
    assert figure.axes[1].get_title() == 'source (seen in training)'
    assert [text.get_text() for text in figure.axes[0].texts] == ['no labels, no score']
    assert list(lines_by_label(figure.axes[1])) == ['bare']
    assert not any(line.get_marker() == '*' for axes in figure.axes for line in axes.lines)
    assert legend_texts(figure) == ['last snapshot', 'bare']


def test_runs_beyond_the_colours_are_dashed():
    figure = plot_domain_curves([make_run(f'run {index}') for index in range(len(COLORS) + 2)])
    lines = lines_by_label(figure.axes[0])
    looks = {(line.get_color(), line.get_linestyle()) for line in lines.values()}
    assert len(looks) == len(COLORS) + 2
    assert lines[f'run {len(COLORS)}'].get_linestyle() == '--'


def test_a_score_that_nobody_logged_is_refused():
    with pytest.raises(ValueError, match='no run has logged target/mIoU16 or source/mIoU16: a, b'):
        plot_domain_curves([make_run('a'), make_run('b')], score='mIoU16')


def test_training_curves_show_the_logged_numbers():
    values = dict(
        loss=[3, 2, 1],
        decode__loss_ce=[2, 1, 0.5],
        decode__acc_seg=[1, 2, 3],
        discriminator__loss=[0.7, 0.6, 0.5],
        discriminator__accuracy=[0.5, 0.6, 0.7],
    )
    runs = [make_run('a', **values), make_run('b', decode__loss_ce=[5, 4, 3])]
    figure = plot_training_curves(runs, warm_start_end=15)
    titles = [axes.get_title() for axes in figure.axes]
    assert titles == ['decode losses', 'discriminator losses', 'discriminator accuracy', '']
    decode, _, accuracy = figure.axes[:3]
    assert [line.get_ydata().tolist() for line in decode.lines if line.get_alpha()] == [[2, 1, 0.5], [5, 4, 3]]
    assert list(lines_by_label(decode)) == ['a: decode.loss_ce', 'b: decode.loss_ce']
    assert accuracy.get_ylim() == (0, 1)
    chance = {axes.get_title(): lines_by_label(axes) for axes in figure.axes}
    assert chance['discriminator accuracy']['chance: .5'].get_ydata() == [0.5, 0.5]
    assert chance['discriminator losses']['chance: 4 ln 2'].get_ydata() == pytest.approx([2.7726, 2.7726], abs=1e-4)
    assert all([15, 15] in [list(line.get_xdata()) for line in axes.lines] for axes in figure.axes[:3])


def test_strong_lines_are_running_means():
    values = np.random.default_rng(0).normal(size=100)
    figure = plot_training_curves([make_run('a', loss=values)])
    (line,) = lines_by_label(figure.axes[0]).values()
    # Windows of 5 values, away from the ends.
    expected = np.convolve(values, np.full(5, 0.2), mode='valid')
    np.testing.assert_allclose(line.get_ydata()[2:-2], expected)


def test_values_that_are_nan_spoil_no_others():
    values = [5.0, np.nan, 1.0, *[1.0] * 40]
    (line,) = lines_by_label(plot_training_curves([make_run('a', loss=values)]).axes[0]).values()
    assert len(line.get_xdata()) == 42 and np.isfinite(line.get_ydata()).all()


def test_seeds_of_one_name_share_colour_and_legend():
    runs = [make_run('a', loss=[2, 1]), make_run('a', target=(1, 2, 24), loss=[4, 1]), make_run('b', loss=[3, 1])]
    figure = plot_domain_curves(runs)
    entries = [text for text in legend_texts(figure) if text[:2] in ('a:', 'b:')]
    assert entries == ['a: last 22.0 ± 2.8, oracle 27.0 ± 4.2 (2 runs)', 'b: last 20.0, oracle 30.0 at 200']
    curves = [line.get_color() for line in figure.axes[0].lines if len(line.get_xdata()) == 3]
    assert curves == [COLORS[0], COLORS[0], COLORS[1]]
    losses = plot_training_curves(runs).axes[0]
    assert [line.get_color() for line in losses.lines if line.get_alpha()] == curves
    assert list(lines_by_label(losses)) == ['a: loss', 'b: loss']
    assert [line.get_ydata().tolist() for line in losses.lines if line.get_alpha()] == [[2, 1], [4, 1], [3, 1]]


def test_losses_of_a_warm_start_have_axes_of_their_own():
    run = make_run('a', lr=[1, 1, 1], decode__loss_seg=[3, 2, 40])  # logged at 10, 20, 30
    loss = dict(type='WarmStartLoss', warm=dict(type='SoftmaxCrossEntropyLoss'), main=dict(type='ConservativeLoss'))
    config = Config(dict(model=dict(decode_head=dict(loss_decode=loss)), train_cfg=dict(max_iters=40)))
    split = split_losses(run, config)
    assert {name: series.values.tolist() for name, series in split.training.items()} == {
        'decode.SoftmaxCrossEntropyLoss': [3, 2],
        'decode.ConservativeLoss': [40],
        'lr': [1, 1, 1],
    }
    titles = [axes.get_title() for axes in plot_training_curves([split]).axes]
    assert titles == ['decode, SoftmaxCrossEntropyLoss', 'decode, ConservativeLoss']
    config.model.decode_head.loss_decode = dict(type='FocalLoss')
    assert list(split_losses(run, config).training) == ['decode.FocalLoss', 'lr']
    config.model.decode_head.loss_decode = [loss, loss]
    assert split_losses(run, config) is run


def test_a_run_has_its_colour_where_others_log_nothing():
    figure = plot_training_curves([make_run('a', decode__loss=[1, 2]), make_run('b', aux__loss=[1, 2])])
    colors = {label: line.get_color() for axes in figure.axes for label, line in lines_by_label(axes).items()}
    assert colors == {'a: decode.loss': COLORS[0], 'b: aux.loss': COLORS[1]}


def contrast(one, other):
    """WCAG 2.2's ratio of two colours '#rrggbb'."""

    def luminance(color):
        parts = np.array([int(color[place : place + 2], 16) / 255 for place in (1, 3, 5)])
        return np.where(parts <= 0.04045, parts / 12.92, ((parts + 0.055) / 1.055) ** 2.4) @ (0.2126, 0.7152, 0.0722)

    low, high = sorted((luminance(one), luminance(other)))
    return (high + 0.05) / (low + 0.05)


def test_what_stands_in_pages_can_be_read_in_light_and_dark():
    bar = re.search(r'--bar: light-dark\((#\w+), (#\w+)\)', HEAD)
    assert contrast(bar[1], '#000000') >= 4.5 and contrast(bar[2], '#ffffff') >= 4.5
    svg = inline_svg(plot_domain_curves([make_run('a', target=None)], warm_start_end=15))
    assert GREY not in svg and '#808080' in svg
    assert min(contrast('#808080', '#ffffff'), contrast('#808080', '#121212')) >= 3.9


def test_figures_in_pages_take_on_the_colour_of_the_text():
    svg = inline_svg(plot_domain_curves([make_run('a')]))
    assert svg.startswith('<svg fill="currentColor"') and '#000000' not in svg and '#dddddd' not in svg
    assert inline_svg(plot_domain_curves([make_run('a')])) == svg


def test_nothing_to_plot_is_refused():
    with pytest.raises(ValueError, match='no loss and no discriminator accuracy among the logged values: lr'):
        plot_training_curves([make_run('a', lr=[1, 1])])


def test_names_are_grouped_by_player():
    names = ['encoder.lr', 'loss', 'decode.loss_ce', 'aux.loss_ce', 'generator.loss_l1', 'discriminator.accuracy']
    assert group_training_names(names) == {
        'decode losses': ['decode.loss_ce'],
        'aux losses': ['aux.loss_ce'],
        'generator losses': ['generator.loss_l1'],
        'discriminator accuracy': ['discriminator.accuracy'],
    }
    assert group_training_names(['loss', 'lr']) == {'losses': ['loss']}


@pytest.mark.parametrize(
    ('fraction', 'max_iters', 'end'),
    [({}, 100, 50), (dict(warm_fraction=0.55), 100, 55), (dict(warm_fraction=0.3), 7, 3)],
)
def test_the_end_of_the_warm_start_is_read_from_the_config(fraction, max_iters, end):
    loss = dict(type='WarmStartLoss', warm=dict(type='A'), main=dict(type='B'), **fraction)
    config = Config(
        dict(model=dict(decode_head=dict(loss_decode=[dict(type='C'), loss])), train_cfg=dict(max_iters=max_iters))
    )
    assert find_warm_start_end(config) == end
    config.model.decode_head.loss_decode = dict(type='C')
    assert find_warm_start_end(config) is None
