"""Ports that pass everything on: an attack overrides what it lies about."""

from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from typing import Any, TypeVar

from node.ports import (
    WHOLE,
    AdvanceReply,
    AdvanceRequest,
    Compute,
    Discovery,
    FloatVector,
    Handler,
    InquireRequest,
    Record,
    ReplayReply,
    ReplayRequest,
    Shard,
    StreamHandler,
    TrainReply,
    TrainRequest,
    Transport,
    Worker,
)
from node.types import PeerId
from workloads.api import MemoryForm

T = TypeVar("T")


class TransportShell:
    """A transport that is another one."""

    def __init__(self, inner: Transport) -> None:
        self.inner = inner

    @property
    def peer_id(self) -> PeerId:
        """As the inner one."""
        return self.inner.peer_id

    @property
    def addresses(self) -> Sequence[str]:
        """As the inner one."""
        return self.inner.addresses

    def serve(
        self, method: str, handler: Handler, *, request_bytes_max: int, concurrent_max: int = 64
    ) -> None:
        """As the inner one."""
        self.inner.serve(
            method, handler, request_bytes_max=request_bytes_max, concurrent_max=concurrent_max
        )

    def serve_stream(
        self,
        method: str,
        handler: StreamHandler,
        *,
        request_bytes_max: int,
        concurrent_max: int = 8,
    ) -> None:
        """As the inner one."""
        self.inner.serve_stream(
            method, handler, request_bytes_max=request_bytes_max, concurrent_max=concurrent_max
        )

    async def call(
        self, peer: PeerId, method: str, request: bytes, *, timeout_s: float, reply_bytes_max: int
    ) -> bytes:
        """As the inner one."""
        return await self.inner.call(
            peer, method, request, timeout_s=timeout_s, reply_bytes_max=reply_bytes_max
        )

    def stream(
        self,
        peer: PeerId,
        method: str,
        request: bytes,
        *,
        idle_timeout_s: float,
        chunk_bytes_max: int,
    ) -> AsyncIterator[bytes]:
        """As the inner one."""
        return self.inner.stream(
            peer,
            method,
            request,
            idle_timeout_s=idle_timeout_s,
            chunk_bytes_max=chunk_bytes_max,
        )

    def learn(self, peer: PeerId, addresses: Sequence[str]) -> None:
        """As the inner one."""
        self.inner.learn(peer, addresses)

    def connected(self) -> Sequence[PeerId]:
        """As the inner one."""
        return self.inner.connected()

    def seen_at(self, peer: PeerId) -> str:
        """As the inner one."""
        return self.inner.seen_at(peer)

    def traffic(self) -> Mapping[PeerId, tuple[int, int]]:
        """As the inner one."""
        return self.inner.traffic()


class DiscoveryShell:
    """A discovery that is another one."""

    def __init__(self, inner: Discovery) -> None:
        self.inner = inner

    async def put(self, key: str, subkey: str, value: bytes, expires_unix_s: float) -> bool:
        """As the inner one."""
        return await self.inner.put(key, subkey, value, expires_unix_s)

    async def get(self, key: str) -> Sequence[Record]:
        """As the inner one."""
        return await self.inner.get(key)

    async def meet(self, peer: PeerId, addresses: Sequence[str]) -> bool:
        """As the inner one."""
        return await self.inner.meet(peer, addresses)

    def neighbours(self) -> Sequence[PeerId]:
        """As the inner one."""
        return self.inner.neighbours()


class ComputeShell:
    """A compute that is another one."""

    def __init__(self, inner: Compute) -> None:
        self.inner = inner

    async def maths(self, work: Callable[[], T], *, cost_s: float) -> T:
        """As the inner one."""
        return await self.inner.maths(work, cost_s=cost_s)

    async def start_worker(
        self, workload: str, config: Mapping[str, Any], seed: int, shard: Shard = WHOLE
    ) -> Worker:
        """As the inner one."""
        return await self.inner.start_worker(workload, config, seed, shard)


class WorkerShell:
    """A worker that is another one."""

    def __init__(self, inner: Worker) -> None:
        self.inner = inner

    @property
    def shapes(self) -> Sequence[tuple[str, tuple[int, ...]]]:
        """As the inner one."""
        return self.inner.shapes

    @property
    def memory(self) -> MemoryForm | None:
        """As the inner one."""
        return self.inner.memory

    @property
    def replayable(self) -> bool:
        """As the inner one."""
        return self.inner.replayable

    @property
    def compute_class(self) -> bytes:
        """As the inner one."""
        return self.inner.compute_class

    async def initial(self) -> FloatVector:
        """As the inner one."""
        return await self.inner.initial()

    async def advance(self, request: AdvanceRequest) -> AdvanceReply:
        """As the inner one."""
        return await self.inner.advance(request)

    async def inquire(self, request: InquireRequest) -> bytes:
        """As the inner one."""
        return await self.inner.inquire(request)

    async def train(self, request: TrainRequest) -> TrainReply:
        """As the inner one."""
        return await self.inner.train(request)

    async def opening(self, round_: int) -> bytes | None:
        """As the inner one."""
        return await self.inner.opening(round_)

    async def revert(self, round_: int) -> None:
        """As the inner one."""
        await self.inner.revert(round_)

    async def replay(self, request: ReplayRequest) -> ReplayReply | None:
        """As the inner one."""
        return await self.inner.replay(request)

    async def evaluate(self, params: FloatVector) -> Mapping[str, float]:
        """As the inner one."""
        return await self.inner.evaluate(params)

    async def artifacts(self, params: FloatVector, folder: str) -> Sequence[str]:
        """As the inner one."""
        return await self.inner.artifacts(params, folder)

    async def reset(self) -> None:
        """As the inner one."""
        await self.inner.reset()

    async def close(self) -> None:
        """As the inner one."""
        await self.inner.close()
