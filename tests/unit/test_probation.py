"""Probation: what a decision may say of strangers, what follows from it, and what it never changes.

Source: docs/protocol.md, "Probation".
"""

from collections.abc import Mapping
from dataclasses import replace
from typing import cast

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from node.errors import BadSignature, Malformed, PeerError, Refused
from node.exchange.auditing import Tally
from node.exchange.core import RoundContext
from node.identity import Identity, peer_id_of, verify
from node.jobs.probation import Trial, charges, passed
from node.jobs.proofs import Proofs
from node.ledger.admission import NOBODY, AdmissionRules, Door, Entrants
from node.ledger.chain import Head, check_parent, extend, genesis, genesis_id
from node.ledger.electorate import Electorate
from node.ledger.evidence import accused
from node.ledger.probation import (
    FAILED_LEAD,
    PAST_ROUNDS,
    STAY_TIMES,
    Member,
    OpenAudit,
    Probation,
    Start,
    places_of,
)
from node.ledger.succession import ABSENT_ROUNDS, extended, next_electorate
from node.merkle import digest
from node.types import Digest, JobId, PeerId
from node.wire.admission import KIND, Application, encode_application
from node.wire.audit import Finding, Verdict, encode_finding
from node.wire.convert import decode_list, encode_commitment, encode_list
from node.wire.convert_ledger import decode_decision, encode_decision
from node.wire.messages import (
    Commitment,
    Contradiction,
    Decision,
    Evidence,
    Judgement,
    ListMessage,
    PartCommitment,
    Signed,
)
from node.wire.probation import decode_past_commitment, encode_past_commitment
from node.wire.probation_messages import NO_STEP, Counted, ProbationStep
from simulator.host.signer import KeyedSigner
from simulator.machines import JOB, Host, MachineWorld, Weather

PEOPLE = [Identity(bytes([k, 1]) * 16) for k in range(1, 20)]
SEATED, STRANGER, OTHER = PEOPLE[:8], PEOPLE[10].public_key, PEOPLE[11].public_key
EIGHT = Electorate.of(p.public_key for p in SEATED)
KEYS = frozenset(p.public_key for p in SEATED)
NEEDED = 3
OPEN = AdmissionRules("open", KEYS, audits=NEEDED)
ROOT = digest("state", b"0")


def commitment_id(k: int) -> Digest:
    return digest("commitment", str(k).encode())


def child(
    head: Head, step: ProbationStep = NO_STEP, *, seats: tuple[bytes, ...] = (),
    bans: tuple[bytes, ...] = (),
) -> Decision:  # fmt: skip
    plan = tuple((e, ROOT) for e in range(head.electorate.n))
    after = next_electorate(head.electorate, plan, (), bans, seats)
    return Decision(
        head.job, head.round + 1, head.id, False, "", "mean", 1, plan, (), (), ROOT, (), bans,
        after.keys, head.lease_until_round, False, probation=step,
    )  # fmt: skip


def grown(head: Head, step: ProbationStep = NO_STEP, **more: tuple[bytes, ...]) -> Head:
    decision = child(head, step, **more)
    check_parent(head, decision)
    return extend(head, decision, digest("decision", str(head.round).encode()))


def admitted(rounds: int = 4) -> Head:
    """The stranger got a place in the last of some rounds."""
    head = genesis(JOB, EIGHT, 1000, OPEN)
    for _ in range(rounds - 1):
        head = grown(head)
    return grown(head, ProbationStep(entered=(STRANGER,)))


def counts(head: Head, k: int, back: int = 0) -> ProbationStep:
    return ProbationStep(counted=(Counted(STRANGER, head.round + 1 - back, commitment_id(k)),))


# What follows from the chain --------------------------------------------------------------------


def test_a_stranger_is_seated_after_as_many_audits_as_the_manifest_asks_for_and_no_sooner() -> None:
    head, seen = admitted(), 0
    for k in range(200):
        head = grown(head, counts(head, k))
        member = head.probation.member(STRANGER)
        assert member is not None
        assert member.passed == seen
        open_ = [a for a in head.probation.audits if a.drawn == head.round]
        if seen == NEEDED:
            break
        with pytest.raises(BadSignature, match="without 3 passed audits"):
            check_parent(head, child(head, seats=(STRANGER,)))
        if open_:
            assert {open_[0].auditor} <= KEYS
            head = grown(head, ProbationStep(passed=(open_[0].commitment,)))
            seen += 1
    assert seen == NEEDED
    head = grown(head, seats=(STRANGER,))
    assert head.electorate.index(STRANGER) is not None
    assert head.probation.members == ()
    assert head.admitted == (head.round,)


def test_a_quarter_of_the_contributions_is_drawn() -> None:
    head, drawn = admitted(), 0
    for k in range(250):
        head = grown(head, counts(head, k))
        drawn += sum(a.drawn == head.round for a in head.probation.audits)
        if head.probation.member(STRANGER) is None:  # it was there for too long
            head = grown(head, ProbationStep(entered=(STRANGER,)))
    assert 40 <= drawn <= 85  # 62 expected


@pytest.mark.parametrize(
    ("step", "text"),
    [
        (ProbationStep(entered=(SEATED[0].public_key,)), "may not have one"),
        (ProbationStep(entered=(STRANGER,)), "may not have one"),
        (ProbationStep(counted=(Counted(OTHER, 5, ROOT),)), "may not count"),
        (ProbationStep(counted=(Counted(STRANGER, 6, ROOT),)), "may not count"),
        (ProbationStep(counted=(Counted(STRANGER, 5 - PAST_ROUNDS - 1, ROOT),)), "may not count"),
        (ProbationStep(passed=(ROOT,)), "not drawn"),
        (ProbationStep(entered=tuple(sorted(p.public_key for p in PEOPLE[11:13]))), "more than 2"),
    ],
)
def test_what_a_decision_may_not_say_is_refused_by_whoever_verifies_the_chain(
    step: ProbationStep, text: str
) -> None:
    head = admitted()
    with pytest.raises(BadSignature, match=text):
        check_parent(head, child(head, step))
    listed = replace(head, admission=replace(OPEN, mode="list"))
    with pytest.raises(BadSignature, match="nobody on probation"):
        check_parent(listed, child(listed, step))


def test_one_contribution_counts_once_and_a_skip_counts_none() -> None:
    head = admitted()
    late = grown(head, counts(head, 1, back=2))
    with pytest.raises(BadSignature, match="may not count"):
        check_parent(late, child(late, counts(late, 2, back=3)))
    skip = replace(child(head, counts(head, 1)), skip=True)
    with pytest.raises(BadSignature, match="SKIP"):
        check_parent(head, skip)


def test_who_is_away_too_long_or_stays_too_long_gives_up_its_place() -> None:
    head = admitted()
    for _ in range(ABSENT_ROUNDS - 1):
        head = grown(head)
        assert head.probation.member(STRANGER) is not None
    assert grown(head).probation.members == ()
    head = admitted()
    for k in range(STAY_TIMES * NEEDED - 1):
        unaudited = replace(head, probation=replace(head.probation, audits=()))
        head = grown(unaudited, counts(head, k))
        assert head.probation.member(STRANGER) is not None
    assert grown(head, counts(head, 0)).probation.members == ()


def test_who_fails_two_audits_more_than_it_passes_gives_up_its_place() -> None:
    head, ended = admitted(), 0
    for k in range(100):
        before = len(head.probation.audits)
        head = grown(head, counts(head, k))
        drawn = any(a.drawn == head.round for a in head.probation.audits)
        ended += before + drawn - len(head.probation.audits)
        member = head.probation.member(STRANGER)
        if member is None:
            break
        assert (member.passed, member.failed) == (0, ended)
    assert ended == FAILED_LEAD
    assert k < 60


def test_a_ban_ends_probation_for_good_and_needs_a_place_or_an_open_audit() -> None:
    head = admitted()
    with pytest.raises(BadSignature, match="nor on probation"):
        check_parent(head, child(head, bans=(OTHER,)))
    banned = grown(head, bans=(STRANGER,))
    assert banned.probation.members == ()
    assert banned.electorate.n == 8
    with pytest.raises(BadSignature, match="may not have one"):
        check_parent(banned, child(banned, ProbationStep(entered=(STRANGER,))))
    assert application(PEOPLE[10], banned.round, banned).signer == STRANGER
    with pytest.raises(PeerError, match="banned"):
        banned.door.check(application(PEOPLE[10], banned.round, banned), verify)


@given(st.integers(1, 64))
def test_places_are_a_quarter_of_the_electors_and_at_most_eight(n: int) -> None:
    assert places_of(n) == min(8, max(1, n // 4))


# Who gets a place -------------------------------------------------------------------------------


def application(who: Identity, round_: int, head: Head) -> Signed:
    body = encode_application(Application(round_, 0))
    return Signed(KIND, head.job, 0, who.public_key, body, who.sign(KIND, head.job, 0, body))


def test_fifty_identities_share_the_places_and_the_window() -> None:
    head = admitted()
    sybils = [Identity(bytes([k, 9]) * 16) for k in range(50)]
    held = {s.public_key: application(s, head.round, head) for s in sybils}
    chosen = head.door.choose(held)
    let_in = head.door.fitting(chosen, 8)
    assert len(let_in) == places_of(8) - 1  # one is the stranger's
    full = grown(head, ProbationStep(entered=tuple(a.signer for a in let_in)))
    assert full.door.fitting(full.door.choose(held), 8) == ()
    turns = {replace(head, round=r).door.choose(held)[0].signer for r in range(4, 40)}
    assert len(turns) > 20  # it is not always the same ones' turn
    proven = tuple(Member(s.public_key, 1, 4, 4, NEEDED) for s in sybils[:8])
    many = replace(head, probation=Probation(tuple(sorted(proven, key=lambda m: m.key))))
    seated = [a for a in many.door.fitting(many.door.choose(held), 8) if many.door.seats(a.signer)]
    assert len(seated) == 1
    with pytest.raises(BadSignature, match="at most 1"):
        check_parent(many, child(many, seats=tuple(m.key for m in proven[:2])))


# Electors keep contributions --------------------------------------------------------------------


def contribution(head: Head, who: Identity, round_: int, mark: int = 0) -> Signed:
    start = head.probation.start(round_)
    prev, root = (start.prev, start.state_root) if start else (ROOT, ROOT)
    part = PartCommitment(digest("leaf", bytes([mark])), 1, 0)
    body = encode_commitment(Commitment(prev, root, (part,), 1, 0))
    sign = who.sign("commit", head.job, round_, body)
    return Signed("commit", head.job, round_, who.public_key, body, sign)


def test_an_elector_keeps_the_newest_contribution_of_who_has_a_place_and_checks_one_a_round() -> (
    None
):
    head, trial, who = admitted(), Trial(verify, 1), PEOPLE[10]
    now = contribution(head, who, 5)
    trial.take(who.peer_id, now, head)
    trial.take(who.peer_id, now, head)  # sent again: nothing to look at
    assert trial.counting(head) == [now]
    with pytest.raises(Refused, match="was looked at"):
        trial.take(who.peer_id, contribution(head, who, 5, mark=1), head)
    with pytest.raises(PeerError, match="sent by who signed"):
        trial.take(SEATED[0].peer_id, now, head)
    with pytest.raises(Refused, match="does not count"):
        trial.take(PEOPLE[11].peer_id, contribution(head, PEOPLE[11], 5), head)
    elsewhere = contribution(replace(head, probation=Probation()), who, 4)
    with pytest.raises(Refused, match="another decision or state"):
        Trial(verify, 1).take(who.peer_id, elsewhere, head)
    with pytest.raises(Malformed, match="2 expected"):
        Trial(verify, 2).take(who.peer_id, now, head)
    with pytest.raises(BadSignature):
        Trial(verify, 1).take(who.peer_id, replace(now, signature=bytes(64)), head)
    later = grown(head, ProbationStep(counted=(Counted(STRANGER, 5, now.id),)))
    assert trial.counting(later) == []  # it counted
    assert trial.counting(grown(later, bans=(STRANGER,))) == []


def test_only_the_drawn_auditor_s_good_finding_passes_an_audit() -> None:
    head, commitment, tally = admitted(), commitment_id(7), Tally()
    audit = OpenAudit(STRANGER, 4, commitment, 4, SEATED[0].public_key)
    head = replace(head, probation=replace(head.probation, audits=(audit,)))

    def finding(who: Identity, verdict: Verdict) -> Signed:
        body = encode_finding(Finding(commitment, verdict, b""))
        sign = who.sign("finding", JOB, 4, body)
        return Signed("finding", JOB, 4, who.public_key, body, sign)

    for who, verdict, expected in (
        (SEATED[1], Verdict.OK, 0), (SEATED[0], Verdict.OTHER_CLASS, 0), (SEATED[0], Verdict.OK, 1),
    ):  # fmt: skip
        tally._findings = {commitment: {who.public_key: finding(who, verdict)}}
        assert len(passed(tally, head)) == expected


class Held:
    """Evidence against two keys, as ``Proofs`` gives it."""

    held: Mapping[PeerId, Evidence] = {}

    def __init__(self, *who: Identity) -> None:
        works = [contribution(admitted(), each, 4) for each in who]
        self._judged = {w.peer_id: Judgement(s, ()) for w, s in zip(who, works, strict=True)}

    def judged(self, job: JobId) -> Mapping[PeerId, Judgement]:
        return self._judged


def test_who_was_seated_while_an_audit_was_open_is_charged_as_an_elector() -> None:
    head, proofs = admitted(), Held(PEOPLE[10], PEOPLE[11])
    assert [accused(e) for e in charges(cast(Proofs, proofs), head)] == [STRANGER]
    audit = OpenAudit(SEATED[0].public_key, 4, commitment_id(7), 4, SEATED[1].public_key)
    seated = replace(head, probation=replace(head.probation, audits=(audit,)))
    both = Held(SEATED[0], PEOPLE[10])
    assert [accused(e) for e in charges(cast(Proofs, both), seated)] == [STRANGER]


# Rounds -----------------------------------------------------------------------------------------

CALM = Weather(0, 0, 0, 0)
KEYED = KeyedSigner(digest("test key", b"guest"))


class Trials(MachineWorld):
    """Electors whose leaders list strangers."""

    entrants: Entrants = NOBODY
    passed: int = 0

    def _context(self, host: Host) -> RoundContext:
        context = super()._context(host)
        start = Start(1, context.prev, context.state_root)
        audit = OpenAudit(KEYED.public_key, 1, commitment_id(1), 0, self.electorate.keys[0][0])
        member = Member(KEYED.public_key, 0, 0, passed=self.passed)
        probation = Probation((member,), (audit,), (start,))
        rules = AdmissionRules("open", frozenset(k for k, _ in self.electorate.keys), audits=2)
        door = Door(JOB, 1, self.electorate, rules, probation=probation)
        terms = extended((), 1, self.electorate)
        return replace(context, door=door, entrants=self.entrants, terms=terms)


def guest(kind: str, body: bytes, signer: KeyedSigner = KEYED) -> Signed:
    return Signed(kind, JOB, 1, signer.public_key, body, signer.sign(kind, JOB, 1, body))


def guests_work(mark: int = 0) -> Signed:
    part = PartCommitment(digest("leaf", bytes([99, mark])), 1, 0)
    root = digest("state", b"0")
    return guest("commit", encode_commitment(Commitment(genesis_id(JOB), root, (part,), 1, 0)))


def decided(entrants: Entrants, n: int = 5, passed: int = 0) -> tuple[Decision, set[int]]:
    w = Trials(n, 0, np.random.default_rng(0), CALM)
    w.entrants, w.passed = entrants, passed
    w.mail.clear()
    for host in w.hosts:
        host.slots.clear()
        w._boot(host)
    w.run(3000)
    assert w.heal(3000)
    assert w.certificate is not None
    return decode_decision(w.certificate.decision), w.blamed


def auditor() -> KeyedSigner:
    return KeyedSigner(Trials(5, 0, np.random.default_rng(0), CALM).electorate.keys[0][0])


def test_the_aggregate_is_bit_for_bit_the_one_without_strangers() -> None:
    found = encode_finding(Finding(commitment_id(1), Verdict.OK, b""))
    work, good = guests_work(), guest("finding", found, auditor())
    with_guest, blamed = decided(Entrants((), (work, good)))
    without, _ = decided(NOBODY)
    counted = (Counted(KEYED.public_key, 1, work.id),)
    assert with_guest.probation == ProbationStep((), counted, (commitment_id(1),))
    assert blamed == set()
    assert replace(with_guest, probation=without.probation) == without
    assert len(without.plan) == 5


def test_who_is_seated_may_still_count_in_the_same_round() -> None:
    body = encode_application(Application(0, 0))
    sign = KEYED.sign(KIND, JOB, 0, body)
    wants = Signed(KIND, JOB, 0, KEYED.public_key, body, sign)
    decision, blamed = decided(Entrants((wants,), (guests_work(),)), passed=2)
    assert blamed == set()
    assert len(decision.plan) == 5
    assert KEYED.public_key in {key for key, _ in decision.electors}
    waits, blamed = decided(Entrants((wants,), (guests_work(),)), passed=1)
    assert (blamed, len(waits.electors), waits.probation.entered) == ({*()}, 5, ())


def test_a_list_may_not_count_or_pass_what_is_false() -> None:
    forged = replace(guests_work(), signature=bytes(64))
    bad = encode_finding(Finding(commitment_id(1), Verdict.MISMATCH, b""))
    other = KeyedSigner(digest("test key", b"nobody"))
    good = encode_finding(Finding(commitment_id(1), Verdict.OK, b""))
    lies = (
        (forged,), (guest("finding", bad, auditor()),), (guest("finding", good, other),),
        (guest("commit", guests_work().body, other),),
    )  # fmt: skip
    for lie in lies:
        decision, blamed = decided(Entrants((), lie))
        assert len(blamed) >= 1  # every leader in this world lists it, and each is refused
        assert decision.skip
        assert decision.probation == NO_STEP


def test_a_list_bans_a_stranger_by_the_judgement_of_the_electors() -> None:
    keys = [KeyedSigner(k) for k, _ in Trials(5, 0, np.random.default_rng(0), CALM).electorate.keys]
    work = guests_work()
    body = encode_finding(Finding(work.id, Verdict.BREACH, b""))
    findings = sorted((guest("finding", body, k) for k in keys[:2]), key=lambda s: s.signer)
    decision, blamed = decided(Entrants((), (work,), (Judgement(work, tuple(findings)),)))
    assert decision.bans == (KEYED.public_key,)
    assert decision.probation == NO_STEP  # nothing of it counts any more
    assert len(decision.electors) == 5
    assert blamed == set()
    few, blamed = decided(Entrants((), (), (Judgement(work, tuple(findings[:1])),)))
    assert few.bans == ()
    assert blamed


def test_two_messages_for_one_slot_ban_a_stranger_too() -> None:
    first, second = sorted((guests_work(1), guests_work(2)), key=lambda s: s.body)
    decision, _ = decided(Entrants((), (), (Contradiction(first, second),)))
    assert decision.bans == (KEYED.public_key,)


def test_one_auditor_may_pass_two_strangers_of_one_round() -> None:
    bodies = [encode_finding(Finding(commitment_id(k), Verdict.OK, b"")) for k in (1, 2)]
    both = sorted((guest("finding", b, auditor()) for b in bodies), key=lambda s: s.body)
    value = ListMessage(0, False, (), (), probation=tuple(both))
    assert decode_list(encode_list(value), JOB, 1) == value


def test_nobody_counts_twice_in_one_list() -> None:
    works = sorted((guests_work(k) for k in (1, 2)), key=lambda s: s.body)
    decision, blamed = decided(Entrants((), tuple(works)))
    assert blamed
    assert decision.probation == NO_STEP
    classes = [encode_finding(Finding(commitment_id(1), Verdict.OK, c)) for c in (b"", b"x" * 32)]
    twice = sorted((guest("finding", b, auditor()) for b in classes), key=lambda s: s.body)
    decision, blamed = decided(Entrants((), tuple(twice)))
    assert blamed
    assert decision.probation == NO_STEP


# Bytes ------------------------------------------------------------------------------------------


def test_what_is_on_probation_travels_in_lists_and_decisions() -> None:
    head = admitted()
    work = contribution(head, PEOPLE[10], 5)
    value = ListMessage(0, False, (), (), probation=(work,))
    assert decode_list(encode_list(value), JOB, 5) == value
    with pytest.raises(Malformed, match="rise"):
        decode_list(encode_list(replace(value, probation=(work, work))), JOB, 5)
    assert decode_past_commitment(encode_past_commitment(work)) == work
    decision = child(head, replace(counts(head, 1), entered=(OTHER,), passed=(ROOT,)))
    assert decode_decision(encode_decision(decision)) == decision
    twice = replace(decision, probation=replace(decision.probation, passed=(ROOT, ROOT)))
    with pytest.raises(Malformed, match="rise"):
        decode_decision(encode_decision(twice))
    assert peer_id_of(work.signer) == PEOPLE[10].peer_id


@given(st.binary(max_size=300))
def test_other_bytes_are_no_contribution(data: bytes) -> None:
    try:
        value = decode_past_commitment(data)
    except Malformed:
        return
    assert encode_past_commitment(value) == data
