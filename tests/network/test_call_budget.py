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
dimensions = 1000
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


def jobs(folders: list[Path]) -> list[JobStatus]:
    """The job as each node sees it; nodes that do not answer yet are left out."""
    found: list[JobStatus] = []
    for folder in folders:
        with contextlib.suppress(Unavailable), ControlClient(folder) as client:
            found += client.status().jobs
    return found


def wait_for_round(folders: list[Path], round_: int) -> list[JobStatus]:
    """All nodes' jobs, once every node is in ``round_`` and the last round had all of them."""
    for _ in range(300):
        seen = jobs(folders)
        if len(seen) == NODES and all(j.round >= round_ and j.used == NODES for j in seen):
            return seen
        time.sleep(0.1)
    raise AssertionError(f"not in round {round_} after 30 s: {seen}")


def test_a_round_of_eight_nodes_costs_at_most_250_calls(swarm: list[Path]) -> None:
    before = wait_for_round(swarm, 3)
    after = wait_for_round(swarm, max(job.round for job in before) + ROUNDS + 1)
    # The rounds in progress count with all their calls but not as rounds: never too few.
    calls = [
        (b.calls - a.calls) / (b.round - a.round - 1) for a, b in zip(before, after, strict=True)
    ]
    assert NODES * (NODES - 1) <= sum(calls) <= CALLS_MAX, calls
