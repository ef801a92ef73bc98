"""One suite on every Store, and what only a folder can show: locks, shared fsyncs.

Kill -9: tests/network/test_store_kill.py. Crashes of the simulated disk:
tests/simulation/test_disk.py.
"""

import asyncio
import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from node.adapters.file_store import FileStore, open_store
from node.errors import ConfigError
from node.identity import Identity
from node.ports import Store
from simulator.host.store import SimStore

PEER = Identity(bytes(32)).peer_id
OTHER = Identity(bytes([1]) * 32).peer_id


@pytest.fixture(params=["file", "simulated"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Store]:
    if request.param == "simulated":
        yield SimStore().open(PEER)
        return
    opened = open_store(tmp_path / "data", PEER)
    yield opened
    opened.close()


@pytest.fixture
def file_store(tmp_path: Path) -> Iterator[FileStore]:
    opened = open_store(tmp_path / "data", PEER)
    yield opened
    opened.close()


async def test_what_was_put_is_got_replaced_and_dropped(store: Store) -> None:
    await store.put({"slot/1/commit": b"one", "slot/2": b""})
    assert await store.get("slot/1/commit") == b"one"
    assert await store.get("slot/2") == b""
    assert await store.get("slot/3") is None
    await store.put({"slot/1/commit": b"two"})
    assert await store.get("slot/1/commit") == b"two"
    await store.drop(["slot/1/commit", "slot/9"])
    assert await store.get("slot/1/commit") is None


async def test_scan_gives_exactly_the_prefix_sorted_by_key(store: Store) -> None:
    await store.put({key: key.encode() for key in ["b/2", "b/10", "b", "ba", "c", "B/1"]})
    assert [key for key, _ in await store.scan("b/")] == ["b/10", "b/2"]
    assert [key for key, _ in await store.scan("b")] == ["b", "b/10", "b/2", "ba"]
    assert len(await store.scan("")) == 6
    assert dict(await store.scan("c")) == {"c": b"c"}


@pytest.mark.parametrize("key", ["", "a b", "é", "x" * 201, "a\n"])
async def test_a_wrong_key_is_our_bug(store: Store, key: str) -> None:
    with pytest.raises(AssertionError):
        await store.put({key: b"x"})


async def test_a_blob_is_the_chunks_joined_until_it_is_dropped(store: Store) -> None:
    assert await store.read_blob("state/7") is None
    await store.write_blob("state/7", [b"ab", memoryview(b"cd")])
    assert await store.read_blob("state/7") == b"abcd"
    await store.write_blob("state/7", [])
    assert await store.read_blob("state/7") == b""
    assert await store.read_blob("state") is None
    await store.drop_blob("state/7")
    await store.drop_blob("state/7")
    assert await store.read_blob("state/7") is None


@pytest.mark.parametrize(
    "name", ["", "..", "../x", "a/../b", "/etc/passwd", "a//b", "a/", ".tmp-x", "a\0b", "x" * 129]
)
async def test_a_blob_name_cannot_leave_the_folder(store: Store, name: str) -> None:
    with pytest.raises(ValueError, match="not a blob name"):
        await store.write_blob(name, [b"x"])
    with pytest.raises(ValueError, match="not a blob name"):
        await store.read_blob(name)


async def test_many_waiting_puts_are_all_there_and_the_last_one_of_a_key_wins(store: Store) -> None:
    await asyncio.gather(*(store.put({f"k/{i}": b"%d" % i, "last": b"%d" % i}) for i in range(50)))
    assert len(await store.scan("k/")) == 50
    assert await store.get("last") == b"49"


async def test_puts_that_wait_together_share_transactions(file_store: FileStore) -> None:
    await asyncio.gather(*(file_store.put({f"k/{i}": b"x"}) for i in range(200)))
    assert file_store.transactions < 50


async def test_a_reopened_store_has_its_data(tmp_path: Path) -> None:
    first = open_store(tmp_path, PEER)
    await first.put({"a": b"1"})
    await first.write_blob("b", [b"2"])
    first.close()
    first.close()
    second = open_store(tmp_path, PEER)
    assert (await second.get("a"), await second.read_blob("b")) == (b"1", b"2")
    second.close()


def test_a_lost_slot_log_stays_lost(tmp_path: Path) -> None:
    first = open_store(tmp_path / "new", PEER, key_is_new=True)
    assert not first.slots_lost
    first.close()
    for _ in range(2):  # the key is older than the log, at this start and at the next
        again = open_store(tmp_path / "lost", PEER, key_is_new=False)
        assert again.slots_lost
        again.close()
    kept = open_store(tmp_path / "new", PEER, key_is_new=False)
    assert not kept.slots_lost
    kept.close()


def test_a_second_node_on_the_same_folder_is_told_the_pid_of_the_first(tmp_path: Path) -> None:
    first = open_store(tmp_path, PEER)
    with pytest.raises(ConfigError, match=rf"pid {os.getpid()}\b"):
        open_store(tmp_path, PEER)
    first.close()
    open_store(tmp_path, PEER).close()


def test_a_folder_of_another_peer_is_refused_and_left_unlocked(tmp_path: Path) -> None:
    open_store(tmp_path, PEER).close()
    with pytest.raises(ConfigError, match=f"belongs to the peer {PEER}"):
        open_store(tmp_path, OTHER)
    open_store(tmp_path, PEER).close()


def test_a_damaged_database_is_refused_with_its_folder(tmp_path: Path) -> None:
    (tmp_path / "store.sqlite").write_bytes(b"not a database" * 100)
    with pytest.raises(ConfigError, match=str(tmp_path)):
        open_store(tmp_path, PEER)
