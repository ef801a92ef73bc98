"""While a simulation runs, our packages cannot reach for real time, randomness or threads."""

import asyncio
import logging
import os
import random
import secrets
import socket
import threading
import time
import uuid
from collections.abc import Callable
from types import ModuleType

import numpy as np
import pytest

from simulator.guard import Escape, guard
from simulator.loop import run
from simulator.run import run_scenario
from simulator.scenario import Scenario, load_scenario
from simulator.workloads.quadratic import QuadraticWorkload

CALLS = [
    "time.time()",
    "time.monotonic()",
    "time.perf_counter()",
    "time.sleep(0)",
    "random.random()",
    "random.shuffle([1])",
    "random.Random()",
    "np.random.default_rng()",
    "np.random.normal()",
    "os.urandom(4)",
    "secrets.token_bytes(4)",
    "uuid.uuid4()",
    "socket.socket().close()",
    "threading.Thread(target=int).start()",
]
MODULES = {"np": np, "os": os, "random": random, "secrets": secrets, "socket": socket,
           "threading": threading, "time": time, "uuid": uuid}  # fmt: skip


def function(package: str, call: str) -> Callable[[], object]:
    """``call`` as if it stood in a module of ``package``."""
    module = ModuleType(f"{package}.tried")
    vars(module).update(MODULES)
    exec(f"def tried():\n    return {call}\n", vars(module))
    tried = vars(module)["tried"]
    assert callable(tried)
    return tried


@pytest.mark.parametrize("package", ["node", "workloads", "simulator"])
@pytest.mark.parametrize("call", CALLS)
def test_our_packages_are_refused_with_the_place_and_the_way_out(package: str, call: str) -> None:
    with guard(), pytest.raises(Escape, match=rf"{package}\.tried:2 used .*: (the event|take|use)"):
        function(package, call)()


@pytest.mark.parametrize("call", CALLS)
def test_other_packages_pass_and_all_pass_afterwards(call: str) -> None:
    with guard():
        function("torch", call)()
    function("node", call)()


def test_seeded_generators_pass() -> None:
    with guard():
        assert function("node", "np.random.default_rng(1).random()")() is not None
        assert function("node", "random.Random(1).random()")() is not None


def test_a_name_that_was_imported_before_is_refused_too(monkeypatch: pytest.MonkeyPatch) -> None:
    module = ModuleType("node.tried")
    vars(module)["aliased"] = time.monotonic
    exec("def tried():\n    return aliased()\n", vars(module))
    monkeypatch.setitem(__import__("sys").modules, "node.tried", module)
    with guard(), pytest.raises(Escape, match=r"time\.monotonic"):
        vars(module)["tried"]()
    assert vars(module)["aliased"] is time.monotonic


def test_guards_nest_and_restore_what_was_there_also_after_an_error() -> None:
    before = (time.time, os.urandom, random.random, socket.socket.__init__, threading.Thread.start)
    tried = function("node", "time.time()")

    def nested() -> None:
        with guard():
            with guard():
                pass
            with pytest.raises(Escape):
                tried()
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        nested()
    after = (time.time, os.urandom, random.random, socket.socket.__init__, threading.Thread.start)
    assert after == before


def test_libraries_may_read_clocks_for_us(caplog: pytest.LogCaptureFixture) -> None:
    async def main() -> None:
        asyncio.get_running_loop().set_debug(True)
        logging.getLogger("node").warning("stamped")
        await asyncio.sleep(1)

    with guard():
        run(main())
    assert "stamped" in caplog.text


def test_a_run_is_guarded_and_the_real_workload_passes() -> None:
    outcome = run_scenario(load_scenario("inr_small", {"rounds": "2"}), 1)
    assert outcome.ok, outcome.violations
    assert outcome.rounds == 2


def test_a_workload_that_reads_the_clock_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    tried = function("workloads", "time.time()")
    monkeypatch.setattr(QuadraticWorkload, "evaluate", lambda *_: tried())
    outcome = run_scenario(Scenario(nodes=3, rounds=1, framed=False), 1)
    assert not outcome.ok
    assert "workloads.tried:2 used time.time" in str(outcome.violations)
