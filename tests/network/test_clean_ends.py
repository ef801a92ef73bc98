"""A swarm that is ended in the middle of a round leaves nothing behind, and starts again."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

from node.control.client import ControlClient
from node.errors import Unavailable
from node.jobs.verify_folder import verify_node_folder

pytestmark = [pytest.mark.network, pytest.mark.slow]

ROOT = Path(__file__).parents[2]
NODES = 3
END_S = 5.0
SMALL = ("workload.size=64", "workload.hidden_width=64", "round.steps=10", "job.rounds=100000")


def start(folder: Path) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "node", "up", "--job", "examples/inr-astronaut.toml"]
    command += [part for text in SMALL for part in ("--set", text)]
    return subprocess.Popen(
        [*command, "--nodes", str(NODES), "--dir", str(folder)],
        cwd=ROOT,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    )


def wait_for_round(process: subprocess.Popen[str], folder: Path, round_: int) -> None:
    """Until every node is in ``round_`` or beyond, with its worker running."""
    deadline_s = time.monotonic() + 60
    late = [folder / f"node-{index:02d}" for index in range(NODES)]
    while late:
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < deadline_s, late
        try:
            with ControlClient(late[0]) as client:
                jobs = client.status().jobs
            if jobs and jobs[0].round >= round_:
                late.pop(0)
        except Unavailable:
            pass
        time.sleep(0.05)


def leftovers(folder: Path) -> list[str]:
    found = [*folder.rglob("*.sock"), *folder.rglob(".tmp-*"), *folder.rglob("*.tmp")]
    return sorted(str(path) for path in found)


def end(process: subprocess.Popen[str], number: signal.Signals) -> list[psutil.Process]:
    """Send the signal to the supervisor; what of its family is left after END_S."""
    family = psutil.Process(process.pid).children(recursive=True)
    # The zygote, and for each node itself, p2pd, the forker of workers and a worker.
    assert sum(member.name() == "p2pd" for member in family) == NODES
    assert len(family) >= 1 + 4 * NODES, family
    ended_s = time.monotonic()
    os.kill(process.pid, number)
    process.wait(timeout=END_S)
    gone_s = END_S - (time.monotonic() - ended_s)
    left: list[psutil.Process] = psutil.wait_procs(family, timeout=max(gone_s, 0.1))[1]
    return left


@pytest.mark.timeout(300)
def test_a_swarm_ended_in_the_middle_of_rounds_is_gone_and_can_start_again(
    started: list[subprocess.Popen[str]], tmp_path: Path
) -> None:
    folder = tmp_path / "run"
    for number in (signal.SIGKILL, signal.SIGTERM, signal.SIGINT):
        started.append(start(folder))
        wait_for_round(started[-1], folder, 3)
        assert end(started[-1], number) == []
        for index in range(NODES):
            report = verify_node_folder(folder / f"node-{index:02d}")
            # After a kill the newest state may be older than the chain, but neither is torn.
            assert report.round >= 2, (number, report)
            assert report.state_root, (number, report)
        if number != signal.SIGKILL:
            assert started[-1].returncode == 130
            assert leftovers(folder) == []
