"""Draws the faults of a scenario: which, whom, and when in the run they fall.

A fault may take the quorum away, since it always ends; what stays for good (a node whose slot log
is gone signs nothing any more) is kept within what the liars leave of f.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import get_args

import numpy as np

from simulator.drawing.draws import log_uniform, one, some, uniform, weighted
from simulator.scenario import FaultSection, LinkSection, Phase

FAULTS_MAX = 4
PHASES = tuple(phase for phase in get_args(Phase) if phase)
"""Steps of a round in which a node may die."""
KINDS = {
    "crash": 5, "partition": 3, "cut": 3, "link": 2, "slow": 2, "clock": 2, "disk_full": 1,
    "lose_slots": 2, "lose_disk": 1, "reset": 2, "dht": 2, "churn": 2, "late": 2, "leave": 1,
    "ambush": 7, "away": 3, "exact": 5,
}  # fmt: skip
"""Kind -> weight. The last line are the others at their worst: a leader who dies while votes are on
their way, an absence of several rounds, and no elector left to spare."""
DHT_KINDS = ("stale", "missing", "withheld", "rolled_back", "conflicting")

Fields = dict[str, object]


@dataclass
class FaultPlan:
    """What the draws of one scenario must respect."""

    nodes: int
    followers: int
    rounds: int
    round_s: float
    """Expected length of a calm round, in virtual seconds."""
    train_s: float
    """Of it, local steps."""
    liars: tuple[int, ...]
    spare: int
    """Electors that may still be lost for good; draws use it up."""

    @property
    def honest(self) -> list[int]:
        """Honest electors."""
        return [i for i in range(self.nodes) if i not in self.liars]

    @property
    def everybody(self) -> list[int]:
        """Honest electors and followers."""
        return self.honest + list(range(self.nodes, self.nodes + self.followers))


def draw_faults(draws: np.random.Generator, plan: FaultPlan) -> tuple[FaultSection, ...]:
    """0 to FAULTS_MAX draws of faults that fall into the run; one may be several."""
    found = []
    for _ in range(int(draws.integers(0, FAULTS_MAX + 1))):
        kind = weighted(draws, KINDS)
        fields = _MAKERS[kind](draws, plan) or ()
        for section in [fields] if isinstance(fields, dict) else fields:
            found.append(FaultSection.model_validate({"kind": kind} | section))
    return tuple(found)


def _when(draws: np.random.Generator, plan: FaultPlan) -> Fields:
    """A round or a time at which the job still runs."""
    if draws.random() < 0.6:
        return {"round": _round(draws, plan)}
    return {"at_s": round(uniform(draws, 0.1, 0.6) * plan.rounds * plan.round_s, 3)}


def _round(draws: np.random.Generator, plan: FaultPlan) -> int:
    return int(draws.integers(1, max(2, plan.rounds - 2)))


def _long(draws: np.random.Generator, most_s: float = 30.0) -> Fields:
    return {"for_s": log_uniform(draws, 0.3, most_s)}


def _crash(draws: np.random.Generator, plan: FaultPlan) -> Fields:
    fields = _when(draws, plan) | _long(draws)
    chosen = draws.random()
    if "round" in fields and chosen < 0.6:
        fields["phase"] = one(draws, PHASES)
        if draws.random() < 0.5:  # so that it may be back in the same round
            fields["for_s"] = log_uniform(draws, 0.05, 0.5)
    if chosen < 0.2:
        return fields | {"nodes": one(draws, ("leader", "reducers"))}
    if chosen > 0.9:
        return fields | {"nodes": "all"}
    return fields | {"nodes": some(draws, plan.everybody, max(1, plan.nodes // 3))}


def _ambush(draws: np.random.Generator, plan: FaultPlan) -> Fields:
    """Votes are on their way: their leader, or everybody, is gone, until a view has failed."""
    who = weighted(draws, {"leader": 4, "all": 1})
    kind = "partition" if who == "leader" and draws.random() < 0.3 else "crash"
    for_s = log_uniform(draws, 5.0, 40.0) if who == "leader" else log_uniform(draws, 0.3, 5.0)
    return {
        "kind": kind,
        "nodes": who,
        "round": _round(draws, plan),
        "phase": weighted(draws, {"vote": 4, "prepare": 1}),
        "at_once": True,
        "for_s": for_s,
    }


def _away(draws: np.random.Generator, plan: FaultPlan) -> Fields:
    """A few are cut off for several rounds of the others."""
    who = some(draws, plan.everybody, max(1, plan.spare))
    for_s = round(uniform(draws, 2.0, 6.0) + uniform(draws, 3.0, 10.0) * plan.round_s, 3)
    return {"kind": "partition", "nodes": who, "round": _round(draws, plan), "for_s": for_s}


def _exact(draws: np.random.Generator, plan: FaultPlan) -> Sequence[Fields]:
    """All electors that may be lost are, after some have become slow and one has restarted.

    Who restarts has forgotten how long rounds took before: waits differ, and every vote is needed.
    """
    if plan.spare < 1:
        return ()
    who = [int(i) for i in draws.choice(plan.honest, size=plan.spare + 1, replace=False)]
    count = min(len(plan.honest), (plan.nodes - 1) // 3 + 1)
    slow = sorted(int(i) for i in draws.choice(plan.honest, size=count, replace=False))
    plan.spare = 0
    factor = round(uniform(draws, 1.5, 5.0) / plan.train_s, 3)  # seconds, which make waits differ
    round_ = int(draws.integers(3, 8))
    lost: Fields = {"kind": "lose_slots", "nodes": tuple(sorted(who[1:])), "round": round_ + 1}
    return (
        {"kind": "slow", "nodes": tuple(slow), "round": 2, "factor": factor},
        {"kind": "crash", "nodes": tuple(who[:1]), "round": round_, "for_s": 0.5},
        lost | _long(draws, 15.0),
    )


def _partition(draws: np.random.Generator, plan: FaultPlan) -> Fields:
    everybody = list(range(plan.nodes + plan.followers))
    return _when(draws, plan) | _long(draws) | {"nodes": some(draws, everybody, plan.nodes - 1)}


def _cut(draws: np.random.Generator, plan: FaultPlan) -> Fields:
    everybody = list(range(plan.nodes + plan.followers))
    return (
        _when(draws, plan)
        | _long(draws)
        | {
            "nodes": some(draws, everybody, plan.nodes // 2),
            "others": some(draws, everybody, plan.nodes - 1),
            "both": bool(draws.random() < 0.4),
        }
    )


def _link(draws: np.random.Generator, plan: FaultPlan) -> Fields:
    link = LinkSection(
        latency_s=uniform(draws, 0.05, 0.5),
        jitter_s=uniform(draws, 0.0, 0.2),
        tail=uniform(draws, 0.0, 0.8),
        loss_rate=uniform(draws, 0.0, 0.2),
        duplicate_rate=uniform(draws, 0.0, 0.2),
    )
    who = some(draws, list(range(plan.nodes)), plan.nodes // 2)
    return _when(draws, plan) | _long(draws) | {"nodes": who, "link": link.model_dump()}


def _slow(draws: np.random.Generator, plan: FaultPlan) -> Fields:
    factor = log_uniform(draws, 2.0, 50.0)
    who = some(draws, plan.honest, max(1, plan.nodes // 3))
    return _when(draws, plan) | _long(draws) | {"nodes": who, "factor": factor}


def _clock(draws: np.random.Generator, plan: FaultPlan) -> Fields:
    jump = uniform(draws, -200, 200)
    return _when(draws, plan) | {"nodes": some(draws, plan.everybody, plan.nodes), "jump_s": jump}


def _disk_full(draws: np.random.Generator, plan: FaultPlan) -> Fields:
    who = some(draws, plan.everybody, max(1, (plan.nodes - 1) // 3))
    return _when(draws, plan) | _long(draws, 10.0) | {"nodes": who}


def _lose(draws: np.random.Generator, plan: FaultPlan) -> Fields | None:
    """A disk's loss: an elector never signs again, so it is taken off what may still be lost."""
    if plan.spare < 1:
        return None
    who = some(draws, plan.honest, plan.spare)
    plan.spare -= len(who)
    when = {"round": int(draws.integers(1, max(2, plan.rounds // 2)))}  # it returns, and is watched
    return when | _long(draws, 10.0) | {"nodes": who}


def _reset(draws: np.random.Generator, plan: FaultPlan) -> Fields:
    who = some(draws, list(range(plan.nodes)), plan.nodes)
    every = uniform(draws, 0.2, 2.0)
    return _when(draws, plan) | _long(draws, 10.0) | {"nodes": who, "every_s": every}


def _dht(draws: np.random.Generator, plan: FaultPlan) -> Fields:
    kind = one(draws, DHT_KINDS)
    who = some(draws, list(range(plan.nodes + plan.followers)), plan.nodes)
    rate = uniform(draws, 0.2, 1.0)
    at = 0.0 if draws.random() < 0.5 else _at_s(draws, plan)
    return {"at_s": at, "nodes": who, "dht": kind, "rate": rate} | _long(draws)


def _churn(draws: np.random.Generator, plan: FaultPlan) -> Fields:
    return {
        "at_s": _at_s(draws, plan),
        "for_s": uniform(draws, 5.0, 40.0),
        "every_s": uniform(draws, 2.0, 20.0),
        "down_s": uniform(draws, 0.2, 5.0),
        "nodes": some(draws, plan.everybody, plan.nodes),
    }


def _late(draws: np.random.Generator, plan: FaultPlan) -> Fields | None:
    """Not node 0: somebody whom the others join is there from the start."""
    among = [n for n in plan.everybody if n]
    if not among:
        return None
    return {"at_s": 2 * _at_s(draws, plan), "nodes": some(draws, among, max(1, plan.nodes // 3))}


def _leave(draws: np.random.Generator, plan: FaultPlan) -> Fields:
    who = some(draws, plan.everybody, max(1, plan.nodes // 3))
    return _when(draws, plan) | _long(draws) | {"nodes": who}


def _at_s(draws: np.random.Generator, plan: FaultPlan) -> float:
    return round(uniform(draws, 0.0, 0.5) * plan.rounds * plan.round_s, 3)


Made = Fields | Sequence[Fields] | None
_MAKERS: dict[str, Callable[[np.random.Generator, FaultPlan], Made]] = {
    "crash": _crash, "partition": _partition, "cut": _cut, "link": _link, "slow": _slow,
    "clock": _clock, "disk_full": _disk_full, "lose_slots": _lose, "lose_disk": _lose,
    "reset": _reset, "dht": _dht, "churn": _churn, "late": _late, "leave": _leave,
    "ambush": _ambush, "away": _away, "exact": _exact,
}  # fmt: skip
