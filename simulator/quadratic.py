"""A workload whose optimum is known: each step descends a noisy quadratic. For simulations.

loss(x) = mean((x - target)^2) / 2 with a target drawn from the seed; a step's gradient has normal
noise drawn by (data_seed, step), so peers differ and every step replays.
"""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from node.ports import FloatVector
from workloads.api import TrainResult, WorkloadError, step_rng


class QuadraticWorkload:
    """Implements ``workloads.api.Workload``.

    Args:
        config: ``dimensions`` (default 100), ``noise`` (default 0.1), ``lr`` (default 0.1).
        seed: draws the target.
        device: ignored; there is no tensor.
    """

    def __init__(self, config: Mapping[str, Any], seed: int, device: str = "cpu") -> None:
        known = {"dimensions": 100, "noise": 0.1, "lr": 0.1}
        if unknown := set(config) - set(known):
            raise WorkloadError(f"quadratic: unknown settings {sorted(unknown)}")
        values = known | dict(config)
        self._d = int(values["dimensions"])
        self._noise = float(values["noise"])
        self._lr = float(values["lr"])
        self._target = np.random.default_rng(seed).standard_normal(self._d).astype(np.float32)
        self._x: FloatVector = np.zeros(self._d, np.float32)

    @property
    def shapes(self) -> Sequence[tuple[str, tuple[int, ...]]]:
        """One vector."""
        return [("x", (self._d,))]

    def initial(self) -> FloatVector:
        """Zero."""
        return np.zeros(self._d, np.float32)

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
        clock: Callable[[], float],
    ) -> TrainResult:
        """Noisy gradient steps; the deadline never comes."""
        if not continued:
            self._x = params.copy()
        losses = []
        for step in range(steps):
            noise = step_rng(data_seed, step).standard_normal(self._d).astype(np.float32)
            gradient = self._x - self._target + np.float32(self._noise) * noise
            losses.append(float(np.mean((self._x - self._target) ** 2) / 2))
            self._x = (self._x - np.float32(self._lr) * gradient).astype(np.float32)
        return TrainResult(params - self._x, steps, float(np.mean(losses)))

    def evaluate(self, params: FloatVector) -> dict[str, float]:
        """Distance to the optimum."""
        return {"loss": float(np.mean((params - self._target) ** 2) / 2)}

    def artifacts(self, params: FloatVector, folder: Path) -> list[Path]:
        """Nothing worth seeing."""
        return []

    def reset(self) -> None:
        """No inner optimizer."""
