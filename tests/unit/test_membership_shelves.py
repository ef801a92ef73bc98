"""Which of the DHT's keys a node reads, and what they prove."""

from collections import Counter

import numpy as np

from node.identity import Identity
from node.membership.shelves import (
    CROWDED,
    SHELVES,
    SOUGHT_AT_ONCE_MAX,
    TAKEN_OF_CROWDED,
    Shelves,
    front_key,
    shelf_key,
)

FRONT = front_key("s")
PEERS = [Identity(i.to_bytes(32, "big")).peer_id for i in range(200)]
RNG = np.random.default_rng(1)


def test_a_small_swarm_is_read_whole_from_one_key() -> None:
    shelves = Shelves("s")
    for count in (0, 1, 64, CROWDED):
        assert shelves.choose(PEERS[:1], RNG) == [FRONT]
        assert not shelves.shows(PEERS[0])  # not before it was read
        assert shelves.take(FRONT, count) == count
        assert shelves.shows(PEERS[0])


def test_in_a_crowded_swarm_a_turn_reads_one_key_at_random_and_those_of_the_sought() -> None:
    shelves = Shelves("s")
    assert shelves.take(FRONT, CROWDED + 1) == TAKEN_OF_CROWDED
    read: Counter[str] = Counter()
    for _ in range(100 * (SHELVES + 1)):
        (key,) = shelves.choose([], RNG)
        read[key] += 1
    assert len(read) == SHELVES + 1
    assert min(read.values()) > 50
    found: set[str] = set()
    for _ in range(100):
        keys = shelves.choose(PEERS, RNG)
        assert len(keys) == len(set(keys)) == 1 + SOUGHT_AT_ONCE_MAX
        found |= set(keys)
    assert {shelf_key("s", peer) for peer in PEERS} <= found


def test_a_key_that_shows_only_some_of_its_records_proves_no_absence() -> None:
    shelves = Shelves("s")
    shelves.take(FRONT, CROWDED + 1)
    mine = PEERS[0]
    other = next(p for p in PEERS if shelf_key("s", p) != shelf_key("s", mine))
    shelves.choose([], RNG)
    shelves.take(shelf_key("s", mine), CROWDED)
    assert shelves.shows(mine)
    assert not shelves.shows(other)
    shelves.choose([], RNG)
    shelves.take(shelf_key("s", mine), CROWDED + 1)
    assert not shelves.shows(mine)


def test_a_swarm_that_shrank_is_read_whole_again() -> None:
    shelves = Shelves("s")
    shelves.take(FRONT, CROWDED + 1)
    while FRONT not in shelves.choose([], RNG):
        pass
    shelves.take(FRONT, 3)
    assert shelves.choose(PEERS, RNG) == [FRONT]
