"""What a job shows of itself while it runs; written by the runner, read by status."""

from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from node.ledger.assurance import assurance
from node.types import PeerId
from node.wire.messages import Decision

ROUNDS_SHOWN = 256
"""Durations that are remembered."""


@dataclass
class Audits:
    """What a job's audits came to on this node."""

    done: dict[str, int] = field(default_factory=dict)
    """Verdict -> audits that this node made."""
    convicted: dict[PeerId, int] = field(default_factory=dict)
    """Peer -> round in which its work was false, as enough auditors found."""
    steps: int = 0
    seconds: float = 0.0
    """Local steps of others that were taken again here, and how long that took."""
    bytes_opened: int = 0
    """Bytes of own local memory that auditors were given."""

    def shown(self) -> dict[str, int]:
        """As status shows it; empty while there was nothing."""
        costs = {"steps": self.steps, "bytes": self.bytes_opened}
        return {**self.done, **{name: cost for name, cost in costs.items() if cost}}


@dataclass
class Progress:
    """Nothing here decides anything."""

    state: str = "waiting"
    reason: str = "starting the workload"
    params: int = 0
    warning: str = ""
    loss: float | None = None
    metrics: Mapping[str, float] = field(default_factory=dict)
    metrics_round: int = 0
    used: int = 0
    refused: Mapping[str, str] = field(default_factory=dict)
    weights: Mapping[str, float] = field(default_factory=dict)
    """Peer -> weight of its contribution in the last certified round, where it was computed."""
    weight_sums: dict[str, float] = field(default_factory=dict)
    """The same summed over all rounds in which this node computed weights."""
    rounds_weighed: int = 0
    """How many these are."""
    round_seconds: deque[float] = field(default_factory=lambda: deque(maxlen=ROUNDS_SHOWN))
    artifacts: Sequence[str] = ()
    audits: Audits = field(default_factory=Audits)
    assurance: str = ""
    """How sure the results of the last round that was no SKIP are."""

    def take(self, decision: Decision, ids: Sequence[PeerId]) -> None:
        """A round was decided; ``ids`` are its electors."""
        self.state, self.reason = "running", ""
        self.used = len(decision.plan)
        self.refused = {ids[e]: why for e, why in decision.refused}
        self.assurance = assurance(decision, len(ids)) or self.assurance

    def weigh(self, weights: Mapping[str, float]) -> None:
        """What the rule made of a round's contributions; empty where this node did not reduce."""
        self.weights = weights
        if weights:
            self.rounds_weighed += 1
            for peer, weight in weights.items():
                self.weight_sums[peer] = self.weight_sums.get(peer, 0.0) + weight

    @property
    def weights_mean(self) -> dict[str, float]:
        """Peer -> mean weight over the rounds weighed, 0 where its contribution was not used."""
        return {peer: total / self.rounds_weighed for peer, total in self.weight_sums.items()}
