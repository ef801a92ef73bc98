"""RAC beside its baselines on long-tailed Fashion-MNIST, in one process: JSON and a table.

    python tests/bench/bench_rac.py --seeds 3 --out docs/results

Every run is kept in ``rac.json`` at once; the same command goes on where it was stopped. One
process holds all data: what a swarm adds is another question.
"""

import argparse
import json
import os
import tempfile
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from rac_baselines import concat, linear_probe
from rac_table import write_table

from workloads.rac import datasets, metrics
from workloads.rac.catalogue import Found
from workloads.rac.measuring import Answers, measure
from workloads.rac.workload import RacWorkload

BASE: Mapping[str, Any] = {
    "data": "fashion-mnist",
    "class_max": 2000,
    "imbalance": 100.0,
    "many": 500,
    "few": 100,
}
STEPS = 600
ROUNDS = 10

RAC: Mapping[str, Mapping[str, Any]] = {
    "RAC": {},
    "RAC, label vote": {"vote": "label"},
    "R alone": {"branches": "retrieval"},
    "B, LACE": {"branches": "base"},
    "B, CE": {"branches": "base", "tau": 0.0},
    "RAC, k = 5": {"neighbours": 5},
    "RAC, k = 10": {"neighbours": 10},
    "RAC, k = 50": {"neighbours": 50},
    "RAC, HNSW": {"index": "hnsw"},
    "RAC, gate": {"fusion": "gate"},
    "RAC, mixture": {"fusion": "mixture"},
    "RAC, unit norm": {"norm": "unit"},
    "RAC, no norm": {"norm": "none"},
    "RAC, loss of the sum only": {"branch_loss": 0.0},
    "RAC, CE": {"tau": 0.0},
    "RAC, T = MiniLM": {"text": "minilm"},
}
ALL_SEEDS = ("RAC", "RAC, label vote", "R alone", "B, LACE", "B, CE")
"""Those of RAC that always run with all seeds; the others are ablations."""
NEW_CLASS = "Bag"
AUTHOR = "newcomer"


def prepared(settings: Mapping[str, Any], seed: int) -> RacWorkload:
    """A workload with all features and its own memory."""
    workload = RacWorkload({**settings, "sample": seed}, seed)
    while not workload.advance(1, 1.0, time.monotonic).waiting:
        pass
    return workload


def trained(workload: RacWorkload, steps: int) -> np.ndarray:
    params = workload.initial()
    for round_ in range(1, ROUNDS + 1):
        result = workload.train(
            params,
            round_=round_,
            rounds=ROUNDS,
            data_seed=b"bench%d" % round_,
            steps=steps // ROUNDS,
            deadline_s=float("inf"),
            continued=False,
            clock=time.monotonic,
        )
        params = params - result.update
    return params


def numbers_of(
    logits: np.ndarray, labels: np.ndarray, counts: np.ndarray, settings: Mapping[str, Any]
) -> dict[str, float]:
    answers = Answers(labels, logits.astype(np.float32), None, None, None)
    return measure(answers, counts, settings["many"], settings["few"])


def post_hoc(workload: RacWorkload, params: np.ndarray, settings: Mapping[str, Any]) -> dict:
    answers = workload.answers(params)
    counts = workload.counts
    adjusted = answers.fused - np.log(counts / counts.sum())
    return numbers_of(adjusted, answers.labels, counts, settings)


def run_rac(name: str, settings: Mapping[str, Any], seed: int, steps: int) -> dict[str, Any]:
    """Numbers of a variant by row name: some runs give several rows."""
    whole = {**settings, **RAC[name]}
    workload = prepared(whole, seed)
    start_s = time.process_time()
    params = trained(workload, steps)
    spent_s = time.process_time() - start_s
    found = workload.evaluate(params)
    found |= {"parameters": len(params), "train_cpu_s": round(spent_s, 1)}
    rows = {name: found}
    if RAC[name].get("tau") == 0.0:
        rows[f"{name}, post-hoc LA"] = post_hoc(workload, params, whole)
    if name == "RAC":
        answers = workload.answers(params)
        assert answers.found is not None
        votes = answers.found.votes
        rows["kNN vote"] = numbers_of(votes, answers.labels, workload.counts, whole)
        balanced = votes / workload.counts
        rows["kNN vote / class frequency"] = numbers_of(
            balanced, answers.labels, workload.counts, whole
        )
    return rows


def run_baselines(settings: Mapping[str, Any], seed: int, steps: int) -> dict[str, Any]:
    """Linear probes on E, and B + E in one network of RAC's size."""
    workload = prepared({**settings, "vote": "label"}, seed)
    size = len(RacWorkload({**settings, "sample": seed}, seed).initial())
    counts, labels = workload.counts, workload.test.labels
    rows = {}
    for name, tau in (("E probe, CE", 0.0), ("E probe, LACE", 1.0)):
        logits = linear_probe(workload, tau, steps, seed)
        rows[name] = numbers_of(logits, labels, counts, settings)
        if tau == 0:
            adjusted = logits - np.log(counts / counts.sum())
            rows[f"{name}, post-hoc LA"] = numbers_of(adjusted, labels, counts, settings)
    logits, parameters = concat(workload, size, steps, seed)
    rows["B + E concatenated, LACE"] = numbers_of(logits, labels, counts, settings) | {
        "parameters": parameters
    }
    return rows


def run_edit(settings: Mapping[str, Any], seed: int, steps: int, vote: str) -> dict[str, Any]:
    """Accuracy on a class that training never saw: before, with its entries, and without again."""
    data = datasets.load(settings["data"], ())
    new = data.classes.index(NEW_CLASS)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "without.npz"
        kept = data.train.labels != new
        np.savez(
            path,
            train_images=data.train.pictures[kept],
            train_labels=data.train.labels[kept],
            test_images=data.test.pictures,
            test_labels=data.test.labels,
            classes=np.array(data.classes),
        )
        workload = prepared({**settings, "data": str(path), "vote": vote}, seed)
    params = trained(workload, steps)
    rows = {f"{vote}: before": edit_numbers(workload, params, new)}
    pictures = data.train.pictures[~kept][:100]
    entries = workload.pack(pictures, np.full(len(pictures), new))
    workload.absorb(AUTHOR, entries)
    rows[f"{vote}: {len(pictures)} entries of {NEW_CLASS} added"] = edit_numbers(
        workload, params, new
    )
    workload.forget(AUTHOR)
    rows[f"{vote}: their author forgotten"] = edit_numbers(workload, params, new)
    return rows


def edit_numbers(workload: RacWorkload, params: np.ndarray, new: int) -> dict[str, float]:
    answers = workload.answers(params)
    found: Found | None = answers.found
    assert found is not None
    numbers = {}
    scored = {"fused": answers.fused, "retrieval": answers.retrieval, "vote": found.votes}
    for name, scores in scored.items():
        right = metrics.class_accuracy(scores.argmax(axis=1), answers.labels, scores.shape[1])
        numbers[f"{name}_new"] = float(right[new])
        numbers[f"{name}_others"] = float(np.delete(right, new).mean())
    return numbers


def urgency(name: str) -> int:
    """What is compared first, then the edited memory, then ablations."""
    return 0 if name in (*ALL_SEEDS, "baselines") else 1 if name.startswith("edit") else 2


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--ablation-seeds", type=int, default=1)
    parser.add_argument("--steps", type=int, default=STEPS)
    parser.add_argument("--class-max", type=int, default=BASE["class_max"])
    parser.add_argument("--imbalance", type=float, default=BASE["imbalance"])
    parser.add_argument("--many", type=int, default=BASE["many"])
    parser.add_argument("--few", type=int, default=BASE["few"])
    parser.add_argument("--test-max", type=int, default=4000)
    parser.add_argument("--only", nargs="*", help="names of rows of RAC, baselines or edit")
    parser.add_argument("--name", default="rac", help="of the files")
    parser.add_argument("--out", type=Path, default=Path("docs/results"))
    asked = parser.parse_args()
    torch.set_num_threads(1)
    settings = {
        **BASE,
        "class_max": asked.class_max,
        "imbalance": asked.imbalance,
        "many": asked.many,
        "few": asked.few,
        "test_max": asked.test_max,
    }
    path = asked.out / f"{asked.name}.json"
    kept: dict[str, Any] = {"settings": settings, "steps": asked.steps, "runs": {}}
    if path.exists():
        kept = json.loads(path.read_text())
        if (kept["settings"], kept["steps"]) != (settings, asked.steps):
            raise SystemExit(f"{path} holds runs with other settings: give another --name")
    jobs: dict[str, Callable[[], dict[str, Any]]] = {}
    for seed in range(1, asked.seeds + 1):
        for name in RAC:
            if name in ALL_SEEDS or seed <= asked.ablation_seeds:
                jobs[f"{seed} {name}"] = lambda n=name, s=seed: run_rac(n, settings, s, asked.steps)
        jobs[f"{seed} baselines"] = lambda s=seed: run_baselines(settings, s, asked.steps)
    for vote in ("text", "label"):
        jobs[f"1 edit {vote}"] = lambda v=vote: run_edit(settings, 1, asked.steps, v)
    order = sorted(jobs, key=lambda job: urgency(job.split(" ", 1)[1]))
    for job in order:
        if job in kept["runs"] or (asked.only and job.split(" ", 1)[1] not in asked.only):
            continue
        start_s = time.perf_counter()
        try:
            kept["runs"][job] = jobs[job]()
        except datasets.WorkloadError as error:
            print(f"{job}: left out ({error})", flush=True)
            continue
        print(f"{job}: {time.perf_counter() - start_s:.0f} s", flush=True)
        path.parent.mkdir(parents=True, exist_ok=True)
        part = path.with_suffix(".part")
        part.write_text(json.dumps(kept, indent=1) + "\n")
        os.replace(part, path)
        write_table(kept, asked.out / f"{asked.name}-table.md")


if __name__ == "__main__":
    main()
