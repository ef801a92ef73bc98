"""A workload whose training costs no work: what is left of a round is Artel itself.

Every update is the same pseudo-random vector, drawn once from the seed. For benchmarks of the
exchange, not for learning.
"""

import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from workloads.api import Clock, FloatVector, TrainResult, WorkloadError

DIMENSIONS_MAX = 10**9
PAUSE_S_MAX = 60.0


class IdleWorkload:
    """Implements ``workloads.api.Workload``.

    Args:
        config: ``dimensions``, 1 to DIMENSIONS_MAX (default 1000); ``pause_s``: how long training
            waits, 0 (the default) to PAUSE_S_MAX.
        seed: draws the update.
        device: ignored; there is no tensor.
    """

    def __init__(self, config: Mapping[str, Any], seed: int, device: str = "cpu") -> None:
        if unknown := set(config) - {"dimensions", "pause_s"}:
            raise WorkloadError(f"idle: unknown settings {sorted(unknown)}")
        d, pause_s = config.get("dimensions", 1000), config.get("pause_s", 0.0)
        if not isinstance(d, int) or not 1 <= d <= DIMENSIONS_MAX:
            raise WorkloadError(f"idle: dimensions = {d!r} is not from 1 to {DIMENSIONS_MAX}")
        if not isinstance(pause_s, int | float) or not 0 <= pause_s <= PAUSE_S_MAX:
            raise WorkloadError(f"idle: pause_s = {pause_s!r} is not from 0 to {PAUSE_S_MAX}")
        self._pause_s = pause_s
        rng = np.random.default_rng(seed)
        self._update = np.float32(0.01) * rng.standard_normal(d, dtype=np.float32)

    @property
    def shapes(self) -> Sequence[tuple[str, tuple[int, ...]]]:
        """One vector."""
        return [("x", self._update.shape)]

    def initial(self) -> FloatVector:
        """Zero."""
        return np.zeros_like(self._update)

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
        """The same update each time, after the pause."""
        if self._pause_s:
            time.sleep(self._pause_s)
        return TrainResult(self._update, steps, 0.0)

    def evaluate(self, params: FloatVector) -> dict[str, float]:
        """The first parameter: reading more would cost time."""
        return {"first": float(params[0])}

    def artifacts(self, params: FloatVector, folder: Path) -> list[Path]:
        """Nothing worth seeing."""
        return []

    def reset(self) -> None:
        """No inner optimizer."""
