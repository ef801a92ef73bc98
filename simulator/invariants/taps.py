"""What honest nodes hold in a round, taken at its steps: rows, results, states before.

References only: the node never changes these buffers in place.
"""

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from node.types import Digest

if TYPE_CHECKING:
    from node.jobs.geometry import Geometry
    from node.jobs.runner import JobRunner
    from node.state.outer import OuterState
    from node.wire.messages import Decision


@dataclass(frozen=True)
class Applied:
    """A decision's results, and the state that they were applied to."""

    round: int
    g: "Geometry"
    before: "OuterState"
    results: tuple[tuple[Digest, bytes], ...]
    """(root, encoded bytes) of each part."""


@dataclass
class Taps:
    """What was taken of the newest rounds."""

    applied: dict[Digest, Applied] = field(default_factory=dict)
    """Decision -> its results, as the first honest voter held them."""
    rows: dict[tuple[int, Digest], tuple[bytes, ...]] = field(default_factory=dict)
    """(round, commitment id) -> encoded parts of an honest contribution."""

    def phase(
        self, runner: "JobRunner", phase: str, round_: int, decisions: "dict[Digest, Decision]"
    ) -> None:
        """An honest node reached a step."""
        flow, replica = runner.flow, runner.replica
        if flow is None or replica is None or flow.context.round != round_:
            return
        core = flow.machine.core
        if phase == "scatter" and flow.work.own_parts and "commit" in core.slots:
            self.rows[round_, core.slots["commit"].id] = tuple(flow.work.own_parts)
        elif phase == "vote" and core.agreement.lock is not None:
            id_ = core.agreement.lock.decision_id
            decision = decisions.get(id_)
            if decision is None or decision.skip or id_ in self.applied:
                return
            if all(name in core.results for name in decision.result_roots):
                results = tuple((name, core.results[name][1]) for name in decision.result_roots)
                self.applied[id_] = Applied(round_, replica.g, replica.state, results)

    def forget(self, before_round: int) -> None:
        """Let go of old rounds."""
        self.applied = {k: a for k, a in self.applied.items() if a.round >= before_round}
        self.rows = {k: r for k, r in self.rows.items() if k[0] >= before_round}
