import json
import math

import numpy as np
import pytest
from mmengine.hooks import Hook
from mmengine.runner import Runner

from cda_mmseg.visualization.run_log import Point, read_run_log


def write_launch(work_dir, timestamp, records, tail=''):
    folder = work_dir / timestamp / 'vis_data'
    folder.mkdir(parents=True)
    text = ''.join(json.dumps(record) + '\n' for record in records)
    (folder / 'scalars.json').write_text(text + tail)


def train(step, **values):
    return dict(values, iter=step, step=step)


def validate(step, **values):
    return {**{f'target/{name}': value for name, value in values.items()}, 'time': 0.1, 'step': step}


def as_dict(series):
    return dict(zip(series.steps.tolist(), series.values.tolist(), strict=True))


class Recorder(Hook):
    """Keep what every validation returned and every training iteration lost."""

    def __init__(self):
        self.scores, self.losses = {}, {}

    def after_val_epoch(self, runner, metrics=None):
        self.scores[runner.iter] = metrics

    def after_train_iter(self, runner, batch_idx, data_batch=None, outputs=None):
        self.losses[runner.iter + 1] = float(outputs['loss'])


def launch(config, work_dir, max_iters, lr, resume):
    config = config.copy()
    dataset = config.val_dataloader.dataset.datasets[1]
    config.merge_from_dict(
        dict(
            work_dir=str(work_dir),
            experiment_name=f'{work_dir.name}-{resume}',
            resume=resume,
            randomness=dict(seed=0),
            train_dataloader=dict(batch_size=2, sampler=dict(type='InfiniteSampler'), dataset=dataset),
            train_cfg=dict(type='IterBasedTrainLoop', max_iters=max_iters, val_interval=2),
            optim_wrapper=dict(type='OptimWrapper', optimizer=dict(type='SGD', lr=lr)),
            val_cfg=dict(type='ValLoop'),
            val_evaluator=dict(type='DomainIoUMetric', class_lists=dict(few=['road', 'sky'])),
            log_processor=dict(type='DomainLogProcessor', by_epoch=False, window_size=1),
            default_hooks=dict(
                logger=dict(type='LoggerHook', interval=1, log_metric_by_epoch=False),
                # Only the checkpoint at 3 exists when the second launch resumes.
                checkpoint=dict(type='CheckpointHook', by_epoch=False, interval=2 if resume else 3, save_last=False),
            ),
            visualizer=dict(type='SegLocalVisualizer', vis_backends=[dict(type='LocalVisBackend')]),
        )
    )
    recorder = Recorder()
    runner = Runner.from_cfg(config)
    runner.register_hook(recorder)
    runner.train()
    return recorder


@pytest.fixture
def resumed_run(make_config, tmp_path):
    """Train five iterations, of which the last two are lost, and resume at three with another learning rate."""
    config = make_config(type='EncoderDecoder')
    first = launch(config, tmp_path / 'run', max_iters=5, lr=0.1, resume=False)
    second = launch(config, tmp_path / 'run', max_iters=6, lr=1.0, resume=True)
    return tmp_path / 'run', first, second


def test_a_resumed_run_reads_as_one(resumed_run):
    work_dir, first, second = resumed_run
    assert sorted(first.losses) == [1, 2, 3, 4, 5]
    assert sorted(second.losses) == [4, 5, 6]
    run = read_run_log(work_dir)
    assert run.name == 'run'
    scores = first.scores | second.scores
    assert sorted(scores) == [2, 4, 5, 6]
    # The validation at 5 belongs to the five iterations that were thrown away.
    del scores[5]
    for name in second.scores[6]:
        assert as_dict(run.validation[name]) == pytest.approx(
            {step: values[name] for step, values in scores.items()}, nan_ok=True
        )
    assert as_dict(run.training['loss']) == pytest.approx(first.losses | second.losses)
    assert run.last('target/few') == Point(6, pytest.approx(second.scores[6]['target/few']))


def test_later_launches_supersede(tmp_path):
    write_launch(
        tmp_path,
        '20250101_000000',
        [train(10, loss=1), validate(10, mIoU=1), train(20, loss=2), validate(20, mIoU=2), train(30, loss=3)],
    )
    write_launch(tmp_path, '20250101_000100', [train(20, loss=20), validate(20, mIoU=20)])
    # Evaluated once more without training: nothing else of the run is lost.
    write_launch(tmp_path, '20250101_000200', [validate(20, mIoU=21)])
    run = read_run_log(tmp_path, name='mine')
    assert run.name == 'mine'
    assert as_dict(run.training['loss']) == {10: 1, 20: 20}
    assert as_dict(run.validation['target/mIoU']) == {10: 1, 20: 21}
    assert 'step' not in run.training
    assert 'iter' not in run.training


def test_last_best_and_at(tmp_path):
    write_launch(
        tmp_path, 'launch', [validate(step, mIoU=value) for step, value in [(1, math.nan), (3, 7.5), (5, 7.5), (6, 2)]]
    )
    run = read_run_log(tmp_path)
    assert run.last('target/mIoU') == (6, 2)
    assert run.best('target/mIoU') == (3, 7.5)
    assert run.at('target/mIoU', 5) == 7.5
    assert run.at('target/mIoU', 4) is None
    assert run.last('source/mIoU') is None
    assert run.best('source/mIoU') is None
    assert run.at('source/mIoU', 5) is None


def test_a_score_that_is_never_a_number_has_no_best(tmp_path):
    write_launch(tmp_path, 'launch', [validate(1, mIoU=math.nan)])
    assert read_run_log(tmp_path).best('target/mIoU') is None


def test_the_half_written_line_of_a_killed_process_is_ignored(tmp_path):
    write_launch(tmp_path, 'launch', [train(1, loss=1)], tail='{"loss": 0.')
    np.testing.assert_array_equal(read_run_log(tmp_path / 'launch/vis_data/scalars.json').training['loss'].values, [1])


@pytest.mark.parametrize(
    ('tail', 'message'),
    [('{"loss": 0.\n{"loss": 1, "step": 2}\n', 'line 2 is not JSON'), ('{"loss": 1}\n', 'line 2 is not a record')],
)
def test_broken_lines_are_named(tmp_path, tail, message):
    write_launch(tmp_path, 'launch', [train(1, loss=1)], tail=tail)
    with pytest.raises(ValueError, match=rf'scalars.json, {message}'):
        read_run_log(tmp_path)


def test_a_folder_without_logs_is_named(tmp_path):
    with pytest.raises(FileNotFoundError, match=f'{tmp_path} has no'):
        read_run_log(tmp_path)
