"""``Compute`` on one machine: pure functions in a thread, workloads in processes of their own."""

import asyncio
import os
import socket
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, TypeVar

import numpy as np

from node.adapters.shared_memory import make_memory, map_memory, size_memory
from node.adapters.worker_forker import WorkerForker
from node.adapters.worker_frames import encode_frame, entries_from, entries_message
from node.adapters.worker_link import Commands, Lifeline
from node.adapters.worker_process import count_params
from node.errors import WorkerFailed
from node.ports import (
    WHOLE,
    AdvanceReply,
    AdvanceRequest,
    FloatVector,
    InquireRequest,
    ReplayReply,
    ReplayRequest,
    Shard,
    TrainReply,
    TrainRequest,
)
from workloads.api import MemoryForm

T = TypeVar("T")
Shapes = list[tuple[str, tuple[int, ...]]]

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
        self, workload: str, config: Mapping[str, Any], seed: int, shard: Shard = WHOLE
    ) -> "ProcessWorker":
        """Start a job's worker; see ``node.ports.Compute``."""
        start = encode_frame(
            {
                "workload": workload,
                "config": dict(config),
                "seed": seed,
                "shard": list(shard),
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
        self._commands = Commands()
        self._lifeline = Lifeline(self._commands)
        self._shapes: Shapes = []
        self._memory: MemoryForm | None = None
        self._replayable = False
        self._class = b""
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
            worker._memory = MemoryForm(**hello["memory"]) if hello["memory"] else None
            worker._replayable = hello["replayable"]
            worker._class = bytes.fromhex(hello["class"])
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

    @property
    def memory(self) -> MemoryForm | None:
        """Form of the shared entries."""
        return self._memory

    @property
    def replayable(self) -> bool:
        """Whether the workload can replay rounds."""
        return self._replayable

    @property
    def compute_class(self) -> bytes:
        """What decides the bits that the worker computes."""
        return self._class

    async def advance(self, request: AdvanceRequest) -> AdvanceReply:
        """One slice of a job that shares a memory."""
        assert self._memory is not None
        arrived, blobs = [], []
        for each in request.arrived:
            # An author without entries is not one that is to be forgotten.
            told = (None, b"") if each.entries is None else entries_message(each.entries)
            arrived.append({"author": each.author, "entries": told[0]})
            blobs.append(told[1])
        async with self._turn:
            answer, attached = await self._commands.call_with(
                {
                    "op": "advance",
                    "arrived": arrived,
                    "steps": request.steps,
                    "deadline_s": request.deadline_s,
                    "data_seed": request.data_seed.hex(),
                },
                blobs,
            )
        shown = answer["entries"] or {"count": 0, "scale": 1.0}
        entries = entries_from(shown, attached[0] if attached else b"", self._memory)
        return AdvanceReply(answer["steps"], entries, answer["seconds"], answer["waiting"])

    async def inquire(self, request: InquireRequest) -> bytes:
        """Ask or answer other nodes."""
        command = {"op": "inquire", "own": request.own, "founders": list(request.founders)}
        async with self._turn:
            _, attached = await self._commands.call_with(
                command, [request.question, *request.answers]
            )
        return attached[0]

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
                    "keep": request.keep,
                }
            )
            update = await self._taken()
        before, after = (bytes.fromhex(text) for text in answer["local"])
        return TrainReply(
            update, answer["steps_done"], answer["loss"], answer["seconds"], before, after
        )

    async def opening(self, round_: int) -> bytes | None:
        """The local state from before ``round_``."""
        async with self._turn:
            answer, attached = await self._commands.call_with(
                {"op": "opening", "round": round_}, ()
            )
        return attached[0] if answer["kept"] else None

    async def revert(self, round_: int) -> None:
        """Return to the local state from before ``round_``."""
        async with self._turn:
            await self._commands.call({"op": "revert", "round": round_})

    async def replay(self, request: ReplayRequest) -> ReplayReply | None:
        """Another node's local steps."""
        async with self._turn:
            await self._given(request.params)
            answer, _ = await self._commands.call_with(
                {
                    "op": "replay",
                    "round": request.round,
                    "rounds": request.rounds,
                    "data_seed": request.data_seed.hex(),
                    "steps": request.steps,
                    "steps_done": request.steps_done,
                    "shard": list(request.shard),
                },
                [request.local_state],
            )
            if answer["after"] is None:
                return None
            update = await self._taken()
        return ReplayReply(update, bytes.fromhex(answer["after"]), answer["seconds"])

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
