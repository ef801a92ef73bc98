"""The Discovery port over hivemind's in-process ``DHTNode``.

A stored value is the msgpack pair (key, value), so that a node that is asked to keep a record can
check it against the key, of which it is otherwise told only the hash.
"""

import asyncio
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Any

import msgpack  # type: ignore[import-untyped]
from hivemind.dht.crypto import DHTRecord, RecordValidatorBase
from hivemind.dht.node import DHTNode
from hivemind.dht.routing import DHTID
from hivemind.dht.storage import DHTLocalStorage, DictionaryDHTValue
from hivemind.p2p import P2P, PeerID
from hivemind.utils.timed_storage import get_dht_time

from node.adapters.p2pd import P2pdControl
from node.errors import Unavailable
from node.ports import RECORD_BYTES_MAX, Record
from node.types import PeerId

KEY_BYTES_MAX = 256
SUBKEY_BYTES_MAX = 128
LIFE_S_MAX = 24 * 3600.0
"""Longest time to expiry of a record that we keep for others."""
KEYS_MAX = 1024
SUBKEYS_MAX = 256
"""Subkeys kept under one key: with the largest records, an answer stays under p2pd's 4 MiB."""
STORED_BYTES_MAX = 64 * 1024 * 1024
"""Bytes of values kept for the swarm; above it new records are turned away."""
ANSWER_S = 3.0
"""Time for one node of the swarm to answer."""
SEARCH_S = 15.0
"""Time for a whole search; it may ask many nodes one after another."""

Validator = Callable[[str, str, bytes], bool]
"""May (key, subkey, value) be kept and shown? It sees what strangers wrote, within the limits."""


class HivemindDiscovery:
    """Records that the swarm keeps; see ``node.ports.Discovery``. Made by ``open_discovery``."""

    def __init__(self, node: DHTNode, control: P2pdControl) -> None:
        self._node = node
        self._control = control

    async def put(self, key: str, subkey: str, value: bytes, expires_unix_s: float) -> bool:
        """Publish ``value`` under (key, subkey). False: no other node keeps it.

        Raises:
            ValueError: Key, subkey or value is above its limit.
        """
        if (
            len(value) > RECORD_BYTES_MAX
            or not 0 < len(key.encode()) <= KEY_BYTES_MAX
            or not 0 < len(subkey.encode()) <= SUBKEY_BYTES_MAX
        ):
            raise ValueError("a record's key, subkey or value is empty or above its limit")
        try:
            async with asyncio.timeout(SEARCH_S):
                stored = await self._node.store(
                    key, [key, value], float(expires_unix_s), subkey=subkey
                )
        except TimeoutError:
            return False
        return bool(stored) and bool(self.neighbours())

    async def get(self, key: str) -> Sequence[Record]:
        """Records under ``key`` from every node that was reached, sorted by subkey."""
        try:
            async with asyncio.timeout(SEARCH_S):
                found = await self._node.get(key, latest=True)
        except TimeoutError:
            return []
        if found is None or not isinstance(found.value, dict):
            return []
        return [
            Record(subkey, entry.value[1], entry.expiration_time)
            for subkey, entry in sorted(found.value.items())
        ]

    async def meet(self, peer: PeerId, addresses: Sequence[str]) -> bool:
        """Join the routing tables with ``peer``. False: it does not answer."""
        try:
            await self._control.connect(peer, addresses, timeout_s=ANSWER_S)
        except Unavailable:
            return False
        other = PeerID.from_base58(peer)
        self._node.blacklist.register_success(other)  # it may have been silent before
        node_id = await self._node.protocol.call_ping(other)
        if node_id is None:
            return False
        # Asking for our own place makes the nodes near it know us, and us know them.
        with suppress(TimeoutError):
            async with asyncio.timeout(SEARCH_S):
                await self._node.find_nearest_nodes(
                    [self._node.node_id], node_to_peer_id={node_id: other}
                )
        return True

    def neighbours(self) -> Sequence[PeerId]:
        """Peers in our routing table, sorted."""
        table = self._node.protocol.routing_table
        return sorted(PeerId(peer.to_base58()) for peer in table.peer_id_to_uid)

    def close(self) -> None:
        """Start no more searches; idempotent. p2pd, which must be ended next, ends the answers.

        ``DHTNode.shutdown`` would ask p2pd to forget the handlers, and never return if it died.
        """
        self._node.is_alive = False


async def open_discovery(
    p2p: P2P, control: P2pdControl, validator: Validator | None = None
) -> HivemindDiscovery:
    """A discovery node on a running p2pd, still alone: ``meet`` somebody.

    Its place among the nodes is the hash of its peer id, the same after a restart. Caches are off:
    a cached answer would lack records that others published since.
    """
    node = await DHTNode.create(
        p2p,
        node_id=DHTID.generate(source=p2p.peer_id.to_bytes()),
        wait_timeout=ANSWER_S,
        cache_locally=False,
        cache_on_store=False,
        cache_nearest=0,
        cache_refresh_before_expiry=0,
        record_validator=_Checker(validator),
    )
    node.protocol.storage = _BoundedStorage()
    node.protocol.cache = _NoStorage()
    return HivemindDiscovery(node, control)


class _Checker(RecordValidatorBase):  # type: ignore[misc]
    """Decides which records are kept for others, and which answers of others are shown."""

    def __init__(self, validator: Validator | None) -> None:
        self._validator = validator

    def validate(self, record: DHTRecord) -> bool:
        try:
            subkey = _unpack(record.subkey, SUBKEY_BYTES_MAX + 8)
            pair = _unpack(record.value, KEY_BYTES_MAX + RECORD_BYTES_MAX + 16)
        except (ValueError, msgpack.UnpackException):
            return False
        if not isinstance(subkey, str) or not isinstance(pair, list) or len(pair) != 2:
            return False
        key, value = pair
        return (
            isinstance(key, str)
            and isinstance(value, bytes)
            and len(value) <= RECORD_BYTES_MAX
            and DHTID.generate(source=key).to_bytes() == record.key
            and record.expiration_time <= get_dht_time() + LIFE_S_MAX
            and (self._validator is None or self._validator(key, subkey, value))
        )


def _unpack(raw: bytes, bytes_max: int) -> Any:
    if not isinstance(raw, bytes) or len(raw) > bytes_max:
        raise ValueError("not bytes, or too many")
    return msgpack.unpackb(raw, raw=False, strict_map_key=True)


class _BoundedStorage(DHTLocalStorage):  # type: ignore[misc]
    """Keeps dictionaries of bounded size only, and never an older record over a newer one.

    hivemind's own storage lets anybody fill the memory; and an older record that it turns away
    still moves the newer one's removal forward to the older one's expiry.
    """

    def __init__(self) -> None:
        super().__init__(maxsize=KEYS_MAX)
        self._bytes = 0

    def store(
        self, key: DHTID, value: Any, expiration_time: float, subkey: str | None = None
    ) -> bool:
        """Keep a record of a dictionary; a plain value is nothing that we serve."""
        if subkey is not None:
            return self.store_subkey(key, subkey, value, expiration_time)
        return isinstance(value, DictionaryDHTValue) and bool(
            super().store(key, value, expiration_time)
        )

    def store_subkey(self, key: DHTID, subkey: str, value: bytes, expiration_time: float) -> bool:
        """Keep ``value``. False: what we have expires no earlier, or we are full."""
        held = self.get(key)
        if held is None and len(self.data) >= KEYS_MAX:
            return False
        if held is not None:
            entry = held.value.get(subkey)
            if entry is not None and entry.expiration_time >= expiration_time:
                return False
            if entry is None and len(held.value) >= SUBKEYS_MAX:
                return False
        if self._bytes + len(value) > STORED_BYTES_MAX:
            self._bytes = sum(len(v) for d, _ in self.data.values() for v, _ in d.data.values())
            if self._bytes + len(value) > STORED_BYTES_MAX:
                return False
        self._bytes += len(value)
        return bool(super().store_subkey(key, subkey, value, expiration_time))


class _NoStorage(DHTLocalStorage):  # type: ignore[misc]
    """Stands where hivemind keeps what others ask it to cache."""

    def store(self, *args: Any, **kwargs: Any) -> bool:
        """Keep nothing."""
        return False

    def store_subkey(self, *args: Any, **kwargs: Any) -> bool:
        """Keep nothing."""
        return False
