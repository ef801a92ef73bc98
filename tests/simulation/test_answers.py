"""Reducers that lie are banned by certificate, whoever heard them; honest ones never are."""

import asyncio
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import pytest

from node.errors import PeerError, Refused
from node.jobs.refuting import ANSWER_METHOD, FOUND_MAX, GIVEN_MAX
from node.jobs.telling import FINDING_METHOD
from node.merkle import digest
from node.types import Digest, PeerId
from node.wire.audit import (
    KIND,
    Finding,
    Verdict,
    encode_answer_request,
    encode_finding,
    encode_signed_finding,
)
from node.wire.convert import decode_evidence, decode_signed
from node.wire.messages import Signed
from simulator.attacks.auditors import slander
from simulator.attacks.base import Attack
from simulator.hub import Hub, Watcher
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


def check_banned(nodes: int, rounds: int, attack: str, *, least: int = 1, **settings: Any) -> Bench:
    """Liars are banned, so many at least, and nobody else: some may never be drawn to reduce."""
    bench, outcome = tried(nodes, rounds, attack, **settings)
    liars = range(nodes - (nodes - 1) // 3, nodes)
    assert outcome.bans.keys() <= {f"node-{liar}" for liar in liars}
    assert len(outcome.bans) >= least
    assert {reducer for reducer, _ in bench.found} <= {*liars}
    return bench


def test_an_outvoted_screen_bans_where_enough_answers_are_certain() -> None:
    bench = check_banned(4, 8, "wrong_gram")
    assert {kind for _, kind in bench.found} == {"screen"}
    assert any("its answer as a reducer (screen) of round" in why for why in bench.reasons)


def test_results_of_a_narrow_plan_that_sketches_refute_ban_all_who_signed_them() -> None:
    bench = check_banned(10, 8, "false_result", replicas=2)
    assert {kind for _, kind in bench.found} == {"result"}


def test_who_declares_false_sketches_is_banned() -> None:
    bench = check_banned(7, 4, "false_sketch", replicas=1, least=2)
    assert {kind for _, kind in bench.found} == {"sketch"}


@pytest.mark.parametrize("attack", ["narrow_gram", "narrow_result"])
def test_a_lie_that_its_leader_alone_heard_is_shown_to_all_and_bans(attack: str) -> None:
    check_banned(7, 8, attack)


@pytest.mark.parametrize("replicas", [0, 1])
def test_as_many_slanderers_as_may_lie_convict_nobody(replicas: int) -> None:
    lying = {node: slander(scale=1.0, seed=1) for node in (5, 6)}
    bench, outcome = tried(7, 4, lying=lying, replicas=replicas)
    assert min(liar.told for liar in lying.values()) > 4
    assert bench.found == {}
    assert outcome.bans == {}


class Calls(Watcher):
    """Requests for answers that nodes sent."""

    def __init__(self) -> None:
        self.asked: Counter[tuple[PeerId, PeerId]] = Counter()

    def sent(self, at_s: float, source: PeerId, target: PeerId, method: str, data: bytes) -> None:
        """Count them."""
        self.asked[source, target] += method == ANSWER_METHOD


async def test_answers_are_given_to_electors_twice_and_asked_for_within_limits() -> None:
    attacks, calls = (AttackSection(name="wrong_gram"),), Calls()
    world = World(Scenario(nodes=4, rounds=6, attacks=attacks), seed=1, hub=Hub([calls]))
    async with world:
        for index in range(4):
            await world.start(index)
        await world.submit()
        a, b, liar = (world.nodes[index] for index in (0, 1, 3))
        assert a.daemon is not None
        async with asyncio.timeout(600):
            while liar.peer not in a.daemon.convicted() or a.daemon.list_jobs()[0].round < 6:
                await asyncio.sleep(0.1)
        on = decode_evidence(a.daemon.evidence(liar.peer)).first  # type: ignore[union-attr]
        transport, place = world.network.hosts[b.peer].transport, (KIND, on.job, on.round)

        async def call(method: str, data: bytes) -> bytes:
            return await transport.call(a.peer, method, data, timeout_s=5, reply_bytes_max=1 << 20)

        def finding(k: int) -> Signed:
            body = encode_finding(Finding(digest("test", bytes([k])), Verdict.FALSE_ANSWER, b""))
            key = b.signer.public_key
            return Signed(*place, key, body, b.signer.sign(*place, body))

        async def tell(signed: Signed) -> None:
            await call(FINDING_METHOD, encode_signed_finding(signed))

        request = encode_answer_request(on.job, on.round, on.id)
        earlier = calls.asked[b.peer, a.peer]
        for _ in range(GIVEN_MAX - earlier):
            assert decode_signed(await call(ANSWER_METHOD, request), on.job, on.round) == on
        with pytest.raises(Refused, match="often enough"):
            await call(ANSWER_METHOD, request)
        with pytest.raises(Refused, match="nothing false"):
            await call(ANSWER_METHOD, encode_answer_request(on.job, on.round, Digest(on.id[::-1])))
        with pytest.raises(PeerError, match="does not verify"):
            await tell(replace(finding(0), signature=bytes(64)))
        with pytest.raises(PeerError, match="who signed it"):
            await tell(replace(finding(0), signer=on.signer))
        with pytest.raises(Refused, match="not over here"):
            await tell(replace(finding(0), round=99))
        before = calls.asked[a.peer, b.peer]
        for k in range(3 * FOUND_MAX):
            await tell(finding(k))
            await asyncio.sleep(0.1)
        assert 0 < calls.asked[a.peer, b.peer] - before <= FOUND_MAX


SURE = (
    "wrong_slice", "drop_contributor", "wrong_weights", "wrong_gram", "wrong_gram_favour",
    "collude", "false_result", "gram_zero", "gram_shrink", "gram_permute",
)  # fmt: skip
CHECKED = ("wrong_slice", "gram_permute", "false_result")


@pytest.mark.sim
@pytest.mark.parametrize("attack", SURE)
def test_whatever_it_lies_about_an_outvoted_reducer_is_banned(attack: str) -> None:
    check_banned(7, 20, attack, least=2)


@pytest.mark.sim
@pytest.mark.parametrize("attack", CHECKED)
def test_reducers_of_checked_rounds_are_banned_by_sketches_and_openings(attack: str) -> None:
    check_banned(10, 24, attack, replicas=1, rate=0.3, least=3)


@pytest.mark.sim
@pytest.mark.parametrize("rule", ["trimmed_mean", "nnm | median"])
def test_liars_are_banned_under_rules_of_coordinates_too(rule: str) -> None:
    check_banned(7, 12, "wrong_slice", rule=rule, least=2)


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
