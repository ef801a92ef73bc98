"""Draws scenarios from seeds: every size, link, fault, attack and setting is a draw of its own.

Swarm testing: each seed leaves most kinds of trouble out, so that those that are in it meet often
(Groce et al. 2012, "Swarm testing", ISSTA). What is drawn can succeed: liars and nodes that may
never sign again are at most f together, faults fall into the time in which the job runs, and only
what the drawn rule can promise is expected. Worlds are small, so that a seed costs seconds.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np

from node.exchange.codecs import CODECS
from node.exchange.rules import RULES, rule
from simulator.attacks import ATTACKS
from simulator.drawing.draws import log_uniform, one, some, uniform, weighted
from simulator.drawing.fault_draws import FaultPlan, draw_faults
from simulator.invariants.robustness import kappa_of
from simulator.scenario import (
    AttackSection,
    ExpectSection,
    HostSection,
    LinkSection,
    Scenario,
    to_toml,
)
from simulator.seeds import rng

__all__ = ["draw", "to_toml"]

RULES_DRAWN = (*(name for name in RULES if kappa_of(name)), "nnm | caf", "nnm | trimmed_mean")
"""Rules whose promise can be checked."""
SIZES = {4: 6, 5: 6, 6: 4, 7: 6, 8: 3, 9: 2, 10: 3, 11: 1, 12: 1, 13: 2, 16: 1, 20: 1}
"""Electors -> weight."""
WORK_MAX = 1500
"""Bound on electors squared times rounds: what a seed may cost."""
STEP_S = 0.01
"""Virtual cost of a local step on an ordinary host."""
SCALES: Mapping[str, tuple[float, float]] = {
    "sign_flip": (0.5, 100.0),
    "gaussian": (0.5, 1000.0),
    "ipm": (0.1, 10.0),
    "alie": (0.5, 2.0),
    "below_tolerance": (0.1, 1.0),
    "flood": (0.5, 4.0),
    "replay": (1.0, 4.0),
    "sybil": (0.5, 2.0),
    "eclipse": (0.5, 4.0),
}
"""Attack -> range of its scale; the others are drawn with scale 1."""
ATTACK_CARDS: Mapping[str, int] = {
    "false_shelf": 5, "bad_signatures": 4, "censor": 5, "old_parts": 3, "equivocate": 2,
    "malformed": 2, "silent": 2, "inflate_weight": 2,
}  # fmt: skip
"""Attack -> cards in the deck; 1 for the others: most are values that only rules tell apart."""
LONG_RATE = 0.15
"""Share of the jobs with three times as many rounds: what is learned over rounds shows late."""
REDUCER_LIES = frozenset(
    {
        "wrong_slice",
        "drop_contributor",
        "wrong_weights",
        "wrong_gram",
        "wrong_gram_favour",
        "collude",
    }
)
"""Attacks against which each part needs an honest reducer."""
LOSS_MAX = 1.0
"""Twice the loss of the first parameters: what liars may not push a robust rule above."""


def draw(seed: int) -> Scenario:
    """The scenario of a seed; the same on every machine."""
    size = rng(seed, "scenario", "size")
    nodes = weighted(size, SIZES)
    rounds = int(size.integers(5, 21)) * (3 if size.random() < LONG_RATE else 1)
    rounds = min(rounds, max(5, WORK_MAX // nodes**2))
    followers = weighted(size, {0: 5, 1: 3, 2: 2, 3: 1})
    lies = _attacks(rng(seed, "scenario", "attacks"), nodes, DECK[seed % len(DECK)])
    liars = tuple(sorted(n for a in lies for n in a.nodes))
    job = _job(rng(seed, "scenario", "job"), nodes, lies)
    job["audit"] = {"rate": weighted(rng(seed, "scenario", "audit"), {0.006: 3, 0.5: 1})}
    link = _link(rng(seed, "scenario", "link"))
    train_s = job["round"]["steps"] * STEP_S
    plan = FaultPlan(
        nodes=nodes,
        followers=followers,
        rounds=rounds,
        round_s=train_s + 12 * (link.latency_s + link.jitter_s / 2) + 0.1,
        train_s=train_s,
        liars=liars,
        spare=(nodes - 1) // 3 - len(liars),
    )
    how = rng(seed, "scenario", "how")
    return Scenario(
        name=f"seed-{seed}",
        about=f"Drawn from seed {seed}.",
        nodes=nodes,
        followers=followers,
        rounds=rounds,
        shuffle_ties=True,
        framed=bool(how.random() < 0.3),
        memo=bool(how.random() < 0.9),
        signer="ed25519" if how.random() < 0.1 and nodes <= 7 else "keyed",
        job=job,
        link=link,
        hosts=_hosts(rng(seed, "scenario", "hosts"), nodes, followers, _bytes(job) * nodes),
        faults=draw_faults(rng(seed, "scenario", "faults"), plan),
        attacks=lies,
        expect=ExpectSection(loss_max=LOSS_MAX if job["outer"]["momentum"] < 0.8 else None),
    )


def _deck() -> tuple[str, ...]:
    """All attacks, shuffled: dealt and not drawn, so that seeds in a row leave none out."""
    cards = [name for name in sorted(ATTACKS) for _ in range(ATTACK_CARDS.get(name, 1))]
    return tuple(cards[i] for i in rng(0, "scenario", "deck").permutation(len(cards)))


DECK = _deck()


def _attacks(draws: np.random.Generator, nodes: int, dealt: str) -> tuple[AttackSection, ...]:
    """Up to f liars, of one or two kinds: the dealt one, and any."""
    f = (nodes - 1) // 3
    count = int(draws.integers(0, f + 1))
    if not count:
        return ()
    liars = sorted(int(i) for i in draws.choice(nodes, size=count, replace=False))
    split = int(draws.integers(1, count + 1))
    found = []
    for part, name in ((liars[:split], dealt), (liars[split:], one(draws, DECK))):
        scale = log_uniform(draws, *SCALES.get(name, (1.0, 1.0)))
        if part:
            found.append(AttackSection(name=name, nodes=tuple(part), scale=scale))
    return tuple(found)


def _job(draws: np.random.Generator, nodes: int, lies: tuple[AttackSection, ...]) -> dict[str, Any]:
    """Tables of the job file; the mean, which one liar moves anywhere, only without liars."""
    rules = [name for name in RULES_DRAWN if name != "mean" or not lies]
    small = [name for name in rules if rule(name).m_min(2) <= 5]
    codecs = list(CODECS)
    reducers_lie = any(a.name in REDUCER_LIES for a in lies)
    name, workload = _workload(draws, nodes)
    return {
        "workload_name": name,
        "workload": workload,
        "round": {
            "steps": int(draws.integers(1, 21)),
            "commit_s_max": weighted(draws, {5.0: 1, 10.0: 1, 30.0: 1}),
            "view_s_max": weighted(draws, {20.0: 1, 60.0: 1}),
            "call_s_max": weighted(draws, {2.0: 1, 5.0: 1, 10.0: 1}),
        },
        "exchange": {
            "codec": one(draws, codecs),
            "result_codec": weighted(draws, {"": 3, one(draws, codecs): 1}),
            "rule": one(draws, rules),
            "rule_small": one(draws, small),
            "replicas": (nodes - 1) // 3 + 1 if reducers_lie else one(draws, (0, 0, 0, 1, 2, 3)),
            "momentum": weighted(draws, {0.0: 3, 0.5: 1, 0.9: 1}),
        },
        "outer": {
            "lr": weighted(draws, {1.0: 3, 0.7: 1}),
            "momentum": weighted(draws, {0.0: 3, 0.5: 1, 0.9: 1}),
            "nesterov": bool(draws.random() < 0.5),
        },
    }


def _workload(draws: np.random.Generator, nodes: int) -> tuple[str, dict[str, Any]]:
    """(name, settings): mostly a quadratic, now and then with updates of several parts."""
    kind = weighted(draws, {"quadratic": 68, "parts": 15, "logistic": 15, "inr": 2})
    if kind == "inr" and nodes <= 7:
        small = {"hidden_layers": 1, "hidden_width": 16, "pixels_per_step": 64}
        return "inr", {"image": "astronaut", "size": 16, "activation": "sine"} | small
    if kind == "logistic":
        return "logistic", {
            "samples": int(log_uniform(draws, 100, 1000)),
            "features": int(log_uniform(draws, 2, 100)),
            "heterogeneity": one(draws, (0.0, 0.0, 0.5)),
        }
    low, high = (2e4, 5e4) if kind == "parts" else (8, 1500)
    return "quadratic", {
        "dimensions": int(log_uniform(draws, low, high)),
        "condition": one(draws, (1.0, 1.0, 10.0)),
        "noise": log_uniform(draws, 0.01, 1.0),
        "heterogeneity": one(draws, (0.0, 0.0, 0.3)),
        "lr": log_uniform(draws, 0.02, 0.2),
    }


def _bytes(job: Mapping[str, Any]) -> float:
    """Upper bound on the bytes of an update."""
    return 4.0 * float(job["workload"].get("dimensions", 1000))


def _link(draws: np.random.Generator) -> LinkSection:
    """A LAN, a WAN, or a bad one."""
    kind = weighted(draws, {"lan": 3, "wan": 4, "bad": 2})
    if kind == "lan":
        return LinkSection(latency_s=log_uniform(draws, 2e-4, 5e-3))
    link = LinkSection(
        latency_s=log_uniform(draws, 0.01, 0.15),
        jitter_s=log_uniform(draws, 0.001, 0.05),
        tail=uniform(draws, 0.0, 0.4),
        stream_bytes_per_s=log_uniform(draws, 1e6, 1e8),
    )
    if kind == "wan":
        return link
    rates = {
        "tail": uniform(draws, 0.3, 0.9),
        "loss_rate": uniform(draws, 0.0, 0.03),
        "duplicate_rate": uniform(draws, 0.0, 0.05),
        "reset_per_s": uniform(draws, 0.0, 0.02),
    }
    return link.model_copy(update=rates)


def _hosts(
    draws: np.random.Generator, nodes: int, followers: int, round_bytes: float
) -> tuple[HostSection, ...]:
    """Sections for hosts that differ. A line carries ``round_bytes`` in at most some seconds."""
    total = nodes + followers
    found: list[HostSection] = []
    if draws.random() < 0.4:
        for node in range(total):
            up = log_uniform(draws, max(1e5, round_bytes / 2), max(1e7, 10 * round_bytes))
            down = up * weighted(draws, {1: 1, 4: 1, 10: 1})
            found.append(HostSection(nodes=(node,), up_bytes_per_s=up, down_bytes_per_s=down))
    if draws.random() < 0.4:
        for node in some(draws, range(total), max(1, nodes // 3)):
            slowness = log_uniform(draws, 1.5, 20.0)
            found.append(HostSection(nodes=(node,), slowness=slowness))
    if draws.random() < 0.2:
        rate = uniform(draws, 0.01, 0.2)
        found.append(HostSection(nodes="all", straggle_rate=rate))
    if draws.random() < 0.4:
        for node in some(draws, range(total), total):
            skew = round(float(draws.normal(0.0, 40.0)), 1)
            drift = round(float(draws.normal(0.0, 1e-4)), 6)
            found.append(HostSection(nodes=(node,), clock_skew_s=skew, clock_drift=drift))
    if draws.random() < 0.3:
        found.append(HostSection(nodes="all", fsync_s=log_uniform(draws, 1e-4, 2e-2)))
    return (*found, *_nats(draws, nodes, total))


def _nats(draws: np.random.Generator, nodes: int, total: int) -> tuple[HostSection, ...]:
    """Cones punch holes to each other; a symmetric one needs that all others are open.

    Node 0, one of those whom the others join, is always open.
    """
    kind = weighted(draws, {"open": 6, "cone": 3, "symmetric": 1})
    if kind == "cone":
        return (HostSection(nodes=some(draws, range(1, total), total), nat="cone"),)
    if kind == "symmetric":
        most = max(1, (nodes - 1) // 3)
        return (HostSection(nodes=some(draws, range(1, total), most)[:1], nat="symmetric"),)
    return ()
