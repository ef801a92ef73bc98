"""The chunks of one streamed call, as they arrive; reading them grants the sender more."""

import asyncio
from collections import deque
from collections.abc import Callable

from node.adapters import framing


class Inbox:
    """What has arrived and was not read yet.

    Args:
        grant: Tells the sender that chunks of this cost were read.
    """

    def __init__(self, grant: Callable[[int], None]) -> None:
        self._grant = grant
        self._chunks: deque[bytes] = deque()
        self._read = 0
        self._complete = False
        self._error: Exception | None = None
        self._waiter: asyncio.Future[None] | None = None

    @property
    def ended(self) -> bool:
        """Will nothing more arrive?"""
        return self._complete or self._error is not None

    def fail(self, error: Exception) -> None:
        """End with ``error`` after the chunks that are here, unless it has ended."""
        if not self.ended:
            self._error = error
            self._wake()

    def add(self, chunk: bytes | None) -> None:
        """A chunk, or None after the last."""
        if not self.ended:
            if chunk is None:
                self._complete = True
            else:
                self._chunks.append(chunk)
            self._wake()

    async def next(self) -> bytes | None:
        """The next chunk; None after the last. Raises what ended the stream."""
        while not self._chunks:
            if self._error is not None:
                raise self._error
            if self._complete:
                return None
            self._waiter = asyncio.get_running_loop().create_future()
            await self._waiter
        chunk = self._chunks.popleft()
        self._read += framing.chunk_cost(len(chunk))
        if self._read >= framing.WINDOW_BYTES // 8 and not self.ended:
            self._grant(self._read)
            self._read = 0
        return chunk

    def _wake(self) -> None:
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)
