"""Whether the swarm's DHT fell apart: peers that answer us, but whose records the DHT lacks.

Implements docs/protocol.md, "Splits". Two DHTs that do not know of each other both look healthy
from inside; only peers met by direct exchange, or configured, show that there is another one.
"""

from collections.abc import Collection, Mapping, Sequence

from node.membership.view import View
from node.types import PeerId

GRACE_S = 10.0
"""A record may be known for this long before the DHT must show it: lookups may be cached."""


def choose_joined(
    view: View, listed: Mapping[PeerId, int], neighbours: Collection[PeerId]
) -> frozenset[PeerId]:
    """Peers that share our DHT: it routes to them, or shows what they announced last.

    Args:
        view: The peer table.
        listed: Authors of the valid records that the DHT returned last, with their sequences. A
            record from before a split outlives it here, so that an old one proves nothing.
        neighbours: Peers in the DHT's routing table.
    """
    newest = {peer: state.record.sequence for peer, state in view.known() if state.record}
    current = [peer for peer, sequence in listed.items() if sequence >= newest.get(peer, 0)]
    return frozenset([*current, *neighbours])


def choose_absent(view: View, joined: Collection[PeerId], now: float) -> Sequence[PeerId]:
    """Peers that answer us although they are not joined with our DHT; sorted.

    Args:
        view: The peer table.
        joined: See ``choose_joined``.
        now: Unix seconds.
    """
    absent = []
    for record in view.usable(now):
        peer = view.get(record.peer)
        assert peer is not None, "usable peers are in the view"
        answers = peer.met is not None and peer.failures == 0
        if answers and record.peer not in joined and peer.learned + GRACE_S <= now:
            absent.append(record.peer)
    return absent


class SplitWatch:
    """Remembers whether there is a split, to tell when it began and how it ended."""

    def __init__(self) -> None:
        self.absent: Sequence[PeerId] = ()
        """Peers beyond the split, answering or not; empty: no split."""
        self.noticed = 0
        """Splits noticed so far."""
        self.healed = 0
        """Splits that ended with a peer from beyond in our DHT, not with all of them silent."""
        self._how = ""
        self._since = 0.0

    def observe(
        self,
        absent: Collection[PeerId],
        joined: Collection[PeerId],
        alive: Collection[PeerId],
        now: float,
    ) -> bool:
        """Take the newest finding.

        Args:
            absent: Peers that answer us but that the DHT lacks, see ``choose_absent``.
            joined: See ``choose_joined``.
            alive: Peers whose records have not expired; the others are beyond nothing.
            now: Unix seconds.

        Returns:
            True if a split begins or ends with it.
        """
        before = self.absent
        self.absent = sorted(
            peer for peer in {*before, *absent} if peer in alive and peer not in joined
        )
        if bool(before) == bool(self.absent):
            return False
        self._since = now
        if self.absent:
            self.noticed += 1
        elif any(peer in joined for peer in before):
            self.healed += 1
            self._how = "a split was healed"
        else:
            self._how = "the peers beyond a split fell silent"
        return True

    def sentence(self, now: float) -> str:
        """State in words, empty if there never was a split."""
        if not self.noticed:
            return ""
        age_s = max(0.0, now - self._since)
        if self.absent:
            count = len(self.absent)
            return f"split noticed {age_s:.0f} s ago: the DHT lacks {count} met peers; rejoining"
        return f"{self._how} {age_s:.0f} s ago"
