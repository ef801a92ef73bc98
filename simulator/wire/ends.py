"""One host's end of a kept connection in whole-message mode: from requests to handlers and back.

Every message (request, reply, refusal, chunk, cancel, credit) crosses the path on its own: lines,
delay, loss and cuts apply to it, and later ones may overtake it. Only the chunks of one stream keep
their order. Cancels and credits are never lost, as in ``pipe.py``: a cut keeps them.
"""

import asyncio
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from node.adapters import framing
from node.adapters.framing import ErrorCode
from node.adapters.methods import error_received, error_to_send
from node.errors import PeerError, Unavailable
from node.types import PeerId
from simulator.wire.answering import HEAD_BYTES, Answer, Call
from simulator.wire.links import Lane, Path
from simulator.wire.resets import pair_of

if TYPE_CHECKING:
    from simulator.wire.calls import WholeTransport


class End:
    """One end; ``join`` makes both.

    Args:
        transport: Of the host on this end.
        path: To the other end.
    """

    __slots__ = (
        "_answers", "_large_bytes", "_loop", "_moved", "_waiters", "calls", "free", "open", "other",
        "path", "peer", "transport",
    )  # fmt: skip

    def __init__(self, transport: "WholeTransport", path: Path) -> None:
        self.transport = transport
        self.peer: PeerId = path.target
        self.path = path
        self.other: End
        self.open = True
        self.calls: dict[Call, None] = {}
        """Ours, not yet ended."""
        self.free = transport.limits.calls_max
        """Further calls that we may have open here; the others wait."""
        self._loop = asyncio.get_running_loop()
        self._moved = transport.counts(path.target)
        self._waiters: list[asyncio.Future[None]] = []
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
        self._loop.call_soon(self.lose)

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

    async def wait_free(self) -> None:
        """Wait for room for one more call, and take it."""
        if self.free:
            self.free -= 1
            return
        waiter = self._loop.create_future()
        self._waiters.append(waiter)
        try:
            await waiter
        except asyncio.CancelledError:
            if not waiter.cancelled():  # it was given to us at the same instant
                self.give_back()
            raise

    def give_back(self) -> None:
        """One call less is open."""
        while self._waiters:
            waiter = self._waiters.pop(0)
            if not waiter.done():
                waiter.set_result(None)
                return
        self.free += 1

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
        self.give_back()
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
        self._moved[0] += size
        return lane.carry(size, act, *args)

    def _message(self, size: int, act: Callable[..., None], *args: Any) -> bool:
        """Send; False: it was lost or cut off."""
        if not self.open:
            return False
        size += HEAD_BYTES
        self._moved[0] += size
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
            self._moved[0] += HEAD_BYTES
            self.path.carry(HEAD_BYTES, True, act, *args)

    def _receives(self, size: int) -> bool:
        """Is somebody here? If not, the other end breaks."""
        if self.open:
            self._moved[1] += HEAD_BYTES + size
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
