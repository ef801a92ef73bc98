"""Reducers that lie are banned by certificate, whoever heard them; honest ones never are."""

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

import pytest

from simulator.attacks.auditors import slander
from simulator.attacks.base import Attack
from simulator.hub import Watcher
from simulator.run import Outcome, run_scenario
from simulator.scenario import AttackSection, FaultSection, Scenario
from simulator.world import World


class Bench(Watcher):
    """What honest nodes found of answers."""

    def __init__(self, world: World, lying: Mapping[int, Attack]) -> None:
        world.attack(lying)
        self.world = world
        self._names = {node.peer: node.index for node in world.nodes}
        self.found: Counter[tuple[int, str]] = Counter()
        """(reducer, kind of answer) -> times that an honest node found one false."""
        self.reasons: set[str] = set()

    def event(self, at_s: float, node: int, event: str, fields: Mapping[str, Any]) -> None:
        """Note."""
        if node in self.world.liars:
            return
        if event == "answer_false":
            self.found[self._names[fields["peer"]], fields["kind"]] += 1
        elif event == "convicted":
            self.reasons.add(fields["reason"])


def tried(
    nodes: int,
    rounds: int,
    attack: str = "",
    *,
    replicas: int = 0,
    scale: float = 1.0,
    rate: float = 0.0,
    lying: Mapping[int, Attack] | None = None,
    faults: Sequence[FaultSection] = (),
    rule: str = "centered_clip",
) -> tuple[Bench, Outcome]:
    """A run in which every invariant holds."""
    scenario = Scenario(
        name="answers", nodes=nodes, rounds=rounds, faults=tuple(faults), framed=False,
        attacks=(AttackSection(name=attack, scale=scale),) if attack else (),
        job={
            "workload": {"dimensions": 1000},
            "exchange": {"rule": rule, "replicas": replicas},
            "audit": {"rate": rate},
        },
    )  # fmt: skip
    seen: list[Bench] = []

    def make(world: World) -> Bench:
        seen.append(Bench(world, lying or {}))
        return seen[0]

    outcome = run_scenario(scenario, 1, watchers=[make])
    assert outcome.violations == []
    assert outcome.rounds == rounds
    return seen[0], outcome


def check_banned(nodes: int, rounds: int, attack: str, **settings: Any) -> Bench:
    """All liars are banned, and nobody else."""
    bench, outcome = tried(nodes, rounds, attack, **settings)
    liars = range(nodes - (nodes - 1) // 3, nodes)
    assert outcome.bans.keys() == {f"node-{liar}" for liar in liars}
    assert {reducer for reducer, _ in bench.found} <= {*liars}
    return bench


def test_an_outvoted_screen_bans_where_enough_answers_are_certain() -> None:
    bench = check_banned(4, 5, "wrong_gram")
    assert {kind for _, kind in bench.found} == {"screen"}
    assert any("its answer as a reducer (screen) of round" in why for why in bench.reasons)


def test_results_of_a_narrow_plan_that_sketches_refute_ban_all_who_signed_them() -> None:
    bench = check_banned(10, 4, "false_result", replicas=2)
    assert {kind for _, kind in bench.found} == {"result"}


@pytest.mark.parametrize("attack", ["narrow_gram", "narrow_result"])
def test_a_lie_that_its_leader_alone_heard_is_shown_to_all_and_bans(attack: str) -> None:
    check_banned(7, 6, attack)


@pytest.mark.parametrize("replicas", [0, 1])
def test_as_many_slanderers_as_may_lie_convict_nobody(replicas: int) -> None:
    lying = {node: slander(scale=1.0, seed=1) for node in (5, 6)}
    bench, outcome = tried(7, 4, lying=lying, replicas=replicas)
    assert min(liar.told for liar in lying.values()) > 4
    assert bench.found == {}
    assert outcome.bans == {}


REDUCERS = (
    "wrong_slice", "drop_contributor", "wrong_weights", "wrong_gram", "wrong_gram_favour",
    "collude", "false_result", "gram_zero", "gram_shrink", "gram_permute",
)  # fmt: skip


@pytest.mark.sim
@pytest.mark.parametrize("attack", REDUCERS)
@pytest.mark.parametrize(("nodes", "replicas"), [(4, 0), (7, 0), (10, 1), (10, 2)])
def test_whatever_it_lies_about_a_reducer_is_banned(attack: str, nodes: int, replicas: int) -> None:
    check_banned(nodes, 16, attack, replicas=replicas, rate=0.3)


@pytest.mark.sim
@pytest.mark.parametrize("rule", ["trimmed_mean", "nnm | median"])
def test_liars_are_banned_under_rules_of_coordinates_too(rule: str) -> None:
    check_banned(7, 8, "wrong_slice", rule=rule)


FAULTS = {
    "crash": [FaultSection(kind="crash", nodes=(1,), round=3, phase="reduce", for_s=1.0)],
    "partition": [FaultSection(kind="partition", nodes=(0, 1), round=3, for_s=6.0)],
    "cut": [
        FaultSection(
            kind="cut", nodes=(1,), others=(2, 3), both=False, round=3, phase="have",
            at_once=True, for_s=3.0,
        )
    ],
}  # fmt: skip


@pytest.mark.sim
@pytest.mark.parametrize("name", FAULTS)
def test_honest_answers_are_never_found_false_whatever_fails(name: str) -> None:
    for replicas in (0, 1):
        bench, outcome = tried(7, 10, faults=FAULTS[name], replicas=replicas, rate=1.0)
        assert bench.found == {}
        assert outcome.bans == {}
