"""Attacks in the worker: it trains on false labels, or does not train at all."""

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

import numpy as np

from node.errors import ConfigError
from node.ports import (
    WHOLE,
    Compute,
    FloatVector,
    Ports,
    Shard,
    Sign,
    TrainReply,
    TrainRequest,
    Worker,
)
from simulator.attacks.base import Attack
from simulator.attacks.shells import ComputeShell, WorkerShell
from simulator.attacks.values import rms

FLIP_SETTING = "flip"
"""Setting of a workload that makes it train on false labels."""
FIRST_NOISE = 1e-3
"""Root mean square of what a free rider sends before it has seen a global update."""
NOISE = 0.1
"""Noise of a free rider, relative to the global update that it repeats."""


class label_flip(Attack):
    """An honest computation on flipped labels: everything else is as it should be.

    Source: Biggio, Nelson, Laskov 2012, arXiv:1206.6389; as "label flipping" in Allouah et al.
        2023, arXiv:2302.01772.
    """

    def ports(self, ports: Ports, sign: Sign) -> Ports:
        """The workload gets ``flip = true``."""
        ports = super().ports(ports, sign)
        return replace(ports, compute=_Flipped(ports.compute))


class _Flipped(ComputeShell):
    async def start_worker(
        self, workload: str, config: Mapping[str, Any], seed: int, shard: Shard = WHOLE
    ) -> Worker:
        try:
            return await self.inner.start_worker(
                workload, {**config, FLIP_SETTING: True}, seed, shard
            )
        except ConfigError as error:
            raise ConfigError(
                f"label_flip needs a workload with the setting {FLIP_SETTING!r}, such as quadratic"
                f" or logistic; {workload} refuses: {error}"
            ) from error


class free_ride_noise(Attack):
    """Never trains: repeats the last global update with a little noise over it.

    Source: Lin, Du, Liu 2019, arXiv:1911.12560, "advanced delta weights".
    """

    def ports(self, ports: Ports, sign: Sign) -> Ports:
        """The worker never trains."""
        ports = super().ports(ports, sign)
        idle = _Idle(ports.compute, lambda round_: self.own_rng(round_), self.scale)
        return replace(ports, compute=idle)


class _Idle(ComputeShell):
    def __init__(
        self, inner: Compute, rng: Callable[[int], np.random.Generator], scale: float
    ) -> None:
        super().__init__(inner)
        self._rng = rng
        self._scale = scale

    async def start_worker(
        self, workload: str, config: Mapping[str, Any], seed: int, shard: Shard = WHOLE
    ) -> Worker:
        worker = await self.inner.start_worker(workload, config, seed, shard)
        return _FreeRider(worker, self._rng, self._scale)


class _FreeRider(WorkerShell):
    def __init__(
        self, inner: Worker, rng: Callable[[int], np.random.Generator], scale: float
    ) -> None:
        super().__init__(inner)
        self._rng = rng
        self._scale = scale
        self._before: FloatVector | None = None

    async def train(self, request: TrainRequest) -> TrainReply:
        before, params = self._before, request.params
        self._before = params.copy()
        update = np.zeros_like(params) if before is None else before - params
        size = rms(update) * NOISE or FIRST_NOISE
        noise = self._rng(request.round).standard_normal(params.shape) * (self._scale * size)
        false = (update + noise).astype(np.float32)
        return TrainReply(false, request.steps, 0.0, 0.0)


class stale(Attack):
    """Free ride by a stale copy: replays the update of the first round that it takes part in.

    Source: Gorbunov et al. 2022, arXiv:2106.11257 (BTARD), "delayed gradients".
    """

    def __init__(self, *, scale: float, seed: int) -> None:
        super().__init__(scale=scale, seed=seed)
        self._first: FloatVector | None = None

    async def update(self, round_: int, update: FloatVector) -> FloatVector:
        """The first update that this was called with."""
        if self._first is None:
            self._first = update.copy()
        return self._first.copy()


class free_ride_copy(Attack):
    """Free ride on a neighbour: sends its update of this round, encoded anew as its own.

    Commitments bind their author, so the neighbour's own bytes are of no use; alone, the last
    update of its own stands for the neighbour's.

    Source: Lin, Du, Liu 2019, arXiv:1911.12560, free-riding; the copied neighbour is ours.
    """

    async def update(self, round_: int, update: FloatVector) -> FloatVector:
        """Another neighbour's every round."""
        rows = (await self.crowd(round_, update)).rows
        return np.asarray(rows[(round_ - 1) % len(rows)], np.float32)
