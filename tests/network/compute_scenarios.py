"""Scenarios of test_compute.py, in a process of their own: a forker's parent must have one thread.

Run as ``python compute_scenarios.py FOLDER``; prints JSON: scenario -> "ok" or the error.
"""

import asyncio
import json
import os
import signal
import sys
import threading
import time
import traceback
from collections.abc import Callable, Coroutine
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import pytest
import uvloop

from node.adapters.process_compute import ProcessCompute, ProcessWorker
from node.adapters.worker_forker import WorkerForker
from node.errors import ConfigError, WorkerFailed
from node.ports import ReplayRequest, TrainRequest

TOY = """
import os, time
from pathlib import Path
import numpy as np
import torch
from workloads.api import TrainResult, WorkloadError

class Toy:
    def __init__(self, config, seed, device="cpu"):
        if config.get("bad"):
            raise WorkloadError("bad = true cannot work: remove it")
        if config.get("crash"):
            os.kill(os.getpid(), 9)
        self.config, self.seed = config, seed
        self.shapes = [("w", (2, 3)), ("b", (config.get("d", 4),))]
        self.d = 6 + config.get("d", 4)
        self.resets = self.part = self.trained = 0

    def shard(self, index, count):
        self.part = 10 * index + count

    def initial(self):
        return np.full(self.d, self.seed, np.float32)

    def train(self, params, *, round_, rounds, data_seed, steps, deadline_s, continued, clock):
        if steps == 666:
            raise ValueError("steps of the beast")
        start = clock()
        while steps == 100 and clock() - start < deadline_s:
            time.sleep(0.01)
        update = params * np.float32(2) + np.float32(data_seed[0])
        if self.config.get("inert"):
            self.trained += 1
            update += np.float32(100 * self.trained + 1000 * self.part)
        return TrainResult(update, steps, float("nan") if continued else round_ / rounds)

    def evaluate(self, params):
        product = (torch.ones(64, 64) @ torch.ones(64, 64)).sum().item()
        return {"first": params[0], "threads": torch.get_num_threads(), "product": product,
                "pid": os.getpid(), "resets": self.resets, "part": self.part}

    def artifacts(self, params, folder):
        path = Path(folder) / "sum.txt"
        path.write_text(str(params.sum()))
        return [path]

    def reset(self):
        self.resets += 1
        self.trained = 0

    def local_state(self):
        return bytes(1024) * self.trained

    def load_local_state(self, data):
        if len(data) % 1024:
            raise WorkloadError("no such state")
        self.trained = len(data) // 1024
"""


def install(folder: Path) -> None:
    """Put the toy workload on the path, as an installed package would."""
    (folder / "toy_workload.py").write_text(TOY)
    info = folder / "toy_workload-1.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: toy-workload\nVersion: 1\n")
    (info / "entry_points.txt").write_text("[artel.workloads]\ntoy = toy_workload:Toy\n")


def request(params: np.ndarray[Any, Any], steps: int, **changes: Any) -> TrainRequest:
    fields = {"round": 1, "rounds": 4, "data_seed": bytes([7]) * 32, "deadline_s": 0.3}
    return TrainRequest(params=params, steps=steps, **(fields | changes))  # type: ignore[arg-type]


async def pid_of(worker: ProcessWorker) -> int:
    zeros = np.zeros_like(await worker.initial())
    return int((await worker.evaluate(zeros))["pid"])


async def a_worker_does_all_that_the_port_says(compute: ProcessCompute, folder: Path) -> None:
    worker = await compute.start_worker("toy", {}, 5, (2, 7))
    assert worker.shapes == [("w", (2, 3)), ("b", (4,))]
    params = await worker.initial()
    assert params.tolist() == [5.0] * 10
    reply = await worker.train(request(params, 3))
    assert reply.update.tolist() == [17.0] * 10
    assert (reply.steps_done, reply.loss) == (3, 0.25)
    assert np.isnan((await worker.train(request(params, 3, continued=True))).loss)
    await worker.reset()
    metrics = await worker.evaluate(reply.update)
    assert (metrics["first"], metrics["threads"], metrics["product"]) == (17.0, 2.0, 64.0**3)
    assert (metrics["resets"], metrics["part"]) == (1, 27)
    (path,) = await worker.artifacts(params, str(folder / "art" / "deep"))
    assert Path(path).read_text() == "50.0"  # noqa: ASYNC240
    assert params.tolist() == [5.0] * 10
    await worker.close()


async def a_worker_replays_anothers_round_beside_its_own(
    compute: ProcessCompute, folder: Path
) -> None:
    worker = await compute.start_worker("toy", {"inert": True}, 5, (1, 3))
    assert worker.replayable
    assert len(worker.compute_class) in (0, 32)
    params = await worker.initial()
    replies = [
        await worker.train(request(params, 3, round=round_, keep=True)) for round_ in (1, 2, 3)
    ]
    assert [reply.update[0] for reply in replies] == [100 * k + 13_017 for k in (1, 2, 3)]
    assert replies[0].local_after == replies[1].local_before != replies[1].local_after
    assert await worker.opening(1) is None
    assert await worker.opening(2) == bytes(1024)
    theirs = ReplayRequest(params, 9, 9, bytes(32), 3, 3, bytes(5 * 1024), (2, 3))
    replayed = await worker.replay(theirs)
    assert replayed is not None
    assert replayed.update.tolist() == [600.0 + 23_010] * 10
    assert len(replayed.local_after) == 32
    assert await worker.replay(replace(theirs, local_state=b"x")) is None
    await worker.revert(3)
    again = await worker.train(request(params, 3, round=4, keep=True))
    assert again.update.tolist() == replies[2].update.tolist()
    assert again.local_before == replies[2].local_before
    plain = await worker.train(request(params, 3, round=5))
    assert (plain.local_before, plain.local_after) == (b"", b"")
    await worker.close()


async def big_vectors_cross_unchanged(compute: ProcessCompute, folder: Path) -> None:
    worker = await compute.start_worker("toy", {"d": 3_000_000}, 1)
    params = np.arange(3_000_006, dtype=np.float32)
    reply = await worker.train(request(params, 3))
    assert np.array_equal(reply.update, params * 2 + 7)
    await worker.close()


async def a_refused_config_is_the_operators_fault(compute: ProcessCompute, folder: Path) -> None:
    for name, config, text in (("toy", {"bad": True}, "remove it"), ("nope", {}, "no workload")):
        with pytest.raises(ConfigError, match=text):
            await compute.start_worker(name, config, 0)


async def a_workload_that_raises_can_go_on(compute: ProcessCompute, folder: Path) -> None:
    worker = await compute.start_worker("toy", {}, 0)
    params = await worker.initial()
    with pytest.raises(WorkerFailed, match="ValueError: steps of the beast"):
        await worker.train(request(params, 666))
    assert (await worker.train(request(params, 3))).steps_done == 3
    await worker.close()


async def a_killed_worker_fails_the_pending_call_at_once(
    compute: ProcessCompute, folder: Path
) -> None:
    worker = await compute.start_worker("toy", {}, 0)
    params, pid = await worker.initial(), await pid_of(worker)
    asyncio.get_running_loop().call_later(0.1, os.kill, pid, signal.SIGKILL)
    start = time.monotonic()
    for steps in (100, 3):
        with pytest.raises(WorkerFailed, match="SIGKILL"):
            await worker.train(request(params, steps, deadline_s=30.0))
    assert time.monotonic() - start < 5
    assert not psutil.pid_exists(pid)
    other = await compute.start_worker("toy", {}, 0)
    assert (await other.initial()).shape == (10,)
    await other.close()


async def a_worker_that_dies_while_loading_is_reported(
    compute: ProcessCompute, folder: Path
) -> None:
    with pytest.raises(WorkerFailed, match="SIGKILL"):
        await compute.start_worker("toy", {"crash": True}, 0)


async def a_dropped_call_does_not_spoil_the_next(compute: ProcessCompute, folder: Path) -> None:
    worker = await compute.start_worker("toy", {}, 3)
    params = await worker.initial()
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.05):
            await worker.train(request(params, 100, data_seed=bytes([1]) * 32))
    reply = await worker.train(request(params * 2, 3))
    assert reply.update.tolist() == [19.0] * 10
    await worker.close()


async def close_ends_a_busy_worker(compute: ProcessCompute, folder: Path) -> None:
    worker = await compute.start_worker("toy", {}, 0)
    params, pid = await worker.initial(), await pid_of(worker)
    async with asyncio.TaskGroup() as group:

        async def train() -> None:
            with pytest.raises(WorkerFailed, match="closed"):
                await worker.train(request(params, 100, deadline_s=60.0))

        group.create_task(train())
        await asyncio.sleep(0.05)
        await worker.close()
    assert not psutil.pid_exists(pid)
    await worker.close()


async def a_worker_ignores_ctrl_c(compute: ProcessCompute, folder: Path) -> None:
    worker = await compute.start_worker("toy", {}, 8)
    pid = await pid_of(worker)
    os.kill(pid, signal.SIGINT)
    os.kill(pid, signal.SIGTERM)
    assert await pid_of(worker) == pid
    await worker.close()


async def maths_runs_off_the_loop_in_one_thread(compute: ProcessCompute, folder: Path) -> None:
    loop_thread = threading.get_ident()
    names = [await compute.maths(threading.get_ident, cost_s=0.0) for _ in range(3)]
    assert len(set(names)) == 1
    assert names[0] != loop_thread


SCENARIOS: list[Callable[[ProcessCompute, Path], Coroutine[Any, Any, None]]] = [
    a_worker_does_all_that_the_port_says,
    a_worker_replays_anothers_round_beside_its_own,
    big_vectors_cross_unchanged,
    a_refused_config_is_the_operators_fault,
    a_workload_that_raises_can_go_on,
    a_killed_worker_fails_the_pending_call_at_once,
    a_worker_that_dies_while_loading_is_reported,
    a_dropped_call_does_not_spoil_the_next,
    close_ends_a_busy_worker,
    a_worker_ignores_ctrl_c,
    maths_runs_off_the_loop_in_one_thread,
]


async def run_all(forker: WorkerForker, folder: Path) -> dict[str, str]:
    compute = ProcessCompute(forker, threads=2, device="auto")
    outcomes = {}
    for scenario in SCENARIOS:
        try:
            async with asyncio.timeout(15):
                await scenario(compute, folder)
            outcomes[scenario.__name__] = "ok"
        except (Exception, pytest.fail.Exception):
            outcomes[scenario.__name__] = traceback.format_exc()
    pid = await pid_of(await compute.start_worker("toy", {}, 0))
    children = [forker.pid, pid]
    await compute.close()
    left = [child for child in children if psutil.pid_exists(child)]
    outcomes["closing_compute_leaves_no_process"] = "ok" if not left else f"left: {left}"
    return outcomes


def hold(forker: WorkerForker) -> None:
    """Start a worker, print all pids, and wait to be killed."""

    async def start() -> None:
        compute = ProcessCompute(forker, threads=1, device="cpu")
        pid = await pid_of(await compute.start_worker("toy", {}, 0))
        print(json.dumps([forker.pid, pid]), flush=True)
        await asyncio.Event().wait()

    uvloop.run(start())


def main() -> None:
    folder = Path(sys.argv[1])
    install(folder)
    sys.path.insert(0, str(folder))

    def prepare() -> None:
        import torch  # noqa: F401

    forker = WorkerForker.start(prepare=prepare)
    if sys.argv[2:] == ["hold"]:
        hold(forker)
    print(json.dumps(uvloop.run(run_all(forker, folder))))


if __name__ == "__main__":
    main()
