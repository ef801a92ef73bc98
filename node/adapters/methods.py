"""The methods that a node serves, and how errors cross a stream: the same in every world. No IO."""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from node.adapters.framing import METHOD_BYTES_MAX, ErrorCode
from node.errors import PeerError, Refused, TooLarge, Unavailable
from node.ports import Handler, StreamHandler
from node.types import PeerId


class Method:
    """One served method; exactly one of the handlers is set.

    At most ``concurrent_max`` calls are answered at once, at most half of them (rounded up) for one
    peer, so that a single slow or greedy peer cannot hold every slot. The others wait.
    """

    def __init__(
        self,
        name: str,
        *,
        request_bytes_max: int,
        concurrent_max: int,
        unary: Handler | None = None,
        streamed: StreamHandler | None = None,
    ) -> None:
        self.name = name
        self.request_bytes_max = request_bytes_max
        self.unary = unary
        self.streamed = streamed
        self._slots = asyncio.Semaphore(concurrent_max)
        self._peer_max = (concurrent_max + 1) // 2
        self._of_peer: dict[PeerId, asyncio.Semaphore] = {}
        self._waiting: Counter[PeerId] = Counter()

    @asynccontextmanager
    async def turn(self, peer: PeerId) -> AsyncIterator[None]:
        """Wait until a call of ``peer`` may be answered, and hold its slot."""
        own = self._of_peer.setdefault(peer, asyncio.Semaphore(self._peer_max))
        self._waiting[peer] += 1
        try:
            async with own, self._slots:
                yield
        finally:
            self._waiting[peer] -= 1
            if not self._waiting[peer]:
                del self._waiting[peer], self._of_peer[peer]


class Methods:
    """The table of served methods."""

    def __init__(self) -> None:
        self._by_name: dict[str, Method] = {}

    def add(self, method: Method) -> None:
        """Serve ``method``.

        Raises:
            ValueError: The name is taken, empty or too long.
        """
        if not 0 < len(method.name.encode()) <= METHOD_BYTES_MAX or method.name in self._by_name:
            raise ValueError(f"method {method.name!r} is served already, or its name is unusable")
        self._by_name[method.name] = method

    def find(self, name: str, request_bytes: int, *, streamed: bool) -> Method:
        """The method for a request of a declared size, checked before a byte of it is kept.

        Raises:
            Refused: No such method of this form, or the request is above its limit.
        """
        method = self._by_name.get(name)
        if method is None or (method.streamed is not None) != streamed:
            raise Refused("unknown_method: no such method is served here")
        if request_bytes > method.request_bytes_max:
            raise Refused(
                f"too_large: request of {request_bytes} bytes, at most {method.request_bytes_max}"
            )
        return method


def error_to_send(error: Exception) -> tuple[ErrorCode, str]:
    """What the caller is told when a handler raised ``error``.

    An error that is our own bug says nothing about itself: its text may hold what is not public.
    """
    if isinstance(error, Refused):
        return ErrorCode.REFUSED, str(error)
    if isinstance(error, PeerError):
        return ErrorCode.REFUSED, f"{error.reason}: {error}"
    if isinstance(error, Unavailable):
        return ErrorCode.UNAVAILABLE, str(error)
    return ErrorCode.UNAVAILABLE, "the peer failed while answering"


def error_received(peer: PeerId, method: str, code: ErrorCode, text: str) -> Exception:
    """What our caller gets for an error that ``peer`` sent."""
    match code:
        case ErrorCode.REFUSED:
            return Refused(text, peer)
        case ErrorCode.REPLY_TOO_LARGE:
            return TooLarge(f"the answer to {method} is above our limit", peer)
        case ErrorCode.UNAVAILABLE:
            return Unavailable(f"{peer} cannot answer {method}: {text}")


def answer_too_large(peer: PeerId, method: str, size: int, limit: int) -> TooLarge:
    """What our caller gets when an answer declares more bytes than it accepts."""
    return TooLarge(f"answer to {method} of {size} bytes, at most {limit} accepted", peer)
