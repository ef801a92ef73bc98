"""What a decision says of those on probation, as plain values. docs/protocol.md, "Probation"."""

from dataclasses import dataclass

from node.types import Digest


@dataclass(frozen=True, slots=True)
class Counted:
    """A contribution on probation that counts; it has no weight in any aggregate."""

    key: bytes
    """Its author's public key."""
    round: int
    """The round whose start its steps begin from: that of the list, or one of a few before it."""
    commitment: Digest


@dataclass(frozen=True, slots=True)
class ProbationStep:
    """What one decision changes of the probation of strangers."""

    entered: tuple[bytes, ...] = ()
    """Public keys that get a place, rising."""
    counted: tuple[Counted, ...] = ()
    """By rising key."""
    passed: tuple[Digest, ...] = ()
    """Commitments whose steps their auditor found true, rising."""


NO_STEP = ProbationStep()
