"""What is certified of shared memory, its identity, and the rates at which it is taken in."""

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from node.errors import BadSignature, Malformed
from node.identity import Identity, public_key_of
from node.ledger.chain import Head, check_parent, extend, genesis
from node.ledger.electorate import Electorate
from node.ledger.frontier import certified_frontier, entry_credits, frontier_of, memory_root
from node.memory.bucket import Bucket
from node.types import Digest, JobId, PeerId
from node.wire.convert_ledger import decode_decision, encode_decision
from node.wire.memory_messages import MemoryLine, MemoryReach
from node.wire.messages import Decision

IDS = sorted(Identity(index.to_bytes(32, "big")).peer_id for index in range(3))


def _line(author: PeerId, batches: int, forked: bool = False) -> MemoryLine:
    if forked or not batches:
        return MemoryLine(author, forked=forked)
    return MemoryLine(author, 0, batches, 10 * batches, bytes(32))


Vectors = st.lists(
    st.dictionaries(st.sampled_from(IDS), st.integers(0, 9)).map(
        lambda held: tuple(_line(author, batches) for author, batches in sorted(held.items()))
    ),
    max_size=7,
)


def _held(vector: tuple[MemoryLine, ...], author: PeerId) -> int:
    return next((line.next for line in vector if line.author == author), 0)


@given(Vectors, st.integers(0, 2), st.integers(0, 5))
def test_a_batch_is_certain_once_more_than_f_hold_it(
    vectors: list[tuple[MemoryLine, ...]], f: int, known: int
) -> None:
    before = (MemoryReach(IDS[0], known, 10 * known),) if known else ()
    after = certified_frontier(vectors, f, before)
    assert [reach.author for reach in after] == sorted(reach.author for reach in after)
    found = {reach.author: reach for reach in after}
    for author in IDS:
        numbers = [n for n in range(10) if sum(_held(v, author) >= n for v in vectors) > f]
        certain = max([0, *numbers, known if author == IDS[0] else 0])
        reach = found.get(author, MemoryReach(author, 0, 0))
        assert (reach.next, reach.entries) == (certain, 10 * certain)


@given(Vectors, Vectors, st.integers(1, 2))
def test_f_liars_move_nothing_beyond_what_an_honest_elector_holds(
    honest: list[tuple[MemoryLine, ...]], liars: list[tuple[MemoryLine, ...]], f: int
) -> None:
    after = certified_frontier([*honest, *liars[:f]], f, ())
    for reach in after:
        assert reach.next <= max((_held(v, reach.author) for v in honest), default=0)


def test_an_author_is_out_when_more_than_f_know_that_it_forked_and_not_before() -> None:
    vectors = [(_line(IDS[0], 3),), (_line(IDS[0], 3),), (_line(IDS[0], 0, forked=True),)]
    before = (MemoryReach(IDS[0], 2, 20),)
    assert certified_frontier(vectors, 1, before) == (MemoryReach(IDS[0], 3, 30),)
    vectors.append((_line(IDS[0], 0, forked=True),))
    assert certified_frontier(vectors, 1, before) == ()


def test_entries_earn_once_and_no_flood_earns_more() -> None:
    before = (MemoryReach(IDS[0], 2, 20), MemoryReach(IDS[2], 1, 5))
    after = (MemoryReach(IDS[0], 3, 27), MemoryReach(IDS[1], 9, 9000))
    assert entry_credits(before, after, 100) == {IDS[0]: 7, IDS[1]: 100}


def test_a_node_tells_what_it_holds_and_nothing_of_who_forked() -> None:
    lines = [_line(IDS[1], 4), _line(IDS[0], 0), _line(IDS[2], 0, forked=True)]
    assert frontier_of(lines) == (MemoryReach(IDS[1], 4, 40),)


def test_a_root_tells_sets_apart_and_ignores_order() -> None:
    a, b, c = IDS
    one = [MemoryLine(a, 0, 3, 30, bytes(32)), MemoryLine(b), MemoryLine(c, forked=True)]
    assert memory_root(one) == memory_root([one[2], one[0]])
    others = [
        [MemoryLine(a, 1, 3, 30, bytes(32)), one[2]],
        [MemoryLine(a, 0, 3, 30, bytes([1]) * 32), one[2]],
        [MemoryLine(b, 0, 3, 30, bytes(32)), one[2]],
        [one[0]],
        [],
    ]
    assert len({memory_root(x) for x in [one, *others]}) == 6
    assert frontier_of(one) == (MemoryReach(a, 3, 30),)


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


def _decision(head: Head, memory: tuple[MemoryReach, ...], *, skip: bool = False) -> Decision:
    return Decision(
        job=head.job,
        round=head.round + 1,
        prev=head.id,
        skip=skip,
        skip_reason="view" if skip else "",
        rule="" if skip else "median",
        replicas=1,
        plan=(),
        refused=(),
        result_roots=(),
        state_root=Digest(bytes(32)),
        credits=(),
        bans=(),
        electors=head.electorate.keys,
        lease_until_round=9,
        halted=False,
        memory=memory,
    )


def test_no_certificate_takes_back_what_one_before_it_said_is_there() -> None:
    founders = Electorate.of(public_key_of(peer) for peer in IDS)
    before = (MemoryReach(IDS[0], 3, 30), MemoryReach(IDS[1], 1, 4))
    head = replace(genesis(JobId(bytes(32)), founders, 9), memory=before)
    grown = (MemoryReach(IDS[0], 3, 30), MemoryReach(IDS[1], 2, 8), MemoryReach(IDS[2], 1, 1))
    for decision in (
        _decision(head, grown),
        _decision(head, grown[1:]),  # who is gone has forked
        _decision(head, before, skip=True),
    ):
        check_parent(head, decision)
        again = decode_decision(encode_decision(decision))
        assert extend(head, again, Digest(bytes(32))).memory == decision.memory
    for decision in (
        _decision(head, (MemoryReach(IDS[0], 2, 30), before[1])),
        _decision(head, (MemoryReach(IDS[0], 3, 29), before[1])),
        _decision(head, grown, skip=True),
    ):
        with pytest.raises(BadSignature):
            check_parent(head, decision)


@pytest.mark.parametrize(
    "memory",
    [
        (MemoryReach(IDS[1], 1, 1), MemoryReach(IDS[0], 1, 1)),
        (MemoryReach(IDS[0], 1, 1), MemoryReach(IDS[0], 1, 1)),
        (MemoryReach(IDS[0], 0, 0),),
        (MemoryReach(IDS[0], 5, 4),),
        (MemoryReach(IDS[0], 2**48 + 2, 2**48 + 2),),
    ],
)
def test_a_frontier_in_no_order_or_out_of_range_is_malformed(
    memory: tuple[MemoryReach, ...],
) -> None:
    founders = Electorate.of(public_key_of(peer) for peer in IDS)
    head = genesis(JobId(bytes(32)), founders, 9)
    with pytest.raises(Malformed):
        decode_decision(encode_decision(_decision(head, memory)))
