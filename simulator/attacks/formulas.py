"""The mathematics of the adaptive attacks, as pure functions of the honest updates.

Shapes: H honest updates of d coordinates; m their mean, s their standard deviation by coordinate.
"""

from collections.abc import Callable
from statistics import NormalDist

import numpy as np

from node.exchange.rules import rule
from simulator.attacks.board import Crowd, Matrix, Vector

SEARCH_EVALUATIONS = 20
SEARCH_FIRST_STEP = 10.0
SEARCH_SHRINK = 0.8


def alie_z(n: int, f: int) -> float:
    """How many standard deviations away f of n still look like the majority; 0 where none do.

    Source: Baruch et al. 2019, arXiv:1902.06156, Algorithm 3: s = floor(n/2 + 1) - f honest
        supporters are needed, z = Phi^-1((n - f - s) / (n - f)).
    """
    supporters = n // 2 + 1 - f
    share = (n - f - supporters) / max(1, n - f)
    return NormalDist().inv_cdf(share) if 0.5 < share < 1.0 else 0.0


def min_max_gamma(rows: Matrix, direction: Vector) -> float:
    """The largest g that keeps ``m + g * direction`` as near to all as honest updates are.

    Its distance to no honest update exceeds the largest distance between two of them.

    Source: Shejwalkar & Houmansadr 2021, NDSS, equation 3. Differs: solved, not searched.
    """
    a, b, c = _distances(rows, direction)
    most = max(float(np.max(np.sum((rows - row) ** 2, axis=1))) for row in rows)
    if a == 0.0:
        return 0.0
    return float(np.min((np.sqrt(np.maximum(b * b - a * (c - most), 0.0)) - b) / a))


def min_sum_gamma(rows: Matrix, direction: Vector) -> float:
    """As ``min_max_gamma`` for the sum of the squared distances to all honest updates.

    Source: Shejwalkar & Houmansadr 2021, NDSS, equation 4. Differs: solved, not searched.
    """
    a, _, c = _distances(rows, direction)
    most = max(float(np.sum((rows - row) ** 2)) for row in rows)
    # The linear terms cancel: the distances are taken from the mean.
    return float(np.sqrt(max(0.0, most - float(c.sum())) / (a * len(rows)))) if a else 0.0


def _distances(rows: Matrix, direction: Vector) -> tuple[float, Vector, Vector]:
    """(a, b, c) with ``|m + g p - x_i|^2 = a g^2 + 2 b_i g + c_i``."""
    away = rows.mean(axis=0) - rows
    return float(direction @ direction), away @ direction, np.sum(away**2, axis=1)


def aggregate(name: str, rows: Matrix, f: int) -> Vector:
    """What a rule makes of ``rows``, shape [M, d]; the mean where the rule is not defined."""
    chosen = rule(name)
    if len(rows) < chosen.m_min(f):
        return np.asarray(rows.mean(axis=0))
    gram = rows @ rows.T
    if chosen.kind == "weights":
        return np.asarray(chosen.weights(gram, f) @ rows)
    mixture = None if chosen.kind == "coordinates" else chosen.mixture(gram, f)
    return chosen.combine(list(rows.astype(np.float32)), f, mixture).astype(np.float64)


def damage(crowd: Crowd, rule_name: str, lie: Vector) -> float:
    """How far the aggregate moves from the honest mean if all attackers send ``lie``."""
    f = (len(crowd.rows) + crowd.liars - 1) // 3
    rows = np.concatenate([crowd.rows, np.tile(lie, (crowd.liars, 1))])
    return float(np.linalg.norm(aggregate(rule_name, rows, f) - crowd.mean))


def line_search(harm: Callable[[float], float]) -> float:
    """The strength, at least 0, that harms most: doubles its step while that helps, then refines.

    Source: Gonzalez et al. 2025, arXiv:2505.24802 (ByzFL), the search of its optimal attacks: 20
        evaluations, first step 10, factors 2 and 0.8. Differs: after the first failure it tries
        both sides.
    """
    best, most = 0.0, harm(0.0)
    step, doubling = SEARCH_FIRST_STEP, True
    for _ in range(SEARCH_EVALUATIONS):
        at = max(0.0, best + step)
        done = harm(at)
        if done > most:
            best, most = at, done
            step *= 2.0 if doubling else 1.0
        else:
            doubling = False
            step *= -SEARCH_SHRINK
    return best
