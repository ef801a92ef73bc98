"""A byte stream between two simulated hosts, as an asyncio transport in virtual time.

The real call code (``node.adapters.link``) runs on it unchanged. Modelled: what TCP shows to its
user. Bytes arrive in order, a sender that outruns its lines is paused, bytes for an end that is
gone break the other end, a reset breaks both. A lost frame is not sent again: it stands for a
peer's silence; frames without which the stream itself would break are never lost, and a cut keeps
them until it ends. Left out: the socket's own buffers, half-closed streams, authentication.
"""

import asyncio
from collections.abc import Callable, Iterable
from typing import Any, cast

from node.adapters.framing import HEADER, Kind
from node.adapters.link import FROM_CALLEE
from simulator.wire.links import Lane, Path

CONTROL = frozenset({Kind.READY, Kind.BYE, Kind.CANCEL, Kind.CREDIT})
"""Frames that TCP would send again until they arrive. Losing one would break the stream itself."""


class PipeEnd(asyncio.Transport):
    """One end of a stream; ``connect`` makes both."""

    def __init__(self, path: Path, gone: Callable[["PipeEnd"], None]) -> None:
        super().__init__()
        self._path = path
        self._lane = Lane(path)
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
        if control:
            self._send_control(raw)
        elif call in self._silent or self._path.is_cut or self._path.loses():
            self._silent.add(call)
        else:
            self._send(raw)

    def writelines(self, list_of_data: Iterable[Any]) -> None:
        """Send the parts as one."""
        self.write(b"".join(list_of_data))

    def close(self) -> None:
        """Close; the other end learns of it after what was written, unless the way is cut."""
        if not self._closing:
            self._closing = True
            self._loop.call_soon(self.get_protocol().connection_lost, None)
            self._gone(self)
            if not self._path.is_cut:
                self._lane.carry(0, self._far.close)

    def abort(self) -> None:
        """As ``close``: what was written is on its way and arrives."""
        self.close()

    def reset(self) -> None:
        """Break both ends now; what is under way is lost."""
        for end in (self, self._far):
            end._lane.clear()
            if not end._closing:
                end._closing = True
                error = ConnectionResetError("the stream was reset")
                end._loop.call_soon(end.get_protocol().connection_lost, error)
                end._gone(end)

    # -- the wire

    @property
    def _far(self) -> "PipeEnd":
        assert self._other is not None
        return self._other

    def _arrive(self, data: bytes) -> None:
        """Bytes of the other end arrive here. If this end is closed, the other one breaks."""
        if self._closing:
            if not self._path.is_cut:
                self._lane.carry(0, self._far.close)
        elif self._reading:
            self.get_protocol().data_received(data)
        else:
            self._unread.append(data)

    def _send_control(self, raw: bytes) -> None:
        if self._closing:
            return
        if self._path.is_cut:
            self._path.cuts.hold(self._path, lambda: self._send_control(raw))
        else:
            self._send(raw)

    def _send(self, raw: bytes) -> None:
        sent = self._lane.carry(len(raw), self._far._arrive, raw)
        if sent > self._loop.time():
            self._unsent_bytes += len(raw)
            self._loop.call_at(sent, self._count_sent, len(raw))
            if self._unsent_bytes > self._high and not self._paused:
                self._paused = True
                self.get_protocol().pause_writing()

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


def connect(there: Path, back: Path, gone: Callable[[PipeEnd], None]) -> tuple[PipeEnd, PipeEnd]:
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
