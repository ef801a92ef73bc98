"""A workload whose optimum is known: each step descends a noisy quadratic. For simulations.

loss(x) = mean over j of h_j (x_j - target_j)^2 / 2. Each peer and round has its own optimum, as
far from the target as ``heterogeneity`` says: the (G, B)-dissimilarity of Karimireddy et al. 2022,
arXiv:2006.09365, with B = 0 and G known. They are drawn like all data by (decision, peer), so they
are independent over peers and rounds, replayable, and zero in the mean.
"""

from collections.abc import Mapping
from typing import Annotated, Any

import numpy as np
from pydantic import Field

from node.config import Settings
from node.ports import FloatVector
from simulator.workloads.descent import Descent, Objective, read_settings

DIMENSIONS_MAX = 10**7
UNIFORM = 12.0**0.5
"""Width of a uniform distribution over its deviation."""
HALF = np.float32(0.5)
Scale = Annotated[float, Field(ge=0.0, le=1e6)]


class QuadraticConfig(Settings):
    """The ``[workload]`` table."""

    dimensions: int = Field(default=100, ge=1, le=DIMENSIONS_MAX)
    condition: float = Field(default=1.0, ge=1.0, le=1e9)
    """Largest curvature, which is 1, over the smallest; they are spread evenly in the logarithm."""
    noise: Scale = 0.1
    """Deviation of each coordinate of a step's gradient. Uniform, at a third of the cost of normal
    noise; the sum over a round's steps is as good as normal."""
    heterogeneity: Scale = 0.0
    """Deviation of each coordinate of a peer's own optimum from the target, whose own is 1."""
    lr: float = Field(default=0.1, gt=0.0, lt=2.0)
    """Length of a step; from 2 on, descent diverges."""
    flip: bool = False
    """Descend to the negated target, as who flips the labels does."""


class QuadraticWorkload(Descent):
    """Implements ``workloads.api.Workload``.

    Args:
        config: as ``QuadraticConfig``.
        seed: draws the target.
        device: ignored; there is no tensor.
    """

    def __init__(self, config: Mapping[str, Any], seed: int, device: str = "cpu") -> None:
        c = self._config = read_settings(QuadraticConfig, config, "quadratic")
        rng = np.random.default_rng(seed)
        super().__init__(rng.standard_normal(c.dimensions).astype(np.float32), c.lr)
        curvature = np.logspace(0.0, -np.log10(c.condition), c.dimensions)
        # Shuffled, so that each part of the vector has all curvatures.
        self._curvature = rng.permutation(curvature).astype(np.float32)

    def _draw(self, rng: np.random.Generator) -> Objective:
        d, spread = len(self._optimum), np.float32(UNIFORM * self._config.noise)
        own = -self._optimum if self._config.flip else self._optimum
        if self._config.heterogeneity:
            away = rng.standard_normal(d, dtype=np.float32)
            own = own + np.float32(self._config.heterogeneity) * away

        def objective(x: FloatVector) -> tuple[float, FloatVector]:
            away = x - own
            gradient = self._curvature * away
            loss = float(np.add.reduce(gradient * away)) / (2 * d)
            if spread:
                drawn = rng.random(d, dtype=np.float32)
                drawn -= HALF
                drawn *= spread
                gradient += drawn
            return loss, gradient

        return objective

    def _metrics(self, params: FloatVector) -> dict[str, float]:
        away = params.astype(np.float64) - self._optimum
        return {"loss": float(np.mean(self._curvature * away * away)) / 2}
