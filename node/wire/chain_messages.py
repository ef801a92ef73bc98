"""What a node asks for that is behind, as plain values, checked in form by ``convert_ledger``."""

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
