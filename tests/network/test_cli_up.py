"""``artel node run`` and ``artel up`` for real: nodes, p2pd, workers; what they leave behind."""

import json
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

pytestmark = [pytest.mark.network, pytest.mark.slow]

READY_S_MAX = 90.0
"""Some 5 s on an idle machine."""
JOB = """
[job]
name = "camera"
workload = "inr"
rounds = 3
[workload]
image = "camera"
size = 32
hidden_width = 32
hidden_layers = 2
[round]
steps = 5
"""


@pytest.fixture
def job(tmp_path: Path) -> Path:
    path = tmp_path / "job.toml"
    path.write_text(JOB)
    return path


def start(started: list[subprocess.Popen[str]], *arguments: object) -> subprocess.Popen[str]:
    process = subprocess.Popen(
        [sys.executable, "-m", "node", *map(str, arguments)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    started.append(process)
    return process


def wait_until_ready(process: subprocess.Popen[str], data: Path) -> list[psutil.Process]:
    """The node's whole family, once its job is ready: a node without one is so at once."""
    deadline_s = time.monotonic() + READY_S_MAX
    while time.monotonic() < deadline_s:
        assert process.poll() is None, process.communicate()
        try:
            with ControlClient(data) as client:
                status = client.status()
                if status.ready and status.jobs:
                    return psutil.Process(process.pid).children(recursive=True)
        except Unavailable:
            pass
        time.sleep(0.05)
    raise AssertionError(f"not ready in {READY_S_MAX} s")


def names(family: list[psutil.Process]) -> set[str]:
    return {process.name() for process in family}


def left_of(family: list[psutil.Process], within_s: float) -> list[psutil.Process]:
    """Those that still run; an orphan that waits for init to reap it does not."""
    deadline_s = time.monotonic() + within_s
    while left := [process for process in family if runs(process)]:
        if time.monotonic() > deadline_s:
            break
        time.sleep(0.02)
    return left


def runs(process: psutil.Process) -> bool:
    try:
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def test_a_node_ends_with_all_that_it_started_killed_or_stopped(
    started: list[subprocess.Popen[str]], job: Path, tmp_path: Path
) -> None:
    data = tmp_path / "data"
    node = start(started, "node", "run", "--data", data, "--job", job)
    family = wait_until_ready(node, data)
    assert "p2pd" in names(family)
    assert len(family) >= 3
    node.kill()
    assert left_of(family, within_s=5) == []
    assert (data / "control.sock").exists()

    node = start(started, "node", "run", "--data", data, "--job", job)
    family = wait_until_ready(node, data)
    node.send_signal(signal.SIGTERM)
    assert node.wait(timeout=5) == 0, node.communicate()
    assert left_of(family, within_s=1) == []
    assert not (data / "control.sock").exists()


def test_a_swarm_trains_agrees_and_leaves_nothing_running(
    started: list[subprocess.Popen[str]], job: Path, tmp_path: Path
) -> None:
    folder = tmp_path / "run"
    swarm = start(started, "up", "--nodes", 4, "--job", job, "--dir", folder, "--json")
    output, errors = swarm.communicate(timeout=100)
    assert swarm.returncode == 0, errors
    result = json.loads(output.splitlines()[-1])
    assert result["agreement"] is True
    assert (result["rounds"], len(result["honest"]), result["byzantine"]) == (3, 4, [])
    assert len(set(result["state_roots"].values())) == 1
    assert sorted(result["state_roots"]) == sorted(result["honest"])
    assert result["metrics"]["psnr_db"] > 5
    assert list((folder / "pictures").iterdir()) != []
    assert list(folder.rglob("control.sock")) == []
    assert not [p for p in psutil.process_iter(["cmdline"]) if str(folder) in _command(p)]


def _command(process: psutil.Process) -> str:
    return " ".join(process.info["cmdline"] or ())


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL])
def test_an_interrupted_swarm_leaves_no_orphan(
    number: signal.Signals, started: list[subprocess.Popen[str]], job: Path, tmp_path: Path
) -> None:
    folder = tmp_path / "run"
    long = ("--rounds", 100000, "--dir", folder)
    swarm = start(started, "up", "--nodes", 2, "--job", job, *long)
    wait_until_ready(swarm, folder / "node-01")
    family = psutil.Process(swarm.pid).children(recursive=True)
    assert "p2pd" in names(family)
    os.kill(swarm.pid, number)
    swarm.wait(timeout=5)
    assert left_of(family, within_s=2) == []
    if number != signal.SIGKILL:
        assert swarm.returncode == 130
        assert list(folder.rglob("control.sock")) == []


def test_a_swarm_interrupted_while_it_starts_leaves_no_orphan(
    started: list[subprocess.Popen[str]], job: Path, tmp_path: Path
) -> None:
    swarm = start(started, "up", "--nodes", 2, "--job", job, "--dir", tmp_path / "run")
    assert swarm.stdout is not None
    assert "starting 2 nodes" in swarm.stdout.readline()
    while not (family := psutil.Process(swarm.pid).children(recursive=True)):
        assert swarm.poll() is None
        time.sleep(0.01)
    os.kill(swarm.pid, signal.SIGINT)
    assert swarm.wait(timeout=5) == 130
    assert left_of(family, within_s=1) == []


def test_an_honest_node_that_dies_ends_the_swarm_with_its_name(
    started: list[subprocess.Popen[str]], job: Path, tmp_path: Path
) -> None:
    folder = tmp_path / "run"
    swarm = start(started, "up", "--nodes", 2, "--job", job, "--rounds", 100000, "--dir", folder)
    wait_until_ready(swarm, folder / "node-01")
    pid = int((folder / "node-01" / "lock").read_text())
    os.kill(pid, signal.SIGKILL)
    _, errors = swarm.communicate(timeout=30)
    assert swarm.returncode == 1
    assert "node-01 killed by SIGKILL" in errors
