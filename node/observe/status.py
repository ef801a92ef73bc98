"""What a node says about itself, as plain values: the daemon fills it, control and CLI show it."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from node.types import PeerId


@dataclass(frozen=True)
class JobStatus:
    """One job as this node sees it now."""

    job: str
    """Job id, 64 hex digits."""
    name: str
    workload: str
    state: str
    """``waiting`` (no group yet), ``running``, ``done``, ``stopped`` or ``failed``."""
    reason: str
    """Why it is in this state, or why there is no group; empty while rounds close."""
    round: int
    """Round in progress, from 1."""
    rounds: int
    """Last round of the job."""
    phase: str
    """Step of the round (docs/protocol.md, "A round"), or ``sync``, or ``idle``."""
    view: int
    leader: str
    """Peer id of the view's leader; empty while no round runs."""
    electors: int
    faulty_max: int
    """f: liars that the electorate survives."""
    loss: float | None
    """This node's mean training loss of the last round."""
    metrics: Mapping[str, float]
    """Metrics of the last certified state that was evaluated."""
    metrics_round: int
    used: int
    """Contributions in the last certificate."""
    refused: Mapping[str, str]
    """Peer id -> reason, of the last certificate."""
    refusals: Mapping[str, int]
    """Reason -> count, over all certified rounds."""
    skips: int
    """Rounds certified as SKIP."""
    bytes_up: int
    bytes_down: int
    """Bytes of this job's messages since this node started, framing excluded."""
    calls: int
    """Calls made for this job since this node started."""
    round_seconds: Sequence[float]
    """Durations of the last certified rounds, newest last, at most 256."""
    params: int
    """Number of parameters, 0 before the worker has started."""
    state_root: str
    """Root of the last certified state, hex."""
    artifacts: Sequence[str]
    """Files written by the job on this machine."""
    weights: Mapping[str, float] = field(default_factory=dict)
    """Peer id -> weight that the rule gave its contribution in the last certificate, where this
    node computed it; about 1 in sum."""
    weights_mean: Mapping[str, float] = field(default_factory=dict)
    """Peer id -> mean of that weight over the rounds since this node started; 0 where its
    contribution was not used."""
    bans: Mapping[str, int] = field(default_factory=dict)
    """Peer id -> round whose certificate banned it from the job."""
    audits: Mapping[str, int] = field(default_factory=dict)
    """Verdict -> audits of others' work that this node made; ``steps``: local steps taken again;
    ``bytes``: of own local memory opened to auditors."""
    convicted: Mapping[str, int] = field(default_factory=dict)
    """Peer id -> round in which its work was false, as enough auditors found."""
    assurance: str = ""
    """How sure the results of the last certificate are, in words; empty before there is one."""
    probation: Mapping[str, int] = field(default_factory=dict)
    """Peer id -> audits passed, of who contributes on probation."""
    audits_needed: int = 0
    """Audits that a stranger must pass for a seat; 0: the job admits nobody on probation."""
    rule_liars: int = 0
    """Liars that the rule bears in the round in progress."""


@dataclass(frozen=True)
class PeerStatus:
    """One peer as this node sees it."""

    peer: PeerId
    addresses: Sequence[str]
    connected: bool
    score: float
    """0 is neutral; protocol errors lower it (docs/protocol.md, "Scores")."""
    expires_in_s: float
    bytes_up: int
    bytes_down: int
    errors: Mapping[str, int] = field(default_factory=dict)
    """Reason -> count of protocol errors seen from it."""
    serves_any: bool = False
    """It serves every job that the swarm publishes."""
    banned: str = ""
    """Why it is banned, in words; empty: it is not."""
    probation: str = ""
    """Where it is on probation and how far, in words; empty: nowhere."""


@dataclass(frozen=True)
class NodeStatus:
    """The whole node."""

    peer: PeerId
    version: str
    addresses: Sequence[str]
    """Full multiaddrs, ``/p2p/`` included: what others give to ``--join``."""
    uptime_s: float
    ready: bool
    """Transport, discovery and every job's worker are up."""
    membership: str
    """One sentence: alone, how many peers, split noticed or healed."""
    peers: Sequence[PeerStatus]
    jobs: Sequence[JobStatus]
    warnings: Sequence[str]
    """Facts that an operator should know: golden vector failed, slot log lost, n <= 3."""
