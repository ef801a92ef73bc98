"""What the memory in a stopped node's folder proves, and every way in which it may not."""

import asyncio
from contextlib import closing
from pathlib import Path

import numpy as np
import pytest

from node.adapters.file_store import open_store
from node.identity import Identity, verify
from node.jobs.stopped_folder import open_stopped
from node.jobs.verify_memory import MemoryReport, verify_memory
from node.ledger.frontier import Frontier
from node.memory import log as log_module
from node.memory.batch import make_batch
from node.memory.config import MemorySpec
from node.memory.log import BatchLog
from node.merkle import digest
from node.wire.convert_memory import encode_batch
from node.wire.memory_messages import Batch, ForkEvidence, MemoryReach
from simulator.host.compute import SimCompute
from tests.unit.stored import edit, flip
from workloads.api import Entries

SPEC = MemorySpec(key_dims=8)
JOB = digest("job", b"verify memory")
AUTHOR, OTHER = Identity(b"a" * 32), Identity(b"b" * 32)
SIZES = [3, 1, 4, 1, 5, 9, 2, 6]
IN_SEGMENTS = 5
"""Batches that the log has moved into segments; the rest are in slots."""
FRONTIER: Frontier = (MemoryReach(AUTHOR.peer_id, len(SIZES), sum(SIZES)),)


def chain(author: Identity, salt: int = 0) -> list[Batch]:
    rng = np.random.default_rng(salt)
    batches: list[Batch] = []
    for size in SIZES:
        entries = Entries(
            rng.integers(-9, 9, (size, 8)).astype(np.int8),
            rng.normal(0, 1, size).astype(np.float32),
            np.empty((size, 0), np.uint8),
        )
        previous = batches[-1].signed if batches else None
        batches.append(make_batch(entries, previous, JOB, SPEC, author))
    return batches


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    async def write() -> None:
        batches = [(batch, encode_batch(batch)) for batch in chain(AUTHOR)]
        with closing(open_store(tmp_path, OTHER.peer_id)) as store:
            log = BatchLog(store, SimCompute(), JOB, SPEC)
            await log.put(batches[:IN_SEGMENTS])
            monkeypatch.setattr(log_module, "SEGMENT_BYTES", 1)
            await log.settle(AUTHOR.peer_id, 0)
            await log.put(batches[IN_SEGMENTS:])

    asyncio.run(write())
    return tmp_path


def look(folder: Path, frontier: Frontier = FRONTIER) -> MemoryReport:
    with open_stopped(folder) as stopped:
        return verify_memory(stopped, JOB, frontier, verify)


def slot(author: Identity, rest: str) -> str:
    return f"memory/{JOB.hex()}/{author.peer_id}/{rest}"


def test_a_good_memory_counts_segments_and_slots(folder: Path) -> None:
    assert len(list((folder / "blobs").iterdir())) == 1
    assert look(folder) == MemoryReport(entries=sum(SIZES))


def test_what_is_certified_and_not_here_is_counted_and_no_fault(folder: Path) -> None:
    ahead = (
        MemoryReach(AUTHOR.peer_id, len(SIZES) + 1, sum(SIZES) + 7),
        MemoryReach(OTHER.peer_id, 2, 5),
    )
    assert look(folder, ahead) == MemoryReport(entries=sum(SIZES), entries_behind=12)


@pytest.mark.parametrize("at", [0.1, 0.5, 0.99])
def test_a_flipped_bit_in_a_segment_is_found(folder: Path, at: float) -> None:
    (blob,) = (folder / "blobs").iterdir()
    data = blob.read_bytes()
    blob.write_bytes(flip(data, int(at * len(data))))
    assert "the segment of batch 0 is not as it was written" in look(folder).reason


@pytest.mark.parametrize("at", range(10))
def test_a_flipped_bit_in_a_slot_is_found(folder: Path, at: int) -> None:
    edit(folder, slot(AUTHOR, f"b/{6:015d}"), lambda data: flip(data, at * len(data) // 10))
    report = look(folder)
    assert report.reason.startswith(f"The memory of {AUTHOR.peer_id} does not verify: ")
    assert report.entries == sum(SIZES[:6])


def test_a_batch_of_another_chain_is_found(folder: Path) -> None:
    foreign = encode_batch(chain(AUTHOR, salt=1)[6])
    edit(folder, slot(AUTHOR, f"b/{6:015d}"), lambda _: foreign)
    assert "batch 6 contradicts the one before it" in look(folder).reason


def test_a_batch_of_another_author_is_found(folder: Path) -> None:
    foreign = encode_batch(chain(OTHER)[6])
    edit(folder, slot(AUTHOR, f"b/{6:015d}"), lambda _: foreign)
    assert "batch 6 is one of " in look(folder).reason


def test_before_a_gap_nothing_counts(folder: Path) -> None:
    edit(folder, slot(AUTHOR, f"b/{6:015d}"), None)
    assert look(folder) == MemoryReport(entries=SIZES[7])


def test_a_proven_fork_leaves_nothing_to_verify(folder: Path) -> None:
    one, other = chain(AUTHOR)[3].signed, chain(AUTHOR, salt=1)[3].signed

    async def write() -> None:
        with closing(open_store(folder, OTHER.peer_id)) as store:
            await BatchLog(store, SimCompute(), JOB, SPEC).fork(ForkEvidence(one, other))

    asyncio.run(write())
    assert look(folder, ()) == MemoryReport()
