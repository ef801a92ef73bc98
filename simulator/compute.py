"""The Compute port in virtual time: work runs inline, then its cost passes."""

import asyncio
from collections.abc import Callable, Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any, TypeVar

from node.errors import ConfigError, WorkerFailed
from node.ports import FloatVector, TrainReply, TrainRequest
from workloads import api

T = TypeVar("T")

load = cache(api.load)
"""The packages that are installed take milliseconds to look through, and many workers start."""


class SimCompute:
    """Charges virtual seconds, never measured ones.

    Args:
        step_s: cost of one local step.
        slowness: factor on every cost: 1 for an ordinary host.
    """

    def __init__(self, step_s: float = 0.01, slowness: float = 1.0) -> None:
        self._step_s = step_s
        self._slowness = slowness
        self.workers: list[SimWorker] = []
        """Started so far; closing one is how a workload dies here."""

    async def maths(self, work: Callable[[], T], *, cost_s: float) -> T:
        """The result of ``work``, ``cost_s`` later."""
        result = work()
        await asyncio.sleep(cost_s * self._slowness)
        return result

    async def start_worker(
        self, workload: str, config: Mapping[str, Any], seed: int
    ) -> "SimWorker":
        """A worker without a process."""
        try:
            made = load(workload)(config, seed, "cpu")
            worker = SimWorker(made, self._step_s * self._slowness)
        except api.WorkloadError as error:
            raise ConfigError(str(error)) from error
        self.workers.append(worker)
        return worker


class SimWorker:
    """A workload that is called inline; one call at a time, as in a process of its own."""

    def __init__(self, workload: api.Workload, step_s: float) -> None:
        self._workload = workload
        self._step_s = step_s
        self._turn = asyncio.Lock()
        self._closed = False

    @property
    def shapes(self) -> Sequence[tuple[str, tuple[int, ...]]]:
        """As the workload's."""
        return self._workload.shapes

    async def initial(self) -> FloatVector:
        """The first parameters."""
        return self._workload.initial()

    async def train(self, request: TrainRequest) -> TrainReply:
        """Local steps, as many as fit before the deadline, at least a quarter."""
        self._check()
        async with self._turn:
            fit = int(request.deadline_s / self._step_s)
            steps = max(-(-request.steps // 4), min(request.steps, fit))
            done = self._workload.train(
                request.params,
                round_=request.round,
                rounds=request.rounds,
                data_seed=request.data_seed,
                steps=steps,
                deadline_s=request.deadline_s,
                continued=request.continued,
                clock=asyncio.get_running_loop().time,
            )
            seconds = self._step_s * done.steps_done
            await asyncio.sleep(seconds)
            scale = request.steps / done.steps_done
            update = done.update * scale if steps != request.steps else done.update
            return TrainReply(update.astype("float32"), done.steps_done, done.loss, seconds)

    async def evaluate(self, params: FloatVector) -> Mapping[str, float]:
        """Metrics."""
        self._check()
        return self._workload.evaluate(params)

    async def artifacts(self, params: FloatVector, folder: str) -> Sequence[str]:
        """Paths written."""
        self._check()
        return [str(p) for p in self._workload.artifacts(params, Path(folder))]

    async def reset(self) -> None:
        """Forget the inner optimiser."""
        self._check()
        self._workload.reset()

    async def close(self) -> None:
        """Later calls fail."""
        self._closed = True

    def _check(self) -> None:
        if self._closed:
            raise WorkerFailed("the worker was closed")
