"""Who is absent leads and reduces last, then leaves; f never falls with it (docs/protocol.md)."""

from dataclasses import replace

import numpy as np
import pytest

from node.errors import PeerError, Refused
from node.exchange.reduction import reducer_orders
from node.jobs.following import check_dropped, sharing, why_following
from node.jobs.silence import Silence
from node.ledger.chain import Head, extend, genesis
from node.ledger.electorate import Electorate
from node.ledger.succession import (
    ABSENT_ROUNDS,
    TERMS_MAX,
    electorate_of,
    extended,
    next_electorate,
)
from node.types import Digest, JobId
from node.wire.messages import Decision

PREV = Digest(bytes(32))


def electors(n: int) -> Electorate:
    return Electorate.of([bytes([i]) * 32 for i in range(n)])


def round_without(
    electorate: Electorate, absent: set[int], bans: tuple[bytes, ...] = ()
) -> Electorate:
    plan = [(e, PREV) for e in range(electorate.n) if e not in absent]
    return next_electorate(electorate, plan, [(e, "absent") for e in sorted(absent)], bans)


def test_two_silent_of_eight_lead_after_all_others_and_reduce_last() -> None:
    after = round_without(electors(8), {2, 5})
    assert after.away == {2, 5}
    for round_ in range(16):
        turns = [after.leader(round_, view) for view in range(8)]
        assert sorted(turns) == list(range(8))
        assert set(turns[6:]) == {2, 5}
        rotation = [(round_ + k) % 8 for k in range(8)]
        assert turns[:6] == [e for e in rotation if e not in (2, 5)]
    for order in reducer_orders(PREV, after, 8):
        assert sorted(order) == list(range(8))
        assert set(order[6:]) == {2, 5}
    firsts = {order[0] for order in reducer_orders(PREV, after, 6)}
    assert len(firsts) == 6  # the load is even among the others


def test_without_absence_the_turns_are_those_of_the_rotation() -> None:
    all_here = electors(7)
    turns = [all_here.leader(5, view) for view in range(9)]
    assert turns == [5, 6, 0, 1, 2, 3, 4, 5, 6]


def test_one_list_brings_back_and_one_lie_pushes_back_for_one_round() -> None:
    gone = electors(8)
    for _ in range(5):
        gone = round_without(gone, {3})
    assert gone.missed[3] == 5
    back = round_without(gone, set())
    assert back.away == set()
    assert back.missed == ()


def test_never_more_are_away_than_a_quorum_can_do_without_whatever_a_leader_leaves_out() -> None:
    rng = np.random.default_rng(1)
    for n in range(1, 20):
        e = electors(n)
        for _ in range(12):
            absent = {i for i in range(e.n) if rng.random() < 0.6}
            e = round_without(e, absent)
            assert len(e.away) <= e.n - e.quorum
            kept = [m for i, m in enumerate(e.missed) if m and i not in e.away]
            if e.away:
                assert max(kept, default=0) <= min(e.missed[i] for i in e.away)


def test_eight_rounds_of_absence_cost_the_seat_and_f_never_falls_with_it() -> None:
    left = {}
    for n in range(1, 24):
        e = electors(n)
        gone = {key for key, _ in e.keys if key[0] < n // 3}
        for _ in range(3 * ABSENT_ROUNDS):
            silent = {i for i, (key, _) in enumerate(e.keys) if key in gone}
            assert e.n - len(silent) >= e.quorum  # who is here can go on
            e = round_without(e, silent)
            assert e.f == electors(n).f
        left[n] = e.n
    assert [left[n] for n in (3, 4, 5, 6, 7, 8, 9, 10)] == [3, 4, 4, 4, 7, 7, 7, 10]


def test_seven_rounds_are_not_eight_and_a_round_that_names_nobody_changes_nothing() -> None:
    e = electors(8)
    for _ in range(ABSENT_ROUNDS - 1):
        e = round_without(e, {6})
    assert e.n == 8
    assert next_electorate(e, (), (), ()) == e  # a SKIP without a plan
    assert round_without(e, set()).n == 8
    assert round_without(e, {6}).n == 7


def test_a_ban_and_an_absence_in_one_round_leave_enough_for_the_liars_that_remain() -> None:
    e = electors(9)
    for _ in range(ABSENT_ROUNDS - 1):
        e = round_without(e, {0, 1})
    after = round_without(e, {0, 1}, (e.keys[8][0],))
    assert (after.n, after.f) == (7, 2)  # 9 less one banned bear 2, and so do 7


# The chain --------------------------------------------------------------------------------------


def skip(head: Head, absent: int | None, bans: tuple[bytes, ...] = ()) -> Head:
    refused = () if absent is None else ((absent, "absent"),)
    after = next_electorate(head.electorate, (), refused, bans)
    decision = Decision(
        head.job, head.round + 1, head.id, True, "too_few", "", 1, (), refused, (), PREV, (), bans,
        after.keys, head.lease_until_round, False,
    )  # fmt: skip
    return extend(head, decision, PREV)


def test_the_head_remembers_who_was_an_elector_when() -> None:
    founders = electors(5)
    head = genesis(JobId(PREV), founders, 1000)
    gone = founders.keys[4][0]
    for _ in range(ABSENT_ROUNDS):
        assert electorate_of(head.terms, head.round + 1) == founders
        head = skip(head, 4)
    assert head.electorate.n == 4
    assert electorate_of(head.terms, ABSENT_ROUNDS) == founders
    assert electorate_of(head.terms, ABSENT_ROUNDS + 1) == Electorate(founders.keys[:4])
    check_dropped(head, gone, 3)
    for key, round_ in ((gone, ABSENT_ROUNDS + 1), (b"\x99" * 32, 3)):
        with pytest.raises(PeerError, match="only electors"):
            check_dropped(head, key, round_)
    with pytest.raises(Refused):  # who knows who is an elector then
        check_dropped(head, b"\x99" * 32, ABSENT_ROUNDS + 2)
    assert "dropped" in why_following(head, gone)
    assert why_following(head, b"\x99" * 32) == "following: this node is not an elector"
    assert sharing(founders, head) == founders.ids  # of shared memory, who was dropped too
    banned = skip(head, None, (founders.keys[0][0],))
    assert sharing(founders, banned) == founders.ids[1:]
    with pytest.raises(PeerError, match="only electors"):
        check_dropped(banned, founders.keys[0][0], 3)
    assert "banned by the certificate of round 9" in why_following(banned, founders.keys[0][0])


def test_only_the_newest_electorates_are_remembered() -> None:
    terms = ()
    for round_ in range(1, 200):
        terms = extended(terms, round_, electors(1 + round_ % 2))
        terms = extended(terms, round_, replace(electors(1 + round_ % 2), missed=()))
    assert len(terms) == TERMS_MAX
    assert electorate_of(terms, 199) == electors(2)
    assert electorate_of(terms, 100) is None


# Waits ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("heard", "round_", "quiet"), [(4, 5, False), (3, 5, True), (9, 9, False)])
def test_who_is_away_is_waited_for_once_it_was_heard_of(
    heard: int, round_: int, quiet: bool
) -> None:
    e = round_without(electors(8), {2, 5})
    silence = Silence(e.ids[5])
    assert silence.quiet(e, round_) == {2}  # never oneself
    silence.heard(e.ids[2], heard)
    assert silence.quiet(e, round_) == ({2} if quiet else set())
    silence.heard(e.ids[3], 1)
    assert 3 not in silence.quiet(e, round_)  # who is here is waited for
