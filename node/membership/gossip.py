"""Direct exchange of views: what peers tell one another by ``peers/1``, and what of it is taken.

Implements docs/protocol.md, "Exchange of views". A peer checks records before it passes them on, so
an invalid one is the fault of who sent it. The DHT has no such sender: there nobody is blamed.
"""

import asyncio
from collections.abc import Callable, Mapping, Sequence

import numpy as np

from node.errors import BadSignature, Malformed, PeerError, Refused, TooLarge, Unavailable
from node.identity import Verifier
from node.membership.record import (
    EXCHANGE_BYTES_MAX,
    EXCHANGE_RECORDS_MAX,
    PeerRecord,
    decode_exchange,
    decode_record,
    encode_exchange,
)
from node.membership.view import View
from node.ports import Transport, WallClock
from node.types import PeerId

METHOD = "peers/1"
MET_AT_ONCE_MAX = 4
"""New peers that are called in one turn."""
MET_WANTED = 64
"""Peers to know at first hand, as many as there are electors; with so many, new ones can wait."""
TOLD_IN_REQUEST = 7
"""Records of others in a request; the reply holds as many as an exchange may."""
KNOWN_AT_ONCE = 2
"""Met peers that are called in one slow turn."""
CHECKED_PER_SLICE = 16
"""Signatures checked before other tasks run: about 2 ms."""


class Gossip:
    """Takes records into the view and exchanges them with peers.

    Args:
        swarm: Name of the swarm; records of others are left aside.
        view: The peer table that is filled.
        transport: Calls to peers; told where they are.
        clock: Wall clock.
        rng: Chooses partners.
        verifier: Checks signatures of records.
        call_timeout_s: Longest wait for a reply.
        on_learned: Called after each batch of records.
    """

    def __init__(
        self,
        swarm: str,
        view: View,
        transport: Transport,
        clock: WallClock,
        rng: np.random.Generator,
        verifier: Verifier,
        call_timeout_s: float,
        on_learned: Callable[[], None],
    ) -> None:
        self._swarm = swarm
        self._view = view
        self._transport = transport
        self._clock = clock
        self._rng = rng
        self._verifier = verifier
        self._call_timeout_s = call_timeout_s
        self._on_learned = on_learned
        self.own: PeerRecord | None = None
        """Our newest record; set before ``serve``."""
        self.own_seen = 0
        """Highest sequence seen in a record that our key signed."""

    def serve(self) -> None:
        """Answer peers that exchange views."""
        self._transport.serve(METHOD, self._on_call, request_bytes_max=EXCHANGE_BYTES_MAX)

    async def turn(self, quick: bool) -> None:
        """Exchange with a few new peers and, unless ``quick``, with a few old ones."""
        now = self._clock.unix_s()
        met = len(self._view.met(now))
        partners = self._strangers(met, now)
        if not quick:
            drawn = [record.peer for record in self._view.sample(self._rng, KNOWN_AT_ONCE, now)]
            # If there is a split, bootstrap peers are where its sides may still meet. In a large
            # swarm a few of us do for all.
            due = [peer for peer in self._view.bootstrap if not self._view.is_shunned(peer, now)]
            if due and (met <= MET_WANTED or self._rng.random() < MET_WANTED / met):
                drawn.append(due[self._rng.integers(len(due))])
            partners = list(dict.fromkeys([*partners, *drawn]))
        await self.exchange_with(partners)

    def _strangers(self, met: int, now: float) -> list[PeerId]:
        """Peers to call for the first time: those that we need, then some drawn at random."""
        unmet = self._view.unmet(now)
        drawn = [unmet[int(i)] for i in self._rng.permutation(len(unmet))]
        drawn.sort(key=lambda peer: peer not in self._view.kept)
        needed = sum(peer in self._view.kept for peer in drawn)
        return drawn[: MET_AT_ONCE_MAX if met < MET_WANTED else min(needed, MET_AT_ONCE_MAX) or 1]

    async def exchange_with(self, peers: Sequence[PeerId]) -> None:
        """Exchange with ``peers`` at once; whoever does not answer is noted as such."""
        async with asyncio.TaskGroup() as group:
            for peer in peers:
                group.create_task(self._exchange_with(peer))

    async def learn(self, values: Sequence[bytes], *, strict: bool) -> Mapping[PeerId, int]:
        """Check encoded SignedRecords (peer input) and take the newer ones into the view.

        Returns:
            The authors of the valid ones, each with the highest sequence among them.

        Raises:
            Malformed, TooLarge, BadSignature: one is invalid, and ``strict``; else it is left out.
        """
        now = self._clock.unix_s()
        authors: dict[PeerId, int] = {}
        checked = 0
        for signed in values:
            if heard := self._view.heard(signed, now):
                authors[heard.peer] = heard.sequence
                continue
            checked += 1
            if checked % CHECKED_PER_SLICE == 0:
                await asyncio.sleep(0)
            try:
                record = decode_record(signed, swarm=self._swarm, now=now, verifier=self._verifier)
            except (Malformed, TooLarge, BadSignature):
                if strict:
                    raise
                continue
            except PeerError:
                continue  # Expired or of another swarm: no fault, clocks and names differ.
            authors[record.peer] = max(record.sequence, authors.get(record.peer, 0))
            if record.peer == self._view.own:
                self.own_seen = max(self.own_seen, record.sequence)
            elif self._view.learn(record, now).ok:
                self._transport.learn(record.peer, record.addresses)
        self._on_learned()
        return authors

    async def _learn_from(self, sender: PeerId, message: bytes) -> None:
        try:
            await self.learn(decode_exchange(message), strict=True)
        except PeerError as error:
            self._view.blame(sender, error.reason, self._clock.unix_s())
            raise

    async def _exchange_with(self, peer: PeerId) -> None:
        try:
            reply = await self._transport.call(
                peer,
                METHOD,
                self._message(TOLD_IN_REQUEST),
                timeout_s=self._call_timeout_s,
                reply_bytes_max=EXCHANGE_BYTES_MAX,
            )
        except (Unavailable, PeerError) as error:
            self._view.called(peer, False, self._clock.unix_s())
            if isinstance(error, PeerError):
                self._view.blame(peer, error.reason, self._clock.unix_s())
            return
        self._view.called(peer, True, self._clock.unix_s(), self._transport.seen_at(peer))
        try:
            await self._learn_from(peer, reply)
        except PeerError:
            return  # Blamed; nobody waits for an answer.

    async def _on_call(self, caller: PeerId, request: bytes) -> bytes:
        if self._view.is_shunned(caller, self._clock.unix_s()):
            raise Refused("shunned", caller)
        self._view.called(caller, True, self._clock.unix_s(), self._transport.seen_at(caller))
        await self._learn_from(caller, request)
        return self._message(EXCHANGE_RECORDS_MAX - 1)

    def _message(self, told: int) -> bytes:
        assert self.own is not None, "our record is made before anybody is served"
        others = self._view.sample(self._rng, told, self._clock.unix_s())
        return encode_exchange([self.own.signed, *(record.signed for record in others)])
