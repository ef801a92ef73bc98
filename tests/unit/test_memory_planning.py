"""Whom a node asks for what, and what it takes of a stream: one peer at a time, within limits."""

from collections.abc import Sequence

import pytest

from node.errors import Malformed, TooLarge
from node.memory.config import MemoryPace, MemorySpec
from node.memory.intake import Intake, Step
from node.memory.memory_set import MemorySet
from node.memory.planning import (
    CLAIM_BYTES_PER_S,
    CLAIM_S,
    PULL_BYTES_MIN,
    PULL_S,
    PeerState,
    Plan,
    Planner,
)
from node.merkle import digest
from node.types import PeerId
from node.wire.convert_memory import encode_batch
from node.wire.limits import PULL_BYTES_MAX
from node.wire.memory_messages import Batch, BatchWant, MemoryLine
from simulator.host.signer import KeyedSigner, verify
from simulator.memory_liar import chain_of, line_of
from simulator.memory_world import JOB

SPEC = MemorySpec(key_dims=20, entries_per_author=100, batches_per_author=16)
A, B = (KeyedSigner(digest("author", bytes([n]))) for n in range(2))
ONE, TWO = PeerId("one"), PeerId("two")
CHAIN = chain_of(A, SPEC, [10] * 12)
PACE = MemoryPace()


class Side:
    """A set, and what two peers said."""

    def __init__(self, held: Sequence[Batch] = (), pace: MemoryPace = PACE) -> None:
        self.set = MemorySet([A.peer_id, B.peer_id], SPEC)
        for batch in held:
            self.set.add(batch.signed)
        self.planner = Planner(self.set, pace, 0.0)
        self.states = {ONE: PeerState(), TWO: PeerState()}

    def hear(self, peer: PeerId, *lines: MemoryLine) -> None:
        self.states[peer].hear(lines)

    def plan(self, peer: PeerId, now: float = 0.0) -> Plan:
        return self.planner.plan(peer, self.states[peer], now)

    def intake(self, *wants: BatchWant) -> Intake:
        return Intake(JOB, self.set, verify, ONE, wants or [BatchWant(A.peer_id, 0, 1 << 20)])


def take(intake: Intake, batch: Batch) -> Step:
    return intake.take(batch, len(encode_batch(batch))).step


def test_what_is_asked_follows_from_both_lines() -> None:
    side = Side(CHAIN[:4])
    cases = [
        (line_of(CHAIN[:4]), None),
        (line_of(CHAIN[:2]), None),
        (line_of(CHAIN[:6]), 4),
        (line_of(CHAIN[2:6]), 4),
        (line_of(CHAIN[8:]), 4),
        (MemoryLine(A.peer_id, 0, 4, 40, bytes(32)), 3),
        (MemoryLine(A.peer_id, forked=True), None),
        (MemoryLine(A.peer_id), None),
    ]
    for line, first in cases:
        side.hear(ONE, line)
        assert [want.from_seq for want in side.plan(ONE).wants] == (
            [] if first is None else [first]
        )


def test_an_author_is_asked_of_one_peer_until_that_is_slow() -> None:
    side = Side()
    for peer in (ONE, TWO):
        side.hear(peer, line_of(CHAIN))
    plan = side.plan(ONE)
    side.planner.began(ONE, plan.wants, 0.0)
    waits = side.plan(TWO, 0.25)
    assert waits.wants == ()
    assert waits.wait_s == pytest.approx(CLAIM_S - 0.25)
    size = CLAIM_BYTES_PER_S // 2
    side.planner.received(ONE, CHAIN[0].header, size, fresh=True, now=0.5)
    assert side.plan(TWO, CLAIM_S + 0.4).wants == ()  # it sends fast enough: half a second more
    assert side.plan(TWO, CLAIM_S + 0.6).wants
    assert not side.planner.ended(ONE, side.states[ONE])
    assert side.plan(TWO, 0.3).wants  # and at once when it has ended


def test_an_allowance_is_used_up_and_comes_back() -> None:
    side = Side(pace=MemoryPace(entries_per_s=100.0, burst_s=1.0))
    side.hear(ONE, line_of(CHAIN))
    assert side.plan(ONE).wants
    for batch in CHAIN[:3]:
        side.planner.received(ONE, batch.header, 900, fresh=True, now=0.0)
    plan = side.plan(ONE)  # 126 of 100 are used: a full batch is 25 + 32
    assert plan.wants == ()
    assert plan.wait_s == pytest.approx(0.83)
    assert side.plan(ONE, 0.84).wants
    side.planner.received(ONE, CHAIN[0].header, 900, fresh=False, now=0.84)
    assert side.plan(ONE, 0.84).wants  # what was known costs its author nothing


def test_a_peer_that_fails_is_left_alone_for_longer_and_longer() -> None:
    state = PeerState()
    pauses = []
    for _ in range(12):
        state.failed(0.0, PACE, is_bad=False)
        pauses.append(state.retry_at)
    assert pauses[:4] == [0.5, 1.0, 2.0, 4.0]
    assert pauses[-1] == PACE.retry_silent_s_max
    state.failed(0.0, PACE, is_bad=True)
    assert state.retry_at == PACE.retry_s_max
    side = Side()
    side.states[ONE] = state
    side.hear(ONE, line_of(CHAIN))
    assert side.plan(ONE, 1.0) == Plan(wait_s=PACE.retry_s_max - 1.0)
    state.worked()
    assert side.plan(ONE, 1.0).wants


def test_a_jump_goes_on_with_its_peer_and_ends_with_it() -> None:
    side = Side(CHAIN[:1])
    side.hear(ONE, line_of(CHAIN[4:]))
    plan = side.plan(ONE)
    side.planner.began(ONE, plan.wants, 0.0)
    intake = side.intake(*plan.wants)
    for batch in CHAIN[4:8]:
        assert take(intake, batch) is Step.STAGED
    assert not side.planner.ended(ONE, side.states[ONE])
    assert [want.from_seq for want in side.plan(ONE).wants] == [8]
    side.planner.began(ONE, side.plan(ONE).wants, 0.0)
    side.hear(ONE, line_of(CHAIN[4:8]))  # it has no more, and what came is not complete
    assert side.planner.ended(ONE, side.states[ONE])
    assert not side.set.stages


def test_a_jump_of_a_slow_peer_goes_on_with_another_that_is_not_at_fault() -> None:
    side = Side(CHAIN[:1])
    for peer in (ONE, TWO):
        side.hear(peer, line_of(CHAIN[4:]))
    plan = side.plan(ONE)
    side.planner.began(ONE, plan.wants, 0.0)
    slow = side.intake(*plan.wants)
    take(slow, CHAIN[4])
    late = CLAIM_S + 0.5
    plan = side.plan(TWO, late)
    assert [want.from_seq for want in plan.wants] == [5]
    side.planner.began(TWO, plan.wants, late)
    intake = Intake(JOB, side.set, verify, TWO, plan.wants)
    assert intake.take(CHAIN[5], 500).step is Step.STAGED
    assert take(slow, CHAIN[5]) is Step.SKIP  # still under way; nobody's fault
    side.hear(TWO, line_of(CHAIN[4:6]))
    assert not side.planner.ended(TWO, side.states[TWO])  # it did not choose the beginning
    assert not side.set.stages


def test_a_jump_is_dropped_when_the_gap_is_filled_or_another_peer_is_asked() -> None:
    for fills in (True, False):
        side = Side(CHAIN[:1])
        side.hear(ONE, line_of(CHAIN[3:]))
        side.planner.began(ONE, side.plan(ONE).wants, 0.0)
        take(side.intake(BatchWant(A.peer_id, 1, 1 << 20)), CHAIN[3])
        assert side.set.stages
        if fills:
            for batch in CHAIN[1:3]:
                side.set.add(batch.signed)
        else:
            side.hear(TWO, line_of(CHAIN))
            side.planner.began(TWO, side.plan(TWO, CLAIM_S + 1).wants, CLAIM_S + 1)
        assert not side.set.stages


def test_a_stream_gives_what_was_asked_in_its_order_and_no_more() -> None:
    side = Side()
    intake = side.intake()
    assert take(intake, CHAIN[0]) is Step.APPEND
    assert take(intake, CHAIN[1]) is Step.APPEND  # before the first is stored and added
    for wrong in (CHAIN[1], CHAIN[3], chain_of(B, SPEC, [5])[0]):
        with pytest.raises(Malformed):
            take(intake, wrong)
    size = len(encode_batch(CHAIN[1]))
    small = side.intake(BatchWant(A.peer_id, 0, 2 * size))
    take(small, CHAIN[0])
    take(small, CHAIN[1])
    with pytest.raises(TooLarge):
        take(small, CHAIN[2])


def test_another_head_that_is_none_is_a_falsehood() -> None:
    side = Side(CHAIN[:4])
    with pytest.raises(Malformed, match="another head"):
        take(side.intake(BatchWant(A.peer_id, 3, 1 << 20)), CHAIN[3])
    late = side.intake(BatchWant(A.peer_id, 4, 1 << 20))
    side.set.add(CHAIN[4].signed)  # another peer was quicker: nobody's fault
    assert take(late, CHAIN[4]) is Step.SKIP


def test_a_fork_within_one_stream_is_seen_before_anything_is_stored() -> None:
    side = Side()
    twin = chain_of(A, SPEC, [10], 5.0)[0]
    follower = chain_of(A, SPEC, [10], 5.0, after=twin.signed)[0]
    intake = side.intake()
    take(intake, CHAIN[0])
    outcome = intake.take(follower, 1)
    assert outcome.step is Step.FORK
    assert outcome.evidence is not None


def test_lag_needs_two_words_where_there_are_two() -> None:
    side = Side(CHAIN[:1])
    true, huge = line_of(CHAIN[:3]), MemoryLine(A.peer_id, 0, 2**40, 2**41, bytes(32))
    assert side.planner.lag([true]) == 20
    assert side.planner.lag([true, huge]) == 20
    assert side.planner.lag([huge, true, true]) == 20
    assert side.planner.lag([]) == 0


def test_a_request_is_as_long_as_its_peer_is_fast() -> None:
    state = PeerState()
    sizes = []
    for _ in range(8):
        state.moved(int(state.pull_bytes), 0.01)  # 25 MB/s and more
        sizes.append(state.pull_bytes)
    assert sizes[0] == 512 * 1024
    assert sizes[-1] == PULL_BYTES_MAX
    state.moved(PULL_BYTES_MAX, 4.0)
    assert state.pull_bytes == PULL_BYTES_MAX * PULL_S / 4.0
    before = state.pull_bytes
    state.moved(1000, 1.0)  # there was no more to send: this says nothing
    assert state.pull_bytes == before
    for _ in range(3):
        state.moved(int(state.pull_bytes), 100.0)
    assert state.pull_bytes == PULL_BYTES_MIN


def test_one_batch_comes_however_little_was_asked() -> None:
    intake = Side().intake(BatchWant(A.peer_id, 0, 1))
    assert take(intake, CHAIN[0]) is Step.APPEND
    with pytest.raises(TooLarge):
        take(intake, CHAIN[1])
