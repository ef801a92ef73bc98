"""``Compute`` on one machine: pure functions in a thread, workloads in processes of their own."""

import asyncio
import json
import os
import socket
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, TypeVar, cast

import numpy as np

from node.adapters.shared_memory import make_memory, map_memory, size_memory
from node.adapters.worker_forker import WorkerForker
from node.adapters.worker_process import FRAME_BYTES_MAX, count_params, encode_frame
from node.errors import ConfigError, WorkerFailed
from node.ports import FloatVector, TrainReply, TrainRequest

T = TypeVar("T")
Message = dict[str, Any]
Shapes = list[tuple[str, tuple[int, ...]]]

EXIT_WAIT_S = 2.0
"""How long ``close`` waits for a killed worker to be gone."""
COPY_BYTES_INLINE_MAX = 4 << 20
"""Vectors above this are copied in a thread: about 2 ms."""


class ProcessCompute:
    """The real ``Compute`` port.

    Args:
        forker: Made before the loop; closed by ``close``.
        threads: Threads of a worker's tensor operations, at least 1.
        device: "auto", "cpu", "cuda" or "cuda:N": resolved inside the worker.
    """

    def __init__(self, forker: WorkerForker, *, threads: int, device: str) -> None:
        self._forker = forker
        self._threads = threads
        self._device = device
        # One thread: canonical arithmetic runs in the thread where the golden vector was checked.
        self._maths = ThreadPoolExecutor(1, thread_name_prefix="maths")
        self._copies = ThreadPoolExecutor(1, thread_name_prefix="copies")
        self._workers: list[ProcessWorker] = []

    async def maths(self, work: Callable[[], T], *, cost_s: float) -> T:
        """Run ``work`` in the maths thread; ``cost_s`` has no meaning here."""
        return await asyncio.get_running_loop().run_in_executor(self._maths, work)

    async def start_worker(
        self, workload: str, config: Mapping[str, Any], seed: int
    ) -> "ProcessWorker":
        """Start a job's worker; see ``node.ports.Compute``."""
        start = encode_frame(
            {
                "workload": workload,
                "config": dict(config),
                "seed": seed,
                "threads": self._threads,
                "device": self._device,
            }
        )
        worker = await ProcessWorker.start(self._forker, start, self._copies)
        self._workers.append(worker)
        return worker

    async def close(self) -> None:
        """End all workers, the forker and the threads; idempotent."""
        for worker in self._workers:
            await worker.close()
        self._forker.close()
        self._maths.shutdown(wait=False, cancel_futures=True)
        self._copies.shutdown(wait=False, cancel_futures=True)


class ProcessWorker:
    """The real ``Worker`` port: the node's end of one worker process."""

    def __init__(self, copies: ThreadPoolExecutor) -> None:
        self._copies = copies
        self._turn = asyncio.Lock()
        self._commands = _Commands()
        self._lifeline = _Lifeline(self._commands)
        self._shapes: Shapes = []
        self._inbox: FloatVector = np.empty(0, np.float32)
        self._outbox: FloatVector = np.empty(0, np.float32)

    @classmethod
    async def start(
        cls, forker: WorkerForker, start: bytes, copies: ThreadPoolExecutor
    ) -> "ProcessWorker":
        """Fork a worker and wait until its workload is loaded."""
        worker = cls(copies)
        memories = make_memory(), make_memory()
        try:
            await worker._connect(forker, memories)
            hello = await worker._commands.start(start)
            worker._shapes = [(name, tuple(shape)) for name, shape in hello["shapes"]]
            for fd in memories:
                size_memory(fd, count_params(worker._shapes))
            worker._inbox, worker._outbox = map_memory(memories[0]), map_memory(memories[1])
        except BaseException:
            await worker.close()
            raise
        finally:
            for fd in memories:
                os.close(fd)
        return worker

    async def _connect(self, forker: WorkerForker, memories: tuple[int, int]) -> None:
        loop = asyncio.get_running_loop()
        near, far = socket.socketpair()
        try:
            lifeline = forker.request(far, *memories)
        except BaseException:
            near.close()
            raise
        finally:
            far.close()
        # A protocol with no task of its own: its callbacks settle the futures of the callers.
        await loop.create_unix_connection(lambda: self._lifeline, sock=lifeline)
        await loop.create_unix_connection(lambda: self._commands, sock=near)

    @property
    def shapes(self) -> Sequence[tuple[str, tuple[int, ...]]]:
        """Names and shapes, in flat-vector order."""
        return self._shapes

    async def initial(self) -> FloatVector:
        """The first parameters. Shape [d]."""
        async with self._turn:
            await self._commands.call({"op": "initial"})
            return await self._taken()

    async def train(self, request: TrainRequest) -> TrainReply:
        """Local steps."""
        async with self._turn:
            await self._given(request.params)
            answer = await self._commands.call(
                {
                    "op": "train",
                    "round": request.round,
                    "rounds": request.rounds,
                    "data_seed": request.data_seed.hex(),
                    "steps": request.steps,
                    "deadline_s": request.deadline_s,
                    "continued": request.continued,
                }
            )
            update = await self._taken()
        return TrainReply(update, answer["steps_done"], answer["loss"], answer["seconds"])

    async def evaluate(self, params: FloatVector) -> Mapping[str, float]:
        """Metrics of ``params``."""
        async with self._turn:
            await self._given(params)
            metrics: Mapping[str, float] = (await self._commands.call({"op": "evaluate"}))[
                "metrics"
            ]
        return metrics

    async def artifacts(self, params: FloatVector, folder: str) -> Sequence[str]:
        """Write artifacts of ``params`` into ``folder``."""
        async with self._turn:
            await self._given(params)
            answer = await self._commands.call({"op": "artifacts", "folder": folder})
        return tuple(answer["paths"])

    async def reset(self) -> None:
        """Forget the inner optimiser's state, as after a resync."""
        async with self._turn:
            await self._commands.call({"op": "reset"})

    async def close(self) -> None:
        """Kill the process and wait until it is gone; idempotent."""
        self._commands.fail("the worker was closed")
        await self._lifeline.kill()

    async def _given(self, params: FloatVector) -> None:
        """Put ``params`` where the worker reads them, once it has answered any dropped call."""
        if params.shape != self._inbox.shape or params.dtype != np.float32:
            raise WorkerFailed(
                f"parameters of shape {list(params.shape)} for a workload of {len(self._inbox)}"
            )
        await self._commands.settled()
        await self._copy(self._inbox, params)

    async def _taken(self) -> FloatVector:
        """A copy of what the worker left."""
        taken = np.empty_like(self._outbox)
        await self._copy(taken, self._outbox)
        return taken

    async def _copy(self, target: FloatVector, source: FloatVector) -> None:
        if source.nbytes <= COPY_BYTES_INLINE_MAX:
            np.copyto(target, source)
        else:
            loop = asyncio.get_running_loop()
            await loop.run_in_executor(self._copies, np.copyto, target, source)


class _Commands(asyncio.Protocol):
    """Frames to and from the worker: one call at a time."""

    def __init__(self) -> None:
        self._transport: asyncio.Transport | None = None
        self._buffer = bytearray()
        self._answer: asyncio.Future[Message] | None = None
        self._calls = 0
        self._failure: str | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        # uvloop's transports are such by shape, not by class.
        self._transport = cast(asyncio.Transport, transport)

    async def start(self, frame: bytes) -> Message:
        """Send the first frame; what the worker says once its workload is loaded."""
        return await self._send(frame)

    async def call(self, message: Message) -> Message:
        """Send one command after the answer to any that was dropped; its answer.

        Raises:
            WorkerFailed: the workload raised, or the process is dead.
        """
        await self.settled()
        self._calls += 1
        return await self._send(encode_frame({"id": self._calls, **message}))

    async def settled(self) -> None:
        """Wait until the worker has answered a call whose caller was cancelled.

        Only then are the buffers free.
        """
        if self._answer is not None and not self._answer.done():
            await asyncio.wait([self._answer])

    async def _send(self, frame: bytes) -> Message:
        if self._failure is not None or self._transport is None:
            raise WorkerFailed(self._failure or "the worker is not connected")
        self._answer = answer = asyncio.get_running_loop().create_future()
        self._transport.write(frame)
        # Shielded: when the caller gives up, the answer is still to come and keeps the buffers.
        message: Message = await asyncio.shield(answer)
        if "config_error" in message:
            raise ConfigError(message["config_error"])
        if "dead" in message:
            raise WorkerFailed(message["dead"])
        if "error" in message:
            raise WorkerFailed(f"the workload raised {message['error']}")
        return message

    def data_received(self, data: bytes) -> None:
        self._buffer += data
        if len(self._buffer) < 4:
            return
        size = int.from_bytes(self._buffer[:4], "big")
        if size > FRAME_BYTES_MAX:
            self.fail(f"the worker sent a message of {size} bytes")
        elif len(self._buffer) >= 4 + size:
            body = bytes(self._buffer[4 : 4 + size])
            # One call at a time: nothing can follow an answer.
            self._buffer.clear()
            if self._answer is not None and not self._answer.done():
                self._answer.set_result(json.loads(body))

    def fail(self, text: str) -> None:
        """End the pending call and all later ones with WorkerFailed(text)."""
        if self._failure is None:
            self._failure = text
        if self._answer is not None and not self._answer.done():
            self._answer.set_result({"dead": self._failure})
        if self._transport is not None:
            self._transport.close()


class _Lifeline(asyncio.Protocol):
    """Tells how the worker ended, and ends it."""

    def __init__(self, commands: _Commands) -> None:
        self._commands = commands
        self._transport: asyncio.Transport | None = None
        self._gone = asyncio.get_running_loop().create_future()
        self._text = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        # uvloop's transports are such by shape, not by class.
        self._transport = cast(asyncio.Transport, transport)

    def data_received(self, data: bytes) -> None:
        self._text = (self._text + data)[:200]

    def connection_lost(self, error: Exception | None) -> None:
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
