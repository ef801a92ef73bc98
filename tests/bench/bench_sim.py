"""How large a world the simulator runs, and how fast. One core; times are user CPU seconds.

    .venv/bin/python tests/bench/bench_sim.py [--what a|b|c|growth]

a       64 electors x 50 rounds under faults: losses, crashes, a partition, f liars
b       64 electors followed by 256 nodes x 20 rounds
c       1,000 nodes of membership churn, no job
growth  calm rounds of 4 to 64 electors

Each runs in a process of its own, so that its peak memory is its own.
"""

import argparse
import json
import resource
import subprocess
import sys
import time
from collections import Counter

from node.types import PeerId
from simulator.hub import Watcher
from simulator.membership_world import Churn, run_churn
from simulator.run import run_scenario
from simulator.scenario import Scenario

JOB = {"workload": {"dimensions": 1000}}
GROWTH = (4, 8, 16, 32, 64)
GROWTH_ROUNDS = 6


class Calls(Watcher):
    """Counts requests by method."""

    def __init__(self) -> None:
        self.count: Counter[str] = Counter()

    def sent(self, at_s: float, source: PeerId, target: PeerId, method: str, data: bytes) -> None:
        """One more."""
        self.count[method] += 1


def faulty(nodes: int = 64, rounds: int = 50) -> Scenario:
    """Crashes, losses, a partition and f liars that reverse and lengthen their updates."""
    return Scenario(
        name="large",
        nodes=nodes,
        rounds=rounds,
        framed=False,
        job=JOB,
        link={"latency_s": 0.03, "jitter_s": 0.02, "loss_rate": 0.001},
        attacks=[{"name": "sign_flip", "scale": 10.0}],
        faults=[
            {"kind": "crash", "nodes": [1, 2], "round": 4, "phase": "screen", "for_s": 3},
            {"kind": "crash", "nodes": "leader", "round": max(5, rounds // 4), "for_s": 3},
            {"kind": "partition", "nodes": [3, 4, 5], "round": max(6, rounds // 2), "for_s": 3},
        ],
    )


def followed(nodes: int = 64, followers: int = 256, rounds: int = 20) -> Scenario:
    """Many nodes that only follow."""
    return Scenario(
        name="followed", nodes=nodes, followers=followers, rounds=rounds, framed=False, job=JOB
    )


def _used() -> tuple[float, float]:
    usage = resource.getrusage(resource.RUSAGE_SELF)
    return usage.ru_utime, usage.ru_maxrss / 1024


def _play(scenario: Scenario, seed: int) -> dict[str, object]:
    calls = Calls()
    before, _ = _used()
    outcome = run_scenario(scenario, seed, watchers=[lambda world: calls])
    row = _row(_used()[0] - before, outcome.events, outcome.virtual_s)
    return row | {
        "ok": outcome.ok,
        "rounds": outcome.rounds,
        "cpu_s_a_round": round((_used()[0] - before) / max(1, outcome.rounds), 3),
        "calls": dict(calls.count.most_common(4)),
        "violations": [f"{v.invariant}: {v.text[:200]}" for v in outcome.violations[:3]],
    }


def _row(cpu_s: float, events: int, virtual_s: float) -> dict[str, object]:
    return {
        "cpu_s": round(cpu_s, 1),
        "virtual_s": round(virtual_s, 1),
        "events": events,
        "events_a_cpu_s": round(events / cpu_s),
        "virtual_a_cpu_s": round(virtual_s / cpu_s, 2),
        "peak_mb": round(_used()[1]),
    }


def _churn(nodes: int, seed: int) -> dict[str, object]:
    before, _ = _used()
    o = run_churn(Churn(nodes=nodes), seed)
    row = _row(_used()[0] - before, o.events, o.virtual_s)
    return row | {
        "joins": o.joins,
        "leaves": o.leaves,
        "live": o.live,
        "known_share": round(o.known_share, 3),
        "known_share_min": round(o.known_share_min, 3),
        "dead_share": round(o.dead_share, 3),
        "overdue": o.overdue,
        "known_by_min": o.known_by_min,
        "splits": o.splits,
    }


def one(what: str, seed: int) -> dict[str, object]:
    """One measurement, in this process: ``a``, ``b``, ``c`` or ``growth:N``."""
    if what == "a":
        return _play(faulty(), seed)
    if what == "b":
        return _play(followed(), seed)
    if what == "c":
        return _churn(1000, seed)
    nodes = int(what.removeprefix("growth:"))
    calm = Scenario(name="calm", nodes=nodes, rounds=GROWTH_ROUNDS, framed=False, job=JOB)
    return _play(calm, seed)


def main() -> None:
    """Measure what is asked for and print a line each."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--what", default="", help="a, b, c or growth; all of them if not given")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--here", action="store_true", help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.here:
        print(json.dumps(one(args.what, args.seed)))
        return
    for what in (args.what,) if args.what else ("a", "b", "growth", "c"):
        for part in [f"growth:{n}" for n in GROWTH] if what == "growth" else [what]:
            started = time.perf_counter()
            command = [sys.executable, __file__, "--here", f"--what={part}", f"--seed={args.seed}"]
            done = subprocess.run(command, check=True, capture_output=True, text=True)
            wall_s = time.perf_counter() - started
            row = json.loads(done.stdout.splitlines()[-1])
            shown = "  ".join(f"{key} {value}" for key, value in row.items() if value != [])
            print(f"{part:10} wall_s {wall_s:.1f}  {shown}", flush=True)


if __name__ == "__main__":
    main()
