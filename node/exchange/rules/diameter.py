"""The subset of least diameter, exactly, by a bounded search.

A set of m - f rows has a diameter of at most t if and only if f rows cover every pair that is
farther apart than t. Vertex cover of size f is decided by branching on a row with most far pairs
(it goes, or all of them do): about 1.4^f steps, whatever C(m, f) is.
"""

import numpy as np

from node.exchange.rules.base import Gram, Weights
from node.exchange.rules.space import equal, nearest, sq_distances

STEPS_MAX = 50_000
"""Branches of one search, a quarter of a second; up to f = 21 of 64 rows it needs far fewer."""


class _TooLong(Exception):
    """The search has no steps left."""


def mda(gram: Gram, f: int) -> Weights:
    """The mean of the m - f rows of least diameter; among equals, the first in index order.

    Where the search would be too long, the m - f rows around the most central one are taken: their
    diameter is at most twice the least.

    Breakdown point 1/2, m_min 2f + 1; (f, 2f / (m - f))-resilient averaging.

    Source:
        El Mhamdi et al. 2021, arXiv:2008.00742 (minimum-diameter averaging); Farhadkhani et al.
        2022, arXiv:2205.12173, Table 1. The search is ours.
    """
    m = len(gram)
    sq = sq_distances(gram)
    try:
        return equal(_least_diameter(sq, m, f, [STEPS_MAX]), m)
    except _TooLong:
        return equal(nearest(sq, m - f)[1], m)


def _least_diameter(sq: Gram, m: int, f: int, steps: list[int]) -> list[int]:
    """The chosen rows, rising; ``steps`` holds how many branches may still be looked at."""
    everyone = (1 << m) - 1
    sizes = sorted(set(sq[np.triu_indices(m, 1)].tolist()))
    low, high = 0, len(sizes) - 1
    while low < high:
        middle = (low + high) // 2
        if _covered(_far(sq, sizes[middle]), everyone, f, steps):
            high = middle
        else:
            low = middle + 1
    far = _far(sq, sizes[low]) if sizes else [0] * m
    # Rows from the first on, each kept if the rest can still be filled up.
    alive, out = everyone, 0
    for i in range(m):
        if not alive >> i & 1:
            continue
        without = alive & far[i]
        lost = out + without.bit_count()
        if lost <= f and _covered(far, alive & ~without, f - lost, steps):
            alive, out = alive & ~without, lost
        else:
            alive, out = alive & ~(1 << i), out + 1
    return [i for i in range(m) if alive >> i & 1][: m - f]


def _far(sq: Gram, limit: float) -> list[int]:
    """For each row the set of rows beyond ``limit``, as bits."""
    return [sum(1 << j for j, x in enumerate(row) if x > limit) for row in sq.tolist()]


def _covered(far: list[int], alive: int, budget: int, steps: list[int]) -> bool:
    """Do ``budget`` rows at most cover all far pairs among ``alive``?"""
    while True:
        steps[0] -= 1
        if steps[0] < 0:
            raise _TooLong
        most, at, edges = 0, -1, 0
        for v, others in enumerate(far):
            degree = (others & alive).bit_count() if alive >> v & 1 else 0
            edges += degree
            if degree > most:
                most, at = degree, v
            if degree == 1:  # its neighbour is as good a choice as itself
                most, at = 1, (others & alive).bit_length() - 1
                break
        if most == 0:
            return True
        if budget == 0 or (most > 1 and edges > 2 * most * budget):
            return False
        if most > 2:
            others = far[at] & alive
            count = others.bit_count()
            if count <= budget and _covered(far, alive & ~others, budget - count, steps):
                return True
        # Only circles are left, or a pair hangs on ``at``: it goes without a choice.
        alive &= ~(1 << at)
        budget -= 1
