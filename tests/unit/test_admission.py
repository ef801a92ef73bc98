"""Who may enter, how many at once, and what a decision of the chain may seat."""

from contextlib import suppress
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from node.errors import BadSignature, Malformed, PeerError, Refused
from node.identity import Identity, verify
from node.jobs.manifest import manifest_from_canonical, parse_manifest, sign_manifest
from node.jobs.seats import APPLICANTS_MAX, Applicants
from node.ledger.admission import FRESH_ROUNDS, AdmissionRules, Door, has_worked, work
from node.ledger.chain import Head, check_parent, extend, genesis
from node.ledger.electorate import Electorate
from node.ledger.succession import next_electorate
from node.types import Digest, JobId
from node.wire.admission import (
    KIND,
    Application,
    decode_application,
    decode_signed_application,
    encode_application,
    encode_signed_application,
)
from node.wire.convert import decode_list, encode_list
from node.wire.messages import Decision, ListMessage, Signed

JOB = JobId(bytes(32))
PREV = Digest(bytes(32))
PEOPLE = [Identity(bytes([k, 1]) * 16) for k in range(1, 14)]
SEATED, GUEST, STRANGER, OTHER = PEOPLE[:9], PEOPLE[9], PEOPLE[10], PEOPLE[11]
NINE = Electorate.of(p.public_key for p in SEATED)
BITS = 6
LIST = AdmissionRules("list", frozenset((*(p.public_key for p in SEATED), GUEST.public_key)))
WORK = replace(LIST, mode="work", work_bits=BITS)


def application(who: Identity, round_: int = 19, bits: int = BITS, job: JobId = JOB) -> Signed:
    nonce = work(job, who.public_key, bits, 0, 1 << 12) if bits else 0
    assert nonce is not None
    body = encode_application(Application(round_, nonce))
    return Signed(KIND, job, 0, who.public_key, body, who.sign(KIND, job, 0, body))


def door(rules: AdmissionRules = WORK, **changes: object) -> Door:
    return replace(Door(JOB, 20, NINE, rules), **changes)  # type: ignore[arg-type]


def test_work_is_bound_to_key_and_job_and_is_as_rare_as_it_says() -> None:
    nonces = [n for n in range(1 << 12) if has_worked(JOB, STRANGER.public_key, n, BITS)]
    assert 30 <= len(nonces) <= 110  # 64 expected
    assert work(JOB, STRANGER.public_key, BITS, 0, 1 << 12) == nonces[0]
    assert work(JOB, STRANGER.public_key, 60, 0, 100) is None
    assert not all(has_worked(JOB, OTHER.public_key, n, BITS) for n in nonces)
    assert not all(has_worked(JobId(b"\1" * 32), STRANGER.public_key, n, BITS) for n in nonces)


def test_listed_peers_need_no_work_and_strangers_need_it() -> None:
    for rules in (LIST, WORK):
        assert door(rules).check(application(GUEST, bits=0), verify) == GUEST.public_key
    assert door().check(application(STRANGER), verify) == STRANGER.public_key
    with pytest.raises(PeerError, match="listed peers only"):
        door(LIST).check(application(STRANGER), verify)
    lazy = application(STRANGER, bits=0)
    if not has_worked(JOB, STRANGER.public_key, 0, BITS):
        with pytest.raises(PeerError, match="lacks 6 zero bits"):
            door().check(lazy, verify)


@pytest.mark.parametrize(
    ("signed", "text"),
    [
        (application(GUEST, 20), "not one of now"),
        (application(GUEST, 19 - FRESH_ROUNDS), "not one of now"),
        (application(SEATED[0]), "has a seat"),
        (application(GUEST, job=JobId(b"\1" * 32)), "not an application for this job"),
        (replace(application(GUEST), kind="vote"), "not an application for this job"),
        (replace(application(GUEST), round=3), "not an application for this job"),
        (replace(application(GUEST), signature=bytes(64)), "signature"),
        (replace(application(GUEST), body=b"x"), "16 expected"),
    ],
)
def test_other_applications_are_refused(signed: Signed, text: str) -> None:
    with pytest.raises(PeerError, match=text):
        door().check(signed, verify)


def test_the_banned_never_come_back() -> None:
    for who in (GUEST, STRANGER):
        with pytest.raises(PeerError, match="banned"):
            door(bans=(who.public_key,)).check(application(who), verify)


def test_strangers_enter_one_at_a_time_and_the_listed_whenever_they_come() -> None:
    held = {p.public_key: application(p) for p in (GUEST, STRANGER, OTHER)}
    chosen = [a.signer for a in door().choose(held)]
    fitting = [a.signer for a in door().fitting(door().choose(held), 9)]
    assert fitting == sorted(chosen)
    assert GUEST.public_key in chosen
    assert len(chosen) == 2  # 9 // 8 strangers
    assert [a.signer for a in door(admitted=(11,)).choose(held)] == [GUEST.public_key]
    assert len(door(admitted=(10,)).choose(held)) == 2  # ten rounds later
    assert {a.signer for a in door(LIST).choose({GUEST.public_key: held[GUEST.public_key]})} == {
        GUEST.public_key
    }
    turns = {door(round=r).choose(held)[-1].signer for r in range(20, 60)}
    turns |= {door(round=r).choose(held)[0].signer for r in range(20, 60)}
    assert turns >= {STRANGER.public_key, OTHER.public_key}  # it is not always the same one's turn


def test_a_full_electorate_takes_nobody() -> None:
    full = Electorate.of(Identity(bytes([k, 2]) * 16).public_key for k in range(64))
    assert door(electorate=full).fitting([application(GUEST)], 64) == ()
    with pytest.raises(BadSignature, match="64 are full"):
        door(electorate=full).check_keys([GUEST.public_key], 64)


def test_who_enters_and_falls_silent_stops_nothing() -> None:
    wanted = [application(GUEST), application(STRANGER)]
    assert [len(door().fitting(wanted, listed)) for listed in (9, 8, 7, 6, 0)] == [2, 2, 1, 0, 0]
    both = [a.signer for a in wanted]
    door().check_keys(both, 8)  # of 11, 8 are a quorum
    with pytest.raises(BadSignature, match="no quorum"):
        door().check_keys(both, 7)
    door().check_keys([], 0)


# The chain --------------------------------------------------------------------------------------


def child(head: Head, *admitted: bytes, absent: int = 0) -> Decision:
    plan = tuple((e, PREV) for e in range(absent, len(SEATED)))
    refused = tuple((e, "absent") for e in range(absent))
    after = next_electorate(head.electorate, plan, refused, (), admitted)
    return Decision(
        head.job, head.round + 1, head.id, False, "", "mean", 1, plan, refused, (), PREV, (), (),
        after.keys, head.lease_until_round, False,
    )  # fmt: skip


def test_a_chain_that_seats_too_many_or_the_unlisted_is_refused_by_whoever_verifies_it() -> None:
    head = genesis(JOB, NINE, 100, WORK)
    both = (STRANGER.public_key, OTHER.public_key)
    with pytest.raises(BadSignature, match="2 strangers are to enter, at most 1"):
        check_parent(head, child(head, *both))
    for round_ in range(1, 13):
        decision = child(head, *both[:1]) if round_ == 1 else child(head)
        check_parent(head, decision)
        head = extend(head, decision, PREV)
        again = child(head, both[1])
        if round_ < 10:
            with pytest.raises(BadSignature, match="at most 0 may"):
                check_parent(head, again)
        else:
            check_parent(head, again)
    assert head.electorate.n == 10
    seat = head.electorate.index(both[0])
    assert head.electorate.away == {seat}  # it leads last until a list holds it
    few = genesis(JOB, NINE, 100, WORK)
    check_parent(few, child(few, both[0], absent=2))
    with pytest.raises(BadSignature, match="no quorum"):
        check_parent(few, child(few, both[0], absent=3))
    with pytest.raises(BadSignature, match="no quorum"):  # a SKIP seats nobody
        check_parent(few, replace(child(few, both[0]), skip=True, plan=()))
    listed = genesis(JOB, NINE, 100, LIST)
    check_parent(listed, child(listed, GUEST.public_key))
    with pytest.raises(BadSignature, match="1 strangers"):
        check_parent(listed, child(listed, STRANGER.public_key))


def test_by_default_a_dropped_founder_may_come_back_and_nobody_else() -> None:
    door_ = replace(genesis(JOB, NINE, 100), electorate=Electorate(NINE.keys[1:])).door
    door_.check_keys([NINE.keys[0][0]], 8)
    with pytest.raises(BadSignature, match="strangers"):
        door_.check_keys([STRANGER.public_key], 8)


# Electors keep applications ---------------------------------------------------------------------


def test_an_elector_keeps_applications_that_hold_and_only_those() -> None:
    head = replace(genesis(JOB, NINE, 100, WORK), round=19)
    applicants = Applicants(verify)
    applicants.take(GUEST.peer_id, application(GUEST), head)
    applicants.take(STRANGER.peer_id, application(STRANGER), head)
    with pytest.raises(PeerError, match="sent by who signed"):
        applicants.take(GUEST.peer_id, application(STRANGER), head)
    with pytest.raises(Refused, match="has a seat"):  # it may not know yet: nobody's fault
        applicants.take(SEATED[0].peer_id, application(SEATED[0]), head)
    with pytest.raises(BadSignature):
        applicants.take(GUEST.peer_id, replace(application(GUEST), signature=bytes(64)), head)
    assert len(applicants.chosen(head)) == 2
    assert applicants.chosen(replace(head, round=19 + FRESH_ROUNDS)) == ()


def test_a_flood_of_applications_shuts_out_no_listed_peer() -> None:
    rules = replace(WORK, work_bits=1)
    head = replace(genesis(JOB, NINE, 100, rules), round=19)
    applicants = Applicants(verify)
    sybils = [Identity(bytes([k, 3]) * 16) for k in range(APPLICANTS_MAX + 6)]
    for sybil in sybils:
        with suppress(Refused):
            applicants.take(sybil.peer_id, application(sybil, bits=1), head)
    turns = sorted((s.public_key for s in sybils), key=head.door.turn)
    assert applicants._held.keys() == {*turns[:APPLICANTS_MAX]}  # whoever came first
    applicants.take(GUEST.peer_id, application(GUEST), head)
    chosen = applicants.chosen(head)
    assert chosen[0].signer == GUEST.public_key
    assert len(chosen) == 2


# Manifest and bytes -----------------------------------------------------------------------------


def test_the_manifest_says_who_may_enter() -> None:
    text = (
        '[job]\nname = "x"\nworkload = "quadratic"\nrounds = 9\n[admission]\nmode = "work"\n'
        f'work_bits = 9\npeers = ["{GUEST.peer_id}"]\n'
    )
    signed = sign_manifest(parse_manifest(text, {}), SEATED[0])
    assert manifest_from_canonical(signed.raw).admission.work_bits == 9
    rules = signed.genesis.admission
    assert (rules.mode, rules.work_bits) == ("work", 9)
    assert rules.keys == {SEATED[0].public_key, GUEST.public_key}


@given(st.integers(0, 2**48), st.integers(0, 2**64 - 1))
def test_applications_come_back_as_they_went(round_: int, nonce: int) -> None:
    value = Application(round_, nonce)
    assert decode_application(encode_application(value)) == value


@given(st.binary(max_size=200))
def test_other_bytes_are_no_application(data: bytes) -> None:
    for decode in (decode_application, decode_signed_application):
        try:
            value = decode(data)
        except Malformed:
            continue
        if isinstance(value, Application):
            assert encode_application(value) == data


def test_applications_travel_alone_and_inside_lists() -> None:
    signed = application(GUEST)
    assert decode_signed_application(encode_signed_application(signed)) == signed
    both = tuple(sorted((signed, application(STRANGER)), key=lambda a: a.signer))
    value = ListMessage(0, False, (), (), (), both)
    assert decode_list(encode_list(value), JOB, 20) == value
    with pytest.raises(Malformed, match="rise"):
        decode_list(encode_list(replace(value, applications=both[::-1])), JOB, 20)
