"""Strangers on probation in whole swarms: the honest are seated, the lazy never, floods wait."""

from collections.abc import Mapping
from itertools import pairwise
from typing import Any

import pytest

from node.types import Digest
from simulator.hub import Watcher
from simulator.run import Outcome, run_scenario
from simulator.scenario import AttackSection, FaultSection, LinkSection, Scenario
from simulator.world import World

FOUNDERS = 5


class Trials(Watcher):
    """What the first node knows of strangers after each of its rounds."""

    def __init__(self, world: World) -> None:
        self._names = {n.signer.public_key: n.index for n in world.nodes}
        self._world = world
        self.seated: dict[int, int] = {}
        """Stranger -> first round of its seat."""
        self.passed: dict[int, int] = {}
        """Stranger -> audits that it passed."""
        self.places: list[int] = []
        """Strangers on probation after each round."""
        self.used: list[int] = []
        self.roots: list[Digest] = []
        self.bans: dict[int, int] = {}
        self.shown = ""

    def event(self, at_s: float, node: int, event: str, fields: Mapping[str, object]) -> None:
        """Look at the first node."""
        if node != 0 or event != "round_certified":
            return
        daemon = self._world.nodes[0].daemon
        assert daemon is not None
        head = daemon.runners[0].head
        self.used.append(int(str(fields["used"])))
        self.places.append(len(head.probation.members))
        assert head.state_root is not None
        self.roots.append(head.state_root)
        for key, _ in head.electorate.keys:
            if self._names[key] >= FOUNDERS:
                self.seated.setdefault(self._names[key], head.round + 1)
        for member in head.probation.members:
            self.passed[self._names[member.key]] = member.passed
        self.bans = {self._names[key]: round_ for key, round_ in head.bans.items()}
        status = daemon.status()
        self.shown += " ".join(peer.probation for peer in status.peers)
        assert status.jobs[0].probation.keys() == {
            self._world.nodes[self._names[m.key]].peer for m in head.probation.members
        }


def tried(
    followers: int, rounds: int, *, seed: int = 1, lying: tuple[AttackSection, ...] = (),
    audits: int = 2,
) -> tuple[Trials, Outcome]:  # fmt: skip
    job: dict[str, Any] = {
        "admission": {"mode": "open", "audits": audits},
        "workload": {"dimensions": 300, "heterogeneity": 0.2},
    }
    scenario = Scenario(
        nodes=FOUNDERS, followers=followers, rounds=rounds, job=job, framed=False, attacks=lying
    )
    seen: list[Trials] = []

    def make(world: World) -> Trials:
        seen.append(Trials(world))
        return seen[0]

    outcome = run_scenario(scenario, seed, watchers=[make])
    assert outcome.violations == []
    return seen[0], outcome


def test_an_honest_stranger_is_seated_after_its_audits_and_then_counts() -> None:
    trials, _ = tried(1, 26)
    assert trials.passed == {5: 2}
    assert trials.seated.keys() == {5}
    before = trials.seated[5] - 1
    assert set(trials.used[:before]) == {FOUNDERS}  # no round waited for it, or used it
    assert trials.used[-1] == FOUNDERS + 1
    assert "2 audits" in trials.shown


LAZY = ["label_flip", "free_ride_noise", "stale", "inflate_steps"]


def check_lazy(name: str, seed: int) -> None:
    trials, outcome = tried(2, 34, lying=(AttackSection(name=name, nodes=(5,)),), seed=seed)
    assert 5 not in trials.seated
    assert trials.passed.get(5, 0) < 2  # what is stale was true once
    assert trials.bans.keys() <= {5}
    assert outcome.bans.keys() <= {"node-5"}


def test_who_trains_on_false_labels_is_banned_on_probation() -> None:
    trials, _ = tried(1, 30, lying=(AttackSection(name="label_flip", nodes=(5,)),))
    assert trials.bans.keys() == {5}
    assert trials.seated == {}
    assert set(trials.used) == {FOUNDERS}


@pytest.mark.sim
@pytest.mark.parametrize("name", LAZY)
def test_whoever_does_not_do_the_work_is_never_seated(name: str) -> None:
    for seed in range(1, 5):
        check_lazy(name, seed)


@pytest.mark.sim
def test_fifty_identities_share_one_place_and_the_window() -> None:
    trials, _ = tried(50, 60)
    assert max(trials.places) == 1
    rounds = sorted(trials.seated.values())
    assert 1 <= len(rounds) <= 6
    assert all(b - a >= 10 for a, b in pairwise(rounds))


@pytest.mark.sim
def test_a_round_is_no_slower_for_strangers() -> None:
    alone, _ = tried(0, 20, audits=100)
    beside, _ = tried(8, 20, audits=100)
    assert len(alone.roots) == len(beside.roots) == 20
    assert beside.used == alone.used
    # Until the first decision that tells of strangers the two runs are the same, bit for bit.
    first = next(i for i, places in enumerate(beside.places) if places)
    assert alone.roots[: first + 1] == beside.roots[: first + 1]


@pytest.mark.sim
@pytest.mark.parametrize("seed", [1, 2, 3])
def test_seats_are_given_under_churn_and_lies_and_nothing_breaks(seed: int) -> None:
    churn = FaultSection(kind="churn", every_s=4.0, down_s=1.5, at_s=1.0, for_s=12.0)
    lazy = AttackSection(name="label_flip", nodes=(10,))
    accuser = AttackSection(name="accuse", nodes=(9,))
    job = {
        "admission": {"mode": "open", "audits": 2},
        "workload": {"dimensions": 300, "heterogeneity": 0.2},
    }
    scenario = Scenario(
        nodes=10, followers=5, rounds=40, job=job, faults=(churn,), attacks=(lazy, accuser),
        link=LinkSection(loss_rate=0.02, jitter_s=0.02),
    )  # fmt: skip
    outcome = run_scenario(scenario, seed)
    assert outcome.violations == []
    assert outcome.rounds == 40
    assert outcome.bans.keys() <= {"node-10"}
