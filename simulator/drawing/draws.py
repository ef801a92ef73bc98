"""Draws that generators of scenarios share."""

from collections.abc import Mapping, Sequence
from typing import TypeVar

import numpy as np

T = TypeVar("T")


def weighted(draws: np.random.Generator, weights: Mapping[T, float]) -> T:
    """One key, with a chance in proportion to its weight."""
    keys = list(weights)
    chances = np.array([weights[k] for k in keys], dtype=float)
    return keys[int(draws.choice(len(keys), p=chances / chances.sum()))]


def one(draws: np.random.Generator, among: Sequence[T]) -> T:
    """Any of them."""
    return among[int(draws.integers(len(among)))]


def some(draws: np.random.Generator, among: Sequence[int], most: int) -> tuple[int, ...]:
    """1 to ``most`` of them, rising."""
    count = int(draws.integers(1, max(1, min(most, len(among))) + 1))
    return tuple(sorted(int(i) for i in draws.choice(list(among), size=count, replace=False)))


def log_uniform(draws: np.random.Generator, low: float, high: float) -> float:
    """From ``low`` to ``high``, each order of magnitude alike, to three digits."""
    return float(f"{np.exp(draws.uniform(np.log(low), np.log(high))):.3g}")


def uniform(draws: np.random.Generator, low: float, high: float) -> float:
    """From ``low`` to ``high``, to three decimals."""
    return round(float(draws.uniform(low, high)), 3)
