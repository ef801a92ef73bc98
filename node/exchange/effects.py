"""What a round asks of the world: the outputs of the pure machine, carried out in order.

A ``Persist`` or ``Convicted`` is on disk before any later effect is carried out.
"""

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from node.errors import PeerError
from node.exchange.reduction import Resolution
from node.types import Digest
from node.wire.messages import (
    Certificate,
    Decision,
    Evidence,
    PrepareCertificate,
    RoundBody,
    Signed,
)

if TYPE_CHECKING:
    from node.exchange.checking import Proof


@dataclass(frozen=True, slots=True)
class Persist:
    """Put a signed value, or the lock, into its slot; a restart sends it again word for word."""

    slot: str
    value: Signed | PrepareCertificate


@dataclass(frozen=True, slots=True)
class Send:
    """Tell electors something."""

    to: tuple[int, ...]
    body: RoundBody


@dataclass(frozen=True, slots=True)
class ScatterParts:
    """Send our own encoded parts to a reducer, with our commitment."""

    to: int
    commitment: Signed
    parts: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class SpreadResults:
    """Send result bytes that we computed to electors."""

    to: tuple[int, ...]
    plan_id: Digest
    parts: tuple[int, ...]
    result: Signed | None


@dataclass(frozen=True, slots=True)
class StartTimer:
    """Call ``on_timer(name)`` after ``delay_s``."""

    name: str
    delay_s: float


@dataclass(frozen=True, slots=True)
class Screen:
    """Check rows and compute the Gram of each part; answer with ``on_screened``."""

    list_id: Digest
    listed: tuple[int, ...]
    parts: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Reduce:
    """Compute the results of some parts; answer with ``on_reduced``."""

    plan_id: Digest
    resolution: Resolution
    rule: str
    parts: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Apply:
    """Compute the state that follows from these results; answer with ``on_applied``."""

    roots: tuple[Digest, ...]


@dataclass(frozen=True, slots=True)
class Sketch:
    """Sketch our own parts under a beacon; answer with ``on_sketched``."""

    beacon_id: Digest
    value: Digest


@dataclass(frozen=True, slots=True)
class Check:
    """Compare sketches with Gram matrices and results; answer with ``on_checked``."""

    proof: "Proof"


@dataclass(frozen=True, slots=True)
class Fetch:
    """Get signed messages or results by id from one of ``ask``; answer with ``on_fetched``."""

    ids: tuple[Digest, ...]
    ask: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class KeepResults:
    """Put the bytes of these results on disk before any later effect is carried out."""

    roots: tuple[Digest, ...]


@dataclass(frozen=True, slots=True)
class Phase:
    """The round went on to another step; for status, failpoints and deadlines."""

    name: str


@dataclass(frozen=True, slots=True)
class Convicted:
    """Evidence against an elector, checked and new here; to be on disk before any later effect."""

    elector: int
    evidence: Evidence = field(repr=False)


@dataclass(frozen=True, slots=True)
class Blame:
    """An elector broke the protocol; nothing changed by its message."""

    elector: int
    error: PeerError


@dataclass(frozen=True, slots=True)
class Certified:
    """The round is decided."""

    certificate: Certificate
    decision: Decision


Effect = (
    Persist
    | Send
    | ScatterParts
    | SpreadResults
    | StartTimer
    | Screen
    | Reduce
    | Apply
    | Sketch
    | Check
    | Fetch
    | KeepResults
    | Phase
    | Convicted
    | Blame
    | Certified
)
