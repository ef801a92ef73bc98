"""Where peer records lie in the DHT, and which of these places are read in one turn.

Implements docs/protocol.md, "Peer records". One key holds few records, and the hosts nearest to it
would answer the whole swarm. So every record lies under two keys: the front, which holds a small
swarm whole, and one of SHELVES by the hash of its peer id. In a crowded swarm a turn reads one key
at random, whatever the size of the swarm, and those of peers that are sought.

Source: random, not chosen, samples keep a view unbiased: Bortnikov et al. 2009, "Brahms".
"""

from collections.abc import Collection, Sequence

import numpy as np

from node.merkle import digest
from node.types import PeerId

SHELVES = 16
CROWDED = 128
"""Records under one key above which it does not show all that there are."""
TAKEN_OF_CROWDED = 64
"""Records that are taken of such a key in one turn, drawn at random."""
SOUGHT_AT_ONCE_MAX = 4
"""Further keys that are read in one turn, to find peers that are sought."""


def front_key(swarm: str) -> str:
    """Where every peer tries to put its record."""
    return f"artel/{swarm}/peers"


def shelf_key(swarm: str, peer: PeerId) -> str:
    """Where one peer puts its record too."""
    return f"{front_key(swarm)}/{digest('shelf', peer.encode())[0] % SHELVES:x}"


class Shelves:
    """Which keys to read, and what they prove."""

    def __init__(self, swarm: str) -> None:
        self._swarm = swarm
        self._front = front_key(swarm)
        self._crowded = False
        self._whole: set[str] = set()
        """Keys that showed all that they hold when they were last read."""

    def choose(self, sought: Collection[PeerId], rng: np.random.Generator) -> Sequence[str]:
        """Keys to read in this turn: the front while it shows all, else a few.

        Args:
            sought: peers whose newest record is wanted.
            rng: draws.
        """
        self._whole.clear()
        if not self._crowded:
            return [self._front]
        drawn = int(rng.integers(SHELVES + 1))
        keys = [self._front if drawn == SHELVES else f"{self._front}/{drawn:x}"]
        theirs = sorted({shelf_key(self._swarm, peer) for peer in sought} - set(keys))
        order = rng.permutation(len(theirs))[:SOUGHT_AT_ONCE_MAX]
        return keys + [theirs[int(index)] for index in order]

    def take(self, key: str, count: int) -> int:
        """Note that ``key`` showed ``count`` records; how many of them to take, at random."""
        is_crowded = count > CROWDED
        if key == self._front:
            self._crowded = is_crowded
        if not is_crowded:
            self._whole.add(key)
        return min(count, TAKEN_OF_CROWDED) if is_crowded else count

    def shows(self, peer: PeerId) -> bool:
        """Would this turn's keys have shown the record of ``peer``, had the DHT had it?"""
        return self._front in self._whole or shelf_key(self._swarm, peer) in self._whole
