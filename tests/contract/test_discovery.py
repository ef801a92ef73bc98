"""What every Discovery promises, in every world."""

import asyncio
from typing import Any

import pytest

from node.ports import RECORD_BYTES_MAX, Record

pytestmark = pytest.mark.asyncio(loop_scope="module")


async def values(node: Any, key: str) -> dict[str, bytes]:
    return {record.subkey: record.value for record in await node.discovery.get(key)}


async def test_a_record_is_found_by_every_node(swarm: Any) -> None:
    a, b, c = swarm.nodes
    expires = swarm.unix_s() + 60.5
    largest = bytes(range(256)) * (RECORD_BYTES_MAX // 256)
    assert await a.discovery.put("found", "a", largest, expires)
    for node in (a, b, c):
        assert list(await node.discovery.get("found")) == [Record("a", largest, expires)]


async def test_an_unknown_key_has_no_records(swarm: Any) -> None:
    assert list(await swarm.nodes[0].discovery.get("nothing here")) == []


async def test_subkeys_of_one_key_are_kept_side_by_side_and_sorted(swarm: Any) -> None:
    expires = swarm.unix_s() + 60
    for subkey, node in zip(("b", "c", "a"), swarm.nodes, strict=True):
        assert await node.discovery.put("side", subkey, subkey.encode() * 3, expires)
    for node in swarm.nodes:
        found = await node.discovery.get("side")
        assert [(r.subkey, r.value) for r in found] == [("a", b"aaa"), ("b", b"bbb"), ("c", b"ccc")]


async def test_only_a_later_expiry_replaces_a_record(swarm: Any) -> None:
    a, b, c = swarm.nodes
    now = swarm.unix_s()
    assert await a.discovery.put("newer", "x", b"first", now + 60)
    assert await b.discovery.put("newer", "x", b"second", now + 90)
    assert not await c.discovery.put("newer", "x", b"older", now + 30)
    assert await values(a, "newer") == await values(c, "newer") == {"x": b"second"}


async def test_an_expired_record_is_gone_and_an_older_one_does_not_hasten_it(swarm: Any) -> None:
    a, b, _ = swarm.nodes
    now = swarm.unix_s()
    await a.discovery.put("gone", "long", b"stays", now + 60)
    await a.discovery.put("gone", "short", b"goes", now + 1.5)
    await b.discovery.put("gone", "long", b"replayed", now + 1.5)
    assert await values(b, "gone") == {"long": b"stays", "short": b"goes"}
    await asyncio.sleep(now + 1.6 - swarm.unix_s())
    assert await values(b, "gone") == {"long": b"stays"}
    assert not await a.discovery.put("gone", "late", b"late", swarm.unix_s() - 1)


async def test_a_record_above_the_limit_is_not_published(swarm: Any) -> None:
    a = swarm.nodes[0]
    expires = swarm.unix_s() + 60
    for key, subkey, size in (
        ("k", "s", RECORD_BYTES_MAX + 1),
        ("", "s", 1),
        ("k", "", 1),
        ("k" * 257, "s", 1),
        ("k", "s" * 129, 1),
    ):
        with pytest.raises(ValueError, match="limit"):
            await a.discovery.put(key, subkey, bytes(size), expires)


async def test_neighbours_are_the_other_nodes(swarm: Any) -> None:
    a, b, c = (node.transport.peer_id for node in swarm.nodes)
    assert set(swarm.nodes[0].discovery.neighbours()) >= {b, c}
    found = list(swarm.nodes[1].discovery.neighbours())
    assert found == sorted(found)
    assert a in found


async def test_meeting_one_node_heals_two_swarms(swarm: Any) -> None:
    a1, a2, b1, b2 = [await swarm.start(number) for number in range(40, 44)]
    expires = swarm.unix_s() + 60
    assert a1.discovery.neighbours() == []
    assert not await a1.discovery.put("split", "alone", b"1", expires)
    for node, first in ((a2, a1), (b2, b1)):
        assert await node.discovery.meet(first.transport.peer_id, first.transport.addresses)
    assert await a2.discovery.put("split", "a2", b"2", expires)
    assert await b2.discovery.put("split", "b2", b"3", expires)
    assert await values(a1, "split") == {"alone": b"1", "a2": b"2"}
    assert await values(b1, "split") == {"b2": b"3"}

    assert await a1.discovery.meet(b1.transport.peer_id, b1.transport.addresses)
    everything = {"alone": b"1", "a2": b"2", "b2": b"3"}
    for node in (a1, a2, b1, b2):
        assert await values(node, "split") == everything
    await asyncio.gather(*(swarm.kill(node) for node in (a1, a2, b1, b2)))


async def test_a_dead_node_does_not_answer_and_records_survive_it(swarm: Any) -> None:
    a, b, _ = swarm.nodes
    d = await swarm.start(50)
    addresses = d.transport.addresses
    assert await d.discovery.meet(a.transport.peer_id, a.transport.addresses)
    assert await d.discovery.put("survives", "d", b"x", swarm.unix_s() + 60)
    await swarm.kill(d)
    assert not await a.discovery.meet(d.transport.peer_id, addresses)
    assert await values(b, "survives") == {"d": b"x"}
