"""An asyncio event loop whose clock is virtual: waiting costs no time, and order is repeatable.

Time moves only when every task waits, and then straight to the next timer. Threads, sockets and
sub-processes do not exist here; reaching for one is an error, not a silent real wait.
"""

import asyncio
import gc
import heapq
import itertools
from collections.abc import Callable, Coroutine
from contextvars import Context, copy_context
from typing import Any, NoReturn, TypeVar

import numpy as np

T = TypeVar("T")

# Timers closer than this fire together. It must exceed the spacing of floats at the largest time
# in use: at one year (3e7 s) that is 3.7e-9 s, and with a finer resolution a timer never fires.
CLOCK_RESOLUTION_S = 1e-6
DEADLOCK_TASKS_SHOWN = 20
CANCELLED_TIMERS_MAX = 1000
"""Cancelled timers are dropped once they are more than this, and more than half of all."""
GARBAGE_ALLOCATIONS = 100_000
"""Pause of the cycle collector while a world runs: it looks at every daemon each time."""


class Deadlock(RuntimeError):
    """No task can run and no timer is set: the whole simulated system waits for nothing."""


class NumberedTask(asyncio.Task[Any]):
    """A task that hashes by its creation number.

    ``asyncio.TaskGroup`` and ``asyncio.wait`` keep tasks in sets; with the usual hash, the order in
    which they are cancelled or returned follows memory addresses and differs from run to run.
    """

    _number: int

    def __hash__(self) -> int:
        return self._number


class Callback:
    """What ``asyncio.Handle`` and ``TimerHandle`` are, without what nobody asks for here."""

    __slots__ = ("_loop", "_when", "args", "callback", "context", "stopped")

    def __init__(
        self,
        callback: Callable[..., object],
        args: tuple[Any, ...],
        context: Context | None,
        loop: "VirtualTimeLoop",
        when: float = -1.0,
    ) -> None:
        self.callback = callback
        self.args = args
        self.context = copy_context() if context is None else context
        self.stopped = False
        self._loop = loop
        self._when = when
        """A timer's virtual time, while it waits; below 0: not a timer, or no more."""

    def cancel(self) -> None:
        """Do not call back."""
        if not self.stopped:
            self.stopped = True
            self.callback, self.args = _nothing, ()  # what they hold may be large
            if self._when >= 0.0:
                self._loop.timers_cancelled += 1

    def cancelled(self) -> bool:
        """Was it cancelled?"""
        return self.stopped

    def when(self) -> float:
        """A timer's virtual time."""
        return self._when


class VirtualTimeLoop(asyncio.BaseEventLoop):
    """The simulator's event loop. ``loop.time()`` starts at 0.0 seconds.

    Args:
        tie_rng: Shuffles tasks that are ready at the same instant, to explore their orders. None
            keeps first come, first served: readable traces.
    """

    # asyncio keeps these under these names; BaseEventLoop offers no public place for them.
    _ready: Any
    _stopping: bool
    _check_closed: Callable[[], None]

    def __init__(self, tie_rng: np.random.Generator | None = None) -> None:
        super().__init__()
        self._now = 0.0
        self._tie_rng = tie_rng
        self._numbers = itertools.count(1)
        self._timers: list[tuple[float, int, Callback]] = []
        """A heap: by time, then first come, first served."""
        self.timers_cancelled = 0
        """Of them, cancelled ones that still lie in the heap."""
        self.failures: list[BaseException] = []
        """Exceptions that nobody awaited, in order; ``run`` raises the first."""
        self.set_exception_handler(self._keep_failure)

    def time(self) -> float:
        """Virtual seconds since the loop was made."""
        return self._now

    # What every event passes through: as BaseEventLoop, without what only threads, sockets and
    # real time need.

    def call_soon(  # type: ignore[override]
        self, callback: Callable[..., object], *args: Any, context: Context | None = None
    ) -> Callback:
        """Call back in the next turn."""
        self._check_closed()
        handle = Callback(callback, args, context, self)
        self._ready.append(handle)
        return handle

    call_soon_threadsafe = call_soon  # type: ignore[assignment]
    """The same: there are no other threads."""

    def call_at(  # type: ignore[override]
        self, when: float, callback: Callable[..., object], *args: Any, context: Any = None
    ) -> Callback:
        """Call back at a virtual time."""
        self._check_closed()
        timer = Callback(callback, args, context, self, max(0.0, when))
        heapq.heappush(self._timers, (when, next(self._numbers), timer))
        return timer

    def call_later(  # type: ignore[override]
        self, delay: float, callback: Callable[..., object], *args: Any, context: Any = None
    ) -> Callback:
        """Call back after virtual seconds."""
        return self.call_at(self._now + delay, callback, *args, context=context)

    def create_task(  # type: ignore[override]
        self, coro: Coroutine[Any, Any, T], *, name: Any = None, context: Context | None = None
    ) -> "asyncio.Task[T]":
        """A task that hashes by its number."""
        self._check_closed()
        task = NumberedTask.__new__(NumberedTask)
        task._number = next(self._numbers)  # first: the base class puts the task into a set
        asyncio.Task.__init__(task, coro, loop=self, name=name, context=context)
        return task

    def _run_once(self) -> None:
        """Turns until the loop is stopped: what is ready; if nothing is, time moves on."""
        timers, ready, shuffles = self._timers, self._ready, self._tie_rng is not None
        while True:
            if self.timers_cancelled > max(CANCELLED_TIMERS_MAX, len(timers) // 2):
                timers[:] = [entry for entry in timers if not entry[2].stopped]
                heapq.heapify(timers)
                self.timers_cancelled = 0
            while timers and timers[0][2].stopped:
                heapq.heappop(timers)
                self.timers_cancelled -= 1
            if not ready and not self._stopping:
                if not timers:
                    self._raise_deadlock()
                self._now = max(self._now, timers[0][0])
            if shuffles:
                self._shuffle_ties()
            due = self._now + CLOCK_RESOLUTION_S
            while timers and timers[0][0] < due:
                timer = heapq.heappop(timers)[2]
                timer._when = -1.0
                self.timers_cancelled -= timer.stopped
                ready.append(timer)
            for _ in range(len(ready)):
                handle = ready.popleft()
                if not handle.stopped:
                    try:
                        handle.context.run(handle.callback, *handle.args)
                    except (SystemExit, KeyboardInterrupt):
                        raise
                    except BaseException as error:
                        text = f"exception in callback {handle.callback!r}"
                        self.call_exception_handler({"message": text, "exception": error})
            if self._stopping:
                return

    def run_in_executor(  # type: ignore[override]
        self, executor: Any, func: Any, *args: Any
    ) -> NoReturn:
        """Refuse: a thread would run in real time.

        Raises:
            RuntimeError: Always.
        """
        raise RuntimeError("threads are not simulated; use the Compute port")

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

    def _write_to_self(self) -> None:
        """Nothing: no other thread may wake this loop."""


def run(main: Coroutine[Any, Any, T], *, tie_rng: np.random.Generator | None = None) -> T:
    """Run a coroutine on a fresh virtual loop to its end, cancel what is left, and return.

    Raises:
        Deadlock: Everything waits and no timer is set.
        BaseException: What ``main`` raised, or the first exception of a task nobody awaited.
    """
    loop = VirtualTimeLoop(tie_rng)
    thresholds = gc.get_threshold()
    gc.set_threshold(GARBAGE_ALLOCATIONS, *thresholds[1:])
    try:
        with asyncio.Runner(loop_factory=lambda: loop) as runner:
            result = runner.run(main)
    finally:
        gc.set_threshold(*thresholds)
    if loop.failures:
        raise loop.failures[0]
    return result


def _nothing() -> None:
    """In place of what a cancelled handle would have called."""


def _where(task: "asyncio.Task[Any]") -> str:
    frames = task.get_stack(limit=1)
    if not frames:
        return "its start"
    code = frames[-1].f_code
    return f"{code.co_qualname} line {frames[-1].f_lineno}"
