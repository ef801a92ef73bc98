"""How far apart the same local steps come out on different kernels and thread counts, as a table.

    python tests/bench/bench_classes.py [--job JOB.toml] [--rounds 30] [--parts 8]

Each round starts from the same state on all; each machine is a process of its own, since kernels
are chosen when torch is loaded. Also: how far apart the lengths of two rounds are, with which who
sends an old update would be found out.
"""

import argparse
import os
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np

ROOT = Path(__file__).parents[2]
MACHINES = {
    "as it is, 1 thread": {},
    "AVX2 kernels": {"ATEN_CPU_CAPABILITY": "avx2"},
    "2 threads": {"OMP_NUM_THREADS": "2"},
    "no vector kernels, BLAS of Nehalem": {
        "ATEN_CPU_CAPABILITY": "default", "OPENBLAS_CORETYPE": "Nehalem",
        "MKL_ENABLE_INSTRUCTIONS": "SSE4_2",
    },
}  # fmt: skip


def steps(job: Path, rounds: int, states: Path, out: Path, make: bool) -> None:
    """Updates of all rounds, from the kept states; the first machine makes these."""
    import torch

    from node.config import read_toml
    from workloads.api import load

    torch.set_num_threads(int(os.environ["OMP_NUM_THREADS"]))
    tables = read_toml(job.read_text(), {}, str(job))
    workload = load(tables["job"]["workload"])(tables["workload"], tables["job"]["seed"])
    starts = [workload.initial()] if make else list(np.load(states))
    updates = []
    for round_ in range(1, rounds + 1):
        result = workload.train(
            starts[round_ - 1],
            round_=round_,
            rounds=tables["job"]["rounds"],
            data_seed=b"%d" % round_,
            steps=tables["round"]["steps"],
            deadline_s=float("inf"),
            continued=False,
            clock=lambda: 0.0,
        )
        updates.append(result.update)
        if make:
            starts.append(starts[-1] - result.update)
        workload.reset()
    np.save(out, np.stack(updates))
    if make:
        np.save(states, np.stack(starts))


def strayed(one: np.ndarray, other: np.ndarray, parts: int) -> float:
    """Largest difference in length of a part, as a share of it."""
    lengths = [
        np.array([np.linalg.norm(part.astype(float)) for part in np.array_split(update, parts)])
        for update in (one, other)
    ]
    return float(np.abs(lengths[0] / lengths[1] - 1).max())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--job", type=Path, default=ROOT / "examples" / "inr-astronaut.toml")
    parser.add_argument("--rounds", type=int, default=30)
    parser.add_argument("--parts", type=int, default=8)
    parser.add_argument("--steps-of", type=Path, help=argparse.SUPPRESS)
    asked = parser.parse_args()
    if asked.steps_of:
        folder, name = asked.steps_of.parent, asked.steps_of.name
        steps(asked.job, asked.rounds, folder / "s.npy", folder / f"{name}.npy", name == "0")
        return
    with tempfile.TemporaryDirectory() as folder:
        for number, environment in enumerate(MACHINES.values()):
            command = [sys.executable, *sys.argv, "--steps-of", f"{folder}/{number}"]
            threads = {"OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)}
            subprocess.run(command, env={**os.environ, **threads, **environment}, check=True)
        updates = [np.load(f"{folder}/{number}.npy") for number in range(len(MACHINES))]
    print("| machine | update: median | worst | length of a part: median | worst |")
    print("|---" * 5 + "|")
    for name, those in list(zip(MACHINES, updates, strict=True))[1:]:
        pairs = list(zip(those, updates[0], strict=True))
        apart = [np.linalg.norm(a - b) / np.linalg.norm(b) for a, b in pairs]
        length = [strayed(a, b, asked.parts) for a, b in pairs]
        cells = (np.median(apart), max(apart), np.median(length), max(length))
        print(f"| {name} | {' | '.join(f'{cell:.2g}' for cell in cells)} |")
    rounds = [strayed(a, b, asked.parts) for a, b in zip(updates[0], updates[0][1:], strict=False)]
    print(f"\none round and the next: {np.median(rounds):.2g} median, {min(rounds):.2g} least")


if __name__ == "__main__":
    main()
