"""The answering side of one stream: from a peer's frames to handlers, and their answers back.

A call is open from its first frame until its answer has left or it was cancelled. A peer may have
``calls_max`` open calls and ``request_bytes_max`` of requests; what exceeds is told to come later.
"""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable
from contextlib import aclosing
from typing import cast

from node.adapters import framing
from node.adapters.framing import Assembler, ErrorCode, Frame, Kind, Opening
from node.adapters.limits import Limits
from node.adapters.methods import Method, Methods, error_to_send
from node.adapters.outbox import Outgoing
from node.errors import Malformed, PeerError, Unavailable
from node.types import PeerId


class _Answer:
    """One open call of the peer."""

    def __init__(self, opening: Opening, method: Method) -> None:
        self.opening = opening
        self.method = method
        self.body = Assembler(opening.request_bytes)
        self.task: asyncio.Task[None] | None = None
        self.outgoing: Outgoing | None = None
        fits = opening.request_bytes <= framing.FRAME_BYTES_MAX
        self.counted_bytes = 0 if fits else opening.request_bytes
        """Small requests are bounded by their number: a large one must not shut them out."""
        self.credit = framing.WINDOW_BYTES
        self.credited = asyncio.Event()


class Answers:
    """All open calls of one peer on one stream.

    Args:
        send: Queues a message for the peer.
        room: Waits until the queue to the peer is short enough to begin another answer.
        failure: Is told of an exception in a handler that is our own bug.
    """

    def __init__(
        self,
        peer: PeerId,
        methods: Methods,
        limits: Limits,
        *,
        send: Callable[[Outgoing], None],
        room: Callable[[], Awaitable[None]],
        failure: Callable[[Exception], None],
    ) -> None:
        self._peer = peer
        self._methods = methods
        self._limits = limits
        self._send = send
        self._room = room
        self._failure = failure
        self._loop = asyncio.get_running_loop()
        self._open: dict[int, _Answer] = {}
        self._open_bytes = 0

    def close(self) -> list["asyncio.Task[None]"]:
        """Cancel every answer; the tasks that are ending."""
        tasks = []
        for call, answer in list(self._open.items()):
            if answer.task is None:
                self._forget(call)
            else:
                answer.task.cancel()
                tasks.append(answer.task)
        return tasks

    def receive(self, frame: Frame) -> None:
        """Take a frame that the peer sent as caller.

        Raises:
            PeerError: The frame breaks the protocol; the stream must be closed.
        """
        if frame.kind in (Kind.CALL, Kind.STREAM):
            self._begin(frame)
            return
        answer = self._open.get(frame.call)
        if answer is None:
            return  # it was refused or has ended, and the frame crossed the answer
        if frame.kind is Kind.MORE:
            if answer.task is not None:
                raise Malformed("bytes beyond the end of a request")
            self._add(frame.call, answer, frame.payload)
        elif frame.kind is Kind.CREDIT:
            credit, _ = framing.decode_u32(frame.payload)
            answer.credit += credit
            if answer.credit > framing.WINDOW_BYTES:
                raise Malformed("more credit than was ever used")
            answer.credited.set()
        elif answer.task is not None:
            answer.task.cancel()
        else:
            self._forget(frame.call)

    def _begin(self, frame: Frame) -> None:
        if frame.call in self._open:
            raise Malformed(f"call {frame.call} is open already")
        opening, part = framing.decode_opening(frame.payload)
        size = opening.request_bytes
        try:
            method = self._methods.find(opening.method, size, streamed=frame.kind is Kind.STREAM)
            if len(self._open) >= self._limits.calls_max or (
                size > framing.FRAME_BYTES_MAX
                and self._open_bytes + size > self._limits.request_bytes_max
            ):
                raise Unavailable("too many open calls")
        except (PeerError, Unavailable) as error:
            self._send_error(frame.call, *error_to_send(error))
            return
        answer = self._open[frame.call] = _Answer(opening, method)
        self._open_bytes += answer.counted_bytes
        self._add(frame.call, answer, part)

    def _add(self, call: int, answer: _Answer, part: memoryview) -> None:
        request = answer.body.add(part)
        if request is not None:
            answer.task = self._loop.create_task(self._answer(call, answer, request))
            answer.task.add_done_callback(lambda _: self._forget(call))

    def _forget(self, call: int) -> None:
        answer = self._open.pop(call)
        self._open_bytes -= answer.counted_bytes
        if answer.outgoing is not None and not answer.outgoing.taken:
            answer.outgoing.drop()

    async def _answer(self, call: int, answer: _Answer, request: bytes) -> None:
        try:
            async with answer.method.turn(self._peer):
                await self._room()
                if answer.method.streamed is not None:
                    chunks = answer.method.streamed(self._peer, request)
                    await self._answer_stream(call, answer, chunks)
                    return
                assert answer.method.unary is not None
                reply = await answer.method.unary(self._peer, request)
            await self._send_body(call, answer, Kind.REPLY, reply)
        except (PeerError, Unavailable) as error:
            self._send_error(call, *error_to_send(error))
        except Exception as error:
            self._send_error(call, *error_to_send(error))
            self._failure(error)

    async def _answer_stream(
        self, call: int, answer: _Answer, chunks: AsyncIterator[bytes]
    ) -> None:
        async with aclosing(cast("AsyncGenerator[bytes, None]", chunks)):
            while True:
                while answer.credit <= 0:
                    answer.credited.clear()
                    try:
                        async with asyncio.timeout(self._limits.stall_s):
                            await answer.credited.wait()
                    except TimeoutError:
                        raise Unavailable("the chunks were not read") from None
                chunk = await anext(chunks, None)
                if chunk is None:
                    self._send(Outgoing(Kind.END, call, b"", b""))
                    return
                answer.credit -= framing.chunk_cost(len(chunk))
                if not await self._send_body(call, answer, Kind.CHUNK, chunk):
                    return

    async def _send_body(self, call: int, answer: _Answer, kind: Kind, body: bytes) -> bool:
        """Send a reply or a chunk and wait until it is on its way. False: the caller refuses it."""
        if len(body) > answer.opening.answer_bytes_max:
            self._send_error(call, ErrorCode.REPLY_TOO_LARGE, "")
            return False
        message = Outgoing(kind, call, framing.encode_u32(len(body)), body)
        answer.outgoing = message
        self._send(message)
        if not message.taken:
            sent = self._loop.create_future()
            message.on_taken = lambda: None if sent.done() else sent.set_result(None)
            await sent
        return True

    def _send_error(self, call: int, code: ErrorCode, text: str) -> None:
        self._send(Outgoing(Kind.ERROR, call, framing.encode_error(code, text), b""))
