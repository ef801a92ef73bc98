"""The rules that ``artel bench aggregate`` measures, with the parameters of ByzFL's versions.

Artel's own rules differ a little from ByzFL's (how many neighbours Krum counts, where the geometric
median starts). For results that can be compared, each case here computes exactly what ByzFL's rule
says, with the functions that Artel's rules are made of, and costs the same.
"""

import math
from collections.abc import Callable

import numpy as np
import numpy.typing as npt

from node.exchange.gram import gram_of
from node.exchange.rules import MIXERS, combine_weighted, rule
from node.exchange.rules.base import Gram, Weights
from node.exchange.rules.geometry import clip_step, krum_scores, weiszfeld_step
from node.exchange.rules.space import distances, equal, mixed_gram, product
from node.ports import FloatVector

Matrix = npt.NDArray[np.float32]
INEXACT = ("caf", "smea")
"""ByzFL's take one power iteration from a random start: results differ from run to run."""


def subsets(name: str, n: int, f: int) -> int:
    """Subsets that a rival without a search has to look at."""
    return math.comb(n, f) if name in ("mda", "smea") else 1


def artel_call(name: str, f: int, radius: float) -> Callable[[Matrix], FloatVector]:
    """Artel's computation of a case, end to end: rows -> Gram matrix -> weights -> aggregate."""
    twin = _TWINS.get(name.removeprefix("nnm | "))
    if twin is None:
        return _by_rule(name, f)

    def weigh(gram: Gram) -> Weights:
        if not name.startswith("nnm | "):
            return twin(gram, f, radius)
        mixture = MIXERS["nnm"].mix(gram, f, b"")
        return product(mixture.T, twin(mixed_gram(gram, mixture), f, radius))

    def aggregate(rows: Matrix) -> FloatVector:
        vectors = list(rows)
        return combine_weighted(vectors, weigh(gram_of(vectors)))

    return aggregate


def _by_rule(name: str, f: int) -> Callable[[Matrix], FloatVector]:
    chosen = rule(name)

    def aggregate(rows: Matrix) -> FloatVector:
        vectors = list(rows)
        mixture = None if chosen.kind == "coordinates" else chosen.mixture(gram_of(vectors), f)
        return chosen.combine(vectors, f, mixture)

    return aggregate


def _krum(gram: Gram, f: int, radius: float) -> Weights:
    del radius
    # ByzFL counts one neighbour more than Krum's paper.
    return equal([int(np.argmin(krum_scores(gram, f - 1)))], len(gram))


def _multi_krum(gram: Gram, f: int, radius: float) -> Weights:
    del radius
    order = np.argsort(krum_scores(gram, f - 1), kind="stable")
    return equal(order[: len(gram) - f], len(gram))


def geometric_median(gram: Gram, f: int, radius: float) -> Weights:
    """ByzFL's: three Weiszfeld steps from the origin, distances at least 0.1."""
    del f, radius
    a = np.zeros(len(gram))
    for _ in range(3):
        a = weiszfeld_step(distances(gram, a), 0.1)
    return a


def _clip(steps: int) -> Callable[[Gram, int, float], Weights]:
    def weigh(gram: Gram, f: int, radius: float) -> Weights:
        del f
        a = np.zeros(len(gram))
        for _ in range(steps):
            a = clip_step(distances(gram, a), a, radius)
        return a

    return weigh


_TWINS: dict[str, Callable[[Gram, int, float], Weights]] = {
    "krum": _krum,
    "multi_krum": _multi_krum,
    "geometric_median": geometric_median,
    "centered_clip L=1": _clip(1),
    "centered_clip L=5": _clip(5),
}
CASES = (
    "mean",
    "median",
    "trimmed_mean",
    "meamed",
    "krum",
    "multi_krum",
    "geometric_median",
    "centered_clip L=1",
    "centered_clip L=5",
    "mda",
    "caf",
    "smea",
    "nnm | multi_krum",
    "nnm | geometric_median",
    "nnm | trimmed_mean",
    "arc | nnm | trimmed_mean",
)
