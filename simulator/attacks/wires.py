"""Attacks on the wire: too much, too slow, too large, or not a message at all.

Each works on whatever methods the node serves, and keeps taking part in rounds.
"""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import suppress
from dataclasses import replace

import numpy as np

from node.errors import PeerError, Unavailable
from node.jobs.courier import ROUND_METHOD
from node.ports import Handler, Ports, Sign, StreamHandler, Transport
from node.types import PeerId
from simulator.attacks.base import Attack
from simulator.attacks.shells import TransportShell

TURN_S = 0.25
"""Pause between two bursts."""
CALL_S = 2.0
REPLY_BYTES_MAX = 1 << 20
OVERSIZED_BYTES_MAX = 1 << 20
"""Largest request that is made for a limit above it; only limits below are exceeded."""
FLOOD_CALLS = 8
"""Calls to each peer in each burst, times the scale."""
FLOOD_CALLS_MAX = 64
SEEN_MAX = 64
"""Requests kept to repeat or mutate."""
JUNK_BYTES = 200_000


class _Tap(TransportShell):
    """Knows the methods and their limits, and what was sent."""

    def __init__(self, inner: Transport) -> None:
        super().__init__(inner)
        self.limits: dict[str, int] = {}
        """Method -> largest request; the node serves what its peers serve."""
        self.sent: list[tuple[str, bytes]] = []
        self.peers: dict[PeerId, None] = {}

    def serve(
        self, method: str, handler: Handler, *, request_bytes_max: int, concurrent_max: int = 64
    ) -> None:
        self.limits[method] = request_bytes_max
        super().serve(
            method, handler, request_bytes_max=request_bytes_max, concurrent_max=concurrent_max
        )

    def serve_stream(
        self,
        method: str,
        handler: StreamHandler,
        *,
        request_bytes_max: int,
        concurrent_max: int = 8,
    ) -> None:
        self.limits[method] = request_bytes_max
        super().serve_stream(
            method, handler, request_bytes_max=request_bytes_max, concurrent_max=concurrent_max
        )

    async def call(
        self, peer: PeerId, method: str, request: bytes, *, timeout_s: float, reply_bytes_max: int
    ) -> bytes:
        self.peers[peer] = None
        if len(request) < OVERSIZED_BYTES_MAX:
            self.sent = [*self.sent[-SEEN_MAX + 1 :], (method, request)]
        return await super().call(
            peer, method, request, timeout_s=timeout_s, reply_bytes_max=reply_bytes_max
        )


class _Noisy(Attack):
    """Bursts of calls to every peer that the node talks to, besides its duties."""

    _tap: _Tap | None = None

    def ports(self, ports: Ports, sign: Sign) -> Ports:
        """The transport is tapped."""
        ports = super().ports(ports, sign)
        self._tap = _Tap(ports.transport)
        return replace(ports, transport=self._tap)

    async def run(self) -> None:
        """Bursts until cancelled."""
        assert self._tap is not None
        tap, turn = self._tap, 0
        while True:
            await asyncio.sleep(TURN_S)
            async with asyncio.TaskGroup() as group:
                for number, peer in enumerate(list(tap.peers)):
                    rng = self.own_rng(turn, number)
                    for method, request in self.burst(tap, rng):
                        group.create_task(_shout(tap.inner, peer, method, request))
            turn += 1

    def burst(self, tap: _Tap, rng: np.random.Generator) -> Sequence[tuple[str, bytes]]:
        """(method, request) of each call to one peer."""
        raise NotImplementedError


async def _shout(transport: Transport, peer: PeerId, method: str, request: bytes) -> None:
    with suppress(PeerError, Unavailable):
        await transport.call(
            peer, method, request, timeout_s=CALL_S, reply_bytes_max=REPLY_BYTES_MAX
        )


class flood(_Noisy):
    """Says what it said again and again: 8 times ``scale`` calls a peer, four times a second."""

    def burst(self, tap: _Tap, rng: np.random.Generator) -> Sequence[tuple[str, bytes]]:
        """Valid requests of its own, as they were sent."""
        if not tap.sent:
            return ()
        count = min(max(1, round(FLOOD_CALLS * self.scale)), FLOOD_CALLS_MAX)
        return [tap.sent[int(i)] for i in rng.integers(len(tap.sent), size=count)]


class malformed(_Noisy):
    """Random and mutated bytes on every method."""

    def burst(self, tap: _Tap, rng: np.random.Generator) -> Sequence[tuple[str, bytes]]:
        """For each method random bytes, and of one real request a mutation of each sort."""
        calls = [
            (method, rng.bytes(int(rng.integers(0, min(limit, 300) + 1))))
            for method, limit in sorted(tap.limits.items())
        ]
        if tap.sent:
            method, request = tap.sent[int(rng.integers(len(tap.sent)))]
            calls += [(method, mutate(request, rng)) for mutate in (_flip, _cut, _repeat)]
        return calls


def _flip(data: bytes, rng: np.random.Generator) -> bytes:
    if not data:
        return b"\xff"
    at = int(rng.integers(len(data)))
    return data[:at] + bytes([data[at] ^ 1 << int(rng.integers(8))]) + data[at + 1 :]


def _cut(data: bytes, rng: np.random.Generator) -> bytes:
    return data[: int(rng.integers(len(data) + 1))]


def _repeat(data: bytes, rng: np.random.Generator) -> bytes:
    at, to = sorted(rng.integers(len(data) + 1, size=2).tolist())
    return data[:to] + data[at:]


class oversized(_Noisy):
    """Requests above the limit of each method, and replies above what was asked for."""

    def ports(self, ports: Ports, sign: Sign) -> Ports:
        """Replies grow, too."""
        ports = super().ports(ports, sign)
        return replace(ports, transport=_Answering(ports.transport, _grown))

    def burst(self, tap: _Tap, rng: np.random.Generator) -> Sequence[tuple[str, bytes]]:
        """One byte too many on every method; for the large ones a message that holds too much."""
        calls = [
            (method, bytes(limit + 1))
            for method, limit in sorted(tap.limits.items())
            if limit < OVERSIZED_BYTES_MAX
        ]
        return [*calls, (ROUND_METHOD, bytes(JUNK_BYTES))]


async def _grown(handler: Handler, caller: PeerId, request: bytes) -> bytes:
    return await handler(caller, request) + bytes(JUNK_BYTES)


class slow_loris(Attack):
    """Takes every call and never answers it; streams end in the middle."""

    def ports(self, ports: Ports, sign: Sign) -> Ports:
        """Answers never leave."""
        ports = super().ports(ports, sign)
        return replace(ports, transport=_Answering(ports.transport, _hung))


async def _hung(handler: Handler, caller: PeerId, request: bytes) -> bytes:
    await handler(caller, request)
    await asyncio.Event().wait()
    return b""


class _Answering(TransportShell):
    """Answers by ``answer(handler, caller, request)``; a stream stops after its first chunk."""

    def __init__(
        self, inner: Transport, answer: Callable[[Handler, PeerId, bytes], Awaitable[bytes]]
    ) -> None:
        super().__init__(inner)
        self._answer = answer

    def serve(
        self, method: str, handler: Handler, *, request_bytes_max: int, concurrent_max: int = 64
    ) -> None:
        async def answer(caller: PeerId, request: bytes) -> bytes:
            return await self._answer(handler, caller, request)

        super().serve(
            method, answer, request_bytes_max=request_bytes_max, concurrent_max=concurrent_max
        )

    def serve_stream(
        self,
        method: str,
        handler: StreamHandler,
        *,
        request_bytes_max: int,
        concurrent_max: int = 8,
    ) -> None:
        async def dribble(caller: PeerId, request: bytes) -> AsyncIterator[bytes]:
            async for chunk in handler(caller, request):
                yield chunk
                await asyncio.Event().wait()

        super().serve_stream(
            method, dribble, request_bytes_max=request_bytes_max, concurrent_max=concurrent_max
        )
