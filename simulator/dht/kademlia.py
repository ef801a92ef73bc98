"""Places of hosts and keys, and one host's routing table, by exclusive-or distance. No IO.

Source: Maymounkov and Mazieres, "Kademlia", IPTPS 2002, sections 2.1 to 2.3. A place has 160 bits.
The bucket of a host is the number of leading bits that its place shares with ours.
"""

import hashlib
from collections.abc import Callable, Iterator
from functools import lru_cache

from node.types import PeerId

PLACE_BITS = 160
BUCKET_HOSTS_MAX = 20


@lru_cache(maxsize=1 << 16)
def place(name: str) -> int:
    """Where a host or a key lies."""
    return int.from_bytes(hashlib.sha1(name.encode()).digest(), "big")


class RoutingTable:
    """The hosts that one host knows, at most 20 a bucket.

    Args:
        owner: Whose table it is.
    """

    def __init__(self, owner: PeerId) -> None:
        self._place = place(owner)
        self._buckets: dict[int, dict[PeerId, int]] = {}
        """Bucket -> host -> its place, silent for longest first."""

    def __contains__(self, peer: PeerId) -> bool:
        return peer in self._buckets.get(self._bucket(place(peer)), ())

    def __iter__(self) -> Iterator[PeerId]:
        for bucket in self._buckets.values():
            yield from bucket

    def add(self, peer: PeerId, is_alive: Callable[[PeerId], bool]) -> bool:
        """A host was heard of at first hand. True: it is new here.

        Args:
            peer: Not the owner.
            is_alive: Pings the host of a full bucket that was silent for longest: an old one that
                answers stays, and the new one is turned away.
        """
        where = place(peer)
        bucket = self._buckets.setdefault(self._bucket(where), {})
        is_new = peer not in bucket
        if not is_new:
            del bucket[peer]
        elif len(bucket) >= BUCKET_HOSTS_MAX:
            oldest = next(iter(bucket))
            its_place = bucket.pop(oldest)
            if is_alive(oldest):
                bucket[oldest] = its_place
                return False
        bucket[peer] = where
        return is_new

    def drop(self, peer: PeerId) -> None:
        """A host does not answer; one that is not there is ignored."""
        self._buckets.get(self._bucket(place(peer)), {}).pop(peer, None)

    def nearest(self, target: int, count: int) -> list[PeerId]:
        """The hosts nearest to a place, nearest first.

        Looks at as few buckets as needed: those in the target's own bucket are nearer than all
        others, then those that share more bits with us, then the buckets above, one by one.
        """
        home = self._bucket(target)
        found = list(self._buckets.get(home, {}).items())
        if len(found) < count:
            for index, bucket in self._buckets.items():
                if index > home:
                    found += bucket.items()
        while len(found) < count and home > 0:
            home -= 1
            found += self._buckets.get(home, {}).items()
        return [peer for _, peer in sorted((where ^ target, peer) for peer, where in found)[:count]]

    def far_places(self) -> list[int]:
        """A place in each bucket that is farther away than our nearest host, farthest first."""
        last = max((index for index, hosts in self._buckets.items() if hosts), default=0)
        return [self._place ^ (1 << (PLACE_BITS - 1 - index)) for index in range(last)]

    def _bucket(self, target: int) -> int:
        return PLACE_BITS - (self._place ^ target).bit_length()
