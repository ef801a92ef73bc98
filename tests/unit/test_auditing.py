"""Who is drawn to audit whom, what local memory must follow from, and what convicts."""

import math
from collections.abc import Callable
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from node.errors import BadSignature, Malformed, PeerError
from node.exchange.auditing import (
    CASES_KEPT_ROUNDS,
    Case,
    Contribution,
    History,
    Tally,
    breach,
    contributions,
    first_auditor,
)
from node.identity import Identity, peer_id_of, verify
from node.jobs.proofs import PREFIX, Proofs
from node.ledger.electorate import Electorate
from node.ledger.evidence import accused, contradiction, describe, offender
from node.ledger.judging import check_judgement, convicting
from node.ledger.vetting import is_drawn
from node.merkle import digest
from node.types import Digest, JobId, PeerId
from node.wire.audit import (
    FINDING_BYTES,
    KIND,
    Finding,
    Verdict,
    decode_finding,
    decode_opening_request,
    decode_signed_finding,
    encode_finding,
    encode_opening_request,
    encode_signed_finding,
)
from node.wire.convert import decode_evidence, encode_commitment, encode_evidence
from node.wire.messages import (
    Commitment,
    Decision,
    Evidence,
    Judgement,
    PartCommitment,
    Signed,
)
from simulator.host.store import SimStore

JOB = JobId(bytes(32))
CLASS, OTHER = b"c" * 32, b"o" * 32
PEOPLE = [Identity(bytes([k]) * 32) for k in range(1, 8)]
KEYS = {person.public_key: person for person in PEOPLE}
SEVEN = Electorate.of(KEYS)
BEFORE, AFTER, NEW = (digest("example", name) for name in (b"before", b"after", b"new"))


def commitment(**changes: object) -> Commitment:
    part = PartCommitment(Digest(bytes(32)), 1, 0)
    whole = Commitment(
        Digest(bytes(32)), Digest(bytes(32)), (part,), 20, 0, BEFORE, AFTER, compute_class=CLASS
    )
    return replace(whole, **changes)  # type: ignore[arg-type]


def contribution(key: bytes, round_: int = 3, **changes: object) -> Contribution:
    made = commitment(**changes)
    body = encode_commitment(made)
    signature = KEYS[key].sign("commit", JOB, round_, body)
    return Contribution(Signed("commit", JOB, round_, key, body, signature), made)


PLAN = tuple(contribution(key) for key, _ in SEVEN.keys)
AUDITED = PLAN[0]
OTHERS = [KEYS[c.author] for c in PLAN[1:]]


def case(electorate: Electorate = SEVEN, round_: int = 3) -> Case:
    audited = AUDITED if round_ == 3 else contribution(AUDITED.author, round_)
    return Case(audited, Digest(bytes(32)), electorate, OTHERS[0].public_key)


def finding(
    auditor: Identity, verdict: Verdict, compute_class: bytes = CLASS, round_: int = 3
) -> Signed:
    body = encode_finding(Finding(AUDITED.commitment_id, verdict, compute_class))
    signature = auditor.sign(KIND, JOB, round_, body)
    return Signed(KIND, JOB, round_, auditor.public_key, body, signature)


def decision(*electors: int) -> Decision:
    plan = tuple((e, PLAN[e].commitment_id) for e in electors)
    none = Digest(bytes(32))
    return Decision(
        JOB, 3, none, False, "", "mean", 1, plan, (), (), none, (), (), SEVEN.keys, 9, False
    )


OPENED = {c.commitment_id: c.commitment for c in PLAN}


# The draw ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("rate", [0.0, 0.006, 0.3, 1.0])
def test_contributions_are_drawn_at_the_rate(rate: float) -> None:
    drawn = sum(
        is_drawn(digest("decision", bytes([a])), digest("commitment", bytes([b])), rate)
        for a in range(100)
        for b in range(100)
    )
    assert abs(drawn - 10_000 * rate) <= 4 * math.sqrt(10_000 * rate * (1 - rate))


def test_every_other_contributor_of_the_class_audits_about_as_often() -> None:
    count = dict.fromkeys((c.author for c in PLAN[1:4]), 0)
    plan = (*PLAN[:4], *(contribution(c.author, compute_class=OTHER) for c in PLAN[4:]))
    for k in range(3000):
        first = first_auditor(digest("decision", k.to_bytes(2)), AUDITED, plan)
        assert first is not None
        count[first] += 1
    assert all(abs(times - 1000) < 120 for times in count.values()), count


def test_who_is_alone_in_a_class_is_looked_at_by_another_class_and_alone_in_a_plan_by_none() -> (
    None
):
    odd = contribution(AUDITED.author, compute_class=OTHER)
    assert first_auditor(Digest(bytes(32)), odd, (odd, *PLAN[1:])) in KEYS
    assert first_auditor(Digest(bytes(32)), odd, (odd,)) is None


# What local memory follows from ------------------------------------------------------------------


def test_local_memory_follows_from_the_last_used_contribution() -> None:
    history = History()
    me = AUDITED.author
    assert history.follows(me, NEW, NEW)
    assert history.follows(me, AFTER, NEW) is False
    history.note(decision(0, 1), SEVEN, OPENED, after_skip=False)
    assert history.follows(me, AFTER, NEW)
    assert history.follows(me, BEFORE, NEW) is False
    history.note(decision(1), SEVEN, OPENED, after_skip=False)  # not used: as before the round
    assert history.follows(me, AFTER, NEW)
    history.note(decision(0), SEVEN, OPENED, after_skip=True)  # nobody can audit that one
    assert history.follows(me, AFTER, NEW) is False
    assert history.follows(me, NEW, NEW)


def test_what_was_not_seen_is_not_held_against_anybody() -> None:
    history = History()
    history.note(decision(0), SEVEN, {}, after_skip=False)
    assert history.follows(AUDITED.author, BEFORE, NEW) is None
    history.missed()
    assert history.follows(PLAN[1].author, BEFORE, NEW) is None
    history.note(decision(0), SEVEN, OPENED, after_skip=False)
    assert history.follows(AUDITED.author, AFTER, NEW)
    assert history.follows(AUDITED.author, BEFORE, NEW) is False


@pytest.mark.parametrize(
    ("changes", "follows", "text"),
    [
        ({"steps": 21}, True, "21 local steps, where a round has 5 to 20"),
        ({"steps": 4}, True, "4 local steps"),
        ({"local_before": b""}, True, "does not bind"),
        ({"local_after": b""}, True, "does not bind"),
        ({}, False, "follows from no contribution"),
        ({}, None, ""),
        ({"steps": 5, "compute_class": b""}, True, ""),
    ],
)
def test_breaches_show_without_a_replay(
    changes: dict[str, object], follows: bool | None, text: str
) -> None:
    found = breach(commitment(**changes), 20, follows)
    assert text in found
    assert bool(found) == bool(text)


# Findings ----------------------------------------------------------------------------------------


@given(
    st.lists(
        st.tuples(
            st.integers(0, 6),
            st.sampled_from(Verdict),
            st.sampled_from([CLASS, OTHER, b""]),
            st.integers(2, 4),
        ),
        max_size=20,
    ),
    st.randoms(use_true_random=False),
)
def test_more_than_f_auditors_convict_and_never_fewer(
    drawn: list[tuple[int, Verdict, bytes, int]], random: object
) -> None:
    tally = Tally()
    tally.open(case())
    first: dict[bytes, bool] = {}
    for who, verdict, compute_class, round_ in drawn:
        signed = finding(PEOPLE[who], verdict, compute_class, round_)
        counted = tally.add(signed) is not None
        fits = signed.signer != AUDITED.author and round_ == 3 and signed.signer not in first
        assert counted == fits
        if fits:
            against = verdict is Verdict.MISMATCH and compute_class == CLASS
            first[signed.signer] = against or verdict is Verdict.BREACH
    enough = sum(first.values()) >= 3
    assert tally.convicted() == ({AUDITED.author: 3} if enough else {})
    for judged in tally.judgements():
        check_judgement(judged, SEVEN, verify)
        assert decode_evidence(encode_evidence(judged)) == judged


def test_a_mismatch_never_counts_against_who_has_no_class() -> None:
    tally = Tally()
    tally.open(replace(case(), contribution=contribution(AUDITED.author, compute_class=b"")))
    for auditor in OTHERS:
        tally.add(finding(auditor, Verdict.MISMATCH, b""))
    assert tally.convicted() == {}


def test_nobody_is_convicted_by_one_alone() -> None:
    for n in (2, 3, 4, 7, 16, 64):
        keys = (bytes([k]) * 32 for k in range(n))
        electorate = Electorate.of(Identity(key).public_key for key in keys)
        assert convicting(electorate) == max(2, electorate.f + 1)


def judged(*findings: Signed, on: Contribution = AUDITED) -> Judgement:
    return Judgement(on.signed, tuple(sorted(findings, key=lambda s: s.signer)))


def elected(electorate: Electorate = SEVEN) -> Callable[[JobId, int], Electorate | None]:
    return lambda job, round_: electorate if (job, round_) == (JOB, 3) else None


def test_a_judgement_needs_the_distinct_signatures_of_electors_on_this_commitment() -> None:
    good = [finding(auditor, Verdict.MISMATCH) for auditor in OTHERS[:3]]
    assert offender(judged(*good), verify, elected()) == AUDITED.author
    assert accused(judged(*good)) == AUDITED.author
    assert "3 auditors found" in describe(judged(*good))
    for third in (
        good[1],
        finding(Identity(b"s" * 32), Verdict.MISMATCH),
        finding(KEYS[AUDITED.author], Verdict.MISMATCH),
        replace(good[2], signature=bytes(64)),
        replace(good[2], kind="commit"),
        finding(OTHERS[2], Verdict.OK),
        finding(OTHERS[2], Verdict.NO_OPENING),
        finding(OTHERS[2], Verdict.MISMATCH, OTHER),
        finding(OTHERS[2], Verdict.MISMATCH, round_=4),
    ):
        with pytest.raises(PeerError):
            offender(judged(*good[:2], third), verify, elected())
    with pytest.raises(BadSignature, match="2 findings, 3 needed"):
        offender(judged(*good[:2]), verify, elected())
    with pytest.raises(Malformed, match="rise"):
        offender(
            Judgement(AUDITED.signed, tuple(reversed(judged(*good).findings))), verify, elected()
        )
    with pytest.raises(PeerError):
        offender(judged(*good, on=PLAN[1]), verify, elected())
    forged = replace(AUDITED.signed, signature=bytes(64))
    with pytest.raises(BadSignature, match="bad signature on a commit"):
        offender(Judgement(forged, judged(*good).findings), verify, elected())
    with pytest.raises(Malformed, match="a judgement on a finding"):
        offender(Judgement(good[0], tuple(good[1:])), verify, elected())


@given(
    st.lists(
        st.tuples(
            st.integers(0, 8),
            st.sampled_from([Verdict.MISMATCH, Verdict.BREACH, Verdict.OK]),
            st.sampled_from([CLASS, OTHER]),
            st.booleans(),
        ),
        max_size=7,
    )
)
def test_a_judgement_holds_if_and_only_if_enough_electors_object(
    drawn: list[tuple[int, Verdict, bytes, bool]],
) -> None:
    people = [*PEOPLE, Identity(b"s" * 32), Identity(b"t" * 32)]
    findings = []
    sound: dict[bytes, bool] = {}
    for who, verdict, compute_class, forged in drawn:
        made = finding(people[who], verdict, compute_class)
        made = replace(made, signature=bytes(64)) if forged else made
        objects = verdict is Verdict.BREACH or (verdict, compute_class) == (Verdict.MISMATCH, CLASS)
        good = objects and not forged and made.signer in KEYS and made.signer != AUDITED.author
        sound[made.signer] = good and made.signer not in sound
        findings.append(made)
    try:
        assert offender(judged(*findings), verify, elected()) == AUDITED.author
        holds = True
    except PeerError:
        holds = False
    assert holds == (len(sound) == len(findings) >= 3 and all(sound.values()))


def test_a_judgement_proves_nothing_without_the_electors_of_its_round() -> None:
    good = judged(*(finding(auditor, Verdict.MISMATCH) for auditor in OTHERS[:3]))
    with pytest.raises(Malformed, match="electors of round 3 of its job are not known"):
        offender(good, verify)
    few = Electorate.of([AUDITED.author, *(o.public_key for o in OTHERS[:2])])
    with pytest.raises(BadSignature, match="no elector of round 3"):
        offender(good, verify, elected(few))


async def test_a_judgement_is_kept_for_its_job_and_does_not_reach_others() -> None:
    disk = SimStore(0.0, 1 << 20).open(PeerId("x"))
    told: list[Evidence] = []
    proofs = Proofs(disk, verify, lambda peer, evidence: told.append(evidence))
    good = judged(*(finding(auditor, Verdict.MISMATCH) for auditor in OTHERS[:3]))
    await proofs.add(good)
    await proofs.add(judged(*(finding(auditor, Verdict.BREACH) for auditor in OTHERS[:3])))
    again = Proofs(disk, verify, lambda peer, evidence: told.append(evidence))
    await disk.put({f"{PREFIX}{OTHERS[0].peer_id}/x": encode_evidence(good)[:-1] + b"x"})
    await again.load()
    assert told == [good, good]
    peer = peer_id_of(AUDITED.author)
    assert dict(again.all()) == {peer: [good]}
    assert again.judged(JOB) == {peer: good}
    assert again.held == {}  # the gate of the whole node
    assert again.against(SEVEN, JOB) == {SEVEN.index(AUDITED.author): good}
    other = JobId(b"\1" * 32)
    assert again.judged(other) == {}
    assert again.against(SEVEN, other) == {}


def test_what_judges_among_four_is_too_little_among_ten() -> None:
    ten = [Identity(bytes([k]) * 32) for k in range(1, 11)]
    for n, enough in ((4, True), (6, True), (7, False), (10, False)):
        electors = {AUDITED.author, *(o.public_key for o in OTHERS[:2])}
        electors |= set([p.public_key for p in ten if p.public_key not in electors][: n - 3])
        two = judged(*(finding(auditor, Verdict.MISMATCH) for auditor in OTHERS[:2]))
        try:
            assert offender(two, verify, elected(Electorate.of(electors))) == AUDITED.author
            found = True
        except BadSignature:
            found = False
        assert found == enough


def test_who_finds_one_work_both_true_and_false_convicts_itself() -> None:
    tally = Tally()
    tally.open(case())
    yes, no = finding(OTHERS[0], Verdict.OK), finding(OTHERS[0], Verdict.MISMATCH)
    assert tally.other(yes) is None
    tally.add(yes)
    assert tally.other(yes) is None
    assert tally.other(no) == yes
    found = contradiction(yes, no)
    assert found is not None
    assert offender(decode_evidence(encode_evidence(found)), verify) == OTHERS[0].public_key


def test_an_objection_is_refuted_by_as_many_as_convict_and_never_by_fewer() -> None:
    tally, opened = Tally(), case()
    tally.open(opened)
    tally.add(finding(OTHERS[0], Verdict.MISMATCH))
    tally.add(finding(OTHERS[1], Verdict.OK, OTHER))  # of another class: no word for it
    for auditor in OTHERS[2:4]:
        tally.add(finding(auditor, Verdict.OK))
        assert tally.refuted(opened) == set()
    tally.add(finding(OTHERS[4], Verdict.OK))
    assert tally.refuted(opened) == {OTHERS[0].public_key}


def test_a_plan_that_gives_a_commitment_to_another_elector_is_not_audited() -> None:
    swapped = replace(decision(0, 1), plan=((0, PLAN[1].commitment_id), (1, PLAN[1].commitment_id)))
    signed = {c.commitment_id: c.signed for c in PLAN}
    assert contributions(swapped, SEVEN, OPENED, signed) == (PLAN[1],)
    assert contributions(decision(0, 1), SEVEN, OPENED, {}) == ()


def test_old_cases_go() -> None:
    tally = Tally()
    tally.open(case())
    later = contribution(PLAN[1].author, 3 + CASES_KEPT_ROUNDS + 1)
    tally.open(replace(case(), contribution=later))
    assert tally.case(AUDITED.commitment_id) is None
    assert tally.add(finding(OTHERS[0], Verdict.MISMATCH)) is None


# Bytes -------------------------------------------------------------------------------------------


@given(st.binary(min_size=32, max_size=32), st.sampled_from(Verdict), st.sampled_from([CLASS, b""]))
def test_findings_come_back_as_they_went(
    id_: bytes, verdict: Verdict, compute_class: bytes
) -> None:
    value = Finding(Digest(id_), verdict, compute_class)
    assert decode_finding(encode_finding(value)) == value
    signed = finding(OTHERS[0], verdict, compute_class)
    assert decode_signed_finding(encode_signed_finding(signed)) == signed
    assert decode_opening_request(encode_opening_request(JOB, 7)) == (JOB, 7)


@given(st.binary(max_size=80) | st.binary(min_size=FINDING_BYTES, max_size=FINDING_BYTES))
def test_other_bytes_are_refused(data: bytes) -> None:
    for decode in (decode_finding, decode_signed_finding, decode_opening_request):
        try:
            value = decode(data)
        except Malformed:
            continue
        if isinstance(value, Finding):
            assert encode_finding(value) == data
