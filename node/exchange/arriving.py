"""Result bytes as they arrive: kept within bounds, and applied before they are proposed.

Pure; part of ``RoundMachine``.
"""

from node.exchange.core import RoundCore
from node.exchange.effects import Apply
from node.types import Digest

RESULTS_KEPT_MAX = 8
"""Whole results that are kept of one elector: an honest one sends two in a view."""

Result = tuple[int, Digest, bytes]
"""(part, root, encoded bytes); the root was computed from the bytes here."""


class Arriving:
    """The results that electors sent in one round."""

    def __init__(self, core: RoundCore) -> None:
        self._core = core
        self._spread: dict[Digest, dict[int, Digest]] = {}
        """Plan -> part -> root of the result that the part's first reducer sent."""
        self._kept: dict[int, int] = {}
        """Elector -> results that it was the first to send."""

    def learn(self, sender: int, plan_id: Digest, results: list[Result]) -> None:
        """Take results of a plan, whose roots were computed here."""
        core = self._core
        known = self._spread.setdefault(plan_id, {})
        for part, root, data in results:
            if root not in core.results:
                count = self._kept[sender] = self._kept.get(sender, 0) + 1
                limit = RESULTS_KEPT_MAX * core.context.rules.parts
                if count > limit and sender != core.context.me:
                    continue  # If it should be the agreed one after all, it is fetched by root.
                core.results[root] = (part, data)
            plan = core.plans.get(plan_id)
            if plan is None or plan.resolution.reducers[part][0] == sender:
                known.setdefault(part, root)
        self.speculate(plan_id)

    def speculate(self, plan_id: Digest) -> None:
        """Compute the next state as soon as all parts are here, before it is proposed."""
        core = self._core
        known = self._spread.get(plan_id, {})
        if plan_id in core.plans and len(known) == core.context.rules.parts:
            roots = tuple(known[p] for p in range(core.context.rules.parts))
            if core.once("apply", roots):
                core.effects.append(Apply(roots))
