"""Draw the losses: Fig. 3 and Fig. 5 of the paper, Lemma 2, and what the paper does not show."""

import math
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING

import numpy as np
from scipy.special import expit

from cda_mmseg.models.losses import (
    ConservativeLoss,
    CubicLoss,
    PiecewiseCubicLoss,
    PixelLoss,
    SoftmaxCrossEntropyLoss,
    SoftmaxFocalLoss,
)
from cda_mmseg.paper.loss_curves import evaluate_loss, find_probability, follow_descent, low_loss_range
from cda_mmseg.visualization.figures import COLORS, STYLE, new_figure

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

BASES = {'2': 2.0, 'e': math.e, '3': 3.0, '4': 4.0}
READINGS = ('literal', 'reversed', 'weighted')
NUM_CLASSES = 19

# Colour alone is lost in grey print.
_STYLES = ('-', '--', '-.', ':', (0, (5, 1, 1, 1, 1, 1)))
_POINTS = 400


def _probabilities() -> np.ndarray:
    """Spread points over (0, 1), dense at both ends, where the losses are steep."""
    return expit(np.linspace(-7.5, 7.5, _POINTS))


def _mark_axes(axes: 'Axes', ylabel: str) -> None:
    axes.axhline(0, color='#666666', linewidth=0.8)
    axes.set(xlim=(0, 1), xlabel='probability of the labelled class, $p_t$', ylabel=ylabel)


def _draw_losses(axes: 'Axes', losses: Mapping[str, PixelLoss], attribute: str = 'value', sign: int = 1) -> None:
    """Draw values or gradients of losses over p_t."""
    for (name, loss), color, style in zip(losses.items(), COLORS, _STYLES, strict=False):
        curve = evaluate_loss(loss, _probabilities())
        axes.plot(
            curve.probability, sign * getattr(curve, attribute), linestyle=style, color=color, linewidth=1.6, label=name
        )


def plot_bases() -> 'Figure':
    """Plot the Conservative Loss for several a (Fig. 3 of the paper).

    Returns:
        Figure: One axes; one line per a, labelled ``a = …``, and a dot at p_t = 1/a on each.
    """
    losses = {f'$a$ = {name}': ConservativeLoss(base=base, loss_weight=1.0) for name, base in BASES.items()}

    def draw(figure: 'Figure') -> None:
        axes = figure.subplots()
        _mark_axes(axes, r'Conservative Loss, $\lambda$ = 1')
        _draw_losses(axes, losses)
        for base, color in zip(BASES.values(), COLORS, strict=False):
            axes.plot(1 / base, 0, 'o', color=color, markersize=4, zorder=3)
        axes.set_ylim(-6, 10)
        axes.annotate(
            'zero at 1/$a$', (0.5, 0.1), (0.5, 2.6), ha='center', arrowprops=dict(arrowstyle='->', color='#444444')
        )
        axes.legend(title='base of the logarithm', loc='upper right')

    return _styled(draw, 3.6, 2.9)


def plot_classification_losses() -> 'Figure':
    """Plot cross entropy, focal loss and Conservative Loss, each at the paper's weights (Fig. 5 of the paper).

    Returns:
        Figure: One axes with three lines.
    """
    losses = {
        'cross entropy': SoftmaxCrossEntropyLoss(),
        r'focal loss, $\alpha$ = 5, $\gamma$ = 2': SoftmaxFocalLoss(),
        r'Conservative Loss, $a$ = e, $\lambda$ = 5': ConservativeLoss(),
    }

    def draw(figure: 'Figure') -> None:
        axes = figure.subplots()
        _mark_axes(axes, 'loss')
        _draw_losses(axes, losses)
        axes.set_ylim(-15, 15)
        axes.legend(loc='upper right')

    return _styled(draw, 3.6, 2.9)


def plot_cubic_losses() -> 'Figure':
    """Plot the cubics of Table 6 (Eq. 4 to 6) beside the Conservative Loss.

    Returns:
        Figure: One axes with four lines.
    """
    losses = {
        'Conservative Loss': ConservativeLoss(),
        'Loss$_1$, zero at 1/2': CubicLoss(0.5),
        'Loss$_2$, zero at 1/e': CubicLoss(1 / math.e),
        'Loss$_3$, piecewise': PiecewiseCubicLoss(),
    }

    def draw(figure: 'Figure') -> None:
        axes = figure.subplots()
        _mark_axes(axes, 'loss')
        _draw_losses(axes, losses)
        axes.set_ylim(-28, 20)
        axes.legend(loc='upper right')

    return _styled(draw, 3.6, 2.9)


def plot_readings() -> 'Figure':
    """Plot what gradient descent does to the labelled class's score, for the three readings of the Conservative Loss.

    Returns:
        Figure: Axes 0 over p_t, axes 1 over the log-odds of the labelled class on a scale that is linear near 0 and
        logarithmic beyond. Each has a line per reading at a = e, λ = 1, and the cross entropy.
    """
    losses: dict[str, PixelLoss] = {
        f'CL, {reading}': ConservativeLoss(loss_weight=1.0, gradient=reading) for reading in READINGS
    }
    losses['cross entropy'] = SoftmaxCrossEntropyLoss()

    def draw(figure: 'Figure') -> None:
        left, right = figure.subplots(1, 2)
        _mark_axes(left, r'push on the score, $-\partial\,$loss$\,/\,\partial z_t$')
        _draw_losses(left, losses, 'gradient', sign=-1)
        left.set(ylim=(-2.2, 4))
        left.annotate('raises $p_t$', (0.97, 3.7), ha='right', va='top', color='#444444')
        left.annotate('lowers $p_t$', (0.97, -2.05), ha='right', va='bottom', color='#444444')
        log_odds = np.linspace(-14, 14, _POINTS)
        right.axhline(0, color='#666666', linewidth=0.8)
        for loss, color, style in zip(losses.values(), COLORS, _STYLES, strict=False):
            right.plot(log_odds, -evaluate_loss(loss, expit(log_odds)).gradient, linestyle=style, color=color)
        right.set_yscale('asinh', linear_width=0.1)
        right.set(
            xlim=(-14, 14),
            ylim=(-200, 200),
            xlabel=r'log-odds of the labelled class, $\ln\,(p_t / (1 - p_t))$',
            ylabel='the same, compressed scale',
            yticks=[-100, -10, -1, -0.1, 0, 0.1, 1, 10, 100],
            yticklabels=['−100', '−10', '−1', '−0.1', '0', '0.1', '1', '10', '100'],
        )
        right.minorticks_off()
        for axes, place in ((left, 1 / math.e), (right, math.log(1 / (math.e - 1)))):
            axes.axvline(place, color='#666666', linewidth=0.8, linestyle=':')
        left.annotate('$p_t$ = 1/e', (1 / math.e + 0.015, 3.7), va='top', color='#444444')
        figure.legend(handles=left.lines[1:5], loc='outside lower center', ncols=4)

    return _styled(draw, 7.2, 3.2)


def plot_descent() -> 'Figure':
    """Plot where gradient descent takes a pixel's probability, for the three readings.

    Returns:
        Figure: One axes per reading; a line per start, over the time in learning rate times steps.
    """
    times = np.concatenate([[0.0], np.geomspace(0.01, 1000, 120)])

    def draw(figure: 'Figure') -> None:
        panels = figure.subplots(1, len(READINGS), sharey=True)
        for panel, reading in zip(panels, READINGS, strict=True):
            loss = ConservativeLoss(loss_weight=1.0, gradient=reading)
            for start, color, style in zip((0.05, 0.34, 0.4, 0.9), COLORS, _STYLES, strict=False):
                path = follow_descent(loss, start, times)
                panel.plot(times[1:], path[1:], linestyle=style, color=color, linewidth=1.6, label=f'{start:g}')
            panel.axhline(1 / math.e, color='#666666', linewidth=0.8, linestyle=':')
            panel.set(title=reading, xscale='log', xlim=(times[1], times[-1]), ylim=(0, 1.02), xlabel='rate × steps')
        panels[0].set_ylabel('$p_t$ of one pixel')
        panels[0].annotate('$p_t$ = 1/e', (700, 1 / math.e - 0.03), ha='right', va='top', color='#444444')
        figure.legend(
            handles=panels[0].lines[:4], title='$p_t$ at the start', loc='outside right center', handlelength=2.5
        )

    return _styled(draw, 7.2, 2.5)


def plot_low_loss_ranges(limit: float = 0.1) -> 'Figure':
    """Plot for which probabilities the Conservative Loss is small (Lemma 2 of the paper).

    Args:
        limit (float): Small is below this in magnitude, at λ = 1.

    Returns:
        Figure: Axes 0 the losses around 0, axes 1 a bar per a from the lowest to the highest such p_t, labelled with
        the share.
    """
    losses = {f'$a$ = {name}': ConservativeLoss(base=base, loss_weight=1.0) for name, base in BASES.items()}

    def draw(figure: 'Figure') -> None:
        top, bottom = figure.subplots(2, 1, sharex=True, height_ratios=(1.5, 1))
        top.axhspan(-limit, limit, color='#000000', alpha=0.08, linewidth=0)
        _mark_axes(top, r'loss, $\lambda$ = 1')
        _draw_losses(top, losses)
        top.set(ylim=(-0.5, 0.5), xlabel='')
        top.legend(loc='upper right')
        for row, (loss, color) in enumerate(zip(losses.values(), COLORS, strict=False)):
            low, high = low_loss_range(loss, limit)
            bottom.barh(row, high - low, left=low, height=0.6, color=color)
            bottom.text(high + 0.015, row, f'{100 * (high - low):.1f} %', va='center')
        bottom.set_yticks(range(len(losses)), list(losses))
        bottom.invert_yaxis()
        bottom.set(xlim=(0, 1), xlabel=f'$p_t$ with |loss| < {limit:g}')
        bottom.grid(False, axis='y')
        bottom.set_axisbelow(True)

    return _styled(draw, 3.6, 3.8)


def plot_clamp_trap(bound: float = 10.0, loss_weight: float = 5.0) -> 'Figure':
    """Plot the gradient that a clamp leaves, before λ and after it.

    Args:
        bound (float): The clamp's bound.
        loss_weight (float): λ.

    Returns:
        Figure: One axes with a line for each order; where it is 0 nothing trains. The dotted line is the probability
        that a fresh network of 19 classes begins with.
    """
    # A bound on λ·CL is a bound of 1/λ times that on CL.
    losses = {
        f'CL clamped to ±{bound:g}, then λ': ConservativeLoss(loss_weight=loss_weight, clamp=bound),
        f'λ·CL clamped to ±{bound:g}': ConservativeLoss(loss_weight=loss_weight, clamp=bound / loss_weight),
    }

    unbounded = ConservativeLoss(loss_weight=loss_weight)

    def draw(figure: 'Figure') -> None:
        axes = figure.subplots()
        _mark_axes(axes, r'push on the score, $-\partial\,$loss$\,/\,\partial z_t$')
        for (name, loss), color, style in zip(losses.items(), COLORS, _STYLES, strict=False):
            # Points on both sides of each edge, so that the cliffs are upright.
            edges = [find_probability(unbounded, sign * loss.clamp * loss_weight) for sign in (1, -1)]
            near = [edge * factor for edge in edges for factor in (1 - 1e-6, 1 + 1e-6) if edge * factor < 1]
            curve = evaluate_loss(loss, np.sort(np.concatenate([_probabilities(), near])))
            axes.plot(curve.probability, -curve.gradient, linestyle=style, color=color, linewidth=1.6, label=name)
        start = 1 / NUM_CLASSES
        axes.axvline(start, color='#666666', linewidth=0.8, linestyle=':')
        axes.set_ylim(-1, 45)
        axes.annotate(
            'a fresh network of\n19 classes: $p_t$ = 1/19',
            (start, 34),
            (0.16, 32),
            va='center',
            arrowprops=dict(arrowstyle='->', color='#444444'),
        )
        axes.legend(loc='upper right')

    return _styled(draw, 3.6, 2.9)


def _styled(draw: Callable[['Figure'], None], width: float, height: float) -> 'Figure':
    """Draw with the project's style."""
    figure = new_figure(width, height)
    from matplotlib import rc_context

    with rc_context(STYLE):
        draw(figure)
    return figure


LOSS_FIGURES: Mapping[str, Callable[[], 'Figure']] = {
    'fig3': plot_bases,
    'fig5': plot_classification_losses,
    'cubics': plot_cubic_losses,
    'readings': plot_readings,
    'descent': plot_descent,
    'lemma2': plot_low_loss_ranges,
    'clamp': plot_clamp_trap,
}
"""Name of a figure → what draws it."""
