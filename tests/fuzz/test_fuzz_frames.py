"""Frames of a peer on a kept stream: handled, or the stream ends and the peer is told on."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import suppress
from typing import Any

from node.adapters import framing
from node.adapters.framing import HEADER, Kind, Opening
from node.adapters.limits import Limits
from node.adapters.link import Link, LinkEvents
from node.adapters.methods import Method, Methods
from node.errors import PeerError, Refused, Unavailable
from node.types import PeerId
from simulator.loop import run

PEER = PeerId("12D3KooWpeer")
REQUEST_BYTES_MAX = 10_000
FRAMES = 12


class Sink(asyncio.Transport):
    """Takes what a link writes; ``abort`` loses the connection at once."""

    link: Link | None = None
    closing = False

    def set_protocol(self, protocol: asyncio.BaseProtocol) -> None: ...
    def set_write_buffer_limits(self, high: int | None = None, low: int | None = None) -> None: ...
    def write(self, data: Any) -> None: ...
    def writelines(self, list_of_data: Any) -> None: ...

    def is_closing(self) -> bool:
        return self.closing

    def abort(self) -> None:
        if not self.closing:
            self.closing = True
            assert self.link is not None
            self.link.connection_lost(None)

    close = abort


class Writer:
    def __init__(self, transport: Sink) -> None:
        self.transport = transport


async def echo(peer: PeerId, request: bytes) -> bytes:
    if request.startswith(b"no"):
        raise Refused("no")
    return request


async def chunks(peer: PeerId, request: bytes) -> AsyncIterator[bytes]:
    for _ in range(3):
        yield request


def frame(c: Any, noise: bytes) -> bytes:
    """One frame, or something like one."""
    kind = c.of((*Kind, Kind.CALL, Kind.STREAM, Kind.MORE, Kind.REPLY, Kind.CHUNK, Kind.CREDIT))
    call = c.of((0, 1, 1, 2, 2, 3, 4, framing.CALL_ID_MAX))
    size = c.of((0, len(noise), 4096, 5000, REQUEST_BYTES_MAX + 1, framing.MESSAGE_BYTES_MAX))
    payload = noise[: c.pick(len(noise) + 1)] * c.of((1, 1, 60))
    if kind in (Kind.CALL, Kind.STREAM) and c.pick(8):
        method = c.of(("echo", "chunks", "none", "é"))
        limit = c.of((0, 10, framing.MESSAGE_BYTES_MAX))
        size = len(payload) if c.pick(2) else size
        payload = framing.encode_opening(Opening(method, size, limit)) + payload
    elif kind in (Kind.REPLY, Kind.CHUNK, Kind.CREDIT) and c.pick(8):
        payload = framing.encode_u32(len(payload) if c.pick(2) else size) + payload
    data = HEADER.pack(len(payload), kind, call) + payload
    how = c.pick(24)
    if how == 0:
        return noise
    if how == 1:
        return HEADER.pack(c.of((2**32 - 1, framing.FRAME_BYTES_MAX + 1)), kind, call)
    if how == 2:
        return HEADER.pack(len(payload), c.pick(256), call) + payload
    return data


def test_hostile_frames_end_the_stream_at_worst(fuzz: Any) -> None:
    ended = answered = 0

    async def main(c: Any, data: bytes) -> None:
        nonlocal ended, answered
        blamed: list[PeerError] = []
        failures: list[Exception] = []
        methods = Methods()
        limit = {"request_bytes_max": REQUEST_BYTES_MAX, "concurrent_max": 4}
        methods.add(Method("echo", unary=echo, **limit))
        methods.add(Method("chunks", streamed=chunks, **limit))
        events = LinkEvents(
            lambda link: None, lambda peer, e: blamed.append(e), failures.append, lambda a, b: None
        )
        link = Link(PEER, dialled=True, methods=methods, limits=Limits(), events=events)
        sink = Sink()
        sink.link = link
        writer: Any = Writer(sink)
        link.attach(writer)

        async def ask() -> None:
            nonlocal answered
            with suppress(PeerError, Unavailable):
                await link.call("echo", b"hi", 1000)
                answered += 1

        async def read() -> None:
            with suppress(PeerError, Unavailable):
                async for _ in link.stream("chunks", b"", idle_timeout_s=9, chunk_bytes_max=1000):
                    pass

        async with asyncio.TaskGroup() as group:
            group.create_task(ask())
            group.create_task(read())
            await asyncio.sleep(0)
            stream = b"".join(frame(c, data) for _ in range(FRAMES))
            with fuzz.bounded(8 * len(stream) + FRAMES * REQUEST_BYTES_MAX):
                while stream and not sink.closing:
                    cut = 1 + c.pick(len(stream))
                    link.data_received(stream[:cut])
                    stream = stream[cut:]
                    await asyncio.sleep(0)
            ended += sink.closing
            assert bool(blamed) == sink.closing or link.lost
            link.abort()
        assert failures == []

    fuzz.run(0.05, lambda c, data: run(main(c, data)), each=FRAMES)
    assert ended > 0
