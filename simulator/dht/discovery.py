"""The Discovery port in virtual time: a Kademlia DHT whose queries take no messages.

Modelled: routing tables of bounded buckets; iterative lookups that ask the nearest known hosts and
learn from each answer; records at the hosts nearest to their key, handed over to a nearer host that
appears; both ends of a query learn of each other; who does not answer is dropped from the table of
who asked. So answers may be stale or lacking, and a split swarm stays split until somebody meets
the other side. Wrong answers: ``dht.py``. Left out: the bytes and time-outs of queries; a lookup
takes LOOKUP_TRIPS round trips and then happens at one instant.

Source: Maymounkov and Mazieres, "Kademlia", IPTPS 2002; with its alpha of 3.
"""

import asyncio
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING

from node.ports import RECORD_BYTES_MAX, Record
from node.types import PeerId
from simulator.dht.kademlia import RoutingTable, place

if TYPE_CHECKING:
    from simulator.wire.network import SimNetwork

REPLICAS = 5
"""Hosts that keep a record."""
NEAREST = 8
"""Hosts nearest to a key that a lookup asks, and that an answer names."""
ALPHA = 3
"""Hosts that are asked at once."""
LOOKUP_TRIPS = 3
"""Round trips of a lookup."""
KEY_BYTES_MAX = 256
SUBKEY_BYTES_MAX = 128
SUBKEYS_MAX = 256
"""Records that a host keeps under one key, as a real one: later ones are turned away."""


class SimDiscovery:
    """One host's part of the swarm's records; see ``node.ports.Discovery``."""

    def __init__(self, network: "SimNetwork", peer: PeerId) -> None:
        self._network = network
        self._peer = peer
        self._table = RoutingTable(peer)
        self.kept: dict[str, dict[str, Record]] = {}
        """Key -> subkey -> record."""
        self._before: dict[str, dict[str, Record]] = {}
        """The version before each record that was replaced."""
        self.lookups = self.queries = 0
        """Searches made, and hosts asked in them."""

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
        nearest = self._find(place(key))[:REPLICAS]
        kept = [self._of(peer)._keep(key, record) for peer in nearest]
        return any(kept) and len(nearest) > 1

    async def get(self, key: str) -> Sequence[Record]:
        """Records under ``key`` at the hosts nearest to it, newest first to win."""
        await self._trip()
        now = self._network.unix_s()
        answers = [self._of(peer)._answer(key, self._peer) for peer in self._find(place(key))]
        found = _merge([*answers, self.kept.get(key, {})])
        return [found[s] for s in sorted(found) if found[s].expires_unix_s > now]

    async def meet(self, peer: PeerId, addresses: Sequence[str]) -> bool:
        """Join the routing tables with ``peer``. False: it does not answer."""
        await self._trip()
        if peer == self._peer or not self._network.reachable(self._peer, peer):
            return False
        self._heard(peer)
        self._of(peer)._heard(self._peer)
        # Asking for our own place makes the hosts near it know us, and us know them; then the
        # buckets farther away are filled (section 2.3 of the paper).
        self._find(place(self._peer))
        for target in self._table.far_places():
            self._find(target)
        return True

    def neighbours(self) -> Sequence[PeerId]:
        """Peers in our routing table, sorted."""
        return sorted(self._table)

    async def _trip(self) -> None:
        await asyncio.sleep(LOOKUP_TRIPS * self._network.round_trip_s())

    def _of(self, peer: PeerId) -> "SimDiscovery":
        return self._network.hosts[peer].discovery

    # -- the search

    def _find(self, target: int) -> list[PeerId]:
        """The hosts nearest to a place that answer, ourselves among them; nearest first.

        Asks ALPHA hosts a turn, until the nearest ones that are known were all asked.
        """
        self.lookups += 1
        known = {self._peer: place(self._peer) ^ target}
        asked = {self._peer}
        self._note(known, target, self._table.nearest(target, NEAREST))
        while True:
            shortlist = sorted(known, key=known.__getitem__)[:NEAREST]
            turn = [peer for peer in shortlist if peer not in asked][:ALPHA]
            if not turn:
                return shortlist
            for peer in turn:
                asked.add(peer)
                self.queries += 1
                if not self._network.reachable(self._peer, peer):
                    self._table.drop(peer)
                    del known[peer]
                    continue
                other = self._of(peer)
                told = other._table.nearest(target, NEAREST)
                self._heard(peer)
                other._heard(self._peer)
                self._note(known, target, [p for p in told if p not in asked])

    @staticmethod
    def _note(known: dict[PeerId, int], target: int, peers: Iterable[PeerId]) -> None:
        for peer in peers:
            known.setdefault(peer, place(peer) ^ target)

    def _heard(self, peer: PeerId) -> None:
        """A host has answered or asked us: it joins the table, and gets what it should keep."""
        if self._table.add(peer, lambda old: self._network.reachable(self._peer, old)):
            self._hand_over(peer)

    # -- records

    def _answer(self, key: str, asker: PeerId) -> Mapping[str, Record]:
        kept = self.kept.get(key, {})
        if asker == self._peer:
            return kept
        return self._network.dht.answer(self._peer, key, kept, self._before.get(key, {}))

    def _keep(self, key: str, record: Record) -> bool:
        shelf = self.kept.setdefault(key, {})
        held = shelf.get(record.subkey)
        now = self._network.unix_s()
        if record.expires_unix_s <= now or (
            held is not None and held.expires_unix_s >= record.expires_unix_s
        ):
            return False
        if held is None and len(shelf) >= SUBKEYS_MAX:
            for subkey in [s for s, r in shelf.items() if r.expires_unix_s <= now]:
                del shelf[subkey]
            if len(shelf) >= SUBKEYS_MAX:
                return False
        if held is not None and held.value != record.value:
            self._before.setdefault(key, {})[record.subkey] = held
        shelf[record.subkey] = record
        return True

    def _hand_over(self, peer: PeerId) -> None:
        """Give a new host the records to whose keys it is among the nearest."""
        for key, shelf in self.kept.items():
            target = place(key)
            nearest = [self._peer, *self._table.nearest(target, REPLICAS)]
            nearest.sort(key=lambda known: place(known) ^ target)
            if peer in nearest[:REPLICAS]:
                other = self._of(peer)
                for record in shelf.values():
                    other._keep(key, record)


def _merge(answers: Sequence[Mapping[str, Record]]) -> Mapping[str, Record]:
    """Of each subkey the record that lives longest. Equal answers, the rule, cost little."""
    found = dict(answers[0])
    for answer in answers[1:]:
        if answer == found:
            continue
        for subkey, record in answer.items():
            held = found.get(subkey)
            if held is None or record.expires_unix_s > held.expires_unix_s:
                found[subkey] = record
    return found
