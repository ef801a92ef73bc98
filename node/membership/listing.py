"""The swarm's records in the DHT: ours is put there, those of others are read, splits are noticed.

Implements docs/protocol.md, "Peer records" and "Splits". Flow over ``Discovery``.
"""

import asyncio
from collections.abc import Sequence

import numpy as np

from node.errors import Unavailable
from node.membership.gossip import Gossip
from node.membership.record import PeerRecord
from node.membership.shelves import Shelves, front_key, shelf_key
from node.membership.split import SplitWatch, choose_absent, choose_joined
from node.membership.view import View
from node.ports import Discovery, Record, WallClock
from node.types import PeerId


class Listing:
    """What the DHT shows of the swarm.

    Args:
        swarm: Name of the swarm.
        view: The peer table.
        discovery: The DHT.
        gossip: Checks records and takes them into the view.
        split: Is told what the DHT lacks.
        clock: Wall clock.
        rng: Chooses keys and records.
    """

    def __init__(
        self,
        swarm: str,
        view: View,
        discovery: Discovery,
        gossip: Gossip,
        split: SplitWatch,
        clock: WallClock,
        rng: np.random.Generator,
    ) -> None:
        self._swarm = swarm
        self._view = view
        self._discovery = discovery
        self._gossip = gossip
        self._split = split
        self._clock = clock
        self._rng = rng
        self._shelves = Shelves(swarm)
        self._listed: frozenset[PeerId] = frozenset()

    def joined(self) -> frozenset[PeerId]:
        """Peers that share our DHT: shown by the last read, or in its routing table now."""
        return self._listed.union(self._discovery.neighbours())

    async def put(self, own: PeerRecord) -> bool:
        """Announce us under both keys. False: nobody took it."""
        taken = False
        for key in (front_key(self._swarm), shelf_key(self._swarm, own.peer)):
            try:
                taken |= await self._discovery.put(key, own.peer, own.signed, own.expires_unix_s)
            except Unavailable:
                continue
        return taken

    async def read(self) -> bool:
        """Read some records into the view. True: a split begins or ends with it."""
        sought = {*self._view.sought(self._clock.unix_s()), *self._split.absent}
        keys = self._shelves.choose(sought, self._rng)
        answers = await asyncio.gather(*map(self._get, keys))
        values: list[bytes] = []
        for key, records in zip(keys, answers, strict=True):
            if records is not None:
                # Anybody writes there: shuffled, so that no choice of subkeys keeps others unread.
                taken = self._shelves.take(key, len(records))
                drawn = self._rng.permutation(len(records))[:taken]
                values += [records[int(index)].value for index in drawn]
        if all(records is None for records in answers):
            return False
        listed = await self._gossip.learn(values, strict=False)
        now = self._clock.unix_s()
        self._view.expire(now)
        self._listed = choose_joined(self._view, listed, self._discovery.neighbours())
        absent = [p for p in choose_absent(self._view, self._listed, now) if self._shelves.shows(p)]
        alive = {record.peer for record in self._view.usable(now)}
        return self._split.observe(absent, self._listed, alive, now)

    async def _get(self, key: str) -> Sequence[Record] | None:
        try:
            return await self._discovery.get(key)
        except Unavailable:
            return None
