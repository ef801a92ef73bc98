"""From the neighbours that several authors supply to one estimate that a liar cannot move far.

Pure and vectorised: a *group* is one question asked at once (in NAIT: an action), and every
function takes all groups together. With one author all of it is the distance-weighted k-NN mean.
"""

from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt

from workloads.recall.index import Floats

Rule = Literal["trimmed", "median", "mean"]
Kernel = Literal["exponential", "inverse", "uniform"]
Mask = npt.NDArray[np.bool_]

DISTANCE_MIN = np.float32(0.01)
"""Added to every distance, in units of the key, so that an exact match has a finite weight.

Source: A. Long's model-free-episodic-control (2020), NAIT's predecessor; its constant."""


@dataclass(frozen=True)
class Estimates:
    """What the neighbours say. g groups, s authors."""

    value: Floats
    """Combined over authors; NaN where a group has no neighbour. Shape [g]."""
    distance: Floats
    """Mean distance of the neighbours used; infinite where there is none. Shape [g]."""
    by_author: Floats
    """Each author's own estimate; NaN where it supplies none. Shape [s, g]."""
    nearest: Floats
    """Distance of each author's nearest entry; infinite where it has none. Shape [s, g]."""


def select(held: Mask, k: int, share: float) -> Mask:
    """The k nearest entries of each group, of which no foreign author supplies more than its share.

    Author 0 is oneself and may fill all k. Within one node the lower author number goes first.

    Args:
        held: Whether an author has an entry on a node; nodes from near to far. Shape [s, g, n].
        k: Entries wanted, at least 1.
        share: Of the k, in (0, 1]; an author may always supply one.

    Returns:
        Which entries are used. Shape [s, g, n].
    """
    authors, groups, nodes = held.shape
    if authors == 1 and nodes <= k:
        return held
    quota = np.full((authors, 1, 1), max(1, int(share * k)))
    quota[0] = k
    within = held & (np.cumsum(held, axis=2) <= quota)
    in_order = within.transpose(1, 2, 0).reshape(groups, nodes * authors)
    used = in_order & (np.cumsum(in_order, axis=1) <= k)
    return used.reshape(groups, nodes, authors).transpose(2, 0, 1)


def estimate(
    squares: Floats,
    values: Floats,
    trust: Floats,
    *,
    k: int,
    share: float,
    rule: Rule,
    trim: float,
    kernel: Kernel = "exponential",
) -> Estimates:
    r"""Distance-weighted estimates by author, and their robust combination.

    With d = sqrt(square) + 0.01 and the group's least d\*, an entry weighs w = exp(-d / d\*), or
    d\* / d with the inverse kernel, or 1 with the uniform one.
    Author a estimates e_a = sum(w v) / sum(w) over its entries, with mass trust_a sum(w).

    Args:
        squares: Squared distances of the nodes, near to far; infinite where missing. Shape [g, n].
        values: What each author remembers there; NaN where it has no entry. Shape [s, g, n].
        trust: In [0, 1]; that of author 0, oneself, is 1. Shape [s].
        k: Entries used for one group.
        share: Of the k that a foreign author may supply.
        rule: How the authors' estimates are combined; see ``combine``.
        trim: Share of the mass that ``trimmed`` cuts off at either end, in [0, 0.5).
        kernel: How weight falls with distance.
    """
    if len(values) == 1:
        return _estimate_alone(squares[:, :k], values[:, :, :k], kernel)
    held = ~np.isnan(values)
    held &= np.isfinite(squares)
    heard = held if trust.all() else held & (trust > 0)[:, None, None]
    used = select(heard, k, share)
    distances = np.sqrt(squares) + DISTANCE_MIN
    weights, filled = _weigh(distances, used, values, kernel)
    mass = weights.sum(axis=2)
    with np.errstate(invalid="ignore", divide="ignore"):
        by_author = (weights * filled).sum(axis=2) / mass
    value = combine(by_author, mass * trust[:, None], rule, trim)
    counts = used.sum(axis=(0, 2))
    reach = np.where(used, distances, np.float32(0)).sum(axis=(0, 2))
    with np.errstate(invalid="ignore", divide="ignore"):
        distance = np.where(counts > 0, reach / counts, np.inf).astype(np.float32)
    if heard is not held:  # the unheard are not used, but scored all the same
        unused = select(held & ~heard, k, 1.0)
        apart, apart_filled = _weigh(distances, unused, values, kernel)
        with np.errstate(invalid="ignore", divide="ignore"):
            unheard = (apart * apart_filled).sum(axis=2) / apart.sum(axis=2)
        by_author = np.where(np.isnan(by_author), unheard, by_author)
    nearest = np.where(held, distances, np.float32(np.inf)).min(axis=2)
    return Estimates(value, distance, by_author, nearest)


def _estimate_alone(squares: Floats, values: Floats, kernel: Kernel) -> Estimates:
    """``estimate`` where nobody else has an entry, in fewer operations."""
    distances = np.sqrt(squares) + DISTANCE_MIN
    with np.errstate(invalid="ignore", divide="ignore"):
        weights = _fall(distances, distances[:, :1], kernel)
        there = np.isfinite(squares)
        weights[~there] = 0
        mass = weights.sum(axis=1)
        value = (weights * values[0]).sum(axis=1) / mass
        # Far entries count even where their weight is too small for a float32.
        reach = np.where(there, distances, 0).sum(axis=1) / there.sum(axis=1)
    distance = np.where(mass > 0, reach, np.inf).astype(np.float32)
    return Estimates(value, distance, value[None], distances[None, :, 0])


def _weigh(distances: Floats, used: Mask, values: Floats, kernel: Kernel) -> tuple[Floats, Floats]:
    """Weights and values of the entries used, 0 elsewhere. Shapes [s, g, n]."""
    least = np.where(used, distances, np.float32(np.inf)).min(axis=(0, 2))[:, None]
    with np.errstate(invalid="ignore"):
        weights = np.where(used, _fall(distances, least, kernel), np.float32(0))
    return weights, np.where(used, values, np.float32(0))


def _fall(distances: Floats, least: Floats, kernel: Kernel) -> Floats:
    """Weights of entries at these distances; ``least`` broadcasts against them."""
    if kernel == "uniform":
        return np.ones_like(distances)
    weights: Floats = np.exp(-distances / least) if kernel == "exponential" else least / distances
    return weights


def combine(estimates: Floats, mass: Floats, rule: Rule, trim: float) -> Floats:
    """One value for each group from the authors' estimates.

    ``mean``: weighted by mass. ``trimmed``: the same after cutting the share ``trim`` of the
    group's mass off at either end of the sorted estimates. ``median``: the estimate at half of the
    mass, or the middle of two that share it. A single author's estimate comes out as it is.

    Args:
        estimates: NaN where an author has none. Shape [s, g].
        mass: At least 0. Shape [s, g].
        rule: One of the three.
        trim: In [0, 0.5); only ``trimmed`` reads it.

    Returns:
        NaN where no author with mass has an estimate. Shape [g].
    """
    if len(estimates) == 1:
        return np.where(mass[0] > 0, estimates[0], np.float32(np.nan))
    weights = np.where(np.isnan(estimates), 0, mass).astype(np.float64)
    total = weights.sum(axis=0)
    order = np.argsort(estimates, axis=0, kind="stable")  # NaN last, and without mass
    sorted_ = np.nan_to_num(np.take_along_axis(estimates, order, axis=0)).astype(np.float64)
    weights = np.take_along_axis(weights, order, axis=0)
    if rule == "trimmed":
        weights = _keep_between(weights, total * trim, total * (1 - trim))
    elif rule == "median":
        slack = total * 1e-9
        weights = _keep_between(weights, total / 2 - slack, total / 2 + slack)
    with np.errstate(invalid="ignore", divide="ignore"):
        value = (sorted_ * weights).sum(axis=0) / weights.sum(axis=0)
    return np.where(total > 0, value, np.nan).astype(np.float32)


def _keep_between(
    mass: npt.NDArray[np.float64], low: npt.NDArray[np.float64], high: npt.NDArray[np.float64]
) -> npt.NDArray[np.float64]:
    """The mass of each sorted row that lies between two positions of the cumulated mass."""
    ends = np.cumsum(mass, axis=0)
    starts = ends - mass
    kept: npt.NDArray[np.float64] = np.minimum(ends, high) - np.maximum(starts, low)
    return np.maximum(kept, 0.0)
