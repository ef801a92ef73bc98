"""What a setting of NAIT is worth: one learner alone, some changes of the defaults, games x seeds.

Each run is a line of JSON; a run that the file holds already is not made again.
Run: python tests/bench/bench_nait_settings.py --change kernel=inverse --change fire=true \\
    --games qbert,breakout --steps 40000 --seeds 2 --out docs/results/sweep.jsonl
"""

import argparse
import json
from concurrent.futures import ProcessPoolExecutor, as_completed
from pathlib import Path
from time import monotonic, process_time

from workloads.bench.published import DEVELOPMENT, SCORES
from workloads.bench.scores import normalise
from workloads.nait.learner import Learner


def measure(task):
    """One run. ``last_quarter``: mean score of the episodes that ended in its last quarter."""
    change, game, seed, steps = task
    learner = Learner({"environment": game, **change}, seed)
    start_s = process_time()
    learner.play(steps, 1e9, monotonic)
    cpu_s = process_time() - start_s
    episodes = learner.records.episodes
    late = [e.score for e in episodes if e.end_step > steps * 0.75] or [episodes[-1].score]
    score = sum(late) / len(late)
    random, human = SCORES[game][:2]
    return {
        "change": change,
        "game": game,
        "seed": seed,
        "steps": steps,
        "last_quarter": round(score, 3),
        "hns": round(normalise(score, random, human), 4),
        "episodes": len(episodes),
        "stalled": sum(episode.stalled for episode in episodes),
        "revisits": round(learner.metrics()["revisits"], 3),
        "cpu_s": round(cpu_s, 2),
    }


def parse_change(text):
    """``a=1,b="x"`` as a dict; what is not JSON is taken as text; "" changes nothing."""
    change = {}
    for pair in filter(None, text.split(",")):
        name, _, value = pair.partition("=")
        try:
            change[name] = json.loads(value)
        except ValueError:
            change[name] = value
    return change


def identity(row):
    return json.dumps([row["change"], row["game"], row["seed"], row["steps"]], sort_keys=True)


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--change", action="append", default=[])
    parser.add_argument("--games", default=",".join(DEVELOPMENT))
    parser.add_argument("--steps", type=int, default=40_000)
    parser.add_argument("--seeds", type=int, default=1)
    parser.add_argument("--jobs", type=int, default=1)
    parser.add_argument("--out", type=Path, required=True)
    args = parser.parse_args()
    rows = []
    if args.out.exists():
        rows = [json.loads(line) for line in args.out.read_text().splitlines()]
    done = {identity(row) for row in rows}
    tasks = [
        (change, game, seed, args.steps)
        for seed in range(args.seeds)
        for change in map(parse_change, args.change or [""])
        for game in args.games.split(",")
    ]
    names = ("change", "game", "seed", "steps")
    tasks = [t for t in tasks if identity(dict(zip(names, t, strict=True))) not in done]
    with ProcessPoolExecutor(args.jobs) as pool, args.out.open("a") as file:
        for future in as_completed([pool.submit(measure, task) for task in tasks]):
            line = json.dumps(future.result())
            print(line, flush=True)
            print(line, file=file, flush=True)


if __name__ == "__main__":
    main()
