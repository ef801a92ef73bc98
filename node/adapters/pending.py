"""What we wait for from a peer: one reply, or a stream of chunks."""

import asyncio
from collections import deque
from collections.abc import Callable

from node.adapters import framing
from node.adapters.framing import Assembler, Frame, Kind
from node.adapters.methods import answer_too_large, error_received
from node.errors import Malformed
from node.types import PeerId


class PendingCall:
    """A unary call in progress."""

    def __init__(self, peer: PeerId, method: str, reply_bytes_max: int) -> None:
        self.reply: asyncio.Future[bytes] = asyncio.get_running_loop().create_future()
        self._peer = peer
        self._method = method
        self._bytes_max = reply_bytes_max
        self._body: Assembler | None = None

    def fail(self, error: Exception) -> None:
        """End the call with ``error`` unless it has ended."""
        if not self.reply.done():
            self.reply.set_exception(error)

    def receive(self, frame: Frame) -> bool:
        """Take a frame of the answer. True: the peer should send no more of it.

        Raises:
            Malformed: The frame cannot follow what came before.
        """
        if self.reply.done():
            return False
        part = frame.payload
        if frame.kind is Kind.ERROR:
            self.fail(error_received(self._peer, self._method, *framing.decode_error(part)))
            return False
        if frame.kind is Kind.REPLY and self._body is None:
            total, part = framing.decode_u32(part)
            if total > self._bytes_max:
                self.fail(answer_too_large(self._peer, self._method, total, self._bytes_max))
                return True
            self._body = Assembler(total)
        elif frame.kind is not Kind.REST or self._body is None:
            raise Malformed(f"{frame.kind.name} cannot go on with a reply")
        whole = self._body.add(part)
        if whole is not None:
            self.reply.set_result(whole)
        return False


class PendingStream:
    """A streamed call in progress.

    Args:
        grant: Tells the sender that chunks of this cost were consumed.
    """

    def __init__(
        self, peer: PeerId, method: str, chunk_bytes_max: int, grant: Callable[[int], None]
    ) -> None:
        self._peer = peer
        self._method = method
        self._bytes_max = chunk_bytes_max
        self._grant = grant
        self._chunks: deque[bytes] = deque()
        self._body: Assembler | None = None
        self._window = framing.WINDOW_BYTES
        self._consumed = 0
        self._ended = False
        self._error: Exception | None = None
        self._waiter: asyncio.Future[None] | None = None

    @property
    def finished(self) -> bool:
        """Will the peer send nothing more?"""
        return self._ended or self._error is not None

    def fail(self, error: Exception) -> None:
        """End the stream with ``error`` after the chunks that are here, unless it has ended."""
        if not self.finished:
            self._error = error
            self._wake()

    def receive(self, frame: Frame) -> bool:
        """Take a frame of the answer. True: the peer should send no more of it.

        Raises:
            Malformed: The frame cannot follow what came before, or the sender ran ahead.
        """
        if self.finished:
            return False
        part = frame.payload
        if frame.kind is Kind.ERROR:
            self.fail(error_received(self._peer, self._method, *framing.decode_error(part)))
        elif frame.kind is Kind.END and self._body is None:
            self._ended = True
            self._wake()
        elif frame.kind is Kind.CHUNK and self._body is None:
            total, part = framing.decode_u32(part)
            if total > self._bytes_max:
                self.fail(answer_too_large(self._peer, self._method, total, self._bytes_max))
                return True
            if self._window <= 0:
                raise Malformed("a chunk beyond the stream's window")
            self._window -= framing.chunk_cost(total)
            self._add(Assembler(total), part)
        elif frame.kind is Kind.REST and self._body is not None:
            self._add(self._body, part)
        else:
            raise Malformed(f"{frame.kind.name} cannot go on with a stream")
        return False

    async def next(self) -> bytes | None:
        """The next chunk, in order; None after the last."""
        while not self._chunks:
            if self._error is not None:
                raise self._error
            if self._ended:
                return None
            self._waiter = asyncio.get_running_loop().create_future()
            await self._waiter
        chunk = self._chunks.popleft()
        self._consumed += framing.chunk_cost(len(chunk))
        if self._consumed >= framing.WINDOW_BYTES // 8 and not self.finished:
            self._window += self._consumed
            self._grant(self._consumed)
            self._consumed = 0
        return chunk

    def _add(self, body: Assembler, part: memoryview) -> None:
        whole = body.add(part)
        self._body = body if whole is None else None
        if whole is not None:
            self._chunks.append(whole)
            self._wake()

    def _wake(self) -> None:
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)
