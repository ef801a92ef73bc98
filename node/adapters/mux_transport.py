"""The Transport port over kept streams: one link a peer, dialled when first needed.

How a stream is opened is the ``dial`` function's business (``hivemind_transport.py`` uses p2pd). A
stream starts with a handshake of one word each way, so that both ends know that nothing is unread
when the link takes over. If both sides dial at once, the link dialled by the smaller peer id stays.
"""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import aclosing
from typing import Any, NamedTuple, cast

from node.adapters.limits import Limits
from node.adapters.link import Link, LinkEvents
from node.adapters.methods import Method, Methods
from node.adapters.neighbours import Neighbour, Neighbours
from node.errors import Malformed, PeerError, Unavailable
from node.ports import Handler, StreamHandler
from node.ranges import Ranges
from node.types import PeerId


class Streams(NamedTuple):
    """Both directions of a stream."""

    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter
    seen_at: str = ""
    """Multiaddr of its other end; empty: not known."""


Dial = Callable[[PeerId, Sequence[str]], Awaitable[Streams]]
"""Opens a stream to a peer that may have the given addresses. Raises Unavailable."""

HELLO = b"artel/1\n"
CROWDED = b"artel/0\n"
"""In place of HELLO: too many peers of the caller's address range are here."""
HANDSHAKES_OF_PEER_MAX = 2


class MuxTransport:
    """Calls over kept streams; see ``node.ports.Transport`` for what each method promises.

    Args:
        peer_id: Our own id.
        addresses: Where others can dial us.
        dial: Opens a stream to a peer.
        on_peer_error: Is told when a peer broke the framing; its stream is closed by then.
        ranges: How many peers of one address range may open streams to us.
        is_spared: Whether a peer may, however many do.
    """

    def __init__(
        self,
        peer_id: PeerId,
        addresses: Sequence[str],
        dial: Dial,
        *,
        limits: Limits | None = None,
        on_peer_error: Callable[[PeerId, PeerError], None] | None = None,
        ranges: Ranges | None = None,
        is_spared: Callable[[PeerId], bool] = lambda peer: False,
    ) -> None:
        self._peer_id = peer_id
        self._addresses = tuple(addresses)
        self._dial = dial
        self._limits = limits or Limits()
        self._on_peer_error = on_peer_error or (lambda peer, error: None)
        self._methods = Methods()
        self._peers = Neighbours(self._limits, ranges or Ranges(), is_spared)
        self._tasks: set[asyncio.Task[Any]] = set()
        self._closed = False

    @property
    def peer_id(self) -> PeerId:
        """Our own id."""
        return self._peer_id

    @property
    def addresses(self) -> Sequence[str]:
        """Multiaddrs under which others can dial us, without the ``/p2p/`` suffix."""
        return self._addresses

    def serve(
        self, method: str, handler: Handler, *, request_bytes_max: int, concurrent_max: int = 64
    ) -> None:
        """Answer ``method``. A request above the limit is refused before it is buffered."""
        self._methods.add(
            Method(
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
            Method(
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
        try:
            async with asyncio.timeout(timeout_s):
                link = self._live(peer) or await self._connect(peer)
                return await link.call(method, request, reply_bytes_max)
        except TimeoutError:
            raise Unavailable(f"no reply to {method} from {peer} within {timeout_s} s") from None

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
        try:
            async with asyncio.timeout(idle_timeout_s):
                link = self._live(peer) or await self._connect(peer)
        except TimeoutError:
            raise Unavailable(f"no stream to {peer} within {idle_timeout_s} s") from None
        chunks = link.stream(
            method, request, idle_timeout_s=idle_timeout_s, chunk_bytes_max=chunk_bytes_max
        )
        async with aclosing(cast("AsyncGenerator[bytes, None]", chunks)):
            async for chunk in chunks:
                yield chunk

    def learn(self, peer: PeerId, addresses: Sequence[str]) -> None:
        """Remember where ``peer`` can be dialled; used by the next call to it."""
        state = self._peers.of(peer)
        state.addresses = tuple(addresses[: self._limits.addresses_max])
        state.failures, state.retry_at = 0, 0.0

    def connected(self) -> Sequence[PeerId]:
        """Peers with a live kept stream, sorted."""
        return sorted(p for p, state in self._peers.items() if any(not k.lost for k in state.links))

    def seen_at(self, peer: PeerId) -> str:
        """Multiaddr of the other end of the last stream with ``peer``; empty: not known."""
        state = self._peers.get(peer)
        return state.seen_at if state is not None else ""

    def traffic(self) -> Mapping[PeerId, tuple[int, int]]:
        """Bytes (sent, received) per remembered peer since start, framing included."""
        return {
            peer: (state.sent, state.received)
            for peer, state in sorted(self._peers.items())
            if state.sent or state.received
        }

    async def accept(
        self,
        peer: PeerId,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
        seen_at: str = "",
    ) -> None:
        """Take a stream that ``peer``, whose id is proven, has opened to us from ``seen_at``."""
        state = self._peers.of(peer)
        if self._closed or self._peers.are_full() or state.handshakes >= HANDSHAKES_OF_PEER_MAX:
            writer.close()
            return
        state.handshakes += 1
        try:
            async with asyncio.timeout(self._limits.dial_s):
                if await reader.readexactly(len(HELLO)) != HELLO:
                    raise Malformed("a stream that does not start with our word", peer)
            if self._peers.crowd_out(peer, seen_at):
                writer.write(CROWDED)
                writer.close()
                return
            writer.write(HELLO)
            state.seen_at = seen_at
            self._attach(peer, state, writer, dialled=False)
        except PeerError as error:
            writer.close()
            self._on_peer_error(peer, error)
        except (TimeoutError, OSError, EOFError):
            writer.close()
        except asyncio.CancelledError:
            writer.close()
            raise
        finally:
            state.handshakes -= 1

    async def close(self) -> None:
        """Close every stream; open calls fail as unavailable. Idempotent."""
        self._closed = True
        tasks = set(self._tasks)
        for task in tasks:
            task.cancel()
        for state in list(self._peers.values()):
            for link in list(state.links):
                tasks.update(link.close())
        await asyncio.gather(*tasks, return_exceptions=True)

    # -- links

    def _live(self, peer: PeerId) -> Link | None:
        state = self._peers.get(peer)
        if state is not None:
            for link in state.links:
                if link.usable:
                    return link
        return None

    async def _connect(self, peer: PeerId) -> Link:
        loop = asyncio.get_running_loop()
        state = self._peers.of(peer)
        if self._closed:
            raise Unavailable("this node is closing")
        if state.dialling is None:
            if loop.time() < state.retry_at:
                raise Unavailable(f"{peer} could not be reached a moment ago")
            state.dialling = loop.create_task(self._try_dial(peer, state))
            self._tasks.add(state.dialling)
            state.dialling.add_done_callback(self._tasks.discard)
        failure = await asyncio.shield(state.dialling)
        link = self._live(peer)
        if link is None:
            raise failure or Unavailable(f"the stream to {peer} closed at once")
        return link

    async def _try_dial(self, peer: PeerId, state: Neighbour) -> Unavailable | None:
        """One dial for all callers that wait; a failure is a value, since they may all be gone."""
        loop = asyncio.get_running_loop()
        writer = None
        try:
            async with asyncio.timeout(self._limits.dial_s):
                reader, writer, seen_at = await self._dial(peer, state.addresses)
                writer.write(HELLO)
                word = await reader.readexactly(len(HELLO))
                if word == CROWDED:
                    raise Unavailable("it has as many peers of our address range as it takes")
                if word != HELLO:
                    raise Malformed("a stream that does not start with our word", peer)
            state.seen_at = seen_at
            self._attach(peer, state, writer, dialled=True)
        except (Unavailable, PeerError, TimeoutError, OSError, EOFError) as error:
            if writer is not None:
                writer.close()
            if isinstance(error, PeerError):
                self._on_peer_error(peer, error)
            state.failures += 1
            pause_s = self._limits.backoff_first_s * 2.0 ** min(state.failures - 1, 20)
            state.retry_at = loop.time() + min(pause_s, self._limits.backoff_s_max)
            return Unavailable(f"{peer} cannot be reached: {error or type(error).__name__}")
        except asyncio.CancelledError:
            if writer is not None:
                writer.close()
            raise
        else:
            return None
        finally:
            state.dialling = None

    def _attach(
        self, peer: PeerId, state: Neighbour, writer: asyncio.StreamWriter, *, dialled: bool
    ) -> None:
        def moved(sent: int, received: int) -> None:
            state.sent += sent
            state.received += received

        def closed(link: Link) -> None:
            if link in state.links:
                state.links.remove(link)

        if writer.transport.is_closing():
            raise ConnectionResetError("the stream closed during its handshake")
        events = LinkEvents(closed, self._on_peer_error, self._report, moved)
        link = Link(
            peer, dialled=dialled, methods=self._methods, limits=self._limits, events=events
        )
        for old in [k for k in state.links if k.dialled == dialled]:
            old.abort()  # whoever dials has no stream of its own left: the old one is dead there
            closed(old)
        link.attach(writer)
        state.links.append(link)
        state.failures, state.retry_at = 0, 0.0
        we_are_smaller = self._peer_id < peer
        state.links.sort(key=lambda k: k.dialled != we_are_smaller)
        for surplus in state.links[1:]:
            surplus.retire()

    def _report(self, error: Exception) -> None:
        asyncio.get_running_loop().call_exception_handler(
            {"message": "a handler failed: this is our bug", "exception": error}
        )
