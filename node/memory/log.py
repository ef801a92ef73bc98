"""A job's batches on disk: newest ones as slots, older ones in segments of many, a proof as a slot.

Flow over the ``Store`` port. What a method wrote is durable when it returns. Layout and crash
points: docs/protocol.md, "Memory on disk".
"""

import asyncio
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from functools import partial

from node.errors import PeerError
from node.identity import Verifier
from node.ledger.forks import check_fork
from node.memory.batch import check_batch, check_content
from node.memory.config import MemorySpec
from node.memory.segment import AuthorLog, Index, Segment, cut, join, split
from node.ports import Compute, Store
from node.types import JobId, PeerId
from node.wire.convert_memory import (
    decode_batch,
    decode_fork,
    encode_batch,
    encode_fork,
)
from node.wire.memory_messages import Batch, ForkEvidence, SignedHeader

SEGMENT_BYTES = 4 << 20
"""Batches of an author leave the slots once they are so many bytes."""
SEGMENTS_CACHED = 4
CHECKED_PER_SLICE = 16
"""Signatures checked before other tasks run: about 2 ms."""
CHECK_S_PER_BYTE = 1e-9
"""Cost of reading and hashing, charged in simulation."""


class BatchLog:
    """The stored batches of one job.

    Args:
        store: the node's disk.
        compute: checks what is read, off the loop.
        job: whose batches.
        spec: form of entries.
    """

    def __init__(self, store: Store, compute: Compute, job: JobId, spec: MemorySpec) -> None:
        self._store = store
        self._compute = compute
        self._job = job
        self._spec = spec
        self._prefix = f"memory/{job.hex()}/"
        self._authors: dict[PeerId, AuthorLog] = {}
        self._cache: OrderedDict[tuple[PeerId, int], Mapping[int, bytes]] = OrderedDict()
        self._writing = asyncio.Lock()

    # Names -------------------------------------------------------------------------------------

    def _slot(self, author: PeerId, seq: int) -> str:
        return f"{self._prefix}{author}/b/{seq:015d}"

    def _named(self, author: PeerId, what: str) -> str:
        return f"{self._prefix}{author}/{what}"

    def _blob(self, author: PeerId, seq: int) -> str:
        return f"memory/{self._job.hex()[:32]}/{author}/{seq:015d}"

    def _of(self, author: PeerId) -> AuthorLog:
        return self._authors.setdefault(author, AuthorLog())

    # Loading -----------------------------------------------------------------------------------

    async def load(self, author: PeerId, verify: Verifier) -> list[SignedHeader] | ForkEvidence:
        """What is stored of an author and checks: consecutive headers, or the proof of its fork.

        A disk that gives bad bytes back costs the author's batches before them, no more: they are
        fetched again.
        """
        self._authors.pop(author, None)
        if (proof := await self._store.get(self._named(author, "fork"))) is not None:
            try:
                evidence = decode_fork(proof)
                check_fork(evidence, self._job, verify)
            except PeerError:
                await self._store.drop([self._named(author, "fork")])
            else:
                await self._clear(author)
                return evidence
        log = self._of(author)
        log.index = Index.decode(await self._store.get(self._named(author, "index")) or b"")
        await self._drop_dead(author, log)
        headers = await self._load_segments(author, log)
        await self._load_tail(author, log, headers, verify)
        return headers

    async def _load_segments(self, author: PeerId, log: AuthorLog) -> list[SignedHeader]:
        headers: list[SignedHeader] = []
        for segment in list(log.index.live):
            data = await self._store.read_blob(self._blob(author, segment.first)) or b""
            check = partial(self._checked, segment, data)
            found = await self._compute.maths(check, cost_s=segment.size * CHECK_S_PER_BYTE)
            if not found or (headers and not _follows(found[0], headers[-1])):
                headers.clear()
            headers += found
        return headers

    def _checked(self, segment: Segment, data: bytes) -> list[SignedHeader]:
        """The headers of a segment whose bytes are as they were written, or none; pure."""
        if not segment.matches(data):
            return []
        batches = [decode_batch(each) for each in split(data)]
        for batch in batches:
            check_content(batch, self._spec)
        return [batch.signed for batch in batches]

    async def _load_tail(
        self, author: PeerId, log: AuthorLog, headers: list[SignedHeader], verify: Verifier
    ) -> None:
        stale: list[str] = []
        for number, (key, data) in enumerate(await self._store.scan(self._named(author, "b/"))):
            if number % CHECKED_PER_SLICE == CHECKED_PER_SLICE - 1:
                await asyncio.sleep(0)
            try:
                batch = decode_batch(data)
                check_batch(batch, self._job, self._spec, verify)
            except PeerError:
                stale.append(key)
                continue
            seq = batch.header.seq
            if headers and seq <= headers[-1].header.seq:
                stale.append(key)  # left by a crash after its segment was written
                continue
            if headers and not _follows(batch.signed, headers[-1]):  # what a jump left behind
                headers.clear()
                stale += [self._slot(author, old) for old in log.tail]
                log.drop(list(log.tail))
            headers.append(batch.signed)
            log.add(seq, data)
        if stale:
            await self._store.drop(stale)

    async def signed(self) -> int:
        """One above the last seq that this node has signed."""
        return int.from_bytes(await self._store.get(self._prefix + "own") or b"", "big")

    # Writing -----------------------------------------------------------------------------------

    async def put(self, batches: Sequence[tuple[Batch, bytes]], *, own: bool = False) -> None:
        """Keep batches (with their encoding) that follow what is stored of their authors.

        Args:
            batches: in order.
            own: they are ours: also note, in the same write, how far we have signed.
        """
        async with self._writing:
            slots = {self._slot(b.header.author, b.header.seq): data for b, data in batches}
            if own:
                signed = batches[-1][0].header.seq + 1
                slots[self._prefix + "own"] = signed.to_bytes(8, "big")
            await self._store.put(slots)
            for batch, data in batches:
                self._of(batch.header.author).add(batch.header.seq, data)

    async def replace(self, author: PeerId, batches: Sequence[Batch]) -> None:
        """Keep these consecutive batches, all newer, in the place of what is stored."""
        async with self._writing:
            log = self._of(author)
            *parts, tail = cut(batches, SEGMENT_BYTES)
            # First the names of blobs to come, as if they were dead: a crash leaves none behind.
            for part in parts:
                log.index.bury(part[0].header.seq)
            await self._store.put({self._named(author, "index"): log.index.encode()})
            fresh = AuthorLog(index=Index([], list(log.index.dead)))
            for part in parts:  # encoded one by one, so that the loop is not held up
                data = [encode_batch(batch) for batch in part]
                await self._write_segment(author, fresh.index, data, part[0].header.seq)
            for segment in list(log.index.live):
                fresh.index.bury(segment.first)
            for batch in tail:
                fresh.add(batch.header.seq, encode_batch(batch))
            slots = {self._slot(author, seq): data for seq, data in fresh.tail.items()}
            # The index decides: before it is written the old batches count, then the new ones.
            await self._store.put(slots | {self._named(author, "index"): fresh.index.encode()})
            self._authors[author] = fresh
            self._forget(author)
            await self._store.drop([self._slot(author, seq) for seq in log.tail])
            await self._drop_dead(author, fresh)

    async def settle(self, author: PeerId, start: int) -> None:
        """Drop what is below ``start``, and move a long tail into a segment."""
        async with self._writing:
            log = self._of(author)
            below = [seq for seq in log.tail if seq < start]
            if below:
                await self._store.drop([self._slot(author, seq) for seq in below])
                log.drop(below)
            evicted = [s for s in log.index.live if s.last < start]
            moved = list(log.tail) if log.tail_bytes >= SEGMENT_BYTES else []
            if not evicted and not moved:
                return
            for segment in evicted:
                log.index.retire(segment)
            if moved:
                await self._write_segment(author, log.index, list(log.tail.values()), moved[0])
                log.drop(moved)
            await self._store.put({self._named(author, "index"): log.index.encode()})
            await self._store.drop([self._slot(author, seq) for seq in moved])
            await self._drop_dead(author, log)

    def is_due(self, author: PeerId, start: int) -> bool:
        """Is there anything for ``settle`` to do?"""
        log = self._of(author)
        return (
            log.tail_bytes >= SEGMENT_BYTES
            or any(s.last < start for s in log.index.live[:1])
            or next(iter(log.tail), start) < start
        )

    async def fork(self, evidence: ForkEvidence) -> None:
        """Keep the proof, then drop the author's batches."""
        async with self._writing:
            key = self._named(evidence.author, "fork")
            await self._store.put({key: encode_fork(evidence)})
            await self._clear(evidence.author)

    async def _write_segment(
        self, author: PeerId, index: Index, data: Sequence[bytes], first: int
    ) -> None:
        """Write a blob and count it; the index is the caller's to write."""
        chunks = join(data)
        await self._store.write_blob(self._blob(author, first), chunks)
        index.synced()
        index.add(Segment.of(first, first + len(data) - 1, chunks))

    async def _drop_dead(self, author: PeerId, log: AuthorLog) -> None:
        """Delete blobs that the index no longer counts; it names them until it is written again."""
        for first in log.index.dead:
            await self._store.drop_blob(self._blob(author, first))
        log.index.deleted()

    async def clear(self, author: PeerId) -> None:
        """Forget all batches of an author."""
        async with self._writing:
            await self._clear(author)

    async def _clear(self, author: PeerId) -> None:
        """Drop batches; the index stays, to delete what a crash brings back."""
        log = self._authors.setdefault(author, AuthorLog())
        if not log.index.live and not log.index.dead:
            log.index = Index.decode(await self._store.get(self._named(author, "index")) or b"")
        log.index.retire_all()
        await self._store.put({self._named(author, "index"): log.index.encode()})
        await self._drop_dead(author, log)
        keys = [key for key, _ in await self._store.scan(self._named(author, "b/"))]
        await self._store.drop(keys)
        log.drop(list(log.tail))
        self._forget(author)

    def _forget(self, author: PeerId) -> None:
        for key in [key for key in self._cache if key[0] == author]:
            del self._cache[key]

    # Reading -----------------------------------------------------------------------------------

    async def read(self, author: PeerId, seq: int) -> bytes | None:
        """An encoded batch, or None: it is not stored, or no longer."""
        log = self._authors.get(author)
        if log is None:
            return None
        if (data := log.tail.get(seq)) is not None:
            return data
        segment = log.index.holding(seq)
        if segment is None:
            return None
        key = (author, segment.first)
        if key not in self._cache:
            blob = await self._store.read_blob(self._blob(author, segment.first))
            if blob is None or not segment.matches(blob):
                return None
            found = dict(enumerate(split(blob), segment.first))
            self._cache[key] = found
            while len(self._cache) > SEGMENTS_CACHED:
                self._cache.popitem(last=False)
            return found.get(seq)
        self._cache.move_to_end(key)
        return self._cache[key].get(seq)


def _follows(later: SignedHeader, first: SignedHeader) -> bool:
    return later.header.seq == first.header.seq + 1 and later.header.prev == first.id
