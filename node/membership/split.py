"""Whether the swarm's DHT fell apart: peers that answer us, but whose records the DHT lacks.

Implements docs/protocol.md, "Splits". Two DHTs that do not know of each other both look healthy
from inside; only peers met by direct exchange, or configured, show that there is another one.
"""

from collections.abc import Collection, Sequence

from node.membership.view import View
from node.types import PeerId

GRACE_S = 3.0
"""A peer may be known for this long before its record must be in the DHT."""


def choose_absent(
    view: View, listed: Collection[PeerId], neighbours: Collection[PeerId], now: float
) -> Sequence[PeerId]:
    """Peers that answer us, but that the DHT neither lists nor routes to; sorted.

    Args:
        view: The peer table.
        listed: Authors of the valid records that the DHT returned last.
        neighbours: Peers in the DHT's routing table.
        now: Unix seconds.
    """
    absent = []
    for record in view.usable(now):
        peer = view.get(record.peer)
        answers = peer is not None and peer.met is not None and peer.failures == 0
        if not answers or record.peer in listed or record.peer in neighbours:
            continue
        if peer is not None and peer.first_learned + GRACE_S <= now:
            absent.append(record.peer)
    return absent


class SplitWatch:
    """Remembers whether there is a split, to tell when it began and when it was healed."""

    def __init__(self) -> None:
        self.absent: Sequence[PeerId] = ()
        """Peers beyond the split; empty: none."""
        self.noticed = 0
        """Splits noticed so far."""
        self.healed = 0
        self._changed = 0.0

    def observe(self, absent: Sequence[PeerId], now: float) -> bool:
        """Take the newest finding; True if a split begins or ends with it."""
        before, self.absent = bool(self.absent), tuple(absent)
        if before == bool(absent):
            return False
        self.noticed += not before
        self.healed += before
        self._changed = now
        return True

    def sentence(self, now: float) -> str:
        """State in words, empty if there never was a split."""
        if not self.noticed:
            return ""
        age_s = max(0.0, now - self._changed)
        if self.absent:
            count = len(self.absent)
            return f"split noticed {age_s:.0f} s ago: the DHT lacks {count} met peers; rejoining"
        return f"a split was healed {age_s:.0f} s ago"
