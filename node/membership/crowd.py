"""Places in the peer table by address range: a few of one range, the best of those that ask.

A range that is full takes a newcomer only for somebody in it who is worth less, as the table does,
so that nobody is shut out by addresses that others merely claim.
"""

from collections.abc import Collection, Mapping, Sequence

from node.membership.worth import LONG_KNOWN_SHARE, Peer, find_worst, rank
from node.ranges import Range, Ranges
from node.types import PeerId


class Crowd:
    """Who counts in which range.

    Args:
        ranges: how many may.
    """

    def __init__(self, ranges: Ranges) -> None:
        self._ranges = ranges
        self._of: dict[PeerId, tuple[Range, ...]] = {}
        self._in: dict[Range, set[PeerId]] = {}

    def drop(self, peer_id: PeerId) -> None:
        """It is not in the table any more."""
        for range_ in self._of.pop(peer_id, ()):
            self._in[range_].discard(peer_id)
            if not self._in[range_]:
                del self._in[range_]

    def settle(
        self,
        peer_id: PeerId,
        peer: Peer,
        addresses: Sequence[str],
        table: Mapping[PeerId, Peer],
        kept: Collection[PeerId],
        now: float,
    ) -> list[PeerId] | None:
        """Count a peer in the ranges of its addresses.

        Args:
            peer_id: who.
            peer: what is known of it.
            addresses: where it was seen, or says that it is.
            table: all peers.
            kept: those that are in it whatever their range; they take no room from others.
            now: unix seconds.

        Returns:
            Who has to go for it; None: it has to, since everybody else is worth as much.
        """
        wanted = self._ranges.of(addresses)
        if self._of.get(peer_id, ()) == wanted:
            return []
        gone: list[PeerId] = []
        for range_ in wanted if peer_id not in kept else ():
            held = sorted(self._in.get(range_, set()) - {peer_id, *gone} - {*kept})
            most = self._ranges.most(range_)
            if len(held) < most:
                continue
            worst, rival = find_worst({p: table[p] for p in held}, most // LONG_KNOWN_SHARE, now)
            if worst >= rank(peer, now):
                return None
            gone.append(rival)
        self.drop(peer_id)
        if wanted:
            self._of[peer_id] = wanted
        for range_ in wanted:
            self._in.setdefault(range_, set()).add(peer_id)
        return gone
