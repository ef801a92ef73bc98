"""The simulated network's faults, seen through the ports."""

import asyncio
from typing import Any

import pytest

from node.errors import Unavailable
from node.types import PeerId
from simulator.links import LinkModel
from simulator.loop import run
from simulator.network import SimNetwork

A, B, C = PeerId("12D3KooWA"), PeerId("12D3KooWB"), PeerId("12D3KooWC")


async def echo(caller: PeerId, request: bytes) -> bytes:
    return request


def started(seed: int = 1, **link: Any) -> tuple[SimNetwork, list[Any]]:
    network = SimNetwork(seed, LinkModel(**link))
    hosts = [network.start(peer) for peer in (A, B, C)]
    for host in hosts:
        host.transport.serve("echo", echo, request_bytes_max=1 << 24)
    return network, hosts


async def call(source: Any, target: PeerId, body: bytes = b"x", timeout_s: float = 2.0) -> bytes:
    reply: bytes = await source.transport.call(
        target, "echo", body, timeout_s=timeout_s, reply_bytes_max=1 << 24
    )
    return reply


async def test_a_call_takes_one_round_trip() -> None:
    network, (a, *_) = started(latency_s=0.1)
    await call(a, B)
    loop = asyncio.get_running_loop()
    before = loop.time()
    await call(a, B)
    assert loop.time() - before == pytest.approx(0.2, abs=1e-4)
    await network.close()


async def test_bandwidth_delays_what_is_large() -> None:
    network, (a, *_) = started(latency_s=0.0, bytes_per_s=1e6)
    await call(a, B)
    loop = asyncio.get_running_loop()
    before = loop.time()
    await call(a, B, bytes(1_000_000), timeout_s=10)
    assert loop.time() - before == pytest.approx(2.0, rel=0.1)  # there and back
    await network.close()


async def test_a_partition_is_silent_and_heals() -> None:
    network, (a, b, c) = started()
    await call(a, C)
    network.partition([A, B], [C])
    loop = asyncio.get_running_loop()
    before = loop.time()
    with pytest.raises(Unavailable, match="within"):
        await call(a, C)
    assert loop.time() - before == pytest.approx(2.0, abs=1e-3)
    assert await call(a, B) == b"x"
    dialled_while_cut = asyncio.ensure_future(call(c, B, timeout_s=8))
    await asyncio.sleep(1)
    network.heal()
    assert await dialled_while_cut == b"x"
    assert await call(a, C) == b"x"
    assert a.peer_errors == b.peer_errors == c.peer_errors == []
    await network.close()


async def test_a_one_way_cut_delivers_requests_but_no_replies() -> None:
    network, (a, b, _) = started()
    seen = []

    async def note(caller: PeerId, request: bytes) -> bytes:
        seen.append(request)
        return b""

    b.transport.serve("note", note, request_bytes_max=10)
    await call(a, B)
    network.cut([B], [A])
    with pytest.raises(Unavailable):
        await a.transport.call(B, "note", b"heard", timeout_s=1, reply_bytes_max=10)
    assert seen == [b"heard"]
    await network.close()


async def test_loss_is_silence_for_some_calls_and_breaks_no_stream() -> None:
    network, (a, b, _) = started(loss_rate=0.05)
    results = await asyncio.gather(
        *(call(a, B, bytes(100_000)) for _ in range(100)), return_exceptions=True
    )
    lost = [result for result in results if isinstance(result, Unavailable)]
    assert 5 < len(lost) < 50
    assert len(lost) + results.count(bytes(100_000)) == 100
    assert a.peer_errors == b.peer_errors == []
    assert a.transport.connected() == [B]
    await network.close()


async def test_a_duplicated_request_is_handled_twice_and_answered_once() -> None:
    network, (a, b, _) = started(duplicate_rate=1.0)
    seen = []

    async def note(caller: PeerId, request: bytes) -> bytes:
        seen.append(request)
        return b"%d" % len(seen)

    b.transport.serve("note", note, request_bytes_max=10)
    reply = await a.transport.call(B, "note", b"x", timeout_s=1, reply_bytes_max=10)
    await asyncio.sleep(1)
    assert (reply, seen) == (b"1", [b"x", b"x"])
    await network.close()


async def test_a_link_may_be_slow_in_one_direction() -> None:
    network, (a, *_) = started(latency_s=0.01)
    network.set_link(B, A, LinkModel(latency_s=0.5))
    await call(a, B)
    loop = asyncio.get_running_loop()
    before = loop.time()
    await call(a, B)
    assert loop.time() - before == pytest.approx(0.51, abs=1e-3)
    await network.close()


async def test_a_restarted_host_is_reached_again_and_remembers_nothing() -> None:
    network, (a, b, _) = started()
    await b.discovery.meet(A, [])
    await call(a, B)
    await network.crash(B)
    with pytest.raises(Unavailable):
        await call(a, B)
    again = network.start(B)
    again.transport.serve("echo", echo, request_bytes_max=10)
    assert again.discovery.neighbours() == []
    a.transport.learn(B, [network.address(B)])
    assert await call(a, B) == b"x"
    await network.close()


async def test_a_dead_neighbour_leaves_the_routing_table() -> None:
    network, (a, *_) = started()
    assert await a.discovery.meet(B, [])
    assert await a.discovery.meet(C, [])
    network.partition([A], [B, C])
    assert await a.discovery.get("k") == []
    assert a.discovery.neighbours() == []
    network.heal()
    assert await a.discovery.meet(B, [])
    assert a.discovery.neighbours() == [B]
    await network.close()


def test_a_run_repeats_by_seed() -> None:
    async def main(seed: int) -> list[str]:
        network, hosts = started(seed, jitter_s=0.05, loss_rate=0.1, bytes_per_s=1e7)
        trace: list[str] = []

        async def one(source: Any, target: PeerId, size: int) -> None:
            try:
                await call(source, target, bytes(size))
                result = "ok"
            except Unavailable:
                result = "lost"
            now = asyncio.get_running_loop().time()
            trace.append(f"{source.peer} {target} {size} {result} {now:.9f}")

        async with asyncio.TaskGroup() as group:
            for size in (0, 1000, 200_000):
                for host in hosts:
                    for target in sorted({A, B, C} - {host.peer}):
                        group.create_task(one(host, target, size))
        await network.close()
        return trace

    first = run(main(3))
    assert first == run(main(3))
    assert first != run(main(4))
