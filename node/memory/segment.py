"""Many batches in one blob, and the index of an author's blobs. Pure: bytes in, bytes out."""

import struct
from bisect import bisect_right
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from blake3 import blake3

from node.types import DIGEST_BYTES
from node.wire.memory_messages import Batch

_LENGTH = struct.Struct("<I")
_HEAD = struct.Struct("<II")
_SEGMENT = struct.Struct(f"<QQQ{DIGEST_BYTES}s")
_DEAD = struct.Struct("<Q")


def join(batches: Sequence[bytes]) -> list[bytes]:
    """The chunks of a segment: each batch after its length, u32 little-endian."""
    chunks: list[bytes] = []
    for data in batches:
        chunks += (_LENGTH.pack(len(data)), data)
    return chunks


def split(data: bytes) -> list[bytes]:
    """Inverse of ``join`` for bytes whose digest was checked."""
    batches: list[bytes] = []
    at = 0
    while at < len(data):
        (size,) = _LENGTH.unpack_from(data, at)
        at += _LENGTH.size
        batches.append(data[at : at + size])
        at += size
    return batches


@dataclass(frozen=True, slots=True)
class Segment:
    """One blob: batches ``first`` to ``last``."""

    first: int
    last: int
    size: int
    """Bytes of the blob."""
    digest: bytes

    @classmethod
    def of(cls, first: int, last: int, chunks: Sequence[bytes]) -> "Segment":
        """The segment with this content."""
        hasher = blake3()
        for chunk in chunks:
            hasher.update(chunk)
        return cls(first, last, sum(map(len, chunks)), hasher.digest())

    def matches(self, data: bytes) -> bool:
        """Whether a blob is as it was written."""
        return len(data) == self.size and blake3(data).digest() == self.digest


@dataclass
class Index:
    """An author's blobs, by rising seq."""

    live: list[Segment] = field(default_factory=list)
    dead: list[int] = field(default_factory=list)
    """First seqs of blobs that are to be deleted, or were: a crash may bring one back until the
    folder is synced by the next blob that is written."""
    gone: int = field(default=0, compare=False)
    """So many of ``dead``, from its start, were deleted in this life."""

    def add(self, segment: Segment) -> None:
        """Count a blob that was written."""
        self.live.append(segment)
        if segment.first in self.dead:
            self.gone -= self.dead.index(segment.first) < self.gone
            self.dead.remove(segment.first)

    def retire(self, segment: Segment) -> None:
        """Count a blob no more."""
        self.live.remove(segment)
        self.bury(segment.first)

    def bury(self, first: int) -> None:
        """Name a blob that is to be deleted, if it is there."""
        if first not in self.dead:
            self.dead.append(first)

    def retire_all(self) -> None:
        """Count no blob."""
        for segment in list(self.live):
            self.retire(segment)

    def deleted(self) -> None:
        """All dead blobs were deleted just now."""
        self.gone = len(self.dead)

    def synced(self) -> None:
        """A blob was written: those deleted before stay so, and need no name."""
        del self.dead[: self.gone]
        self.gone = 0

    def holding(self, seq: int) -> Segment | None:
        """The segment with batch ``seq``."""
        at = bisect_right(self.live, seq, key=lambda segment: segment.first) - 1
        if at < 0 or self.live[at].last < seq:
            return None
        return self.live[at]

    def encode(self) -> bytes:
        """Bytes of the slot."""
        parts = [_HEAD.pack(len(self.live), len(self.dead))]
        parts += [_SEGMENT.pack(s.first, s.last, s.size, s.digest) for s in self.live]
        parts += [_DEAD.pack(first) for first in self.dead]
        return b"".join(parts)

    @classmethod
    def decode(cls, data: bytes) -> "Index":
        """Inverse of ``encode``; empty bytes, or bytes of another length, are an empty index."""
        if len(data) < _HEAD.size:
            return cls()
        live, dead = _HEAD.unpack_from(data)
        if len(data) != _HEAD.size + live * _SEGMENT.size + dead * _DEAD.size:
            return cls()
        at = _HEAD.size
        segments = [
            Segment(*_SEGMENT.unpack_from(data, at + k * _SEGMENT.size)) for k in range(live)
        ]
        at += live * _SEGMENT.size
        firsts = [_DEAD.unpack_from(data, at + k * _DEAD.size)[0] for k in range(dead)]
        return cls(segments, firsts)


@dataclass
class AuthorLog:
    """What one author has on disk: the tail is in memory too."""

    tail: dict[int, bytes] = field(default_factory=dict)
    """Encoded batches in slots, by rising seq; a suffix."""
    tail_bytes: int = 0
    index: Index = field(default_factory=Index)

    def add(self, seq: int, data: bytes) -> None:
        """A batch was written to its slot."""
        self.tail[seq] = data
        self.tail_bytes += len(data)

    def drop(self, seqs: Iterable[int]) -> None:
        """These slots are gone, or will be."""
        for seq in seqs:
            self.tail_bytes -= len(self.tail.pop(seq, b""))


def cut(batches: Sequence[Batch], size: int) -> list[list[Batch]]:
    """Cut batches into parts with bodies of at least ``size`` bytes, and a last, smaller one.

    The last may be empty.
    """
    parts: list[list[Batch]] = [[]]
    filled = 0
    for batch in batches:
        parts[-1].append(batch)
        filled += len(batch.body)
        if filled >= size:
            parts.append([])
            filled = 0
    return parts
