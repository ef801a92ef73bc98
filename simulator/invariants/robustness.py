"""The aggregate stays near the honest updates while at most f lie.

A rule is (f, kappa)-robust if, for every set S of m - f rows,
``|F - mean_S|^2 <= kappa * mean_{i in S} |x_i - mean_S|^2`` (Allouah et al. 2023,
arXiv:2302.01772, Definition 2; kappa of the rules in its Table 1 and appendix). With more than
m - f honest rows the same holds for all of them: average over their subsets, by Jensen.

That is the rule's promise, kept by reducers: r equal answers are certain for r >= f + 1. With fewer
(``replicas``), liars alone may reduce a part. Sketches then bound what they can do, but by another
measure, and nothing is promised here. Rounds for which there is no promise are counted, and told
with the reason.
"""

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np

from node.errors import Malformed
from node.exchange.reduction import reducer_orders
from node.ledger.electorate import Electorate
from node.wire.messages import Decision
from simulator.invariants.base import Check, Facts, Moved
from simulator.invariants.state import decoded
from simulator.invariants.taps import Applied

if TYPE_CHECKING:
    import numpy.typing as npt

    Vector = npt.NDArray[np.float64]


def _half(f: int, m: int) -> float:
    return 1 + f / (m - 2 * f)


def _centre(f: int, m: int) -> float:
    return 4 * _half(f, m) ** 2


def _trimmed(f: int, m: int) -> float:
    return 6 * f / (m - 2 * f) * _half(f, m)


def _spectral(f: int, m: int) -> float:
    return 4 * f / (m - f) * _half(f, m) ** 2


Bound = Callable[[int, int], float]
"""(f, m rows) -> kappa."""
KAPPA: Mapping[str, Bound] = {
    "trimmed_mean": _trimmed,
    "median": _centre,
    "geometric_median": _centre,
    "krum": lambda f, m: 6 * _half(f, m),
    # Proven for Krum; the mean of m - f good rows is measured to stay far below.
    "multi_krum": lambda f, m: 6 * _half(f, m),
    # No kappa is published for a median radius; that of the median it starts from is used.
    "centered_clip": _centre,
    # With respect to the largest eigenvalue, which is at most the trace.
    "smea": _spectral,
    "caf": _spectral,
    # (f, 2f / (m - f))-resilient averaging, and a diameter^2 is at most 2 (m - f) variances.
    "mda": lambda f, m: 8 * f * f / (m - f),
    # Their docstrings show it.
    "meamed": lambda f, m: 4 * f / (m - f) * (1 + _centre(f, m)),
    "phocas": lambda f, m: 4 * f / (m - f) * (1 + _trimmed(f, m)),
    "mean": lambda f, m: 0.0,
}
"""Rule -> kappa(f, m rows)."""
MIXED_KAPPA: Mapping[str, Callable[[float, int, int], float]] = {
    "nnm": lambda kappa, f, m: 8 * f / (m - f) * (kappa + 1),
    "arc": lambda kappa, f, m: kappa + 2 * f / (m - 2 * f),
}
"""Step before a rule -> (kappa of the rest, f, m rows) -> kappa."""


def kappa_of(rule: str) -> Bound | None:
    """Kappa of a rule or chain; None where none is known."""
    *before, last = rule.split(" | ")
    if last not in KAPPA or any(step not in MIXED_KAPPA for step in before):
        return None

    def kappa(f: int, m: int) -> float:
        value = KAPPA[last](f, m)
        for step in reversed(before):
            value = MIXED_KAPPA[step](value, f, m)
        return value

    return kappa


INSIDE = ("trimmed_mean", "median")
"""Rules that never leave the honest range of a coordinate."""
CODEC_ERROR: Mapping[str, float] = {"fp32": 1e-6, "fp16": 2.0**-10, "int8": 1 / 250}
"""Error of a coordinate, relative to the largest of its block."""


class Aggregate(Check):
    """The certified aggregate is within the rule's bound of the honest contributions used."""

    name = "aggregate"

    def __init__(self, facts: Facts) -> None:
        super().__init__(facts)
        self._checked: set[int] = set()
        self._without: Counter[str] = Counter()
        """Why there was no promise -> in how many rounds."""

    def not_promised(self) -> Sequence[str]:
        """Rounds without a promise."""
        rounds = len(self._checked)
        return [
            f"{self.name} in {count} of {rounds} rounds: {why}"
            for why, count in sorted(self._without.items())
        ]

    def moved(self, moved: Moved) -> None:
        """Compare a round's results with the honest rows in its plan."""
        decision = moved.decision
        applied = self.facts.taps.applied.get(moved.head.id)
        if decision is None or applied is None or decision.round in self._checked:
            return
        self._checked.add(decision.round)
        rows = self._honest_rows(decision, applied)
        if rows is None:
            self._without["not checked: an honest row was lost by a crash"] += 1
            return
        if why := self._no_promise(decision, applied, len(rows)):
            self._without[f"not promised: {why}"] += 1
            return
        try:
            aggregate = decoded(applied)
        except Malformed:
            self.fail(moved.at_s, f"the results of round {decision.round} do not decode")
            return
        self._check(moved.at_s, decision, applied, rows, aggregate)

    def _honest_rows(self, decision: Decision, applied: Applied) -> "Vector | None":
        """Decoded honest rows of the plan; None if one was lost by a restart."""
        rows = []
        for elector, id_ in decision.plan:
            electors = self.facts.roll(decision.round).electors
            if not self.facts.is_honest(electors[elector].index):
                continue
            parts = self.facts.taps.rows.get((decision.round, id_))
            if parts is None:
                return None
            g = applied.g
            pairs = zip(parts, g.part_sizes, strict=True)
            rows.append(np.concatenate([g.codec.decode(data, size) for data, size in pairs]))
        return np.array(rows, np.float64)

    def _no_promise(self, decision: Decision, applied: Applied, honest: int) -> str:
        """Why the aggregate may be anything; empty: it is bounded."""
        m, f, r = len(decision.plan), applied.g.f, decision.replicas
        if kappa_of(decision.rule) is None:
            return f"no bound of the rule {decision.rule} is known"
        if m - honest > f:
            return f"{m - honest} contributors lie, f = {f}"
        if m <= 2 * f:
            return f"{m} rows are too few for f = {f}"
        if decision.rule == "mean" and honest < m:
            return "the mean bears no liar"
        if r <= f and self._liars_reduce(decision, applied, r):
            return f"r <= f: liars alone reduced a part (r = {r} replicas, f = {f})"
        return ""

    def _liars_reduce(self, decision: Decision, applied: Applied, r: int) -> bool:
        """Is there a part whose first ``r`` reducers all lie?"""
        facts = self.facts
        roll = facts.roll(decision.round)
        orders = reducer_orders(decision.prev, Electorate.of(roll.keys), len(applied.results))
        lies = [not facts.is_honest(node.index) for node in roll.electors]
        return any(all(lies[e] for e in order[:r]) for order in orders)

    def _check(
        self, at_s: float, decision: Decision, applied: Applied, rows: "Vector", found: "Vector"
    ) -> None:
        m, f = len(decision.plan), applied.g.f
        lying, kappa = m - len(rows), kappa_of(decision.rule)
        assert kappa is not None  # _no_promise looked
        codec = applied.g.result_codec
        room = _codec_room(found, applied, CODEC_ERROR.get(codec.name, 0.01), codec.align)
        room += 1e-5 * np.abs(rows).max(axis=0)
        mean = rows.mean(axis=0)
        spread = float(np.sqrt(((rows - mean) ** 2).sum(axis=1).mean()))
        distance = float(np.linalg.norm(found - mean))
        bound = float(np.sqrt(kappa(f, m))) * spread + float(np.linalg.norm(room))
        text = (
            f"round {decision.round} ({decision.rule}, {m} rows, {lying} of liars): the aggregate"
        )
        if distance > bound:
            self.fail(at_s, f"{text} is {distance:.3g} from the honest mean, bound {bound:.3g}")
        if decision.rule in INSIDE:
            out = np.maximum(rows.min(axis=0) - found, found - rows.max(axis=0)) - room
            if out.max() > 0:
                where = int(np.argmax(out))
                self.fail(at_s, f"{text} leaves the honest range at coordinate {where}")


def _codec_room(found: "Vector", applied: Applied, relative: float, block: int) -> "Vector":
    """Largest error of each coordinate by the encoding of the results. Shape [d]."""
    room = np.empty_like(found)
    for at in applied.g.slices:
        size = np.abs(found[at])
        starts = np.arange(0, len(size), block)
        tops = np.maximum.reduceat(size, starts)
        room[at] = relative * np.repeat(tops, np.diff([*starts, len(size)]))
    return room
