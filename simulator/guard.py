"""While a simulation runs, our own code cannot reach for real time, randomness or threads.

Who calls decides: the standard library, torch and asyncio may read a clock (a log line's stamp, a
debug mode), but what ``node``, ``workloads`` or ``simulator`` read would differ from run to run.
"""

import os
import random  # noqa: TID251 (to forbid it)
import secrets
import socket
import sys
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import wraps
from types import ModuleType
from typing import Any

import numpy as np

OURS = ("node", "workloads", "simulator")
OUTSIDE = frozenset({"simulator.report.progress"})
"""Modules that watch a run for a person; nothing that they read comes back into it."""
CLOCK = "the event loop is the clock: take `now` as an argument, or loop.time()"
DRAW = "take an rng as an argument; in a simulation from simulator.seeds.rng(seed, purpose)"
LEGACY = (
    "choice", "normal", "permutation", "rand", "randint", "randn", "random", "seed", "shuffle",
    "standard_normal", "uniform",
)  # fmt: skip
"""Functions of numpy's global generator."""
CLOCKS = (
    "monotonic", "monotonic_ns", "perf_counter", "perf_counter_ns", "process_time",
    "process_time_ns", "sleep", "thread_time", "time", "time_ns",
)  # fmt: skip


class Escape(RuntimeError):
    """A simulated node reached for the real world: its run would not replay."""


_depth = 0


@contextmanager
def guard() -> Iterator[None]:
    """Refuse ambient time, randomness, sockets and threads to our packages, until left.

    Nests: the outermost one restores.

    Raises:
        Escape: from the forbidden call, at the place that makes it.
    """
    global _depth
    undo: list[tuple[Any, str, Any]] = []
    if _depth == 0:
        _replace(undo)
    _depth += 1
    try:
        yield
    finally:
        _depth -= 1
        for owner, name, real in reversed(undo):
            setattr(owner, name, real)


def _replace(undo: list[tuple[Any, str, Any]]) -> None:
    closed: dict[int, Callable[..., Any]] = {}
    for owner, names, why in _forbidden():
        for name in names:
            real = vars(owner)[name]
            only = _unseeded if name in ("default_rng", "__init__") and owner is not socket.socket \
                else _always  # fmt: skip
            label = owner.__name__ if name == "__init__" else f"{owner.__name__}.{name}"
            closed[id(real)] = _closed(real, label, why, only)
            undo.append((owner, name, real))
            setattr(owner, name, closed[id(real)])
    # `from time import monotonic` made names of its own.
    for module in [m for name, m in sorted(sys.modules.items()) if _is_ours(name)]:
        for name, value in list(vars(module).items()):
            if id(value) in closed and module is not sys.modules[__name__]:
                undo.append((module, name, value))
                setattr(module, name, closed[id(value)])


def _forbidden() -> list[tuple[ModuleType | type, tuple[str, ...], str]]:
    """(owner, names, what to do instead)."""
    functions = tuple(n for n in random.__all__ if not isinstance(getattr(random, n), type))
    return [
        (time, CLOCKS, CLOCK),
        (random, functions, DRAW),
        (random.Random, ("__init__",), DRAW),
        (np.random, ("default_rng", *LEGACY), DRAW),
        (os, ("urandom", "getrandom"), DRAW),
        (secrets, ("choice", "randbelow", "randbits", "token_bytes", "token_hex",
                   "token_urlsafe"), DRAW),
        (uuid, ("uuid1", "uuid4"), DRAW),
        (socket.socket, ("__init__",), "use the Transport port"),
        (threading.Thread, ("start",), "use the Compute port"),
    ]  # fmt: skip


def _closed(
    real: Callable[..., Any], label: str, why: str, forbids: Callable[..., bool]
) -> Callable[..., Any]:
    @wraps(real)
    def closed(*args: Any, **kwargs: Any) -> Any:
        caller = sys._getframe(1)
        module = caller.f_globals.get("__name__", "")
        if _is_ours(module) and forbids(*args, **kwargs):
            where = f"{module}:{caller.f_lineno}"
            raise Escape(f"{where} used {label} while a simulation runs: {why}")
        return real(*args, **kwargs)

    return closed


def _always(*_args: Any, **_kwargs: Any) -> bool:
    return True


def _unseeded(*args: Any, **kwargs: Any) -> bool:
    """Is a generator made without a seed? A seeded one is as good as any."""
    given = [a for a in (*args, *kwargs.values()) if a is not None]
    return not any(not isinstance(a, random.Random) for a in given)


def _is_ours(module: str) -> bool:
    return module.partition(".")[0] in OURS and module not in OUTSIDE
