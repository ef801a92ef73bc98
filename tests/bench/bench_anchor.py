"""Centered clipping that starts from the last aggregate, beside the one that does not, as a table.

``OMP_NUM_THREADS=1 python tests/bench/bench_anchor.py [--honest 10] [--f 3] [--gamma 0.33]
[--momentum 0.9] [--steps 300] [--seeds 2]``: the quadratic of ``artel bench robustness`` under all
its attacks; kappa, mean of all steps and seeds. The last aggregate is one more row of the Gram
matrix, and the start of the steps; the radius is the median distance of the rows.

Source: Karimireddy, He, Jaggi 2021, arXiv:2012.10333, Algorithm 2.
"""

import argparse
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from node.exchange.gram import gram_of
from node.exchange.rules import rule
from node.exchange.rules.base import Gram, Weights, finite_gram
from node.exchange.rules.combine import combine_weighted
from node.exchange.rules.geometry import clip_step
from node.exchange.rules.space import centred_at, distances, lower_median
from simulator.attacks.formulas import line_search
from simulator.bench import robustness
from simulator.bench.lies import ATTACKS, SENT_MAX, Sent
from simulator.bench.robustness import Setting
from simulator.bench.tasks import Matrix, Vector


def anchored(gram: Gram, steps: int) -> Weights:
    """Weights of the rows and, last, of the anchor that the last row of ``gram`` is. Shape [M]."""
    m = len(gram) - 1
    with np.errstate(all="ignore"):
        centred = centred_at(finite_gram(gram), m)
        a = np.zeros(m + 1)
        a[m] = 1.0
        for _ in range(steps):
            distance = distances(centred, a)[:m]
            pull = clip_step(distance, np.zeros(m), lower_median(distance))
            a *= 1.0 - pull.sum()
            a[:m] += pull
    return a


class AnchoredSent(Sent):
    """One step's rows, combined from the last aggregate on."""

    def __init__(self, steps: int, last: Vector, *facts: Any) -> None:
        super().__init__(*facts)
        self._steps, self._last = steps, last

    def combine(self, lies: Matrix) -> Vector:
        """The aggregate, which the next step starts from."""
        sent = np.clip(np.vstack([lies, self.rows, self._last]), -SENT_MAX, SENT_MAX)
        rows = list(sent.astype(np.float32))
        found = combine_weighted(rows, np.minimum(anchored(gram_of(rows), self._steps), 1.0))
        self._last[:] = found
        return found.astype(np.float64)

    def worst(self, name: str, direction: Vector) -> Matrix:
        """As ``Sent.worst``, against this rule."""
        base = np.vstack([self.rows, direction, self._last])
        gram, honest = base @ base.T, len(self.rows)
        mean = np.append(np.full(honest, 1 / honest), [0.0, 0.0])

        def harm(z: float) -> float:
            lie = mean.copy()
            lie[honest] = z
            eye = np.eye(honest + 2)
            made = np.vstack([np.tile(lie, (self.f, 1)), eye[:honest], eye[-1]])
            away = anchored(made @ gram @ made.T, self._steps) @ made - mean
            return float(np.sqrt(max(0.0, away @ gram @ away)))

        if name not in self._strengths:
            self._strengths[name] = line_search(harm)
        return self.copies(self.mean + self._strengths[name] * direction)


def kappa(setting: Setting, attack: str, seed: int, steps: int) -> float:
    """Mean of a run; ``steps`` from the last aggregate, or 0: as Artel's rule starts."""
    made: Callable[..., Sent] = Sent
    if steps:
        last = np.zeros(len(robustness.task("quadratic", 1, 1.0, seed, Path()).start()))
        made = partial(AnchoredSent, steps, last)
    kept, robustness.Sent = robustness.Sent, made  # type: ignore[misc, assignment]
    try:
        return robustness.train(setting, rule("centered_clip"), attack, seed).kappa
    finally:
        robustness.Sent = kept  # type: ignore[misc]


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser()
    for name, default in (("honest", 10), ("f", 3), ("steps", 300), ("seeds", 2)):
        parser.add_argument(f"--{name}", type=int, default=default)
    parser.add_argument("--gamma", type=float, default=0.33)
    parser.add_argument("--momentum", type=float, default=0.9)
    args = parser.parse_args()
    setting = Setting(
        "quadratic", args.honest, args.f, args.gamma, args.steps, 0.1, "none", args.seeds, "",
        args.momentum,
    )  # fmt: skip
    print(f"| start | {' | '.join(ATTACKS)} |\n|---|{'---:|' * len(ATTACKS)}")
    for label, steps in (("own rows", 0), ("last, 1", 1), ("last, 3", 3), ("last, 10", 10)):
        cells = []
        for attack in ATTACKS:
            runs = [kappa(setting, attack, seed, steps) for seed in range(args.seeds)]
            cells.append(f"{np.mean(runs):.2g}")
        print(f"| {label} | {' | '.join(cells)} |", flush=True)


if __name__ == "__main__":
    main()
