"""Attacks on a job's shared memory: the node plays honestly, and shares something else."""

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

import numpy as np

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


class _MemoryAttack(Attack):
    """Shares what ``shares`` makes of its honest entries."""

    def ports(self, ports: Ports, sign: Sign) -> Ports:
        """The worker's entries are changed on their way out."""
        ports = super().ports(ports, sign)
        return replace(ports, compute=_Changed(ports.compute, self._shares))

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

    def inflated(self, count: int) -> np.ndarray[Any, np.dtype[np.float32]]:
        """Values far above all honest ones. Shape [count]."""
        return np.full(count, self.scale * INFLATION * self._largest, np.float32)


class inflate_memory(_MemoryAttack):
    """True keys with values of 10 SCALE times the largest honest one: everything seems worth it."""

    def shares(self, entries: Entries, rng: np.random.Generator) -> Entries:
        """The keys with false values."""
        return replace(entries, values=self.inflated(len(entries)))


class random_memory(_MemoryAttack):
    """Random keys with values that are far too high: noise that draws others wherever it falls."""

    def shares(self, entries: Entries, rng: np.random.Generator) -> Entries:
        """As many entries as the honest ones."""
        keys = rng.integers(-127, 128, entries.keys.shape).astype(entries.keys.dtype)
        return replace(entries, keys=keys, values=self.inflated(len(entries)))


class flood_memory(_MemoryAttack):
    """20 SCALE times as many entries as it has, next to the true keys, with inflated values."""

    def shares(self, entries: Entries, rng: np.random.Generator) -> Entries:
        """The honest entries many times over, each key moved a little."""
        times = max(1, int(FLOOD * self.scale))
        if not len(entries):
            return entries
        rows = np.tile(np.arange(len(entries)), times)[:FLOOD_ENTRIES_MAX]
        near = entries.keys[rows].astype(np.int16) + rng.integers(-2, 3, (len(rows), 1))
        keys = np.clip(near, -127, 127).astype(entries.keys.dtype)
        payload = entries.payload[rows]
        return replace(entries, keys=keys, values=self.inflated(len(rows)), payload=payload)


class _Changed(ComputeShell):
    def __init__(self, inner: Compute, change: Change) -> None:
        super().__init__(inner)
        self._change = change

    async def start_worker(
        self, workload: str, config: Mapping[str, Any], seed: int, shard: Shard = WHOLE
    ) -> Worker:
        worker = await self.inner.start_worker(workload, config, seed, shard)
        return _Sharing(worker, self._change)


class _Sharing(WorkerShell):
    def __init__(self, inner: Worker, change: Change) -> None:
        super().__init__(inner)
        self._change = change

    async def advance(self, request: AdvanceRequest) -> AdvanceReply:
        """As the inner one, but for what is shared."""
        reply = await self.inner.advance(request)
        return replace(reply, entries=self._change(reply.entries))
