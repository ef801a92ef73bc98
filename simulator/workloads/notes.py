"""A workload that shares a memory and learns nothing: what is left is the shared memory itself.

Every step writes one note, a random key with a value that tells its author's count; all that others
wrote is kept too. For tests and simulations of memory, not for learning.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from workloads.api import (
    Advance,
    Clock,
    Entries,
    FloatVector,
    MemoryForm,
    TrainResult,
    WorkloadError,
)

KEY_DIMS = 8
ENTRIES_MAX = 10**7


class NotesWorkload:
    """Implements ``workloads.api.Workload``, ``Remembers`` and ``Sharded``.

    Args:
        config: ``entries_per_author``, 4 to ENTRIES_MAX (default 100,000), and ``notes_max``: so
            many own notes and no more, 1 to ENTRIES_MAX (default: ENTRIES_MAX).
        seed: ignored: the draws come from ``start``.
        device: ignored; there is no tensor.
    """

    def __init__(self, config: Mapping[str, Any], seed: int, device: str = "cpu") -> None:
        if unknown := set(config) - {"entries_per_author", "notes_max"}:
            raise WorkloadError(f"notes: unknown settings {sorted(unknown)}")
        self._quota = _count(config, "entries_per_author", 4, 100_000)
        self._notes_max = _count(config, "notes_max", 1, ENTRIES_MAX)
        self._rng = np.random.default_rng(0)
        self.seeds: list[bytes] = []
        """Of ``start``."""
        self.part = (0, 0)
        """As ``shard`` was told."""
        self.written = 0
        """Own notes of all lives."""
        self.heard: dict[str, list[float]] = {}
        """Author -> values of its notes, in the order in which they came."""

    @property
    def shapes(self) -> Sequence[tuple[str, tuple[int, ...]]]:
        """One number: how many notes a node wrote."""
        return [("written", (1,))]

    def initial(self) -> FloatVector:
        """None yet. Shape [1]."""
        return np.zeros(1, np.float32)

    def train(
        self,
        params: FloatVector,
        *,
        round_: int,
        rounds: int,
        data_seed: bytes,
        steps: int,
        deadline_s: float,
        continued: bool,
        clock: Clock,
    ) -> TrainResult:
        """Take no step."""
        return TrainResult(params - np.float32(self.written), steps, 0.0)

    def evaluate(self, params: FloatVector) -> dict[str, float]:
        """``written`` here, and ``heard`` of others."""
        return {"written": float(self.written), "heard": float(sum(map(len, self.heard.values())))}

    def artifacts(self, params: FloatVector, folder: Path) -> list[Path]:
        """Nothing."""
        return []

    def reset(self) -> None:
        """There is no optimiser."""

    @property
    def memory(self) -> MemoryForm:
        """Small keys and a payload of two bytes."""
        return MemoryForm(KEY_DIMS, "int8", 2, self._quota)

    def shard(self, index: int, count: int) -> None:
        """Note it."""
        self.part = index, count

    def start(self, data_seed: bytes) -> None:
        """Draw keys from this seed."""
        self.seeds.append(data_seed)
        self._rng = np.random.default_rng(list(data_seed))

    def advance(self, steps_max: int, deadline_s: float, clock: Clock) -> Advance:
        """Write ``steps_max`` notes, or as many as the deadline and the config allow."""
        start_s, count = clock(), 0
        steps = min(steps_max, self._notes_max - self.written)
        while count < steps:
            count += 1
            if clock() - start_s >= deadline_s:
                break
        numbers = self.written + np.arange(count)
        self.written += count
        keys = self._rng.integers(-127, 128, (count, KEY_DIMS)).astype(np.int8)
        payload = np.stack([numbers % 256, numbers // 256 % 256], axis=1).astype(np.uint8)
        entries = Entries(keys, numbers.astype(np.float32), payload)
        return Advance(count, entries, waiting=self.written >= self._notes_max)

    def absorb(self, author: str, entries: Entries) -> None:
        """Keep the values; own ones of an earlier life go on being counted."""
        if author:
            self.heard.setdefault(author, []).extend(entries.values.tolist())
        else:
            self.written = max(self.written, int(entries.values.max()) + 1)

    def forget(self, author: str) -> None:
        """Drop an author's notes."""
        self.heard.pop(author, None)


def _count(config: Mapping[str, Any], name: str, least: int, default: int) -> int:
    count = config.get(name, default)
    if not isinstance(count, int) or not least <= count <= ENTRIES_MAX:
        raise WorkloadError(f"notes: {name} = {count!r}: {least} to {ENTRIES_MAX}")
    return count
