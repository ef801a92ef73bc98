"""A byte stream between two simulated hosts, as an asyncio transport in virtual time.

The real call code (``node.adapters.link``) runs on it unchanged. It behaves as a TCP connection
does: bytes arrive in order, a sender that outruns the bandwidth is paused, and bytes for an end
that is gone break the other end. A lost frame is not sent again: it stands for a peer's silence.
"""

import asyncio
from collections import deque
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any, cast

import numpy as np

from node.adapters.framing import HEADER, Kind
from node.adapters.link import FROM_CALLEE

CONTROL = frozenset({Kind.READY, Kind.BYE, Kind.CANCEL, Kind.CREDIT})
"""Frames that TCP would send again until they arrive. Losing one would break the stream itself."""


@dataclass(frozen=True)
class LinkModel:
    """How bytes travel from one host to another. Derive from it to model more."""

    latency_s: float = 0.02
    jitter_s: float = 0.0
    """Largest addition to the latency, uniform."""
    bytes_per_s: float = float("inf")
    """Rate of one stream."""
    loss_rate: float = 0.0
    """Chance that a frame is lost: its call, in this direction, is then silent for good."""
    duplicate_rate: float = 0.0
    """Chance that a unary request is handled twice, as when its sender tries again."""

    def delay_s(self, rng: np.random.Generator) -> float:
        """Time from the end of sending to arrival."""
        return self.latency_s + (self.jitter_s * rng.random() if self.jitter_s else 0.0)

    def loses(self, rng: np.random.Generator) -> bool:
        """Is the next frame lost?"""
        return bool(self.loss_rate and rng.random() < self.loss_rate)

    def duplicates(self, rng: np.random.Generator) -> bool:
        """Is the next request handled twice?"""
        return bool(self.duplicate_rate and rng.random() < self.duplicate_rate)


@dataclass(frozen=True)
class Way:
    """One direction between two hosts, as the network says it is now."""

    model: Callable[[], LinkModel]
    rng: np.random.Generator
    is_cut: Callable[[], bool]
    hold: Callable[[Callable[[], None]], None]
    """Calls back once no direction is cut."""


class PipeEnd(asyncio.Transport):
    """One end of a stream; ``connect`` makes both."""

    def __init__(self, way: Way, gone: Callable[["PipeEnd"], None]) -> None:
        super().__init__()
        self._way = way
        self._gone = gone
        self._loop = asyncio.get_running_loop()
        self._other: PipeEnd | None = None
        self._protocol: asyncio.Protocol | None = None
        self._framed = False
        self._silent: set[tuple[bool, int]] = set()
        self._closing = False
        self._reading = True
        self._unread: list[bytes] = []
        self._high, self._low = 64 * 1024, 16 * 1024
        self._unsent_bytes = 0
        self._paused = False
        self._busy_until = 0.0
        self._last_arrival = 0.0
        self._flight: deque[Callable[[PipeEnd], None]] = deque()

    # -- what asyncio expects of a transport

    def set_protocol(self, protocol: asyncio.BaseProtocol) -> None:
        """Hand what arrives to ``protocol``; the second one, after the handshake, speaks frames."""
        self._framed = self._protocol is not None
        self._protocol = cast(asyncio.Protocol, protocol)

    def get_protocol(self) -> asyncio.Protocol:
        """Who gets what arrives."""
        assert self._protocol is not None
        return self._protocol

    def is_closing(self) -> bool:
        """Is this end closed?"""
        return self._closing

    def set_write_buffer_limits(self, high: int | None = None, low: int | None = None) -> None:
        """Pause the writer above ``high`` bytes that are not sent, resume it at ``low``."""
        self._high = 64 * 1024 if high is None else high
        self._low = self._high // 4 if low is None else low

    def get_write_buffer_size(self) -> int:
        """Bytes that are not sent yet."""
        return self._unsent_bytes

    def pause_reading(self) -> None:
        """Keep what arrives."""
        self._reading = False

    def resume_reading(self) -> None:
        """Hand over what was kept."""
        self._reading = True
        unread, self._unread = self._unread, []
        for data in unread:
            self.get_protocol().data_received(data)

    def write(self, data: Any) -> None:
        """Send. Once frames are spoken, one call is one frame."""
        if self._closing:
            return
        raw = bytes(data)
        control, call = self._classify(raw)
        model = self._way.model()
        if self._way.is_cut():
            if control:
                self._way.hold(lambda: self.write(raw))
            else:
                self._silent.add(call)
            return
        if not control and (call in self._silent or model.loses(self._way.rng)):
            self._silent.add(call)
            return
        sent = self._loop.time()
        if model.bytes_per_s < float("inf"):
            sent = self._busy_until = max(sent, self._busy_until) + len(raw) / model.bytes_per_s
            self._unsent_bytes += len(raw)
            self._loop.call_at(sent, self._count_sent, len(raw))
            if self._unsent_bytes > self._high and not self._paused:
                self._paused = True
                self.get_protocol().pause_writing()
        self._after_delay(sent, lambda other: other.arrive(raw))

    def writelines(self, list_of_data: Iterable[Any]) -> None:
        """Send the parts as one."""
        self.write(b"".join(list_of_data))

    def close(self) -> None:
        """Close; the other end learns of it after what was written, unless the way is cut."""
        if not self._closing:
            self._closing = True
            self._loop.call_soon(self.get_protocol().connection_lost, None)
            self._gone(self)
            if not self._way.is_cut():
                sent = max(self._loop.time(), self._busy_until)
                self._after_delay(sent, lambda other: other.close())

    def abort(self) -> None:
        """As ``close``: what was written is on its way and arrives."""
        self.close()

    # -- the wire

    def arrive(self, data: bytes) -> None:
        """Bytes of the other end arrive here. If this end is closed, the other one breaks."""
        if self._closing:
            if not self._way.is_cut():
                self._after_delay(self._loop.time(), lambda other: other.close())
        elif self._reading:
            self.get_protocol().data_received(data)
        else:
            self._unread.append(data)

    def _after_delay(self, sent: float, act: Callable[["PipeEnd"], None]) -> None:
        other = self._other
        assert other is not None
        arrival = sent + self._way.model().delay_s(self._way.rng)
        self._last_arrival = max(self._last_arrival, arrival)
        # A stream keeps its order, and timers of one instant need not: each lands what is first.
        self._flight.append(act)
        self._loop.call_at(self._last_arrival, self._land, other)

    def _land(self, other: "PipeEnd") -> None:
        self._flight.popleft()(other)

    def _count_sent(self, size: int) -> None:
        self._unsent_bytes -= size
        if self._paused and self._unsent_bytes <= self._low and not self._closing:
            self._paused = False
            self.get_protocol().resume_writing()

    def _classify(self, raw: bytes) -> tuple[bool, tuple[bool, int]]:
        """Must the bytes arrive for the stream to live, and to which call do they belong?"""
        if not self._framed:
            return True, (False, 0)
        _, kind, call = HEADER.unpack_from(raw)
        return kind in CONTROL, (kind in FROM_CALLEE, call)


def connect(there: Way, back: Way, gone: Callable[[PipeEnd], None]) -> tuple[PipeEnd, PipeEnd]:
    """Both ends of a new stream: the source's and the target's of ``there``."""
    near, far = PipeEnd(there, gone), PipeEnd(back, gone)
    near._other, far._other = far, near
    return near, far


def streams(end: PipeEnd) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    """The end as a pair of asyncio streams."""
    loop = asyncio.get_running_loop()
    reader = asyncio.StreamReader(loop=loop)
    protocol = asyncio.StreamReaderProtocol(reader, loop=loop)
    end.set_protocol(protocol)
    protocol.connection_made(end)
    return reader, asyncio.StreamWriter(end, protocol, reader, loop)
