"""What a mutant is, how it is planted and taken out again, and how it is hunted."""

import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, field
from typing import Any

from simulator.hub import Watcher
from simulator.invariants import Violation
from simulator.run import run_scenario
from simulator.scenario import Scenario
from simulator.world import World

Maker = Callable[[World], Watcher]


@dataclass(frozen=True)
class Mutant:
    """One realistic bug.

    Attributes:
        name: as ``hunt.py --only`` takes it.
        about: the bug, in a sentence.
        expects: invariants of which at least one must fail.
        plant: puts the bug into the node, and takes it out again.
        scenario: a short run that shows it, where drawn seeds take long or cannot.
        watchers: what the scenario needs besides (an ambush, a liar of its own).
        only_own: why drawn seeds cannot show it; then they are not tried.
    """

    name: str
    about: str
    expects: tuple[str, ...]
    plant: Callable[[], AbstractContextManager[object]]
    scenario: Scenario
    watchers: tuple[Maker, ...] = field(default=())
    only_own: str = ""


@contextmanager
def swap(owner: Any, name: str, wrong: object) -> Iterator[None]:
    """Replace an attribute of a class or module while the context lasts."""
    right = owner.__dict__[name]
    setattr(owner, name, wrong)
    try:
        yield
    finally:
        setattr(owner, name, right)


@contextmanager
def swap_function(right: object, wrong: object) -> Iterator[None]:
    """Replace a function under every name by which the node's modules know it."""
    bound = [
        (module, name)
        for key, module in sorted(sys.modules.items())
        if key.startswith("node.") and module is not None
        for name, value in sorted(vars(module).items())
        if value is right
    ]
    assert bound, right
    for module, name in bound:
        setattr(module, name, wrong)
    try:
        yield
    finally:
        for module, name in bound:
            setattr(module, name, right)


class Found(BaseException):
    """A violation was reported: the rest of the run tells nothing."""


class StopAtFirst(Watcher):
    """Ends a run at its first violation."""

    def __init__(self, world: World) -> None:
        self._world = world
        self.violations: Sequence[Violation] = ()

    def _look(self) -> None:
        if not self.violations:
            found = next(w for w in self._world.hub.watchers if hasattr(w, "violations"))
            self.violations = found.violations
        if self.violations:
            raise Found

    def phase(self, *_: object) -> None:
        """Look."""
        self._look()

    def event(self, *_: object) -> None:
        """Look."""
        self._look()

    def sent(self, *_: object) -> None:
        """Look."""
        self._look()


def violations_of(scenario: Scenario, seed: int, watchers: Sequence[Maker]) -> list[Violation]:
    """What fails in a run, which ends at the first violation."""
    stops: list[StopAtFirst] = []

    def stop(world: World) -> StopAtFirst:
        stops.append(StopAtFirst(world))
        return stops[0]

    # What daemons share could hide a bug in one of them.
    scenario = scenario.model_copy(update={"memo": False})
    try:
        return run_scenario(scenario, seed, watchers=[*watchers, stop]).violations
    except BaseExceptionGroup as group:
        if group.subgroup(Found) is None:
            raise
        return list(stops[0].violations)


@dataclass(frozen=True)
class Catch:
    """How a mutant was found."""

    seed: int
    violation: Violation
    seconds: float


def hunt(
    mutant: Mutant, seeds: Sequence[int], draw: Callable[[int], Scenario] | None = None
) -> Catch | None:
    """Run seeds until an invariant that the mutant names fails; None: it was not found.

    Args:
        mutant: planted while the hunt lasts.
        seeds: tried in order.
        draw: makes the scenario of a seed; None: the mutant's own.
    """
    started = time.process_time()
    with mutant.plant():
        for seed in seeds:
            scenario = draw(seed) if draw else mutant.scenario
            watchers = () if draw else mutant.watchers
            for violation in violations_of(scenario, seed, watchers):
                if draw or violation.invariant in mutant.expects:
                    return Catch(seed, violation, time.process_time() - started)
    return None
