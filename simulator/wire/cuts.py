"""Which ways between hosts are cut, and what waits for that to end.

A cut is silence: no packet passes, nobody is told. It is told apart from loss, which a stream
outlives call by call, and from a reset, which both ends learn of.
"""

from collections.abc import Callable, Collection
from typing import TYPE_CHECKING

from node.types import PeerId

if TYPE_CHECKING:
    from simulator.wire.links import Path


class Cuts:
    """Which ways let nothing pass, and what waits for that to end.

    Cuts pile up: a way is open when the last cut that covers it was undone.
    """

    def __init__(self) -> None:
        self.version = 0
        """Changes with every change."""
        self._cuts: list[tuple[frozenset[PeerId], frozenset[PeerId]]] = []
        self._held: list[tuple[Path, Callable[[], object]]] = []

    @property
    def active(self) -> bool:
        """Is anything cut?"""
        return bool(self._cuts)

    def add(self, sources: Collection[PeerId], targets: Collection[PeerId]) -> None:
        """Let nothing pass from ``sources`` to ``targets``."""
        self._cuts.append((frozenset(sources), frozenset(targets)))
        self.version += 1

    def remove(self, sources: Collection[PeerId], targets: Collection[PeerId]) -> None:
        """Undo one cut of exactly these; nothing happens if there is none (any more)."""
        cut = (frozenset(sources), frozenset(targets))
        if cut in self._cuts:
            self._cuts.remove(cut)
            self._release()

    def clear(self) -> None:
        """Undo all."""
        self._cuts.clear()
        self._release()

    def covers(self, source: PeerId, target: PeerId) -> bool:
        """Is the way from ``source`` to ``target`` cut?"""
        return source != target and any(source in s and target in t for s, t in self._cuts)

    def hold(self, path: "Path", act: Callable[[], object]) -> None:
        """Call ``act`` once ``path`` is open, in the order of the calls."""
        self._held.append((path, act))

    def _release(self) -> None:
        self.version += 1
        held, self._held = self._held, []
        for path, act in held:
            if path.is_cut:
                self._held.append((path, act))
            else:
                act()
