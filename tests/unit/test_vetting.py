"""How many liars a rule has to bear, from what audits on the chain came to."""

from collections.abc import Sequence
from dataclasses import replace
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from node.errors import BadSignature, ConfigError, Malformed, TooLarge
from node.identity import Identity
from node.jobs.manifest import canonical_bytes, manifest_from_canonical, parse_manifest
from node.ledger.electorate import Electorate
from node.ledger.vetting import (
    CAUGHT,
    CLEAN_MAX,
    CLEARED_ROUNDS,
    DOUBT,
    Draw,
    Vetting,
    is_drawn,
    liars_at_most,
)
from node.merkle import digest
from node.types import Digest, JobId
from node.wire.convert import decode_commitment, encode_commitment
from node.wire.convert_ledger import decode_decision, encode_decision
from node.wire.messages import Commitment, Decision, PartCommitment

JOB = JobId(bytes(32))
SIGNERS = [Identity(bytes([k + 1]) * 32) for k in range(7)]
SEVEN = Electorate.of(signer.public_key for signer in SIGNERS)
TABLES = "[job]\nname = 'a'\nworkload = 'inr'\nrounds = 3\n[exchange]\nf = 'auto'\n"


def commitment(round_: int, elector: int) -> Digest:
    return digest("commitment", bytes([round_, elector]))


def decided(round_: int, *, plan: int = 7, **fields: object) -> Decision:
    decision = Decision(
        job=JOB, round=round_, prev=digest("prev", b""), skip=False, skip_reason="", rule="caf",
        replicas=3, plan=tuple((e, commitment(round_, e)) for e in range(plan)), refused=(),
        result_roots=(), state_root=digest("state", b""), credits=(), bans=(),
        electors=SEVEN.keys, lease_until_round=999, halted=False,
    )  # fmt: skip
    return replace(decision, **fields)  # type: ignore[arg-type]


def id_of(round_: int) -> Digest:
    return digest("decision", bytes([round_]))


def gone(vetting: Vetting, decision: Decision) -> Vetting:
    return vetting.after(SEVEN, decision, id_of(decision.round))


def lived(rounds: int, uncleared: Sequence[int] = (), vetting: Vetting | None = None) -> Vetting:
    """After rounds in which all is cleared at once but what some electors contribute."""
    vetting = vetting or Vetting(1.0)
    first = vetting.pending[-1].round + 1 if vetting.pending else 1
    for round_ in range(first, first + rounds):
        bad = {commitment(r, e) for r in range(first, round_) for e in uncleared}
        cleared = tuple(sorted(d.commitment for d in vetting.open if d.commitment not in bad))
        vetting = gone(vetting, decided(round_, cleared=cleared))
    return vetting


@given(n=st.integers(1, 64), clean=st.integers(0, CLEAN_MAX))
def test_the_estimate_is_the_exact_limit(n: int, clean: int) -> None:
    borne = (n - 1) // 3

    def chance(k: int) -> Fraction:
        """That so many in a row are cleared, with k liars."""
        return (1 - Fraction(*CAUGHT) * k / n) ** clean

    got = liars_at_most(n, borne, clean)
    assert min(1, borne) <= got <= borne
    assert got == borne or chance(got) <= Fraction(1, DOUBT)
    assert got <= 1 or chance(got - 1) > Fraction(1, DOUBT)
    assert liars_at_most(n, borne, clean + 1) <= got
    assert liars_at_most(n, borne, 0) == borne


def test_enough_clean_work_brings_every_electorate_to_one() -> None:
    assert [liars_at_most(n, (n - 1) // 3, CLEAN_MAX) for n in range(4, 65)] == [1] * 61
    assert [liars_at_most(7, 2, 45), liars_at_most(7, 2, 46)] == [2, 1]
    assert [liars_at_most(16, 5, 106), liars_at_most(16, 5, 107)] == [2, 1]


def test_who_lies_in_every_round_is_rarely_underestimated() -> None:
    draws = np.random.default_rng(0)
    n, borne, liars = 32, 10, 4
    uncleared = draws.random(100_000) < CAUGHT[0] / CAUGHT[1] * liars / n
    clean, under = 0, 0
    for lie in uncleared.tolist():
        clean = 0 if lie else clean + 1
        under += liars_at_most(n, borne, min(clean, CLEAN_MAX)) < liars
    assert 0 < under / len(uncleared) < 0.06


def test_what_is_cleared_in_time_counts_and_one_that_is_not_begins_the_count_anew() -> None:
    vetting = lived(CLEARED_ROUNDS)
    assert vetting.clean == 0
    vetting = lived(8, vetting=vetting)
    assert vetting.clean == 7 * 8
    assert (SEVEN.f, vetting.liars(SEVEN)) == (2, 1)
    # Two electors turn: as soon as one thing that they did is overdue, the rule bears two again.
    assert lived(CLEARED_ROUNDS, uncleared=(2, 5), vetting=vetting).liars(SEVEN) == 1
    turned = lived(CLEARED_ROUNDS + 1, uncleared=(2, 5), vetting=vetting)
    assert turned.clean == 1  # what elector 6 did
    assert turned.liars(SEVEN) == 2
    assert lived(90).clean == CLEAN_MAX


def test_a_ban_and_a_newcomer_begin_the_count_anew() -> None:
    clean, key = lived(20), SEVEN.keys[0][0]
    newcomer = Electorate.of([*(k for k, _ in SEVEN.keys), Identity(bytes([99]) * 32).public_key])
    for decision in (decided(21, bans=(key,)), decided(21, electors=newcomer.keys)):
        assert gone(clean, decision) == Vetting(1.0)
    # Who is dropped for its absence takes nothing with it.
    left = gone(clean, decided(21, electors=SEVEN.keys[1:]))
    assert left.clean > clean.clean


def test_what_nobody_can_audit_is_not_drawn() -> None:
    empty = Vetting(1.0)
    assert gone(empty, decided(1, plan=4)) == empty  # less than 2f + 1: who could clear it?
    skipped = gone(empty, decided(1, skip=True, plan=0))
    assert skipped == Vetting(1.0, after_skip=True)
    assert gone(skipped, decided(2)) == empty
    assert len(gone(empty, decided(1)).pending) == 7
    rare = gone(Vetting(0.4), decided(1))
    assert {d.commitment for d in rare.pending} == {
        commitment(1, e) for e in range(7) if is_drawn(id_of(1), commitment(1, e), 0.4)
    }
    assert gone(Vetting(), decided(1)) == Vetting()


def test_only_the_auditor_of_what_was_drawn_clears_it() -> None:
    vetting = gone(Vetting(1.0), decided(1))
    draw, other = vetting.pending[:2]
    assert draw.auditor != SEVEN.keys[0][0]  # its author
    assert vetting.cleared_by({draw.auditor: [draw.commitment]}) == (draw.commitment,)
    liars = {key for key, _ in SEVEN.keys} - {draw.auditor}
    assert vetting.cleared_by({key: [draw.commitment] for key in liars}) == ()
    assert vetting.cleared_by({draw.auditor: [commitment(9, 9)]}) == ()
    everything = [d.commitment for d in vetting.pending]
    said = dict.fromkeys((key for key, _ in SEVEN.keys), everything)
    assert vetting.cleared_by(said) == tuple(sorted(everything))
    cleared = gone(vetting, decided(2, cleared=(draw.commitment,)))
    assert cleared.cleared_by({draw.auditor: [draw.commitment]}) == ()  # once
    assert other.commitment in cleared.cleared_by(said)


def test_what_does_not_fit_into_a_decision_stays_open() -> None:
    key = SEVEN.keys[0][0]
    draws = tuple(Draw(1, commitment(1, e), key) for e in range(70))
    vetting = Vetting(1.0, draws)
    first = vetting.cleared_by({key: [d.commitment for d in draws]})
    assert first == tuple(sorted(d.commitment for d in draws))[:64]
    assert len(gone(vetting, decided(2, plan=0, cleared=first)).open) == 6


def test_a_commitment_and_a_decision_that_clear_pass_the_wire() -> None:
    part = PartCommitment(digest("leaf", b""), 1, 0)
    ids = tuple(sorted(commitment(1, e) for e in range(16)))
    whole = Commitment(digest("a", b""), digest("b", b""), (part,), 1, 0, cleared=ids)
    assert decode_commitment(encode_commitment(whole)) == whole
    decision = decided(2, cleared=ids)
    assert decode_decision(encode_decision(decision)) == decision
    for wrong in (ids[::-1], (*ids, b"\xff" * 32), ids[:1] * 2, (b"short",)):
        with pytest.raises((Malformed, TooLarge)):
            decode_commitment(encode_commitment(replace(whole, cleared=wrong)))
    for wrong in (ids[::-1], ids[:1] * 2, (b"short",)):
        with pytest.raises(Malformed):
            decode_decision(encode_decision(replace(decision, cleared=wrong)))


def test_a_decision_clears_only_what_was_drawn() -> None:
    vetting = gone(Vetting(1.0), decided(1))
    known = vetting.pending[0].commitment
    vetting.check_cleared(decided(2, cleared=(known,)))
    for decision in (
        decided(2, cleared=(commitment(9, 9),)),
        decided(2, cleared=(known,), skip=True),
    ):
        with pytest.raises(BadSignature):
            vetting.check_cleared(decision)
    with pytest.raises(BadSignature):
        Vetting().check_cleared(decided(2, cleared=(known,)))


def test_the_manifest_asks_for_it_and_needs_audits() -> None:
    manifest = parse_manifest(TABLES, {})
    assert manifest_from_canonical(canonical_bytes(manifest)) == manifest
    plain = parse_manifest(TABLES, {"exchange.f": ""})
    assert b'"f"' not in canonical_bytes(plain)
    assert manifest_from_canonical(canonical_bytes(plain)) == plain
    with pytest.raises(ConfigError, match="audits"):
        parse_manifest(TABLES, {"audit.rate": "0.0"})
