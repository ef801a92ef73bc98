"""Which action: the best estimate, with hope for what is untried and a bonus for what is far."""

import numpy as np
import numpy.typing as npt

from workloads.recall.index import Floats
from workloads.recall.retrieval import Estimates

HOPE = np.float32(1e6)
"""Value of an action that nobody remembers.

Source: nait.md 1, the predecessor's constant."""


class Explorer:
    """Scale of the distance bonus: running means of distances and of absolute returns.

    The bonus of action a is beta * (mean distance of its neighbours / running mean of that of the
    actions taken) * running mean of the absolute estimate of the actions taken. Ours: the paper's
    form is not known to us.

    Args:
        beta: 0: no bonus.
    """

    PACE = 1e-3

    def __init__(self, beta: float) -> None:
        self.beta = beta
        self.state = np.zeros(2)

    def bonus(self, distance: Floats) -> npt.NDArray[np.float64]:
        """Of every action, from the mean distances of their neighbours. Shape [actions]."""
        mean_distance, mean_value = self.state
        if mean_distance <= 0:
            return np.zeros(len(distance))
        return self.beta * mean_value * np.where(np.isfinite(distance), distance, 0) / mean_distance

    def observe(self, distance: float, value: float) -> None:
        """Of the action taken."""
        if np.isfinite(distance) and np.isfinite(value):
            self.state += self.PACE * (np.array([distance, abs(value)]) - self.state)


def choose(estimates: Estimates, explorer: Explorer, rng: np.random.Generator) -> int:
    """The action of the highest value; ties are drawn evenly."""
    values = np.where(np.isnan(estimates.value), HOPE, estimates.value)
    if explorer.beta > 0:
        values = values + explorer.bonus(estimates.distance)
    best = np.flatnonzero(values == values.max())
    action = int(best[0] if len(best) == 1 else best[rng.integers(len(best))])
    if explorer.beta > 0:
        explorer.observe(float(estimates.distance[action]), float(estimates.value[action]))
    return action
