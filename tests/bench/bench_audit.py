"""How soon audits convict, against 1/(p delta), and what they cost; in virtual time.

    python tests/bench/bench_audit.py [--rounds 300] [--json]

Three tables. *Conviction*: one liar of four, or two of seven, is convicted again and again (each
time it is forgotten); the mean of rounds between is to be 1/(p delta), with delta the chance that
the first auditor objects: the other liars of seven flip labels too, and find nothing in theirs.
*Cost*: with an inner Adam, whose state is most of an opening. *Delay*: how long a round's training
and the whole round take, beside rounds without audits.
"""

import argparse
import json
import math
from collections.abc import Mapping
from typing import Any

from simulator.hub import Watcher
from simulator.run import run_scenario
from simulator.scenario import AttackSection, Scenario
from simulator.world import World

SEED = 3
INR = {
    "image": "astronaut", "size": 16, "hidden_layers": 2, "hidden_width": 400,
    "pixels_per_step": 16, "lr": 0.001,
}  # fmt: skip


class Books(Watcher):
    """Convictions, bytes, steps and times of the honest nodes."""

    def __init__(self, world: World) -> None:
        self._world = world
        self._names = {node.peer: node.index for node in world.nodes}
        self.convictions: dict[int, list[int]] = {}
        """Liar -> rounds of its convictions, as the first node sees them."""
        self.update_s: list[float] = []
        self.round_s: list[float] = []
        self.bytes_up = self.bytes_opened = self.replayed = 0

    def event(self, at_s: float, node: int, event: str, fields: Mapping[str, Any]) -> None:
        """Note, and let the convict have another chance."""
        daemon = self._world.nodes[node].daemon
        if daemon is None or not daemon.runners:
            return
        runner = daemon.runners[0]
        if event == "convicted" and node not in self._world.liars:
            assert runner.auditing is not None
            runner.auditing.tally._convicted.clear()
            rounds = self.convictions.setdefault(self._names[fields["peer"]], [])
            if node == 0 and fields["round"] not in rounds:
                rounds.append(fields["round"])
        if event == "round_certified":
            self.round_s.append(fields["seconds"])
            self.update_s.append(fields["steps"].get("update", math.nan))
        if event == "job_done":
            self.bytes_up += runner.counters.bytes_up
            self.bytes_opened += runner.progress.audits.bytes_opened
            self.replayed += runner.progress.audits.steps


def play(nodes: int, rounds: int, attack: str = "", **job: Any) -> Books:
    """One run."""
    job.setdefault("workload", {"dimensions": 64, "heterogeneity": 0.2})
    attacks = (AttackSection(name=attack),) if attack else ()
    scenario = Scenario(
        name="audit", nodes=nodes, rounds=rounds, attacks=attacks, job=job, limit_s=1e6
    )
    seen: list[Books] = []

    def make(world: World) -> Books:
        seen.append(Books(world))
        return seen[0]

    outcome = run_scenario(scenario, SEED, watchers=[make])
    assert not outcome.violations, outcome.violations[0]
    return seen[0]


def conviction_table(rounds: int) -> list[dict[str, Any]]:
    """Rounds until a conviction against 1/(p delta)."""
    rows = []
    for nodes, attack, delta in ((4, "stale", 1.0), (7, "label_flip", 5 / 6)):
        for rate in (0.05, 0.2):
            books = play(nodes, rounds, attack, audit={"rate": rate})
            found = [r for liar in sorted(books.convictions) for r in books.convictions[liar]]
            liars = (nodes - 1) // 3
            rows.append(
                {
                    "attack": attack, "nodes": nodes, "liars": liars, "p": rate,
                    "convictions": len(found),
                    "rounds": liars * rounds / len(found) if found else math.inf,
                    "expected": 1 / (rate * delta),
                    "expected_error": 1 / (rate * delta) / max(1, len(found)) ** 0.5,
                }
            )  # fmt: skip
    return rows


def cost_table(rounds: int) -> list[dict[str, Any]]:
    """Share of traffic and of local steps that audits take, measured at p = 0.1."""
    rows = []
    for nodes, beta in ((4, 0.0), (4, 0.9), (10, 0.0)):
        steps, rate = 2, 0.1
        books = play(
            nodes, rounds, workload_name="inr", workload=INR, round={"steps": steps},
            audit={"rate": rate}, exchange={"momentum": beta},
        )  # fmt: skip
        traffic = books.bytes_opened / (books.bytes_up - books.bytes_opened) / rate
        compute = books.replayed / (steps * nodes * rounds) / rate
        rows.append(
            {
                "nodes": nodes, "momentum": beta, "traffic_per_p": traffic,
                "compute_per_p": compute, "both_at_0.006": 0.006 * (traffic + compute),
            }
        )  # fmt: skip
    return rows


def delay_table(rounds: int) -> list[dict[str, Any]]:
    """Mean seconds until the update, and of the round; training takes 0.2 s."""
    rows = []
    for rate in (0.0, 0.006, 0.1, 1.0):
        books = play(7, rounds, audit={"rate": rate})
        mean = {
            "update_s": sum(books.update_s) / len(books.update_s),
            "round_s": sum(books.round_s) / len(books.round_s),
        }
        rows.append({"p": rate, **mean, "update_s_max": max(books.update_s)})
    return rows


def main() -> None:
    """Print all tables."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=300)
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    tables = {
        "conviction": conviction_table(options.rounds),
        "cost": cost_table(max(10, options.rounds // 12)),
        "delay": delay_table(max(10, options.rounds // 5)),
    }
    if options.json:
        print(json.dumps(tables))
        return
    for name, rows in tables.items():
        print(name)
        print("  " + "  ".join(f"{key:>14}" for key in rows[0]))
        for row in rows:
            shown = (f"{v:14.4g}" if isinstance(v, float) else f"{v:>14}" for v in row.values())
            print("  " + "  ".join(shown))


if __name__ == "__main__":
    main()
