"""The Transport port in whole messages: no frames, no streams of bytes, many times faster.

Request and reply are bytes that cross every hop: line, latency, loss, duplicate, cut (``ends.py``).
Limits and errors are those of the real call code: request and reply sizes, calls of a peer at once,
slots of a method, time-outs, dials that fail and are not tried again for a while, a connection that
breaks with its host. One task for each handler; timers for all else.

Left out against ``framed.py``: frames of a large message between those of others (small messages
pass large ones instead), the peer's queue limits in bytes for replies, retired double connections,
and violations of the framing, which cannot happen here. After a cut, what was asked in it stays
unanswered; a dial waits for its end.
"""

import asyncio
from collections.abc import AsyncIterator, Mapping, Sequence
from typing import TYPE_CHECKING, cast

from node.adapters.limits import Limits
from node.adapters.methods import Methods
from node.errors import PeerError, Unavailable
from node.ports import Handler, StreamHandler
from node.types import PeerId
from simulator.wire.answering import Call
from simulator.wire.ends import End, join
from simulator.wire.inbox import Inbox
from simulator.wire.resets import pair_of
from simulator.wire.served import Served

if TYPE_CHECKING:
    from simulator.wire.network import SimHost, SimNetwork

OPENING_TRIPS = 2
"""Round trips before the first call: the dial, and the handshake of the call code."""


class _Dial:
    """What is remembered of the dials to one peer."""

    __slots__ = ("failures", "retry_at", "task")

    def __init__(self) -> None:
        self.task: asyncio.Task[Unavailable | None] | None = None
        self.failures = 0
        self.retry_at = 0.0


class WholeTransport:
    """One host's transport; see ``node.ports.Transport`` for what each method promises.

    Args:
        network: Joins the hosts.
        host: Whose transport it is.
        limits: As of a real one.
    """

    def __init__(self, network: "SimNetwork", host: "SimHost", limits: Limits) -> None:
        self.network = network
        self.limits = limits
        self._host = host
        self._peer_id = host.peer
        self._addresses = (network.address(host.peer),)
        self.loop = asyncio.get_running_loop()
        self._methods = Methods()
        self._ends: dict[PeerId, End] = {}
        self._dials: dict[PeerId, _Dial] = {}
        self._traffic: dict[PeerId, list[int]] = {}
        self._closed = False
        self._aborted: list[End] = []

    @property
    def peer_id(self) -> PeerId:
        """Our own id."""
        return self._peer_id

    @property
    def addresses(self) -> Sequence[str]:
        """Where others can dial us."""
        return self._addresses

    def serve(
        self, method: str, handler: Handler, *, request_bytes_max: int, concurrent_max: int = 64
    ) -> None:
        """Answer ``method``."""
        self._methods.add(
            Served(
                method,
                request_bytes_max=request_bytes_max,
                concurrent_max=concurrent_max,
                unary=handler,
            )
        )

    def serve_stream(
        self,
        method: str,
        handler: StreamHandler,
        *,
        request_bytes_max: int,
        concurrent_max: int = 8,
    ) -> None:
        """Answer ``method`` with a stream of chunks."""
        self._methods.add(
            Served(
                method,
                request_bytes_max=request_bytes_max,
                concurrent_max=concurrent_max,
                streamed=handler,
            )
        )

    async def call(
        self, peer: PeerId, method: str, request: bytes, *, timeout_s: float, reply_bytes_max: int
    ) -> bytes:
        """One request, one reply. The time-out covers dialling, queues and the handler."""
        loop = self.loop
        now = loop.time()
        self.network.hub.sent(now, self._peer_id, peer, method, request)
        end = self._ends.get(peer)
        if end is not None and end.free:
            end.free -= 1
        else:
            end = await self._slot(peer, now + timeout_s, f"no reply to {method}", timeout_s)
        call = Call(method, bytes(request), reply_bytes_max)
        reply: asyncio.Future[bytes] = loop.create_future()
        call.reply = reply
        timer = loop.call_at(now + timeout_s, self._expire, call, peer, timeout_s)
        end.ask(call)
        try:
            return await reply
        finally:
            timer.cancel()
            answered = reply.done() and not (reply.cancelled() or call.expired)
            end.end_call(call, answered=answered)

    async def stream(
        self,
        peer: PeerId,
        method: str,
        request: bytes,
        *,
        idle_timeout_s: float,
        chunk_bytes_max: int,
    ) -> AsyncIterator[bytes]:
        """One request, many chunks. Closing the iterator stops the sender."""
        now = self.loop.time()
        self.network.hub.sent(now, self._peer_id, peer, method, request)
        end = await self._slot(peer, now + idle_timeout_s, "no stream", idle_timeout_s)
        call = Call(method, bytes(request), chunk_bytes_max)
        inbox = call.inbox = Inbox(lambda cost: end.grant(call, cost))
        end.ask(call)
        try:
            while True:
                try:
                    async with asyncio.timeout(idle_timeout_s):
                        chunk = await inbox.next()
                except TimeoutError:
                    raise Unavailable(
                        f"no chunk of {method} from {peer} within {idle_timeout_s} s"
                    ) from None
                if chunk is None:
                    return
                yield chunk
        finally:
            end.end_call(call, answered=inbox.ended)

    def learn(self, peer: PeerId, addresses: Sequence[str]) -> None:
        """A peer may be dialled again at once: here everybody is found by id."""
        dial = self._dials.get(peer)
        if dial is not None:
            dial.failures, dial.retry_at = 0, 0.0

    def connected(self) -> Sequence[PeerId]:
        """Peers with an open connection, sorted."""
        return sorted(self._ends)

    def seen_at(self, peer: PeerId) -> str:
        """The address of a host that there was a stream with."""
        return self.network.address(peer) if peer in self._traffic else ""

    def traffic(self) -> Mapping[PeerId, tuple[int, int]]:
        """Bytes (sent, received) per peer since start, with the framing's share."""
        return {peer: (moved[0], moved[1]) for peer, moved in sorted(self._traffic.items())}

    def abort(self) -> None:
        """Break every connection now: what is not sent yet stays unsent."""
        self._closed = True
        for end in list(self._ends.values()):
            self._aborted.append(end)
            end.close()

    async def close(self) -> None:
        """Close every connection; open calls fail as unavailable. Idempotent."""
        self.abort()
        tasks = [task for end in self._aborted for task in end.lose()]
        for dial in self._dials.values():
            if dial.task is not None:
                dial.task.cancel()
                tasks.append(cast("asyncio.Task[None]", dial.task))
        await asyncio.gather(*tasks, return_exceptions=True)

    # -- what ends use

    def find(self, method: str, size: int, *, streamed: bool) -> Served:
        """The method for a request. Raises Refused: no such method, or too large."""
        return cast(Served, self._methods.find(method, size, streamed=streamed))

    def takes(self, method: str, size: int, streamed: bool) -> bool:
        """Is a request of this size read to its end?"""
        try:
            self._methods.find(method, size, streamed=streamed)
        except PeerError:
            return False
        return True

    def tell_arrived(self, caller: PeerId, call: Call) -> None:
        """A request is handed to its handler."""
        self.network.hub.arrived(self.loop.time(), caller, self._peer_id, call.method, call.request)

    def report(self, error: Exception) -> None:
        """A handler failed: this is our bug."""
        self.loop.call_exception_handler(
            {"message": "a handler failed: this is our bug", "exception": error}
        )

    def counts(self, peer: PeerId) -> list[int]:
        """Bytes sent to a peer and received from it; its ends count on."""
        return self._traffic.setdefault(peer, [0, 0])

    def joined(self, end: End) -> None:
        """An end is open here; an older one is dead."""
        old = self._ends.get(end.peer)
        if old is not None:
            old.close()
        self._ends[end.peer] = end
        self.learn(end.peer, ())

    def ended(self, end: End) -> None:
        """An end is closed."""
        if self._ends.get(end.peer) is end:
            del self._ends[end.peer]
        self.network.resets.closed(pair_of(self._peer_id, end.peer), end)
        self.network.resets.closed(pair_of(self._peer_id, end.peer), end.other)

    # -- waiting

    def _expire(self, call: Call, peer: PeerId, timeout_s: float) -> None:
        if call.reply is not None and not call.reply.done():
            call.expired = True
            text = f"no reply to {call.method} from {peer} within {timeout_s} s"
            call.reply.set_exception(Unavailable(text))

    async def _slot(self, peer: PeerId, deadline: float, what: str, timeout_s: float) -> End:
        """An open end with room for one more call."""
        try:
            async with asyncio.timeout_at(deadline):
                end = self._ends.get(peer) or await self._connect(peer)
                await end.wait_free()
        except TimeoutError:
            raise Unavailable(f"{what} from {peer} within {timeout_s} s") from None
        if not end.open:
            end.give_back()
            raise Unavailable(f"the stream to {peer} broke")
        return end

    async def _connect(self, peer: PeerId) -> End:
        if self._closed:
            raise Unavailable("this node is closing")
        dial = self._dials.setdefault(peer, _Dial())
        if dial.task is None:
            if self.loop.time() < dial.retry_at:
                raise Unavailable(f"{peer} could not be reached a moment ago")
            dial.task = self.loop.create_task(self._try_dial(peer, dial))
        failure = await asyncio.shield(dial.task)
        end = self._ends.get(peer)
        if end is None:
            raise failure or Unavailable(f"the stream to {peer} closed at once")
        return end

    async def _try_dial(self, peer: PeerId, dial: _Dial) -> Unavailable | None:
        """One dial for all callers that wait; a failure is a value, since they may all be gone."""
        try:
            async with asyncio.timeout(self.limits.dial_s):
                target = await self.network.knock(self._host, peer, OPENING_TRIPS)
            self._join(peer, target)
        except (Unavailable, TimeoutError) as error:
            dial.failures += 1
            pause_s = self.limits.backoff_first_s * 2.0 ** min(dial.failures - 1, 20)
            dial.retry_at = self.loop.time() + min(pause_s, self.limits.backoff_s_max)
            return Unavailable(f"{peer} cannot be reached: {error or type(error).__name__}")
        else:
            return None
        finally:
            dial.task = None

    def _join(self, peer: PeerId, target: "SimHost") -> None:
        mine = self._ends.get(peer)
        if mine is not None and mine.other.open:
            return  # the peer was quicker
        far = target.transport
        assert isinstance(far, WholeTransport), "one network speaks one way"
        if far._closed or self._closed or len(far._ends) >= far.limits.links_max:
            raise Unavailable(f"{peer} takes no more connections")
        network = self.network
        join(self, far, network.path(self._peer_id, peer), network.path(peer, self._peer_id))
