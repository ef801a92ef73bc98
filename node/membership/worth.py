"""What a known peer is worth to us: its score, and who goes first when the table is full.

Implements docs/protocol.md, "Scores". ``now`` is unix seconds everywhere.
"""

import heapq
import math
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field

from node.membership.record import PeerRecord
from node.types import PeerId

SCORE_HALF_LIFE_S = 600.0
"""Time in which half of a score is forgiven."""
SHUN_BELOW = -10.0
"""A peer whose score falls to this is shunned."""
SHUN_S = 300.0
"""How long a peer is shunned; its score then stands at half of SHUN_BELOW."""


@dataclass
class Peer:
    """What is known of one peer. Changed by the View only."""

    record: PeerRecord | None = None
    """Newest record, expired or not; None for a peer that only called or is only configured."""
    learned: float = 0.0
    """When ``record`` came; unix seconds."""
    met: float | None = None
    """When a call to or from it last succeeded."""
    failures: int = 0
    """Calls to it that failed in a row."""
    retry_at: float = 0.0
    shunned_until: float = 0.0
    score: float = 0.0
    scored_at: float = 0.0
    errors: dict[str, int] = field(default_factory=dict)
    """Reason -> protocol errors."""


def decayed_score(peer: Peer, now: float) -> float:
    """Its score after what time has forgiven."""
    if not peer.score:
        return 0.0
    # A clock that was set back forgives nothing, and adds nothing.
    age_s = max(0.0, now - peer.scored_at)
    return peer.score * math.exp2(-age_s / SCORE_HALF_LIFE_S)


def current_score(peer: Peer, now: float) -> float:
    """The same; SHUN_BELOW while it is shunned."""
    return SHUN_BELOW if peer.shunned_until > now else decayed_score(peer, now)


Rank = tuple[bool, float, bool, float, bool]


def _rank(peer: Peer, now: float, is_newcomer: bool) -> Rank:
    """Order of eviction, worst first. Peers that answered us outlive any flood of hearsay."""
    lives = peer.record is None or peer.record.expires_unix_s > now
    score = current_score(peer, now)
    return (lives, score, peer.met is not None, peer.learned, not is_newcomer)


class EvictionOrder:
    """Finds the worst of a full table again and again at one instant, without ranking all anew.

    A flood of hearsay comes in batches: each record of it may evict one peer.
    """

    def __init__(self) -> None:
        self._heap: list[tuple[Rank, PeerId]] = []
        """Ranks at ``_at``, or from before a call or a record raised them."""
        self._at = math.nan

    def reset(self) -> None:
        """A rank may have fallen, or other peers may go."""
        self._at = math.nan

    def worst(
        self, peers: Mapping[PeerId, Peer], kept: Collection[PeerId], newcomer: PeerId, now: float
    ) -> PeerId:
        """Who goes: the lowest rank of those not ``kept``; of equals the newcomer, then by id.

        Args:
            peers: the whole table.
            kept: who never goes.
            newcomer: who came last, and made the table too large.
            now: unix seconds.
        """
        if self._at != now:  # records expire, and scores are forgiven in the meantime
            self._heap = [(_rank(peers[p], now, p == newcomer), p) for p in peers if p not in kept]
            heapq.heapify(self._heap)
            self._at = now
        else:
            heapq.heappush(self._heap, (_rank(peers[newcomer], now, True), newcomer))
        while True:
            rank, worst = heapq.heappop(self._heap)
            if worst in peers and worst not in kept:
                at_now = _rank(peers[worst], now, worst == newcomer)
                if at_now == rank:
                    return worst
                heapq.heappush(self._heap, (at_now, worst))
