"""Independent references: every loss as a function of p_t, written down in mpmath and in NumPy."""

import mpmath
import numpy as np
from mpmath import mp, mpf

E = np.e


def mp_conservative(base=None):
    log_base = mpf(1) if base is None else mpmath.log(mpf(base))
    return lambda p: (1 + mpmath.log(p) / log_base) ** 2 * mpmath.log(-mpmath.log(p) / log_base) / log_base


def mp_cubic(intersection):
    return lambda p: -((p - mpf(intersection)) ** 3)


def mp_piecewise_cubic(alpha, beta, intersection):
    return lambda p: -mpf(alpha if p < intersection else beta) * (p - mpf(intersection)) ** 3


def mp_focal(alpha, gamma):
    return lambda p: -mpf(alpha) * (1 - p) ** mpf(gamma) * mpmath.log(p)


def mp_cross_entropy(p):
    return -mpmath.log(p)


def mp_value_and_gradient(function, scores, label, reading='literal', digits=60):
    """Value and gradient of function(softmax(scores)[label]) for one pixel; the derivative is taken numerically."""
    with mp.workdps(digits):
        scores = [mpf(float(score)) for score in scores]
        highest = max(scores)
        exponentials = [mpmath.exp(score - highest) for score in scores]
        total = mpmath.fsum(exponentials)
        shares = [exponential / total for exponential in exponentials]
        p = shares[label]
        value = function(p)
        if reading == 'weighted':
            slope = -value / p
        else:
            # The step must be small against p and against 1 - p.
            slope = mpmath.diff(function, p, h=min(p, 1 - p) * mpf(10) ** (-digits // 3))
            if reading == 'reversed':
                slope *= mpmath.sign(value)
        gradient = [slope * p * ((j == label) - share) for j, share in enumerate(shares)]
        return float(value), [float(entry) for entry in gradient]


def np_softmax(scores):
    """Softmax of (N, C) in float64."""
    exponentials = np.exp(scores - scores.max(1, keepdims=True))
    return exponentials / exponentials.sum(1, keepdims=True)


@np.errstate(all='ignore')  # at p_t = 1 in float64, which callers leave out
def np_conservative(scores, label, base=E, reading='literal', clamp=np.inf):
    """Eq. 3 without λ and its gradient, by the chain rule through p_t, for scores (N, C) in float64."""
    shares = np_softmax(scores)
    rows = np.arange(len(label))
    p = shares[rows, label]
    logarithm = np.log(p) / np.log(base)
    value = (1 + logarithm) ** 2 * np.log(-logarithm) / np.log(base)
    bounded = np.clip(value, -clamp, clamp)
    slope = (
        2 * (1 + logarithm) * np.log(-logarithm) / np.log(base) + (1 + logarithm) ** 2 / (logarithm * np.log(base))
    ) / (p * np.log(base))
    if reading == 'weighted':
        slope = -bounded / p
    else:
        slope = np.where(np.abs(value) > clamp, 0, slope)
        if reading == 'reversed':
            slope = slope * np.sign(value)
    one_hot = np.eye(scores.shape[1])[label]
    return bounded, (slope * p)[:, None] * (one_hot - shares)


def scores_with_probability(probabilities, num_classes, seed, dtype):
    """Scores (N, C) whose class 0 has about the given probabilities, as a NumPy array of the type."""
    generator = np.random.default_rng(seed)
    scores = generator.normal(0, 2, (len(probabilities), num_classes))
    p = np.array(probabilities, dtype=np.float64)
    others = np.log(np.exp(scores[:, 1:]).sum(1))
    scores[:, 0] = others + np.log(p) - np.log1p(-p)
    return scores.astype(dtype)
