"""A memory's log on a disk that tears, loses and brings back: what was taken is there."""

import asyncio
from collections.abc import Coroutine, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from node.memory import log as log_module
from node.memory.chain import Chain
from node.memory.config import MemoryPace, MemorySpec
from node.memory.feed import Feed
from node.memory.holding import Holding
from node.memory.log import BatchLog
from node.memory.memory_set import Stage
from node.memory.segment import Index, Segment, join, split
from node.merkle import digest
from node.types import PeerId
from node.wire.convert_memory import encode_batch
from node.wire.memory_messages import Batch, ForkEvidence
from simulator.host.compute import SimCompute
from simulator.host.signer import KeyedSigner, verify
from simulator.host.store import SimStore
from simulator.loop import run
from simulator.memory_liar import chain_of
from simulator.memory_world import JOB

SPEC = MemorySpec(key_dims=20, entries_per_author=60, batches_per_author=64)
SIGNER = KeyedSigner(digest("author", b"log"))
AUTHOR = SIGNER.peer_id
HOST = KeyedSigner(digest("host", b"log")).peer_id
SIZES = [int(n) for n in np.random.default_rng(1).integers(1, 6, 260)]
CHAIN = chain_of(SIGNER, SPEC, SIZES)
OTHER = PeerId("other")


@pytest.fixture(autouse=True)
def small_segments(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(log_module, "SEGMENT_BYTES", 2000)


@dataclass
class Disk:
    """One author's memory over many lives."""

    store: SimStore
    holding: Holding | None = None

    async def open(self) -> Holding:
        store = self.store.open(HOST)
        pace = MemoryPace()
        self.holding = Holding(
            JOB, [AUTHOR], SPEC, store, SimCompute(), verify, Feed(pace.queue_batches)
        )
        await self.holding.load()
        return self.holding

    async def crash_in(self, work: Coroutine[Any, Any, Any], after_s: float, seed: int) -> bool:
        """Crash in the midst of ``work``; False: it was done before."""
        task = asyncio.ensure_future(work)
        await asyncio.sleep(after_s)
        done = task.done()
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        self.store.crash(np.random.default_rng(seed))
        return not done


def encoded(batches: Sequence[Batch]) -> list[tuple[Batch, bytes]]:
    return [(batch, encode_batch(batch)) for batch in batches]


async def jump_to(holding: Holding, last: int) -> None:
    """As a pull does that found a gap: the newest that fit the quota, staged, then taken."""
    stage = Stage(OTHER, Chain(AUTHOR, SPEC))
    for batch in CHAIN[holding.set.chain(AUTHOR).next + 1 : last + 1]:
        stage.add(batch)
    assert stage.chain.is_complete
    holding.set.stages[AUTHOR] = stage
    await holding.jump(AUTHOR)


async def held(holding: Holding) -> list[Batch]:
    return [change.batch async for change in holding.replay() if change.batch is not None]


steps = st.lists(
    st.tuples(
        st.sampled_from(["accept", "accept", "accept", "jump", "crash", "restart"]),
        st.integers(1, 12),
        st.integers(0, 2**31),
        st.floats(0.0, 0.05),
    ),
    max_size=25,
)


@settings(max_examples=60, deadline=None)
@given(steps)
def test_what_was_taken_is_there_after_any_crash(
    acts: list[tuple[str, int, int, float]],
) -> None:
    async def main() -> None:
        disk = Disk(SimStore(fsync_s=0.004))
        holding = await disk.open()
        for what, count, seed, after_s in acts:
            chain = holding.set.chain(AUTHOR)
            following = chain.next
            if following + count > 200:
                break
            batches = encoded(CHAIN[following : following + count])
            if what == "accept":
                await holding.accept(batches)
            elif what == "jump":
                await jump_to(holding, following + count + 40)
            else:
                work = holding.accept(batches)
                if what == "crash" and seed % 3 == 0:
                    work.close()
                    work = jump_to(holding, following + count + 40)
                await disk.crash_in(work, after_s, seed)
                holding = await disk.open()
                chain = holding.set.chain(AUTHOR)
                assert chain.next >= following  # nothing that was taken is lost
            await check(holding)
        disk.store.crash(np.random.default_rng(0))

    run(main())


async def check(holding: Holding) -> None:
    chain = holding.set.chain(AUTHOR)
    assert chain.is_complete
    expected = CHAIN[chain.start : chain.next]
    assert await held(holding) == expected
    disk = holding.log._store.disk  # type: ignore[attr-defined]
    blobs = {int(name[-15:]) for name in disk.names() if name.startswith("blobs/")}
    index = holding.log._of(AUTHOR).index
    assert blobs <= {segment.first for segment in index.live} | set(index.dead), "a lost blob"
    assert len(index.dead) < 40


def test_a_fork_clears_the_disk_and_stays_known() -> None:
    async def main() -> None:
        disk = Disk(SimStore(fsync_s=0.004))
        holding = await disk.open()
        await holding.accept(encoded(CHAIN[:30]))
        twin = chain_of(SIGNER, SPEC, SIZES[:1], 9.0)[0]
        proof = ForkEvidence(CHAIN[0].signed, twin.signed)
        for seed in range(6):
            await disk.crash_in(holding.fork(proof), 0.003 * seed, seed)
            holding = await disk.open()
        assert await holding.fork(proof) in (True, False)
        disk.store.crash(np.random.default_rng(0))
        holding = await disk.open()
        assert holding.set.chain(AUTHOR).is_forked
        assert holding.set.entries == 0
        assert [n for n in disk.store.disk.names() if n.startswith("blobs/")] == []
        assert not await holding.log._store.scan(f"memory/{JOB.hex()}/{AUTHOR}/b/")
        await holding.accept(encoded(CHAIN[:3]))
        assert holding.set.entries == 0

    run(main())


def test_a_disk_that_gives_other_bytes_back_costs_one_author_at_most() -> None:
    async def main() -> None:
        disk = Disk(SimStore())
        holding = await disk.open()
        for start in range(0, 40, 5):
            await holding.accept(encoded(CHAIN[start : start + 5]))
        names = [n for n in disk.store.disk.names() if n.startswith("blobs/")]
        assert len(names) > 1
        rotten = bytearray(disk.store.disk.read(names[-1]) or b"")
        rotten[len(rotten) // 2] ^= 1
        disk.store.disk.replace(names[-1], bytes(rotten))
        disk.store.disk.fsync_folder()
        holding = await disk.open()
        assert holding.set.entries == 0  # not whole: it is fetched again
        await holding.accept(encoded(CHAIN[:40]))
        await check(holding)
        disk.store.crash(np.random.default_rng(0))
        await check(await disk.open())

    run(main())


async def _signed(log: BatchLog) -> int:
    return await log.signed()


def test_how_far_we_signed_is_kept_apart_from_the_batches() -> None:
    async def main() -> None:
        disk = Disk(SimStore())
        holding = await disk.open()
        await holding.append(AUTHOR, lambda head: CHAIN[:2])
        await holding.append(AUTHOR, lambda head: CHAIN[2:3])
        await holding.log.clear(AUTHOR)
        holding = await disk.open()
        assert holding.set.chain(AUTHOR).next == 0
        assert await _signed(holding.log) == 3

    run(main())


@given(st.lists(st.binary(max_size=20), max_size=8))
def test_a_segment_is_split_as_it_was_joined(datas: list[bytes]) -> None:
    chunks = join(datas)
    assert split(b"".join(chunks)) == datas
    segment = Segment.of(3, 3 + len(datas), chunks)
    assert segment.matches(b"".join(chunks))
    assert not segment.matches(b"".join(chunks) + b"\0")


@given(st.lists(st.integers(0, 2**40), max_size=5))
def test_an_index_reads_as_it_was_written(firsts: list[int]) -> None:
    live = [Segment(f, f + 2, 9, bytes(32)) for f in sorted(set(firsts))]
    index = Index(live, firsts)
    assert Index.decode(index.encode()) == index
    assert Index.decode(index.encode()[:-1]) == Index()
    for segment in live[-1:]:
        assert index.holding(segment.first + 2) == segment
        assert index.holding(segment.first + 3) is None
