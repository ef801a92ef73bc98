"""Audits on whole swarms: who does not do the work is found out, and nobody else ever is."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import pytest

from node.ports import Ports, Sign, TrainReply, TrainRequest, Worker
from node.types import PeerId
from simulator.attacks.base import Attack
from simulator.attacks.shells import ComputeShell, WorkerShell
from simulator.host.compute import SimWorker
from simulator.hub import Watcher
from simulator.run import Outcome, run_scenario
from simulator.scenario import AttackSection, FaultSection, HostSection, Scenario
from simulator.world import World
from workloads.api import Replayable

INR = {
    "image": "astronaut", "size": 16, "hidden_layers": 1, "hidden_width": 16,
    "pixels_per_step": 64, "lr": 0.003,
}  # fmt: skip


class Court(Watcher):
    """What honest nodes found."""

    def __init__(self, world: World, lying: Mapping[int, Attack]) -> None:
        world.attack(lying)
        self.world = world
        self._names = {node.peer: node.index for node in world.nodes}
        self.convicted: dict[int, set[int]] = {}
        """Honest node -> whom it holds convicted."""
        self.found: Counter[tuple[int, str]] = Counter()
        """(audited node, verdict) -> audits."""
        self.skips = 0
        self.refuted: set[int] = set()
        """Whom honest nodes blame for false findings."""
        self.held: dict[int, set[int]] = {}
        """Honest node -> against whom it holds evidence."""
        self.reasons: dict[int, str] = {}
        """Honest node -> what it shows of the banned when its job is done."""
        self.rule_liars: dict[int, int] = {}
        """Honest node -> liars that it shows the rule to bear then."""

    def event(self, at_s: float, node: int, event: str, fields: Mapping[str, object]) -> None:
        """Note findings and convictions."""
        if node in self.world.liars:
            return
        if event == "round_certified":
            self.skips += bool(fields["skip"])
        if event == "peer_error" and fields["reason"] == "false_finding":
            self.refuted.add(self._names[PeerId(str(fields["peer"]))])
        if event == "convicted":
            self.held.setdefault(node, set()).add(self._names[PeerId(str(fields["peer"]))])
        if event == "job_done":
            daemon = self.world.nodes[node].daemon
            assert daemon is not None
            self.rule_liars[node] = daemon.status().jobs[0].rule_liars
            self.reasons[node] = " ".join(peer.banned for peer in daemon.status().peers)
        if event in ("audited", "judged"):
            about = self._names[PeerId(str(fields["peer"]))]
            if event == "audited":
                self.found[about, str(fields["verdict"])] += 1
            else:
                self.convicted.setdefault(node, set()).add(about)

    def of_all(self, verdict: str) -> int:
        """Audits that ended so."""
        return sum(n for (_, found), n in self.found.items() if found == verdict)


def tried(
    nodes: int = 4,
    rounds: int = 5,
    *,
    attacks: Sequence[AttackSection] = (),
    lying: Mapping[int, Attack] | None = None,
    faults: Sequence[FaultSection] = (),
    hosts: Sequence[HostSection] = (),
    seed: int = 1,
    **job: Any,
) -> tuple[Court, Outcome]:
    """A run in which every contribution is audited, and every invariant holds."""
    job.setdefault("workload", {"dimensions": 300, "heterogeneity": 0.2})
    job.setdefault("audit", {"rate": 1.0})
    scenario = Scenario(
        name="audits", nodes=nodes, rounds=rounds, attacks=tuple(attacks), faults=tuple(faults),
        hosts=tuple(hosts), job=job,
    )  # fmt: skip
    seen: list[Court] = []

    def make(world: World) -> Court:
        seen.append(Court(world, lying or {}))
        return seen[0]

    outcome = run_scenario(scenario, seed, watchers=[make])
    assert outcome.violations == []
    assert outcome.rounds == rounds
    return seen[0], outcome


LAZY = ["label_flip", "stale", "free_ride_copy", "free_ride_noise", "inflate_steps"]


def check_lazy(name: str) -> None:
    court, outcome = tried(rounds=9, attacks=[AttackSection(name=name)])
    assert court.convicted == {0: {3}, 1: {3}, 2: {3}}
    assert court.of_all("ok") >= 3
    assert outcome.bans.keys() == {"node-3"}
    for node in court.world.honest:
        assert court.held[node.index] == {3}
        assert "is false, as" in court.reasons[node.index]
        assert "by the certificate of round" in court.reasons[node.index]


@pytest.mark.parametrize("name", ["label_flip", "stale"])
def test_who_does_not_do_the_work_is_convicted_by_all_and_banned(name: str) -> None:
    check_lazy(name)


@pytest.mark.sim
@pytest.mark.parametrize("name", LAZY[2:])
def test_whatever_it_does_in_place_of_the_work_it_is_banned(name: str) -> None:
    check_lazy(name)


@pytest.mark.sim
@pytest.mark.parametrize("name", LAZY)
def test_two_of_seven_are_convicted_with_momentum_and_a_codec_without_loss(name: str) -> None:
    exchange = {"codec": "fp32", "momentum": 0.9}
    court, outcome = tried(7, 12, attacks=[AttackSection(name=name)], exchange=exchange)
    assert court.convicted == {node: {5, 6} for node in range(5)}
    assert outcome.bans.keys() == {"node-5", "node-6"}


def test_as_many_false_accusers_as_may_lie_convict_nobody() -> None:
    court, outcome = tried(7, attacks=[AttackSection(name="accuse")])
    assert court.convicted == {}
    assert outcome.bans == {}
    assert court.refuted == {5, 6}  # the others found true what they objected to
    # Until an objection of a liar is refuted, the others look into what it objects to, not longer.
    assert 7 * 2 < court.of_all("ok") <= 7 * 4


def test_at_rate_0_nobody_is_audited_and_no_memory_is_kept() -> None:
    court, _ = tried(audit={"rate": 0.0}, attacks=[AttackSection(name="label_flip")])
    assert court.found == {}
    assert court.convicted == {}


FAULTS = {
    "crash": [FaultSection(kind="crash", nodes=(1,), round=3, phase="vote", for_s=1.0)],
    "partition": [FaultSection(kind="partition", nodes=(0, 1), round=3, for_s=6.0)],
    "slow": [FaultSection(kind="slow", nodes=(2,), round=2, factor=30.0, for_s=4.0)],
}


@pytest.mark.sim
@pytest.mark.parametrize("name", FAULTS)
def test_honest_work_is_never_found_false_whatever_fails(name: str) -> None:
    court, _ = tried(rounds=12, faults=FAULTS[name], exchange={"momentum": 0.9})
    assert court.convicted == {}
    assert court.of_all("ok") > 12


@pytest.mark.sim
def test_after_a_skip_everybody_starts_anew_and_audits_go_on() -> None:
    crash = FaultSection(kind="crash", nodes=(1,), round=3, phase="train", for_s=4.0)
    court, _ = tried(
        rounds=8,
        faults=[crash],
        workload_name="inr",
        workload=INR,
        round={"group_min": 4, "steps": 6},
    )
    assert court.skips > 0
    assert court.convicted == {}
    assert court.of_all("ok") > 3


@pytest.mark.sim
def test_what_was_not_used_leaves_the_optimizer_as_before_the_round() -> None:
    cut = FaultSection(
        kind="cut", nodes=(1,), others=(2, 3), both=False, round=3, phase="have", at_once=True,
        for_s=3.0,
    )  # fmt: skip
    court, _ = tried(rounds=8, faults=[cut], workload_name="inr", workload=INR, round={"steps": 6})
    assert court.found[1, "ok"] in range(2, 7)  # of 8: some were not used


class _Smuggler(WorkerShell):
    """Trains from an optimizer state of its own making, and opens that one."""

    async def train(self, request: TrainRequest) -> TrainReply:
        assert isinstance(self.inner, SimWorker)
        workload = self.inner._workload
        assert isinstance(workload, Replayable)
        state = bytearray(workload.local_state())
        if state:
            state[4:8] = b"\x00\x00\x80\x3f"  # the mean of one gradient is 1.0
            workload.load_local_state(bytes(state))
        return await self.inner.train(request)


class _Smuggling(ComputeShell):
    async def start_worker(self, *args: Any, **settings: Any) -> Worker:
        return _Smuggler(await self.inner.start_worker(*args, **settings))


class Smuggle(Attack):
    """Its replays fit: only what its optimizer state follows from does not."""

    def ports(self, ports: Ports, sign: Sign) -> Ports:
        """The worker's optimizer is poisoned before each round."""
        ports = super().ports(ports, sign)
        return replace(ports, compute=_Smuggling(ports.compute))


@pytest.mark.sim
def test_an_optimizer_state_that_follows_from_no_contribution_convicts() -> None:
    court, _ = tried(
        lying={3: Smuggle(scale=1, seed=1)},
        workload_name="inr",
        workload=INR,
        round={"steps": 4},
    )
    assert court.convicted == {0: {3}, 1: {3}, 2: {3}}
    assert court.found[3, "breach"] >= 2


class _Closed(WorkerShell):
    async def opening(self, round_: int) -> bytes | None:
        return None


class _Closing(ComputeShell):
    async def start_worker(self, *args: Any, **settings: Any) -> Worker:
        return _Closed(await self.inner.start_worker(*args, **settings))


class Closed(Attack):
    """Opens nothing."""

    def ports(self, ports: Ports, sign: Sign) -> Ports:
        """The worker keeps nothing."""
        ports = super().ports(ports, sign)
        return replace(ports, compute=_Closing(ports.compute))


def test_who_opens_nothing_is_seen_but_not_convicted() -> None:
    court, _ = tried(rounds=10, lying={3: Closed(scale=1, seed=1)})
    assert court.found[3, "no_opening"] > 2
    assert court.convicted == {}


def test_a_rule_bears_fewer_liars_after_enough_clean_audits() -> None:
    # Of 16 rounds the first 8 are settled: 56 contributions, where 46 suffice.
    court, _ = tried(7, 16, exchange={"f": "auto"})
    assert court.rule_liars == dict.fromkeys(range(7), 1)


@pytest.mark.sim
@pytest.mark.parametrize("lying", [(), (5, 6)])
def test_a_rule_bears_no_fewer_too_early_nor_for_those_who_open_nothing(
    lying: tuple[int, ...],
) -> None:
    liars = {node: Closed(scale=1, seed=1) for node in lying}
    court, _ = tried(7, 40 if lying else 12, exchange={"f": "auto"}, lying=liars)
    assert court.convicted == {}
    assert court.rule_liars == dict.fromkeys(range(7 - len(lying)), 2)


def test_another_compute_class_is_never_evidence() -> None:
    odd = HostSection(nodes=(3,), machine="gpu-small")
    for attacks in ([], [AttackSection(name="label_flip", nodes=(3,))]):
        court, _ = tried(hosts=[odd], attacks=attacks)
        assert court.convicted == {}
        found = {verdict for node, verdict in court.found if node == 3}
        assert found == ({"other_class", "far"} if attacks else {"other_class"})
        assert court.of_all("ok") > 3
