"""An asyncio event loop whose clock is virtual: waiting costs no time, and order is repeatable.

Time moves only when every task waits, and then straight to the next timer. Threads, sockets and
sub-processes do not exist here; reaching for one is an error, not a silent real wait.
"""

import asyncio
import itertools
from collections.abc import Callable, Coroutine
from contextvars import Context
from typing import Any, NoReturn, TypeVar

import numpy as np

T = TypeVar("T")

# Timers closer than this fire together. It must exceed the spacing of floats at the largest time
# in use: at one year (3e7 s) that is 3.7e-9 s, and with a finer resolution a timer never fires.
CLOCK_RESOLUTION_S = 1e-6
DEADLOCK_TASKS_SHOWN = 20


class Deadlock(RuntimeError):
    """No task can run and no timer is set: the whole simulated system waits for nothing."""


class NumberedTask(asyncio.Task[Any]):
    """A task that hashes by its creation number.

    ``asyncio.TaskGroup`` and ``asyncio.wait`` keep tasks in sets; with the usual hash, the order in
    which they are cancelled or returned follows memory addresses and differs from run to run.
    """

    def __init__(self, *args: Any, number: int, **kwargs: Any) -> None:
        self._number = number  # first: the base class puts the task into a set
        super().__init__(*args, **kwargs)

    def __hash__(self) -> int:
        return self._number

    def __eq__(self, other: object) -> bool:
        return self is other


class _Clock:
    """Stands where the loop keeps its selector: it selects nothing, and waiting moves time."""

    def __init__(self, on_deadlock: Callable[[], NoReturn], on_turn: Callable[[], None]) -> None:
        self.now = 0.0
        self._on_deadlock = on_deadlock
        self._on_turn = on_turn

    def select(self, timeout: float | None) -> list[Any]:
        if timeout is None:
            self._on_deadlock()
        if timeout > 0:
            self.now += timeout
        self._on_turn()
        return []


class VirtualTimeLoop(asyncio.BaseEventLoop):
    """The simulator's event loop. ``loop.time()`` starts at 0.0 seconds.

    Args:
        tie_rng: Shuffles tasks that are ready at the same instant, to explore their orders. None
            keeps first come, first served: readable traces.
    """

    # asyncio keeps both under these names; BaseEventLoop offers no public place for them.
    _clock_resolution: float
    _ready: Any

    def __init__(self, tie_rng: np.random.Generator | None = None) -> None:
        super().__init__()
        self._tie_rng = tie_rng
        self._selector = _Clock(self._raise_deadlock, self._shuffle_ties)
        self._clock_resolution = CLOCK_RESOLUTION_S
        self._numbers = itertools.count(1)
        self.failures: list[BaseException] = []
        """Exceptions that nobody awaited, in order; ``run`` raises the first."""
        self.set_task_factory(self._new_task)  # type: ignore[arg-type]
        self.set_exception_handler(self._keep_failure)

    def time(self) -> float:
        """Virtual seconds since the loop was made."""
        return self._selector.now

    def run_in_executor(  # type: ignore[override]
        self, executor: Any, func: Any, *args: Any
    ) -> NoReturn:
        """Refuse: a thread would run in real time.

        Raises:
            RuntimeError: Always.
        """
        raise RuntimeError("threads are not simulated; use the Compute port")

    def _new_task(
        self,
        loop: asyncio.AbstractEventLoop,
        coro: Coroutine[Any, Any, T],
        context: Context | None = None,
        **kwargs: Any,
    ) -> "asyncio.Task[T]":
        return NumberedTask(coro, loop=loop, context=context, number=next(self._numbers), **kwargs)

    def _keep_failure(self, loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
        error = context.get("exception")
        self.failures.append(error or RuntimeError(str(context["message"])))

    def _raise_deadlock(self) -> NoReturn:
        tasks = sorted(asyncio.all_tasks(self), key=hash)
        names = [f"{t.get_name()} at {_where(t)}" for t in tasks[:DEADLOCK_TASKS_SHOWN]]
        shown = "; ".join(names)
        raise Deadlock(
            f"no runnable task and no timer at {self.time():.6f} s; {len(tasks)} wait: {shown}"
        )

    def _shuffle_ties(self) -> None:
        if self._tie_rng is not None and len(self._ready) > 1:
            handles = list(self._ready)
            self._ready.clear()
            self._ready.extend(handles[i] for i in self._tie_rng.permutation(len(handles)))

    def _process_events(self, event_list: list[Any]) -> None:
        """Nothing: there are no file descriptors."""

    def _write_to_self(self) -> None:
        """Nothing: no other thread may wake this loop."""


def run(main: Coroutine[Any, Any, T], *, tie_rng: np.random.Generator | None = None) -> T:
    """Run a coroutine on a fresh virtual loop to its end, cancel what is left, and return.

    Raises:
        Deadlock: Everything waits and no timer is set.
        BaseException: What ``main`` raised, or the first exception of a task nobody awaited.
    """
    loop = VirtualTimeLoop(tie_rng)
    with asyncio.Runner(loop_factory=lambda: loop) as runner:
        result = runner.run(main)
    if loop.failures:
        raise loop.failures[0]
    return result


def _where(task: "asyncio.Task[Any]") -> str:
    frames = task.get_stack(limit=1)
    if not frames:
        return "its start"
    code = frames[-1].f_code
    return f"{code.co_qualname} line {frames[-1].f_lineno}"
