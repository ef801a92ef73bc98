"""False answers of reducers: what shows them, what judges them, and that nothing else does."""

from collections.abc import Callable, Sequence
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from node.errors import BadSignature, Malformed, PeerError
from node.exchange.answers import AnswerTally, PartTruth, fault
from node.exchange.gram import integer_gram, quantise_row
from node.exchange.reduction import pack_gram
from node.identity import Identity, verify
from node.jobs.work import rows_of
from node.ledger.electorate import Electorate
from node.ledger.evidence import accused, breach_of, describe, offender
from node.ledger.judging import check_judgement, convicting
from node.merkle import digest
from node.types import Digest, JobId
from node.wire.audit import (
    ANSWER_REQUEST_BYTES,
    KIND,
    Finding,
    Verdict,
    decode_answer_request,
    encode_answer_request,
    encode_finding,
)
from node.wire.convert import (
    decode_evidence,
    encode_evidence,
    encode_results,
    encode_screens,
    encode_sketches,
)
from node.wire.limits import EVIDENCE_BYTES_MAX, JUDGED_BYTES_MAX
from node.wire.messages import Judgement, PartScreen, Results, Screens, Signed, Sketches

JOB, ROUND, PART = JobId(bytes(32)), 3, 2
PEOPLE = sorted((Identity(bytes([k]) * 32) for k in range(1, 8)), key=lambda p: p.public_key)
SEVEN = Electorate.of(person.public_key for person in PEOPLE)
LIAR, OTHERS = PEOPLE[0], PEOPLE[1:]
LIST, PLAN = digest("test", b"list"), digest("test", b"plan")
BEACON, ANOTHER = digest("test", b"beacon"), digest("test", b"another")
NAMED = {
    "screen": "answer as a reducer (screen)", "result": "answer as a reducer (result)",
    "sketch": "sketch of its contribution",
}  # fmt: skip


def name(elector: int, version: int = 0) -> Digest:
    return digest("test", bytes([elector, version]))


def row(elector: int, version: int = 0) -> np.ndarray:
    rng = np.random.default_rng([elector, version])
    return rng.normal(size=8).astype(np.float32)


def screen(
    rows: Sequence[int],
    complaints: Sequence[tuple[int, str]] = (),
    versions: dict[int, int] | None = None,
) -> PartScreen:
    """What an honest reducer signs."""
    integers = [quantise_row(row(e, (versions or {}).get(e, 0))) for e in rows]
    gram = pack_gram(integer_gram(integers)) if rows else b""
    return PartScreen(PART, tuple(rows), gram, tuple(complaints))


def ids(electors: Sequence[int], versions: dict[int, int] | None = None) -> dict[int, Digest]:
    return {e: name(e, (versions or {}).get(e, 0)) for e in electors}


def signed(who: Identity, kind: str, body: bytes, round_: int = ROUND) -> Signed:
    signature = who.sign(kind, JOB, round_, body)
    return Signed(kind, JOB, round_, who.public_key, body, signature)


def screens(*found: PartScreen, list_id: Digest = LIST, who: Identity = LIAR) -> Signed:
    return signed(who, "screen", encode_screens(Screens(list_id, found)))


def results(*found: tuple[int, Digest], plan: Digest = PLAN, who: Identity = LIAR) -> Signed:
    return signed(who, "result", encode_results(Results(plan, found)))


# What shows a lie ------------------------------------------------------------------------------


@given(
    st.sets(st.integers(0, 5)),
    st.sets(st.integers(0, 5)),
    st.dictionaries(st.integers(0, 5), st.just(1)),
    st.none() | st.tuples(st.integers(0, 5), st.integers(0, 5)),
)
def test_a_screen_is_false_just_where_a_product_of_two_rows_held_here_is(
    mine: set[int], theirs: set[int], versions: dict[int, int], lie: tuple[int, int] | None
) -> None:
    truth = PartTruth(ids(range(6)), screen(sorted(mine)))
    rows = sorted(theirs)
    made = screen(rows, versions=versions)
    changed = lie is not None and lie[0] <= lie[1] and {*lie} <= theirs
    if changed and lie is not None:
        gram = np.frombuffer(made.gram, "<i8").copy()
        pairs = [(i, j) for k, i in enumerate(rows) for j in rows[k:]]
        gram[pairs.index(lie)] += 1
        made = replace(made, gram=gram.tobytes())
    lists = {LIST: ids(range(6), versions)}
    shown = changed and lie is not None and {*lie} <= mine and not {*lie} & versions.keys()
    assert bool(fault(screens(made), lists, [truth])) == shown
    assert fault(screens(made), {}, [truth]) == ""  # of a list that was not verified here
    assert fault(screens(replace(made, part=PART + 1)), lists, [truth]) == ""


@pytest.mark.parametrize(
    ("rows", "complaints", "text"),
    [
        ([0, 1], [(2, "missing"), (3, "malformed")], ""),
        ([0, 1], [(2, "bad_leaf"), (3, "malformed")], ""),
        ([0, 1], [(2, "malformed"), (3, "malformed")], "calls a row of part 2 malformed"),
        ([0, 1], [(2, "bad_norm"), (3, "malformed")], "calls a row of part 2 bad_norm"),
        ([0, 1, 2], [(3, "bad_norm")], "calls a row of part 2 bad_norm"),
        ([0, 1, 2], [(3, "bad_leaf")], ""),
        ([0, 1, 2, 3], [], "takes a row of part 2 whose bytes are malformed"),
        ([0, 1, 2], [(3, "malformed"), (4, "bad_norm")], ""),
    ],
)
def test_only_complaints_about_committed_bytes_can_be_false(
    rows: list[int], complaints: list[tuple[int, str]], text: str
) -> None:
    truth = PartTruth(ids(range(5)), screen([0, 1, 2], [(3, "malformed"), (4, "missing")]))
    found = fault(screens(screen(rows, complaints)), {LIST: ids(range(5))}, [truth])
    assert text in found
    assert bool(found) == bool(text)
    other = {LIST: ids(range(5), {2: 1, 3: 1})}  # other commitments: other bytes
    assert fault(screens(screen(rows, complaints)), other, [truth]) == ""


def test_a_result_is_false_only_against_the_root_of_its_own_plan() -> None:
    a, b = digest("test", b"a"), digest("test", b"b")
    truth = PartTruth({}, screen([0]), {PLAN: a})
    assert fault(results((PART, a)), {}, [truth]) == ""
    assert "result of part 2" in fault(results((PART, b)), {}, [truth])
    assert fault(results((PART, b), plan=ANOTHER), {}, [truth]) == ""
    assert fault(results((PART + 1, b)), {}, [truth]) == ""
    assert fault(results((1, b), (PART, b)), {}, [truth, PartTruth({}, screen([0]))]) != ""


def test_a_reducer_combines_the_rows_of_the_commitments_that_its_plan_names() -> None:
    narrow = {(e, PART): row(e) for e in range(3)}
    wide = narrow | {(1, PART): row(1, 1)}
    lists = {LIST: ids(range(3)), ANOTHER: ids(range(3), {1: 1})}
    decoded = {LIST: narrow, ANOTHER: wide}
    wanted = [(e, PART) for e in range(3)]
    assert rows_of(decoded, lists, ids(range(3)), wanted) is narrow
    assert rows_of(decoded, lists, ids(range(3), {1: 1}), wanted) is wide
    assert rows_of(decoded, lists, ids(range(3), {2: 1}), wanted) is None
    assert rows_of(decoded, lists, ids(range(3), {2: 1}), wanted[:2]) is narrow
    assert rows_of(decoded, lists, ids(range(4)), [*wanted, (3, PART)]) is None


def test_a_sketch_is_false_only_under_its_own_beacon_and_for_its_own_signer() -> None:
    key = LIAR.public_key
    truth = PartTruth({}, screen([0]), sketches={(BEACON, key): b"abcd"})
    for parts, beacon, who, false in (
        ((b"", b"", b"abcd"), BEACON, LIAR, False),
        ((b"", b"", b"abce"), BEACON, LIAR, True),
        ((b"abcd",), BEACON, LIAR, True),
        ((b"", b"", b"abce"), ANOTHER, LIAR, False),
        ((b"", b"", b"abce"), BEACON, OTHERS[0], False),
    ):
        made = signed(who, "sketch", encode_sketches(Sketches(beacon, parts)))
        assert bool(fault(made, {}, [truth])) == false


# What judges -----------------------------------------------------------------------------------

GOOD = screen([0, 1, 2])
ANSWERS = [
    screens(GOOD), results((PART, name(1))),
    signed(LIAR, "sketch", encode_sketches(Sketches(BEACON, (b"abcd",)))),
]  # fmt: skip


def finding(
    who: Identity, on: Signed, verdict: Verdict = Verdict.FALSE_ANSWER, round_: int = ROUND
) -> Signed:
    return signed(who, KIND, encode_finding(Finding(on.id, verdict, b"")), round_)


def judged(on: Signed, *findings: Signed) -> Judgement:
    return Judgement(on, tuple(sorted(findings, key=lambda s: s.signer)))


def elected(electorate: Electorate = SEVEN) -> Callable[[JobId, int], Electorate | None]:
    return lambda job, round_: electorate if (job, round_) == (JOB, ROUND) else None


@pytest.mark.parametrize("on", ANSWERS, ids=lambda on: on.kind)
def test_an_answer_is_judged_by_f_and_one_electors_that_name_it(on: Signed) -> None:
    good = [finding(who, on) for who in OTHERS[:3]]
    whole = judged(on, *good)
    assert offender(whole, verify, elected()) == accused(whole) == LIAR.public_key
    assert decode_evidence(encode_evidence(whole)) == whole
    assert describe(whole) == (
        f"its {NAMED[on.kind]} of round 3 of job 000000000000 is false, as 3 auditors found"
    )
    assert breach_of(whole).reason == "false_work"
    stranger = Identity(b"s" * 32)
    another = replace(on, body=on.body, round=ROUND + 1)
    for third in (
        good[1],  # twice
        finding(LIAR, on),  # its own
        finding(stranger, on),
        finding(OTHERS[2], on, round_=ROUND + 1),
        finding(OTHERS[2], another),
        finding(OTHERS[2], ANSWERS[on.kind == "screen"]),  # on another message
        finding(OTHERS[2], on, Verdict.MISMATCH),
        finding(OTHERS[2], on, Verdict.BREACH),
        finding(OTHERS[2], on, Verdict.OK),
        replace(good[2], signature=bytes(64)),
        replace(good[2], signer=OTHERS[3].public_key),
        replace(good[2], kind="vote"),
    ):
        with pytest.raises(PeerError):
            offender(judged(on, *good[:2], third), verify, elected())
    with pytest.raises(BadSignature, match="2 findings, 3 needed"):
        offender(judged(on, *good[:2]), verify, elected())
    with pytest.raises(Malformed, match="not known here"):
        offender(whole, verify)
    without = Electorate.of(p.public_key for p in [*OTHERS, stranger])
    with pytest.raises(BadSignature, match="who is no elector of round 3"):
        offender(whole, verify, elected(without))
    forged = replace(on, signature=bytes(64))
    with pytest.raises(BadSignature, match=f"bad signature on a {on.kind}"):
        offender(judged(forged, *good), verify, elected())


@pytest.mark.parametrize("kind", ["have", "list", "plan", "propose", "vote", *NAMED])
def test_nothing_else_that_a_reducer_signs_is_judged(kind: str) -> None:
    on = signed(LIAR, kind, b"\xff\xff")
    with pytest.raises(Malformed):
        offender(judged(on, *(finding(who, on) for who in OTHERS[:3])), verify, elected())


@given(
    st.lists(
        st.tuples(
            st.integers(0, 7), st.integers(0, 2), st.sampled_from(Verdict), st.integers(2, 4)
        ),
        max_size=16,
    )
)
def test_more_than_f_finders_of_one_answer_convict_and_never_fewer(
    drawn: list[tuple[int, int, Verdict, int]],
) -> None:
    people = [*PEOPLE, Identity(b"s" * 32)]
    tally = AnswerTally()
    for on in ANSWERS:
        assert tally.open(on, SEVEN)
    against: list[set[int]] = [set(), set(), set()]
    made = []
    for who, answer, verdict, round_ in drawn:
        found = tally.add(finding(people[who], ANSWERS[answer], verdict, round_))
        if verdict is Verdict.FALSE_ANSWER and round_ == ROUND and 1 <= who <= 6:
            against[answer].add(who)
        made += [found] if found else []
    assert len(made) == (max(map(len, against)) >= convicting(SEVEN))
    for judgement in made:
        check_judgement(judgement, SEVEN, verify)


def test_what_is_too_large_for_evidence_or_of_an_earlier_round_is_not_counted() -> None:
    padding = tuple(PartScreen(p, tuple(range(64)), bytes(16640), ()) for p in range(16))
    tally = AnswerTally()
    large = screens(*padding)
    assert len(large.body) > JUDGED_BYTES_MAX
    assert not tally.open(large, SEVEN)
    fits = screens(*padding[:14])
    assert tally.open(fits, SEVEN)
    judgement = Judgement(fits, tuple(finding(OTHERS[0], fits) for _ in range(64)))
    assert len(encode_evidence(judgement)) <= EVIDENCE_BYTES_MAX
    tally.forget(ROUND)
    assert tally.expects(finding(OTHERS[0], fits))
    tally.forget(ROUND + 1)
    assert not tally.expects(finding(OTHERS[0], fits))


def test_requests_for_an_answer_travel_whole() -> None:
    data = encode_answer_request(JOB, 2**40, PLAN)
    assert decode_answer_request(data) == (JOB, 2**40, PLAN)
    assert len(data) == ANSWER_REQUEST_BYTES
    for other in (data[:-1], data + b"x", JOB + bytes(8) + PLAN):
        with pytest.raises(Malformed):
            decode_answer_request(other)
