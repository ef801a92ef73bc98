"""The Transport port on simulated streams: the real call code, framing and limits, unchanged.

What a duplicated request is: handled once more a little later, on its own, outside the limits of
its method; its answer is dropped, since the caller has one or waits for the first.
"""

import asyncio
from collections.abc import AsyncIterator, Coroutine, Sequence
from contextlib import aclosing, suppress
from typing import TYPE_CHECKING, Any, cast

from node.adapters.limits import Limits
from node.adapters.mux_transport import MuxTransport, Streams
from node.errors import PeerError, Unavailable
from node.ports import Handler
from node.types import PeerId
from simulator.wire.pipe import PipeEnd, connect, streams
from simulator.wire.resets import pair_of

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator

    from simulator.wire.network import SimHost, SimNetwork


class FramedTransport(MuxTransport):
    """One host's transport.

    Args:
        network: Joins the hosts.
        host: Whose transport it is.
        limits: As of a real one.
    """

    def __init__(self, network: "SimNetwork", host: "SimHost", limits: Limits) -> None:
        super().__init__(
            host.peer,
            [network.address(host.peer)],
            self._open,
            limits=limits,
            on_peer_error=lambda peer, error: host.peer_errors.append((peer, error)),
        )
        self._network = network
        self._host = host
        self._pipes: dict[PipeEnd, None] = {}
        self._besides: set[asyncio.Task[None]] = set()
        """Streams that are being accepted, and duplicates that are being handled."""

    def serve(
        self, method: str, handler: Handler, *, request_bytes_max: int, concurrent_max: int = 64
    ) -> None:
        """As the port; each time that ``handler`` gets a request is told to the hub."""

        async def handle(caller: PeerId, request: bytes) -> bytes:
            now = asyncio.get_running_loop().time()
            self._network.hub.arrived(now, caller, self.peer_id, method, request)
            return await handler(caller, request)

        async def again(caller: PeerId, request: bytes, after_s: float) -> None:
            await asyncio.sleep(after_s)
            with suppress(PeerError, Unavailable):
                await handle(caller, request)

        async def answer(caller: PeerId, request: bytes) -> bytes:
            path = self._network.path(caller, self.peer_id)
            if path.duplicates():
                self._besides_run(again(caller, request, path.delay_s()))
            return await handle(caller, request)

        super().serve(
            method, answer, request_bytes_max=request_bytes_max, concurrent_max=concurrent_max
        )

    async def call(
        self, peer: PeerId, method: str, request: bytes, *, timeout_s: float, reply_bytes_max: int
    ) -> bytes:
        """As the port; told to the hub."""
        now = asyncio.get_running_loop().time()
        self._network.hub.sent(now, self.peer_id, peer, method, request)
        return await super().call(
            peer, method, request, timeout_s=timeout_s, reply_bytes_max=reply_bytes_max
        )

    async def stream(
        self,
        peer: PeerId,
        method: str,
        request: bytes,
        *,
        idle_timeout_s: float,
        chunk_bytes_max: int,
    ) -> AsyncIterator[bytes]:
        """As the port; told to the hub."""
        now = asyncio.get_running_loop().time()
        self._network.hub.sent(now, self.peer_id, peer, method, request)
        chunks = super().stream(
            peer, method, request, idle_timeout_s=idle_timeout_s, chunk_bytes_max=chunk_bytes_max
        )
        async with aclosing(cast("AsyncGenerator[bytes, None]", chunks)):
            async for chunk in chunks:
                yield chunk

    def abort(self) -> None:
        """Break every stream now: what is not sent yet stays unsent."""
        for pipe in list(self._pipes):
            pipe.abort()

    async def close(self) -> None:
        """As the port, and break every stream."""
        for task in self._besides:
            task.cancel()
        await super().close()
        self.abort()

    async def _open(self, peer: PeerId, _addresses: Sequence[str]) -> Streams:
        """Dial: a stream to ``peer``; the far end accepts it."""
        target = await self._network.knock(self._host, peer)
        far_transport = target.transport
        assert isinstance(far_transport, FramedTransport), "one network speaks one way"
        pair = pair_of(self.peer_id, peer)

        def gone(end: PipeEnd) -> None:
            self._pipes.pop(end, None)
            far_transport._pipes.pop(end, None)
            self._network.resets.closed(pair, end)

        there, back = self._network.path(self.peer_id, peer), self._network.path(peer, self.peer_id)
        near, far = connect(there, back, gone)
        self._pipes[near] = far_transport._pipes[far] = None
        self._network.resets.opened(pair, near)
        reader, writer = streams(far)
        own, theirs = self._network.address(self.peer_id), self._network.address(peer)
        far_transport._besides_run(far_transport.accept(self.peer_id, reader, writer, own))
        return Streams(*streams(near), theirs)

    def _besides_run(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.get_running_loop().create_task(work)
        self._besides.add(task)
        task.add_done_callback(self._besides.discard)
