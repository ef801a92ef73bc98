"""Nodes that know nothing of each other but a file found a job together, and end when told."""

import json
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

pytestmark = [pytest.mark.network, pytest.mark.slow]

JOB = '[job]\nname = "still"\nworkload = "idle"\nrounds = 2\n'
START_S, DONE_S, END_S = 60.0, 60.0, 5.0


def start(*words: str | Path) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", "node", *map(str, words)],
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    )


def ask(*words: str | Path) -> str:
    command = [sys.executable, "-m", "node", *map(str, words)]
    return subprocess.run(command, capture_output=True, text=True, check=False).stdout


def wait_for(data: Path, within_s: float, holds: str) -> None:
    """Until the node's one job is in the state ``holds``, or, if empty, until the node answers."""
    deadline_s = time.monotonic() + within_s
    while time.monotonic() < deadline_s:
        said = ask("status", "--data", data, "--json")
        if said and (not holds or any(j["state"] == holds for j in json.loads(said)["jobs"])):
            return
        time.sleep(0.2)
    pytest.fail(f"{data.name} was not {holds or 'up'} in {within_s} s")


def catches_sigterm(pid: int) -> bool:
    """Whether the process handles SIGTERM itself: without a handler a first process ignores it."""
    fields = dict(
        line.split(":", 1) for line in Path(f"/proc/{pid}/status").read_text().splitlines()
    )
    return bool(int(fields["SigCgt"], 16) >> (signal.SIGTERM - 1) & 1)


@pytest.mark.timeout(200)
def test_nodes_that_share_a_folder_found_a_job_and_a_repeated_order_changes_nothing(
    started: list[subprocess.Popen[str]], tmp_path: Path
) -> None:
    first, second, addresses = tmp_path / "first", tmp_path / "second", tmp_path / "addresses"
    file = tmp_path / "job.toml"
    file.write_text(JOB)
    # The one that joins starts first, and waits for the file.
    common = ("node", "run", "--set", "serve=any")
    started.append(start(*common, "--data", second, "--join-file", addresses))
    pictures = ("--artifacts", tmp_path / "out")
    started.append(start(*common, "--data", first, "--address-file", addresses, *pictures))
    wait_for(first, START_S, "")
    assert ask("health", "--data", first) == "serving\n"
    order = ("job", "submit", file, "--gather", "2", "--settle", "0.5", "--data", first)
    job = ask(*order).strip()
    wait_for(second, DONE_S, "done")
    shown = json.loads(ask("job", "show", job, "--data", first, "--json"))
    assert len(shown["manifest"]["electorate"]["founders"]) == 2
    assert shown["status"]["used"] == 2
    assert ask(*order).strip() == job
    for process in started:
        process.send_signal(signal.SIGTERM)
    assert [process.wait(END_S) for process in started] == [0, 0]


def test_a_node_that_waits_for_its_join_file_ends_when_told(
    started: list[subprocess.Popen[str]], tmp_path: Path
) -> None:
    started.append(start("node", "run", "--data", tmp_path, "--join-file", tmp_path / "never"))
    deadline_s = time.monotonic() + START_S
    while not catches_sigterm(started[0].pid):
        assert time.monotonic() < deadline_s
        time.sleep(0.05)
    started[0].send_signal(signal.SIGTERM)
    assert started[0].wait(10) == 0
