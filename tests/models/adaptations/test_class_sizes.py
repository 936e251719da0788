"""Class-size constraints against SciPy's solution of the dual problem and a plain step."""

import numpy as np
import pytest
import torch
from mmengine.registry import init_default_scope
from scipy.optimize import minimize

from benchmarks.naive_methods import PlainClassSizes
from cda_mmseg.models.adaptations.class_sizes import constrained, size_limits
from tests.models.adaptations.plain_step import config, train, train_plainly
from tests.models.segmentors.tiny_model import build, double_precision
from tests.models.segmentors.trained import differences

init_default_scope('mmseg')
SLACK = 2.0


def solve(log_shares, lower, upper, slack=SLACK):
    """Maximise the dual of min KL(q || p) with a library; q of one picture, (C, P)."""
    classes = len(lower)
    limited = np.isfinite(upper)

    def negative_dual(values):
        up, down = values[:classes], values[classes:]
        scores = log_shares + (up - down)[:, None]
        normaliser = np.logaddexp.reduce(scores, axis=0)
        means = np.exp(scores - normaliser).mean(1)
        highest = np.where(limited, upper, 0)
        value = up @ lower - down @ highest - normaliser.mean()
        return -value, -np.concatenate([lower - means, np.where(limited, means - highest, -1)])

    bounds = [(0, slack)] * classes + [(0, None)] * classes
    found = minimize(
        negative_dual,
        np.zeros(2 * classes),
        jac=True,
        bounds=bounds,
        options=dict(maxiter=9999, ftol=1e-16, gtol=1e-11),
    )
    scores = log_shares + (found.x[:classes] - found.x[classes:])[:, None]
    return np.exp(scores - np.logaddexp.reduce(scores, axis=0))


def limits_for(shares):
    """Two lower limits, of which one needs more than the slack, and three upper ones."""
    order = shares.argsort()
    lower, upper = np.zeros(len(shares)), np.full(len(shares), np.inf)
    lower[order[0]], upper[order[0]] = 0.2, 0.4
    lower[order[2]], upper[order[2]] = 1.2 * shares[order[2]], 2 * shares[order[2]]
    upper[order[-1]] = 0.6 * shares[order[-1]]
    return lower, upper


def test_targets_are_the_closest_distributions_within_the_limits():
    log_shares = (3 * torch.randn(2, 8, 200, dtype=torch.float64) + 2 * torch.randn(2, 8, 1)).log_softmax(1)
    limits = [limits_for(one) for one in log_shares.exp().mean(2).numpy()]
    lower, upper = (torch.tensor(np.array(values)) for values in zip(*limits, strict=True))
    targets, violation = constrained(log_shares, lower, upper, SLACK, 400)
    for number in range(2):
        expected = solve(log_shares[number].numpy(), *limits[number])
        np.testing.assert_allclose(targets[number].numpy(), expected, atol=1e-6)
    means = targets.mean(2)
    outside = (lower - means).clamp(min=0) + (means - upper).clamp(min=0)
    assert violation.item() == pytest.approx(outside.sum().item() / 2) and violation > 1e-3  # the slack
    assert ((means - upper) < 1e-6).all()
    free, nothing = constrained(log_shares, torch.zeros(2, 8), torch.full((2, 8), torch.inf), SLACK, 1)
    torch.testing.assert_close(free, log_shares.exp())
    assert nothing == 0


def test_limits_are_those_of_the_labels_that_have_the_class():
    counts = np.array([[90, 10, 0], [50, 0, 0], [10, 30, 0], [0, 1, 0]])
    shares = [np.array([0.9, 1.0, 0.25]), np.array([0.1, 0.75, 1.0])]
    limits = size_limits(counts)
    for number, values in enumerate(shares):
        expected = [np.quantile(values, 0.1), values.mean(), np.quantile(values, 0.9)]
        np.testing.assert_allclose(limits[:, number], expected)
    assert np.isnan(limits[:, 2]).all()


def test_a_class_that_few_labels_have_much_of_has_limits_that_can_be_met():
    """Its mean is far above what nine of ten labels have; targets are those of the upper limit, and not violated."""
    of_class = np.array([1] * 39 + [90])
    _, mean, highest = size_limits(np.stack([of_class, 100 - of_class], 1))[:, 0]
    assert mean == highest == 0.01 < of_class.mean() / 100
    log_shares = torch.randn(1, 2, 50, dtype=torch.float64).log_softmax(1)
    lower, upper = torch.tensor([[mean, 0.0]]), torch.tensor([[highest, torch.inf]])
    targets, violation = constrained(log_shares, lower.double(), upper.double(), SLACK, 400)
    assert violation < 1e-6 and targets[0, 0].mean().item() == pytest.approx(0.01, abs=1e-6)


LIMITS = np.array([[0.2, 0.01, 0.05, 0.4, np.nan], [0.3, 0.1, 0.3, 0.6, np.nan], [0.35, 0.3, 0.6, 0.9, np.nan]])
SETTINGS = dict(type='ClassSizes', weight=0.5, iterations=400, stride=1)


def build_pair():
    ours, naive = (build(config(one=SETTINGS), torch.float64) for _ in range(2))
    ours.data_preprocessor.forward = double_precision(ours.data_preprocessor.forward)
    return ours, naive


@pytest.fixture
def counts(monkeypatch):
    """Let the limits be those above, whatever the labels."""
    monkeypatch.setattr('cda_mmseg.models.adaptations.class_sizes.count_classes', lambda dataset: None)
    monkeypatch.setattr('cda_mmseg.models.adaptations.class_sizes.size_limits', lambda counts: LIMITS)


def test_step_equals_a_plain_one(counts):
    """To the precision of SciPy's solver; the equality can fail."""
    ours, naive = build_pair()
    ours.adaptations['one'].study({'source': None})
    logs = train(ours)
    train_plainly(PlainClassSizes(naive, LIMITS, solve))
    assert max(differences(ours, naive).values()) < 1e-6
    assert logs[0]['target.loss_class_sizes'] > 0 and logs[0]['target.size_violation'] >= 0
    for wrong in (dict(big_factor=1.0), dict(presence=10.0)):
        _, other = build_pair()
        train_plainly(PlainClassSizes(other, LIMITS, solve, **wrong))
        assert max(differences(ours, other).values()) > 1e-5


def test_limits_are_no_weights_and_are_asked_for(counts):
    model = build(config(one=SETTINGS))
    assert not [name for name in model.state_dict() if name.startswith('adaptations')]
    with pytest.raises(RuntimeError, match='ClassSizes has not seen the source yet'):
        train(model, iterations=1)
