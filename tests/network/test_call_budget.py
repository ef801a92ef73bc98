"""Eight real nodes: a round costs no more calls than the protocol allows."""

import contextlib
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from node.control.client import ControlClient
from node.errors import Unavailable
from node.observe.status import JobStatus

pytestmark = [pytest.mark.network, pytest.mark.slow]

NODES = 8
ROUNDS = 6
CALLS_MAX = 250
"""docs/protocol.md, "Cost"."""

JOB = """
[job]
name = "calls"
workload = "idle"
rounds = 1000000
[workload]
dimensions = 600000
pause_s = 0.3
[round]
evaluate_every = 1000000
"""


@pytest.fixture
def swarm(tmp_path: Path) -> Iterator[list[Path]]:
    """Data folders of the nodes of ``artel up``."""
    job, folder = tmp_path / "job.toml", tmp_path / "run"
    job.write_text(JOB)
    options = ["--nodes", str(NODES), "--job", str(job), "--dir", str(folder)]
    process = subprocess.Popen(
        [sys.executable, "-m", "node", "up", *options],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    yield [folder / f"node-{index:02d}" for index in range(NODES)]
    family = psutil.Process(process.pid).children(recursive=True)
    process.terminate()
    process.wait(timeout=10)
    assert psutil.wait_procs(family, timeout=2)[1] == []


def wait_for_pause(folder: Path, round_: int) -> JobStatus:
    """The job of one node while it trains in ``round_`` or later: it calls nobody then."""
    seen: object = None
    for _ in range(1000):
        with contextlib.suppress(Unavailable), ControlClient(folder) as client:
            for job in client.status().jobs:
                seen = job
                if job.phase == "train" and job.round >= round_ and job.used == NODES:
                    return job
        time.sleep(0.03)
    raise AssertionError(f"not in round {round_} after 30 s: {seen}")


def test_a_round_of_eight_nodes_costs_at_most_250_calls(swarm: list[Path]) -> None:
    before = [wait_for_pause(folder, 3) for folder in swarm]
    last = max(job.round for job in before) + ROUNDS
    after = [wait_for_pause(folder, last) for folder in swarm]
    calls = [(b.calls - a.calls) / (b.round - a.round) for a, b in zip(before, after, strict=True)]
    assert 3 * NODES * (NODES - 1) <= sum(calls) <= CALLS_MAX, calls
