"""Real nodes play with one memory: processes, sockets, disks and games as they are."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from node.jobs.verify_folder import verify_node_folder

pytest.importorskip("faiss", reason="the extra artel-node[nait] is not installed")
pytest.importorskip("gymnasium", reason="the extra artel-node[nait] is not installed")

pytestmark = [pytest.mark.network, pytest.mark.slow, pytest.mark.timeout(300)]

ROOT = Path(__file__).parents[2]
ROUNDS, STEPS = 6, 200


def up(folder: Path, *words: str) -> dict[str, object]:
    command = [sys.executable, "-m", "node", "up", "--job", "examples/nait-cartpole.toml"]
    command += ["--set", f"round.steps={STEPS}", "--rounds", str(ROUNDS), "--dir", str(folder)]
    done = subprocess.run(
        [*command, "--json", *words], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr[-3000:]
    result: dict[str, object] = json.loads(done.stdout)
    return result


def test_four_players_remember_together_and_are_credited(tmp_path: Path) -> None:
    result = up(tmp_path / "run", "--nodes", "4", "--byzantine", "1", "--attack", "inflate_memory")
    assert result["agreement"]
    metrics = result["metrics"]
    assert isinstance(metrics, dict)
    assert metrics["steps"] >= ROUNDS * STEPS
    assert metrics["episodes"] > 5
    # Three honest nodes' entries are held by all, and another's are in every memory.
    assert metrics["memory_entries"] > 3 * ROUNDS * STEPS / 2
    assert metrics["entries_others"] > ROUNDS * STEPS / 2
    credits = result["credits"]
    assert isinstance(credits, dict)
    assert len(credits) == 4
    # A contribution earns a whole credit and an entry a thousandth: everybody's entries count. How
    # many of them the last round still catches depends on the machine: only the sum has a floor.
    assert all(value % 1 > 0 for value in credits.values())
    assert sum(credits.values()) > 4 * ROUNDS + ROUNDS * STEPS / 2 / 1000
    # What the stopped nodes keep of the memory is whole: every batch its author's, in one chain.
    folders = sorted((tmp_path / "run").glob("node-*"))
    kept = [verify_node_folder(folder).entries for folder in folders]
    assert min(kept) > 3 * ROUNDS * STEPS / 2
    pictures = {path.name for path in (tmp_path / "run" / "pictures").iterdir()}
    assert {"curve.png", "memory.png"} <= pictures
