"""The two forms of an aggregation rule, and when one is defined."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt

from node.ports import FloatVector

Gram = npt.NDArray[np.float64]
Weights = npt.NDArray[np.float64]


@dataclass(frozen=True)
class WeightRule:
    """A rule whose aggregate is a weighted sum of rows, with weights from inner products.

    Exact on sharded updates: the parts' Gram matrices add up to that of the whole updates.
    """

    name: str
    rows_per_liar: int
    rows_least: int
    compute: Callable[[Gram, int], Weights]
    """(finite Gram matrix [M, M], f) -> weights [M]."""
    kind: Literal["weights"] = "weights"

    def m_min(self, f: int) -> int:
        """Least number of rows for which the rule is defined with ``f`` liars."""
        return self.rows_per_liar * f + self.rows_least

    def weights(self, gram: Gram, f: int) -> Weights:
        """Weights of the rows, each finite and within [0, 1], about 1 in sum. Shape [M].

        Args:
            gram: Inner products of the rows. Shape [M, M]. Anything is survived, nan included.
            f: Liars to tolerate, at least 0.

        Raises:
            ValueError: not square, f below 0, or fewer than ``m_min(f)`` rows.
        """
        check_rows(self.name, len(gram), self.m_min(f), f)
        if gram.shape != (len(gram), len(gram)):
            raise ValueError(f"a Gram matrix of shape {gram.shape} is not square")
        with np.errstate(all="ignore"):
            return self.compute(finite_gram(gram), f)


@dataclass(frozen=True)
class CoordinateRule:
    """A rule that treats each coordinate alone: exact on any part of the updates."""

    name: str
    rows_per_liar: int
    rows_least: int
    compute: Callable[[npt.NDArray[np.float32], int], FloatVector]
    """(rows [M, D], f) -> aggregate [D]."""
    kind: Literal["coordinates"] = "coordinates"

    def m_min(self, f: int) -> int:
        """Least number of rows for which the rule is defined with ``f`` liars."""
        return self.rows_per_liar * f + self.rows_least

    def combine(self, rows: npt.NDArray[np.float32], f: int) -> FloatVector:
        """The aggregate, finite, in a new buffer. Shape [D].

        Args:
            rows: Decoded parts. Shape [M, D], float32, finite.
            f: Liars to tolerate, at least 0.

        Raises:
            ValueError: f below 0, or fewer than ``m_min(f)`` rows.
        """
        check_rows(self.name, len(rows), self.m_min(f), f)
        with np.errstate(all="ignore"):
            return self.compute(rows, f)


Rule = WeightRule | CoordinateRule

_ELEMENT_MAX = 2.0**900
"""Sums of 64 * 64 such elements are finite; float32 rows stay below 2^320."""


def check_rows(name: str, m: int, m_min: int, f: int) -> None:
    """Refuse a rule outside the range in which it is defined."""
    if f < 0 or m < m_min:
        raise ValueError(f"{name} is not defined for {m} rows and f = {f}: it needs {m_min}")


def finite_gram(gram: Gram) -> Gram:
    """A copy without nan or infinities: a row that had them looks very long."""
    safe = np.where(np.isnan(gram), 0.0, gram)
    np.fill_diagonal(safe, np.where(np.isnan(gram.diagonal()), _ELEMENT_MAX, gram.diagonal()))
    bounded: Gram = np.minimum(np.maximum(safe, -_ELEMENT_MAX), _ELEMENT_MAX)
    return bounded
