"""Draw the players of a built model, with what really passes between them (after Fig. 2 of the paper)."""

from typing import TYPE_CHECKING

import numpy as np

from cda_mmseg.paper.pipeline_views import PipelineViews
from cda_mmseg.visualization.figures import COLORS, STYLE, new_figure

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

# As in the paper: red for the source, blue for the target.
DOMAIN_COLORS = {'source': COLORS[1], 'target': COLORS[0]}
_GREY = '#444444'

# The figure's own coordinates: columns of pictures and boxes, and one lane per domain.
_WIDTH, _HEIGHT = 100.0, 52.0
_PICTURE_WIDTH = 15.0
_IMAGE_X, _ENCODER_X, _MIDDLE_X, _RIGHT_X, _JUDGE_X = 8.5, 27.0, 46.0, 65.5, 91.5
_LANES = {'source': 39.0, 'target': 16.0}
_DISCRIMINATOR_X = 78.5
_OFFSET = 5.6


def plot_pipeline(views: PipelineViews) -> 'Figure':
    """Draw the pipeline.

    Args:
        views (PipelineViews): What passes through the model.

    Returns:
        Figure: One axes; its images are, for source and target: image, prediction, labels (source only),
        reconstruction, judgement.
    """
    figure = new_figure(7.6, 7.6 * _HEIGHT / _WIDTH)
    from matplotlib import rc_context

    with rc_context(STYLE):
        axes = figure.subplots()
        axes.set(xlim=(0, _WIDTH), ylim=(0, _HEIGHT), aspect='equal')
        axes.set_axis_off()
        sizes = [' × '.join(map(str, size)) for size in views.embedding]
        encoder = ['E', views.networks['encoder'].replace(', ', '\n'), _count(views, 'encoder')]
        _draw_box(axes, _ENCODER_X, sum(_LANES.values()) / 2, 12, 35, '\n'.join([*encoder, '', 'embedding', *sizes]))
        for domain, lane in _LANES.items():
            _draw_lane(axes, views, domain, lane)
        _draw_cross_update(axes)
        axes.text(_WIDTH / 2, 0, _caption(views), ha='center', va='bottom', fontsize=7)
    return figure


def _draw_lane(axes: 'Axes', views: PipelineViews, domain: str, lane: float) -> None:
    """Draw one domain's way through the players."""
    color, parts = DOMAIN_COLORS[domain], views.domains[domain]
    upper, lower = lane + _OFFSET, lane - _OFFSET
    half_picture, half_box = _PICTURE_WIDTH / 2 + 0.2, 3.7
    _draw_picture(axes, parts.image, _IMAGE_X, lane, color, f'{domain} image')
    _draw_arrow(axes, (_IMAGE_X + half_picture, lane), (_ENCODER_X - 6.2, lane), color)

    _draw_box(axes, _MIDDLE_X, upper, 7, 6, 'S')
    _draw_arrow(axes, (_ENCODER_X + 6.2, upper), (_MIDDLE_X - half_box, upper), color)
    _draw_picture(axes, parts.prediction, _RIGHT_X, upper, color, 'prediction')
    _draw_arrow(axes, (_MIDDLE_X + half_box, upper), (_RIGHT_X - half_picture, upper), color)
    if parts.labels is not None:
        _draw_picture(axes, parts.labels, _JUDGE_X, upper, color, 'labels')
        _draw_arrow(axes, (_JUDGE_X - half_picture, upper), (_RIGHT_X + half_picture, upper), _GREY, '<->')
        axes.text((_RIGHT_X + _JUDGE_X) / 2, upper + 0.8, views.loss, ha='center', va='bottom', fontsize=6)

    _draw_box(axes, _MIDDLE_X, lower, 7, 6, f'G\n{_count(views, "generator")}')
    _draw_arrow(axes, (_ENCODER_X + 6.2, lower), (_MIDDLE_X - half_box, lower), color)
    _draw_picture(axes, parts.reconstruction, _RIGHT_X, lower, color, 'reconstruction')
    _draw_arrow(axes, (_MIDDLE_X + half_box, lower), (_RIGHT_X - half_picture, lower), color)
    _draw_box(axes, _DISCRIMINATOR_X, lower, 7, 6, f'D$_{{{domain[0]}}}$')
    _draw_arrow(axes, (_RIGHT_X + half_picture, lower), (_DISCRIMINATOR_X - half_box, lower), color)
    _draw_picture(axes, parts.judgement, _JUDGE_X, lower, color, "'real', by patch")
    _draw_arrow(axes, (_DISCRIMINATOR_X + half_box, lower), (_JUDGE_X - half_picture, lower), color)


def _draw_cross_update(axes: 'Axes') -> None:
    """Draw whom the encoder's update asks: the other domain's discriminator."""
    for domain, other, up in (('source', 'target', -1), ('target', 'source', 1)):
        start = (_RIGHT_X + _PICTURE_WIDTH / 2 - 1, _LANES[domain] - _OFFSET + up * 4.2)
        end = (_DISCRIMINATOR_X, _LANES[other] - _OFFSET - up * 3.4)
        _draw_arrow(axes, start, end, DOMAIN_COLORS[domain], '->', '--')


def _caption(views: PipelineViews) -> str:
    """Say what each player's update asks for (paper §3.4)."""
    return (
        f'1. D ({views.networks["discriminator"]}): own images are real, reconstructions are not.   '
        f"2. G ({views.networks['generator']}): own D says 'real', L1 to the image.\n"
        f"3. E: the other domain's D says 'real' (dashed), {views.loss} on the source.   S: upsampling and softmax."
    )


def _count(views: PipelineViews, player: str) -> str:
    """Write a number of weights."""
    return f'{views.parameters[player] / 1e6:.1f} M'


def _draw_picture(axes: 'Axes', picture: np.ndarray, x: float, y: float, color: str, title: str) -> None:
    """Draw a picture with a frame in the domain's colour."""
    from matplotlib.patches import Rectangle

    height = _PICTURE_WIDTH * picture.shape[0] / picture.shape[1]
    left, right, bottom, top = x - _PICTURE_WIDTH / 2, x + _PICTURE_WIDTH / 2, y - height / 2, y + height / 2
    style = dict(cmap='gray', vmin=0, vmax=1) if picture.ndim == 2 else {}
    axes.imshow(picture, extent=(left, right, bottom, top), interpolation='nearest', zorder=2, **style)
    axes.add_patch(
        Rectangle((left, bottom), _PICTURE_WIDTH, height, fill=False, edgecolor=color, linewidth=1.2, zorder=3)
    )
    axes.text(x, top + 0.5, title, ha='center', va='bottom', fontsize=6.5, color=color)


def _draw_box(axes: 'Axes', x: float, y: float, width: float, height: float, text: str) -> None:
    """Draw a player."""
    from matplotlib.patches import FancyBboxPatch

    axes.add_patch(
        FancyBboxPatch(
            (x - width / 2, y - height / 2),
            width,
            height,
            boxstyle='round,pad=0.2,rounding_size=0.8',
            facecolor='#eeeeee',
            edgecolor=_GREY,
            linewidth=0.8,
            zorder=4,
        )
    )
    axes.text(x, y, text, ha='center', va='center', fontsize=7, zorder=5)


def _draw_arrow(
    axes: 'Axes',
    start: tuple[float, float],
    end: tuple[float, float],
    color: str,
    style: str = '->',
    line: str = '-',
) -> None:
    """Draw an arrow."""
    properties = dict(arrowstyle=style, color=color, linewidth=1.2, linestyle=line, shrinkA=0, shrinkB=0)
    axes.annotate('', end, start, arrowprops=properties)
