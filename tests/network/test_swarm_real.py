"""Real swarms under attack, on different arithmetic kernels, and with a rule that is not robust."""

import json
import re
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest

from node.jobs.verify_folder import verify_node_folder

# Every wait is for a swarm's end, and long only where many processes share few cores.
pytestmark = [pytest.mark.network, pytest.mark.slow, pytest.mark.timeout(300)]

MakeSwarm = Callable[..., Any]
ROOT = Path(__file__).parents[2]
ROUNDS = 6
DONE_S = 200.0
SMALL = (
    f"job.rounds={ROUNDS}",
    "workload.size=64",
    "workload.hidden_width=64",
    "round.steps=10",
)


def wait_until_done(swarm: Any, honest: list[Any]) -> None:
    deadline_s = time.monotonic() + DONE_S
    waiting = list(honest)
    while waiting:
        assert time.monotonic() < deadline_s, [swarm.status(node) for node in waiting]
        swarm.refresh()
        done = {event.node for event in swarm.events if event.name == "job_done"}
        waiting = [node for node in waiting if node.index not in done]
        time.sleep(0.1)


def agreed_root(honest: list[Any]) -> str:
    reports = [verify_node_folder(node.data) for node in honest]
    assert [report.reason for report in reports if not report.agreement] == []
    assert {report.round for report in reports} == {ROUNDS}
    (root,) = {report.state_root for report in reports}
    return root


def test_seven_nodes_finish_with_one_silent_and_one_who_sends_garbage(
    make_swarm: MakeSwarm, kit: ModuleType
) -> None:
    # Views that the silent one leads are waited out: not for longer than it takes to see that.
    swarm = make_swarm(7, *SMALL, "round.view_s_max=5.0")
    for node in swarm.nodes:
        attack = {5: "garbage", 6: "silent"}.get(node.index)
        swarm.spawn(node, **({"attack": attack} if attack else {}))
        if node.index == 0:
            swarm.wait_until_up(node)
    honest, garbage, silent = swarm.nodes[:5], swarm.nodes[5], swarm.nodes[6]
    wait_until_done(swarm, honest)
    swarm.stop()
    agreed_root(honest)
    decisions = [decision for _, _, decision in kit.certificates(honest[0].data, 1)]
    reasons: dict[int, set[str]] = {}
    for decision in decisions:
        for elector, reason in decision.refused:
            reasons.setdefault(elector, set()).add(reason)
    assert silent.elector in reasons
    assert reasons.pop(silent.elector) == {"absent"}
    assert "bad_leaf" in reasons.pop(garbage.elector)
    # Late, when the machine is busy, is the only fault that another node may be found to have.
    assert all(found <= {"absent", "missing"} for found in reasons.values()), reasons
    assert not any(garbage.elector in dict(d.plan) for d in decisions)
    assert sum(not d.skip for d in decisions) >= ROUNDS // 2


def vector_features() -> str:
    """Names of this CPU's optional features, as numpy takes them in NPY_DISABLE_CPU_FEATURES."""
    known: dict[str, bool] = np._core._multiarray_umath.__cpu_features__  # type: ignore[attr-defined]
    names = [name for name in ("X86_V3", "X86_V4", "AVX512_ICL") if known.get(name)]
    older = ("AVX2", "FMA3", "AVX512F", "AVX512_SKX", "AVX512_ICL")
    return " ".join(names or [name for name in older if known.get(name)])


def test_nodes_on_different_kernels_and_thread_counts_compute_the_same_bits(
    make_swarm: MakeSwarm, kit: ModuleType
) -> None:
    machines: list[tuple[dict[str, str], str]] = [
        ({}, "1"),
        ({"ATEN_CPU_CAPABILITY": "default", "OPENBLAS_CORETYPE": "Nehalem"}, "2"),
        ({"OPENBLAS_CORETYPE": "Prescott", "NPY_DISABLE_CPU_FEATURES": vector_features()}, "1"),
        ({"OPENBLAS_CORETYPE": "Haswell", "ATEN_CPU_CAPABILITY": "avx2"}, "1"),
    ]
    swarm = make_swarm(len(machines), *SMALL, "audit.rate=1.0", forks=False)
    for node, (environment, threads) in zip(swarm.nodes, machines, strict=True):
        swarm.spawn_alone(node, environment, "--threads", threads)
        if node.index == 0:
            swarm.wait_until_up(node)
    prepared: set[int] = set()
    deadline_s = time.monotonic() + DONE_S
    while swarm.round < ROUNDS:
        assert time.monotonic() < deadline_s, [swarm.status(node) for node in swarm.nodes]
        swarm.refresh()
        prepared |= {n.index for n in swarm.nodes if kit.slots(n.data, "prepare.")}
        time.sleep(0.1)
    wait_until_done(swarm, swarm.nodes)
    assert [swarm.status(node).warnings for node in swarm.nodes] == [()] * len(machines)
    swarm.stop()
    agreed_root(swarm.nodes)
    chains = [[id_ for _, id_, _ in kit.certificates(n.data, 1)] for n in swarm.nodes]
    assert chains == [chains[0]] * len(machines)
    # A PREPARE is signed only for a state that the node computed itself, bit for bit.
    assert prepared == {node.index for node in swarm.nodes}
    contributed = {e for _, decision in swarm.chain.values() for e, _ in decision.plan}
    assert contributed == {node.elector for node in swarm.nodes}
    assert [event.line for event in swarm.events if event.name == "peer_error"] == []
    # Their training differs in the last bits, which is never evidence against anybody.
    verdicts = {e.fields["verdict"] for e in swarm.events if e.name == "audited"}
    assert "other_class" in verdicts
    assert verdicts <= {"ok", "other_class"}


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
