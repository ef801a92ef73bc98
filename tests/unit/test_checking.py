"""Plans of r <= f reducers: a seal, nonces against it, a beacon, sketches; n = 4, f = 1, r = 1."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from node.exchange.beacon import beacon_value, nonce_hash
from node.exchange.effects import Effect, Send
from node.exchange.round import RoundMachine
from node.identity import Identity
from node.ledger.assurance import assurance, liars_alone
from node.types import Digest
from node.wire.convert import (
    decode_beacon,
    decode_have,
    decode_list,
    decode_proposal,
    decode_seal,
    decode_vote,
    encode_beacon,
    encode_have,
    encode_proposal,
    encode_seal,
)
from node.wire.convert_ledger import decode_decision
from node.wire.messages import Decision, RoundBody, Signed
from simulator.host.signer import verify
from simulator.machines import JOB, Host, MachineWorld, Weather

CALM = Weather(0, 0, 0, 0)
LEADER = 1
"""Of view 0 of round 1."""
ORDER = ("reveals", "sketches", "settled", "screen", "screens", "results", "commit", "view", "call")
"""Timers by how long they run."""

Signs = Callable[[int, str, bytes], bytes]


class CheckedWorld(MachineWorld):
    """Four electors, one reducer a part, one liar who signs what ``lie`` makes of its messages."""

    def __init__(self, seed: int = 0, liar: int | None = None, lie: Signs | None = None) -> None:
        self.liar, self.lie = liar, lie
        self.refuters: set[int] = set()
        """Electors to whom every sketch refutes the results."""
        self.posted: list[tuple[int, int, RoundBody]] = []
        super().__init__(4, 0, np.random.default_rng(seed), CALM, make=self._make, replicas=1)

    def _make(self, context: Any, *rest: Any) -> RoundMachine:
        lies = context.me == self.liar
        return RoundMachine(context, *rest, signs=self.lie if lies else None)

    def refutes(self, host: Host) -> str:
        return "a lie" if host.elector in self.refuters else ""

    def _post(self, host: Host, to: int, body: RoundBody, *, to_self: bool = False) -> None:
        self.posted.append((host.elector, to, body))
        if self.passes(host.elector, body):
            super()._post(host, to, body, to_self=to_self)

    def passes(self, sender: int, body: RoundBody) -> bool:
        """Whether a message leaves."""
        return True

    def _fire(self, *, fair: bool = False) -> None:
        """Timers in the order in which their waits end."""
        waiting = [(ORDER.index(name.partition("/")[0]), host.elector, name)
                   for host in self.hosts for name in host.timers]  # fmt: skip
        _, elector, name = min(waiting)
        host = next(h for h in self.hosts if h.elector == elector)
        host.timers.remove(name)
        assert host.machine is not None
        self._carry_out(host, host.machine.on_timer(name))

    def decide(self) -> Decision:
        """Run until all honest electors have decided; their one decision."""
        self.run(20_000)
        found = {id_ for ids in self.decided.values() for id_ in ids}
        assert len(self.decided) == 4
        assert len(found) == 1
        assert self.certificate is not None
        return decode_decision(self.certificate.decision)

    def kinds(self) -> set[str]:
        """Kinds of signed messages that were sent."""
        return {body.kind for _, _, body in self.posted if isinstance(body, Signed)}

    @property
    def views(self) -> set[int]:
        """Views that electors are in."""
        return {host.machine.view for host in self.hosts if host.machine}


def test_one_answer_a_part_is_backed_by_sketches_under_a_beacon_of_all() -> None:
    world = CheckedWorld()
    decision = world.decide()
    assert decision.beacon
    assert decision.unrevealed == ()
    assert decision.replicas == 1
    assert world.views == {0}
    assert {"seal", "reveal", "beacon", "sketch"} <= world.kinds()


def test_nothing_of_it_is_sent_where_more_than_f_answer() -> None:
    sent: set[str] = set()

    class Plain(MachineWorld):
        def _post(self, host: Host, to: int, body: RoundBody, *, to_self: bool = False) -> None:
            if isinstance(body, Signed):
                sent.add(body.kind)
                assert body.kind != "have" or decode_have(body.body).nonce_hash == b""
            super()._post(host, to, body, to_self=to_self)

    Plain(4, 0, np.random.default_rng(0), CALM).run(20_000)
    assert "propose" in sent
    assert not {"seal", "reveal", "beacon", "sketch"} & sent


def test_a_nonce_is_told_after_all_answers_are_signed() -> None:
    world = CheckedWorld()
    world.decide()
    order = [body.kind for _, _, body in world.posted if isinstance(body, Signed)]
    steps = ("screen", "plan", "seal", "reveal", "beacon", "sketch", "propose")
    assert sorted(steps, key=order.index) == list(steps)
    told = order.index("reveal")
    assert not {"screen", "plan", "result"} & {*order[told:]}


@pytest.mark.parametrize("silent", [0, 2])
def test_who_keeps_its_nonce_loses_the_credit_and_not_the_contribution(silent: int) -> None:
    class Withheld(CheckedWorld):
        def passes(self, sender: int, body: RoundBody) -> bool:
            return not (isinstance(body, Signed) and body.kind == "reveal" and sender == silent)

    named = 0
    for seed in range(8):  # in half of the runs its HAVE comes too late to be asked for
        world = Withheld(seed)
        decision = world.decide()
        assert world.views == {0}
        assert silent in dict(decision.plan)
        assert decision.unrevealed in ((), (silent,))
        assert (silent in dict(decision.credits)) == (decision.unrevealed == ())
        assert len(decision.credits) == 4 - len(decision.unrevealed)
        named += len(decision.unrevealed)
    assert named


def test_who_keeps_its_sketch_costs_a_wide_list_and_no_view() -> None:
    class Withheld(CheckedWorld):
        def passes(self, sender: int, body: RoundBody) -> bool:
            return not (isinstance(body, Signed) and body.kind == "sketch" and sender == 0)

    world = Withheld()
    decision = world.decide()
    assert (decision.beacon, decision.replicas) == (b"", 2)
    assert world.views == {0}


def test_refuted_results_are_replaced_by_more_answers_in_the_same_view() -> None:
    world = CheckedWorld()
    world.refuters = {0, 1, 2, 3}
    decision = world.decide()
    assert not decision.skip
    assert (decision.beacon, decision.replicas) == (b"", 2)
    assert world.views == {0}
    assert world.blamed == set()


def test_a_leader_that_proposes_refuted_results_loses_its_view() -> None:
    world = CheckedWorld()
    world.refuters = {0, 1, 2, 3} - {LEADER}
    decision = world.decide()
    assert not decision.skip
    assert decision.replicas == 2
    assert world.blamed == {LEADER}
    assert min(world.views) > 0


def drop_a_nonce(_round: int, kind: str, body: bytes) -> bytes:
    if kind != "beacon":
        return body
    value = decode_beacon(body, JOB, 1)
    return encode_beacon(replace(value, reveals=value.reveals[:-1]))


def test_whose_nonce_the_leader_leaves_out_does_not_prepare() -> None:
    for seed in range(4):
        world = CheckedWorld(seed, liar=LEADER, lie=drop_a_nonce)
        world.decide()
        assert world.blamed == set()
        told, kept, prepared = set(), set(), set()
        for sender, _, body in world.posted:
            if isinstance(body, Signed) and body.kind == "reveal":
                told.add(sender)
            elif isinstance(body, Signed) and body.kind == "beacon":
                value = decode_beacon(body.body, JOB, 1)
                kept = {world.electorate.index(reveal.signer) for reveal in value.reveals}
            elif isinstance(body, Signed) and body.kind == "prepare":
                prepared |= {sender} if decode_vote(body.body).view == 0 else set()
        assert told - kept, "nobody was left out"
        assert not (told - kept) & prepared


def test_a_second_seal_of_a_view_gets_no_nonce_and_no_prepare() -> None:
    """A leader that learned nonces cannot have other answers checked under them."""
    world = CheckedWorld()
    world.decide()
    leader, voter = world.hosts[LEADER].machine, world.hosts[2].machine
    assert leader is not None
    assert voter is not None
    signer, context = leader.core.signer, voter.core.context
    assert signer is not None
    seal = leader.core.slots["seal.0"]
    value = decode_seal(seal.body, JOB, 1)
    body = encode_seal(replace(value, results=value.results * 2))  # the same answers, other bytes
    again = replace(seal, body=body, signature=signer.sign("seal", JOB, 1, body))
    fresh = RoundMachine(context, voter.core.signer, verify)
    for kind, name in (("list", "list.0.0"), ("plan", "plan.0.0")):
        assert leader.core.slots[name].kind == kind
        fresh.on_message(LEADER, leader.core.slots[name])
    haves = decode_list(leader.core.slots["list.0.0"].body, JOB, 1).haves
    assert context.electorate.keys[2][0] in {have.signer for have in haves}

    def told(effects: list[Effect]) -> list[Signed]:
        sent = (e.body for e in effects if isinstance(e, Send))
        return [body for body in sent if isinstance(body, Signed) and body.kind == "reveal"]

    assert len(told(fresh.on_message(LEADER, seal))) == 1
    assert told(fresh.on_message(LEADER, again)) == []
    assert told(fresh.on_message(LEADER, seal)) == []
    after_crash = RoundMachine(context, voter.core.signer, verify, fresh.core.slots)
    for name in ("list.0.0", "plan.0.0"):
        after_crash.on_message(LEADER, leader.core.slots[name])
    assert told(after_crash.on_message(LEADER, again)) == []


def without_beacon(_round: int, kind: str, body: bytes) -> bytes:
    if kind != "propose":
        return body
    value = decode_proposal(body, JOB, 1)
    if value.beacon_id is None:
        return body
    seal_free = replace(value, beacon_id=None, sketches=())
    return encode_proposal(seal_free)


def without_sketches(_round: int, kind: str, body: bytes) -> bytes:
    if kind != "propose":
        return body
    value = decode_proposal(body, JOB, 1)
    return encode_proposal(replace(value, sketches=value.sketches[1:]))


@pytest.mark.parametrize("lie", [without_beacon, without_sketches])
def test_a_proposal_that_few_reducers_back_alone_is_refused(lie: Signs) -> None:
    world = CheckedWorld(liar=LEADER, lie=lie)
    world.decide()
    assert LEADER in world.blamed
    assert world.blamed == {LEADER}
    assert min(world.views) > 0


def false_hash(_round: int, kind: str, body: bytes) -> bytes:
    if kind != "have":
        return body
    return encode_have(replace(decode_have(body), nonce_hash=bytes(32)))


def test_a_nonce_that_its_have_is_not_bound_to_is_left_out() -> None:
    worlds = [CheckedWorld(seed, liar=2, lie=false_hash) for seed in range(8)]
    assert {world.decide().unrevealed for world in worlds} == {(), (2,)}
    assert set().union(*(world.blamed for world in worlds)) == {2}


def test_a_nonce_is_the_same_after_a_restart_and_another_in_every_place() -> None:
    places = [(JOB, 1, 0), (JOB, 1, 1), (JOB, 2, 0), (bytes([1]) * 32, 1, 0)]
    seed = bytes(range(32))
    first = [Identity(seed).nonce(*place) for place in places]
    assert first == [Identity(seed).nonce(*place) for place in places]
    assert len({*first, Identity(bytes(32)).nonce(*places[0])}) == 5
    assert seed not in first


def test_a_beacon_depends_on_the_seal_and_on_every_nonce() -> None:
    nonces = {e: bytes([e]) * 32 for e in range(4)}
    seal, other = Digest(bytes(32)), Digest(bytes([1]) * 32)
    values = {
        beacon_value(seal, nonces),
        beacon_value(other, nonces),
        beacon_value(seal, nonces | {3: bytes(32)}),
        beacon_value(seal, {e: nonces[e] for e in range(3)}),
    }
    assert len(values) == 4
    assert nonce_hash(nonces[1]) != nonce_hash(nonces[2])


def test_a_decision_tells_how_sure_it_is() -> None:
    world = CheckedWorld()
    decision = world.decide()
    assert assurance(decision, 4) == (
        "1 equal answer a part, from 1 liars alone with chance 25 %; checked by sketches"
    )
    assert assurance(replace(decision, beacon=b""), 4).endswith("not checked")
    assert assurance(replace(decision, replicas=2), 4).startswith("certain while at most 1 of 4")
    assert assurance(replace(decision, skip=True), 4) == ""
    assert liars_alone(10, 3, 3) == pytest.approx(1 / 120)
