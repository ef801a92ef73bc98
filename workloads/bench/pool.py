"""Runs on all cores, with a bar; Ctrl-C lets each keep what it has played."""

import multiprocessing
import os
import signal
import sys
from collections.abc import Sequence
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess
from pathlib import Path

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from workloads.api import WorkloadError
from workloads.bench.runs import Run, perform

POLL_S = 0.5


class Pool:
    """Processes that play; at most ``jobs`` at once.

    Args:
        runs: In the order in which they begin.
        folder: Of checkpoints and results.
        jobs: Runs at once.
    """

    def __init__(self, runs: Sequence[Run], folder: Path, jobs: int) -> None:
        self._waiting = list(reversed(runs))
        self._folder = folder
        self._jobs = jobs
        self._steps = {run.name: 0 for run in runs}
        self._total = sum(run.steps for run in runs)
        self._running: dict[Connection, tuple[Run, BaseProcess]] = {}
        self._failed: list[str] = []

    def finish(self) -> bool:
        """Play all of them; False if Ctrl-C ended it before.

        Raises:
            WorkloadError: A run could not be played.
        """
        with _bar() as bar:
            task = bar.add_task("bench", total=self._total, note="")
            try:
                while (self._waiting and not self._failed) or self._running:
                    self._begin()
                    for ready in wait(list(self._running), POLL_S):
                        assert isinstance(ready, Connection)
                        note = self._hear(ready)
                        bar.update(task, completed=sum(self._steps.values()), note=note)
            except KeyboardInterrupt:
                self._stop()
                return False
        if self._failed:
            raise WorkloadError("; ".join(self._failed))
        return True

    def _begin(self) -> None:
        context = multiprocessing.get_context("spawn")
        while self._waiting and len(self._running) < self._jobs and not self._failed:
            run = self._waiting.pop()
            ours, theirs = context.Pipe(duplex=False)
            process = context.Process(target=perform, args=(run, self._folder, theirs))
            process.start()
            theirs.close()
            self._running[ours] = (run, process)

    def _hear(self, ready: Connection) -> str:
        """One message of a process, as a note."""
        run, process = self._running[ready]
        try:
            message = ready.recv()
        except EOFError:
            message = f"{run.name}: its process died with exit code {_ended(process)}"
        if isinstance(message, tuple):
            steps, score = message
            self._steps[run.name] = steps
            return f"{run.game} seed {run.seed}: {score:.1f}"
        process.join()
        del self._running[ready]
        ready.close()
        if message not in ("done", "stopped"):
            self._failed.append(message)
        return f"{run.name} {message}"

    def _stop(self) -> None:
        """Ask all to keep what they have, and wait until they did."""
        for _, process in self._running.values():
            if process.pid is not None and process.is_alive():
                os.kill(process.pid, signal.SIGTERM)
        for _, process in self._running.values():
            process.join()


def _ended(process: BaseProcess) -> int | None:
    process.join()
    return process.exitcode


def _bar() -> Progress:
    """On stderr, for people; nothing in a pipe."""
    return Progress(
        TextColumn("{task.description}", markup=False),
        BarColumn(),
        TextColumn("{task.completed:,.0f}/{task.total:,.0f} steps"),
        TextColumn("{task.fields[note]}", markup=False),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
        console=Console(stderr=True, markup=False, highlight=False, emoji=False),
        transient=True,
        disable=not sys.stderr.isatty(),
    )
