"""The peers that this node knows: their newest records, their scores, and why one is missing.

Implements docs/protocol.md, "View" and "Scores". ``now`` is unix seconds everywhere.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from node.membership.record import PeerRecord
from node.membership.worth import (
    SHUN_BELOW,
    SHUN_S,
    EvictionOrder,
    Peer,
    current_score,
    decayed_score,
)
from node.types import JobId, PeerId

EXPIRED_KEPT_S = 3600.0
"""How long an expired record is remembered, to tell "expired" from "never seen"."""
RETRY_S_MIN = 0.5
RETRY_S_MAX = 60.0
"""Wait after a failed call; doubles with every failure in a row."""

BLAME: Mapping[str, float] = {
    "malformed": 2.0,
    "too_large": 4.0,
    "bad_signature": 5.0,
    "equivocation": 10.0,
    "refused": 0.0,
    "expired": 0.0,
    "wrong_swarm": 0.0,
}
"""How much a protocol error of each reason lowers the score."""
BLAME_OTHER = 2.0
"""The same, for reasons without an entry."""
_PEERS_EXPLAINED = 4
_REASONS_MAX = 32


@dataclass(frozen=True)
class Verdict:
    """Result of a check, with its reason."""

    ok: bool
    reason: str


@dataclass(frozen=True)
class Usable:
    """The usable records, and for which times."""

    records: Sequence[PeerRecord]
    by_bytes: Mapping[bytes, PeerRecord]
    since: float
    until: float
    """Until then, excluded, by itself; unix seconds."""


class View:
    """The peer table: at most ``peers_max`` peers, and those that are kept.

    Args:
        own: This node's id, which is never in the table.
        peers_max: Largest number of peers.
        bootstrap: The configured first contacts, which are never evicted.
    """

    def __init__(self, own: PeerId, peers_max: int, bootstrap: Sequence[PeerId] = ()) -> None:
        self.own = own
        self.peers_max = peers_max
        self.bootstrap = tuple(sorted(set(bootstrap) - {own}))
        self._kept = frozenset(self.bootstrap)
        self._peers: dict[PeerId, Peer] = {}
        self._usable: Usable | None = None
        """What ``usable`` found, while nothing changed it."""
        self._kept_held = 0
        """Kept peers that are in the table."""
        self._order = EvictionOrder()

    def __len__(self) -> int:
        return len(self._peers)

    def keep(self, peers: Sequence[PeerId]) -> None:
        """Never evict ``peers`` (the electors of our jobs) nor the bootstrap peers; replaces."""
        self._kept = frozenset([*self.bootstrap, *peers])
        self._order.reset()
        self._kept_held = sum(peer in self._peers for peer in self._kept)

    def learn(self, record: PeerRecord, now: float) -> Verdict:
        """Take a verified record, if it is newer than what is known.

        Returns:
            ok: ``new``, ``newer``. Not ok: ``own``, ``same``, ``older``, ``expired``, ``full``.
        """
        if record.peer == self.own:
            return Verdict(False, "own")
        if record.expires_unix_s <= now:
            return Verdict(False, "expired")
        known = self._peers.get(record.peer)
        before = known.record if known else None
        if before and record.sequence <= before.sequence:
            return Verdict(False, "same" if record.sequence == before.sequence else "older")
        peer = self._hold(record.peer, now)
        if peer is None:
            return Verdict(False, "full")
        is_new = before is None or before.expires_unix_s <= now
        peer.record, peer.learned = record, now
        self._usable = None
        if is_new:
            peer.failures, peer.retry_at = 0, 0.0
        if is_new and before:
            peer.met = None  # It is back after a silence: greet it again.
        return Verdict(True, "new" if is_new else "newer")

    def expire(self, now: float) -> None:
        """Forget peers whose records expired long ago and that are not shunned or kept."""
        for peer_id, peer in list(self._peers.items()):
            last = peer.record.expires_unix_s if peer.record else (peer.met or peer.scored_at)
            if last + EXPIRED_KEPT_S > now or peer_id in self._kept:
                continue
            if peer.shunned_until <= now and decayed_score(peer, now) > -0.1:
                self._forget(peer_id)

    def called(self, peer_id: PeerId, ok: bool, now: float) -> None:
        """Note that a call to ``peer_id`` was answered, or not; or that it called us."""
        peer = self._hold(peer_id, now)
        if peer is None:
            return
        if ok:
            peer.met, peer.failures, peer.retry_at = now, 0, 0.0
        else:
            peer.failures += 1
            wait_s = RETRY_S_MIN * 2.0 ** min(peer.failures - 1, 16)
            peer.retry_at = now + min(wait_s, RETRY_S_MAX)

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
        if reason in peer.errors or len(peer.errors) < _REASONS_MAX:
            peer.errors[reason] = peer.errors.get(reason, 0) + 1
        peer.score = decayed_score(peer, now) - BLAME.get(reason, BLAME_OTHER)
        peer.scored_at = now
        self._order.reset()  # it is worth less than before
        if peer.score <= SHUN_BELOW:
            peer.shunned_until = now + SHUN_S
            self._usable = None
            peer.score, peer.scored_at = SHUN_BELOW / 2, now + SHUN_S

    def score(self, peer_id: PeerId, now: float) -> float:
        """0 is neutral, below is worse; SHUN_BELOW while shunned."""
        peer = self._peers.get(peer_id)
        return current_score(peer, now) if peer else 0.0

    def is_shunned(self, peer_id: PeerId, now: float) -> bool:
        """Whether calls from and to the peer are refused for now."""
        peer = self._peers.get(peer_id)
        return peer is not None and peer.shunned_until > now

    def known(self) -> Sequence[tuple[PeerId, Peer]]:
        """All of the table, sorted by id: for status."""
        return sorted(self._peers.items())

    def get(self, peer_id: PeerId) -> Peer | None:
        """What is known of one peer."""
        return self._peers.get(peer_id)

    def usable(self, now: float) -> Sequence[PeerRecord]:
        """Records that live, of peers that are not shunned, sorted by id.

        The same list as before if nothing changed since; it never changes itself.
        """
        return self._usable_at(now).records

    def usable_by_bytes(self, now: float) -> Mapping[bytes, PeerRecord]:
        """The same by their encoded form."""
        return self._usable_at(now).by_bytes

    def _usable_at(self, now: float) -> Usable:
        known = self._usable
        if known is None or not known.since <= now < known.until:
            living = [
                (peer.record, peer.shunned_until)
                for _, peer in self.known()
                if peer.record and peer.record.expires_unix_s > now
            ]
            until = [r.expires_unix_s for r, _ in living] + [s for _, s in living if s > now]
            records = [record for record, shunned_until in living if shunned_until <= now]
            by_bytes = {record.signed: record for record in records}
            known = Usable(records, by_bytes, now, min(until, default=math.inf))
            self._usable = known
        return known

    def serving(self, job: JobId, now: float) -> Sequence[PeerId]:
        """Usable peers that say that they serve ``job``, sorted."""
        return [record.peer for record in self.usable(now) if job in record.jobs]

    def sample(self, rng: np.random.Generator, k: int, now: float) -> Sequence[PeerRecord]:
        """At most ``k`` usable records, drawn without repetition."""
        usable = self.usable(now)
        drawn = rng.permutation(len(usable))[:k]
        return [usable[int(index)] for index in drawn]

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
        reasons = [(peer, self._missing(peer, now)) for peer in needed if peer != self.own]
        missing = [f"{short(peer)} {reason}" for peer, reason in reasons if reason]
        if not missing:
            return f"all {len(needed)} electors are here"
        more = len(missing) - _PEERS_EXPLAINED
        tail = f", and {more} more" if more > 0 else ""
        shown = ", ".join(missing[:_PEERS_EXPLAINED])
        return f"{len(missing)} of {len(needed)} electors are missing: {shown}{tail}"

    def _missing(self, peer_id: PeerId, now: float) -> str:
        peer = self._peers.get(peer_id)
        if peer and peer.shunned_until > now:
            errors = ", ".join(f"{count} {reason}" for reason, count in sorted(peer.errors.items()))
            return f"is shunned for {peer.shunned_until - now:.0f} s more ({errors})"
        if peer is None or peer.record is None:
            if peer and peer.failures:
                return f"was never seen and did not answer {_calls(peer.failures)}"
            return "was never seen"
        if peer.record.expires_unix_s <= now:
            return f"fell silent: its record expired {now - peer.record.expires_unix_s:.0f} s ago"
        if peer.failures:
            return f"is known but did not answer {_calls(peer.failures)} in a row"
        return ""

    def _hold(self, peer_id: PeerId, now: float) -> Peer | None:
        """The entry of ``peer_id``, made if need be; None if it is the worst of a full table."""
        if peer_id == self.own:
            return None
        if peer_id not in self._peers:
            self._peers[peer_id] = Peer(scored_at=now, learned=now)
            self._kept_held += peer_id in self._kept
        if len(self._peers) > self.peers_max:
            if len(self._peers) - self._kept_held > self.peers_max:
                self._forget(self._order.worst(self._peers, self._kept, peer_id, now))
        else:
            self._order.reset()
        return self._peers.get(peer_id)

    def _forget(self, peer_id: PeerId) -> None:
        self._kept_held -= peer_id in self._kept
        if self._peers.pop(peer_id).record:
            self._usable = None


def _calls(count: int) -> str:
    return "one call" if count == 1 else f"{count} calls"


def short(peer_id: PeerId) -> str:
    """The end of a peer id, which differs between peers, for sentences."""
    return f"...{peer_id[-8:]}"
