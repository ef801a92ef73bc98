"""The five things a daemon needs from the world, as Protocols and nothing else.

Flow code calls these; ``node.adapters`` implements them on hivemind, files and processes, and
``simulator`` implements them in virtual time. One contract suite (tests/contract) runs on both.
The event loop itself is the clock for waits; ``WallClock`` is only for signed, absolute times.
"""

from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol, TypeVar

import numpy as np
import numpy.typing as npt

from node.types import PeerId

T = TypeVar("T")
FloatVector = npt.NDArray[np.float32]

Handler = Callable[[PeerId, bytes], Awaitable[bytes]]
"""Answers one unary call: (caller, request) -> reply. A PeerError goes back as a refusal."""

StreamHandler = Callable[[PeerId, bytes], AsyncIterator[bytes]]
"""Answers one streamed call: (caller, request) -> chunks, pulled only as fast as the peer reads."""


class Transport(Protocol):
    """Authenticated calls between peers: who called is proven, what was said is not.

    One kept stream joins each pair of peers. Calls share it, and a large payload never blocks a
    small one for longer than one frame. A peer that does not answer looks like silence: the call
    ends in a time-out.
    """

    @property
    def peer_id(self) -> PeerId:
        """Our own id."""
        ...

    @property
    def addresses(self) -> Sequence[str]:
        """Multiaddrs under which others can dial us, without the ``/p2p/`` suffix."""
        ...

    def serve(
        self, method: str, handler: Handler, *, request_bytes_max: int, concurrent_max: int = 64
    ) -> None:
        """Answer ``method``. A request above the limit is refused before it is buffered whole."""
        ...

    def serve_stream(
        self,
        method: str,
        handler: StreamHandler,
        *,
        request_bytes_max: int,
        concurrent_max: int = 8,
    ) -> None:
        """Answer ``method`` with a stream of chunks."""
        ...

    async def call(
        self, peer: PeerId, method: str, request: bytes, *, timeout_s: float, reply_bytes_max: int
    ) -> bytes:
        """One request, one reply.

        Raises:
            Unavailable: no connection, or no reply within ``timeout_s``.
            Refused: the peer's handler raised a PeerError (its reason is in the text).
            TooLarge: the reply is above ``reply_bytes_max``.
        """
        ...

    def stream(
        self,
        peer: PeerId,
        method: str,
        request: bytes,
        *,
        idle_timeout_s: float,
        chunk_bytes_max: int,
    ) -> AsyncIterator[bytes]:
        """One request, many chunks. Closing the iterator stops the sender. Errors: see ``call``."""
        ...

    def learn(self, peer: PeerId, addresses: Sequence[str]) -> None:
        """Remember where ``peer`` can be dialled; used by the next call to it."""
        ...

    def connected(self) -> Sequence[PeerId]:
        """Peers with a live kept stream, sorted."""
        ...

    def traffic(self) -> Mapping[PeerId, tuple[int, int]]:
        """Payload bytes (sent, received) per peer since start, framing included."""
        ...


@dataclass(frozen=True)
class Record:
    """One value of a discovery key, as its author signed it."""

    subkey: str
    value: bytes
    expires_unix_s: float


class Discovery(Protocol):
    """Signed, expiring records that the swarm shares; answers may be stale or missing."""

    async def put(self, key: str, subkey: str, value: bytes, expires_unix_s: float) -> bool:
        """Publish at most RECORD_BYTES_MAX bytes under (key, subkey); False: nobody took it."""
        ...

    async def get(self, key: str) -> Sequence[Record]:
        """Unexpired records under ``key``, sorted by subkey. Anybody may have written them."""
        ...

    async def meet(self, peer: PeerId, addresses: Sequence[str]) -> bool:
        """Join the routing tables with ``peer``: heals a split. False: it does not answer."""
        ...

    def neighbours(self) -> Sequence[PeerId]:
        """Peers in our routing table, sorted: empty means that we are alone."""
        ...


RECORD_BYTES_MAX = 8 * 1024
"""Largest discovery record, in bytes."""


class Store(Protocol):
    """The node's disk: small durable slots, and large named blobs. One writer, crash-safe.

    ``put`` returns after the data is on disk (fsync): a signed value may be sent only then.
    """

    async def put(self, items: Mapping[str, bytes]) -> None:
        """Write all items, or none, durably. An existing key is replaced."""
        ...

    async def get(self, key: str) -> bytes | None:
        """The value, or None."""
        ...

    async def scan(self, prefix: str) -> Sequence[tuple[str, bytes]]:
        """All items whose key starts with ``prefix``, sorted by key."""
        ...

    async def drop(self, keys: Sequence[str]) -> None:
        """Forget keys; missing ones are ignored."""
        ...

    async def write_blob(self, name: str, chunks: Sequence[bytes | memoryview]) -> None:
        """Replace the blob atomically with the chunks joined; durable on return."""
        ...

    async def read_blob(self, name: str) -> bytes | None:
        """The blob as last written whole, or None."""
        ...

    async def drop_blob(self, name: str) -> None:
        """Delete a blob; a missing one is ignored."""
        ...


@dataclass(frozen=True)
class TrainRequest:
    """What a worker needs for one round of local steps."""

    params: FloatVector
    """Start of the steps. Shape [d]. The worker copies it; the caller may reuse the buffer."""
    round: int
    rounds: int
    """This round's number (from 1) and the job's last, for the learning-rate schedule."""
    data_seed: bytes
    """32 bytes: hash of (last decision, peer). Step ``k`` draws its data by (data_seed, k)."""
    steps: int
    """Nominal local steps, at least 1."""
    deadline_s: float
    """Stop after this many seconds, whatever was done, but not before a quarter of ``steps``."""
    continued: bool = False
    """True after a SKIP: ``params`` are ignored and the worker goes on from where it stands."""


@dataclass(frozen=True)
class TrainReply:
    """What a worker did in one round."""

    update: FloatVector
    """params before - after, divided by ``steps_done / steps``. Shape [d]."""
    steps_done: int
    loss: float
    """Mean training loss of the steps done."""
    seconds: float


class Worker(Protocol):
    """One job's workload in its own process. Raises WorkerFailed from any call once it is dead."""

    @property
    def shapes(self) -> Sequence[tuple[str, tuple[int, ...]]]:
        """Names and shapes of the parameters, in the order in which the flat vector holds them."""
        ...

    async def initial(self) -> FloatVector:
        """The job's first parameters: the same bits on every machine. Shape [d]."""
        ...

    async def train(self, request: TrainRequest) -> TrainReply:
        """Local steps."""
        ...

    async def evaluate(self, params: FloatVector) -> Mapping[str, float]:
        """Metrics of ``params``, by name (``loss``, ``psnr_db``)."""
        ...

    async def artifacts(self, params: FloatVector, folder: str) -> Sequence[str]:
        """Write what is worth seeing into ``folder``; paths written."""
        ...

    async def reset(self) -> None:
        """Forget the inner optimiser's state: the next round starts from another model."""
        ...

    async def close(self) -> None:
        """End the process; idempotent."""
        ...


class Compute(Protocol):
    """Work above 5 ms, off the event loop, in two lanes: ``maths`` and workers."""

    async def maths(self, work: Callable[[], T], *, cost_s: float) -> T:
        """Run a pure function in the maths thread; ``cost_s`` is charged in simulation."""
        ...

    async def start_worker(self, workload: str, config: Mapping[str, Any], seed: int) -> Worker:
        """Start a job's worker.

        Raises:
            ConfigError: no such workload, or its config is refused.
            WorkerFailed: it died while starting.
        """
        ...


class WallClock(Protocol):
    """Absolute time, only for records that expire; peers' clocks may disagree."""

    def unix_s(self) -> float:
        """Seconds since 1970."""
        ...


Sign = Callable[[str, bytes, int, bytes], bytes]
"""(kind, job, round, body) -> signature of this node; see ``node.identity.Signer``."""

Rows = Mapping[tuple[int, int], FloatVector]
"""(elector, part) -> decoded coordinates of one contribution."""


class Behaviour(Protocol):
    """What an attack changes in an otherwise honest node; ``node.jobs.honest.HONEST``: nothing."""

    def ports(self, ports: "Ports", sign: Sign) -> "Ports":
        """The ports that the daemon gets in place of ``ports``; called once a daemon."""
        ...

    async def run(self) -> None:
        """What a liar does besides its duties; cancelled with the node."""
        ...

    async def update(self, round_: int, update: FloatVector) -> FloatVector:
        """The update that is encoded and committed in place of the honest one. Shape [d]."""
        ...

    def signs(self, round_: int, kind: str, body: bytes) -> bytes:
        """The body that is signed, kept and sent in place of ``body`` of ``kind``."""
        ...

    def reduces(
        self, round_: int, rows: Rows, weights: Sequence[float]
    ) -> tuple[Rows, Sequence[float]]:
        """What a reducer combines in place of the screened rows and the rule's weights."""
        ...

    def sends(self, round_: int, to: PeerId, kind: str, message: bytes) -> bytes | None:
        """The bytes that leave for ``to`` in place of ``message`` of ``kind``; None: silence."""
        ...


@dataclass(frozen=True)
class Ports:
    """All ports of one daemon."""

    transport: Transport
    discovery: Discovery
    store: Store
    compute: Compute
    clock: WallClock
