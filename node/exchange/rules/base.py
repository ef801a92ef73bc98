"""What a rule is made of: steps on rows and on their Gram matrix, and when each is defined.

A rule is a chain: any number of *mixers*, each of which replaces the rows by linear combinations
of them, then one last step, which either weighs the rows or treats each coordinate alone.

Shapes: M rows of D coordinates; a mixer makes K of them.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt

from node.ports import FloatVector

Gram = npt.NDArray[np.float64]
Weights = npt.NDArray[np.float64]
Mixture = npt.NDArray[np.float64]
"""Shape [K, M]: row k of the outcome is ``sum_i mixture[k, i] * x_i``. Elements in [0, 1]."""


@dataclass(frozen=True)
class Mixer:
    """A step before the last one: M rows -> K combinations of them, of which f may be lies."""

    name: str
    mix: Callable[[Gram, int, bytes], Mixture]
    """(finite Gram matrix [M, M], f, public seed of the round) -> mixture [K, M]."""
    m_min: Callable[[int, int], int]
    """(f, rows that the next step needs) -> rows that this one needs."""


@dataclass(frozen=True)
class WeightStep:
    """A last step whose aggregate is a weighted sum of rows, with weights from inner products.

    Exact on sharded updates: the parts' Gram matrices add up to that of the whole updates.
    """

    name: str
    rows_per_liar: int
    rows_least: int
    weights: Callable[[Gram, int], Weights]
    """(finite Gram matrix [M, M], f) -> weights [M]."""
    kind: Literal["weights"] = "weights"


@dataclass(frozen=True)
class CoordinateStep:
    """A last step that treats each coordinate alone: exact on any part of the updates."""

    name: str
    rows_per_liar: int
    rows_least: int
    combine: Callable[[Sequence[FloatVector], int], FloatVector]
    """(M rows [D], f) -> aggregate [D]."""
    kind: Literal["coordinates"] = "coordinates"


LastStep = WeightStep | CoordinateStep

_ELEMENT_MAX = 2.0**900
"""Sums of 64 * 64 such elements are finite; float32 rows stay below 2^320."""


def check_rows(name: str, m: int, m_min: int, f: int) -> None:
    """Refuse a rule outside the range in which it is defined."""
    if f < 0 or m < m_min:
        raise ValueError(f"{name} is not defined for {m} rows and f = {f}: it needs {m_min}")


def finite_gram(gram: Gram) -> Gram:
    """A symmetric copy, of the upper triangle, without nan or infinities.

    A row that had them looks very long.
    """
    gram = np.triu(gram) + np.triu(gram, 1).T
    safe = np.where(np.isnan(gram), 0.0, gram)
    np.fill_diagonal(safe, np.where(np.isnan(gram.diagonal()), _ELEMENT_MAX, gram.diagonal()))
    bounded: Gram = np.minimum(np.maximum(safe, -_ELEMENT_MAX), _ELEMENT_MAX)
    return bounded
