"""The simulated disk and the store on it: what a crash leaves, and what a full disk refuses."""

import asyncio
from collections import Counter

import numpy as np
import pytest

from node.errors import Unavailable
from node.observe.status import JobStatus
from node.types import PeerId
from simulator.host.disk import SimDisk
from simulator.host.store import COMPACT_BYTES_MIN, LOG, SimStore, read_log, record
from simulator.scenario import HostSection, Scenario
from simulator.seeds import rng
from simulator.world import World

PEER = PeerId("12D3KooWDisk")
DRAWS = 60


def crashed(seed: int) -> np.random.Generator:
    return rng(seed, "crash")


# The disk


@pytest.mark.parametrize("seed", range(DRAWS))
async def test_a_crash_keeps_all_that_was_fsynced_and_cuts_what_was_not(seed: int) -> None:
    disk = SimDisk()
    disk.append("log", b"synced")
    disk.fsync("log", disk.append("log", b"+"))
    disk.append("log", b"volatile")
    disk.crash(crashed(seed))
    kept = disk.read("log")
    assert kept is not None
    assert kept.startswith(b"synced+")
    tail = kept[7:]
    assert len(tail) <= 8
    assert b"volatile".startswith(tail.rstrip(b"\0"))
    assert disk.used_bytes == len(kept)
    disk.crash(crashed(seed + 1))
    assert disk.read("log") == kept, "a second crash takes nothing more"


def test_every_kind_of_torn_tail_is_drawn() -> None:
    seen: Counter[str] = Counter()
    for seed in range(200):
        disk = SimDisk()
        disk.fsync("log", disk.append("log", b"s"))
        disk.append("log", b"volatile")
        disk.crash(crashed(seed))
        tail = (disk.read("log") or b"")[1:]
        seen["none" if not tail else "all" if tail == b"volatile" else
             "zeros" if tail.endswith(b"\0") else "part"] += 1  # fmt: skip
    assert min(seen[kind] for kind in ("none", "part", "zeros", "all")) > 20


def test_a_replacement_that_was_not_fsynced_is_the_old_or_the_new_file() -> None:
    seen: Counter[bytes | None] = Counter()
    for seed in range(DRAWS):
        disk = SimDisk()
        disk.replace("blob", b"old")
        disk.fsync_folder()
        disk.replace("blob", b"between")
        disk.replace("blob", b"newer")
        disk.crash(crashed(seed))
        seen[disk.read("blob")] += 1
        assert disk.used_bytes == len(disk.read("blob") or b"")
    assert set(seen) == {b"old", b"newer"}


def test_a_removed_file_may_come_back_until_the_folder_is_fsynced() -> None:
    seen: Counter[bytes | None] = Counter()
    for seed in range(DRAWS):
        disk = SimDisk()
        disk.replace("blob", b"old")
        disk.fsync_folder()
        disk.remove("blob")
        disk.crash(crashed(seed))
        seen[disk.read("blob")] += 1
        disk.remove("blob")
        disk.fsync_folder()
        disk.crash(crashed(seed))
        assert disk.read("blob") is None
    assert set(seen) == {b"old", None}


def test_a_full_disk_refuses_writes_and_changes_nothing() -> None:
    disk = SimDisk(capacity_bytes=10)
    disk.append("log", b"12345")
    disk.replace("blob", b"123")
    for write in (lambda: disk.append("log", b"123"), lambda: disk.replace("blob", b"124")):
        with pytest.raises(OSError, match="No space left"):
            write()
    assert (disk.read("log"), disk.read("blob"), disk.used_bytes) == (b"12345", b"123", 8)
    disk.remove("blob")
    assert disk.append("log", b"67890") == 10


# The store


@pytest.mark.parametrize("seed", range(DRAWS))
async def test_after_a_crash_returned_puts_are_there_and_the_others_whole_or_absent(
    seed: int,
) -> None:
    store = SimStore(fsync_s=0.01).open(PEER)
    draw = rng(seed, "test")
    returned: list[int] = []

    async def write(number: int) -> None:
        await asyncio.sleep(float(draw.uniform(0, 0.05)))
        await store.put({f"a/{number}": b"%d" % number, f"b/{number}": bytes(number)})
        returned.append(number)

    tasks = [asyncio.get_running_loop().create_task(write(number)) for number in range(20)]
    blob = asyncio.get_running_loop().create_task(store.write_blob("blob", [b"x" * 100]))
    await asyncio.sleep(float(draw.uniform(0, 0.06)))
    for task in (*tasks, blob):
        task.cancel()
    await asyncio.gather(*tasks, blob, return_exceptions=True)
    wrote_blob = not blob.cancelled()
    store.crash(crashed(seed))
    store.open(PEER)
    assert not store.slots_lost
    slots = dict(await store.scan(""))
    for number in range(20):
        here = {f"a/{number}", f"b/{number}"} & set(slots)
        assert len(here) in (0, 2), "a batch is torn"
        assert here or number not in returned, "a returned put is lost"
        assert slots.get(f"b/{number}", bytes(number)) == bytes(number)
    kept = await store.read_blob("blob")
    assert kept == b"x" * 100 or (kept is None and not wrote_blob)
    # What was torn is cut off: what is written after it can be read again.
    await store.put({"later": b"1"})
    assert SimStore.open(store, PEER) is store
    assert await store.get("later") == b"1"


def test_a_log_is_read_up_to_its_first_bad_record_wherever_it_is_bad() -> None:
    first, second = record({"a": b"1", "b": None}), record({"a": None, "c": b"3"})
    log = first + second
    assert read_log(log) == ({"c": b"3"}, len(log))
    for at in range(len(first), len(log)):
        assert read_log(log[:at]) == ({"a": b"1"}, len(first))
        flipped = log[:at] + bytes([log[at] ^ 1]) + log[at + 1 :]
        assert read_log(flipped) == ({"a": b"1"}, len(first))
        assert read_log(log[:at] + bytes(64))[1] <= len(log)
    assert read_log(first + bytes(100)) == ({"a": b"1"}, len(first))


@pytest.mark.parametrize("seed", range(10))
async def test_the_log_stays_short_and_a_crash_in_its_compaction_loses_nothing(seed: int) -> None:
    store = SimStore(fsync_s=0.001).open(PEER)
    longest = 0
    for number in range(400):
        await store.put({"slot": b"%d" % number + bytes(200), f"kept/{number % 5}": b"%d" % number})
        longest = max(longest, len(store.disk.read(LOG) or b""))
        if number % 37 == 0:
            store.crash(rng(seed, "crash", number))
            store.open(PEER)
            assert (await store.get("slot") or b"").startswith(b"%d\0" % number)
    assert longest < 2 * COMPACT_BYTES_MIN
    assert [value for _, value in await store.scan("kept/")] == [b"395", b"396", b"397", b"398",
                                                                 b"399"]  # fmt: skip


async def test_puts_that_wait_together_become_durable_in_the_order_of_the_log() -> None:
    store = SimStore(fsync_s=0.01).open(PEER)
    await asyncio.gather(*(store.put({"last": b"%d" % i}) for i in range(50)))
    assert asyncio.get_running_loop().time() == pytest.approx(0.01)
    assert await store.get("last") == b"49"
    store.crash(crashed(0))
    assert await store.open(PEER).get("last") == b"49"


async def test_a_lost_slot_log_stays_lost_and_the_blobs_stay() -> None:
    store = SimStore().open(PEER)
    assert not store.slots_lost
    await store.put({"slot": b"1"})
    await store.write_blob("blob", [b"2"])
    store.crash(crashed(0))
    assert not store.open(PEER).slots_lost
    store.crash(crashed(1))
    store.lose_slots()
    for life in range(2):
        assert store.open(PEER).slots_lost
        assert await store.get("slot") is None
        assert await store.read_blob("blob") == b"2"
        await store.put({"new": b"3"})
        store.crash(crashed(life))
    store.wipe()
    assert store.open(PEER).slots_lost
    assert await store.read_blob("blob") is None


async def test_a_dead_daemon_cannot_write() -> None:
    store = SimStore().open(PEER)
    store.crash(crashed(0))
    with pytest.raises(AssertionError, match="dead"):
        await store.put({"slot": b"1"})


async def test_a_full_disk_is_unavailable_for_writes_and_still_read() -> None:
    store = SimStore(disk_bytes=4096).open(PEER)
    await store.put({"slot": b"1"})
    with pytest.raises(Unavailable, match="slot log cannot be written: No space"):
        await store.put({"large": bytes(5000)})
    with pytest.raises(Unavailable, match="blob store does not work: No space"):
        await store.write_blob("large", [bytes(5000)])
    store.fill()
    with pytest.raises(Unavailable):
        await store.put({"slot": b"2"})
    assert await store.get("slot") == b"1"
    store.unfill()
    await store.put({"slot": b"2"})
    assert await store.get("slot") == b"2"


# Daemons on it


def job_of(world: World, index: int) -> JobStatus:
    daemon = world.nodes[index].daemon
    assert daemon is not None
    return daemon.list_jobs()[0]


async def until(world: World, state: str, *nodes: int, limit_s: float = 300.0) -> None:
    async with asyncio.timeout(limit_s):
        while not all(job_of(world, i).state == state for i in nodes):
            await asyncio.sleep(0.2)


async def test_a_full_disk_fails_the_job_and_not_the_node_and_the_job_starts_anew() -> None:
    world = World(Scenario(nodes=5, rounds=120), seed=1)
    async with world:
        for index in range(5):
            await world.start(index)
        await world.submit()
        while job_of(world, 2).round < 5:
            await asyncio.sleep(0.1)
        daemon, store = world.nodes[2].daemon, world.nodes[2].store
        assert daemon is not None
        assert world.job is not None
        store.fill()
        await until(world, "failed", 2)
        stood = job_of(world, 2)
        assert "No space left" in stood.reason
        # Longer than a record lives: the node announces itself again all the same.
        await asyncio.sleep(30)
        with pytest.raises(Unavailable, match="No space left"):
            await daemon.submit(world.job[1], {})
        store.unfill()
        await daemon.submit(world.job[1], {})
        await until(world, "done", *range(5))
        done = [job_of(world, index) for index in range(5)]
        assert len({job.state_root for job in done}) == 1
        assert all(job.used == 5 for job in done), "it does not contribute again"
        assert not any(job.refusals.get("equivocation") for job in done)


async def test_a_disk_that_is_full_for_long_loses_no_peer_for_good() -> None:
    world = World(Scenario(nodes=3, rounds=1), seed=2)
    async with world:
        for index in range(3):
            await world.start(index)
        await world.submit()
        await until(world, "done", 0, 1, 2)
        world.nodes[1].store.fill()
        await asyncio.sleep(400)
        node = world.nodes[1].daemon
        assert node is not None
        assert world.nodes[1].task is not None
        assert not world.nodes[1].task.done(), "the node died of a full disk"
        world.nodes[1].store.unfill()
        await asyncio.sleep(60)
        first = world.nodes[0].daemon
        assert first is not None
        lives = {peer.peer: peer.expires_in_s for peer in first.status().peers}
        assert lives[world.nodes[1].peer] > 0, "it was never announced again"


@pytest.mark.parametrize("seed", range(4))
async def test_slow_disks_that_tear_their_last_write_lose_nothing_certified(seed: int) -> None:
    host = HostSection(fsync_s=0.02)
    world = World(Scenario(nodes=4, rounds=14, hosts=(host,)), seed=seed)
    draw = rng(seed, "moments")
    async with world:
        for index in range(4):
            await world.start(index)
        await world.submit()
        for turn in range(8):
            await asyncio.sleep(float(draw.uniform(0.3, 1.0)))
            victim = turn % 4
            before = job_of(world, victim).round
            await world.crash(victim)
            daemon = await world.start(victim)
            while not daemon.list_jobs() or not job_of(world, victim).params:
                await asyncio.sleep(0.01)
            assert job_of(world, victim).round >= before, "a certified round is lost"
        await until(world, "done", *range(4))
        done = [job_of(world, index) for index in range(4)]
        assert len({job.state_root for job in done}) == 1
        assert not any(job.refusals.get("equivocation") for job in done)
