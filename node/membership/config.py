"""What the membership service is told."""

from collections.abc import Sequence
from dataclasses import dataclass, field

from node.ranges import Ranges


@dataclass(frozen=True)
class MembershipConfig:
    """What the service is told. Durations are seconds."""

    swarm: str
    join: Sequence[str] = ()
    """Bootstrap peers: multiaddrs that end with /p2p/ID."""
    announce: Sequence[str] = ()
    """Addresses to tell; empty: those of the transport."""
    peers_max: int = 256
    ranges: Ranges = field(default_factory=Ranges)
    """How many of them may be of one address range."""
    version: str = ""
    incarnation: int = 0
    """How often the slot log was lost."""
    serves_any: bool = False
    """We serve every job that the swarm publishes."""
    quick_s: float = 0.15
    """Pause between turns at first ..."""
    quick_for_s: float = 1.5
    """... for so long; then each is 1.5 times the last, up to ``period_s``."""
    period_s: float = 5.0
    call_timeout_s: float = 5.0
    ttl_s: float = 120.0
    """Life of our record, announced again at a third of it: a silent peer is missed after that."""
