"""The peers that this node knows: their newest records, their scores, and why one is missing.

Implements docs/protocol.md, "View" and "Scores". ``now`` is unix seconds everywhere.
"""

import math
from bisect import insort
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from node.membership.crowd import Crowd
from node.membership.missing import explain, missing
from node.membership.record import PeerRecord
from node.membership.worth import (
    LONG_KNOWN_SHARE,
    SHUN_BELOW,
    Peer,
    Rank,
    Usable,
    current_score,
    decayed_score,
    find_usable,
    find_worst,
    lower_score,
    luck,
    rank,
    shun,
)
from node.ranges import Ranges
from node.types import JobId, PeerId

EXPIRED_KEPT_S = 3600.0
"""How long an expired record is remembered, to tell "expired" from "never seen"."""
RETRY_S_MIN = 0.5
RETRY_S_MAX = 60.0
"""Wait after a failed call; doubles with every failure in a row."""


@dataclass(frozen=True)
class Verdict:
    """Result of a check, with its reason."""

    ok: bool
    reason: str


class View:
    """The peer table: at most ``peers_max`` peers, and those that are kept.

    Args:
        own: This node's id, which is never in the table.
        peers_max: Largest number of peers.
        bootstrap: The configured first contacts, which are never evicted.
        salt: Ours alone: nobody can tell which peers luck keeps here.
        ranges: How many peers of one address range may be in it.
    """

    def __init__(
        self,
        own: PeerId,
        peers_max: int,
        bootstrap: Sequence[PeerId] = (),
        salt: bytes = b"",
        ranges: Ranges | None = None,
    ) -> None:
        self._salt = salt
        self._crowd = Crowd(ranges or Ranges())
        self.own = own
        self.peers_max = peers_max
        self.bootstrap = tuple(sorted(set(bootstrap) - {own}))
        self.kept = frozenset(self.bootstrap)
        """Peers that are never evicted."""
        self._peers: dict[PeerId, Peer] = {}
        self._ids: list[PeerId] = []
        """The same peers, sorted."""
        self._usable: Usable | None = None
        """What ``usable`` found, while nothing changed it."""
        self._kept_held = 0
        """Kept peers that are in the table."""
        self._by_bytes: dict[bytes, Peer] = {}
        """Peers by the encoded form of their records."""
        self.bans: dict[PeerId, str] = {}
        """Peer -> why it is out for good; in the table it is shunned for ever."""
        self._settled: tuple[float, float, Rank | None] = (math.inf, -math.inf, None)
        """From when until when the worst of the full table has this rank or a higher one."""

    def __len__(self) -> int:
        return len(self._peers)

    def keep(self, peers: Sequence[PeerId]) -> None:
        """Never evict ``peers`` (the electors of our jobs) nor the bootstrap peers; replaces."""
        self.kept = frozenset([*self.bootstrap, *peers])
        self._unsettle()
        self._kept_held = sum(peer in self._peers for peer in self.kept)

    def learn(self, record: PeerRecord, now: float) -> Verdict:
        """Take a verified record, if it is newer than what is known.

        Returns:
            ok: ``new``, ``newer``. Not ok: ``own``, ``same``, ``older``, ``expired``, ``full``, or
                ``crowded``: its address range is full.
        """
        if record.peer == self.own:
            return Verdict(False, "own")
        if record.expires_unix_s <= now:
            return Verdict(False, "expired")
        known = self._peers.get(record.peer)
        before = known.record if known else None
        if before and record.sequence <= before.sequence:
            return Verdict(False, "same" if record.sequence == before.sequence else "older")
        at = (known.seen_at,) if known and known.seen_at else record.addresses
        if not self._settle_in(record.peer, at, now):
            return Verdict(False, "crowded")
        peer = self._hold(record.peer, now)
        if peer is None:
            self._crowd.drop(record.peer)
            return Verdict(False, "full")
        is_new = before is None or before.expires_unix_s <= now
        if before:
            self._by_bytes.pop(before.signed, None)
        peer.record, peer.learned = record, now
        self._by_bytes[record.signed] = peer
        self._usable = None
        if is_new:
            peer.failures, peer.retry_at = 0, 0.0
        if is_new and before:
            peer.met, peer.since = None, now  # It is back after a silence: greet it again.
        return Verdict(True, "new" if is_new else "newer")

    def expire(self, now: float) -> None:
        """Forget peers whose records expired long ago and that are not shunned or kept."""
        for peer_id, peer in list(self._peers.items()):
            last = peer.record.expires_unix_s if peer.record else (peer.met or peer.scored_at)
            if last + EXPIRED_KEPT_S > now or peer_id in self.kept:
                continue
            if peer.shunned_until <= now and decayed_score(peer, now) > -0.1:
                self._forget(peer_id)

    def called(self, peer_id: PeerId, ok: bool, now: float, seen_at: str = "") -> None:
        """Note that a call to ``peer_id`` was answered, or not; or that it called us.

        ``seen_at`` is where its stream comes from, which counts for more than what it says.
        """
        peer = self._hold(peer_id, now, met=now if ok else None)
        if peer is None:
            return
        if ok:
            if peer.met is None:
                peer.since = now
            peer.met, peer.failures, peer.retry_at = now, 0, 0.0
            if seen_at and seen_at != peer.seen_at:
                peer.seen_at = seen_at
                if not self._settle_in(peer_id, (seen_at,), now):
                    self._forget(peer_id)
        else:
            peer.failures += 1
            wait_s = RETRY_S_MIN * 2.0 ** min(peer.failures - 1, 16)
            peer.retry_at = now + min(wait_s, RETRY_S_MAX)
            self._unsettle()

    def blame(self, peer_id: PeerId, reason: str, now: float) -> None:
        """Lower the score of the peer that broke the protocol; shun it once that is too low.

        Args:
            peer_id: Who is proven to have sent it, never who is merely named in it.
            reason: ``PeerError.reason``.
            now: Unix seconds.
        """
        peer = self._hold(peer_id, now)
        if peer is None:
            return
        lower_score(peer, reason, now)
        self._unsettle()
        if peer.score <= SHUN_BELOW and peer_id not in self.bans:
            self._usable = None
            shun(peer, now)

    def ban(self, peer_id: PeerId, why: str) -> None:
        """Shun a peer for ever, whether it is in the table or comes later."""
        self.bans[peer_id] = why
        peer = self._peers.get(peer_id)
        if peer is not None:
            peer.shunned_until = math.inf
        self._usable = None
        self._unsettle()

    def score(self, peer_id: PeerId, now: float) -> float:
        """0 is neutral, below is worse; SHUN_BELOW while shunned."""
        peer = self._peers.get(peer_id)
        return current_score(peer, now) if peer else 0.0

    def is_shunned(self, peer_id: PeerId, now: float) -> bool:
        """Whether calls from and to the peer are refused for now."""
        peer = self._peers.get(peer_id)
        return peer_id in self.bans or (peer is not None and peer.shunned_until > now)

    def known(self) -> Sequence[tuple[PeerId, Peer]]:
        """All of the table, sorted by id: for status."""
        return [(peer_id, self._peers[peer_id]) for peer_id in self._ids]

    def get(self, peer_id: PeerId) -> Peer | None:
        """What is known of one peer."""
        return self._peers.get(peer_id)

    def usable(self, now: float) -> Sequence[PeerRecord]:
        """Records that live, of peers that are not shunned, sorted by id.

        The same list as before if nothing changed since; it never changes itself.
        """
        if self._usable is None or not self._usable.since <= now < self._usable.until:
            self._usable = find_usable([peer for _, peer in self.known()], now)
        return self._usable.records

    def heard(self, signed: bytes, now: float) -> PeerRecord | None:
        """The usable record that is encoded so; None: there is none."""
        peer = self._by_bytes.get(signed)
        if peer is None or peer.record is None or peer.shunned_until > now:
            return None
        return peer.record if peer.record.expires_unix_s > now else None

    def serving(self, job: JobId, now: float) -> Sequence[PeerId]:
        """Usable peers that say that they serve ``job``, sorted."""
        return [record.peer for record in self.usable(now) if job in record.jobs]

    def sample(self, rng: np.random.Generator, k: int, now: float) -> Sequence[PeerRecord]:
        """At most ``k`` usable records, drawn without repetition."""
        drawn: list[PeerRecord] = []
        for index in rng.permutation(len(self._ids)).tolist():
            if len(drawn) == k:
                break
            peer = self._peers[self._ids[index]]
            if peer.record and peer.record.expires_unix_s > now >= peer.shunned_until:
                drawn.append(peer.record)
        return drawn

    def met(self, now: float) -> Sequence[PeerId]:
        """Usable peers that answered us or called us, and did not fail since; sorted."""
        peers = [(record.peer, self._peers[record.peer]) for record in self.usable(now)]
        return [p for p, peer in peers if peer.met is not None and not peer.failures]

    def sought(self, now: float) -> Sequence[PeerId]:
        """Kept peers without a living record, sorted."""
        usable = {record.peer for record in self.usable(now)} if self.kept else set()
        return sorted(self.kept - usable - {self.own})

    def unmet(self, now: float) -> Sequence[PeerId]:
        """Usable or bootstrap peers that were never met and are due for a call, sorted."""
        peers = [(record.peer, self._peers[record.peer]) for record in self.usable(now)]
        peers += [(peer_id, self._peers.get(peer_id, Peer())) for peer_id in self.bootstrap]
        due = {
            peer_id
            for peer_id, peer in peers
            if peer.met is None and peer.retry_at <= now and peer.shunned_until <= now
        }
        return sorted(due)

    def explain(self, now: float, needed: Sequence[PeerId]) -> str:
        """One sentence: which of the ``needed`` peers are missing and why."""
        reasons = [
            (peer, missing(self._peers.get(peer), now, self.bans.get(peer, "")))
            for peer in needed
            if peer != self.own
        ]
        return explain([(peer, reason) for peer, reason in reasons if reason], len(needed))

    def _hold(self, peer_id: PeerId, now: float, met: float | None = None) -> Peer | None:
        """The entry of ``peer_id``, made if need be; None if it is the worst of a full table."""
        peer = self._peers.get(peer_id)
        if peer is not None or peer_id == self.own:
            return peer
        peer = Peer(None, now, now, luck(self._salt, peer_id), met, scored_at=now)
        if peer_id in self.bans:
            peer.shunned_until = math.inf
        is_kept = peer_id in self.kept
        is_full = len(self._peers) - self._kept_held >= self.peers_max
        if not is_kept and is_full and not self._make_room(peer, now):
            return None
        self._peers[peer_id] = peer
        insort(self._ids, peer_id)
        self._kept_held += is_kept
        return peer

    def _settle_in(self, peer_id: PeerId, addresses: Sequence[str], now: float) -> bool:
        """Find it a place among those of its address range. False: all are worth as much."""
        peer = self._peers.get(peer_id) or Peer(None, now, now, luck(self._salt, peer_id))
        gone = self._crowd.settle(peer_id, peer, addresses, self._peers, self.kept, now)
        for rival in gone or ():
            self._forget(rival)
        return gone is not None

    def _make_room(self, newcomer: Peer, now: float) -> bool:
        """Forget the worst peer of the full table. False: all are worth more than the newcomer."""
        mine = rank(newcomer, now)
        since, until, least = self._settled
        if least is not None and since <= now < until and mine <= least:
            return False
        others = {id_: peer for id_, peer in self._peers.items() if id_ not in self.kept}
        worst, id_ = find_worst(others, self.peers_max // LONG_KNOWN_SHARE, now)
        if worst < mine:
            self._forget(id_)
            return True
        expiries = [p.record.expires_unix_s for p in others.values() if p.record]
        self._settled = (now, min((e for e in expiries if e > now), default=math.inf), worst)
        return False

    def _unsettle(self) -> None:
        """A peer may be worth less than before, or another one may go."""
        self._settled = (math.inf, -math.inf, None)

    def _forget(self, peer_id: PeerId) -> None:
        self._crowd.drop(peer_id)
        self._kept_held -= peer_id in self.kept
        record = self._peers.pop(peer_id).record
        self._ids.remove(peer_id)
        self._unsettle()
        if record:
            self._by_bytes.pop(record.signed, None)
            self._usable = None
