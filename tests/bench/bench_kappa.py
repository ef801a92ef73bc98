"""How far liars move each rule in one round: kappa under the worst of many attacks, as JSON.

``OMP_NUM_THREADS=1 python tests/bench/bench_kappa.py [--n 16] [--f 3,5] [--h 0,0.7] [--seeds 5]
[--rules RULE,...] [--out FILE.json]`` writes FILE.json and FILE.md. kappa = |F - m|^2 / V, with m
the honest mean and V the mean squared deviation of the honest rows from it. Liars send copies of
one vector, or hide a common shift under noise of their own like that of honest rows.

Honest rows: 0.3 u + noise of length 1 + h times a deviation within 5 common directions, in d =
4,000 coordinates; n rows, of which f lie. The Gram matrix is the exact one of a round.
"""

import argparse
import json
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import numpy.typing as npt

from node.exchange.gram import gram_of
from node.exchange.rules import Rule, rule
from simulator.attacks.formulas import line_search, min_max_gamma

Matrix = npt.NDArray[np.float64]
Vector = npt.NDArray[np.float64]
D = 4000
MEAN = 0.3
RULES = (
    "mean", "krum", "bulyan", "meamed", "phocas", "trimmed_mean", "median", "multi_krum",
    "arc | mean", "mda", "geometric_median", "bucketing | geometric_median", "nnm | multi_krum",
    "nnm | geometric_median", "nnm | median", "nnm | trimmed_mean", "arc | nnm | trimmed_mean",
    "centered_clip", "nnm | centered_clip", "smea", "caf", "arc | caf", "norm_cap | caf",
    "nnm | caf", "norm_cap | nnm | caf",
)  # fmt: skip
SHIFTS = np.logspace(-1.5, 1.0, 28)
REPEATS = 3


class World:
    """Honest rows of one seed and how more like them are drawn."""

    def __init__(self, n: int, f: int, h: float, seed: int) -> None:
        self.f, self.h = f, h
        self.draws = np.random.default_rng([seed, f, int(10 * h)])
        u = self.draws.standard_normal(D)
        self.centre = MEAN * u / np.linalg.norm(u)
        self.common = np.linalg.qr(self.draws.standard_normal((D, 5)))[0].T
        self.rows = self.centre + self.noise(n - f)
        self.mean = self.rows.mean(axis=0)
        self.std = self.rows.std(axis=0)
        away = self.rows - self.mean
        self.variance = float((away**2).sum(axis=1).mean())
        self.first = np.linalg.svd(away, full_matrices=False)[2][0]

    def noise(self, count: int) -> Matrix:
        """What tells honest rows apart. Shape [count, D]."""
        own = self.draws.standard_normal((count, D)) / np.sqrt(D)
        shared = self.draws.standard_normal((count, 5)) / np.sqrt(5) @ self.common
        return np.asarray(own + self.h * shared)

    def kappa(self, each: Rule, lies: Matrix) -> float:
        """How far the aggregate is from the honest mean, in variances."""
        rows = list(np.vstack([lies, self.rows]).astype(np.float32))
        mixture = None
        if each.kind != "coordinates":
            mixture = each.mixture(gram_of(rows), self.f, b"kappa")
        found = each.combine(rows, self.f, mixture).astype(np.float64)
        return float(((found - self.mean) ** 2).sum()) / self.variance

    def copies(self, lie: Vector) -> Matrix:
        """One vector, sent by every liar."""
        return np.tile(lie, (self.f, 1))


def worst_of_copies(each: Rule, world: World) -> tuple[float, str]:
    """The largest kappa over the attacks with identical copies, and the attack."""
    found = {name: harm() for name, harm in _copies(each, world)}
    worst = max(found, key=lambda name: found[name])
    return found[worst], worst


def _copies(each: Rule, w: World) -> Iterator[tuple[str, Callable[[], float]]]:
    def one(lie: Vector) -> Callable[[], float]:
        return lambda: w.kappa(each, w.copies(lie))

    def best(direction: Vector) -> Callable[[], float]:
        def harm(z: float) -> float:
            return w.kappa(each, w.copies(w.mean + z * direction))

        return lambda: harm(line_search(harm))

    yield "honest like", lambda: w.kappa(each, w.centre + w.noise(w.f))
    yield "zero", one(np.zeros(D))
    yield "sign flip", one(-w.mean)
    yield "sign flip x 1000", one(-1000 * w.mean)
    yield "gaussian x 10", lambda: w.kappa(each, 10 * w.noise(w.f))
    yield "alie 1.06", one(w.mean - 1.06 * w.std)
    yield "optimal alie -", best(-w.std)
    yield "optimal alie +", best(w.std)
    yield "ipm 0.1", one(-0.1 * w.mean)
    yield "optimal ipm", best(-w.mean)
    yield "mimic", one(w.rows[int(np.argmax((w.rows - w.mean) @ w.first))])
    for name, direction in (("s", -w.std), ("m", -w.mean), ("pc1", w.first)):
        yield f"min-max {name}", one(w.mean + min_max_gamma(w.rows, direction) * direction)


def worst_of_camouflage(each: Rule, world: World) -> tuple[float, str]:
    """The largest kappa over shifts and directions, each the mean of a few draws of noise."""
    scale = np.sqrt(world.variance)
    noises = [world.noise(world.f) for _ in range(REPEATS)]
    worst, where = -1.0, ""
    for name, along in (("s", -world.std), ("m", -world.mean), ("pc1", world.first)):
        unit = along / np.linalg.norm(along)
        for shift in SHIFTS:
            lies = world.mean + shift * scale * unit
            harm = float(np.mean([world.kappa(each, lies + noise) for noise in noises]))
            if harm > worst:
                worst, where = harm, f"{name} x {shift:.2f}"
    return worst, where


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--n", type=int, default=16)
    parser.add_argument("--f", default="3,5")
    parser.add_argument("--h", default="0,0.7")
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--rules", default=",".join(RULES))
    parser.add_argument("--out", type=Path, default=Path("out/robustness-kappa.json"))
    options = parser.parse_args()
    settings = [(int(f), float(h)) for f in options.f.split(",") for h in options.h.split(",")]
    table = []
    for name in options.rules.split(","):
        each = rule(name)
        row: dict[str, object] = {"rule": name}
        for f, h in settings:
            if each.m_min(f) > options.n:
                continue
            for kind, attack in (("copies", worst_of_copies), ("camouflage", worst_of_camouflage)):
                if kind == "camouflage" and name == "mean":
                    continue
                seeds = range(options.seeds if kind == "copies" else min(3, options.seeds))
                found = [attack(each, World(options.n, f, h, seed)) for seed in seeds]
                row[f"{kind} f={f} h={h:g}"] = {
                    "kappa": float(np.mean([k for k, _ in found])),
                    "highest": max(k for k, _ in found),
                    "attacks": sorted({a for _, a in found}),
                }
        table.append(row)
        print(json.dumps(row), flush=True)
    options.out.parent.mkdir(parents=True, exist_ok=True)
    result = {"n": options.n, "d": D, "mean": MEAN, "seeds": options.seeds, "rules": table}
    options.out.write_text(json.dumps(result, indent=1) + "\n")
    options.out.with_suffix(".md").write_text(to_markdown(options.n, table))


def to_markdown(n: int, table: list[dict[str, object]]) -> str:
    """A row for each rule."""
    columns = sorted({column for row in table for column in row if column != "rule"}, reverse=True)
    columns.sort(key=lambda column: column.split()[0] != "copies")
    lines = [
        f"# How far f of {n} liars move a rule in one round",
        "",
        "kappa = |F - m|^2 / V under the worst attack of each kind, mean of the seeds; "
        "`python tests/bench/bench_kappa.py` writes this table.",
        "",
        "| rule | " + " | ".join(columns) + " |",
        "|---" * (len(columns) + 1) + "|",
    ]
    for row in table:
        cells = []
        for column in columns:
            cell = row.get(column)
            cells.append(f"{cell['kappa']:.3g}" if isinstance(cell, dict) else "-")
        lines.append(f"| {str(row['rule']).replace('|', chr(92) + '|')} | {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    main()
