"""Error feedback advances if and only if the contribution was used; a gap in the chain clears it.

Source: docs/protocol.md, "Local memory".
"""

import numpy as np

from node.ports import FloatVector
from simulator.invariants.base import Check, Facts, Moved


class ErrorFeedback(Check):
    """Compares every honest node's residual with what its last round allows."""

    name = "error_feedback"

    def __init__(self, facts: Facts) -> None:
        super().__init__(facts)
        self._held: dict[int, FloatVector | None] = {}
        """Node -> residual after its last round; None: zero."""
        self._next: dict[int, tuple[int, FloatVector]] = {}
        """Node -> (round, residual if that round's contribution is used)."""

    def life(self, at_s: float, node: int, what: str) -> None:
        """A new life remembers nothing."""
        self._held[node] = None
        self._next.pop(node, None)

    def phase(self, at_s: float, node: int, phase: str, round_: int) -> None:
        """At the commitment, take what the residual would become."""
        runner = self.facts.runner(node)
        if phase == "commit" and runner is not None and runner.replica is not None:
            coming = runner.replica._residual_next
            if coming is not None:
                self._next[node] = (round_, coming[1])

    def moved(self, moved: Moved) -> None:
        """Check the residual."""
        replica, node = moved.runner.replica, moved.node
        if replica is None:
            return
        round_, coming = self._next.pop(node, (0, None))
        if moved.caught_up:
            expected = None
        elif moved.decision is None:
            expected = replica.residual
        else:
            roll = self.facts.roll(moved.decision.round)
            used = roll.elector_of.get(node) in {e for e, _ in moved.decision.plan}
            here = used and round_ == moved.head.round
            expected = coming if here else self._held.get(node)
        if expected is None:
            good = not replica.residual.any()
        else:
            good = np.array_equal(replica.residual, expected)
        if not good:
            why = "missed certificates" if moved.caught_up else "its part in the plan"
            text = f"node-{node} after round {moved.head.round}: the residual does not follow from "
            self.fail(moved.at_s, text + why)
        self._held[node] = replica.residual
