"""A node's end of one worker process: commands and answers, and how the process ends."""

import asyncio
import json
from collections.abc import Sequence
from typing import cast

from node.adapters.worker_frames import (
    HEAD_BYTES,
    Message,
    blob_sizes,
    encode_frame,
    head_size,
    split_blobs,
)
from node.errors import ConfigError, WorkerFailed

EXIT_WAIT_S = 2.0
"""How long ``kill`` waits for a killed worker to be gone."""


class Commands(asyncio.Protocol):
    """Frames to and from the worker: one call at a time."""

    def __init__(self) -> None:
        self._transport: asyncio.Transport | None = None
        self._buffer = bytearray()
        self._answer: asyncio.Future[tuple[Message, list[bytes]]] | None = None
        self._message: Message | None = None
        """That of a frame whose blobs are still coming."""
        self._calls = 0
        self._failure: str | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Called by the loop."""
        # uvloop's transports are such by shape, not by class.
        self._transport = cast(asyncio.Transport, transport)

    async def start(self, frame: bytes) -> Message:
        """Send the first frame; what the worker says once its workload is loaded."""
        return (await self._send(frame))[0]

    async def call(self, message: Message) -> Message:
        """``call_with`` without blobs either way."""
        return (await self.call_with(message, ()))[0]

    async def call_with(
        self, message: Message, blobs: Sequence[bytes]
    ) -> tuple[Message, list[bytes]]:
        """Send one command after the answer to any that was dropped; its answer.

        Raises:
            WorkerFailed: the workload raised, or the process is dead.
        """
        await self.settled()
        self._calls += 1
        return await self._send(encode_frame({"id": self._calls, **message}, blobs))

    async def settled(self) -> None:
        """Wait until the worker has answered a call whose caller was cancelled.

        Only then are the buffers free.
        """
        if self._answer is not None and not self._answer.done():
            await asyncio.wait([self._answer])

    async def _send(self, frame: bytes) -> tuple[Message, list[bytes]]:
        if self._failure is not None or self._transport is None:
            raise WorkerFailed(self._failure or "the worker is not connected")
        self._answer = answer = asyncio.get_running_loop().create_future()
        self._transport.write(frame)
        # Shielded: when the caller gives up, the answer is still to come and keeps the buffers.
        message, blobs = await asyncio.shield(answer)
        if "config_error" in message:
            raise ConfigError(message["config_error"])
        if "dead" in message:
            raise WorkerFailed(message["dead"])
        if "error" in message:
            raise WorkerFailed(f"the workload raised {message['error']}")
        return message, blobs

    def data_received(self, data: bytes) -> None:
        """Called by the loop with a piece of an answer."""
        self._buffer += data
        try:
            answer = self._whole()
        except ValueError as error:
            self.fail(f"the worker sent {error}")
            return
        if answer is not None:
            # One call at a time: nothing can follow an answer.
            self._buffer.clear()
            self._message = None
            if self._answer is not None and not self._answer.done():
                self._answer.set_result(answer)

    def _whole(self) -> tuple[Message, list[bytes]] | None:
        """The frame in the buffer, once it is whole.

        Raises:
            ValueError: its lengths are above the limits, or it is no JSON.
        """
        if len(self._buffer) < HEAD_BYTES:
            return None
        end = HEAD_BYTES + head_size(bytes(self._buffer[:HEAD_BYTES]))
        if len(self._buffer) < end:
            return None
        if self._message is None:  # parsed once, however many pieces the blobs come in
            self._message = json.loads(self._buffer[HEAD_BYTES:end])
        sizes = blob_sizes(self._message)
        if len(self._buffer) < end + sum(sizes):
            return None
        return self._message, split_blobs(bytes(self._buffer[end:]), sizes)

    def fail(self, text: str) -> None:
        """End the pending call and all later ones with WorkerFailed(text)."""
        if self._failure is None:
            self._failure = text
        if self._answer is not None and not self._answer.done():
            self._answer.set_result(({"dead": self._failure}, []))
        if self._transport is not None:
            self._transport.close()


class Lifeline(asyncio.Protocol):
    """Tells how the worker ended, and ends it."""

    def __init__(self, commands: Commands) -> None:
        self._commands = commands
        self._transport: asyncio.Transport | None = None
        self._gone = asyncio.get_running_loop().create_future()
        self._text = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Called by the loop."""
        # uvloop's transports are such by shape, not by class.
        self._transport = cast(asyncio.Transport, transport)

    def data_received(self, data: bytes) -> None:
        """Called by the loop with how the process ended."""
        self._text = (self._text + data)[:200]

    def connection_lost(self, error: Exception | None) -> None:
        """Called by the loop once the process is gone."""
        how = self._text.decode(errors="replace") or "gone with the process that started it"
        self._commands.fail(f"the worker process is dead ({how})")
        if not self._gone.done():
            self._gone.set_result(None)

    async def kill(self) -> None:
        """Have the worker killed, and wait until it is."""
        if self._transport is None:
            return
        if not self._transport.is_closing():
            self._transport.write_eof()
        await asyncio.wait([self._gone], timeout=EXIT_WAIT_S)
        self._transport.close()
