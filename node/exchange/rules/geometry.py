"""Rules that weigh whole updates by their distances, from the Gram matrix alone.

A point is a weight vector ``a`` with sum 1 and stands for ``z = sum a_j x_j``; the distance of
row i to it is ``K_ii - 2 (K a)_i + a.K a``, where K is the Gram matrix with its origin moved to a
row amid the honest ones. There the terms are as small as the honest spread, and a far liar's huge
elements meet only its own tiny weight, so nothing cancels. Sums run in row order in float64;
scalar sums are exact (``math.fsum``); ties go to the lower index; iteration counts are fixed.

Shapes: M rows.
"""

import math

import numpy as np
import numpy.typing as npt

from node.exchange.rules.base import Gram, Weights

CLIP_ITERATIONS = 10
CLIP_START_STEPS = 3
MEDIAN_STEPS = 16
SMOOTHING = 1e-3
"""Least distance in a Weiszfeld step, relative to the median distance: a row that the point
happens to hit cannot hold it."""

Distances = npt.NDArray[np.float64]


def mean(gram: Gram, f: int) -> Weights:
    """Equal weights. No defence: one liar moves it anywhere."""
    del f
    return np.full(len(gram), 1.0 / len(gram))


def multi_krum(gram: Gram, f: int) -> Weights:
    """Equal weights on the m - f rows with the least sum of squares to their nearest m - f - 2.

    Source:
        Blanchard et al. 2017, "Machine Learning with Adversaries", section 4 (Krum's condition
        m >= 2f + 3). Differs: m - f rows are averaged, as in El Mhamdi et al. 2018.
    """
    m = len(gram)
    nearest = np.sort(_sq_distances(gram), axis=1)
    score = np.zeros(m)
    # Column 0 is the row's distance to itself.
    for k in range(1, m - f - 1):
        np.add(score, nearest[:, k], out=score)
    return _equal(np.argsort(score, kind="stable")[: m - f], m)


def geometric_median(gram: Gram, f: int) -> Weights:
    """The point with the least sum of distances to the rows, by smoothed Weiszfeld steps.

    Source:
        Pillutla, Kakade, Harchaoui 2022, arXiv:1912.13445, Algorithm 2. Differs: starts from the
        mean of the rows around the most central one, since from the plain mean a row of 1e30
        would need far more steps; smoothing is relative.
    """
    start, centred = _start(gram, f)
    return _weiszfeld(centred, start, MEDIAN_STEPS)


def centered_clip(gram: Gram, f: int) -> Weights:
    """Move by the mean of the rows' differences, each clipped to the median distance.

    Fewer than half of the rows are liars, so the lower median distance is at most that of some
    honest row: no liar sets the clipping radius, and there is no radius to tune.

    Source:
        Karimireddy, He, Jaggi 2021, arXiv:2012.10333, Algorithm 2. Differs: the radius is the
        median distance at every step, and the start is three geometric-median steps, so that no
        anchor from earlier rounds is needed.
    """
    start, centred = _start(gram, f)
    a = _weiszfeld(centred, start, CLIP_START_STEPS)
    m = len(a)
    for _ in range(CLIP_ITERATIONS):
        distance = _distances(centred, a)
        radius = _lower_median(distance)
        pull = np.array([min(1.0, radius / r) if r > 0 else 1.0 for r in distance.tolist()]) / m
        a = a * (1.0 - math.fsum(pull.tolist())) + pull
    return a


def _sq_distances(gram: Gram) -> Distances:
    """Squared distances between rows. Shape [M, M], diagonal 0."""
    norm = gram.diagonal()
    sq: Distances = np.maximum(norm[:, None] + norm[None, :] - 2.0 * gram, 0.0)
    np.fill_diagonal(sq, 0.0)
    return sq


def _equal(chosen: npt.NDArray[np.intp], m: int) -> Weights:
    weights = np.zeros(m)
    weights[chosen] = 1.0 / len(chosen)
    return weights


def _start(gram: Gram, f: int) -> tuple[Weights, Gram]:
    """Weights of a point amid the honest rows, and the Gram matrix with its origin there.

    The most central row has the least radius that holds m - f rows. An honest row's radius is at
    most the honest diameter, and among the m - f > f rows so held one is honest: the mean of
    those rows lies within two honest diameters of an honest row, whatever the liars send.
    """
    m = len(gram)
    sq = _sq_distances(gram)
    centre = int(np.argmin(np.sort(sq, axis=1)[:, m - f - 1]))
    around = np.argsort(sq[centre], kind="stable")[: m - f]
    column = gram[:, centre]
    centred = gram - column[:, None] - column[None, :] + gram[centre, centre]
    return _equal(around, m), centred


def _distances(centred: Gram, a: Weights) -> Distances:
    """Distances of all rows to the point ``a``. Shape [M]."""
    product = np.zeros(len(a))
    for j, weight in enumerate(a.tolist()):
        np.add(product, centred[:, j] * weight, out=product)
    own = math.fsum((a * product).tolist())
    distance: Distances = np.sqrt(np.maximum(centred.diagonal() - 2.0 * product + own, 0.0))
    return distance


def _lower_median(distance: Distances) -> float:
    return float(np.sort(distance)[(len(distance) - 1) // 2])


def _weiszfeld(centred: Gram, a: Weights, steps: int) -> Weights:
    for _ in range(steps):
        distance = _distances(centred, a)
        least = SMOOTHING * _lower_median(distance)
        if least == 0.0:
            # Half of the rows are at this point: it is their geometric median.
            return a
        pull = 1.0 / np.maximum(distance, least)
        a = pull / math.fsum(pull.tolist())
    return a
