"""The simulated network's faults, seen through the ports."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest

from node.adapters.mux_transport import MuxTransport, Streams
from node.errors import Unavailable
from node.types import PeerId
from simulator.hub import Watcher
from simulator.loop import run
from simulator.wire.links import LinkModel
from simulator.wire.network import SimNetwork

A, B, C = PeerId("12D3KooWA"), PeerId("12D3KooWB"), PeerId("12D3KooWC")


async def echo(caller: PeerId, request: bytes) -> bytes:
    return request


both_modes = pytest.mark.parametrize("framed", [True, False], ids=["framed", "whole"])


def started(framed: bool, seed: int = 1, **link: Any) -> tuple[SimNetwork, list[Any]]:
    network = SimNetwork(seed, LinkModel(**link), framed=framed)
    hosts = [network.start(peer) for peer in (A, B, C)]
    for host in hosts:
        host.transport.serve("echo", echo, request_bytes_max=1 << 24)
    return network, hosts


async def call(source: Any, target: PeerId, body: bytes = b"x", timeout_s: float = 2.0) -> bytes:
    reply: bytes = await source.transport.call(
        target, "echo", body, timeout_s=timeout_s, reply_bytes_max=1 << 24
    )
    return reply


@both_modes
async def test_a_call_takes_one_round_trip(framed: bool) -> None:
    network, (a, *_) = started(framed, latency_s=0.1)
    await call(a, B)
    loop = asyncio.get_running_loop()
    before = loop.time()
    await call(a, B)
    assert loop.time() - before == pytest.approx(0.2, abs=1e-4)
    await network.close()


@both_modes
async def test_bandwidth_delays_what_is_large(framed: bool) -> None:
    network, (a, *_) = started(framed, latency_s=0.0, bytes_per_s=1e6)
    await call(a, B)
    loop = asyncio.get_running_loop()
    before = loop.time()
    await call(a, B, bytes(1_000_000), timeout_s=10)
    assert loop.time() - before == pytest.approx(2.0, rel=0.1)  # there and back
    await network.close()


@both_modes
async def test_a_partition_is_silent_and_heals(framed: bool) -> None:
    network, (a, b, c) = started(framed)
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


@both_modes
async def test_a_one_way_cut_delivers_requests_but_no_replies(framed: bool) -> None:
    network, (a, b, _) = started(framed)
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


@both_modes
async def test_loss_is_silence_for_some_calls_and_breaks_no_stream(framed: bool) -> None:
    network, (a, b, _) = started(framed, loss_rate=0.05)
    results = await asyncio.gather(
        *(call(a, B, bytes(100_000)) for _ in range(100)), return_exceptions=True
    )
    lost = [result for result in results if isinstance(result, Unavailable)]
    assert 5 < len(lost) < 50
    assert len(lost) + results.count(bytes(100_000)) == 100
    assert a.peer_errors == b.peer_errors == []
    assert a.transport.connected() == [B]
    await network.close()


@both_modes
async def test_a_duplicated_request_is_handled_twice_and_answered_once(framed: bool) -> None:
    network, (a, b, _) = started(framed, duplicate_rate=1.0)
    seen = []

    async def note(caller: PeerId, request: bytes) -> bytes:
        seen.append(request)
        return b"%d" % len(seen)

    b.transport.serve("note", note, request_bytes_max=10)
    reply = await a.transport.call(B, "note", b"x", timeout_s=1, reply_bytes_max=10)
    await asyncio.sleep(1)
    assert (reply, seen) == (b"1", [b"x", b"x"])
    await network.close()


@both_modes
async def test_a_link_may_be_slow_in_one_direction(framed: bool) -> None:
    network, (a, *_) = started(framed, latency_s=0.01)
    network.set_link(B, A, LinkModel(latency_s=0.5))
    await call(a, B)
    loop = asyncio.get_running_loop()
    before = loop.time()
    await call(a, B)
    assert loop.time() - before == pytest.approx(0.51, abs=1e-3)
    await network.close()


@both_modes
async def test_a_restarted_host_is_reached_again_and_remembers_nothing(framed: bool) -> None:
    network, (a, b, _) = started(framed)
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


@both_modes
async def test_a_dead_neighbour_leaves_the_routing_table(framed: bool) -> None:
    network, (a, *_) = started(framed)
    assert await a.discovery.meet(B, [])
    assert await a.discovery.meet(C, [])
    network.partition([A], [B, C])
    assert await a.discovery.get("k") == []
    assert a.discovery.neighbours() == []
    network.heal()
    assert await a.discovery.meet(B, [])
    assert a.discovery.neighbours() == [B]
    await network.close()


@both_modes
def test_a_run_repeats_by_seed(framed: bool) -> None:
    async def main(seed: int) -> list[str]:
        network, hosts = started(framed, seed, jitter_s=0.05, loss_rate=0.1, bytes_per_s=1e7)
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


@both_modes
async def test_overlapping_cuts_end_one_by_one(framed: bool) -> None:
    network, (a, *_) = started(framed)
    network.partition([A], [B, C])
    network.cut([A], [B])
    network.unpartition([A], [B, C])
    assert await call(a, C) == b"x"
    with pytest.raises(Unavailable):
        await call(a, B)
    network.uncut([A], [B])
    network.uncut([A], [B])  # nothing is left to undo
    a.transport.learn(B, [])
    assert await call(a, B) == b"x"
    await network.close()


@both_modes
async def test_a_cut_in_the_middle_of_a_handshake_is_waited_out(framed: bool) -> None:
    # The far end answers the handshake into the cut and speaks frames by the time it heals.
    network, (a, b, _) = started(framed, latency_s=0.1)
    waiting = asyncio.ensure_future(call(a, B, timeout_s=8))
    await asyncio.sleep(0.25)
    network.cut([B], [A])
    await asyncio.sleep(1)
    assert not waiting.done()
    network.heal()
    assert await waiting == b"x"
    assert await call(a, B) == b"x"
    assert a.peer_errors == b.peer_errors == []
    await network.close()


@both_modes
async def test_a_caller_cut_off_while_its_peer_restarts_finds_it_again(framed: bool) -> None:
    network, (a, *_) = started(framed)
    await call(a, B)
    network.partition([A], [B])
    await network.crash(B)
    network.start(B).transport.serve("echo", echo, request_bytes_max=10)
    assert a.transport.connected() == [B]  # nobody could tell it
    network.heal()
    with pytest.raises(Unavailable, match="broke"):
        await call(a, B)
    assert await call(a, B) == b"x"
    await network.close()


@both_modes
async def test_the_hub_hears_of_every_request_and_of_streams_that_are_asked_for(
    framed: bool,
) -> None:
    heard: list[tuple[str, PeerId, PeerId, str, bytes]] = []

    class Listener(Watcher):
        def sent(
            self, at_s: float, source: PeerId, target: PeerId, method: str, data: bytes
        ) -> None:
            heard.append(("sent", source, target, method, data))

        def arrived(
            self, at_s: float, source: PeerId, target: PeerId, method: str, data: bytes
        ) -> None:
            heard.append(("arrived", source, target, method, data))

    async def one(caller: PeerId, request: bytes) -> AsyncIterator[bytes]:
        yield request

    network, (a, b, _) = started(framed)
    network.hub.watchers.append(Listener())
    b.transport.serve_stream("one", one, request_bytes_max=10)
    await call(a, B, b"question")
    stream = a.transport.stream(B, "one", b"x", idle_timeout_s=5.0, chunk_bytes_max=10)
    assert [chunk async for chunk in stream] == [b"x"]
    assert heard == [
        ("sent", A, B, "echo", b"question"),
        ("arrived", A, B, "echo", b"question"),
        ("sent", A, B, "one", b"x"),
    ]
    await network.close()


@both_modes
async def test_an_aborted_host_sends_nothing_more_and_its_peers_learn_of_it(framed: bool) -> None:
    network, (a, b, _) = started(framed)
    ended = []

    async def die(caller: PeerId, request: bytes) -> bytes:
        b.transport.abort()
        try:
            await asyncio.sleep(60)
        finally:
            ended.append(caller)
        return b"never"

    b.transport.serve("die", die, request_bytes_max=10)
    with pytest.raises(Unavailable, match="broke"):
        await a.transport.call(B, "die", b"", timeout_s=5, reply_bytes_max=10)
    assert ended == [A]
    assert a.transport.connected() == []
    await network.close()


class _Stream(asyncio.Transport):
    """A stream whose far end never says a word."""

    def __init__(self) -> None:
        super().__init__()
        self.closed = False

    def write(self, data: Any) -> None:
        pass

    def is_closing(self) -> bool:
        return self.closed

    def close(self) -> None:
        self.closed = True


@pytest.mark.parametrize("dials", [True, False])
async def test_a_stream_whose_handshake_is_cancelled_is_closed(dials: bool) -> None:
    stream, loop = _Stream(), asyncio.get_running_loop()
    reader = asyncio.StreamReader()
    writer = asyncio.StreamWriter(stream, asyncio.StreamReaderProtocol(reader), reader, loop)

    async def dial(peer: PeerId, addresses: object) -> Streams:
        return Streams(reader, writer)

    transport = MuxTransport(A, [], dial)
    talk = transport.accept(B, reader, writer)
    if dials:
        talk.close()
        talk = transport.call(B, "echo", b"", timeout_s=2.0, reply_bytes_max=1)  # type: ignore[assignment]
    task = asyncio.create_task(talk)
    await asyncio.sleep(0.1)
    assert not stream.closed
    task.cancel()
    await transport.close()
    await asyncio.wait([task])
    assert stream.closed
