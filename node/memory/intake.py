"""Takes the batches of one stream in, one by one: what was asked, in its order, and nothing else.

Pure. Every batch gives one outcome, or a PeerError that is the sender's fault, after which the
stream is closed. Implements docs/protocol.md, "Asking for batches".
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from enum import Enum

from node.errors import Malformed, PeerError, TooLarge
from node.identity import Verifier
from node.memory.batch import ContentError, check_batch
from node.memory.chain import Chain, Judgement, Place
from node.memory.memory_set import MemorySet, Stage
from node.types import JobId, PeerId
from node.wire.memory_messages import Batch, BatchWant, ForkEvidence


class Step(Enum):
    """What to do with a batch that was sent."""

    SKIP = "nothing: it is held by now"
    APPEND = "it follows the head: store it, then add it"
    STAGED = "kept until the jump that it belongs to is complete"
    JUMP = "the stage is complete: store it, then jump"
    FORK = "it proves that its author forked"


@dataclass(frozen=True, slots=True)
class Outcome:
    """One batch's step."""

    step: Step
    batch: Batch
    evidence: ForkEvidence | None = None


@dataclass
class _Cursor:
    """How far one want is answered."""

    next: int
    left: int
    """Bytes that may still come; one batch may in any case."""
    begun: bool = False
    """Something came."""


@dataclass
class Intake:
    """One stream from one peer.

    Args:
        job: whose memory.
        held: what is held now; changed by the caller between calls, and by stages here.
        verify: checks signatures.
        peer: who sends.
        wants: what was asked.
    """

    job: JobId
    held: MemorySet
    verify: Verifier
    peer: PeerId
    wants: Sequence[BatchWant]
    pending: dict[PeerId, Batch] = field(default_factory=dict)
    """Last batch of each author that is to be appended but is not yet added."""

    def __post_init__(self) -> None:
        self._cursors = {w.author: _Cursor(w.from_seq, w.bytes_max) for w in self.wants}
        self._compared = {
            w.author for w in self.wants if self.held.chain(w.author).next > w.from_seq
        }
        """Authors of whom the peer told another head at the same seq."""

    def take(self, batch: Batch, size: int) -> Outcome:
        """Judge the next batch of the stream (peer input).

        Args:
            batch: decoded.
            size: its encoded bytes.

        Raises:
            PeerError: it was not asked for, is out of order, or does not check.
        """
        h = batch.header
        cursor = self._cursors.get(h.author)
        if cursor is None:
            raise Malformed(f"a batch of {h.author}, of whom none was asked", self.peer)
        cursor.left -= size
        if cursor.left < 0 and cursor.begun:
            raise TooLarge("more bytes of an author than asked", self.peer)
        if h.seq != cursor.next and (cursor.begun or h.seq < cursor.next):
            raise Malformed(f"batch {h.seq} where {cursor.next} comes next", self.peer)
        begun, cursor.begun, cursor.next = cursor.begun, True, h.seq + 1
        return self._judged(batch, is_base=not begun)

    def _judged(self, batch: Batch, *, is_base: bool) -> Outcome:
        chain = self.held.chain(batch.header.author)
        known = chain.at(batch.header.seq)
        if chain.is_forked or (known is not None and known.id == batch.signed.id):
            if is_base and batch.header.author in self._compared and not chain.is_forked:
                raise Malformed("it told of another head than it has", self.peer)
            return Outcome(Step.SKIP, batch)
        try:
            check_batch(batch, self.job, self.held.spec, self.verify)
        except ContentError:
            # Signed, so the header may still prove a fork. The batch itself is taken by nobody.
            if (evidence := self.held.judge(batch.signed).evidence) is not None:
                return Outcome(Step.FORK, batch, evidence)
            raise
        judgement = self._place(batch)
        if judgement.evidence is not None:
            return Outcome(Step.FORK, batch, judgement.evidence)
        if judgement.place is Place.NEXT:
            self.pending[batch.header.author] = batch
            return Outcome(Step.APPEND, batch)
        if judgement.place is Place.GAP:
            return self._staged(batch, is_base=is_base)
        return Outcome(Step.SKIP, batch)

    def _place(self, batch: Batch) -> Judgement:
        """Judge against the set, and the batches of this stream that are not in it yet."""
        last = self.pending.get(batch.header.author)
        chain = self.held.chain(batch.header.author)
        if last is None or last.header.seq < chain.next:
            self.pending.pop(batch.header.author, None)
            return self.held.judge(batch.signed)
        tail = Chain(batch.header.author, self.held.spec)
        tail.add(last.signed)
        return tail.judge(batch.signed)

    def _staged(self, batch: Batch, *, is_base: bool) -> Outcome:
        author = batch.header.author
        stage = self.held.stages.get(author)
        if stage is not None and stage.peer == self.peer:
            judgement = stage.chain.judge(batch.signed)
            if judgement.evidence is not None:
                return Outcome(Step.FORK, batch, judgement.evidence)
            if judgement.place is Place.HELD:
                return Outcome(Step.SKIP, batch)
            if judgement.place is not Place.NEXT:
                stage = None  # its sender evicted what comes next: begin again
        elif stage is not None:
            return Outcome(Step.SKIP, batch)  # another peer was asked, since this one is slow
        if stage is None:
            if not is_base:
                return Outcome(Step.SKIP, batch)  # the same, and the other is done or gave up
            stage = Stage(self.peer, Chain(author, self.held.spec))
            self.held.stages[author] = stage
        stage.add(batch)
        if stage.chain.is_complete:
            return Outcome(Step.JUMP, batch)
        return Outcome(Step.STAGED, batch)


def at_fault(error: PeerError, sender: PeerId, author: PeerId | None) -> Sequence[PeerId]:
    """Whom a bad batch is blamed on: its sender, and its author too if it signed what is wrong.

    An honest peer checks a batch before it passes it on.
    """
    if isinstance(error, ContentError) and author is not None and author != sender:
        return (sender, author)
    return (sender,)
