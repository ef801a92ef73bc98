"""Real swarms of `artel up` with a liar: with a rule that is not robust, and to its ban."""

import json
import re
import sqlite3
import subprocess
import sys
from contextlib import closing
from pathlib import Path

import pytest

# Every wait is for a swarm's end, and long only where many processes share few cores.
pytestmark = [pytest.mark.network, pytest.mark.slow, pytest.mark.timeout(300)]

ROOT = Path(__file__).parents[2]
SMALL = ("job.rounds=6", "workload.size=64", "workload.hidden_width=64", "round.steps=10")


@pytest.mark.parametrize("rule", ["mean", "centered_clip"])
def test_one_flipped_sign_ruins_the_mean_and_not_the_robust_rule(rule: str, tmp_path: Path) -> None:
    command = [sys.executable, "-m", "node", "up", "--job", "examples/inr-astronaut.toml"]
    command += [part for text in SMALL for part in ("--set", text)]
    command += ["--nodes", "4", "--byzantine", "1", "--attack", "sign_flip:10", "--rule", rule]
    command += ["--set", "audit.rate=1.0"]
    done = subprocess.run(
        [*command, "--dir", str(tmp_path / "run"), "--timeout", "200", "--json"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=240,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    result = json.loads(done.stdout)
    logs = [path.read_text() for path in sorted((tmp_path / "run").rglob("node.log"))]
    convicted = [re.findall(r"convicted +peer=(\w+)", log) for log in logs]
    assert convicted == [convicted[0]] * 4
    assert len(convicted[0]) == 1
    assert set(result["bans"]) <= {*convicted[0]}
    # The last node is the liar: once it is banned, nobody opens anything to it.
    found = {found for log in logs[:-1] for found in re.findall(r"peer=(\w+) verdict=(\w+)", log)}
    assert {peer for peer, verdict in found if verdict == "mismatch"} == {*convicted[0]}
    assert {verdict for peer, verdict in found if peer not in convicted[0]} == {"ok"}
    told = set(re.findall(r"verdict=(\w+)", logs[-1]))
    assert told <= {"ok", "no_opening"}
    psnr_db = result["metrics"]["psnr_db"]
    if rule == "mean":
        assert psnr_db is None or not psnr_db >= 15
    else:
        assert psnr_db > 15


LIAR_JOB = """
[job]
name = "quad"
workload = "quadratic"
rounds = 3
[round]
steps = 5
"""


def test_a_real_liar_is_banned_and_the_evidence_on_disk_convicts_it_alone(tmp_path: Path) -> None:
    job, run = tmp_path / "job.toml", tmp_path / "run"
    job.write_text(LIAR_JOB)
    command = [sys.executable, "-m", "node", "up", "--job", str(job), "--dir", str(run), "--json"]
    command += ["--nodes", "4", "--byzantine", "1", "--attack", "equivocate", "--timeout", "100"]
    done = subprocess.run(
        command, cwd=ROOT, capture_output=True, text=True, timeout=110, check=False
    )
    assert done.returncode == 0, done.stderr
    result = json.loads(done.stdout)
    (liar,) = result["byzantine"]
    assert list(result["bans"]) == [liar]
    assert result["bans"][liar] <= 3
    with closing(sqlite3.connect(run / "node-00" / "store.sqlite")) as database:
        query = "SELECT key, CAST(value AS BLOB) FROM slots WHERE key LIKE 'evidence/%'"
        ((key, data),) = database.execute(query).fetchall()
    assert key == f"evidence/{liar}"
    file = tmp_path / "liar.evidence"
    file.write_bytes(data)
    verify = [sys.executable, "-m", "node", "evidence", "verify", str(file), "--json"]
    alone = subprocess.run(verify, cwd=ROOT, capture_output=True, text=True, check=True)
    assert json.loads(alone.stdout)["peer"] == liar
