"""What decisions say of strangers on probation, counted again without the node's own code.

Source: docs/protocol.md, "Probation".
"""

from collections import Counter

from node.types import Digest
from node.wire.messages import Decision
from simulator.invariants.base import Check, Facts, Moved


class SoundProbation(Check):
    """Few are on probation, none of them votes, and who gets a seat passed its audits."""

    name = "probation"

    def __init__(self, facts: Facts) -> None:
        super().__init__(facts)
        said = facts.world.scenario.job.get("admission", {})
        self._needed = int(said.get("audits", 8)) if said.get("mode") == "open" else 0
        self._listed = {*facts.founders.keys}
        self._checked = 0
        self._author: dict[Digest, bytes] = {}
        """Counted contribution -> its author."""
        self._passed: Counter[bytes] = Counter()
        """Author -> audits that passed since it got its place."""

    def moved(self, moved: Moved) -> None:
        """Take each decision once, in order; rounds that nobody proposed here end the counting."""
        decision = moved.decision
        if decision is None or decision.round != self._checked + 1:
            return
        self._checked = decision.round
        self._count(moved.at_s, decision)
        places = moved.head.probation.members
        # An electorate that shrinks takes nobody's place, and gives none.
        most = min(8, max(1, self.facts.roll(decision.round).n // 4))
        if decision.probation.entered and len(places) > most:
            self.fail(moved.at_s, f"{len(places)} are on probation after round {decision.round}")

    def _count(self, at_s: float, decision: Decision) -> None:
        step, electors = decision.probation, {*self.facts.roll(decision.round).keys}
        for key in step.entered:
            self._passed[key] = 0
        for each in step.counted:
            self._author[each.commitment] = each.key
            if each.key in electors:
                self.fail(at_s, f"round {decision.round} has an elector on probation")
        for commitment in step.passed:
            author = self._author.pop(commitment, None)  # it passes once
            if author is None:
                self.fail(at_s, f"round {decision.round} passes what did not count, or did before")
            else:
                self._passed[author] += 1
        for key in {key for key, _ in decision.electors} - electors - self._listed:
            if self._needed and self._passed[key] < self._needed:
                text = f"round {decision.round} seats a stranger after {self._passed[key]} audits"
                self.fail(at_s, text)
