"""What int8 keys lose against float32: neighbours found, keys that fall together, levels cut.

Random play of the development games; the true neighbours are those of the unquantised transform.
Run: python tests/bench/bench_nait_keys.py > docs/results/nait-quantisation.json
"""

import json
import sys

import numpy as np

from workloads.bench.published import DEVELOPMENT
from workloads.nait.config import NaitConfig
from workloads.nait.games import make_environment
from workloads.nait.representation import PictureEncoder

STEPS, QUERIES, K = 6000, 400, 8
UNITS = (1.0, 2.0, 4.0, 8.0, 16.0, 32.0)
SLACK = 1.02  # a neighbour within 2 % of the k-th true distance counts as found


class Unrounded(PictureEncoder):
    """The same transform without rounding."""

    def encode(self, observation):
        return ((self._transform(observation) - self._reference) * self._scale).ravel()


def play(game, steps=STEPS):
    """Transforms of two pictures in a row, in grey levels. Shape [steps, 242]."""
    environment = make_environment(NaitConfig.parse({"environment": game, "unit": 1.0}))
    exact = environment.encoder()
    encoder = Unrounded(210, 160, 11, 1.0)
    encoder._reference = exact._reference
    rng = np.random.default_rng(0)
    rows, action = [], 0
    frame = encoder.encode(environment.reset(environment.draw_start(rng)))
    for _ in range(steps):
        if rng.random() < 0.5:
            action = int(rng.integers(environment.actions))
        outcome = environment.step(action)
        before, frame = frame, encoder.encode(outcome.observation)
        rows.append(np.concatenate([frame, before]))
        if outcome.over:
            frame = encoder.encode(environment.reset(environment.draw_start(rng)))
    return np.array(rows, np.float32)


def squares(queries, keys):
    return (queries**2).sum(1)[:, None] - 2 * queries @ keys.T + (keys**2).sum(1)


def measure(exact, kept):
    """Recall at 8 of kept keys among unique ones, and the share of keys that are unique."""
    _, first = np.unique(kept, axis=0, return_index=True)
    known = np.sort(first[first < STEPS - QUERIES])
    true = squares(exact[-QUERIES:], exact[known])
    found = squares(kept[-QUERIES:].astype(np.float32), kept[known].astype(np.float32))
    limit = np.sort(true, axis=1)[:, K - 1]
    nearest = np.take_along_axis(true, np.argsort(found, axis=1)[:, :K], axis=1)
    return float((nearest <= limit[:, None] * SLACK**2 + 1).mean()), len(first) / len(kept)


def main():
    report = []
    for game in DEVELOPMENT:
        exact = play(game)
        rows = {"float16": (exact.astype(np.float16), 0.0)}
        for unit in UNITS:
            levels = np.rint(exact / unit)
            cut = float((np.abs(levels) > 127).mean())
            rows[f"int8 unit {unit:g}"] = (levels.clip(-127, 127).astype(np.int8), cut)
        for name, (kept, cut) in rows.items():
            recall, unique = measure(exact, kept)
            row = {"game": game, "keys": name, "recall_at_8": recall, "unique": unique, "cut": cut}
            report.append({k: round(v, 4) if isinstance(v, float) else v for k, v in row.items()})
            print(report[-1], file=sys.stderr)
    print(json.dumps(report, indent=1))


if __name__ == "__main__":
    main()
