"""Keeps the view of the swarm: announces us, reads the DHT, exchanges views, heals splits.

Implements docs/protocol.md, "Membership". Four loops, each quick at first and then slow:
announce (our record into the DHT), refresh (the DHT's records), exchange (views with peers, by
``peers/1``), and join (routing tables with bootstrap peers and with peers beyond a split). What a
turn costs does not grow with the swarm.
"""

import asyncio
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence

import numpy as np

from node.config import split_peer_address
from node.errors import Unavailable
from node.identity import Signer, Verifier, verify
from node.membership.board import ManifestBoard, ManifestId
from node.membership.config import MembershipConfig
from node.membership.gossip import Gossip
from node.membership.listing import Listing
from node.membership.record import PeerRecord, make_record
from node.membership.split import SplitWatch
from node.membership.view import View
from node.ports import Discovery, Store, Transport, WallClock
from node.types import JobId, PeerId

SEQUENCE_KEY = "membership/sequence"
JOINED_AT_ONCE_MAX = 4
"""Peers that the DHT is joined with in one turn."""


class MembershipService:
    """The node's membership. ``run`` works until it is cancelled.

    Args:
        config: What to do.
        signer: Our identity.
        transport: Calls to peers.
        discovery: The DHT.
        store: Keeps our record's sequence.
        clock: Wall clock, for records.
        rng: Chooses partners and spreads pauses.
        manifest_id: Checks job manifests.
        on_change: Called when the set of usable peers, their jobs or addresses changed.
        verifier: Checks signatures of records.
    """

    def __init__(
        self,
        config: MembershipConfig,
        *,
        signer: Signer,
        transport: Transport,
        discovery: Discovery,
        store: Store,
        clock: WallClock,
        rng: np.random.Generator,
        manifest_id: ManifestId,
        on_change: Callable[[], None] | None = None,
        verifier: Verifier = verify,
    ) -> None:
        self._config = config
        self._signer = signer
        self._transport = transport
        self._discovery = discovery
        self._store = store
        self._clock = clock
        self._rng = rng
        self._on_change = on_change
        self._bootstrap: dict[PeerId, list[str]] = {}
        for text in config.join:
            peer, address = split_peer_address(text)
            if peer != signer.peer_id:
                self._bootstrap.setdefault(peer, []).append(address)
        self.view = View(
            signer.peer_id, config.peers_max, list(self._bootstrap), rng.bytes(16), config.ranges
        )
        self.split = SplitWatch()
        self.board = ManifestBoard(
            config.swarm, self.view, transport, discovery, clock, manifest_id, config.call_timeout_s
        )
        self._gossip = Gossip(
            config.swarm,
            self.view,
            transport,
            clock,
            rng,
            verifier,
            config.call_timeout_s,
            self._on_learned,
        )
        self._listing = Listing(
            config.swarm, self.view, discovery, self._gossip, self.split, clock, rng
        )
        self._sequence = 0
        self._cloned = False
        self._unannounced = ""
        self._once_joined: set[PeerId] = set()
        self._announce_now = asyncio.Event()
        self._usable: Sequence[PeerRecord] = ()
        self._shown: object = ()

    async def run(self) -> None:
        """Work until cancelled."""
        stored = await self._store.get(SEQUENCE_KEY)
        self._sequence = int.from_bytes(stored or b"", "big")
        for peer, addresses in sorted(self._bootstrap.items()):
            self._transport.learn(peer, addresses)
        await self._renew_own()
        self._gossip.serve()
        self.board.serve()
        async with asyncio.TaskGroup() as group:
            group.create_task(self._run_announce(), name="membership-announce")
            group.create_task(self._run_turns(self._refresh), name="membership-refresh")
            group.create_task(self._run_turns(self._gossip.turn), name="membership-exchange")
            group.create_task(self._run_turns(self._join), name="membership-join")

    def status_sentence(self) -> str:
        """One sentence: alone or how many peers, split noticed or healed, a copied key."""
        now = self._clock.unix_s()
        records = self.view.usable(now)
        if records:
            peers = [peer for r in records if (peer := self.view.get(r.peer))]
            met = sum(peer.met is not None for peer in peers)
            silent = sum(peer.failures > 0 for peer in peers)
            parts = [f"{len(records)} peers known, {met} of them met, {silent} do not answer now"]
        elif self._bootstrap:
            parts = [f"alone: none of {len(self._bootstrap)} bootstrap peers answers"]
        else:
            parts = ["alone: no bootstrap peer is configured and nobody joined us"]
        parts += [text for text in (self.split.sentence(now), self._unannounced) if text]
        if self._cloned:
            parts.append("another node runs with this key, or the clock was set back")
        return "; ".join(parts)

    async def publish_manifest(self, encoded: bytes) -> JobId:
        """Serve an encoded SignedManifest, and say so in the DHT and in our record.

        Raises:
            ConfigError: too many jobs.
            PeerError: the manifest does not check.
        """
        job = self.board.add(encoded)
        self._announce_now.set()
        return job

    async def tell(self, job: JobId, peers: Sequence[PeerId]) -> None:
        """Let those of ``peers`` that serve any job, and not yet this one, hear of it now."""
        now = self._clock.unix_s()
        known = [self.view.get(peer) for peer in peers if not self.view.is_shunned(peer, now)]
        records = [peer.record for peer in known if peer and peer.record]
        waiting = [r.peer for r in records if r.serves_any and job not in r.jobs]
        if waiting:
            await self._renew_own()
            await self._gossip.exchange_with(waiting)

    def withdraw_manifest(self, job: JobId) -> None:
        """Stop serving a job."""
        self.board.remove(job)
        self._announce_now.set()

    async def find_manifest(self, job: JobId) -> bytes | None:
        """The checked, encoded SignedManifest of ``job``, or None if nobody gives one now."""
        return await self.board.find(job)

    async def list_manifests(self) -> Mapping[JobId, bytes]:
        """All checked, encoded SignedManifests that the swarm offers now."""
        return await self.board.list_all()

    # Announce.

    async def _run_announce(self) -> None:
        pauses = self._pauses()
        while True:
            self._announce_now.clear()
            own = await self._renew_own()
            stored = await self._listing.put(own)
            try:
                await self.board.put_all()
            except Unavailable:
                stored = False
            # Not stored by anybody: alone, or too early. Try again soon, not at a third of the ttl.
            pause_s = next(pauses)
            if await _is_set_within(
                self._announce_now, self._config.ttl_s / 3 if stored else pause_s
            ):
                await asyncio.sleep(self._config.quick_s)  # Several causes, one announcement.

    async def _renew_own(self) -> PeerRecord:
        sequence = await self._next_sequence()
        self._sequence = max(self._sequence, sequence)
        own = make_record(
            self._signer,
            sequence=sequence,
            now=self._clock.unix_s(),
            ttl_s=self._config.ttl_s,
            addresses=self._config.announce or self._transport.addresses,
            swarm=self._config.swarm,
            jobs=self.board.served,
            version=self._config.version,
            incarnation=self._config.incarnation,
            serves_any=self._config.serves_any,
        )
        self._gossip.own = own
        return own

    async def _next_sequence(self) -> int:
        """A new one, durable first: after a crash no record may reuse one that others saw."""
        while True:
            sequence = max(self._sequence + 1, int(self._clock.unix_s() * 1000))
            try:
                await self._store.put({SEQUENCE_KEY: sequence.to_bytes(8, "big")})
            except Unavailable as error:
                self._unannounced = f"not announced: {error}"
                await asyncio.sleep(self._config.period_s)
            else:
                self._unannounced = ""
                return sequence

    # Refresh.

    async def _refresh(self, quick: bool) -> None:
        if await self._listing.read():
            self._announce_now.set()
        self._on_learned()

    def _on_learned(self) -> None:
        if self._gossip.own_seen > self._sequence:
            # Ours by key, not made by us. Ours must be higher to be heard, and the operator told.
            self._cloned = True
            self._sequence = self._gossip.own_seen
            self._announce_now.set()
        if self._on_change is None:
            return
        usable = self.view.usable(self._clock.unix_s())
        if usable is self._usable:
            return
        self._usable = usable
        shown = [(record.peer, record.jobs, record.addresses) for record in usable]
        if shown != self._shown:
            self._shown = shown
            self._on_change()

    # Join.

    async def _join(self, quick: bool) -> None:
        now = self._clock.unix_s()
        joined = self._listing.joined()
        alive = {record.peer for record in self.view.usable(now)}
        # A bootstrap peer that was joined once and still answers is the split watch's business,
        # which waits and tells; one not yet joined, or silent for long, is met without ado.
        self._once_joined = {*self._once_joined, *joined} & alive & set(self.view.bootstrap)
        settled = joined | self._once_joined
        wanted = [peer for peer in self.view.bootstrap if peer not in settled]
        absent = [peer for peer in self.split.absent if peer not in wanted]
        drawn = self._rng.permutation(len(absent))
        wanted += [absent[int(index)] for index in drawn]
        async with asyncio.TaskGroup() as group:
            for peer in wanted[:JOINED_AT_ONCE_MAX]:
                group.create_task(self._meet(peer))

    async def _meet(self, peer: PeerId) -> None:
        known = self.view.get(peer)
        addresses = list(known.record.addresses if known and known.record else ())
        addresses += [a for a in self._bootstrap.get(peer, []) if a not in addresses]
        try:
            async with asyncio.timeout(self._config.call_timeout_s):
                met = await self._discovery.meet(peer, addresses)
        except (Unavailable, TimeoutError):
            return
        if met:
            self._announce_now.set()

    # Pauses.

    async def _run_turns(self, turn: Callable[[bool], Awaitable[None]]) -> None:
        for pause_s in self._pauses():
            await turn(pause_s <= self._config.quick_s)
            # Spread by a fifth either way, so that nodes that started together drift apart.
            await asyncio.sleep(pause_s * self._rng.uniform(0.8, 1.2))

    def _pauses(self) -> Iterator[float]:
        pause_s, elapsed_s = self._config.quick_s, 0.0
        while True:
            yield pause_s
            elapsed_s += pause_s
            if elapsed_s >= self._config.quick_for_s:
                pause_s = min(pause_s * 1.5, self._config.period_s)


async def _is_set_within(event: asyncio.Event, timeout_s: float) -> bool:
    try:
        async with asyncio.timeout(timeout_s):
            await event.wait()
    except TimeoutError:
        return False
    return True
