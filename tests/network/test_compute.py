"""Worker processes: real forks, real memory, real kills."""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import psutil
import pytest

pytestmark = pytest.mark.network

SCRIPT = Path(__file__).with_name("compute_scenarios.py")
ONE_THREAD = dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), "1")
SCENARIOS = [
    "a_worker_does_all_that_the_port_says",
    "a_worker_replays_anothers_round_beside_its_own",
    "big_vectors_cross_unchanged",
    "a_refused_config_is_the_operators_fault",
    "a_workload_that_raises_can_go_on",
    "a_killed_worker_fails_the_pending_call_at_once",
    "a_worker_that_dies_while_loading_is_reported",
    "a_dropped_call_does_not_spoil_the_next",
    "close_ends_a_busy_worker",
    "a_worker_ignores_ctrl_c",
    "maths_runs_off_the_loop_in_one_thread",
    "closing_compute_leaves_no_process",
]


@pytest.fixture(scope="module")
def outcomes(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    done = subprocess.run(
        [sys.executable, str(SCRIPT), str(tmp_path_factory.mktemp("compute"))],
        env=os.environ | ONE_THREAD,
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    result: dict[str, str] = json.loads(done.stdout)
    return result


@pytest.mark.parametrize("claim", SCENARIOS)
def test_that(claim: str, outcomes: dict[str, str]) -> None:
    assert outcomes[claim] == "ok", outcomes[claim]


def test_every_scenario_is_looked_at(outcomes: dict[str, str]) -> None:
    assert sorted(outcomes) == sorted(SCENARIOS)


def test_a_killed_node_takes_its_forker_and_workers_along(tmp_path: Path) -> None:
    with subprocess.Popen(
        [sys.executable, str(SCRIPT), str(tmp_path), "hold"],
        env=os.environ | ONE_THREAD,
        stdout=subprocess.PIPE,
    ) as node:
        assert node.stdout is not None
        family = [psutil.Process(pid) for pid in json.loads(node.stdout.readline())]
        node.send_signal(signal.SIGKILL)
        # An orphan that waits for init to reap it does not run any more.
        _, left = psutil.wait_procs(family, timeout=5)
        assert [process for process in left if process.status() != psutil.STATUS_ZOMBIE] == []
