"""One host's end of a kept connection in whole-message mode: from requests to handlers and back.

Every message (request, reply, refusal, chunk, cancel, credit) crosses the path on its own: lines,
delay, loss and cuts apply to it, and later ones may overtake it. Only the chunks of one stream keep
their order. Cancels and credits are never lost, as in ``pipe.py``: a cut keeps them.
"""

import asyncio
from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing
from typing import TYPE_CHECKING, Any, cast

from node.adapters import framing
from node.adapters.framing import ErrorCode
from node.adapters.methods import error_received, error_to_send
from node.errors import PeerError, Unavailable
from node.types import PeerId
from simulator.inbox import Inbox
from simulator.links import Lane, Path
from simulator.resets import pair_of
from simulator.served import Served

if TYPE_CHECKING:
    from simulator.calls import WholeTransport

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

    __slots__ = ("begun", "call", "copy", "credit", "credited", "end", "lane", "served", "task")

    def __init__(self, end: "End", call: Call, served: Served, copy: bool) -> None:
        self.end = end
        self.call = call
        self.served = served
        self.copy = copy
        self.task: asyncio.Task[None] | None = None
        self.begun = False
        self.lane: Lane | None = None
        """Of a stream that was not cut or lost on its way."""
        self.credit = framing.WINDOW_BYTES
        self.credited: asyncio.Event | None = None

    def start(self) -> None:
        """It has a slot."""
        self.task = asyncio.get_running_loop().create_task(self._run())

    def stop(self) -> "asyncio.Task[None] | None":
        """Cancel it; the task that is ending, if it has begun."""
        if self.task is None:
            self.served.give_up(self.start)
            self.end.forget(self)
            return None
        self.task.cancel()
        if not self.begun:  # a task that never ran has no ``finally`` either
            self.begun = True
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
        loop = asyncio.get_running_loop()
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


class End:
    """One end; ``join`` makes both.

    Args:
        transport: Of the host on this end.
        path: To the other end.
    """

    def __init__(self, transport: "WholeTransport", path: Path) -> None:
        self.transport = transport
        self.peer: PeerId = path.target
        self.path = path
        self.other: End
        self.open = True
        self.calls: dict[Call, None] = {}
        """Ours, not yet ended."""
        self.slots = asyncio.Semaphore(transport.limits.calls_max)
        """Calls that we may have open here; the others wait."""
        self._answers: dict[Answer, None] = {}
        self._large_bytes = 0

    # -- the connection

    def close(self) -> None:
        """Close; the other end learns of it after a while, unless the way is cut."""
        if self.open:
            self._shut()
            self._tell_closed()

    def reset(self) -> None:
        """Break both ends now; what is under way is lost."""
        for end in (self, self.other):
            if end.open:
                end._shut()

    def _shut(self) -> None:
        self.open = False
        self.transport.ended(self)
        asyncio.get_running_loop().call_soon(self.lose)

    def lose(self) -> list["asyncio.Task[None]"]:
        """Fail what waits here and cancel what is answered; the tasks that are ending."""
        for call in list(self.calls):
            call.fail(Unavailable(f"the stream to {self.peer} broke"))
        stopped = [answer.stop() for answer in list(self._answers)]
        return [task for task in stopped if task is not None]

    def _tell_closed(self) -> None:
        if not self.path.is_cut:
            self.path.carry(0, True, self.other.close)

    # -- calling

    def ask(self, call: Call) -> None:
        """Send a request."""
        self.calls[call] = None
        size = len(call.request)
        streamed = call.inbox is not None
        if size > framing.FRAME_BYTES_MAX and not self.other.transport.takes(
            call.method, size, streamed
        ):
            size = framing.FRAME_BYTES_MAX  # the refusal comes before more has left
        call.under_way = self._message(size, self.other.asked, call, size, False)
        if self.path.duplicates():
            self._message(size, self.other.asked, call, size, True)

    def end_call(self, call: Call, *, answered: bool) -> None:
        """The caller waits no more; unless it has its answer, the callee is told."""
        del self.calls[call]
        self.slots.release()
        if not answered and call.under_way:
            self._control(self.other.asked_to_stop, call)

    def take_reply(self, call: Call, reply: bytes) -> None:
        """A reply arrives."""
        if self._receives(len(reply)) and call.reply is not None and not call.reply.done():
            call.reply.set_result(reply)

    def take_chunk(self, call: Call, chunk: bytes | None) -> None:
        """A chunk arrives; None: there are no more."""
        if self._receives(len(chunk or b"")) and call.inbox is not None:
            call.inbox.add(chunk)

    def take_error(self, call: Call, code: ErrorCode, text: str) -> None:
        """A refusal arrives; a long text is cut, as on the wire."""
        text = text.encode()[: framing.ERROR_TEXT_BYTES_MAX].decode("utf-8", "replace")
        if self._receives(len(text)):
            call.fail(error_received(self.peer, call.method, code, text))

    def grant(self, call: Call, cost: int) -> None:
        """Chunks of this cost were read."""
        self._control(self.other.asked_to_go_on, call, cost)

    # -- answering

    def asked(self, call: Call, size: int, copy: bool) -> None:
        """A request arrives."""
        if not self._receives(size) or call.stopped:
            return
        size = len(call.request)
        try:
            served = self.transport.find(call.method, size, streamed=call.inbox is not None)
            limits = self.transport.limits
            large = size if size > framing.FRAME_BYTES_MAX else 0
            if len(self._answers) >= limits.calls_max or (
                large and self._large_bytes + large > limits.request_bytes_max
            ):
                raise Unavailable("too many open calls")
        except (PeerError, Unavailable) as error:
            if not copy:
                self.send_error(call, *error_to_send(error))
            return
        answer = Answer(self, call, served, copy)
        self._answers[answer] = None
        self._large_bytes += large
        served.take(self.peer, answer.start)

    def asked_to_stop(self, call: Call) -> None:
        """The caller waits no more."""
        call.stopped = True
        for answer in [a for a in self._answers if a.call is call]:
            answer.stop()

    def asked_to_go_on(self, call: Call, cost: int) -> None:
        """The caller has read chunks."""
        for answer in self._answers:
            if answer.call is call and answer.credited is not None:
                answer.credit += cost
                answer.credited.set()

    def forget(self, answer: Answer) -> None:
        """It has ended."""
        if answer in self._answers:
            del self._answers[answer]
            size = len(answer.call.request)
            self._large_bytes -= size if size > framing.FRAME_BYTES_MAX else 0

    def send_reply(self, call: Call, reply: bytes) -> None:
        """Answer a unary call."""
        if len(reply) > call.answer_bytes_max:
            self.send_error(call, ErrorCode.REPLY_TOO_LARGE, "")
        else:
            self._message(len(reply), self.other.take_reply, call, reply)

    def send_error(self, call: Call, code: ErrorCode, text: str) -> None:
        """Refuse a call."""
        self._message(len(text), self.other.take_error, call, code, text)

    # -- the wire

    def send(self, lane: Lane, size: int, act: Callable[..., None], *args: Any) -> float:
        """Send in order. When the last byte leaves."""
        if not self.open:
            return 0.0
        self.transport.moved(self.peer, size, 0)
        return lane.carry(size, act, *args)

    def _message(self, size: int, act: Callable[..., None], *args: Any) -> bool:
        """Send; False: it was lost or cut off."""
        if not self.open:
            return False
        size += HEAD_BYTES
        self.transport.moved(self.peer, size, 0)
        path = self.path
        if path.is_cut or path.loses():
            return False
        path.carry(size, size <= framing.FRAME_BYTES_SENT, act, *args)
        return True

    def _control(self, act: Callable[..., None], *args: Any) -> None:
        """Send what is never lost."""
        if not self.open:
            return
        if self.path.is_cut:
            self.path.cuts.hold(self.path, lambda: self._control(act, *args))
        else:
            self.transport.moved(self.peer, HEAD_BYTES, 0)
            self.path.carry(HEAD_BYTES, True, act, *args)

    def _receives(self, size: int) -> bool:
        """Is somebody here? If not, the other end breaks."""
        if self.open:
            self.transport.moved(self.peer, 0, HEAD_BYTES + size)
            return True
        self._tell_closed()
        return False


def join(one: "WholeTransport", other: "WholeTransport", there: Path, back: Path) -> End:
    """Both ends of a new connection; that of ``one``."""
    near, far = End(one, there), End(other, back)
    near.other, far.other = far, near
    one.joined(near)
    other.joined(far)
    one.network.resets.opened(pair_of(near.peer, far.peer), near)
    return near
