"""Messages of shared memory as values: what ``convert_memory`` decodes to."""

from dataclasses import dataclass
from enum import IntEnum

from node.types import Digest, JobId, PeerId


class KeyType(IntEnum):
    """How keys are stored; the numbers are those of the wire."""

    INT8 = 1
    FP16 = 2

    @property
    def bytes(self) -> int:
        """Bytes of one coordinate."""
        return 1 if self is KeyType.INT8 else 2


@dataclass(frozen=True, slots=True)
class BatchHeader:
    """What an author signs; fields as in memory.proto."""

    job: JobId
    author: PeerId
    seq: int
    prev: bytes
    """Id of the author's batch before; empty for the first."""
    first_entry: int
    prev_first_entry: int
    entries: int
    key_dims: int
    key_type: KeyType
    key_scale: float
    """Of int8 keys; 0.0 for fp16. A float32 value."""
    payload_bytes: int
    body_hash: Digest

    @property
    def end_entry(self) -> int:
        """One above the author's last entry in this batch."""
        return self.first_entry + self.entries

    @property
    def entry_bytes(self) -> int:
        """Bytes of one entry in the body."""
        return 4 + self.key_dims * self.key_type.bytes + self.payload_bytes

    @property
    def body_bytes(self) -> int:
        """Length of the body."""
        return self.entries * self.entry_bytes


@dataclass(frozen=True, slots=True)
class SignedHeader:
    """A header as it was received, its identity, and its signature."""

    header: BatchHeader
    raw: bytes
    """The exact bytes that are signed and hashed."""
    signature: bytes
    id: Digest


@dataclass(frozen=True, slots=True)
class Batch:
    """A header and the columns that it describes, not yet looked at."""

    signed: SignedHeader
    body: bytes

    @property
    def header(self) -> BatchHeader:
        """The parsed header."""
        return self.signed.header


@dataclass(frozen=True, slots=True)
class ForkEvidence:
    """Two headers of one author that contradict each other."""

    one: SignedHeader
    other: SignedHeader

    @property
    def author(self) -> PeerId:
        """Who forked, once it is checked."""
        return self.one.header.author


@dataclass(frozen=True, slots=True)
class MemoryLine:
    """What a peer holds of one author: batches ``start`` to ``next - 1``."""

    author: PeerId
    start: int = 0
    next: int = 0
    entries: int = 0
    """Entries that the author made up to the last batch, evicted ones included."""
    head: bytes = b""
    """Id of the last batch; empty: none."""
    forked: bool = False


@dataclass(frozen=True, slots=True)
class MemoryReach:
    """How far an author of shared memory is, as a decision certifies it."""

    author: PeerId
    next: int
    """Batches below this are there, held by an honest elector at least."""
    entries: int
    """Entries, in the same sense."""


@dataclass(frozen=True, slots=True)
class MemoryRequest:
    """What the caller of "memory/1" holds."""

    job: JobId
    lines: tuple[MemoryLine, ...]
    hint: bool = False
    """Only news, and nothing is asked."""


@dataclass(frozen=True, slots=True)
class MemoryReply:
    """What the callee holds, and evidence that the caller lacks."""

    lines: tuple[MemoryLine, ...] = ()
    evidence: tuple[ForkEvidence, ...] = ()


@dataclass(frozen=True, slots=True)
class BatchWant:
    """One author's batches from ``from_seq`` on, up to ``bytes_max`` encoded bytes."""

    author: PeerId
    from_seq: int
    bytes_max: int


@dataclass(frozen=True, slots=True)
class BatchesRequest:
    """What the caller of "batches/1" wants."""

    job: JobId
    wants: tuple[BatchWant, ...]


@dataclass(frozen=True, slots=True)
class Question:
    """What the workload of the caller of "inquire/1" asks ours."""

    job: JobId
    body: bytes
