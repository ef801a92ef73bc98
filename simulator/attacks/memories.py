"""Attacks on a job's shared memory: the node plays honestly, and shares something else."""

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

import numpy as np
import numpy.typing as npt

from node.ports import (
    WHOLE,
    AdvanceReply,
    AdvanceRequest,
    Compute,
    Ports,
    Shard,
    Sign,
    Worker,
)
from simulator.attacks.base import Attack
from simulator.attacks.shells import ComputeShell, WorkerShell
from workloads.api import Entries

INFLATION = 10.0
"""How many times the largest value that it has seen, for SCALE = 1."""
FLOOD = 20
"""False entries for each true one, for SCALE = 1."""
FLOOD_ENTRIES_MAX = 20_000
"""Of one slice."""

Change = Callable[[Entries], Entries]
See = Callable[[Entries], None]


class MemoryAttack(Attack):
    """Shares what ``shares`` makes of its honest entries."""

    def ports(self, ports: Ports, sign: Sign) -> Ports:
        """The worker's entries are changed on their way out."""
        ports = super().ports(ports, sign)
        return replace(ports, compute=_Changed(ports.compute, self._shares, self.sees))

    def __init__(self, *, scale: float, seed: int) -> None:
        super().__init__(scale=scale, seed=seed)
        self._slices = 0
        self._largest = 1.0

    def _shares(self, entries: Entries) -> Entries:
        self._slices += 1
        self._largest = max([self._largest, *np.abs(entries.values).tolist()])
        return self.shares(entries, self.own_rng(self._slices))

    def shares(self, entries: Entries, rng: np.random.Generator) -> Entries:
        """What it shares in place of ``entries``."""
        raise NotImplementedError

    def sees(self, entries: Entries) -> None:
        """Take note of what another node shared."""

    def inflated(self, count: int) -> np.ndarray[Any, np.dtype[np.float32]]:
        """Values far above all honest ones. Shape [count]."""
        return np.full(count, self.scale * INFLATION * self._largest, np.float32)


class inflate_memory(MemoryAttack):
    """True keys with values of 10 SCALE times the largest honest one: everything seems worth it."""

    def shares(self, entries: Entries, rng: np.random.Generator) -> Entries:
        """The keys with false values."""
        return replace(entries, values=self.inflated(len(entries)))


class random_memory(MemoryAttack):
    """Random keys with values that are far too high: noise that draws others wherever it falls."""

    def shares(self, entries: Entries, rng: np.random.Generator) -> Entries:
        """As many entries as the honest ones."""
        if entries.keys.dtype == np.int8:
            keys = rng.integers(-127, 128, entries.keys.shape).astype(np.int8)
        else:
            keys = rng.normal(0, 1, entries.keys.shape).astype(np.float16)
        return replace(entries, keys=keys, values=self.inflated(len(entries)))


class flood_memory(MemoryAttack):
    """20 SCALE times as many entries as it has, next to the true keys, with inflated values."""

    def shares(self, entries: Entries, rng: np.random.Generator) -> Entries:
        """The honest entries many times over, each key moved a little."""
        flood = multiplied(entries, max(1, int(FLOOD * self.scale)), rng)
        return replace(flood, values=self.inflated(len(flood)))


def multiplied(entries: Entries, times: int, rng: np.random.Generator) -> Entries:
    """Each entry ``times`` times, at most FLOOD_ENTRIES_MAX in all, each key moved a little."""
    rows = np.tile(np.arange(len(entries)), times)[:FLOOD_ENTRIES_MAX]
    return Entries(
        nudged(entries.keys[rows], rng),
        entries.values[rows],
        entries.payload[rows],
        entries.key_scale,
    )


def nudged(keys: npt.NDArray[Any], rng: np.random.Generator) -> npt.NDArray[Any]:
    """Keys next to these: up to 2 steps of an int8 coordinate, or 1 % of an fp16 one."""
    if keys.dtype == np.int8:
        steps = keys.astype(np.int16) + rng.integers(-2, 3, (len(keys), 1))
        near: npt.NDArray[Any] = np.clip(steps, -127, 127).astype(np.int8)
    else:
        near = (keys * rng.normal(1, 0.01, keys.shape)).astype(np.float16)
    return near


class _Changed(ComputeShell):
    def __init__(self, inner: Compute, change: Change, see: See) -> None:
        super().__init__(inner)
        self._change = change
        self._see = see

    async def start_worker(
        self, workload: str, config: Mapping[str, Any], seed: int, shard: Shard = WHOLE
    ) -> Worker:
        worker = await self.inner.start_worker(workload, config, seed, shard)
        return _Sharing(worker, self._change, self._see)


class _Sharing(WorkerShell):
    def __init__(self, inner: Worker, change: Change, see: See) -> None:
        super().__init__(inner)
        self._change = change
        self._see = see

    async def advance(self, request: AdvanceRequest) -> AdvanceReply:
        """As the inner one, but for what is shared."""
        for arrived in request.arrived:
            if arrived.author and arrived.entries is not None:
                self._see(arrived.entries)
        reply = await self.inner.advance(request)
        return replace(reply, entries=self._change(reply.entries))
