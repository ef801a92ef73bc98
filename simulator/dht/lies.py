"""Wrong answers of discovery: what some hosts hand out in place of the records that they keep.

Modelled: a set of hosts answers wrongly, each answer with a given chance. Expiry times are not
signed in the DHT, so that a liar makes its version the one that wins; only the author's signature
and sequence inside the value unmask it. A host never lies to itself. Left out: lies about who is
near (eclipse of the routing), and floods of records.
"""

from collections.abc import Collection, Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Literal

import numpy as np

from node.ports import Record
from node.types import PeerId

if TYPE_CHECKING:
    from simulator.wire.network import SimNetwork

Kind = Literal["stale", "missing", "withheld", "rolled_back", "conflicting"]
LEAD_S = 1.0
"""By how much a liar's record outlives the true one."""
Shelf = Mapping[str, Record]


@dataclass(frozen=True)
class _Fault:
    hosts: frozenset[PeerId]
    rate: float
    authors: frozenset[str] | None
    snapshots: Mapping[PeerId, Mapping[str, Shelf]]


class DhtFaults:
    """Which hosts answer wrongly, and how. Several kinds may hold at once."""

    def __init__(self, network: "SimNetwork") -> None:
        self._network = network
        self._faults: dict[Kind, _Fault] = {}
        self._rngs: dict[tuple[str, str], np.random.Generator] = {}

    def set(
        self,
        kind: Kind,
        hosts: Collection[PeerId],
        rate: float = 1.0,
        *,
        authors: Collection[str] | None = None,
    ) -> None:
        """Begin one kind of wrong answers, in place of what was set for it before.

        Args:
            kind: ``stale``: what was kept when this was called. ``missing``: nothing.
                ``withheld``: all but some authors' records. ``rolled_back``: the version before
                the newest, as if it were newer. ``conflicting``: a value of another author, or an
                altered one, as if it were newer.
            hosts: Who answers so.
            rate: Chance of each answer (``withheld`` without ``authors``: share of the authors,
                the same for all hosts), 0 to 1.
            authors: Subkeys that are withheld.
        """
        running = self._network.hosts
        snapshots = {
            peer: {key: dict(shelf) for key, shelf in running[peer].discovery.kept.items()}
            for peer in sorted(hosts)
            if kind == "stale" and peer in running
        }
        named = None if authors is None else frozenset(authors)
        self._faults[kind] = _Fault(frozenset(hosts), rate, named, snapshots)

    def clear(self, kind: Kind | None = None) -> None:
        """End one kind, or all."""
        if kind is None:
            self._faults.clear()
        else:
            self._faults.pop(kind, None)

    def answer(self, peer: PeerId, key: str, kept: Shelf, before: Shelf) -> Shelf:
        """What ``peer`` answers for ``key``.

        Args:
            peer: Who is asked.
            key: What for.
            kept: The records that it keeps, by subkey.
            before: The version before each of them, where there was one.
        """
        for kind, fault in self._faults.items():
            if peer not in fault.hosts:
                continue
            if kind == "withheld":
                kept = {s: r for s, r in kept.items() if not self._hides(fault, s)}
            elif fault.rate >= 1.0 or self._draw(kind, peer) < fault.rate:
                if kind == "missing":
                    kept = {}
                elif kind == "stale":
                    kept = fault.snapshots.get(peer, {}).get(key, {})
                elif kind == "rolled_back":
                    kept = {s: _newer(r, before.get(s, r).value) for s, r in kept.items()}
                else:
                    kept = _conflicting(kept)
        return kept

    def _hides(self, fault: _Fault, subkey: str) -> bool:
        if fault.authors is not None:
            return subkey in fault.authors
        return self._network.rng("dht withheld", subkey).random() < fault.rate

    def _draw(self, kind: str, peer: PeerId) -> float:
        stream = (kind, peer)
        if stream not in self._rngs:
            self._rngs[stream] = self._network.rng("dht", *stream)
        return self._rngs[stream].random()


def _newer(record: Record, value: bytes) -> Record:
    return replace(record, value=value, expires_unix_s=record.expires_unix_s + LEAD_S)


def _conflicting(kept: Shelf) -> Shelf:
    """Every second record gets the value of its neighbour, the others a flipped byte."""
    subkeys = sorted(kept)
    found = {}
    for index, subkey in enumerate(subkeys):
        value = kept[subkeys[index - 1]].value
        if index % 2 == 0 or len(subkeys) == 1:
            own = kept[subkey].value
            value = own[:-1] + bytes([own[-1] ^ 0xFF]) if own else b"\0"
        found[subkey] = _newer(kept[subkey], value)
    return found
