"""What a known peer is worth to us: its score, and who goes first when the table is full.

Implements docs/protocol.md, "Scores". ``now`` is unix seconds everywhere.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from blake3 import blake3

from node.membership.record import PeerRecord
from node.types import PeerId

SCORE_HALF_LIFE_S = 600.0
"""Time in which half of a score is forgiven."""
LONG_KNOWN_SHARE = 4
"""One in so many of the table's places is for the met peers that are known for longest."""
BLAME: Mapping[str, float] = {
    "malformed": 2.0,
    "too_large": 4.0,
    "bad_signature": 5.0,
    "equivocation": 10.0,
    "false_work": 10.0,
    "false_finding": 5.0,
    "refused": 0.0,
    "expired": 0.0,
    "wrong_swarm": 0.0,
}
"""How much a protocol error of each reason lowers the score."""
BLAME_OTHER = 2.0
"""The same, for reasons without an entry."""
SHUN_BELOW = -10.0
"""A peer whose score falls to this is shunned."""
REASONS_MAX = 32
"""Reasons that are counted of one peer."""
SHUN_S = 300.0
"""How long a peer is shunned; its score then stands at half of SHUN_BELOW."""


@dataclass
class Peer:
    """What is known of one peer. Changed by the View only."""

    record: PeerRecord | None = None
    """Newest record, expired or not; None for a peer that only called or is only configured."""
    learned: float = 0.0
    """When ``record`` came; unix seconds."""
    since: float = 0.0
    """When it was first heard of, or first met: it is known to be there for so long."""
    luck: int = 0
    """Drawn by hash; of equals the higher stays."""
    met: float | None = None
    """When a call to or from it last succeeded."""
    failures: int = 0
    """Calls to it that failed in a row."""
    retry_at: float = 0.0
    shunned_until: float = 0.0
    score: float = 0.0
    scored_at: float = 0.0
    seen_at: str = ""
    """Multiaddr of the other end of its last stream; empty: not known."""
    errors: dict[str, int] = field(default_factory=dict)
    """Reason -> protocol errors."""


@dataclass(frozen=True)
class Usable:
    """The usable records, and for which times: until ``until``, excluded; unix seconds."""

    records: Sequence[PeerRecord]
    since: float
    until: float


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


def lower_score(peer: Peer, reason: str, now: float) -> None:
    """It broke the protocol."""
    if reason in peer.errors or len(peer.errors) < REASONS_MAX:
        peer.errors[reason] = peer.errors.get(reason, 0) + 1
    peer.score = decayed_score(peer, now) - BLAME.get(reason, BLAME_OTHER)
    peer.scored_at = now


def shun(peer: Peer, now: float) -> None:
    """It is out for a while, and then half forgiven."""
    peer.shunned_until = now + SHUN_S
    peer.score, peer.scored_at = SHUN_BELOW / 2, now + SHUN_S


def find_usable(peers: Sequence[Peer], now: float) -> Usable:
    """Records that live, of peers that are not shunned, in the same order."""
    records, until = [], math.inf
    for peer in peers:
        record = peer.record
        if record is None or record.expires_unix_s <= now:
            continue
        until = min(until, record.expires_unix_s)
        if peer.shunned_until > now:
            until = min(until, peer.shunned_until)
        else:
            records.append(record)
    return Usable(records, now, until)


Rank = tuple[bool, int, bool, bool, bool, int]


def rank(peer: Peer, now: float, is_long_known: bool = False) -> Rank:
    """Order of eviction, worst first.

    Those known for longest stay, so that no flood of newcomers flushes a table. All else being
    equal luck decides: what stays is a uniform sample of whoever was heard of, however often.

    Source: Maymounkov and Mazieres, "Kademlia", IPTPS 2002, section 2.2 (live contacts are never
    replaced); Bortnikov et al. 2009, "Brahms", section 3.2 (the least hash is a uniform sample).
    """
    lives = peer.record is None or peer.record.expires_unix_s > now
    # Whole points: what is all but forgiven evicts nobody.
    score = int(current_score(peer, now)) if peer.score or peer.shunned_until else 0
    return lives, score, peer.met is not None, is_long_known, not peer.failures, peer.luck


def luck(salt: bytes, peer_id: PeerId) -> int:
    """A number that nobody without ``salt`` can choose an id for."""
    return int.from_bytes(blake3(salt + peer_id.encode()).digest(length=8), "big")


def find_worst(peers: Mapping[PeerId, Peer], long_known: int, now: float) -> tuple[Rank, PeerId]:
    """Who goes first.

    Args:
        peers: at least one.
        long_known: how many of the met peers count as known for longest.
        now: unix seconds.
    """
    met = sorted(peer.since for peer in peers.values() if peer.met is not None)
    last = (met[:long_known] or [-math.inf])[-1]
    return min(
        (rank(peer, now, peer.met is not None and peer.since <= last), peer_id)
        for peer_id, peer in peers.items()
    )
