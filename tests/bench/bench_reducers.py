"""What lying reducers come to where r <= f: seen in their round, undone, and at whose cost.

    python tests/bench/bench_reducers.py [--rounds N] [--swarm-rounds N] [--opening-rounds N]
        [--long-rounds N]

*Lies*: one part of each round is reduced by liars alone, which happens with chance
C(f, r)/C(n, r) only. Each line is one lie; the arithmetic is that of nodes. Rows are drawn
around a common direction. *Swarm*: whole daemons in virtual time under attacks of the simulator,
all invariants checked. Liars contribute honestly, so that where every lie is undone, results are
those of the plan, bit for bit. *Openings*: lies that no sketch sees, found in drawn parts. *Long*:
whether anybody honest is ever convicted. A table is left out with 0 rounds.
"""

import argparse
import json
import math
import platform
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from node.exchange.codecs import CODECS
from node.exchange.gram import assemble_gram, gram_fault, integer_gram, quantise_row
from node.exchange.reduction import Resolution, pack_gram
from node.exchange.rules import combine_weighted, rule
from node.exchange.sketch import (
    PartClaim,
    bucket_counts,
    gram_mismatch,
    result_mismatch,
    sketch_row,
)
from node.jobs.geometry import Geometry
from node.jobs.round_flow import RoundFlow
from node.jobs.work import reduce_parts, weights_of
from node.ledger.assurance import liars_alone
from node.types import PeerId
from node.wire.convert import decode_proposal
from node.wire.convert_ledger import decode_decision
from simulator.hub import Watcher
from simulator.run import run_scenario
from simulator.scenario import AttackSection, Scenario
from simulator.world import World

PARTS, D = 4, 4096
INT8 = CODECS["int8"]
SHARES = (1e-4, 1e-3, 1e-2, 2e-2, 0.1, 1.0, 10.0)
Lie = Callable[["Round"], tuple[list[PartClaim], np.ndarray | None]]
"""A round -> (what is claimed of its parts, the false result of part 0; None: what follows)."""


class Round:
    """The rows, products, sketches and beacon of one round; liars reduce part 0."""

    def __init__(self, rng: np.random.Generator, n: int, rule_name: str) -> None:
        self.n, self.f, self.rng = n, (n - 1) // 3, rng
        self.rule, self.beacon = rule(rule_name), rng.bytes(32)
        self.liars = range(n - self.f, n)
        self.rows: list[list[np.ndarray]] = []
        self.claims: list[PartClaim] = []
        buckets = bucket_counts(n, [D] * PARTS)
        for part in range(PARTS):
            whole = rng.normal(size=D) + rng.normal(size=(n, D))
            rows = [INT8.decode(INT8.encode(x.astype(np.float32)), D) for x in whole]
            integers = [quantise_row(x) for x in rows]
            sketches = [sketch_row(x.values, self.beacon, part, buckets[part]) for x in integers]
            exponents = tuple(x.exponent for x in integers)
            self.rows.append(rows)
            self.claims.append(PartClaim(integer_gram(integers), np.stack(sketches), exponents, D))
        self.weights = self.weights_of(self.claims)
        self.result = combine_weighted(self.rows[0], self.weights)

    def weights_of(self, claims: list[PartClaim]) -> np.ndarray:
        """What the rule makes of the products."""
        gram = assemble_gram([(c.gram, c.exponents) for c in claims])
        mixture = self.rule.mixture(gram, self.f, b"bench")
        return np.asarray(mixture).mean(axis=0)

    def noise(self, share: float) -> np.ndarray:
        """Noise of a share of the result's length."""
        noise = self.rng.normal(size=D)
        return np.asarray(noise * share * np.linalg.norm(self.result) / np.linalg.norm(noise))

    def with_gram(self, gram: np.ndarray) -> list[PartClaim]:
        """The claims with another matrix for part 0, under the committed norms."""
        norms = self.claims[0].gram.diagonal()
        bound = np.sqrt(np.outer(norms.astype(float), norms.astype(float)))
        gram = np.clip(gram, -0.9999 * bound, 0.9999 * bound).astype(np.int64)
        gram = np.triu(gram, 1)
        gram = gram + gram.T + np.diag(norms)
        assert gram_fault(gram, norms.tolist()) is None
        return [replace(self.claims[0], gram=gram), *self.claims[1:]]

    def refuted(self, claims: list[PartClaim], result: np.ndarray) -> bool:
        """Whether a node refuses it."""
        if gram_mismatch(claims) is not None:
            return True
        claim, weights = claims[0], self.weights_of(claims)
        data = INT8.encode(result.astype(np.float32))
        row = quantise_row(INT8.decode(data, D))
        longest = math.ldexp(math.sqrt(row.sq_norm) + math.sqrt(D) / 2, row.exponent)
        sketch = sketch_row(row.values, self.beacon, 0, claim.sketches.shape[1])
        error = INT8.error_norm(data, D, longest)
        return result_mismatch(claim, weights.tolist(), row, sketch, error) is not None


def honest(r: Round) -> tuple[list[PartClaim], np.ndarray | None]:
    """No lie: what is refuted here is a false alarm."""
    return r.claims, None


def off_by(share: float) -> Lie:
    """A result with noise of a share of its length."""
    return lambda r: (r.claims, r.result + r.noise(share))


def dropped(r: Round) -> tuple[list[PartClaim], np.ndarray | None]:
    """One honest row is left out."""
    weights = r.weights.copy()
    weights[0] = 0
    return r.claims, combine_weighted(r.rows[0], weights / weights.sum())


def favoured(r: Round) -> tuple[list[PartClaim], np.ndarray | None]:
    """An accomplice's row in place of the result."""
    return r.claims, r.rows[0][r.liars[0]]


def other_part(r: Round) -> tuple[list[PartClaim], np.ndarray | None]:
    """The result of another part."""
    return r.claims, combine_weighted(r.rows[1], r.weights)


def gram_zero(r: Round) -> tuple[list[PartClaim], np.ndarray | None]:
    """All rows are orthogonal."""
    return r.with_gram(np.zeros((r.n, r.n))), None


def gram_times(factor: float) -> Lie:
    """All products are ``factor`` times what they are."""
    return lambda r: (r.with_gram(r.claims[0].gram * factor), None)


def gram_permuted(r: Round) -> tuple[list[PartClaim], np.ndarray | None]:
    """The products of honest rows and liars' change places."""
    gram = r.claims[0].gram.astype(float)
    sign = np.ones(r.n)
    sign[0] = -1  # honest rows are alike: a victim gets the products of its reversal
    return r.with_gram(gram * np.outer(sign, sign)), None


def gram_element(r: Round) -> tuple[list[PartClaim], np.ndarray | None]:
    """One product is the largest that its norms allow, with the other sign."""
    gram = r.claims[0].gram.astype(float)
    gram[0, 1] = -np.sign(gram[0, 1]) * 1e30
    return r.with_gram(gram), None


def sketch_scaled(r: Round) -> tuple[list[PartClaim], np.ndarray | None]:
    """A contributor declares sketches of a vector twice as long; the result is true."""
    sketches = r.claims[0].sketches.copy()
    sketches[r.liars[0]] *= 2
    return [replace(r.claims[0], sketches=sketches), *r.claims[1:]], None


def covered(share: float) -> Lie:
    """A false result, and an accomplice's sketch, made after the beacon, that makes up for it."""

    def lie(r: Round) -> tuple[list[PartClaim], np.ndarray | None]:
        claim, liar = r.claims[0], r.liars[0]
        false = (r.result + r.noise(share)).astype(np.float32)
        row = quantise_row(INT8.decode(INT8.encode(false), D))
        k = claim.sketches.shape[1]
        target = np.ldexp(sketch_row(row.values, r.beacon, 0, k).astype(float), row.exponent)
        for i in range(r.n):
            if i != liar:
                own = np.ldexp(claim.sketches[i].astype(float), claim.exponents[i])
                target -= np.float32(r.weights[i]) * own
        fitted = np.ldexp(target / max(r.weights[liar], 1e-9), -claim.exponents[liar])
        sketches = claim.sketches.copy()
        sketches[liar] = np.clip(np.rint(fitted), -(2**31) + 1, 2**31 - 1).astype(np.int64)
        return [replace(claim, sketches=sketches), *r.claims[1:]], false

    return lie


LIES: Mapping[str, Lie] = {
    "none (false alarms)": honest,
    **{f"result off by {share:g}": off_by(share) for share in SHARES},
    "row left out": dropped,
    "accomplice's row": favoured,
    "another part's result": other_part,
    "products zero": gram_zero,
    "products halved": gram_times(0.5),
    "products doubled": gram_times(2.0),
    "products of a victim reversed": gram_permuted,
    "one product reversed": gram_element,
    "sketch doubled": sketch_scaled,
    **{f"result off by {share:g}, sketch covers": covered(share) for share in (0.02, 0.1, 1.0)},
}


@dataclass
class Tally:
    """What one lie came to."""

    rounds: int = 0
    refuted: int = 0
    moved: list[float] = field(default_factory=list)
    """Where it was believed: how far the result is from the true one, as a share of its length."""


def lies(n: int, rounds: int, rule_name: str) -> dict[str, Tally]:
    """Every lie in every round."""
    rng = np.random.default_rng(n)
    found = {name: Tally() for name in LIES}
    for _ in range(rounds):
        r = Round(rng, n, rule_name)
        for name, lie in LIES.items():
            claims, false = lie(r)
            result = false
            if result is None:
                result = combine_weighted(r.rows[0], r.weights_of(claims))
            tally = found[name]
            tally.rounds += 1
            if r.refuted(claims, result):
                tally.refuted += 1
            else:
                off = np.linalg.norm(result - r.result) / np.linalg.norm(r.result)
                tally.moved.append(float(off))
    return found


# Whole daemons ---------------------------------------------------------------------------------

SWARM = (
    "", "false_result", "wrong_slice", "drop_contributor", "wrong_weights", "wrong_gram_favour",
    "gram_zero", "gram_shrink", "gram_permute", "false_sketch", "hide_nonce", "hide_sketch",
    "late_result", "narrow_gram", "narrow_result", "slander", "equivocate", "silent_reducer",
)  # fmt: skip
"""Attacks on the reduction, at scale 1; none first."""
SMALL = (("false_result", 0.003), ("gram_permute", 1.0))
"""Lies that sketches may miss, and their scales."""


class Ledger(Watcher):
    """What honest nodes certified, whom they blamed, and what the results should have been."""

    def __init__(self, world: World) -> None:
        self._world = world
        self._names = {node.peer: node.index for node in world.nodes}
        self._parts: dict[tuple[int, PeerId], Sequence[bytes]] = {}
        """(round, contributor) -> encoded parts, those of liars too: they contribute honestly."""
        self.off: dict[int, float] = {}
        """Round -> how far its results are from those of its plan, as a share; 0: bit for bit."""
        self.backed: Counter[str] = Counter()
        self.unrevealed: set[int] = set()
        self.blamed: set[int] = set()
        self.later_views = 0
        self.found: dict[int, set[int]] = {}
        """Round -> honest nodes that found a part of it false, bit for bit."""

    def phase(self, at_s: float, node: int, phase: str, round_: int) -> None:
        """Take rows as they leave, and results as they are voted on."""
        daemon = self._world.nodes[node].daemon
        flow = daemon.runners[0].flow if daemon and daemon.runners else None
        if flow is None:
            return
        if phase == "scatter":
            self._parts[round_, self._world.nodes[node].peer] = flow.work.own_parts
        elif phase == "vote" and node == 0 and round_ not in self.off:
            self._compare(flow, round_)

    def _compare(self, flow: RoundFlow, round_: int) -> None:
        core, g = flow.machine.core, flow.work.g
        assert core.agreement.lock is not None
        held = core.signed[core.agreement.lock.decision_id]
        decision = decode_decision(decode_proposal(held.body, held.job, round_).decision)
        ids = dict(decision.plan)
        rows = {
            (e, part): g.codec.decode(data, g.part_sizes[part])
            for e in ids
            for part, data in enumerate(self._parts[round_, flow.context.electorate.ids[e]])
        }
        parts = range(len(g.slices))
        integers = [[quantise_row(rows[e, p]) for e in ids] for p in parts]
        grams = tuple(pack_gram(integer_gram(each)) for each in integers)
        plan = Resolution(tuple(ids), (), tuple((0,) for _ in parts), grams)
        commitments = {e: core.opened[id_] for e, id_ in ids.items()}
        weights = weights_of(g, plan, decision.rule, commitments)
        due = reduce_parts(g, round_, plan, decision.rule, weights, rows, list(parts))
        if [root for _, root, _ in due] == list(decision.result_roots):
            self.off[round_] = 0.0
        else:
            found = [core.results[root][1] for root in decision.result_roots]
            pairs = [(found[p], data) for p, _, data in due]
            self.off[round_] = _distance(g, pairs)
        self.backed["sketches" if decision.beacon else "f + 1"] += 1
        ids_ = flow.context.electorate.ids
        self.unrevealed |= {self._names[ids_[e]] for e in decision.unrevealed}

    def event(self, at_s: float, node: int, event: str, fields: Mapping[str, Any]) -> None:
        """Note."""
        if node in self._world.liars:
            return
        if event == "peer_error":
            self.blamed.add(self._names.get(fields["peer"], -1))
        elif event == "round_certified" and node == 0:
            self.later_views += bool(fields["view"])
        elif event == "recomputed" and fields["verdict"] == "part_false":
            self.found.setdefault(fields["round"], set()).add(node)


def _distance(g: Geometry, pairs: list[tuple[bytes, bytes]]) -> float:
    """How far the first results are from the second, as a share of their length."""
    found, due = (
        np.concatenate(
            [g.result_codec.decode(pair[k], g.part_sizes[p]) for p, pair in enumerate(pairs)]
        )
        for k in (0, 1)
    )
    return float(np.linalg.norm(found - due) / np.linalg.norm(due))


def play(
    nodes: int, replicas: int, rounds: int, name: str, scale: float = 1.0, rate: float = 0.0
) -> dict[str, Any]:
    """One run of whole daemons."""
    attacks = (AttackSection(name=name, scale=scale),) if name else ()
    scenario = Scenario(
        name="reducers", nodes=nodes, rounds=rounds, attacks=attacks, limit_s=1e6, framed=False,
        job={
            "workload": {"dimensions": 3000},
            "exchange": {"rule": "centered_clip", "replicas": replicas},
            "audit": {"rate": rate},
        },
    )  # fmt: skip
    seen: list[Ledger] = []

    def make(world: World) -> Ledger:
        seen.append(Ledger(world))
        return seen[0]

    outcome = run_scenario(scenario, 1, watchers=[make])
    assert not outcome.violations, outcome.violations[0]
    ledger = seen[0]
    liars = set(range(nodes - (nodes - 1) // 3, nodes)) if name else set()
    banned = {
        int(node.rpartition("-")[2]): int(why.split()[-1]) for node, why in outcome.bans.items()
    }
    return {
        "attack": name or "none", "r": replicas, "rounds": len(ledger.off),
        "liars_alone": sum(
            int(text.split()[2]) for text in outcome.not_shown if "liars alone" in text
        ),
        "sketched": ledger.backed["sketches"], "later_views": ledger.later_views,
        "equal": sum(off == 0 for off in ledger.off.values()),
        "off_max": max(ledger.off.values()), "found": len(ledger.found),
        "finders": min((len(nodes) for nodes in ledger.found.values()), default=0),
        "unrevealed": sorted(ledger.unrevealed), "honest_blamed": len(ledger.blamed - liars),
        "honest_banned": len(banned.keys() - liars), "banned": dict(sorted(banned.items())),
    }  # fmt: skip


def print_lies(rounds: int) -> dict[str, Any]:
    """The first table."""
    report = {}
    for n, rule_name in ((10, "centered_clip"), (13, "geometric_median")):
        found = lies(n, rounds, rule_name)
        print(f"\nn = {n}, f = {(n - 1) // 3}, {rule_name}, {rounds} rounds, int8; liars alone")
        print(f"reduce a part with chance {liars_alone(n, (n - 1) // 3, 3):.2%} (r = 3)")
        print(f"{'lie':36} {'refuted':>9} {'believed: moved by at most':>28}")
        for name, tally in found.items():
            worst = f"{max(tally.moved):.2%}" if tally.moved else "-"
            print(f"{name:36} {tally.refuted / tally.rounds:9.2%} {worst:>28}", flush=True)
        report[f"lies_{n}"] = {
            k: [t.rounds, t.refuted, max(t.moved, default=0.0)] for k, t in found.items()
        }
    return report


def print_swarm(rounds: int) -> list[dict[str, Any]]:
    """The second table."""
    settings = ((10, 1), (10, 2), (10, 4))
    each = max(4, rounds // (len(SWARM) * len(settings)))
    print(f"\nwhole daemons, n = 10, f = 3, {each} rounds a run; the last three electors lie")
    print(
        f"{'attack':18} r {'sketches':>8} {'views > 0':>9} {'equal':>8} {'off by':>8} "
        f"{'no nonce':>10} {'banned in round':>18} {'honest banned, blamed':>22}"
    )
    runs = []
    for nodes, replicas in settings:
        for name in SWARM:
            run = play(nodes, replicas, each, name)
            runs.append(run)
            print(
                f"{run['attack']:18} {replicas} {run['sketched']:8} {run['later_views']:9} "
                f"{run['equal']:4}/{run['rounds']:<3} {run['off_max']:8.2%} "
                f"{run['unrevealed']!s:>10} {sorted(run['banned'].values())!s:>18} "
                f"{run['honest_banned']:18} {run['honest_blamed']}",
                flush=True,
            )
    return runs


def print_openings(rounds: int) -> list[dict[str, Any]]:
    """The third table."""
    print(f"\nopenings, n = 10, f = 3, r = 1, {rounds} rounds a run")
    print(f"{'attack':18} {'p':>5} {'believed lies':>13} {'found':>6} {'due':>6} {'by nodes':>9} "
          f"{'banned in round':>18} {'honest blamed':>13}")  # fmt: skip
    runs = []
    for name, scale in SMALL:
        for rate in (1.0, 0.3, 0.1):
            run = play(10, 1, rounds, name, scale, rate)
            runs.append(run | {"rate": rate})
            false = run["rounds"] - run["equal"]
            print(
                f"{name:18} {rate:5} {false:13} {run['found']:6} {false * rate * 7 / 9:6.1f} "
                f"{run['finders']:9} {sorted(run['banned'].values())!s:>18} "
                f"{run['honest_blamed']:13}",
                flush=True,
            )
    return runs


def print_long(rounds: int) -> list[dict[str, Any]]:
    """The fourth table: nobody honest is ever convicted, with all parts opened."""
    print(f"\nlong runs, {rounds} rounds each, all parts opened")
    runs = []
    for nodes, replicas, name in (
        (7, 0, ""), (7, 0, "slander"), (10, 1, ""), (10, 1, "slander"), (10, 2, "narrow_gram"),
        (10, 1, "hide_sketch"), (10, 2, "silent_reducer"), (7, 0, "withhold_some"),
    ):  # fmt: skip
        run = play(nodes, replicas, rounds, name, rate=1.0)
        runs.append(run)
        print(
            f"{run['attack']:18} n = {nodes} r = {replicas} rounds {run['rounds']} equal "
            f"{run['equal']} banned {run['banned']!s} honest banned {run['honest_banned']} "
            f"blamed {run['honest_blamed']}",
            flush=True,
        )
    return runs


def main() -> None:
    """Run and print the tables."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=1000)
    parser.add_argument("--swarm-rounds", type=int, default=1000)
    parser.add_argument("--opening-rounds", type=int, default=60)
    parser.add_argument("--long-rounds", type=int, default=200)
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    report: dict[str, Any] = {"machine": platform.processor() or platform.machine()}
    if options.opening_rounds:
        report["openings"] = print_openings(options.opening_rounds)
    if options.swarm_rounds:
        report["swarm"] = print_swarm(options.swarm_rounds)
    if options.long_rounds:
        report["long"] = print_long(options.long_rounds)
    if options.rounds:
        report |= print_lies(options.rounds)
    if options.json:
        options.json.write_text(json.dumps(report, indent=1) + "\n")


if __name__ == "__main__":
    main()
