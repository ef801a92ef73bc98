"""The Compute port in virtual time: work runs inline, then its cost passes."""

import asyncio
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any, TypeVar

import numpy as np

from node.adapters.inquired import inquire
from node.adapters.replaying import Replaying
from node.errors import ConfigError, WorkerFailed
from node.merkle import digest
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
from simulator.scenario import HostSection
from simulator.seeds import rng
from workloads import api

T = TypeVar("T")


@cache
def load(workload: str) -> Callable[..., api.Workload]:
    """The workload's class; with torch on one thread, as in a worker process.

    Kept, since installed packages take milliseconds to look through, and many workers start.
    """
    kind = api.load(workload)
    if "torch" in sys.modules:
        sys.modules["torch"].set_num_threads(1)
    return kind


MACHINES: Mapping[str, tuple[float, float]] = {
    "cpu": (0.01, 1.0),
    "gpu-small": (0.0006, 1.0),
    "gpu-large": (0.00025, 0.5),
}
"""Class of host -> (seconds of a local step, factor on maths, which stay on the CPU).

Illustrative: steps are in the ratio of fp32 peaks, 0.5 TFLOP/s for a desktop CPU against 8.1 of a
T4 and 19.5 of an A100 (NVIDIA's data sheets); a real step depends on its model.
"""


@dataclass
class CostModel:
    """What work costs on one host, in virtual seconds: charged, never measured.

    Args:
        step_s: seconds of one local step.
        maths_factor: on the cost of the exchange's maths.
        slowness: factor on every cost; may be set while the host runs.
        straggle_rate: chance that a round's training is slow.
        straggle_factor: how many times as slow.
        draw: the random stream of one round: the same round straggles again after a restart.
        machine: class of host, which decides the compute class too.
    """

    step_s: float = MACHINES["cpu"][0]
    maths_factor: float = MACHINES["cpu"][1]
    slowness: float = 1.0
    straggle_rate: float = 0.0
    straggle_factor: float = 10.0
    draw: Callable[[int], np.random.Generator] = lambda round_: rng(0, "straggle", round_)
    machine: str = "cpu"

    def round_step_s(self, round_: int) -> float:
        """Seconds of one local step of ``round_``."""
        slow = self.straggle_rate > 0 and self.draw(round_).random() < self.straggle_rate
        return self.step_s * self.slowness * (self.straggle_factor if slow else 1.0)

    def maths_s(self, cost_s: float) -> float:
        """Seconds of maths that cost ``cost_s`` on an ordinary host."""
        return cost_s * self.maths_factor * self.slowness


def cost_of(host: HostSection, seed: int, index: int) -> CostModel:
    """The cost model of one host of a scenario."""
    return CostModel(
        *MACHINES[host.machine],
        slowness=host.slowness,
        straggle_rate=host.straggle_rate,
        draw=lambda round_: rng(seed, "straggle", index, round_),
        machine=host.machine,
    )


class SimCompute:
    """Runs work inline and lets its cost pass."""

    def __init__(self, cost: CostModel | None = None) -> None:
        self.cost = cost or CostModel()
        self.workers: list[SimWorker] = []
        """Started so far; closing one is how a workload dies here."""

    @property
    def slowness(self) -> float:
        """Factor on every cost from now on: 1 for an ordinary host."""
        return self.cost.slowness

    @slowness.setter
    def slowness(self, factor: float) -> None:
        assert factor > 0, factor
        self.cost.slowness = factor

    async def maths(self, work: Callable[[], T], *, cost_s: float) -> T:
        """The result of ``work``, ``cost_s`` later."""
        result = work()
        await asyncio.sleep(self.cost.maths_s(cost_s))
        return result

    async def start_worker(
        self, workload: str, config: Mapping[str, Any], seed: int, shard: Shard = WHOLE
    ) -> "SimWorker":
        """A worker without a process."""
        try:

            def make(part: Shard) -> api.Workload:
                made = load(workload)(config, seed, "cpu")
                if isinstance(made, api.Sharded):
                    made.shard(*part)
                return made

            worker = SimWorker(make(shard), self.cost, make)
        except api.WorkloadError as error:
            raise ConfigError(str(error)) from error
        self.workers.append(worker)
        return worker


class SimWorker:
    """A workload that is called inline; one call at a time, as in a process of its own."""

    def __init__(
        self, workload: api.Workload, cost: CostModel, make: Callable[[Shard], api.Workload]
    ) -> None:
        self._workload = workload
        self._replaying = Replaying(workload, make)
        self._cost = cost
        self._turn = asyncio.Lock()
        self._started = False
        self._closed = False

    @property
    def shapes(self) -> Sequence[tuple[str, tuple[int, ...]]]:
        """As the workload's."""
        return self._workload.shapes

    @property
    def memory(self) -> api.MemoryForm | None:
        """As the workload's."""
        return self._workload.memory if isinstance(self._workload, api.Remembers) else None

    @property
    def replayable(self) -> bool:
        """As the workload says."""
        return isinstance(self._workload, api.Replayable)

    @property
    def compute_class(self) -> bytes:
        """One for each class of host."""
        return digest("compute class", self._cost.machine.encode())

    async def advance(self, request: AdvanceRequest) -> AdvanceReply:
        """As many steps as fit before the deadline, at least one."""
        self._check()
        workload = self._workload
        assert isinstance(workload, api.Remembers)
        async with self._turn:
            for arrived in request.arrived:
                if arrived.entries is None:
                    workload.forget(arrived.author)
                else:
                    workload.absorb(arrived.author, arrived.entries)
            if not request.steps:
                return AdvanceReply(0, self._none(workload.memory), 0.0)
            if not self._started:
                self._started = True
                workload.start(request.data_seed)
            step_s = self._cost.step_s * self._cost.slowness
            steps = max(1, min(request.steps, int(request.deadline_s / step_s)))
            done = workload.advance(steps, request.deadline_s, asyncio.get_running_loop().time)
            await asyncio.sleep(step_s * done.steps)
            seconds = step_s * done.steps
            return AdvanceReply(done.steps, done.entries, seconds, done.waiting)

    async def inquire(self, request: InquireRequest) -> bytes:
        """Ask or answer other nodes; a search costs a step."""
        self._check()
        async with self._turn:
            said = inquire(self._workload, request)
            await asyncio.sleep(self._cost.step_s * self._cost.slowness)
            return said

    @staticmethod
    def _none(form: api.MemoryForm) -> api.Entries:
        kind = np.int8 if form.key_type == "int8" else np.float16
        return api.Entries(
            np.empty((0, form.key_dims), kind),
            np.empty(0, np.float32),
            np.empty((0, form.payload_bytes), np.uint8),
        )

    async def initial(self) -> FloatVector:
        """The first parameters."""
        return self._workload.initial()

    async def train(self, request: TrainRequest) -> TrainReply:
        """Local steps, as many as fit before the deadline, at least a quarter."""
        self._check()
        async with self._turn:
            # A workload that advances all the time takes no steps here: it only tells numbers.
            takes_steps = self.memory is None
            step_s = self._cost.round_step_s(request.round)
            fit = int(request.deadline_s / step_s) if takes_steps else request.steps
            steps = max(-(-request.steps // 4), min(request.steps, fit))
            before = self._replaying.begin(request.round) if request.keep else b""
            done = self._workload.train(
                request.params,
                round_=request.round,
                rounds=request.rounds,
                data_seed=request.data_seed,
                steps=request.steps,
                deadline_s=steps,
                continued=request.continued,
                clock=api.step_clock(),
            )
            after = self._replaying.end() if request.keep else b""
            seconds = step_s * done.steps_done if takes_steps else 0.0
            await asyncio.sleep(seconds)
            return TrainReply(done.update, done.steps_done, done.loss, seconds, before, after)

    async def opening(self, round_: int) -> bytes | None:
        """As it was kept."""
        self._check()
        async with self._turn:
            return self._replaying.opening(round_)

    async def revert(self, round_: int) -> None:
        """As it was kept."""
        self._check()
        async with self._turn:
            self._replaying.revert(round_)

    async def replay(self, request: ReplayRequest) -> ReplayReply | None:
        """Another node's steps, at what such steps cost here."""
        self._check()
        async with self._turn:
            replayed = self._replaying.replay(request)
            seconds = self._cost.round_step_s(request.round) * request.steps_done
            await asyncio.sleep(seconds)
            return None if replayed is None else ReplayReply(*replayed, seconds)

    async def evaluate(self, params: FloatVector) -> Mapping[str, float]:
        """Metrics."""
        self._check()
        return self._workload.evaluate(params)

    async def artifacts(self, params: FloatVector, folder: str) -> Sequence[str]:
        """Nothing: a simulated host has no folder to draw in."""
        self._check()
        return []

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
