"""Several learners that share, in one process: honest, or with one that lies.

All play in turns of TURN steps and absorb each other's exports at once; so this measures what
sharing and robust retrieval do to scores, and nothing of networks.
Run: python tests/bench/bench_nait_swarm.py breakout --nodes 4 --steps 25000 --attack inflate
"""

import argparse
import dataclasses
import json
from time import perf_counter, process_time

import numpy as np

from workloads.nait import Batch, Learner

TURN = 250
ATTACKS = ("none", "inflate", "random_keys", "flood")


def lie(batch, attack, rng, key_pool):
    """What the liar sends instead of its batch."""
    if attack == "inflate":
        values = np.abs(batch.values) * 10 + 100
        return dataclasses.replace(batch, values=values.astype(np.float32))
    if attack == "random_keys":
        keys = rng.integers(-127, 128, batch.keys.shape).astype(np.int8)
        return dataclasses.replace(batch, keys=keys, values=batch.values * np.float32(10) + 100)
    if attack == "flood" and len(key_pool):
        copies = key_pool[rng.integers(len(key_pool), size=8 * max(1, len(batch)))]
        noisy = copies + rng.integers(-1, 2, copies.shape)
        actions = rng.integers(0, 256, len(noisy)) % (int(batch.actions.max(initial=0)) + 1)
        values = rng.uniform(-100, 200, len(noisy)).astype(np.float32)
        return Batch(noisy.clip(-127, 127).astype(np.int8), actions.astype(np.uint8), values)
    return batch


def play(arguments):
    config = {"environment": arguments.game, "protocol": arguments.protocol}
    if arguments.naive:
        config |= {"trust": False, "rule": "mean", "author_share": 1.0}
    learners = [Learner(config, arguments.seed * 100 + n) for n in range(arguments.nodes)]
    liar = arguments.nodes - 1 if arguments.attack != "none" else None
    rng = np.random.default_rng(arguments.seed)
    start_s = process_time()
    for _ in range(0, arguments.steps, TURN):
        for number, learner in enumerate(learners):
            learner.play(TURN, float("inf"), perf_counter)
            batch = learner.export(1 << 20)
            if number == liar:
                batch = lie(batch, arguments.attack, rng, learners[0].memory.keys)
            for other in learners:
                if other is not learner and len(batch):
                    other.absorb(batch, f"node {number}")
    honest = [learner for n, learner in enumerate(learners) if n != liar]
    return {
        **vars(arguments),
        "scores": [learner.records.recent() for learner in honest],
        "best": [learner.records.best for learner in honest],
        "trust": [[round(a.trust, 3) for a in learner.authors()] for learner in honest],
        "entries": [[a.entries for a in learner.authors()] for learner in honest],
        "cpu_s": round(process_time() - start_s, 1),
    }


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("game")
    parser.add_argument("--nodes", type=int, default=4)
    parser.add_argument("--steps", type=int, default=25_000, help="of each node")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--protocol", default="standard")
    parser.add_argument("--attack", choices=ATTACKS, default="none")
    parser.add_argument("--naive", action="store_true", help="believe everybody")
    print(json.dumps(play(parser.parse_args())), flush=True)


if __name__ == "__main__":
    main()
