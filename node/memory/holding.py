"""What is held of a job's memory, on disk first, then in the set: all changes are made here.

Flow. One author's changes are made one after the other. A batch is durable before it is shown to
peers or consumers, and a signed one before anybody sees it.
"""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Sequence
from contextlib import AsyncExitStack

from node.errors import PeerError, Unavailable
from node.identity import Verifier
from node.memory.chain import Place
from node.memory.config import MemorySpec
from node.memory.feed import Change, Feed
from node.memory.log import BatchLog
from node.memory.memory_set import MemorySet
from node.ports import Compute, Store
from node.types import JobId, PeerId
from node.wire.convert_memory import decode_batch, encode_batch
from node.wire.memory_messages import Batch, ForkEvidence, SignedHeader

Encoded = tuple[Batch, bytes]
"""A batch and its encoding."""


class Holding:
    """The set, its log, and who is told of changes.

    Args:
        job: whose memory.
        authors: who may author.
        spec: form of entries, and quotas.
        store: the node's disk.
        compute: checks what is read from it.
        verify: checks signatures.
        feed: consumers.
    """

    def __init__(
        self,
        job: JobId,
        authors: Iterable[PeerId],
        spec: MemorySpec,
        store: Store,
        compute: Compute,
        verify: Verifier,
        feed: Feed,
    ) -> None:
        self.job = job
        self.spec = spec
        self.verify = verify
        self.set = MemorySet(authors, spec)
        self.feed = feed
        self.log = BatchLog(store, compute, job, spec)
        self.trouble = ""
        """Why the disk takes nothing now."""
        self.on_news: Callable[[PeerId], None] = lambda author: None
        """Called with the author of each change."""
        self.on_fork: Callable[[ForkEvidence], Awaitable[None]] | None = None
        """Called with each new proof, and with those on disk."""
        self._locks = {author: asyncio.Lock() for author in self.set.authors}

    async def load(self) -> None:
        """Hold what is stored."""
        for author in self.set.authors:
            found = await self.log.load(author, self.verify)
            if isinstance(found, ForkEvidence):
                self.set.fork(found)
                if self.on_fork is not None:  # a crash may have come before it was told
                    await self.on_fork(found)
                continue
            self.set.restore(author, found)
            if not self.set.chain(author).is_complete:
                # A disk that lost what was durable: others have it whole.
                await self.log.clear(author)
                self.set.restore(author, ())
            await self._settle(author)

    async def append(
        self, author: PeerId, make: Callable[[SignedHeader | None], Sequence[Batch]]
    ) -> Sequence[Batch]:
        """Make own batches that follow the head, and take them once they are durable.

        Args:
            author: oneself.
            make: signs batches after the head; may raise.

        Raises:
            Unavailable: the disk takes nothing; nothing was shown to anybody.
        """
        async with self._locks[author]:
            batches = make(self.set.chain(author).head)
            await self._put([(batch, encode_batch(batch)) for batch in batches], own=True)
            for batch in batches:
                self.set.add(batch.signed)
            self.on_news(author)
            await self._settle(author)
        return batches

    async def accept(self, batches: Sequence[Encoded]) -> None:
        """Take checked batches of others that follow their heads; what does not is left out.

        Raises:
            Unavailable: the disk takes nothing.
        """
        authors = sorted({batch.header.author for batch, _ in batches})
        async with AsyncExitStack() as stack:
            for author in authors:  # in one order everywhere: nobody waits in a circle
                await stack.enter_async_context(self._locks[author])
            fresh = self._following(batches)
            await self._put(fresh)
            for batch, _ in fresh:
                if self.set.judge(batch.signed).place is Place.NEXT:
                    self._add(batch)
            for author in authors:
                self.on_news(author)
                await self._settle(author)

    def _following(self, batches: Sequence[Encoded]) -> list[Encoded]:
        """Those that follow the head or one another."""
        fresh: list[Encoded] = []
        last: dict[PeerId, SignedHeader | None] = {}
        for batch, data in batches:
            chain = self.set.chain(batch.header.author)
            head = last.get(chain.author, chain.head)
            follows = batch.header.prev == (head.id if head else b"")
            if follows and not chain.is_forked:
                fresh.append((batch, data))
                last[chain.author] = batch.signed
        return fresh

    def _add(self, batch: Batch) -> None:
        author = batch.header.author
        self.set.add(batch.signed)
        self.feed.push(Change(author, batch, self.set.chain(author).first_entry))

    async def jump(self, author: PeerId) -> None:
        """Put a complete stage in the place of what is held.

        Raises:
            Unavailable: the disk takes nothing; the stage is gone.
        """
        async with self._locks[author]:
            stage = self.set.stages.get(author)
            chain = self.set.chain(author)
            if stage is None or not stage.chain.is_complete or chain.is_forked:
                return
            if stage.chain.next <= chain.next:
                del self.set.stages[author]
                return
            assert stage.chain.start > chain.next, "a stage begins beyond a gap"
            batches = list(stage.batches)
            try:
                await self._watch(self.log.replace(author, batches))
            except Unavailable:
                self.set.stages.pop(author, None)
                raise
            if self.set.stages.get(author) is not stage:
                self.set.stages[author] = stage  # given up meanwhile; but it is stored by now
            self.set.jump(author)
            for batch in batches:
                self.feed.push(Change(author, batch, batches[0].header.first_entry))
            self.on_news(author)

    async def fork(self, evidence: ForkEvidence) -> bool:
        """Drop all of an author whose fork is proven; False: it was known.

        Raises:
            Unavailable: the disk takes nothing.
        """
        author = evidence.author
        async with self._locks[author]:
            if self.set.chain(author).is_forked:
                return False
            await self._watch(self.log.fork(evidence))
            self.set.fork(evidence)
            self.feed.push(Change(author, None, 0))
            self.on_news(author)
        if self.on_fork is not None:
            await self.on_fork(evidence)
        return True

    async def replay(self) -> AsyncIterator[Change]:
        """All that is held at the first step, by author and from the oldest."""
        for line in self.set.lines():
            for seq in range(line.start, line.next):
                data = await self.log.read(line.author, seq)
                if data is None:
                    continue  # evicted meanwhile
                try:
                    batch = decode_batch(data)
                except PeerError:
                    continue  # the disk gave other bytes back
                yield Change(line.author, batch, self.set.chain(line.author).first_entry)

    async def _put(self, batches: Sequence[Encoded], *, own: bool = False) -> None:
        if batches:
            await self._watch(self.log.put(batches, own=own))

    async def _settle(self, author: PeerId) -> None:
        start = self.set.chain(author).start
        if self.log.is_due(author, start):
            await self._watch(self.log.settle(author, start))

    async def _watch(self, writing: Awaitable[None]) -> None:
        try:
            await writing
        except Unavailable as error:
            self.trouble = str(error)
            raise
        self.trouble = ""
