"""Evaluate the segmentation losses as functions of the labelled class's probability."""

from typing import NamedTuple

import numpy as np
import torch
from scipy.integrate import solve_ivp
from scipy.optimize import brentq
from scipy.special import expit, logit

from cda_mmseg.models.losses import PixelLoss

# Log-odds beyond these are probabilities that float64 cannot tell from 0 and 1.
_EXTREME_LOG_ODDS = 36.0


class LossCurve(NamedTuple):
    """A loss, ``loss_weight`` included, over the probability of the labelled class.

    Attributes:
        probability (np.ndarray): p_t in (0, 1), float64, shape (n,).
        value (np.ndarray): The loss, shape (n,).
        gradient (np.ndarray): What training uses as derivative with respect to the labelled class's score, shape (n,).
    """

    probability: np.ndarray
    value: np.ndarray
    gradient: np.ndarray


def evaluate_loss(loss: PixelLoss, probability: np.ndarray) -> LossCurve:
    """Run a loss forward and backward, one pixel of two classes per probability.

    Args:
        probability (np.ndarray): p_t in (0, 1), shape (n,).

    Returns:
        LossCurve: Value and gradient in float64.
    """
    labelled = torch.from_numpy(logit(np.asarray(probability, dtype=np.float64)))
    scores = torch.stack([labelled, torch.zeros_like(labelled)])[None].requires_grad_()
    values = loss(scores, torch.zeros(1, len(labelled), dtype=torch.long), reduction_override='none')
    values.sum().backward()
    return LossCurve(np.asarray(probability), values.detach()[0].numpy(), scores.grad[0, 0].numpy())


def find_probability(loss: PixelLoss, value: float) -> float:
    """Find where a loss that falls with p_t takes a value.

    Args:
        loss (PixelLoss): The loss, monotone in p_t.

    Returns:
        float: p_t in (0, 1).

    Raises:
        ValueError: If the loss never takes the value.
    """
    end = _EXTREME_LOG_ODDS
    return float(expit(brentq(lambda x: evaluate_loss(loss, expit([x])).value[0] - value, -end, end, xtol=1e-12)))


def low_loss_range(loss: PixelLoss, limit: float = 0.1) -> tuple[float, float]:
    """Find the probabilities whose loss is small in magnitude (Lemma 2 of the paper).

    Args:
        loss (PixelLoss): The loss, monotone in p_t.
        limit (float): Small is below this.

    Returns:
        tuple[float, float]: Lowest and highest p_t with ``|loss| < limit``; their difference is the share of p_t in
        (0, 1) that has a small loss.
    """
    return find_probability(loss, limit), find_probability(loss, -limit)


def follow_descent(loss: PixelLoss, start: float, times: np.ndarray) -> np.ndarray:
    """Let one pixel's labelled score flow down the gradient that training uses, all other scores fixed.

    Args:
        start (float): p_t at time 0, in (0, 1).
        times (np.ndarray): Increasing times from 0, in units of learning rate times steps, shape (n,).

    Returns:
        np.ndarray: p_t at these times, shape (n,).
    """
    flow = solve_ivp(
        lambda _, log_odds: -evaluate_loss(loss, expit(np.minimum(log_odds, _EXTREME_LOG_ODDS))).gradient,
        (times[0], times[-1]),
        [logit(start)],
        t_eval=times,
        rtol=1e-6,
        atol=1e-9,
    )
    return expit(flow.y[0])
