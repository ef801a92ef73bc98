"""Vectors as weights: distances, products and centres from the Gram matrix alone.

A point is a weight vector ``a`` and stands for ``z = sum a_j x_j``; row i is ``K_ii - 2 (K a)_i +
a.K a`` away from it (squared), where K is the Gram matrix. Moving K's origin to a row amid the
honest ones makes the terms as small as the honest spread, and a far liar's huge elements meet only
its own tiny weight, so nothing cancels.

Everything here has the same bits on every CPU: elementwise ufuncs in float64, sums in row order
(``add.accumulate`` is one by one by definition) or exact (``math.fsum``), ties to the lower index.

Shapes: M rows.
"""

import math

import numpy as np
import numpy.typing as npt

from node.exchange.rules.base import Gram, Mixture, Weights

Floats = npt.NDArray[np.float64]


def equal(chosen: npt.NDArray[np.intp] | list[int], m: int) -> Weights:
    """Equal weights on some rows of ``m``."""
    weights = np.zeros(m)
    weights[chosen] = 1.0 / len(chosen)
    return weights


def product(matrix: Floats, vector: Floats) -> Floats:
    """``matrix @ vector`` over the last axes, summed from left to right."""
    terms = matrix * vector[..., None, :]
    return running(terms)


def running(terms: Floats) -> Floats:
    """Sums over the last axis, from left to right."""
    total: Floats = np.add.accumulate(terms, axis=-1)[..., -1]
    return total


def mixed_gram(gram: Gram, mixture: Mixture) -> Gram:
    """The Gram matrix of the mixed rows, ``W G W^T``. Shape [K, K], symmetric."""
    half = np.zeros(mixture.shape)
    for i, row in enumerate(gram):
        np.add(half, mixture[:, i, None] * row, out=half)
    whole = np.zeros((len(mixture), len(mixture)))
    for j, column in enumerate(half.T):
        np.add(whole, column[:, None] * mixture[:, j], out=whole)
    upper = np.triu(whole)
    return upper + np.triu(whole, 1).T


def sq_distances(gram: Gram) -> Floats:
    """Squared distances between rows. Shape [M, M], diagonal 0."""
    norm = gram.diagonal()
    sq: Floats = np.maximum(norm[:, None] + norm[None, :] - 2.0 * gram, 0.0)
    np.fill_diagonal(sq, 0.0)
    return sq


def nearest(sq: Floats, keep: int) -> tuple[int, npt.NDArray[np.intp]]:
    """The most central row, and the ``keep`` rows nearest to it, itself included.

    The most central row has the least radius that holds ``keep`` = m - f rows. An honest row's
    radius is at most the honest diameter, and among the m - f > f rows so held one is honest: the
    mean of those rows lies within two honest diameters of an honest row, whatever the liars send.
    """
    centre = int(np.argmin(np.sort(sq, axis=1)[:, keep - 1]))
    return centre, np.argsort(sq[centre], kind="stable")[:keep]


def centred_at(gram: Gram, centre: int) -> Gram:
    """The Gram matrix with its origin moved to a row."""
    column = gram[:, centre]
    centred: Gram = gram - column[:, None] - column[None, :] + gram[centre, centre]
    return centred


def start(gram: Gram, f: int) -> tuple[Weights, Gram]:
    """Weights of a point amid the honest rows, and the Gram matrix with its origin there."""
    centre, around = nearest(sq_distances(gram), len(gram) - f)
    return equal(around, len(gram)), centred_at(gram, centre)


def distances(centred: Gram, a: Weights) -> Floats:
    """Distances of all rows to the point ``a``. Shape [M]."""
    inner = product(centred, a)
    own = math.fsum((a * inner).tolist())
    distance: Floats = np.sqrt(np.maximum(centred.diagonal() - 2.0 * inner + own, 0.0))
    return distance


def lower_median(values: Floats) -> float:
    """The middle value, the lower one of two: at most that of some honest row, if f < m / 2."""
    return float(np.sort(values)[(len(values) - 1) // 2])
