"""One's own first update for ever: work done once, claimed every round."""

from node.ports import FloatVector
from simulator.attacks.base import Attack


class stale(Attack):
    """Replays the update of the first round that it takes part in.

    Source: Gorbunov et al. 2022, arXiv:2106.11257 (BTARD), "delayed gradients".
    """

    def __init__(self, *, scale: float, seed: int) -> None:
        super().__init__(scale=scale, seed=seed)
        self._first: FloatVector | None = None

    def update(self, round_: int, update: FloatVector) -> FloatVector:
        """The first update that this was called with."""
        if self._first is None:
            self._first = update.copy()
        return self._first.copy()
