"""Calls in whole-message mode, and how one is answered: a slot, one task, the reply on its way."""

import asyncio
from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing
from typing import TYPE_CHECKING, Any, cast

from node.adapters import framing
from node.adapters.framing import ErrorCode
from node.adapters.methods import error_to_send
from node.errors import PeerError, Unavailable
from simulator.wire.inbox import Inbox
from simulator.wire.links import Lane
from simulator.wire.served import Served

if TYPE_CHECKING:
    from simulator.wire.ends import End

HEAD_BYTES = 32
"""Framing of a message, about."""


class Call:
    """A call in progress: what its caller knows, and what crosses the path with it."""

    __slots__ = (
        "answer_bytes_max", "expired", "inbox", "method", "reply", "request", "stopped", "under_way"
    )  # fmt: skip

    def __init__(self, method: str, request: bytes, answer_bytes_max: int) -> None:
        self.method = method
        self.request = request
        self.answer_bytes_max = answer_bytes_max
        self.reply: asyncio.Future[bytes] | None = None
        self.inbox: Inbox | None = None
        """Of a streamed call, in place of ``reply``."""
        self.under_way = False
        """The request was neither lost nor cut off."""
        self.expired = False
        """Its caller has given up."""
        self.stopped = False
        """Its callee was told so."""

    def fail(self, error: Exception) -> None:
        """End it with ``error`` unless it has ended."""
        if self.inbox is not None:
            self.inbox.fail(error)
        elif self.reply is not None and not self.reply.done():
            self.reply.set_exception(error)


class Answer:
    """A call that is being answered, or waits for a slot; a copy's reply is dropped."""

    __slots__ = (
        "begun", "call", "copy", "credit", "credited", "end", "lane", "served", "stopped", "task"
    )  # fmt: skip

    def __init__(self, end: "End", call: Call, served: Served, copy: bool) -> None:
        self.end = end
        self.call = call
        self.served = served
        self.copy = copy
        self.task: asyncio.Task[None] | None = None
        self.begun = False
        self.stopped = False
        self.lane: Lane | None = None
        """Of a stream that was not cut or lost on its way."""
        self.credit = framing.WINDOW_BYTES
        self.credited: asyncio.Event | None = None

    def start(self) -> None:
        """It has a slot."""
        self.task = self.end.transport.loop.create_task(self._run())

    def stop(self) -> "asyncio.Task[None] | None":
        """Cancel it, once: how it ends is its own. The task that is ending, if it has one."""
        if self.task is None:
            self.served.give_up(self.start)
            self.end.forget(self)
            return None
        if not self.stopped:
            self.stopped = True
            self.task.cancel()
            if not self.begun:  # a task that never ran has no ``finally`` either
                self._ended()
        return self.task

    def _ended(self) -> None:
        self.end.forget(self)
        self.served.give_back(self.end.peer)

    async def _run(self) -> None:
        self.begun = True
        end, call, served = self.end, self.call, self.served
        try:
            if served.unary is not None:
                end.transport.tell_arrived(end.peer, call)
                reply = await served.unary(end.peer, call.request)
                if not self.copy:
                    end.send_reply(call, reply)
            else:
                await self._stream()
        except Exception as error:
            if not isinstance(error, (PeerError, Unavailable)):
                end.transport.report(error)
            if served.streamed is not None:
                self._send_chunk(HEAD_BYTES, end.other.take_error, *error_to_send(error))
            elif not self.copy:
                end.send_error(call, *error_to_send(error))
        finally:
            self._ended()

    async def _stream(self) -> None:
        assert self.served.streamed is not None
        loop = self.end.transport.loop
        self.lane, self.credited = Lane(self.end.path), asyncio.Event()
        chunks = cast(
            "AsyncGenerator[bytes, None]", self.served.streamed(self.end.peer, self.call.request)
        )
        take_chunk = self.end.other.take_chunk
        async with aclosing(chunks):
            while True:
                await self._wait_credit()
                chunk = await anext(chunks, None)
                if chunk is None:
                    self._send_chunk(HEAD_BYTES, take_chunk, None)
                    return
                if len(chunk) > self.call.answer_bytes_max:
                    code = ErrorCode.REPLY_TOO_LARGE
                    self._send_chunk(HEAD_BYTES, self.end.other.take_error, code, "")
                    return
                sent = self._send_chunk(HEAD_BYTES + len(chunk), take_chunk, chunk)
                self.credit -= framing.chunk_cost(len(chunk))
                await asyncio.sleep(max(0.0, sent - loop.time()))

    def _send_chunk(self, size: int, act: Callable[..., None], *args: Any) -> float:
        """Send in order; after one loss all is silent. When the last byte leaves."""
        path = self.end.path
        if self.copy or path.is_cut or path.loses():
            self.lane = None
        if self.lane is None:
            return 0.0
        return self.end.send(self.lane, size, act, self.call, *args)

    async def _wait_credit(self) -> None:
        assert self.credited is not None
        while self.credit <= 0:
            self.credited.clear()
            try:
                async with asyncio.timeout(self.end.transport.limits.stall_s):
                    await self.credited.wait()
            except TimeoutError:
                raise Unavailable("the chunks were not read") from None
