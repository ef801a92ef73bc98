"""Real swarms with a silent node and one that sends garbage, and on unequal arithmetic kernels."""

import time
from collections.abc import Callable
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
