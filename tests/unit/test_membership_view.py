from collections import Counter
from functools import cache

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from node.identity import Identity
from node.membership.missing import short
from node.membership.record import PeerRecord
from node.membership.split import GRACE_S, SplitWatch, choose_absent, choose_joined
from node.membership.view import EXPIRED_KEPT_S, RETRY_S_MAX, View
from node.membership.worth import (
    LONG_KNOWN_SHARE,
    SCORE_HALF_LIFE_S,
    SHUN_BELOW,
    SHUN_S,
    Peer,
    luck,
    rank,
)
from node.types import JobId, PeerId

NOW = 1_800_000_000.0


@cache
def _id(index: int) -> PeerId:
    return Identity(index.to_bytes(32, "big")).peer_id


US = _id(0)


def _record(
    index: int, sequence: int = 1, ttl_s: float = 60.0, jobs: tuple[JobId, ...] = ()
) -> PeerRecord:
    return PeerRecord(
        peer=_id(index),
        sequence=sequence,
        issued_unix_s=NOW,
        expires_unix_s=NOW + ttl_s,
        addresses=(),
        swarm="main",
        jobs=jobs,
        version="",
        incarnation=0,
        serves_any=False,
        signed=b"%d/%d" % (index, sequence),
    )


def _view(*indices: int, peers_max: int = 100, bootstrap: tuple[PeerId, ...] = ()) -> View:
    view = View(US, peers_max, bootstrap)
    for index in indices:
        assert view.learn(_record(index), NOW).ok
    return view


def test_only_a_strictly_higher_sequence_is_taken() -> None:
    view = _view()
    verdicts = [view.learn(_record(1, sequence), NOW) for sequence in (5, 5, 4, 6)]
    assert [(v.ok, v.reason) for v in verdicts] == [
        (True, "new"),
        (False, "same"),
        (False, "older"),
        (True, "newer"),
    ]
    assert [record.sequence for record in view.usable(NOW)] == [6]


def test_a_replay_after_expiry_does_not_bring_a_peer_back() -> None:
    view = _view()
    view.learn(_record(1, sequence=5, ttl_s=10.0), NOW)
    view.expire(NOW + 11)
    assert view.learn(_record(1, sequence=4, ttl_s=3600.0), NOW + 11).reason == "older"
    assert view.usable(NOW + 11) == []


def test_our_own_and_expired_records_are_left_out() -> None:
    view = _view()
    assert view.learn(_record(0), NOW).reason == "own"
    assert view.learn(_record(1, ttl_s=5.0), NOW + 5).reason == "expired"
    assert len(view) == 0


def test_a_peer_is_usable_until_its_record_expires_and_forgotten_much_later() -> None:
    view = _view(1)
    assert len(view.usable(NOW + 59.9)) == 1
    assert view.usable(NOW + 60) == []
    view.expire(NOW + 61)
    assert len(view) == 1
    view.expire(NOW + 60 + EXPIRED_KEPT_S)
    assert len(view) == 0


def test_a_peer_that_comes_back_after_expiry_is_greeted_again() -> None:
    view = _view(1)
    view.called(_id(1), True, NOW)
    assert view.unmet(NOW) == []
    view.learn(_record(1, sequence=2, ttl_s=200.0), NOW + 100)
    assert view.unmet(NOW + 100) == [_id(1)]


@given(st.data())
def test_the_order_of_arrival_does_not_change_the_view(data: st.DataObject) -> None:
    arrival = st.tuples(st.integers(1, 5), st.integers(1, 20))
    arrivals = data.draw(st.lists(arrival, max_size=30))
    views = []
    for order in (arrivals, data.draw(st.permutations(arrivals))):
        view = _view()
        for index, sequence in order:
            view.learn(_record(index, sequence), NOW)
        views.append(view.usable(NOW))
    assert views[0] == views[1]


def test_blame_adds_up_decays_and_shuns_for_a_time() -> None:
    view = _view(1)
    assert view.score(_id(1), NOW) == 0.0
    view.blame(_id(1), "bad_signature", NOW)
    assert view.score(_id(1), NOW) == -5.0
    assert view.score(_id(1), NOW + SCORE_HALF_LIFE_S) == pytest.approx(-2.5)
    view.blame(_id(1), "bad_signature", NOW)
    assert view.is_shunned(_id(1), NOW)
    assert view.score(_id(1), NOW + 1) == SHUN_BELOW
    assert view.usable(NOW) == []
    view.learn(_record(1, sequence=2, ttl_s=3000.0), NOW + SHUN_S)
    assert not view.is_shunned(_id(1), NOW + SHUN_S)
    assert len(view.usable(NOW + SHUN_S)) == 1
    assert view.score(_id(1), NOW + SHUN_S) == SHUN_BELOW / 2


def test_refusals_and_expired_records_cost_nothing() -> None:
    view = _view(1)
    for _ in range(1000):
        for reason in ("refused", "expired", "wrong_swarm"):
            view.blame(_id(1), reason, NOW)
    assert view.score(_id(1), NOW) == 0.0
    peer = view.get(_id(1))
    assert peer is not None
    assert peer.errors["refused"] == 1000


def test_a_clock_that_is_set_back_forgives_nothing_and_adds_nothing() -> None:
    view = _view(1)
    view.blame(_id(1), "malformed", NOW)
    assert view.score(_id(1), NOW - 1e6) == -2.0


def test_a_full_table_drops_the_expired_then_the_blamed_then_hearsay() -> None:
    view = _view(1, 2, 3, peers_max=3)
    for index in (1, 2):
        view.called(_id(index), True, NOW)
    view.blame(_id(1), "malformed", NOW)
    assert view.learn(_record(4), NOW + 1).ok
    assert {r.peer for r in view.usable(NOW + 1)} == {_id(2), _id(3), _id(4)}
    view.called(_id(3), True, NOW + 1)
    view.called(_id(4), False, NOW + 1)  # hearsay that does not answer
    assert view.learn(_record(5), NOW + 2).ok
    assert {r.peer for r in view.usable(NOW + 2)} == {_id(2), _id(3), _id(5)}
    assert view.learn(_record(6, ttl_s=1000.0), NOW + 60).ok  # the others' records expired
    assert [r.peer for r in view.usable(NOW + 60)] == [_id(6)]


def test_a_flood_of_hearsay_evicts_nobody_who_was_met() -> None:
    view = _view(1, 2, 3, peers_max=3)
    for index in (1, 2, 3):
        view.called(_id(index), True, NOW)
    for index in range(10, 60):
        assert view.learn(_record(index), NOW + index).reason in ("full", "expired")
    assert {r.peer for r in view.usable(NOW)} == {_id(1), _id(2), _id(3)}


def test_callers_replace_hearsay_and_never_those_known_for_longest() -> None:
    view = _view(*range(1, 9), peers_max=8)
    for index in (1, 2):
        view.called(_id(index), True, NOW + index / 10)
    for index in range(10, 300):
        view.called(_id(index), True, NOW + index / 10)
        view.learn(_record(index, ttl_s=100.0), NOW + index / 10)
    met = set(view.met(NOW + 40))
    assert {_id(1), _id(2)} <= {p for p, _ in view.known()}
    assert len(met - {_id(1), _id(2)}) == 6
    view.called(sorted(met)[0], False, NOW + 41)
    assert set(view.met(NOW + 41)) == met - {sorted(met)[0]}


def test_a_kept_peer_without_a_living_record_is_sought() -> None:
    view = _view(1, 2, bootstrap=(_id(1), _id(3)))
    view.keep([US, _id(2), _id(4)])
    assert set(view.sought(NOW)) == {_id(3), _id(4)}
    assert set(view.sought(NOW + 60)) == {_id(1), _id(2), _id(3), _id(4)}


def test_bootstrap_peers_and_electors_are_never_evicted() -> None:
    view = _view(1, 2, peers_max=2, bootstrap=(_id(1),))
    view.keep([_id(2)])
    view.blame(_id(1), "malformed", NOW)
    view.blame(_id(2), "malformed", NOW)
    for index in range(10, 30):
        view.learn(_record(index), NOW + index / 10)
        assert len(view) <= 4
    kept = {record.peer for record in view.usable(NOW)}
    assert {_id(1), _id(2)} <= kept


@given(st.lists(st.integers(1, 40), max_size=100))
def test_the_table_never_exceeds_its_bound(indices: list[int]) -> None:
    view = View(US, 5)
    for step, index in enumerate(indices):
        if step % 3 == 0:
            view.learn(_record(index, step + 1), NOW + step / 100)
        elif step % 3 == 1:
            view.blame(_id(index), "malformed", NOW)
        else:
            view.called(_id(index), False, NOW)
        assert len(view) <= 5


def test_a_sample_has_no_repeats_and_only_usable_peers() -> None:
    view = _view(1, 2, 3, 4)
    view.blame(_id(4), "equivocation", NOW)
    rng = np.random.default_rng(0)
    for k in range(6):
        drawn = [record.peer for record in view.sample(rng, k, NOW)]
        assert len(drawn) == len(set(drawn)) == min(k, 3)
        assert _id(4) not in drawn
    firsts = {view.sample(rng, 1, NOW)[0].peer for _ in range(50)}
    assert firsts == {_id(1), _id(2), _id(3)}


def test_a_banned_peer_is_out_for_good_wherever_it_stands() -> None:
    view = _view(1, 2, bootstrap=(_id(3),))
    view.ban(_id(1), "lied")
    view.ban(_id(3), "lied too")  # before it is in the table
    assert view.learn(_record(3), NOW).ok
    later = NOW + 50.0
    assert view.is_shunned(_id(1), later)
    assert [record.peer for record in view.usable(later)] == [_id(2)]
    assert view.unmet(later) == [_id(2)]
    view.blame(_id(1), "equivocation", NOW)  # a score does not shorten it
    view.expire(NOW + 1e9)
    assert view.is_shunned(_id(1), NOW + 2e9)
    assert f"{short(_id(1))} is banned: it lied" in view.explain(later, [_id(1), _id(2)])


def test_unanswered_calls_are_repeated_ever_more_rarely() -> None:
    view = _view(1, bootstrap=(_id(2),))
    assert set(view.unmet(NOW)) == {_id(1), _id(2)}
    view.called(_id(2), False, NOW)
    assert view.unmet(NOW) == [_id(1)]
    assert set(view.unmet(NOW + 0.6)) == {_id(1), _id(2)}
    for _ in range(100):
        view.called(_id(2), False, NOW)
    assert view.unmet(NOW + RETRY_S_MAX - 1) == [_id(1)]
    assert _id(2) in view.unmet(NOW + RETRY_S_MAX)


def test_those_who_serve_a_job_are_found() -> None:
    view = _view(1)
    job = JobId(bytes(32))
    view.learn(_record(2, jobs=(job,)), NOW)
    assert view.serving(job, NOW) == [_id(2)]


def test_why_there_is_no_group_is_one_sentence() -> None:
    view = _view(1, 2, 3, 4)
    view.learn(_record(3, sequence=2, ttl_s=5.0), NOW)
    for _ in range(2):
        view.blame(_id(2), "bad_signature", NOW)
    for _ in range(3):
        view.called(_id(4), False, NOW)
    assert view.explain(NOW, [US, _id(1)]) == "all 2 electors are here"
    needed = [US, *(_id(index) for index in (1, 2, 3, 4, 5))]
    assert view.explain(NOW + 15, needed) == (
        "4 of 6 electors are missing: "
        f"{short(_id(2))} is shunned for 285 s more (2 bad_signature), "
        f"{short(_id(3))} fell silent: its record expired 10 s ago, "
        f"{short(_id(4))} is known but did not answer 3 calls in a row, "
        f"{short(_id(5))} was never seen"
    )
    many = view.explain(NOW, [_id(index) for index in range(10, 20)])
    assert many.endswith("was never seen, and 6 more")


def test_an_unreachable_bootstrap_elector_is_told_apart_from_one_never_tried() -> None:
    view = _view(bootstrap=(_id(1),))
    view.called(_id(1), False, NOW)
    assert "did not answer one call" in view.explain(NOW, [_id(1)])


def test_a_met_peer_that_the_dht_lacks_shows_a_split_after_a_grace() -> None:
    view = _view(1, 2, 3, 4)
    for index in (1, 2, 3):
        view.called(_id(index), True, NOW)
    view.called(_id(3), False, NOW)
    assert choose_absent(view, [_id(1)], NOW + GRACE_S - 0.1) == []
    assert choose_absent(view, [_id(1)], NOW + GRACE_S) == [_id(2)]
    assert choose_absent(view, [_id(1), _id(2)], NOW + GRACE_S) == []


def test_a_record_from_before_a_split_does_not_count_as_joined() -> None:
    view = _view(1, 2, 3)
    view.learn(_record(1, sequence=2), NOW)
    listed = {_id(1): 1, _id(2): 1, _id(4): 1}
    assert choose_joined(view, listed, [_id(3)]) == {_id(2), _id(3), _id(4)}
    assert _id(1) in choose_joined(view, {_id(1): 2}, [])


def test_a_split_is_told_when_it_begins_and_when_it_is_healed() -> None:
    watch, alive = SplitWatch(), [_id(1), _id(2), _id(3)]
    assert not watch.observe([], [_id(1)], alive, NOW)
    assert watch.sentence(NOW) == ""
    assert watch.observe([_id(1), _id(2)], [], alive, NOW)
    assert not watch.observe([_id(1)], [], alive, NOW + 1)
    assert watch.sentence(NOW + 7) == (
        "split noticed 7 s ago: the DHT lacks 2 met peers; rejoining"
    )
    assert watch.observe([], [_id(1), _id(2)], alive, NOW + 9)
    assert watch.sentence(NOW + 11) == "a split was healed 2 s ago"
    assert (watch.noticed, watch.healed) == (1, 1)


def test_a_split_whose_other_side_fell_silent_is_not_called_healed() -> None:
    watch = SplitWatch()
    watch.observe([_id(1)], [], [_id(1)], NOW)
    assert not watch.observe([], [], [_id(1)], NOW + 1)  # it merely does not answer
    assert watch.observe([], [], [], NOW + 60)
    assert watch.sentence(NOW + 60) == "the peers beyond a split fell silent 0 s ago"
    assert (watch.noticed, watch.healed) == (1, 0)


def test_any_flood_evicts_in_the_order_of_a_full_search() -> None:
    rng = np.random.default_rng(3)
    view = _view(*range(1, 9), peers_max=8)
    for i in (2, 3, 5):
        view.called(_id(i), True, NOW + i)
    view.blame(_id(7), "malformed", NOW)
    evicted = 0
    for step, index in enumerate(rng.permutation(np.arange(9, 90)).tolist()):
        now = NOW + 30 + step // 8
        view.called(_id(int(rng.integers(1, 90))), False, now)
        before = dict(view.known())
        if _id(index) in before:
            continue
        met = sorted(p.since for p in before.values() if p.met is not None)
        last = met[: 8 // LONG_KNOWN_SHARE][-1]
        ranks = {
            p: rank(peer, now, peer.met is not None and peer.since <= last)
            for p, peer in before.items()
        }
        worst = min(ranks, key=lambda p: (ranks[p], p))
        drawn = luck(b"", _id(index))
        if index % 5 == 0:
            view.called(_id(index), True, now)
            newcomer = rank(Peer(luck=drawn, met=now), now)
        else:
            view.learn(_record(index, ttl_s=45.0), now)
            newcomer = rank(Peer(luck=drawn), now)
        after = {p for p, _ in view.known()}
        if ranks[worst] < newcomer:
            assert after == {*before, _id(index)} - {worst}
            evicted += 1
        else:
            assert after == set(before)
    assert evicted > 10
    assert {_id(2), _id(3)} <= after


def test_what_stays_is_a_fair_sample_however_often_one_is_named() -> None:
    kept: Counter[int] = Counter()
    for salt in range(300):
        view = View(US, 5, salt=bytes([salt % 256, salt // 256]))
        for step in range(60):
            index = 1 + (step % 20 if step % 3 else 0)  # the first is named ever again
            view.learn(_record(index, sequence=step + 1), NOW + step / 10)
        kept.update(i for i in range(1, 21) if view.get(_id(i)))
    assert max(kept[i] for i in kept) < 2 * min(kept[i] for i in kept)
    assert sum(kept.values()) == 300 * 5
