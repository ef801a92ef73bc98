"""One kept stream to one peer: many calls in both directions over it.

An asyncio protocol over any ordered, reliable byte transport whose far end is authenticated. Frames
are handled as they arrive, without a reader task; writing stops while the transport is full. The
calling side is here, the answering side in ``answers.py``.
"""

import asyncio
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from typing import TypeVar, cast

from node.adapters import framing
from node.adapters.answers import Answers
from node.adapters.framing import Frame, Kind
from node.adapters.limits import Limits
from node.adapters.methods import Methods
from node.adapters.outbox import Outbox, Outgoing
from node.adapters.pending import PendingCall, PendingStream
from node.errors import Malformed, PeerError, Unavailable
from node.types import PeerId

P = TypeVar("P", PendingCall, PendingStream)
FROM_CALLEE = frozenset({Kind.REPLY, Kind.CHUNK, Kind.REST, Kind.END, Kind.ERROR})
JOINED_BYTES_MAX = 4096
"""Frames up to this size are copied into one buffer: cheaper than two writes."""


@dataclass(frozen=True)
class LinkEvents:
    """Whom a link tells what happens to it."""

    closed: Callable[["Link"], None]
    peer_error: Callable[[PeerId, PeerError], None]
    failure: Callable[[Exception], None]
    """A handler raised what is our own bug."""
    moved: Callable[[int, int], None]
    """Bytes (sent, received)."""


class Link(asyncio.Protocol):
    """One stream, ready for calls once ``attach`` was called.

    Args:
        peer: The authenticated peer at the far end.
        dialled: We opened the stream (else the peer did).
        methods: What is served to the peer.
    """

    def __init__(
        self, peer: PeerId, *, dialled: bool, methods: Methods, limits: Limits, events: LinkEvents
    ) -> None:
        self.peer = peer
        self.dialled = dialled
        self._limits = limits
        self._events = events
        self._loop = asyncio.get_running_loop()
        self._writer: asyncio.StreamWriter | None = None
        self._transport: asyncio.Transport | None = None
        self._deframer = framing.Deframer()
        self._outbox = Outbox()
        self._paused = False
        # What arrives during the handshake is read elsewhere: the side that accepted is silent
        # until the dialler says that it reads here.
        self._silent = not dialled
        self._stalled: asyncio.TimerHandle | None = None
        self._room: list[asyncio.Future[None]] = []
        self._pending: dict[int, PendingCall | PendingStream] = {}
        self._last_call = 0
        self._slots = asyncio.Semaphore(limits.calls_max)
        self._answers = Answers(
            peer,
            methods,
            limits,
            send=self._send,
            room=self._wait_room,
            failure=events.failure,
        )
        self._retired = self._bye_sent = self._bye_received = False

    # -- the transport below

    def attach(self, writer: asyncio.StreamWriter) -> None:
        """Take over a connected stream of which nothing is left unread."""
        self._writer = writer  # kept: it would close its transport when forgotten
        self._transport = transport = cast(asyncio.Transport, writer.transport)
        transport.set_write_buffer_limits(high=self._limits.write_buffer_bytes)
        transport.set_protocol(self)
        if self.dialled:
            self._send(Outgoing(Kind.READY, 0, b"", b""))

    @property
    def lost(self) -> bool:
        """Is the stream closed or closing?"""
        return self._transport is None or self._transport.is_closing()

    @property
    def usable(self) -> bool:
        """May a new call start here?"""
        return not (self.lost or self._retired)

    def data_received(self, data: bytes) -> None:
        """Handle the frames in ``data``; a violation closes the stream and is reported."""
        self._events.moved(0, len(data))
        try:
            for frame in self._deframer.feed(data):
                if not self.lost:
                    self._receive(frame)
        except PeerError as error:
            error.peer = self.peer
            self.abort()
            self._events.peer_error(self.peer, error)

    def connection_lost(self, exc: Exception | None) -> None:
        """Fail every open call as unavailable and cancel the answers in progress."""
        if self._stalled is not None:
            self._stalled.cancel()
        for pending in list(self._pending.values()):
            pending.fail(Unavailable(f"the stream to {self.peer} broke"))
        self._answers.close()
        self._wake_room()
        self._events.closed(self)

    def pause_writing(self) -> None:
        """The transport is full. A peer that reads nothing for ``stall_s`` is cut off."""
        self._paused = True
        self._stalled = self._loop.call_later(self._limits.stall_s, self.abort)

    def resume_writing(self) -> None:
        """The transport takes bytes again."""
        self._paused = False
        if self._stalled is not None:
            self._stalled.cancel()
        self._pump()

    def abort(self) -> None:
        """Close now, whatever is queued."""
        if self._transport is not None:
            self._transport.abort()

    def close(self) -> list["asyncio.Task[None]"]:
        """Close now; the tasks of answers that are ending."""
        self.abort()
        return self._answers.close()

    def retire(self) -> None:
        """Start no new call here. The stream closes when neither side has an open call left."""
        self._retired = True
        self._close_if_done()

    def _close_if_done(self) -> None:
        if not self._retired or self._pending or self.lost:
            return
        if not self._bye_sent:
            self._bye_sent = True
            self._send(Outgoing(Kind.BYE, 0, b"", b""))
        if self._bye_received and self.dialled and self._transport is not None:
            self._transport.close()

    # -- sending and receiving

    def _send(self, message: Outgoing) -> None:
        self._outbox.put(message)
        self._pump()

    def _pump(self) -> None:
        transport = self._transport
        if transport is None or transport.is_closing():
            return
        while not (self._paused or self._silent) and (frame := self._outbox.take()) is not None:
            size = sum(map(len, frame))
            if size <= JOINED_BYTES_MAX:
                transport.write(b"".join(frame))
            else:
                transport.writelines(frame)
            self._events.moved(size, 0)
        if self._room and self._outbox.waiting_bytes <= self._limits.outbox_bytes_max:
            self._wake_room()

    async def _wait_room(self) -> None:
        while self._outbox.waiting_bytes > self._limits.outbox_bytes_max and not self.lost:
            waiter = self._loop.create_future()
            self._room.append(waiter)
            await waiter

    def _wake_room(self) -> None:
        waiters, self._room = self._room, []
        for waiter in waiters:
            if not waiter.done():
                waiter.set_result(None)

    def _receive(self, frame: Frame) -> None:
        if frame.kind in FROM_CALLEE:
            pending = self._pending.get(frame.call)
            if pending is not None:
                if pending.receive(frame):
                    self._cancel(frame.call)
            elif not 0 < frame.call <= self._last_call:
                raise Malformed(f"an answer to call {frame.call}, which was never made")
        elif frame.kind is Kind.READY:
            self._silent = False
            self._pump()
        elif frame.kind is Kind.BYE:
            self._bye_received = True
            self.retire()
        else:
            self._answers.receive(frame)

    # -- calling

    async def call(self, method: str, request: bytes, reply_bytes_max: int) -> bytes:
        """One request, one reply; cancel it to stop waiting. Errors as ``Transport.call``."""
        async with self._slots:
            pending = PendingCall(self.peer, method, reply_bytes_max)
            number, message = self._open(Kind.CALL, pending, method, request, reply_bytes_max)
            try:
                return await pending.reply
            finally:
                answered = pending.reply.done() and not pending.reply.cancelled()
                self._end(number, message, answered=answered)

    async def stream(
        self, method: str, request: bytes, *, idle_timeout_s: float, chunk_bytes_max: int
    ) -> AsyncIterator[bytes]:
        """One request, many chunks; close it to stop the sender. Errors as ``Transport.stream``."""
        async with self._slots:
            number = self._last_call + 1
            pending = PendingStream(
                self.peer, method, chunk_bytes_max, lambda cost: self._grant(number, cost)
            )
            number, message = self._open(Kind.STREAM, pending, method, request, chunk_bytes_max)
            try:
                while True:
                    try:
                        async with asyncio.timeout(idle_timeout_s):
                            chunk = await pending.next()
                    except TimeoutError:
                        raise Unavailable(
                            f"no chunk of {method} from {self.peer} within {idle_timeout_s} s"
                        ) from None
                    if chunk is None:
                        return
                    yield chunk
            finally:
                self._end(number, message, answered=pending.finished)

    def _open(
        self, kind: Kind, pending: P, method: str, request: bytes, answer_bytes_max: int
    ) -> tuple[int, Outgoing]:
        if not self.usable or self._last_call == framing.CALL_ID_MAX:
            raise Unavailable(f"the stream to {self.peer} is closing")
        opening = framing.Opening(method, len(request), answer_bytes_max)
        head = framing.encode_opening(opening)
        self._last_call = number = self._last_call + 1
        self._pending[number] = pending
        message = Outgoing(kind, number, head, request)
        self._send(message)
        return number, message

    def _end(self, number: int, message: Outgoing, *, answered: bool) -> None:
        del self._pending[number]
        if not message.taken:
            message.drop()
        if not answered or not message.taken:
            self._cancel(number, unknown=not message.begun)
        self._close_if_done()

    def _cancel(self, number: int, *, unknown: bool = False) -> None:
        """Tell the peer to stop; a call of which it saw no frame it must not hear of."""
        if not unknown:
            self._send(Outgoing(Kind.CANCEL, number, b"", b""))

    def _grant(self, number: int, cost: int) -> None:
        self._send(Outgoing(Kind.CREDIT, number, framing.encode_u32(cost), b""))
