"""Real nodes classify with one memory: processes, sockets and disks as they are."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

pytest.importorskip("faiss", reason="the extra artel-node[rac] is not installed")

from tests.unit import rac_data

pytestmark = [pytest.mark.network, pytest.mark.slow, pytest.mark.timeout(300)]

ROOT = Path(__file__).parents[2]
TRAIN = 400
SETTINGS = rac_data.config(Path("data.npz"), vote="label", index="codes", copies=1)


def test_two_nodes_share_what_they_look_up(tmp_path: Path) -> None:
    settings = {**SETTINGS, "data": str(rac_data.write(tmp_path / "data.npz", TRAIN))}
    # Nobody waits for answers, which are asked for twice a second: rounds enough for a few.
    lines = ["[job]", 'name = "patterns"', 'workload = "rac"', "rounds = 12", "[workload]"]
    lines += [f"{name} = {json.dumps(value)}" for name, value in settings.items()]
    job = tmp_path / "job.toml"
    job.write_text("\n".join([*lines, "[round]", "steps = 20"]))
    command = [sys.executable, "-m", "node", "up", "--job", str(job), "--nodes", "2", "--json"]
    done = subprocess.run(
        [*command, "--dir", str(tmp_path / "run")],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    result = json.loads(done.stdout)
    assert result["agreement"]
    metrics = result["metrics"]
    assert metrics["memory_entries"] == TRAIN
    assert metrics["entries_dropped"] == 0
    assert metrics["answered"] > 0
    assert metrics["vote_accuracy"] > 0.6  # four classes
    pictures = {path.name for path in (tmp_path / "run" / "pictures").iterdir()}
    assert {"confusion.png", "classes.png", "neighbours.png"} <= pictures
