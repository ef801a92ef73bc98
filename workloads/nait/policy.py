"""Which action: the best estimate, with hope for what is untried and a bonus for what is far."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from workloads.recall.index import Floats, Ids
from workloads.recall.retrieval import Estimates

HOPE = np.float32(1e6)
"""Value of an action that nobody remembers.

Source: A. Long's model-free-episodic-control (2020), NAIT's predecessor; its constant."""


HOLD_MAX = 1000
"""Steps for which an action is held at most."""


class Policy:
    """The action of the highest value.

    *Ties* are drawn evenly, and what was drawn is held while it stays among the best, for a time
    drawn from the zeta distribution p(n) ~ n^-hold: where nothing is known yet, a random walk gets
    nowhere. Source: Dabney, Ostrovski, Barreto 2021, arXiv:2006.01782, for the distribution.

    *Bonus*: action a gets beta * (mean distance of its neighbours / running mean of that of the
    actions taken) * running mean of the absolute estimate of the actions taken. Both are ours: the
    paper's form of exploration is not known to us.

    Args:
        beta: 0: no bonus.
        hold: Exponent above 1; 0: ties are drawn anew at every step.
    """

    PACE = 1e-3

    def __init__(self, beta: float, hold: float) -> None:
        self._beta = beta
        self._hold = hold
        self._held = np.zeros(2, np.int64)  # the action, and for how many more steps
        self._means = np.zeros(2)  # of distance and of absolute value

    def choose(self, estimates: Estimates, rng: np.random.Generator) -> int:
        """An action, from the estimates of all."""
        values = np.where(np.isnan(estimates.value), HOPE, estimates.value)
        if self._beta > 0:
            values = values + self._bonus(estimates.distance)
        best = np.flatnonzero(values == values.max())
        if len(best) == 1:
            action, self._held[1] = int(best[0]), 0
        else:
            action = self._draw(best, rng)
        if self._beta > 0:
            self._observe(float(estimates.distance[action]), float(estimates.value[action]))
        return action

    def _draw(self, best: Ids, rng: np.random.Generator) -> int:
        action, left = self._held.tolist()
        if left > 0 and action in best:
            self._held[1] -= 1
            return int(action)
        action = int(best[rng.integers(len(best))])
        if self._hold > 0:
            self._held[:] = action, min(int(rng.zipf(self._hold)), HOLD_MAX) - 1
        return action

    def _bonus(self, distance: Floats) -> npt.NDArray[np.float64]:
        mean_distance, mean_value = self._means
        if mean_distance <= 0:
            return np.zeros(len(distance))
        scale = self._beta * mean_value / mean_distance
        return scale * np.where(np.isfinite(distance), distance, 0.0)

    def _observe(self, distance: float, value: float) -> None:
        if np.isfinite(distance) and np.isfinite(value):
            self._means += self.PACE * (np.array([distance, abs(value)]) - self._means)

    def dump(self) -> dict[str, npt.NDArray[Any]]:
        """All state as arrays."""
        return {"held": self._held, "means": self._means}

    def load(self, state: Mapping[str, npt.NDArray[Any]]) -> None:
        """Take over what ``dump`` gave."""
        self._held, self._means = state["held"].copy(), state["means"].copy()
