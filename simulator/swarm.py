"""Runs many seeds over processes: one that crashes or hangs is that seed's failure, not the run's.

Workers are fresh processes that live for many seeds, and end with their parent however it ends.
Ctrl-C is the parent's.
"""

import os
import signal
import traceback
from collections import deque
from collections.abc import Callable, Generator, Iterable
from dataclasses import dataclass
from multiprocessing import connection, get_context, resource_tracker
from multiprocessing.connection import Connection
from time import perf_counter
from typing import Any

from node.adapters.process_tree import die_with_parent
from simulator.drawing.generate import draw
from simulator.invariants import Violation
from simulator.run import Outcome, run_scenario
from simulator.scenario import Scenario, load_scenario

SEED_S_MAX = 300.0
"""Real seconds that one seed may take."""
JOIN_S = 5.0

Case = tuple[str | None, int]
"""Named scenario (or a file), None for the drawn one; seed."""
Play = Callable[[Scenario, int], Outcome]


def scenario_of(case: Case) -> Scenario:
    """What a case plays."""
    name, seed = case
    return draw(seed) if name is None else load_scenario(name)


def replay_command(case: Case) -> str:
    """The line that gives the same run again."""
    name, seed = case
    return (
        f"artel sim replay --seed {seed}" if name is None else f"artel sim run {name} --seed {seed}"
    )


@dataclass(frozen=True)
class Result:
    """One seed's end."""

    case: Case
    outcome: Outcome

    @property
    def command(self) -> str:
        """Replays it."""
        return replay_command(self.case)


def swarm(
    cases: Iterable[Case],
    *,
    jobs: int = 2,
    minutes: float | None = None,
    seed_s_max: float = SEED_S_MAX,
    play: Play = run_scenario,
) -> Generator[Result, None, None]:
    """Run cases and yield results as they come. Closing the iterator ends all workers.

    Args:
        cases: may be endless, if ``minutes`` is given.
        jobs: worker processes.
        minutes: no new seed is begun after that.
        seed_s_max: real seconds after which a seed has failed.
        play: a function of a module, which the workers import.
    """
    todo = iter(cases)
    until = perf_counter() + 60 * minutes if minutes is not None else float("inf")
    idle = deque(_Worker(play) for _ in range(jobs))
    busy: list[_Worker] = []
    try:
        while True:
            while idle and perf_counter() < until:
                case = next(todo, None)
                if case is None:
                    until = 0.0
                    break
                worker = idle.popleft()
                worker.begin(case, seed_s_max)
                busy.append(worker)
            if not busy:
                return
            wait_s = max(0.0, min(w.end_s for w in busy) - perf_counter())
            connection.wait([w.pipe for w in busy], timeout=wait_s)
            for worker in list(busy):
                result = worker.result()
                if result is not None:
                    busy.remove(worker)
                    idle.append(worker)
                    yield result
    finally:
        for worker in (*busy, *idle):
            worker.end()


class _Worker:
    """A process that plays one case after the other; started when it is first needed."""

    def __init__(self, play: Play) -> None:
        self._play = play
        self._process: Any = None
        self.pipe: Connection
        self.case: Case = (None, 0)
        self.end_s = 0.0

    def begin(self, case: Case, seed_s_max: float) -> None:
        if self._process is not None and not self._process.is_alive():
            self.end()
        if self._process is None:
            context = get_context("spawn")
            self.pipe, theirs = context.Pipe()
            self._process = context.Process(
                target=_work, args=(theirs, self._play, os.getpid()), daemon=True
            )
            resource_tracker.ensure_running()  # else its own start would unblock the signal
            before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
            try:
                self._process.start()  # with Ctrl-C blocked, also while it imports
            finally:
                signal.pthread_sigmask(signal.SIG_SETMASK, before)
            theirs.close()
        self.case, self.end_s = case, perf_counter() + seed_s_max
        self.pipe.send(case)

    def result(self) -> Result | None:
        """What came of the case, if it is over; a worker that failed it is replaced."""
        case = self.case
        if self.pipe.poll():
            try:
                return Result(case, self.pipe.recv())
            except EOFError:
                self._process.join(JOIN_S)
                text = f"the process that ran it died with exit code {self._process.exitcode}"
        elif perf_counter() < self.end_s:
            return None
        else:
            text = "it hangs: the seed took longer than it may in real time"
        self.end()
        return Result(case, _failed(case, text))

    def end(self) -> None:
        """Kill the process and wait for it."""
        if self._process is not None:
            self._process.kill()
            self._process.join(JOIN_S)
            self._process.close()
            self.pipe.close()
            self._process = None


def _work(pipe: Connection, play: Play, parent: int) -> None:
    """The life of a worker."""
    die_with_parent(parent)
    while True:
        try:
            case = pipe.recv()
        except EOFError:
            return
        try:
            outcome = play(scenario_of(case), case[1])
        except Exception:
            outcome = _failed(case, traceback.format_exc())
        try:
            pipe.send(outcome)
        except BrokenPipeError:
            return


def _failed(case: Case, text: str) -> Outcome:
    name, seed = case
    return Outcome(name or f"seed-{seed}", seed, violations=[Violation(0.0, "no_crash", text)])
