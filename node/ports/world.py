"""The network, the swarm's records, the disk and the clock."""

from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from node.types import PeerId

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

    def seen_at(self, peer: PeerId) -> str:
        """Multiaddr of the other end of a stream with ``peer``, as it was last seen from here.

        Empty: there was none, or it is not known.
        """
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


class WallClock(Protocol):
    """Absolute time, only for records that expire; peers' clocks may disagree."""

    def unix_s(self) -> float:
        """Seconds since 1970."""
        ...
