"""Where nodes stand, and what one that is behind asks for, as plain values.

Checked in form by ``convert`` and ``convert_ledger``.
"""

from dataclasses import dataclass

from node.types import Digest, JobId


@dataclass(frozen=True, slots=True)
class ChainRequest:
    """Ask for consecutive certificates."""

    job: JobId
    from_round: int
    count: int


@dataclass(frozen=True, slots=True)
class StateRequest:
    """Ask for the chunks of one state."""

    job: JobId
    state_root: Digest
    chunks: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Ack:
    """The receipt of a round message: where the receiver stands."""

    round: int
    prev: Digest
