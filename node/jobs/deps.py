"""What the jobs of a node need of it, passed as values."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from node.errors import PeerError
from node.identity import Signer, Verifier
from node.jobs.proofs import Proofs
from node.memory.methods import MemoryMethods
from node.ports import Behaviour, Ports
from node.ranges import Ranges
from node.types import PeerId


@dataclass(frozen=True)
class RunnerDeps:
    """What a runner needs of its node."""

    ports: Ports
    signer: Signer
    verify: Verifier
    may_vote: bool
    """False after the slot log was lost: what this node signed before is not known."""
    behaviour: Behaviour
    failpoint: Callable[[str, int], None]
    """Called with (phase, round)."""
    on_blame: Callable[[PeerId, PeerError], None]
    artifacts: Path
    """Folder for what jobs draw."""
    memories: MemoryMethods
    """Answers peers for the shared memories of jobs."""
    proofs: Proofs
    """Evidence that this node holds."""
    ranges: Ranges
    """How many peers of one address range may have what is scarce."""
    on_electors: Callable[[], None]
    """An electorate changed."""
    on_event: Callable[..., None]
    """Structured log: (event, **fields)."""
