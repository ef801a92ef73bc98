"""What a node carries from update to update advances if and only if the contribution was used.

A gap in the chain clears it, and so does a round after a SKIP, which nobody can audit.

Source: docs/protocol.md, "Local memory".
"""

from node.jobs.encoding import Local
from simulator.invariants.base import Check, Facts, Moved


class ErrorFeedback(Check):
    """Compares what every honest node carries on with what its last round allows."""

    name = "error_feedback"

    def __init__(self, facts: Facts) -> None:
        super().__init__(facts)
        self._held: dict[int, Local | None] = {}
        """Node -> local memory after its last round; None: new."""
        self._next: dict[int, tuple[int, Local]] = {}
        """Node -> (round, local memory if that round's contribution is used)."""
        self._after_skip: dict[int, bool] = {}
        """Node -> whether its round follows a SKIP."""

    def life(self, at_s: float, node: int, what: str) -> None:
        """A new life remembers nothing."""
        self._held[node] = None
        self._next.pop(node, None)

    def phase(self, at_s: float, node: int, phase: str, round_: int) -> None:
        """At the commitment, take what it would become."""
        runner = self.facts.runner(node)
        if phase != "certified" and runner is not None and runner.replica is not None:
            self._after_skip[node] = runner.replica.after_skip
        if phase == "commit" and runner is not None and runner.replica is not None:
            coming = runner.replica._local_next
            if coming is not None:
                self._next[node] = (round_, coming[1])

    def moved(self, moved: Moved) -> None:
        """Check what it carries on."""
        replica, node = moved.runner.replica, moved.node
        if replica is None:
            return
        round_, coming = self._next.pop(node, (0, None))
        anew = replica.auditable and self._after_skip.get(node, False)
        anew = anew and moved.decision is not None and not moved.decision.skip
        if moved.caught_up or anew:
            expected = None
        elif moved.decision is None:
            expected = replica.local
        else:
            roll = self.facts.roll(moved.decision.round)
            used = roll.elector_of.get(node) in {e for e, _ in moved.decision.plan}
            here = used and round_ == moved.head.round
            expected = coming if here else self._held.get(node)
        if expected is None:
            good = not replica.local.residual.any() and replica.local.momentum.weight == 1
        else:
            good = replica.local is expected
        if not good:
            why = "missed certificates" if moved.caught_up else "what became of its contribution"
            text = f"node-{node} after round {moved.head.round}: its local memory does not follow"
            self.fail(moved.at_s, f"{text} from {why}")
        self._held[node] = replica.local
