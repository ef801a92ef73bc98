"""The Discovery port in virtual time: a DHT's behaviour without its messages.

Each host has a routing table and keeps some records; a lookup walks from table to table. Hosts that
do not answer are dropped from the tables that named them, so a split swarm stays split until
somebody meets the other side again.
"""

import asyncio
import hashlib
from collections.abc import Sequence
from typing import TYPE_CHECKING

from node.ports import RECORD_BYTES_MAX, Record
from node.types import PeerId

if TYPE_CHECKING:
    from simulator.network import SimNetwork

REPLICAS = 5
"""Hosts that keep a record."""
LOOKUP_TRIPS = 3
"""Round trips of a lookup."""
KEY_BYTES_MAX = 256
SUBKEY_BYTES_MAX = 128


class SimDiscovery:
    """One host's part of the swarm's records; see ``node.ports.Discovery``."""

    def __init__(self, network: "SimNetwork", peer: PeerId) -> None:
        self._network = network
        self._peer = peer
        self.table: set[PeerId] = set()
        self.kept: dict[str, dict[str, Record]] = {}

    async def put(self, key: str, subkey: str, value: bytes, expires_unix_s: float) -> bool:
        """Publish ``value`` under (key, subkey). False: no other host keeps it.

        Raises:
            ValueError: Key, subkey or value is empty or above its limit.
        """
        if (
            len(value) > RECORD_BYTES_MAX
            or not 0 < len(key.encode()) <= KEY_BYTES_MAX
            or not 0 < len(subkey.encode()) <= SUBKEY_BYTES_MAX
        ):
            raise ValueError("a record's key, subkey or value is empty or above its limit")
        record = Record(subkey, bytes(value), expires_unix_s)
        await self._trip()
        nearest = sorted(self._walk(), key=lambda peer: _distance(key, peer))[:REPLICAS]
        kept = [self._network.hosts[p].discovery._keep(key, record) for p in nearest]
        return any(kept) and len(nearest) > 1

    async def get(self, key: str) -> Sequence[Record]:
        """Records under ``key`` at every host that the walk reaches, newest first to win."""
        await self._trip()
        now = self._network.unix_s()
        found: dict[str, Record] = {}
        for peer in self._walk():
            for subkey, record in self._network.hosts[peer].discovery.kept.get(key, {}).items():
                held = found.get(subkey)
                if record.expires_unix_s > now and (
                    held is None or record.expires_unix_s > held.expires_unix_s
                ):
                    found[subkey] = record
        return [found[subkey] for subkey in sorted(found)]

    async def meet(self, peer: PeerId, addresses: Sequence[str]) -> bool:
        """Join the routing tables with ``peer``. False: it does not answer."""
        await self._trip()
        if peer == self._peer or not self._network.reachable(self._peer, peer):
            return False
        for met in self._network.hosts[peer].discovery._walk():
            if met != self._peer and self._network.reachable(self._peer, met):
                self.table.add(met)
                self._network.hosts[met].discovery.table.add(self._peer)
        return True

    def neighbours(self) -> Sequence[PeerId]:
        """Peers in our routing table, sorted."""
        return sorted(self.table)

    async def _trip(self) -> None:
        model = self._network.model(self._peer, self._peer)
        await asyncio.sleep(2 * LOOKUP_TRIPS * model.latency_s)

    def _keep(self, key: str, record: Record) -> bool:
        held = self.kept.setdefault(key, {}).get(record.subkey)
        now = self._network.unix_s()
        if record.expires_unix_s <= now or (
            held is not None and held.expires_unix_s >= record.expires_unix_s
        ):
            return False
        self.kept[key][record.subkey] = record
        return True

    def _walk(self) -> list[PeerId]:
        """Hosts that we reach over the tables, ourselves first, in a repeatable order."""
        seen = {self._peer}
        order = [self._peer]
        for at in order:  # grows while it is walked
            table = self._network.hosts[at].discovery.table
            for peer in sorted(table):
                if not self._network.reachable(self._peer, peer):
                    if at == self._peer:
                        table.discard(peer)
                elif peer not in seen:
                    seen.add(peer)
                    order.append(peer)
        return order


def _distance(key: str, peer: PeerId) -> int:
    place = hashlib.sha1(key.encode()).digest()
    other = hashlib.sha1(peer.encode()).digest()
    return int.from_bytes(place, "big") ^ int.from_bytes(other, "big")
