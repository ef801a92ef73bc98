"""Peer input raises only scored errors, and an honest node is never held to lie.

Some breaches of form come of the network alone: a proposal that arrives twice, a message of a
round that a node has left or that a restart brings again. They are scored lightly (reason
``protocol``), and their texts are listed here; any other blame of an honest node is a violation.
"""

import traceback
from collections.abc import Mapping

from simulator.invariants.base import Check

BENIGN = (
    "a second proposal for one view",  # delivered twice, or sent again after a lost receipt
)


class NoFalseBlame(Check):
    """Honest nodes blame liars only."""

    name = "no_false_blame"

    def event(self, at_s: float, node: int, event: str, fields: Mapping[str, object]) -> None:
        """Look at blames between honest nodes, and at failed daemons."""
        if event == "daemon_failed":
            error = fields["error"]
            assert isinstance(error, BaseException)
            frames = [f.name for f in traceback.extract_tb(error.__traceback__)[-3:]]
            text = f"node-{node}: {error!r} in {' > '.join(frames)}"
            self.fail(at_s, text, "only_peer_errors")
        if event == "convicted" and self.facts.is_honest(node):
            name = next(
                (n for p, n in self.facts.nodes_by_peer.items() if p == fields["peer"]), None
            )
            if name is not None and self.facts.is_honest(name.index):
                text = f"node-{node} holds evidence against honest {name.name}: {fields['reason']}"
                self.fail(at_s, text, "no_honest_ban")
        if event != "peer_error" or not self.facts.is_honest(node):
            return
        blamed = next((n for p, n in self.facts.nodes_by_peer.items() if p == fields["peer"]), None)
        if blamed is None or not self.facts.is_honest(blamed.index):
            return
        reason, text = str(fields["reason"]), str(fields["text"])
        if reason == "refused" or (reason == "protocol" and text.startswith(BENIGN)):
            return
        self.fail(at_s, f"node-{node} blames honest {blamed.name}: {reason}: {text}")


class NoFalseConviction(Check):
    """Whoever enough auditors convict is a liar, whatever liars find and honest nodes suffer."""

    name = "no_false_conviction"

    def event(self, at_s: float, node: int, event: str, fields: Mapping[str, object]) -> None:
        """Look at convictions, and at what honest electors found of honest work and answers."""
        if event not in ("judged", "audited", "answer_false") or not self.facts.is_honest(node):
            return
        found = next((n for p, n in self.facts.nodes_by_peer.items() if p == fields["peer"]), None)
        if found is None or not self.facts.is_honest(found.index):
            return
        if event == "judged":
            self.fail(at_s, f"node-{node} convicts honest {found.name} for {fields['round']}")
        elif event == "answer_false" or fields["verdict"] in ("mismatch", "breach"):
            self.fail(
                at_s,
                f"node-{node} finds the work of honest {found.name} in round {fields['round']}"
                f" false: {fields['why']}",
                "no_false_finding",
            )
