"""A progress bar on stderr, for people: it is not there with ``--json`` or in a pipe."""

import sys
from collections.abc import Mapping
from time import perf_counter
from types import TracebackType
from typing import Self

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

from simulator.hub import Watcher
from simulator.report.spans import spans

REFRESH_S = 0.1
"""Real time between two drawings."""


class Bar:
    """One bar. A context; does nothing if it is not shown.

    It draws when it is told something, from the caller's thread: a simulation starts no thread.

    Args:
        title: what runs.
        total: of the units of ``tell``.
        shown: False: draw nothing, as where stderr is not a terminal.
    """

    def __init__(self, title: str, total: int, *, shown: bool = True) -> None:
        self._progress = Progress(
            TextColumn("{task.description}", markup=False),
            BarColumn(),
            TextColumn("{task.completed}/{task.total}"),
            TextColumn("{task.fields[note]}", markup=False),
            TimeElapsedColumn(),
            console=Console(stderr=True, markup=False, highlight=False, emoji=False),
            auto_refresh=False,
            transient=True,
            disable=not (shown and sys.stderr.isatty()),
        )
        self._task = self._progress.add_task(title, total=total, note="")
        self._drawn_s = 0.0

    def __enter__(self) -> Self:
        self._progress.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._progress.stop()

    def tell(self, completed: int, note: str) -> None:
        """Draw, if it is time to."""
        if self._progress.disable or perf_counter() - self._drawn_s < REFRESH_S:
            return
        self._drawn_s = perf_counter()
        self._progress.update(self._task, completed=completed, note=note)
        self._progress.refresh()


class RunProgress(Watcher):
    """Shows how far a run is: rounds, virtual time, faults that are on, nodes that are down.

    Args:
        bar: counts rounds.
    """

    def __init__(self, bar: Bar) -> None:
        self._bar = bar
        self._round = 0
        self._faults: list[tuple[float, str]] = []
        self._down: dict[int, None] = {}

    def life(self, at_s: float, node: int, what: str) -> None:
        """A node comes or goes."""
        if what == "start":
            self._down.pop(node, None)
        else:
            self._down[node] = None
        self._tell(at_s)

    def phase(self, at_s: float, node: int, phase: str, round_: int) -> None:
        """Time passes."""
        self._tell(at_s)

    def event(self, at_s: float, node: int, event: str, fields: Mapping[str, object]) -> None:
        """A round may be over."""
        round_ = fields.get("round")
        if event == "round_certified" and isinstance(round_, int):
            self._round = max(self._round, round_)
        self._tell(at_s)

    def fault(self, at_s: float, what: str) -> None:
        """A fault begins or ends."""
        self._faults.append((at_s, what))
        self._tell(at_s)

    def _tell(self, at_s: float) -> None:
        parts = [f"{at_s:.1f} virtual s"]
        if on := sum(span.to_s is None for span in spans(self._faults)):
            parts.append(f"faults: {on}")
        if self._down:
            parts.append(f"down: {len(self._down)}")
        self._bar.tell(self._round, ", ".join(parts))
