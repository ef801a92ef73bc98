"""What must always hold, checked from outside the node."""

from dataclasses import dataclass
from typing import TYPE_CHECKING

from simulator.hub import Watcher

if TYPE_CHECKING:
    from simulator.world import World


@dataclass(frozen=True)
class Violation:
    """An invariant that did not hold."""

    at_s: float
    invariant: str
    """Its name, for example ``one_decision``."""
    text: str


class Invariants(Watcher):
    """Checks safety at every event; ``finish`` checks what can only be said at the end."""

    def __init__(self, world: "World") -> None:
        self._world = world
        self.violations: list[Violation] = []

    def finish(self, at_s: float) -> None:
        """The run is over."""
