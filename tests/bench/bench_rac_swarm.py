"""RAC as a swarm without its network: nodes, liars and rounds in one process, as JSON and a table.

    python tests/bench/bench_rac_swarm.py --seeds 3 --out docs/results/rac-swarm.json

The job is ``examples/rac-fashion-lt.toml``. Workloads, codec with error feedback, rule and false
memories are the shipped ones; what is left out are messages, time-outs and lateness: all entries
have arrived before the first round, and every update is used. So a run depends on its seed alone,
and not on how busy the machine is. Every run is kept at once; the same command goes on.
"""

import argparse
import json
import os
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch

from node.config import read_toml
from node.exchange.codecs import codec
from node.exchange.feedback import compensate, residual_after
from node.exchange.gram import gram_of
from node.exchange.rules import rule
from simulator.attacks import make_attack
from workloads.rac.workload import RacWorkload

JOB = Path(__file__).parents[2] / "examples" / "rac-fashion-lt.toml"
NODES = 4
CLASSES = {"shards": "classes"}
RUNS: Mapping[str, Mapping[str, Any]] = {
    "four nodes": {},
    "one node, steps of one": {"nodes": 1},
    "one node, steps of four": {"nodes": 1, "steps": 120},
    "four nodes, 100 rounds": {"rounds": 100},
    "classes": {"workload": CLASSES},
    "classes, own examples": {"workload": {**CLASSES, "learn": "own"}},
    "classes, prior job": {"workload": {**CLASSES, "prior": "job"}},
    "four nodes, prior job": {"workload": {"prior": "job"}},
    "three nodes": {"nodes": 3},
    "fourth shares nothing": {"attack": "silent"},
    "mislabel": {"attack": "mislabel_memory"},
    "flood": {"attack": "mislabel_flood"},
    "near": {"attack": "mislabel_near"},
    "tested: fourth shares nothing": {"attack": "silent", "trained": "four nodes"},
    "tested: mislabel": {"attack": "mislabel_memory", "trained": "four nodes"},
    "tested: flood": {"attack": "mislabel_flood", "trained": "four nodes"},
    "tested: near": {"attack": "mislabel_near", "trained": "four nodes"},
}
"""Those that name a run under ``trained`` take its parameters, and are not trained."""


def members(run: Mapping[str, Any], tables: Mapping[str, Any], seed: int) -> list[RacWorkload]:
    """Workloads that have encoded their parts and absorbed what the others share."""
    settings = {**tables["workload"], **run.get("workload", {}), "sample": seed, "test_max": 4000}
    count = run.get("nodes", NODES)
    nodes = []
    for index in range(count):
        node = RacWorkload(settings, seed)
        if count > 1:
            node.shard(index, NODES)
        node.start(b"swarm %d %d" % (seed, index))
        nodes.append(node)
    lies = None
    if (attack := run.get("attack")) not in (None, "silent"):
        lies = make_attack(attack, scale=1.0, seed=seed)
    for index, node in enumerate(nodes):
        while not node.own.complete:
            entries = node.advance(1, 1.0, time.monotonic).entries
            if attack is not None and index == NODES - 1:
                if lies is None:
                    continue
                entries = lies.shares(entries, np.random.default_rng([seed, node.own.known]))
            elif lies is not None:
                lies.sees(entries)
            for other in nodes:
                if other is not node:
                    other.absorb(f"node {index}", entries)
    return nodes


def play(
    run: Mapping[str, Any], tables: Mapping[str, Any], seed: int, params: np.ndarray | None
) -> tuple[dict[str, Any], np.ndarray]:
    """One run: metrics as node 0 has them, how far it trusts each of the others, and parameters.

    Without ``params`` they are trained.
    """
    nodes = members(run, tables, seed)
    start_s = time.process_time()
    if params is None:
        params = trained(nodes, run, tables, seed)
    found = nodes[0].evaluate(params)
    found["cpu_s"] = round(time.process_time() - start_s, 1)
    for name in nodes[0]._catalogue.authors:
        found[f"trust {name}"] = nodes[0]._catalogue.trust(name)
    return found, params


def trained(
    nodes: list[RacWorkload], run: Mapping[str, Any], tables: Mapping[str, Any], seed: int
) -> np.ndarray:
    """The parameters after all rounds."""
    rounds = run.get("rounds", tables["job"]["rounds"])
    steps = run.get("steps", tables["round"]["steps"])
    coded = codec(tables["exchange"]["codec"])
    reduce = rule(run.get("rule", tables["exchange"]["rule"]))
    liars = (len(nodes) - 1) // 3
    params = nodes[0].initial()
    residuals = [np.zeros_like(params) for _ in nodes]
    for round_ in range(1, rounds + 1):
        rows = []
        for index, node in enumerate(nodes):
            result = node.train(
                params,
                round_=round_,
                rounds=rounds,
                data_seed=b"%d %d %d" % (seed, round_, index),
                steps=steps,
                deadline_s=float("inf"),
                continued=False,
                clock=time.monotonic,
            )
            wanted = compensate(result.update, residuals[index])
            rows.append(coded.decode(coded.encode(wanted), len(params)))
            residuals[index] = residual_after(wanted, rows[-1])
        mixture = reduce.mixture(gram_of(rows), liars) if reduce.kind != "coordinates" else None
        params = params - reduce.combine(rows, liars, mixture)
    return params


def table(runs: Mapping[str, Mapping[str, float]]) -> str:
    """Mean and deviation over seeds, in per cent."""
    columns = ("accuracy", "many", "medium", "few", "base_accuracy", "retrieval_accuracy")
    columns += ("vote_accuracy",)
    heads = ("accuracy", "many", "medium", "few", "B", "R", "vote")
    lines = [f"| run | seeds | {' | '.join(heads)} | trust in the fourth |", "|---" * 10 + "|"]
    for name in RUNS:
        rows = [run for job, run in sorted(runs.items()) if job.split(" ", 1)[1] == name]
        if not rows:
            continue
        cells = [name, str(len(rows))]
        for column in columns:
            values = 100 * np.array([row[column] for row in rows])
            spread = f" ± {values.std(ddof=1):.1f}" if len(rows) > 1 else ""
            cells.append(f"{values.mean():.1f}{spread}")
        trusts = [row["trust node 3"] for row in rows if "trust node 3" in row]
        cells.append(" ".join(f"{trust:.2f}" for trust in trusts) or "-")
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--first", type=int, default=1, help="the first of the seeds")
    parser.add_argument("--only", nargs="*", help="names of runs")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--table", action="store_true", help="only show what is in --out")
    asked = parser.parse_args()
    torch.set_num_threads(1)
    kept = json.loads(asked.out.read_text()) if asked.out.exists() else {}
    folder = asked.out.with_suffix(".params")
    tables = read_toml(JOB.read_text(), {}, str(JOB))
    for seed in range(asked.first, asked.first + asked.seeds):
        for name, run in RUNS.items():
            job = f"{seed} {name}"
            if asked.table or job in kept or (asked.only and name not in asked.only):
                continue
            start_s, params = time.perf_counter(), None
            if "trained" in run:
                path = folder / f"{seed} {run['trained']}.npy"
                if not path.exists():
                    print(f"{job}: run {run['trained']!r} first")
                    continue
                params = np.load(path)
            kept[job], params = play(run, tables, seed, params)
            if "trained" not in run:
                folder.mkdir(exist_ok=True)
                np.save(folder / f"{job}.npy", params)
            print(f"{job}: {time.perf_counter() - start_s:.0f} s", kept[job], flush=True)
            part = asked.out.with_suffix(".part")
            part.write_text(json.dumps(kept, indent=1) + "\n")
            os.replace(part, asked.out)
    print(table(kept))


if __name__ == "__main__":
    main()
