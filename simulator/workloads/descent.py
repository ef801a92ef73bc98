"""Plain local gradient descent, shared by the workloads whose optimum is known."""

import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import numpy.typing as npt

from node.config import Settings, build
from node.errors import ConfigError
from workloads.api import Clock, FloatVector, TrainResult, WorkloadError, step_rng

C = TypeVar("C", bound=Settings)
Objective = Callable[[FloatVector], tuple[float, FloatVector]]
"""Point -> (loss, gradient) on fresh data. Shape [d] -> (), [d]."""


def read_settings(model: type[C], config: Mapping[str, Any], workload: str) -> C:
    """The ``[workload]`` table as a model.

    Raises:
        WorkloadError: one sentence for each thing to change.
    """
    try:
        return build(model, config, f"workload {workload}")
    except ConfigError as error:
        raise WorkloadError(str(error)) from None


def compute_norm(vector: npt.NDArray[np.float64]) -> float:
    """Euclidean norm. Shape [d].

    Not by BLAS: its bits change with the number of threads, and metrics are in traces.
    """
    return math.sqrt(float(np.add.reduce(vector * vector)))


class Descent(ABC):
    """All of ``workloads.api.Workload`` but the function that is descended. It starts at zero.

    Args:
        optimum: where the function is least. Shape [d].
        lr: length of a step, per unit of gradient.
    """

    def __init__(self, optimum: FloatVector, lr: float) -> None:
        self._optimum = optimum
        self._far = compute_norm(optimum.astype(np.float64))
        self._lr = np.float32(lr)
        self._x: FloatVector = np.zeros_like(optimum)

    @abstractmethod
    def _draw(self, rng: np.random.Generator) -> Objective:
        """What one peer descends in one round; each call of it draws one step's data."""

    @abstractmethod
    def _metrics(self, params: FloatVector) -> dict[str, float]:
        """``loss``, the excess over the optimum, and what else there is to say."""

    @property
    def shapes(self) -> Sequence[tuple[str, tuple[int, ...]]]:
        """One vector."""
        return [("x", self._optimum.shape)]

    def initial(self) -> FloatVector:
        """Zero."""
        return np.zeros_like(self._optimum)

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
        """Local steps; see ``workloads.api.Workload.train``.

        Step ``k`` uses the k-th draw of the generator of step 0, which is as replayable as a
        generator for each step, and costs half. A replica that leaves the finite numbers gives an
        update of zero.
        """
        self._check(params)
        if steps < 1:
            raise WorkloadError(f"{steps} steps cannot be trained: ask for at least 1")
        start_s = clock()
        if not continued:
            self._x = params.copy()
        objective = self._draw(step_rng(data_seed, 0))
        losses: list[float] = []
        with np.errstate(over="ignore", invalid="ignore"):
            for _ in range(steps):
                loss, gradient = objective(self._x)
                self._x -= self._lr * gradient
                losses.append(loss)
                if clock() - start_s >= deadline_s and 4 * len(losses) >= steps:
                    break
            update = params - self._x
            update *= np.float32(steps / len(losses))
        if not np.isfinite(update).all():
            self._x = params.copy()
            return TrainResult(np.zeros_like(params), len(losses), math.nan)
        return TrainResult(update, len(losses), math.fsum(losses) / len(losses))

    def evaluate(self, params: FloatVector) -> dict[str, float]:
        """``loss``: excess over the optimum, 0 at best; ``error``: distance to it, 1 at the start.

        Those of a spoilt model may be infinite or NaN.
        """
        self._check(params)
        with np.errstate(over="ignore", invalid="ignore"):
            away = params.astype(np.float64) - self._optimum
            return {**self._metrics(params), "error": compute_norm(away) / self._far}

    def artifacts(self, params: FloatVector, folder: Path) -> list[Path]:
        """Nothing worth seeing."""
        return []

    def reset(self) -> None:  # noqa: B027 (nothing is what every workload here does)
        """No inner optimizer."""

    def local_state(self) -> bytes:
        """No inner optimizer; see ``workloads.api.Replayable``."""
        return b""

    def load_local_state(self, data: bytes) -> None:
        """Take over nothing.

        Raises:
            WorkloadError: there is something.
        """
        if data:
            raise WorkloadError(f"plain descent has no local state, but {len(data)} bytes came")

    def _check(self, params: FloatVector) -> None:
        d = len(self._optimum)
        if params.shape != (d,) or params.dtype != np.float32:
            raise WorkloadError(
                f"parameters are {params.dtype}{list(params.shape)}, this job needs "
                f"float32[{d}]: they belong to another job"
            )
