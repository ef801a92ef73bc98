"""Whole-message mode: what the contract of Transport does not say."""

import asyncio
from typing import Any

import pytest

from node.adapters.limits import Limits
from node.errors import Refused, Unavailable
from node.types import PeerId
from simulator.loop import VirtualTimeLoop
from simulator.wire.answering import Call
from simulator.wire.links import LinkModel
from simulator.wire.network import SimNetwork
from simulator.wire.served import Served

A, B, C = PeerId("12D3KooWA"), PeerId("12D3KooWB"), PeerId("12D3KooWC")
MIB = 1024 * 1024


async def echo(caller: PeerId, request: bytes) -> bytes:
    return request


def started(
    framed: bool = False, limits: Limits | None = None, **link: Any
) -> tuple[SimNetwork, list[Any]]:
    network = SimNetwork(2, LinkModel(**link), framed=framed)
    hosts = [network.start(peer, limits) for peer in (A, B, C)]
    for host in hosts:
        host.transport.serve("echo", echo, request_bytes_max=1 << 24)
    return network, hosts


async def call(source: Any, target: PeerId, method: str = "echo", **options: Any) -> bytes:
    options = {"request": b"x", "timeout_s": 10.0, "reply_bytes_max": 1 << 24} | options
    reply: bytes = await source.transport.call(target, method, **options)
    return reply


async def test_calls_take_as_long_as_framed_ones_whatever_the_size_and_the_lines() -> None:
    took: dict[bool, list[float]] = {}
    loop = asyncio.get_running_loop()
    for framed in (True, False):
        network, (a, *_) = started(framed, latency_s=0.1, bytes_per_s=1e6)
        took[framed] = []
        for size in (1, 1, 10_000, 1_000_000):
            before = loop.time()
            await call(a, B, request=bytes(size))
            took[framed].append(loop.time() - before)
        await network.close()
    assert took[False] == pytest.approx(took[True], rel=0.01)
    assert took[False][:2] == pytest.approx([0.6, 0.2], abs=1e-3)


async def test_messages_of_a_pair_overtake_one_another() -> None:
    network, (a, b, _) = started(jitter_s=0.1)
    order = []

    async def note(caller: PeerId, request: bytes) -> bytes:
        order.append(int(request))
        return b""

    b.transport.serve("note", note, request_bytes_max=10)
    await asyncio.gather(*(call(a, B, "note", request=b"%d" % i) for i in range(50)))
    assert sorted(order) == list(range(50)) != order
    await network.close()


async def test_a_small_message_passes_a_large_one() -> None:
    network, (a, *_) = started(latency_s=0.0, bytes_per_s=1e6)
    await call(a, B)
    large = asyncio.ensure_future(call(a, B, request=bytes(5_000_000), timeout_s=60))
    await asyncio.sleep(0.01)
    async with asyncio.timeout(0.01):
        await call(a, B)
    assert len(await large) == 5_000_000
    await network.close()


async def test_a_request_that_outlives_its_caller_is_handled_until_the_cancel_arrives() -> None:
    network, (a, b, _) = started(latency_s=1.0)
    loop = asyncio.get_running_loop()
    seen: list[tuple[str, float]] = []

    async def slow(caller: PeerId, request: bytes) -> bytes:
        seen.append(("begins", loop.time()))
        try:
            await asyncio.sleep(60)
        finally:
            seen.append(("ends", loop.time()))
        return b""

    b.transport.serve("slow", slow, request_bytes_max=10)
    await call(a, B)
    before = loop.time()
    with pytest.raises(Unavailable, match=r"within 0\.5 s"):
        await call(a, B, "slow", timeout_s=0.5)
    await asyncio.sleep(5)
    whats, times = zip(*seen, strict=True)
    assert whats == ("begins", "ends")
    assert [at - before for at in times] == pytest.approx([1.0, 1.5])
    await network.close()


@pytest.mark.parametrize("end", ["crash", "reset", "timeout"])
async def test_a_call_that_waits_for_a_slot_or_has_one_gives_it_back(end: str) -> None:
    network, (a, b, c) = started()

    async def hold(caller: PeerId, request: bytes) -> bytes:
        if request == b"hold":
            await asyncio.sleep(1e6)
        return request

    b.transport.serve("hold", hold, request_bytes_max=10, concurrent_max=2)
    greedy = [
        asyncio.ensure_future(call(a, B, "hold", request=b"hold", timeout_s=5)) for _ in range(9)
    ]
    await asyncio.sleep(1)
    if end == "crash":
        await network.crash(A)
    elif end == "reset":
        network.reset(A, B)
    results = await asyncio.gather(*greedy, return_exceptions=True)
    assert [type(result) for result in results] == [Unavailable] * 9
    await asyncio.sleep(1)
    assert await asyncio.gather(*(call(c, B, "hold", request=b"%d" % i) for i in range(5))) == [
        b"%d" % i for i in range(5)
    ]
    await network.close()


async def test_an_answer_that_is_stopped_before_its_first_step_gives_its_slot_back() -> None:
    network, (a, b, _) = started()
    b.transport.serve("one", echo, request_bytes_max=10, concurrent_max=1)
    await call(a, B)
    end = b.transport._ends[A]
    end.asked(Call("one", b"x", 10), 1, False)
    tasks = end.lose()  # before the task has run
    assert len(tasks) == 1
    await asyncio.wait(tasks)
    assert await call(a, B, "one", timeout_s=1) == b"x"
    await network.close()


def test_slots_are_shared_as_the_real_ones_are() -> None:
    served = Served("m", request_bytes_max=1, concurrent_max=3, unary=echo)
    begun: list[str] = []
    for name, peer in (("a1", A), ("a2", A), ("a3", A), ("b1", B), ("b2", B), ("c1", C)):
        served.take(peer, lambda name=name: begun.append(name))  # type: ignore[misc]
    assert begun == ["a1", "a2", "b1"]  # at most two for one peer
    served.give_back(B)
    assert begun[3:] == ["b2"]  # a3 has waited for longer, but its peer has two
    served.give_back(A)
    served.give_back(A)
    assert begun[4:] == ["a3", "c1"]


async def test_large_requests_that_are_open_at_once_are_bounded() -> None:
    network, (a, b, _) = started(limits=Limits(request_bytes_max=3 * MIB))

    async def slow(caller: PeerId, request: bytes) -> bytes:
        await asyncio.sleep(1)
        return b"done"

    b.transport.serve("slow", slow, request_bytes_max=MIB)
    await call(a, B)
    calls = [call(a, B, "slow", request=bytes(MIB)) for _ in range(5)]
    results = await asyncio.gather(*calls, return_exceptions=True)
    assert results.count(b"done") == 3
    assert sum("too many open calls" in str(result) for result in results) == 2
    assert await call(a, B, "slow", request=bytes(MIB)) == b"done"
    await network.close()


async def test_our_own_bug_in_a_handler_is_reported_and_says_nothing_to_the_caller() -> None:
    network, (a, b, _) = started()

    async def broken(caller: PeerId, request: bytes) -> bytes:
        raise KeyError("secret")

    b.transport.serve("broken", broken, request_bytes_max=10)
    with pytest.raises(Unavailable, match="the peer failed while answering") as caught:
        await call(a, B, "broken")
    assert "secret" not in str(caught.value)
    loop = asyncio.get_running_loop()
    assert isinstance(loop, VirtualTimeLoop)
    assert [repr(error) for error in loop.failures] == ["KeyError('secret')"]
    loop.failures.clear()
    await network.close()


async def test_a_lost_chunk_silences_its_stream_and_no_other() -> None:
    network, (a, b, _) = started()

    async def count(caller: PeerId, request: bytes) -> Any:
        for i in range(20):
            await asyncio.sleep(0.1)
            yield b"%d" % i

    async def read() -> list[bytes]:
        got = []
        try:
            async for chunk in a.transport.stream(
                B, "count", b"", idle_timeout_s=3.0, chunk_bytes_max=10
            ):
                got.append(chunk)
        except Unavailable:
            got.append(b"silent")
        return got

    b.transport.serve_stream("count", count, request_bytes_max=10)
    cut_short = asyncio.ensure_future(read())
    await asyncio.sleep(1)
    network.cut([B], [A])
    await asyncio.sleep(0.3)
    network.heal()
    whole = asyncio.ensure_future(read())
    first = await cut_short
    assert first[-1] == b"silent"
    assert 3 < len(first) < 12
    assert first[:-1] == [b"%d" % i for i in range(len(first) - 1)]
    assert await whole == [b"%d" % i for i in range(20)]
    await network.close()


async def test_a_dial_that_failed_is_not_tried_again_for_a_while() -> None:
    network, (a, *_) = started()
    await network.crash(B)
    with pytest.raises(Unavailable, match="nobody listens"):
        await call(a, B)
    again = network.start(B)
    again.transport.serve("echo", echo, request_bytes_max=10)
    with pytest.raises(Unavailable, match="a moment ago"):
        await call(a, B)
    await asyncio.sleep(0.2)
    assert await call(a, B) == b"x"
    await network.close()


async def test_a_host_takes_no_more_connections_than_it_may() -> None:
    network, (a, b, c) = started(limits=Limits(links_max=1))
    await call(a, B)
    with pytest.raises(Unavailable, match="no more connections"):
        await call(c, B)
    with pytest.raises(Refused, match="unknown_method"):
        await call(b, A, "nothing")  # over the stream that is there
    await network.close()


async def test_a_handler_ends_in_its_own_way_when_its_host_closes() -> None:
    network, (a, b, _) = started()
    ended = []

    async def tidy(caller: PeerId, request: bytes) -> bytes:
        try:
            await asyncio.sleep(60)
        finally:
            await asyncio.sleep(1)
            ended.append(caller)
        return b""

    b.transport.serve("tidy", tidy, request_bytes_max=10)
    waiting = asyncio.ensure_future(call(a, B, "tidy"))
    await asyncio.sleep(1)
    b.transport.abort()
    await network.crash(B)
    assert ended == [A]
    with pytest.raises(Unavailable, match="broke"):
        await waiting
    await network.close()
