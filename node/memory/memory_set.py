"""All that a node holds of a job's shared memory: one chain an author, and jumps under way.

Pure. Two sets that exchanged everything are equal, whatever the order (property-tested against a
naive version in tests/unit/test_memory_merge.py).
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from node.errors import ConfigError
from node.identity import public_key_of
from node.ledger.frontier import memory_root
from node.memory.chain import Chain, Judgement, Place
from node.memory.config import MemorySpec
from node.types import Digest, PeerId
from node.wire.limits import AUTHORS_MAX
from node.wire.memory_messages import Batch, BatchHeader, ForkEvidence, MemoryLine, SignedHeader


@dataclass
class Stage:
    """A newer suffix of an author, whose beginning lies beyond a gap, while peers give it.

    It takes the place of what is held once it is complete: until then others may still fill the
    gap, and a peer that stops half-way has changed nothing. What is in it is the author's, so that
    another peer may go on where a slow one is.
    """

    peer: PeerId
    """Who gives it now."""
    chain: Chain
    batches: list[Batch] = field(default_factory=list)
    begun_by: PeerId | None = None
    """Who chose where it begins; None: ``peer``."""

    def hand_to(self, peer: PeerId) -> None:
        """Let another peer go on."""
        self.begun_by = self.begun_by or self.peer
        self.peer = peer

    @property
    def is_chosen(self) -> bool:
        """Did its peer choose where it begins?"""
        return self.begun_by in (None, self.peer)

    def add(self, batch: Batch) -> None:
        """Take the next batch; what no longer fits is dropped."""
        for _ in self.chain.add(batch.signed):
            self.batches.pop(0)
        self.batches.append(batch)


class MemorySet:
    """The chains of all authors.

    Args:
        authors: who may author, at most 64; the same on all nodes.
        spec: form and quotas.

    Raises:
        ConfigError: no author, too many, or one without an Ed25519 key.
    """

    def __init__(self, authors: Iterable[PeerId], spec: MemorySpec) -> None:
        self.authors: Sequence[PeerId] = tuple(sorted(set(authors)))
        self.spec = spec
        if not 1 <= len(self.authors) <= AUTHORS_MAX:
            raise ConfigError(f"shared memory has 1 to {AUTHORS_MAX} authors")
        for author in self.authors:
            public_key_of(author)
        self._chains = {author: Chain(author, spec) for author in self.authors}
        self.stages: dict[PeerId, Stage] = {}

    def __contains__(self, author: PeerId) -> bool:
        return author in self._chains

    def chain(self, author: PeerId) -> Chain:
        """What is held of one author."""
        return self._chains[author]

    @property
    def entries(self) -> int:
        """Entries held."""
        return sum(chain.entries for chain in self._chains.values())

    @property
    def bytes(self) -> int:
        """Bodies and overhead held."""
        return sum(chain.bytes for chain in self._chains.values())

    def lines(self) -> list[MemoryLine]:
        """What is held, by author."""
        return [self._chains[author].line for author in self.authors]

    def evidence(self) -> list[ForkEvidence]:
        """All evidence held, by author."""
        chains = (self._chains[author] for author in self.authors)
        return [chain.evidence for chain in chains if chain.evidence is not None]

    def root(self) -> Digest:
        """Identity of the set."""
        return memory_root(self.lines())

    def judge(self, signed: SignedHeader) -> Judgement:
        """Where a header of an author stands, against what is held and what is staged."""
        author = signed.header.author
        judgement = self._chains[author].judge(signed)
        stage = self.stages.get(author)
        if judgement.place is Place.GAP and stage is not None:
            staged = stage.chain.judge(signed)
            if staged.evidence is not None:
                return staged
        return judgement

    def add(self, signed: SignedHeader) -> list[BatchHeader]:
        """Take a header that is NEXT; what that evicts."""
        author = signed.header.author
        evicted = self._chains[author].add(signed)
        stage = self.stages.get(author)
        if stage is not None and stage.chain.start <= self._chains[author].next:
            del self.stages[author]  # the gap is filled: no jump is needed
        return evicted

    def jump(self, author: PeerId) -> list[Batch]:
        """Put a complete stage in the place of what is held; its batches."""
        stage = self.stages.pop(author)
        assert stage.chain.is_complete
        assert stage.chain.next > self._chains[author].next
        self._chains[author] = stage.chain
        return stage.batches

    def restore(self, author: PeerId, headers: Iterable[SignedHeader]) -> None:
        """Hold what was stored: consecutive headers."""
        chain = Chain(author, self.spec)
        for signed in headers:
            chain.add(signed)
        self._chains[author] = chain

    def fork(self, evidence: ForkEvidence) -> bool:
        """Drop all of an author whose fork is proven; False: it was known."""
        chain = self._chains[evidence.author]
        if chain.is_forked:
            return False
        self.stages.pop(evidence.author, None)
        chain.fork(evidence)
        return True
