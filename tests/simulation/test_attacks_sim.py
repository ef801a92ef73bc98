"""Every attack of the library on whole swarms: honest nodes agree, go on, and blame the liars."""

import asyncio
from collections.abc import Mapping

import pytest

from node.types import PeerId
from simulator.attacks import ATTACKS
from simulator.hub import Watcher
from simulator.run import run_scenario
from simulator.scenario import AttackSection, Scenario, load_scenario
from simulator.world import World

ALIASES = {"free_ride_stale": "stale"}
NAMES = [name for name in ATTACKS if name not in ALIASES]
INNOCENT = {"absent"}
"""Reasons of a refusal that blame nobody."""


class Witness(Watcher):
    """What honest nodes say of others."""

    def __init__(self, world: World) -> None:
        self._world = world
        self._names = {node.peer: node.index for node in world.nodes}
        self.blamed: set[int | str] = set()
        self.liars = world.liars
        self.refused: dict[int, set[str]] = {}
        self.failed: list[str] = []
        self.roots: set[str] = set()
        self.skips = 0
        self.views: set[object] = set()
        """Views that ended rounds in which an honest node led first."""
        self._leaders: dict[object, int] = {}
        self.sent_by_liars = 0

    def event(self, at_s: float, node: int, event: str, fields: Mapping[str, object]) -> None:
        """Note what an honest node logs."""
        if node in self.liars:
            return
        if event == "peer_error":
            peer = PeerId(str(fields["peer"]))
            self.blamed.add(self._names.get(peer, peer))
        elif event in ("job_failed", "daemon_failed"):
            self.failed.append(f"node-{node}: {dict(fields)}")
        elif event == "round_certified":
            self.skips += bool(fields["skip"])
            if self._leaders[fields["round"]] not in self.liars:
                self.views.add(fields["view"])
            self._note(node)

    def phase(self, at_s: float, node: int, phase: str, round_: int) -> None:
        """Note who leads first."""
        daemon = self._world.nodes[node].daemon
        flow = daemon.runners[0].flow if daemon and daemon.runners else None
        if flow is not None:
            electorate = flow.context.electorate
            peer = electorate.ids[electorate.leader(round_, 0)]
            self._leaders[round_] = self._names[peer]

    def _note(self, node: int) -> None:
        daemon = self._world.nodes[node].daemon
        assert daemon is not None
        for job in daemon.list_jobs():
            for peer, reason in job.refused.items():
                self.refused.setdefault(self._names[PeerId(peer)], set()).add(reason)

    def sent(self, at_s: float, source: PeerId, target: PeerId, method: str, data: bytes) -> None:
        """Count what leaves a liar."""
        self.sent_by_liars += self._names.get(source) in self.liars

    def life(self, at_s: float, node: int, what: str) -> None:
        """Note the states before the first node ends."""
        if what == "start" or self.roots:
            return
        for honest in self._world.honest:
            if honest.daemon is not None:
                self.roots.update(job.state_root for job in honest.daemon.list_jobs())


def watched(scenario: Scenario, seed: int) -> tuple[Witness, float]:
    """What honest nodes saw in a run that must hold every invariant, and their worst loss."""
    seen: list[Witness] = []

    def make(world: World) -> Witness:
        seen.append(Witness(world))
        return seen[0]

    outcome = run_scenario(scenario, seed, watchers=[make])
    assert outcome.violations == []
    assert outcome.rounds == scenario.rounds
    return seen[0], outcome.metrics["loss"]


@pytest.mark.parametrize("name", NAMES)
def test_two_liars_of_seven_stop_nothing_and_move_the_model_little(name: str) -> None:
    scenario = load_scenario(f"attack_{name}")
    witness, loss = watched(scenario, seed=1)
    assert witness.liars == {5, 6}
    assert len(witness.roots) == 1
    assert witness.failed == []
    assert witness.blamed <= witness.liars, "an honest node was blamed"
    blameful = {n: why - INNOCENT for n, why in witness.refused.items() if why - INNOCENT}
    assert blameful.keys() <= witness.liars, "an honest contribution was refused"
    assert witness.skips == 0
    assert scenario.expect.loss_max is not None
    assert loss < scenario.expect.loss_max


BLAMED = {
    "bad_signatures", "censor", "double_propose", "double_vote", "equivocate", "false_shelf",
    "frame", "malformed", "oversized", "replay", "skip_leader",
}  # fmt: skip
REFUSED = {
    "garbage": "bad_leaf",
    "inf": "malformed",
    "nan": "malformed",
    "old_parts": "bad_leaf",
    "silent": "absent",
    "withhold": "missing",
}


@pytest.mark.parametrize("name", sorted(BLAMED))
def test_who_breaks_the_protocol_in_the_open_is_blamed(name: str) -> None:
    witness, _ = watched(load_scenario(f"attack_{name}"), seed=2)
    assert witness.blamed == {5, 6}


@pytest.mark.parametrize("name", sorted(REFUSED))
def test_a_contribution_that_nobody_can_use_is_refused_with_its_reason(name: str) -> None:
    witness, _ = watched(load_scenario(f"attack_{name}"), seed=3)
    assert {n for n, why in witness.refused.items() if REFUSED[name] in why} == {5, 6}


def two_of_seven(name: str, scale: float, rule: str, **exchange: object) -> Scenario:
    attacks = (AttackSection(name=name, scale=scale),)
    return Scenario(nodes=7, rounds=6, attacks=attacks, job={"exchange": {"rule": rule} | exchange})


RUINOUS = [
    ("sign_flip", 10), ("ipm", 10), ("alie_opt", 1), ("gaussian", 10), ("label_flip", 1),
    ("stale", 1), ("inflate_weight", 1),
]  # fmt: skip


@pytest.mark.parametrize(("name", "scale"), RUINOUS)
def test_what_the_rule_bears_ruins_the_mean(name: str, scale: float) -> None:
    _, mean = watched(two_of_seven(name, scale, "mean"), seed=1)
    _, clipped = watched(two_of_seven(name, scale, "centered_clip"), seed=1)
    assert mean > 0.05
    assert clipped < 0.001


def test_a_part_that_only_a_liar_reduces_is_not_his(monkeypatch: pytest.MonkeyPatch) -> None:
    scenario = two_of_seven("collude", 10, "centered_clip", replicas=1)
    sure = run_scenario(two_of_seven("collude", 10, "centered_clip", replicas=3), 1)
    checked = run_scenario(scenario, 1)
    monkeypatch.setattr("node.jobs.round_work.refuted", lambda *_: "")
    unchecked = run_scenario(scenario, 1)
    assert checked.violations == sure.violations == []
    assert checked.metrics["error"] < 1.5 * sure.metrics["error"]
    assert unchecked.metrics["error"] > 2 * sure.metrics["error"], "the liars reduced nothing alone"


@pytest.mark.parametrize("name", ["wrong_weights", "wrong_gram", "collude"])
def test_lying_reducers_cost_an_honest_leader_no_view(name: str) -> None:
    for seed in (1, 2):
        witness, _ = watched(load_scenario(f"attack_{name}"), seed)
        assert witness.views == {0}


def test_a_flood_is_several_times_what_a_node_sends() -> None:
    flood, _ = watched(load_scenario("attack_flood"), seed=1)
    calm, _ = watched(load_scenario("attack_zero"), seed=1)
    assert flood.sent_by_liars > 3 * calm.sent_by_liars


async def test_an_eclipse_fills_the_views_but_hides_no_elector() -> None:
    scenario = load_scenario("attack_eclipse")
    world = World(scenario, seed=1)
    async with world:
        for index in range(7):
            await world.start(index)
        await world.submit()
        await asyncio.sleep(30)
        electors = {node.peer for node in world.nodes}
        for node in world.honest:
            assert node.daemon is not None
            known = {peer.peer for peer in node.daemon.status().peers}
            assert len(known) > 200, "the attack did not reach this view"
            assert electors - {node.peer} <= known
