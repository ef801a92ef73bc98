"""What every Transport promises, in every world."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest

from node.adapters.framing import WINDOW_BYTES
from node.errors import Malformed, Refused, TooLarge, Unavailable
from node.types import PeerId

pytestmark = pytest.mark.asyncio(loop_scope="module")
MIB = 1024 * 1024


async def call(source: Any, target: Any, method: str, request: bytes = b"", **options: Any) -> Any:
    options = {"timeout_s": 10.0, "reply_bytes_max": MIB} | options
    return await source.transport.call(target.transport.peer_id, method, request, **options)


def stream(source: Any, target: Any, method: str, **options: Any) -> Any:
    options = {"idle_timeout_s": 10.0, "chunk_bytes_max": MIB} | options
    return source.transport.stream(target.transport.peer_id, method, b"", **options)


async def echo(caller: PeerId, request: bytes) -> bytes:
    return request


async def test_a_call_returns_the_reply_and_names_the_caller(swarm: Any) -> None:
    a, b, c = swarm.nodes

    async def who(caller: PeerId, request: bytes) -> bytes:
        return caller.encode() + b" says " + request

    c.transport.serve("who", who, request_bytes_max=100)
    replies = await asyncio.gather(call(a, c, "who", b"x"), call(b, c, "who", b""))
    assert replies[0] == a.transport.peer_id.encode() + b" says x"
    assert replies[1] == b.transport.peer_id.encode() + b" says "
    assert c.transport.peer_id in a.transport.connected()
    assert a.transport.peer_id in c.transport.connected()
    assert a.transport.seen_at(c.transport.peer_id) in c.transport.addresses  # where it was dialled
    assert ip_of(c.transport.seen_at(a.transport.peer_id)) == ip_of(a.transport.addresses[0])
    assert a.transport.seen_at(PeerId("nobody")) == ""


def ip_of(address: str) -> list[str]:
    """The beginning of a multiaddr; ports of who dials are chosen anew."""
    return address.split("/")[1:3]


async def test_both_sides_may_call_at_once_before_any_stream_is_open(swarm: Any) -> None:
    a, b = [await swarm.start(10), await swarm.start(11)]
    for node, other in ((a, b), (b, a)):
        node.transport.learn(other.transport.peer_id, other.transport.addresses)
        node.transport.serve("echo", echo, request_bytes_max=100)
    calls = [call(x, y, "echo", b"%d" % i) for i in range(20) for x, y in ((a, b), (b, a))]
    assert await asyncio.gather(*calls) == [b"%d" % (i // 2) for i in range(40)]
    assert a.transport.connected() == [b.transport.peer_id]
    assert b.transport.connected() == [a.transport.peer_id]
    await swarm.kill(a)
    await swarm.kill(b)


async def test_traffic_counts_bytes_of_both_directions(swarm: Any) -> None:
    a, b, _ = swarm.nodes
    b.transport.serve("traffic", echo, request_bytes_max=MIB)
    before = a.transport.traffic().get(b.transport.peer_id, (0, 0))
    await call(a, b, "traffic", bytes(100_000))
    after = a.transport.traffic()[b.transport.peer_id]
    for was, now in zip(before, after, strict=True):
        assert 100_000 < now - was < 101_000


async def test_small_calls_keep_flowing_while_a_large_one_is_sent(swarm: Any) -> None:
    a, b, _ = swarm.nodes
    large = bytes(range(256)) * (8 * MIB // 256)
    b.transport.serve("flow_large", echo, request_bytes_max=len(large))
    b.transport.serve("flow_small", echo, request_bytes_max=10)
    await call(a, b, "flow_small")
    sending = asyncio.ensure_future(
        call(a, b, "flow_large", large, reply_bytes_max=len(large), timeout_s=60)
    )
    await asyncio.sleep(0)
    small = 0
    while not sending.done():
        await call(a, b, "flow_small", b"vote")
        small += not sending.done()
    assert await sending == large
    assert small >= 3  # one, if small calls waited for the large one


async def test_silence_ends_in_a_time_out_and_cancels_the_handler(swarm: Any) -> None:
    a, b, _ = swarm.nodes
    ended = asyncio.Event()

    async def silent(caller: PeerId, request: bytes) -> bytes:
        try:
            await asyncio.sleep(60)
        finally:
            ended.set()
        return b""

    b.transport.serve("silent", silent, request_bytes_max=10)
    with pytest.raises(Unavailable, match=r"within 0\.2 s"):
        await call(a, b, "silent", timeout_s=0.2)
    async with asyncio.timeout(5):
        await ended.wait()


async def test_a_refusal_carries_the_reason(swarm: Any) -> None:
    a, b, _ = swarm.nodes

    async def refuse(caller: PeerId, request: bytes) -> bytes:
        raise Malformed("round 7 is over")

    b.transport.serve("refuse", refuse, request_bytes_max=10)
    with pytest.raises(Refused, match="malformed: round 7 is over") as caught:
        await call(a, b, "refuse")
    assert caught.value.peer == b.transport.peer_id


async def test_a_handler_that_is_unavailable_makes_the_call_unavailable(swarm: Any) -> None:
    a, b, _ = swarm.nodes

    async def busy(caller: PeerId, request: bytes) -> bytes:
        raise Unavailable("still loading")

    b.transport.serve("busy", busy, request_bytes_max=10)
    with pytest.raises(Unavailable, match="still loading"):
        await call(a, b, "busy")


async def test_an_unknown_method_is_refused(swarm: Any) -> None:
    a, b, _ = swarm.nodes
    b.transport.serve("only_unary", echo, request_bytes_max=10)
    with pytest.raises(Refused, match="unknown_method"):
        await call(a, b, "no_such_method")
    with pytest.raises(Refused, match="unknown_method"):
        async for _chunk in stream(a, b, "only_unary"):
            pass


async def test_a_method_is_served_once(swarm: Any) -> None:
    a = swarm.nodes[0]
    a.transport.serve("once", echo, request_bytes_max=10)
    with pytest.raises(ValueError, match="once"):
        a.transport.serve("once", echo, request_bytes_max=10)


async def test_a_request_above_the_limit_is_refused_before_it_is_read(swarm: Any) -> None:
    a, b, _ = swarm.nodes
    b.transport.serve("narrow", echo, request_bytes_max=1000)
    before = b.transport.traffic().get(a.transport.peer_id, (0, 0))[1]
    with pytest.raises(Refused, match="too_large"):
        await call(a, b, "narrow", bytes(32 * MIB))
    assert await call(a, b, "narrow", bytes(1000)) == bytes(1000)
    received = b.transport.traffic()[a.transport.peer_id][1] - before
    assert received < 16 * MIB  # what was on the wire when the refusal came


async def test_a_reply_above_the_limit_is_an_error_of_the_peer(swarm: Any) -> None:
    a, b, _ = swarm.nodes

    async def verbose(caller: PeerId, request: bytes) -> bytes:
        return bytes(2000)

    b.transport.serve("verbose", verbose, request_bytes_max=10)
    with pytest.raises(TooLarge):
        await call(a, b, "verbose", reply_bytes_max=1999)
    assert len(await call(a, b, "verbose", reply_bytes_max=2000)) == 2000


async def test_at_most_concurrent_max_handlers_run_and_the_rest_wait(swarm: Any) -> None:
    a, b, c = swarm.nodes
    running = most = 0
    two_run, go_on = asyncio.Event(), asyncio.Event()

    async def count(caller: PeerId, request: bytes) -> bytes:
        nonlocal running, most
        running += 1
        most = max(most, running)
        if running == 2:
            two_run.set()
        await go_on.wait()
        running -= 1
        return b"done"

    b.transport.serve("count", count, request_bytes_max=10, concurrent_max=2)
    calls = [asyncio.ensure_future(call(x, b, "count")) for x in (a, c) for _ in range(5)]
    async with asyncio.timeout(5):
        await two_run.wait()
    b.transport.serve("count_other", echo, request_bytes_max=10)
    await call(a, b, "count_other")  # whatever waited has had its chance by now
    assert most == 2
    go_on.set()
    assert await asyncio.gather(*calls) == [b"done"] * 10
    assert most == 2


async def test_one_peer_cannot_hold_every_slot_of_a_method(swarm: Any) -> None:
    a, b, c = swarm.nodes
    hold = asyncio.Event()

    async def slow(caller: PeerId, request: bytes) -> bytes:
        if request:
            await hold.wait()
        return b"done"

    b.transport.serve("slow", slow, request_bytes_max=10, concurrent_max=4)
    greedy = [asyncio.ensure_future(call(a, b, "slow", b"hold")) for _ in range(8)]
    assert await call(c, b, "slow") == b"done"
    hold.set()
    assert await asyncio.gather(*greedy) == [b"done"] * 8


async def test_more_calls_than_a_peer_may_have_open_wait_at_the_caller(swarm: Any) -> None:
    a, b, _ = swarm.nodes
    b.transport.serve("many", echo, request_bytes_max=10)
    replies = await asyncio.gather(*(call(a, b, "many", b"%d" % i) for i in range(400)))
    assert replies == [b"%d" % i for i in range(400)]


async def test_a_stream_gives_every_chunk_in_order(swarm: Any) -> None:
    a, b, _ = swarm.nodes
    sizes = [0, 1, 100_000, 70_000, 3, 1_000_000, 0, 65_536]

    async def chunks(caller: PeerId, request: bytes) -> AsyncIterator[bytes]:
        for index, size in enumerate(sizes):
            yield bytes([index]) * size

    b.transport.serve_stream("chunks", chunks, request_bytes_max=10)
    got = [chunk async for chunk in stream(a, b, "chunks")]
    assert got == [bytes([index]) * size for index, size in enumerate(sizes)]


async def test_a_stream_does_not_run_ahead_of_its_reader(swarm: Any) -> None:
    a, b, _ = swarm.nodes
    made = 0
    chunk_bytes = 256 * 1024

    async def endless(caller: PeerId, request: bytes) -> AsyncIterator[bytes]:
        nonlocal made
        while True:
            made += 1
            yield bytes(chunk_bytes)

    b.transport.serve_stream("endless", endless, request_bytes_max=10)
    b.transport.serve("endless_other", echo, request_bytes_max=MIB)
    chunks = stream(a, b, "endless")
    for read in range(1, 40):
        await anext(chunks)
        if read % 13 == 0:
            await call(a, b, "endless_other", bytes(MIB))  # time to run ahead
            assert made <= read + WINDOW_BYTES // chunk_bytes + 1
    await chunks.aclose()


async def test_closing_a_stream_stops_its_sender(swarm: Any) -> None:
    a, b, _ = swarm.nodes
    stopped = asyncio.Event()

    async def forever(caller: PeerId, request: bytes) -> AsyncIterator[bytes]:
        try:
            while True:
                yield b"tick"
                await asyncio.sleep(0.001)
        finally:
            stopped.set()

    b.transport.serve_stream("forever", forever, request_bytes_max=10, concurrent_max=1)
    for _ in range(2):  # twice: the only slot is free again
        stopped.clear()
        chunks = stream(a, b, "forever")
        assert await anext(chunks) == b"tick"
        await chunks.aclose()
        async with asyncio.timeout(5):
            await stopped.wait()


async def test_a_stream_that_falls_silent_is_unavailable(swarm: Any) -> None:
    a, b, _ = swarm.nodes

    async def one(caller: PeerId, request: bytes) -> AsyncIterator[bytes]:
        yield b"first"
        await asyncio.sleep(60)

    b.transport.serve_stream("one", one, request_bytes_max=10)
    chunks = stream(a, b, "one", idle_timeout_s=0.2)
    assert await anext(chunks) == b"first"
    with pytest.raises(Unavailable):
        await anext(chunks)


async def test_a_stream_carries_refusals_and_limits(swarm: Any) -> None:
    a, b, _ = swarm.nodes

    async def refuse(caller: PeerId, request: bytes) -> AsyncIterator[bytes]:
        yield b"first"
        raise Malformed("no more of this")

    async def verbose(caller: PeerId, request: bytes) -> AsyncIterator[bytes]:
        yield bytes(2000)

    b.transport.serve_stream("refuse_stream", refuse, request_bytes_max=10)
    b.transport.serve_stream("verbose_stream", verbose, request_bytes_max=10)
    chunks = stream(a, b, "refuse_stream")
    assert await anext(chunks) == b"first"
    with pytest.raises(Refused, match="malformed: no more of this"):
        await anext(chunks)
    with pytest.raises(TooLarge):
        await anext(stream(a, b, "verbose_stream", chunk_bytes_max=1999))


async def test_a_peer_that_nobody_knows_is_unavailable(swarm: Any) -> None:
    a = swarm.nodes[0]
    stranger = PeerId("12D3KooWDpJ7As7BWAwRMfu1VU2WCqNjvq387JEYKDBj4kx6nXTN")
    with pytest.raises(Unavailable):
        await a.transport.call(stranger, "echo", b"", timeout_s=3.0, reply_bytes_max=10)


async def test_a_peer_that_dies_is_unavailable_in_time_and_comes_back(swarm: Any) -> None:
    a = swarm.nodes[0]
    b = await swarm.start(20)
    peer = b.transport.peer_id
    started = asyncio.Event()

    async def hang(caller: PeerId, request: bytes) -> bytes:
        started.set()
        await asyncio.sleep(60)
        return b""

    b.transport.serve("hang", hang, request_bytes_max=10)
    a.transport.learn(peer, b.transport.addresses)
    waiting = asyncio.ensure_future(call(a, b, "hang", timeout_s=30))
    async with asyncio.timeout(5):
        await started.wait()
    await swarm.kill(b)
    async with asyncio.timeout(5):
        with pytest.raises(Unavailable):
            await waiting
    assert peer not in a.transport.connected()
    with pytest.raises(Unavailable):
        await call(a, b, "hang", timeout_s=5)

    again = await swarm.start(20)
    assert again.transport.peer_id == peer
    again.transport.serve("echo", echo, request_bytes_max=10)
    a.transport.learn(peer, again.transport.addresses)
    assert await call(a, again, "echo", b"back") == b"back"
    assert a.transport.peer_id in again.transport.connected()
    await swarm.kill(again)


async def test_a_closed_transport_is_unavailable(swarm: Any) -> None:
    a, b = await swarm.start(30), swarm.nodes[1]
    a.transport.learn(b.transport.peer_id, b.transport.addresses)
    await swarm.kill(a)
    with pytest.raises(Unavailable):
        await call(a, b, "echo", timeout_s=2)
