"""Logistic regression on synthetic data, with the optimum known: loss and error are exact.

F(w) = mean over samples of log(1 + exp(-y <x, w>)) + l2/2 |w|^2, minibatches drawn evenly from the
whole set. Its optimum is found once, by Newton's method.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
import numpy.typing as npt
from pydantic import Field, model_validator

from node.config import Settings
from node.ports import FloatVector
from simulator.workloads.descent import Descent, Objective, read_settings
from workloads.api import WorkloadError

DoubleArray = npt.NDArray[np.float64]

VALUES_MAX = 1 << 20
"""Samples times features, to bound memory and the search for the optimum."""
NEWTON_STEPS_MAX = 100
GRADIENT_MAX = 1e-10
"""Norm of the gradient at which a point is the optimum; it is about 1 at the start."""


class LogisticConfig(Settings):
    """The ``[workload]`` table."""

    samples: int = Field(default=1000, ge=2, le=1 << 20)
    features: int = Field(default=20, ge=1, le=1024)
    """Without the intercept, which is the last weight."""
    condition: float = Field(default=1.0, ge=1.0, le=1e6)
    """Largest variance of a feature over the smallest."""
    positive: float = Field(default=0.5, ge=0.01, le=0.99)
    """Share of the positive class before noise."""
    label_noise: float = Field(default=0.05, ge=0.0, le=0.5)
    """Share of the labels that are flipped for everybody."""
    l2: float = Field(default=0.01, ge=1e-6, le=10.0)
    """Regulariser, and so the strong convexity of the loss."""
    batch: int = Field(default=32, ge=1, le=1 << 16)
    """Samples of one step."""
    heterogeneity: float = Field(default=0.0, ge=0.0, le=1.0)
    """Chance that a sample comes from the class that the peer favours in this round, instead of
    from all. Classes are favoured as often as they occur, so nothing shifts in the mean."""
    lr: float = Field(default=0.3, gt=0.0, lt=10.0)
    """Length of a step; features are scaled so that the loss without l2 has smoothness about 1."""
    flip: bool = False
    """Train on flipped labels."""

    @model_validator(mode="after")
    def _small(self) -> "LogisticConfig":
        if self.samples * self.features > VALUES_MAX:
            raise ValueError(f"samples * features must be at most {VALUES_MAX}")
        return self


class LogisticWorkload(Descent):
    """Implements ``workloads.api.Workload``.

    Args:
        config: as ``LogisticConfig``.
        seed: draws the data.
        device: ignored; there is no tensor.

    Raises:
        WorkloadError: the config is refused, or its optimum cannot be found.
    """

    def __init__(self, config: Mapping[str, Any], seed: int, device: str = "cpu") -> None:
        c = self._config = read_settings(LogisticConfig, config, "logistic")
        self._problem = _problem(c.model_copy(update={"flip": False, "lr": 1.0}), seed)
        super().__init__(self._problem.optimum.astype(np.float32), c.lr)
        self._l2 = np.float32(c.l2)
        self._labels = 1 - self._problem.labels if c.flip else self._problem.labels

    def _draw(self, rng: np.random.Generator) -> Objective:
        c, x = self._config, self._problem.x
        favoured = np.arange(len(x))
        if c.heterogeneity:
            classes = self._problem.labels
            favoured = np.flatnonzero(classes == classes[int(rng.integers(len(x)))])

        def objective(w: FloatVector) -> tuple[float, FloatVector]:
            which, where = rng.random((2, c.batch))
            drawn = (where * len(x)).astype(np.intp)
            if c.heterogeneity:
                own = favoured[(where * len(favoured)).astype(np.intp)]
                drawn = np.where(which < c.heterogeneity, own, drawn)
            rows, labels = x[drawn], self._labels[drawn]
            # einsum and not a product by BLAS, whose bits change with the number of threads.
            z = np.einsum("bd,d->b", rows, w)
            off = (_sigmoid(z) - labels) / np.float32(c.batch)
            gradient = np.einsum("bd,b->d", rows, off) + self._l2 * w
            squares = float(np.einsum("d,d->", w, w))
            loss = float(np.mean(np.logaddexp(0, z) - labels * z))
            return loss + c.l2 / 2 * squares, gradient

        return objective

    def _metrics(self, params: FloatVector) -> dict[str, float]:
        problem, w = self._problem, params.astype(np.float64)
        right = (np.einsum("nd,d->n", problem.x, w) > 0) == (problem.labels > 0)
        loss = problem.loss(w) - problem.loss(problem.optimum)
        return {"loss": loss, "accuracy": float(np.mean(right))}


def _sigmoid(z: Any) -> Any:
    return 1 / (1 + np.exp(-z))


@dataclass(frozen=True)
class Problem:
    """The data of one job; workloads of one process share it, so it must not be changed."""

    x: FloatVector
    """Shape [samples, features + 1]; the last column is 1."""
    labels: FloatVector
    """0 or 1. Shape [samples]."""
    l2: float
    optimum: DoubleArray
    """Where ``loss`` is least, to the precision of float32. Shape [features + 1]."""

    def loss(self, w: DoubleArray) -> float:
        """F(w)."""
        return compute_loss(self.x, self.labels, self.l2, w)


@lru_cache(maxsize=8)
def _problem(config: LogisticConfig, seed: int) -> Problem:
    rng = np.random.default_rng(seed)
    n, d = config.samples, config.features
    deviation = np.logspace(0.0, -0.5 * np.log10(config.condition), d)
    # The covariance's norm is near (1 + sqrt(d/n))^2 (Marchenko and Pastur 1967), and the loss has
    # a quarter of it as its smoothness.
    x = rng.standard_normal((n, d)) * rng.permutation(deviation) * 2 / (1 + np.sqrt(d / n))
    score = np.einsum("nd,d->n", x, rng.standard_normal(d))
    classes = score > np.quantile(score, 1 - config.positive)
    labels = (classes ^ (rng.random(n) < config.label_noise)).astype(np.float32)
    rows = np.column_stack([x, np.ones(n)]).astype(np.float32)
    # Rounded, so that the last bits of the solver, which its threads may change, are not seen.
    optimum = find_optimum(rows, labels, config.l2).astype(np.float32).astype(np.float64)
    for array in (rows, labels, optimum):
        array.setflags(write=False)
    return Problem(rows, labels, config.l2, optimum)


def compute_loss(x: FloatVector, labels: FloatVector, l2: float, w: DoubleArray) -> float:
    """F(w). Shapes [n, d], [n], (), [d]."""
    z = np.einsum("nd,d->n", x, w)
    return float(np.mean(np.logaddexp(0, z) - labels * z) + l2 / 2 * np.add.reduce(w * w))


def find_optimum(x: FloatVector, labels: FloatVector, l2: float) -> DoubleArray:
    """Where F is least, by Newton's method with backtracking. Shapes [n, d], [n], () -> [d].

    Raises:
        WorkloadError: it is not found after NEWTON_STEPS_MAX steps.

    Source:
        Boyd and Vandenberghe 2004, "Convex optimization", algorithm 9.5.
    """
    n, d = x.shape
    rows = x.astype(np.float64)
    w = np.zeros(d)
    for _ in range(NEWTON_STEPS_MAX):
        p = _sigmoid(rows @ w)
        gradient = rows.T @ (p - labels) / n + l2 * w
        if np.linalg.norm(gradient) <= GRADIENT_MAX:
            return w
        hessian = rows.T @ (rows * (p * (1 - p))[:, None]) / n + l2 * np.eye(d)
        step = np.linalg.solve(hessian, gradient)
        size, here = 1.0, compute_loss(x, labels, l2, w)
        # Half of the predicted decrease would be missed by rounding alone near the optimum.
        while size > 1e-6 and compute_loss(x, labels, l2, w - size * step) > here + 1e-15:
            size /= 2
        w = w - size * step
    raise WorkloadError("workload logistic: no optimum was found: choose a larger l2")
