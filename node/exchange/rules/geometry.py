"""Rules that weigh rows by their distances: means, medians, clipping.

Each docstring states the breakdown point (the share of liars below which the error is bounded) and
kappa of (f, kappa)-robustness: ``|F - mean_S|^2 <= kappa / |S| sum_S |x_i - mean_S|^2`` for every
set S of m - f rows (Allouah et al. 2023, arXiv:2302.01772, Definition 2). With a = f / (m - 2f).

Shapes: M rows.
"""

import math

import numpy as np

from node.exchange.rules.base import Gram, Weights
from node.exchange.rules.space import distances, equal, lower_median, sq_distances, start

CLIP_ITERATIONS = 10
CLIP_START_STEPS = 3
MEDIAN_STEPS = 16
SMOOTHING = 1e-3
"""Least distance in a Weiszfeld step, relative to the median distance: a row that the point
happens to hit cannot hold it."""


def mean(gram: Gram, f: int) -> Weights:
    """Equal weights. No defence: breakdown point 0, one liar moves it anywhere."""
    del f
    return np.full(len(gram), 1.0 / len(gram))


def krum(gram: Gram, f: int) -> Weights:
    """The one row with the least sum of squares to its nearest m - f - 2.

    Breakdown point 1/2, m_min 2f + 3, kappa = 6 (1 + a), which does not vanish with f / m.

    Source: Blanchard et al. 2017, "Machine Learning with Adversaries", section 4.
    """
    return equal([int(np.argmin(krum_scores(gram, f)))], len(gram))


def multi_krum(gram: Gram, f: int) -> Weights:
    """Equal weights on the m - f rows with the least Krum score.

    Breakdown point 1/2, m_min 2f + 3. Kappa is at most Krum's 6 (1 + a) in all measurements.

    Source:
        Blanchard et al. 2017, "Machine Learning with Adversaries", section 4 (Krum's condition
        m >= 2f + 3). Differs: m - f rows are averaged, as in El Mhamdi et al. 2018.
    """
    m = len(gram)
    return equal(np.argsort(krum_scores(gram, f), kind="stable")[: m - f], m)


def krum_scores(gram: Gram, f: int) -> Weights:
    """Sum of squares of each row's distances to its nearest m - f - 2, at least one. Shape [M]."""
    near = np.sort(sq_distances(gram), axis=1)
    # Column 0 is the row's distance to itself.
    scores: Weights = np.add.accumulate(near[:, 1 : max(2, len(gram) - f - 1)], axis=1)[:, -1]
    return scores


def geometric_median(gram: Gram, f: int) -> Weights:
    """The point with the least sum of distances to the rows, by smoothed Weiszfeld steps.

    Breakdown point 1/2, m_min 2f + 1, kappa = 4 (1 + a)^2.

    Source:
        Pillutla, Kakade, Harchaoui 2022, arXiv:1912.13445, Algorithm 2. Differs: starts from the
        mean of the rows around the most central one, since from the plain mean a row of 1e30
        would need far more steps; smoothing is relative.
    """
    a, centred = start(gram, f)
    return _smoothed(centred, a, MEDIAN_STEPS)


def centered_clip(gram: Gram, f: int) -> Weights:
    """Move by the mean of the rows' differences, each clipped to the median distance.

    Fewer than half of the rows are liars, so the lower median distance is at most that of some
    honest row: no liar sets the clipping radius, and there is no radius to tune.

    Breakdown point 1/2 (the paper's rate needs f / m <= 0.1), m_min 2f + 1. No kappa is published
    for a median radius; it starts from the geometric median's 4 (1 + a)^2.

    Source:
        Karimireddy, He, Jaggi 2021, arXiv:2012.10333, Algorithm 2. Differs: the radius is the
        median distance at every step, and the start is three geometric-median steps, so that no
        anchor from earlier rounds is needed.
    """
    a, centred = start(gram, f)
    a = _smoothed(centred, a, CLIP_START_STEPS)
    for _ in range(CLIP_ITERATIONS):
        distance = distances(centred, a)
        a = clip_step(distance, a, lower_median(distance))
    return a


def clip_step(distance: Weights, a: Weights, radius: float) -> Weights:
    """Move ``a`` by the mean of the rows' differences, clipped to ``radius``."""
    pull = np.array([min(1.0, radius / r) if r > 0 else 1.0 for r in distance.tolist()]) / len(a)
    return a * (1.0 - math.fsum(pull.tolist())) + pull


def weiszfeld_step(distance: Weights, least: float) -> Weights:
    """The next point: rows weighed by the inverse of their distance, at least ``least``."""
    pull = 1.0 / np.maximum(distance, least)
    return pull / math.fsum(pull.tolist())


def _smoothed(centred: Gram, a: Weights, steps: int) -> Weights:
    for _ in range(steps):
        distance = distances(centred, a)
        least = SMOOTHING * lower_median(distance)
        if least == 0.0:
            # Half of the rows are at this point: it is their geometric median.
            return a
        a = weiszfeld_step(distance, least)
    return a
