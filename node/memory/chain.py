"""What is held of one author: the newest batches of its chain that fit the quota, or a proof.

Pure. The held range is a function of the head alone (``fits``), so that two nodes with one head
hold the same. Implements docs/protocol.md, "What is kept".
"""

from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass
from enum import Enum

from node.ledger.forks import contradict
from node.memory.config import BATCH_OVERHEAD_BYTES, MemorySpec
from node.types import PeerId
from node.wire.memory_messages import BatchHeader, ForkEvidence, MemoryLine, SignedHeader


class Place(Enum):
    """Where a header stands in relation to what is held."""

    NEXT = "it follows the head"
    HELD = "it is held, or was"
    GAP = "batches between it and the head are missing"
    FORKED = "its author forked: nothing more is taken"


@dataclass(frozen=True, slots=True)
class Judgement:
    """Where a header stands, or the proof that it gives."""

    place: Place
    evidence: ForkEvidence | None = None
    """New evidence: the header contradicts one that is held."""


class Chain:
    """The held suffix of one author's chain.

    Args:
        author: whose it is.
        spec: quotas.
    """

    def __init__(self, author: PeerId, spec: MemorySpec) -> None:
        self.author = author
        self.evidence: ForkEvidence | None = None
        self._spec = spec
        self._held: deque[SignedHeader] = deque()
        self.bytes = 0
        """Bodies and overhead held."""

    def __len__(self) -> int:
        return len(self._held)

    @property
    def is_forked(self) -> bool:
        """Is there evidence?"""
        return self.evidence is not None

    @property
    def head(self) -> SignedHeader | None:
        """The newest batch."""
        return self._held[-1] if self._held else None

    @property
    def next(self) -> int:
        """The seq that would follow."""
        return self._held[-1].header.seq + 1 if self._held else 0

    @property
    def start(self) -> int:
        """The oldest seq held; ``next`` if there is none."""
        return self._held[0].header.seq if self._held else self.next

    @property
    def first_entry(self) -> int:
        """Index of the oldest entry held; 0 if there is none."""
        return self._held[0].header.first_entry if self._held else 0

    @property
    def end_entry(self) -> int:
        """Entries that the author made so far, evicted ones included."""
        return self._held[-1].header.end_entry if self._held else 0

    @property
    def entries(self) -> int:
        """Entries held."""
        return self.end_entry - self.first_entry

    @property
    def line(self) -> MemoryLine:
        """What peers are told."""
        if self.evidence is not None:
            return MemoryLine(self.author, forked=True)
        if not self._held:
            return MemoryLine(self.author)
        head = self._held[-1]
        return MemoryLine(self.author, self.start, self.next, head.header.end_entry, head.id)

    @property
    def is_complete(self) -> bool:
        """Does it hold all that fits the quota of its head?

        The oldest batch tells where the one before it begins, so this needs nothing else.
        """
        if not self._held:
            return True
        oldest = self._held[0].header
        return (
            oldest.seq == 0
            or len(self._held) >= self._spec.batches_per_author
            or self.end_entry - oldest.prev_first_entry > self._spec.entries_quota
        )

    def at(self, seq: int) -> SignedHeader | None:
        """The held header of ``seq``."""
        index = seq - self.start
        return self._held[index] if 0 <= index < len(self._held) else None

    def headers(self) -> list[SignedHeader]:
        """All that is held, oldest first."""
        return list(self._held)

    def judge(self, signed: SignedHeader) -> Judgement:
        """Where a header of this author stands; its signature must have been checked."""
        if self.evidence is not None:
            return Judgement(Place.FORKED)
        seq = signed.header.seq
        if (held := self.at(seq)) is not None and held.id == signed.id:
            return Judgement(Place.HELD)
        for near in self._near(seq):
            if contradict(near, signed):
                return Judgement(Place.FORKED, ForkEvidence(near, signed))
        if seq == self.next:
            return Judgement(Place.NEXT)
        return Judgement(Place.GAP if seq > self.next else Place.HELD)

    def _near(self, seq: int) -> Iterable[SignedHeader]:
        """Held headers that one of ``seq`` could contradict: its neighbours, or the nearest end."""
        if not self._held:
            return
        for other in (seq, seq - 1, seq + 1):
            if (held := self.at(other)) is not None:
                yield held
        if seq > self.next:
            yield self._held[-1]
        elif seq < self.start - 1:
            yield self._held[0]

    def add(self, signed: SignedHeader) -> list[BatchHeader]:
        """Append a header whose place is NEXT, or any to an empty chain; what that evicts."""
        assert self.evidence is None
        assert not self._held or signed.header.seq == self.next
        self._held.append(signed)
        self.bytes += signed.header.body_bytes + BATCH_OVERHEAD_BYTES
        evicted: list[BatchHeader] = []
        while not self._fits():
            oldest = self._held.popleft().header
            self.bytes -= oldest.body_bytes + BATCH_OVERHEAD_BYTES
            evicted.append(oldest)
        return evicted

    def _fits(self) -> bool:
        spec = self._spec
        return len(self._held) <= spec.batches_per_author and self.entries <= spec.entries_quota

    def fork(self, evidence: ForkEvidence) -> None:
        """Drop all: the author is proven to have forked."""
        self.evidence = evidence
        self._held.clear()
        self.bytes = 0
