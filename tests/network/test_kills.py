"""Kill -9 in a few places of a real round; ``tests/soak/kills.py`` tries all of them."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = [pytest.mark.network, pytest.mark.slow, pytest.mark.timeout(300)]

ROOT = Path(__file__).parents[2]
CELLS = "propose:leader,screen:reducer,commit:contributor"
SMALL = ("workload.size=64", "workload.hidden_width=64", "round.steps=10")


def test_killed_nodes_come_back_and_the_rounds_that_they_left_are_decided() -> None:
    command = [sys.executable, "tests/soak/kills.py", "--cells", CELLS, "--each", "1"]
    command += [part for text in SMALL for part in ("--set", text)]
    done = subprocess.run(
        [*command, "--seconds", "200", "--json"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=280,
        check=False,
    )
    assert done.stdout, done.stderr
    result = json.loads(done.stdout)
    held = {
        key: result[key] for key in ("not_back", "diverged", "folders", "accused", "unexpected")
    }
    assert not any(held.values()), held
    assert result["missing"] == [], result["kills"]
    assert result["in_time"] >= 0.95, (result["limit_s"], result["kills"])
    assert done.returncode == 0, done.stderr
