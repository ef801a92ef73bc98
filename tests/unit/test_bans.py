"""Bans: who is convicted leaves the electorate by decision; nobody else does, nobody returns."""

from dataclasses import replace

import numpy as np
import pytest

from node.errors import BadSignature, Malformed
from node.exchange.effects import Blame, Convicted, Effect, Send
from node.exchange.round import RoundMachine
from node.identity import peer_id_of
from node.jobs.geometry import geometry
from node.jobs.mailbox import Mailbox
from node.jobs.manifest import parse_manifest
from node.ledger.chain import Head, check_parent, extend, genesis, genesis_id
from node.ledger.electorate import Electorate
from node.ledger.evidence import contradiction, offender
from node.memory.config import MemorySpec
from node.types import Digest
from node.wire.convert import (
    decode_evidence,
    decode_list,
    decode_proposal,
    encode_commitment,
    encode_evidence,
    encode_list,
    encode_proposal,
    encode_vote,
)
from node.wire.convert_ledger import decode_decision, encode_decision
from node.wire.memory_messages import ForkEvidence
from node.wire.messages import (
    Commitment,
    Contradiction,
    Decision,
    Evidence,
    PartCommitment,
    RoundMessage,
    Signed,
    Vote,
)
from simulator.host.signer import KeyedSigner, verify
from simulator.machines import JOB, Host, MachineWorld, Weather
from simulator.memory_liar import chain_of

CALM = Weather(0, 0, 0, 0)
A, B = Digest(b"a" * 32), Digest(b"b" * 32)
LIAR = 3


def world(n: int = 4, liars: int = 0, seed: int = 0) -> MachineWorld:
    return MachineWorld(n, liars, np.random.default_rng(seed), CALM)


def signed(w: MachineWorld, kind: str, body: bytes, elector: int, round_: int = 1) -> Signed:
    signer = KeyedSigner(w.electorate.keys[elector][0])
    return Signed(kind, JOB, round_, signer.public_key, body, signer.sign(kind, JOB, round_, body))


def proof(w: MachineWorld, elector: int, round_: int = 1) -> Contradiction:
    """The elector voted twice in view 7."""
    votes = [signed(w, "vote", encode_vote(Vote(7, x)), elector, round_) for x in (A, B)]
    found = contradiction(*votes)
    assert found is not None
    return found


def machine(host: Host) -> RoundMachine:
    assert host.machine is not None
    return host.machine


def blamed(effects: list[Effect]) -> list[int]:
    return [e.elector for e in effects if isinstance(e, Blame)]


def decision_of_world(w: MachineWorld) -> Decision:
    assert w.certificate is not None
    return decode_decision(w.certificate.decision)


def with_evidence(w: MachineWorld, *held: int) -> MachineWorld:
    """Every node but the convicted knew the evidence, of earlier rounds, when the round began."""
    w.mail.clear()
    for host in w.hosts:
        if host.elector not in held:
            host.evidence = {e: proof(w, e, round_=40) for e in held}
        w._boot(host)
    return w


# Decisions --------------------------------------------------------------------------------------


@pytest.mark.parametrize("n", [4, 7])
def test_twins_are_banned_by_the_decision_of_the_round_in_which_they_are_seen(n: int) -> None:
    banned = 0
    for seed in range(6):
        w = world(n, (n - 1) // 3, seed)
        w.run(6000)
        assert w.heal(6000)
        decision = decision_of_world(w)
        names = {w.electorate.index(key) for key in decision.bans}
        assert names <= w.liars
        assert all(found <= w.liars for found in w.convicted.values())
        kept = [elector for elector in w.electorate.keys if elector[0] not in decision.bans]
        assert list(decision.electors) == kept
        out = {e for e, why in decision.refused if why == "equivocation"}
        assert decision.skip or out == names
        banned += len(names)
    assert banned > 0


def test_evidence_of_an_earlier_round_bans_and_costs_no_wait() -> None:
    w = with_evidence(world(), LIAR)
    while not w.decided:
        w._step(CALM)  # no timer fires: the convicted commitment is not waited for
    decision = decision_of_world(w)
    assert decision.bans == (w.electorate.keys[LIAR][0],)
    assert (LIAR, "equivocation") in decision.refused
    assert LIAR not in {e for e, _ in decision.plan}


def test_a_fork_of_shared_memory_bans_as_well() -> None:
    w = world()
    signer = KeyedSigner(w.electorate.keys[LIAR][0])
    spec = MemorySpec(key_dims=4)
    one, other = (chain_of(signer, spec, [3], value)[0].signed for value in (0.0, 1.0))
    fork = decode_evidence(encode_evidence(ForkEvidence(one, other)))
    assert offender(fork, verify) == signer.public_key
    w.mail.clear()
    for host in w.hosts:
        host.evidence = {LIAR: fork} if host.elector == 2 else {}  # its leader is told of it
        w._boot(host)
    while not w.decided:
        w._step(CALM)
    assert w.electorate.leader(1, 0) != 2
    assert decision_of_world(w).bans == (signer.public_key,)


def test_a_round_with_too_few_left_is_skipped_and_still_bans() -> None:
    w = with_evidence(world(), 0, 2, LIAR)  # one may contribute, two are needed
    w.run(4000)
    assert w.heal(6000)
    decision = decision_of_world(w)
    assert (decision.skip, decision.skip_reason) == (True, "too_few")
    assert len(decision.bans) == 3
    assert len(decision.electors) == 1


def told_leader(w: MachineWorld) -> tuple[Host, Signed]:
    """The leader of view 0, and its proposal of a round that bans the liar."""
    leader = next(h for h in w.hosts if h.elector == w.electorate.leader(1, 0))
    while "propose.0" not in leader.slots:
        w._step(CALM)
    return leader, leader.slots["propose.0"]


@pytest.mark.parametrize(
    "change",
    [
        lambda d, w: replace(d, bans=(), electors=w.electorate.keys),
        lambda d, w: replace(d, electors=w.electorate.keys),
        lambda d, w: replace(d, bans=()),
        lambda d, w: replace(
            d,
            bans=tuple(sorted((*d.bans, w.electorate.keys[0][0]))),
            electors=d.electors[1:],
        ),
    ],
    ids=["spared", "banned and kept", "dropped without a ban", "somebody honest too"],
)
def test_a_voter_prepares_no_decision_with_other_bans_than_its_list_proves(change: object) -> None:
    w = with_evidence(world(), LIAR)
    leader, honest = told_leader(w)
    proposal = decode_proposal(honest.body, JOB, 1)
    false = change(decode_decision(proposal.decision), w)  # type: ignore[operator]
    body = encode_proposal(replace(proposal, decision=encode_decision(false)))
    voter = next(h for h in w.hosts if h.elector not in (leader.elector, LIAR))
    while proposal.plan_id not in machine(voter).core.plans:
        w._step(CALM)
        w.mail = [m for m in w.mail if b"propose" not in m[2]]
    effects = machine(voter).on_message(leader.elector, signed(w, "propose", body, leader.elector))
    assert leader.elector in blamed(effects)
    assert "prepare.0" not in machine(voter).core.slots


# Lists ------------------------------------------------------------------------------------------


def the_list(w: MachineWorld) -> tuple[int, Signed]:
    leader = next(h for h in w.hosts if h.elector == w.electorate.leader(1, 0))
    while "list.0.0" not in leader.slots:
        w._step(CALM)
    return leader.elector, leader.slots["list.0.0"]


def told_list(w: MachineWorld, evidence: tuple[Evidence, ...], drop: bool = True) -> list[Effect]:
    """Effects at a voter of an honest list, changed to carry this evidence."""
    leader, honest = the_list(w)
    value = decode_list(honest.body, JOB, 1)
    accused = {w.electorate.index(e.first.signer) for e in evidence if isinstance(e, Contradiction)}
    kept = tuple(c for c in value.commitments if not (drop and c[0] in accused))
    body = encode_list(replace(value, evidence=evidence, commitments=kept))
    voter = next(h for h in w.hosts if h.elector not in (leader, LIAR))
    return machine(voter).on_message(leader, signed(w, "list", body, leader))


def test_a_list_with_true_evidence_convicts_at_whoever_gets_it() -> None:
    w = world()
    effects = told_list(w, (proof(w, LIAR),))
    assert [e.elector for e in effects if isinstance(e, Convicted)] == [LIAR]
    assert blamed(effects) == []


def test_a_list_whose_evidence_does_not_hold_is_the_leaders_fault() -> None:
    w = world()
    good, leader = proof(w, LIAR), w.electorate.leader(1, 0)
    stranger = KeyedSigner(b"\7" * 32)
    votes = [encode_vote(Vote(1, x)) for x in (A, B)]
    of_stranger = [
        Signed("vote", JOB, 1, stranger.public_key, b, stranger.sign("vote", JOB, 1, b))
        for b in votes
    ]
    bad: list[tuple[tuple[Evidence, ...], bool]] = [
        ((replace(good, second=replace(good.second, signature=bytes(64))),), True),
        ((good, good), True),
        ((good,), False),  # convicted and listed
        ((contradiction(*of_stranger),), True),  # type: ignore[list-item]
        (tuple(proof(w, e) for e in range(4)), True),  # nobody would be left
        ((proof(w, LIAR), proof(w, 0)), True),  # out of order
    ]
    for evidence, drop in bad:
        assert blamed(told_list(world(), evidence, drop)) == [leader], evidence


# Telling ----------------------------------------------------------------------------------------


def test_evidence_is_passed_on_once_and_not_to_who_sent_it() -> None:
    w = world()
    host = w.hosts[0]
    effects = machine(host).on_message(2, proof(w, LIAR))
    sends = [e for e in effects if isinstance(e, Send) and isinstance(e.body, Contradiction)]
    assert [set(s.to) for s in sends] == [{1, LIAR}]
    again = machine(host).on_message(1, proof(w, LIAR))
    assert [e for e in again if isinstance(e, Send | Convicted)] == []


def test_false_evidence_is_blamed_on_its_sender_and_convicts_nobody() -> None:
    w = world()
    good = proof(w, LIAR)
    framed = replace(good, first=replace(good.first, signer=w.electorate.keys[1][0]),
                     second=replace(good.second, signer=w.electorate.keys[1][0]))  # fmt: skip
    effects = machine(w.hosts[0]).on_message(LIAR, framed)
    assert blamed(effects) == [LIAR]
    assert not [e for e in effects if isinstance(e, Convicted)]


def test_a_double_vote_inside_a_certificate_convicts() -> None:
    w = world()
    w.run(4000)
    certificate = w.certificate
    assert certificate is not None
    host = w.hosts[0]
    w._boot(host)
    vote = certificate.votes[-1]
    other = signed(w, "vote", encode_vote(Vote(certificate.view, A)), vote.elector)
    machine(host).core.elector_of(other)
    effects = machine(host).on_message(1, certificate)
    assert [e.elector for e in effects if isinstance(e, Convicted)] == [vote.elector]


def test_a_commitment_of_a_convicted_elector_is_opened_where_a_list_names_it() -> None:
    """A leader that does not know yet lists it; whoever knows must still be able to check that."""
    w = world()
    _, list_ = the_list(w)
    part = PartCommitment(A, 1, 0)
    body = encode_commitment(Commitment(genesis_id(JOB), Digest(bytes(32)), (part,), 2, 0))
    other = signed(w, "commit", body, LIAR)
    fresh = w.hosts[0]
    w._boot(fresh)
    machine(fresh).on_message(LIAR, other)
    assert LIAR not in machine(fresh).core.convictions.held
    w._carry_out(fresh, machine(fresh).on_message(1, list_))  # it fetches what the list names
    named = dict(decode_list(list_.body, JOB, 1).commitments)[LIAR]
    assert LIAR in machine(fresh).core.convictions.held
    assert named in machine(fresh).core.opened


# The chain --------------------------------------------------------------------------------------


def child(head: Head, **changes: object) -> Decision:
    decision = Decision(
        head.job, head.round + 1, head.id, False, "", "mean", 1, (), (), (), A, (), (),
        head.electorate.keys, head.lease_until_round, False,
    )  # fmt: skip
    return replace(decision, **changes)  # type: ignore[arg-type]


def test_the_chain_bans_electors_only_and_nobody_returns() -> None:
    electorate = Electorate.of([bytes([i]) * 32 for i in range(5)])
    keys = electorate.keys
    head = genesis(JOB, electorate, 100)
    gone = keys[2][0]
    rest = tuple(k for k in keys if k[0] != gone)
    good = child(head, bans=(gone,), electors=rest)
    check_parent(head, good)
    with pytest.raises(BadSignature, match="not the one that follows"):
        check_parent(head, child(head, bans=(gone,)))
    with pytest.raises(BadSignature, match="no elector"):
        check_parent(head, child(head, bans=(b"\x99" * 32,)))
    after = extend(head, good, A)
    assert after.bans == {gone: 1}
    assert after.electorate.keys == rest
    with pytest.raises(BadSignature, match="who is to enter is banned"):
        check_parent(after, child(after, electors=keys))
    everybody = tuple(sorted(key for key, _ in keys))
    with pytest.raises(BadSignature, match="bans everybody"):
        check_parent(head, child(head, bans=everybody))
    with pytest.raises(BadSignature, match="no elector"):
        check_parent(after, child(after, bans=(gone,)))
    later = extend(after, child(after, bans=(rest[0][0],), electors=rest[1:]), B)
    assert later.bans == {gone: 1, rest[0][0]: 2}


def test_bans_that_do_not_rise_are_no_decision() -> None:
    head = genesis(JOB, Electorate.of([bytes([i]) * 32 for i in range(3)]), 100)
    first, second = sorted(key for key, _ in head.electorate.keys)[:2]
    for bans in ((second, first), (first, first)):
        with pytest.raises(Malformed, match="rise"):
            decode_decision(encode_decision(child(head, bans=bans)))


def test_the_rules_of_a_round_follow_its_electorate_and_the_cut_does_not() -> None:
    text = '[job]\nname = "x"\nworkload = "quadratic"\nrounds = 9\n'
    manifest = parse_manifest(text, {})
    founders = Electorate.of([bytes([i]) * 32 for i in range(7)])
    g = geometry(JOB, manifest, (("w", (700_000,)),), founders)
    assert (g.f, g.rules.replicas, g.rules.rule_min, g.rules.group_min) == (2, 3, 5, 5)
    less = g.with_electorate(manifest, Electorate(founders.keys[2:]))
    assert (less.f, less.rules.replicas, less.rules.rule_min, less.rules.group_min) == (1, 2, 3, 3)
    assert less.slices == g.slices
    assert less.rules.part_bytes == g.rules.part_bytes
    assert len(g.slices) == 7
    assert less.with_electorate(manifest, founders) == g
    # Of the rule alone, not of what depends on the electorate.
    calm = g.with_electorate(manifest, founders, 1)
    assert (calm.f, calm.rules.replicas, calm.rules.rule_min, calm.rules.group_min) == (1, 3, 3, 5)


# Between rounds ---------------------------------------------------------------------------------


def test_early_messages_follow_their_senders_to_their_new_index() -> None:
    before = Electorate.of([bytes([i]) * 32 for i in range(4)])
    after = Electorate(before.keys[1:])
    box = Mailbox()
    for elector, (key, _) in enumerate(before.keys):
        body = Signed("vote", JOB, 2, key, encode_vote(Vote(elector, A)), bytes(64))
        box.put(peer_id_of(key), RoundMessage(JOB, 2, B, body), 100)
    taken = box.take(2, B, after)
    assert [(e, body.signer) for e, body in taken if isinstance(body, Signed)] == [
        (e, key) for e, (key, _) in enumerate(after.keys)
    ]
