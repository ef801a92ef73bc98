"""Roots, certified frontiers and credits: f liars move nothing, and a flood earns no more."""

from hypothesis import given, settings
from hypothesis import strategies as st

from node.identity import Identity
from node.memory.bucket import Bucket
from node.memory.frontier import (
    Reach,
    certified_frontier,
    entry_credits,
    frontier_of,
    memory_root,
)
from node.types import PeerId
from node.wire.memory_messages import MemoryLine

AUTHORS = [Identity(bytes([i]) * 32).peer_id for i in range(3)]
HEAD = bytes(32)


@st.composite
def lines(draw: st.DrawFn) -> list[MemoryLine]:
    """One elector's lines, whether true or not."""
    found = []
    for author in AUTHORS:
        how = draw(st.integers(0, 3))
        if how == 1:
            found.append(MemoryLine(author, forked=True))
        elif how > 1:
            following = draw(st.integers(1, 30))
            entries = draw(st.integers(following, 4 * following))
            found.append(MemoryLine(author, 0, following, entries, HEAD))
    return found


vectors = st.lists(lines(), max_size=7)


def held(vectors_: list[list[MemoryLine]], author: PeerId, name: str) -> list[int]:
    return [getattr(x, name) for v in vectors_ for x in v if x.author == author]


@settings(max_examples=200)
@given(vectors, st.integers(0, 2))
def test_at_least_one_honest_elector_holds_what_is_certified(
    named: list[list[MemoryLine]], f: int
) -> None:
    frontier = certified_frontier(named, f, {})
    assert list(frontier) == sorted(frontier)
    for author, reach in frontier.items():
        assert sum(n >= reach.next for n in held(named, author, "next")) > f
        assert sum(n >= reach.entries for n in held(named, author, "entries")) > f
        assert sum(held(named, author, "forked")) <= f
    for author in AUTHORS:  # and no more could be
        most = frontier.get(author, Reach())
        if sum(held(named, author, "forked")) <= f:
            assert sum(n > most.next for n in held(named, author, "next")) <= f
            assert sum(n > most.entries for n in held(named, author, "entries")) <= f


@settings(max_examples=200)
@given(vectors, lines(), st.integers(0, 2))
def test_f_liars_certify_nothing_and_condemn_nobody(
    honest: list[list[MemoryLine]], lie: list[MemoryLine], f: int
) -> None:
    told = certified_frontier([*honest, *[lie] * f], f, {})
    for author, reach in told.items():
        assert reach.next <= max(held(honest, author, "next"), default=0)
        assert reach.entries <= max(held(honest, author, "entries"), default=0)
    if not any(line.forked for vector in honest for line in vector):
        before = {a: Reach(1, 1) for a in AUTHORS}
        assert set(certified_frontier([*honest, *[lie] * f], f, before)) == set(AUTHORS)


@given(vectors, vectors)
def test_a_frontier_never_falls_back(
    first: list[list[MemoryLine]], then: list[list[MemoryLine]]
) -> None:
    before = certified_frontier(first, 1, {})
    after = certified_frontier(then, 1, before)
    for author, reach in after.items():
        last = before.get(author, Reach())
        assert reach.next >= last.next
        assert reach.entries >= last.entries
    assert sum(entry_credits(before, after, 10).values()) <= 10 * len(AUTHORS)


def test_credits_count_entries_up_to_the_cap_and_none_for_the_forked() -> None:
    a, b, c = sorted(AUTHORS)
    before = {a: Reach(2, 100), b: Reach(1, 10)}
    after = {a: Reach(5, 160), c: Reach(1, 5000)}  # b forked
    assert entry_credits(before, after, 1000) == {a: 60, c: 1000}
    assert entry_credits(after, after, 1000) == {}


def test_shown_evidence_removes_an_author_at_once() -> None:
    author = AUTHORS[0]
    vectors_ = [[MemoryLine(author, 0, 3, 30, HEAD)]] * 4
    assert certified_frontier(vectors_, 1, {}) == {author: Reach(3, 30)}
    assert certified_frontier(vectors_, 1, {author: Reach(2, 9)}, forked={author}) == {}


def test_a_root_tells_sets_apart_and_ignores_order() -> None:
    a, b, c = AUTHORS
    one = [MemoryLine(a, 0, 3, 30, HEAD), MemoryLine(b), MemoryLine(c, forked=True)]
    assert memory_root(one) == memory_root([one[2], one[0]])
    others = [
        [MemoryLine(a, 1, 3, 30, HEAD), one[2]],
        [MemoryLine(a, 0, 3, 30, bytes([1]) * 32), one[2]],
        [MemoryLine(b, 0, 3, 30, HEAD), one[2]],
        [one[0]],
        [],
    ]
    assert len({memory_root(x) for x in [one, *others]}) == 6
    assert frontier_of(one) == {a: Reach(3, 30)}


@given(st.lists(st.tuples(st.floats(0, 10), st.floats(0, 5)), max_size=40))
def test_no_more_passes_a_bucket_than_burst_and_rate_allow(
    steps: list[tuple[float, float]],
) -> None:
    bucket = Bucket(rate=2.0, burst=5.0, now=0.0)
    now = passed = 0.0
    for tokens, pause in steps:
        now += pause
        wait = bucket.ready_in_s(tokens, now)
        if wait == 0.0:
            bucket.take(tokens, now)
            passed += tokens
        else:
            now += wait + 1e-6
            assert bucket.ready_in_s(tokens, now) <= 0.001
        assert passed <= 5.0 + 2.0 * now + 10.0 + 1e-6  # what is larger than the burst passes once
