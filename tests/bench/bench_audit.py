"""How soon audits ban, against 1/(p delta), what they cost, and whom noise bans; in virtual time.

    python tests/bench/bench_audit.py [--rounds 300] [--runs 24] [--only ban,noise,...] [--json]

Four tables. *Ban*: one liar of four, or two of seven, in runs of one seed each: rounds from its
first false contribution until the one that convicts it, and until the decision that bans it. The
first is to be 1/(p delta), with delta the chance that the first auditor objects: the other liars of
seven flip labels too, and find nothing in theirs. *Noise*: honest swarms whose replays go wrong;
every contribution is audited. *Cost*: with an inner Adam, whose state is most of an opening.
*Delay*: how long a round's training and the whole round take, beside rounds without audits.

How noise is injected: what a replay gives is multiplied by 1 + 1e-7 N(0, 1), coordinate by
coordinate, as another order of additions would; 1e-7 is about one unit in the last place of a
float32.
"""

import argparse
import json
import math
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any, cast

import numpy as np

from node.ports import (
    Compute,
    FloatVector,
    ReplayReply,
    ReplayRequest,
    TrainReply,
    TrainRequest,
    Worker,
)
from simulator.attacks.shells import ComputeShell, WorkerShell
from simulator.host.compute import SimCompute
from simulator.hub import Watcher
from simulator.run import Outcome, run_scenario
from simulator.scenario import AttackSection, HostSection, Scenario
from simulator.world import World

SEED = 3
INR = {
    "image": "astronaut", "size": 16, "hidden_layers": 2, "hidden_width": 400,
    "pixels_per_step": 16, "lr": 0.001,
}  # fmt: skip


class Books(Watcher):
    """Convictions, bans, bytes, steps and times, as the honest nodes see them."""

    def __init__(self, world: World) -> None:
        self._world = world
        self._names = {node.peer: node.index for node in world.nodes}
        self.judged: dict[int, int] = {}
        """Node -> round of the contribution that convicted it."""
        self.verdicts: Counter[str] = Counter()
        self.refuted = 0
        self.update_s: list[float] = []
        self.round_s: list[float] = []
        self.bytes_up = self.bytes_opened = self.replayed = 0

    def event(self, at_s: float, node: int, event: str, fields: Mapping[str, Any]) -> None:
        """Note it."""
        daemon = self._world.nodes[node].daemon
        if daemon is None or not daemon.runners or node in self._world.liars:
            return
        runner = daemon.runners[0]
        if event == "judged":
            self.judged.setdefault(self._names[fields["peer"]], fields["round"])
        if event == "audited":
            self.verdicts[fields["verdict"]] += 1
        if event == "peer_error":
            self.refuted += fields["reason"] == "false_finding"
        if event == "round_certified":
            self.round_s.append(fields["seconds"])
            self.update_s.append(fields["steps"].get("update", math.nan))
        if event == "job_done":
            self.bytes_up += runner.counters.bytes_up
            self.bytes_opened += runner.progress.audits.bytes_opened
            self.replayed += runner.progress.audits.steps


class _Noisy(WorkerShell):
    """Replays that go wrong."""

    def __init__(self, inner: Worker, noise: "Noise") -> None:
        super().__init__(inner)
        self._noise = noise

    async def replay(self, request: ReplayRequest) -> ReplayReply | None:
        reply = await self.inner.replay(request)
        return None if reply is None else self._noise.spoil(reply)

    async def train(self, request: TrainRequest) -> TrainReply:
        reply = await self.inner.train(request)
        if not self._noise.trains:
            return reply
        return replace(reply, update=self._noise.shake(reply.update, np.random.default_rng(1)))


class _NoisyCompute(ComputeShell):
    def __init__(self, inner: Compute, noise: "Noise") -> None:
        super().__init__(inner)
        self._noise = noise

    async def start_worker(self, *args: Any, **settings: Any) -> Worker:
        return _Noisy(await self.inner.start_worker(*args, **settings), self._noise)


class Noise:
    """What is wrong with the machine of an honest node.

    Args:
        rate: chance that a replay goes wrong.
        same: it goes wrong in the same way each time, as with kernels of another machine.
        trains: its own training does too.
        rng: of the draws.
    """

    def __init__(self, rate: float, same: bool, trains: bool, rng: np.random.Generator) -> None:
        self._rate, self._same, self._rng = rate, same, rng
        self.trains = trains

    def spoil(self, reply: ReplayReply) -> ReplayReply:
        """What the machine makes of a replay."""
        if self._rng.random() >= self._rate:
            return reply
        rng = np.random.default_rng(1) if self._same else self._rng
        return replace(reply, update=self.shake(reply.update, rng))

    @staticmethod
    def shake(update: FloatVector, rng: np.random.Generator) -> FloatVector:
        """Noise of about one unit in the last place."""
        factor = 1 + 1e-7 * rng.standard_normal(update.shape)
        return (update * factor).astype(np.float32)


def play(
    nodes: int,
    rounds: int,
    attack: str = "",
    *,
    seed: int = SEED,
    hosts: Sequence[HostSection] = (),
    noises: Mapping[int, Noise] | None = None,
    **job: Any,
) -> tuple[Books, Outcome]:
    """One run."""
    job.setdefault("workload", {"dimensions": 64, "heterogeneity": 0.2})
    attacks = (AttackSection(name=attack),) if attack else ()
    scenario = Scenario(
        name="audit", nodes=nodes, rounds=rounds, attacks=attacks, hosts=tuple(hosts), job=job,
        framed=False, limit_s=60 + 5 * rounds,
    )  # fmt: skip
    seen: list[Books] = []

    def make(world: World) -> Books:
        for index, noise in (noises or {}).items():
            node = world.nodes[index]
            node.compute = cast(SimCompute, _NoisyCompute(node.compute, noise))
        seen.append(Books(world))
        return seen[0]

    outcome = run_scenario(scenario, seed, watchers=[make])
    assert noises or not outcome.violations, outcome.violations[0]
    return seen[0], outcome


def ban_table(runs: int) -> list[dict[str, Any]]:
    """Rounds until a conviction and a ban against 1/(p delta)."""
    rows = []
    for nodes, attack, delta, honest in ((4, "stale", 1.0, 1), (7, "label_flip", 5 / 6, 0)):
        for rate in (0.1, 0.3):
            expected = 1 / (rate * delta)
            rounds = int(8 * expected)
            judged: list[int] = []
            banned: list[int] = []
            liars = (nodes - 1) // 3
            for seed in range(-(-runs // liars)):
                books, outcome = play(nodes, rounds, attack, seed=seed, audit={"rate": rate})
                judged += [round_ - honest for round_ in books.judged.values()]
                ends = [int(why.rsplit(" ", 1)[1]) for why in outcome.bans.values()]
                banned += [round_ - honest for round_ in ends]
                assert {f"node-{n}" for n in books.judged} >= outcome.bans.keys()
            count = len(judged)
            rows.append(
                {
                    "attack": attack, "nodes": nodes, "liars": liars, "p": rate,
                    "seen": -(-runs // liars) * liars, "convicted": count, "banned": len(banned),
                    "until_convicted": sum(judged) / count,
                    "until_banned": sum(banned) / len(banned),
                    "expected": expected, "expected_error": expected / count**0.5,
                }
            )  # fmt: skip
    return rows


def noise_table(peer_rounds: int) -> list[dict[str, Any]]:
    """Honest swarms with noise: verdicts, objections that were refuted, and bans."""
    nodes = 5
    rounds = peer_rounds // nodes // 4
    everybody, one = range(nodes), (nodes - 1,)
    cases: list[tuple[str, Sequence[int], float, bool, bool, Sequence[HostSection]]] = [
        ("every 20th replay anywhere", everybody, 0.05, False, False, ()),
        ("every 2nd replay anywhere", everybody, 0.5, False, False, ()),
        ("all replays of one node, alike", one, 1.0, True, False, ()),
        ("two classes that differ", (3, 4), 1.0, True, True,
         [HostSection(nodes=(3, 4), machine="gpu-small")]),
        ("one node of a class it is not", one, 1.0, True, True, ()),
    ]  # fmt: skip
    rows = []
    for name, who, rate, same, trains, hosts in cases:
        noises = {n: Noise(rate, same, trains, np.random.default_rng([SEED, n])) for n in who}
        books, outcome = play(
            nodes, rounds, noises=noises, hosts=hosts, round={"steps": 2}, audit={"rate": 1.0}
        )
        serious = {v.invariant for v in outcome.violations} - {"no_false_finding", "no_false_blame"}
        rows.append(
            {
                "noise": name, "peer_rounds": nodes * outcome.rounds,
                **{v: books.verdicts[v] for v in ("ok", "mismatch", "inconclusive", "other_class")},
                "refuted": books.refuted, "bans": len(outcome.bans),
                "broken": " ".join(sorted(serious)) or "-",
            }
        )  # fmt: skip
    return rows


def cost_table(rounds: int) -> list[dict[str, Any]]:
    """Share of traffic and of local steps that audits take, measured at p = 0.1."""
    rows = []
    for nodes, beta in ((4, 0.0), (4, 0.9), (10, 0.0)):
        steps, rate = 2, 0.1
        books, _ = play(
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
        books, _ = play(7, rounds, audit={"rate": rate})
        mean = {
            "update_s": sum(books.update_s) / len(books.update_s),
            "round_s": sum(books.round_s) / len(books.round_s),
        }
        rows.append({"p": rate, **mean, "update_s_max": max(books.update_s)})
    return rows


def main() -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=300)
    parser.add_argument("--runs", type=int, default=24)
    parser.add_argument("--peer-rounds", type=int, default=10_000)
    parser.add_argument("--only", default="ban,noise,cost,delay")
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    makers: dict[str, Callable[[], list[dict[str, Any]]]] = {
        "ban": lambda: ban_table(options.runs),
        "noise": lambda: noise_table(options.peer_rounds),
        "cost": lambda: cost_table(max(10, options.rounds // 12)),
        "delay": lambda: delay_table(max(10, options.rounds // 5)),
    }
    tables = {name: makers[name]() for name in options.only.split(",")}
    if options.json:
        print(json.dumps(tables))
        return
    for name, rows in tables.items():
        print(name)
        wide = {key: max(len(key), *(len(_shown(row[key])) for row in rows)) for key in rows[0]}
        print("  " + "  ".join(f"{key:>{width}}" for key, width in wide.items()))
        for row in rows:
            print("  " + "  ".join(f"{_shown(row[key]):>{width}}" for key, width in wide.items()))


def _shown(value: object) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)


if __name__ == "__main__":
    main()
