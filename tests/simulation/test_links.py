"""How bytes travel: lines with queues, delays, cuts, NATs, resets."""

import asyncio
from typing import Any

import numpy as np
import pytest

from node.errors import Unavailable
from node.types import PeerId
from simulator.scenario import HostSection, LinkSection
from simulator.seeds import rng
from simulator.wire.cuts import Cuts
from simulator.wire.links import Lane, Line, LinkModel, Path, line
from simulator.wire.network import SimNetwork

A, B, C, D = (PeerId(f"12D3KooW{name}") for name in "ABCD")
both_modes = pytest.mark.parametrize("framed", [True, False], ids=["framed", "whole"])


def path(model: LinkModel | None = None, up: float = 1e12, down: float = 1e12) -> Path:
    return Path(
        A, B, model or LinkModel(latency_s=0.1), line(up), line(down), Cuts(),
        lambda *of: rng(1, *of),
    )  # fmt: skip


async def arrivals(lane: Any, sizes: list[int], **options: Any) -> list[tuple[int, float]]:
    """Which of the messages, all sent now, arrives when."""
    loop, seen = asyncio.get_running_loop(), []
    before = loop.time()
    for index, size in enumerate(sizes):
        act = lambda i: seen.append((i, round(loop.time() - before, 6)))  # noqa: E731
        if isinstance(lane, Path):
            lane.carry(size, options.get("urgent", False), act, index)
        else:
            lane.carry(size, act, index)
    await asyncio.sleep(1000)
    return seen


def test_the_model_is_that_of_the_section() -> None:
    section = LinkSection(
        latency_s=1.0, jitter_s=2.0, tail=0.5, stream_bytes_per_s=4e3, loss_rate=0.1,
        duplicate_rate=0.2, reset_per_s=0.3,
    )  # fmt: skip
    assert LinkModel.of(section) == LinkModel(1.0, 2.0, 0.5, 4e3, 0.1, 0.2, 0.3)


def test_a_line_sends_one_after_another_and_rests_when_it_has_nothing() -> None:
    one = Line(100.0)
    assert [one.book(0.0, 50), one.book(0.0, 100), one.book(9.0, 50)] == [0.5, 1.5, 9.5]


def test_what_is_urgent_passes_what_is_not_but_takes_its_share() -> None:
    one = Line(100.0)
    assert one.book(0.0, 1000) == 10.0
    assert one.book(0.0, 10, urgent=True) == pytest.approx(0.1)
    assert one.book(0.0, 10, urgent=True) == pytest.approx(0.2)
    assert one.book(0.0, 100) == pytest.approx(11.2)


def test_the_delay_is_latency_times_a_log_normal_factor_plus_uniform_jitter() -> None:
    draws = np.random.default_rng(1)
    model = LinkModel(latency_s=2.0, tail=0.5)
    logs = np.log([model.delay_s(draws) / 2.0 for _ in range(4000)])
    assert abs(np.mean(logs)) < 0.03
    assert np.std(logs) == pytest.approx(0.5, rel=0.05)
    jitter = [LinkModel(latency_s=1.0, jitter_s=2.0).delay_s(draws) for _ in range(4000)]
    assert 1.0 <= min(jitter) < 1.01
    assert 2.99 < max(jitter) <= 3.0
    assert np.mean(jitter) == pytest.approx(2.0, abs=0.05)


async def test_a_message_flows_through_both_access_lines_at_the_rate_of_the_slower() -> None:
    assert await arrivals(path(up=1e6, down=1e6), [1_000_000]) == [(0, 1.1)]
    assert await arrivals(path(up=1e6, down=5e5), [1_000_000]) == [(0, 2.1)]
    slow_stream = path(LinkModel(latency_s=0.1, bytes_per_s=2.5e5), up=1e6, down=1e6)
    assert await arrivals(slow_stream, [1_000_000]) == [(0, 4.1)]


async def test_two_messages_share_a_line() -> None:
    assert await arrivals(path(up=1e6), [500_000, 500_000]) == [(0, 0.6), (1, 1.1)]
    assert await arrivals(Lane(path(down=1e6)), [500_000, 500_000]) == [(0, 0.6), (1, 1.1)]


@pytest.mark.parametrize("down", [1e12, 1e6])
async def test_a_lane_keeps_the_order_that_jitter_would_change(down: float) -> None:
    model = LinkModel(latency_s=0.1, jitter_s=1.0)
    sizes = [10] * 50
    alone = [i for i, _ in await arrivals(path(model, down=down), sizes)]
    ordered = await arrivals(Lane(path(model, down=down)), sizes)
    assert alone != sorted(alone)
    assert sorted(alone) == [i for i, _ in ordered] == list(range(50))
    times = [at for _, at in ordered]
    assert times == sorted(times)


def test_cuts_pile_up_and_each_is_undone_once() -> None:
    cuts = Cuts()
    cuts.add([A], [B])
    cuts.add([A, C], [B])
    cuts.remove([A, C], [B])
    assert cuts.covers(A, B)
    assert not cuts.covers(C, B)
    assert not cuts.covers(B, A)
    cuts.remove([A, C], [B])  # there is none any more
    assert cuts.covers(A, B)
    cuts.remove([A], [B])
    assert not cuts.covers(A, B)
    assert not cuts.active


async def echo(caller: PeerId, request: bytes) -> bytes:
    return request


def network(framed: bool, hosts: dict[PeerId, dict[str, Any]], **link: Any) -> SimNetwork:
    made = SimNetwork(3, LinkModel(**link), framed=framed)
    for peer, section in hosts.items():
        made.set_host(peer, HostSection(**section))
        host = made.start(peer)
        host.transport.serve("echo", echo, request_bytes_max=1 << 24)
        host.transport.serve("sink", drop, request_bytes_max=1 << 24)
        host.transport.serve("hang", hang, request_bytes_max=10)
    return made


async def drop(caller: PeerId, request: bytes) -> bytes:
    return b""


async def hang(caller: PeerId, request: bytes) -> bytes:
    await asyncio.sleep(1e6)
    return b""


async def call(
    made: SimNetwork, source: PeerId, target: PeerId, method: str = "echo", **options: Any
) -> bytes:
    options = {"request": b"x", "timeout_s": 20.0, "reply_bytes_max": 1 << 24} | options
    request = options.pop("request")
    return await made.hosts[source].transport.call(target, method, request, **options)


async def seconds(work: Any) -> float:
    loop = asyncio.get_running_loop()
    before = loop.time()
    await work
    return loop.time() - before


@both_modes
async def test_all_streams_of_a_host_share_its_access_line_in_each_direction(framed: bool) -> None:
    made = network(
        framed, {A: {"up_bytes_per_s": 1e6}, B: {}, C: {"down_bytes_per_s": 5e5}, D: {}},
        latency_s=0.0,
    )  # fmt: skip
    for source, target in ((A, B), (A, D), (B, C), (D, C)):
        await call(made, source, target)
    body = bytes(1_000_000)
    up = [call(made, A, peer, "sink", request=body) for peer in (B, D)]
    assert await seconds(asyncio.gather(*up)) == pytest.approx(2.0, rel=0.05)
    down = [call(made, peer, C, "sink", request=body) for peer in (B, D)]
    assert await seconds(asyncio.gather(*down)) == pytest.approx(4.0, rel=0.05)
    # the other directions are free
    assert await seconds(call(made, B, A, "sink", request=body)) < 0.01
    assert await seconds(call(made, B, D, "sink", request=body)) < 0.01
    await made.close()


async def test_a_stream_with_a_full_line_pauses_its_writer() -> None:
    made = network(True, {A: {"up_bytes_per_s": 1e5}, B: {}}, latency_s=0.0)
    await call(made, A, B)
    sending = asyncio.ensure_future(
        call(made, A, B, "sink", request=bytes(4_000_000), timeout_s=90)
    )
    await asyncio.sleep(1)
    sent, _ = made.hosts[A].transport.traffic()[B]
    assert sent < 1_500_000  # the buffer and a frame, not all
    assert await seconds(sending) == pytest.approx(39, rel=0.05)
    await made.close()


@both_modes
@pytest.mark.parametrize(
    ("source", "target", "joined"),
    [
        ("open", "open", True),
        ("cone", "open", True),
        ("symmetric", "open", True),
        ("open", "cone", True),
        ("open", "symmetric", True),
        ("cone", "cone", True),
        ("cone", "symmetric", False),
        ("symmetric", "cone", False),
        ("symmetric", "symmetric", False),
    ],
)
async def test_nats_say_who_can_be_joined(
    framed: bool, source: str, target: str, joined: bool
) -> None:
    made = network(framed, {A: {"nat": source}, B: {"nat": target}, C: {}})
    began = asyncio.get_running_loop().time()
    if joined:
        assert await call(made, A, B) == b"x"
        assert await call(made, B, A) == b"x"  # a kept stream works both ways
        assert made.hosts[B].transport.connected() == [A]
    else:
        with pytest.raises(Unavailable, match="NAT"):
            await call(made, A, B)
        assert asyncio.get_running_loop().time() - began >= 5.0
    assert made.reachable(A, B) is joined
    await made.close()


@both_modes
async def test_nobody_dials_into_a_nat_without_a_go_between_that_both_reach(framed: bool) -> None:
    made = network(framed, {A: {}, B: {"nat": "cone"}, C: {}})
    made.cut([C], [B])
    with pytest.raises(Unavailable, match="NAT"):
        await call(made, A, B)
    assert await call(made, B, A) == b"x"
    assert await call(made, A, B) == b"x"  # over the stream that B opened
    await made.close()


@both_modes
async def test_a_reset_breaks_both_ends_and_loses_what_is_under_way(framed: bool) -> None:
    made = network(framed, {A: {}, B: {}}, latency_s=1.0)
    await call(made, A, B)
    arrived = []

    async def note(caller: PeerId, request: bytes) -> bytes:
        arrived.append(request)
        return b""

    made.hosts[B].transport.serve("note", note, request_bytes_max=10)
    lost = asyncio.ensure_future(call(made, A, B, "note"))
    hanging = asyncio.ensure_future(call(made, B, A, "hang"))
    await asyncio.sleep(0.5)
    made.reset(B, A)
    for waiting in (lost, hanging):
        with pytest.raises(Unavailable, match="broke"):
            await waiting
    assert made.hosts[A].transport.connected() == made.hosts[B].transport.connected() == []
    await asyncio.sleep(5)
    assert arrived == []
    assert await call(made, A, B) == b"x"
    assert made.hosts[A].peer_errors == made.hosts[B].peer_errors == []
    await made.close()


@both_modes
async def test_resets_come_at_their_rate_and_only_while_two_are_joined(framed: bool) -> None:
    made = network(framed, {A: {}, B: {}, C: {}}, reset_per_s=0.5)
    loop = asyncio.get_running_loop()
    broken = 0
    while loop.time() < 200:
        try:
            await call(made, A, B, "hang", timeout_s=1e5)
        except Unavailable as error:
            broken += "broke" in str(error)
            await asyncio.sleep(0.5)
    # Two seconds until a reset, half a second and three trips until the next stream.
    assert 50 < broken < 105
    made.set_link(A, B, LinkModel())
    made.set_link(B, A, LinkModel())
    with pytest.raises(Unavailable, match="within"):
        await call(made, A, B, "hang", timeout_s=1000)
    made.clear_link(A, B)
    with pytest.raises(Unavailable, match="broke"):
        await call(made, A, B, "hang", timeout_s=1000)
    await made.close()
