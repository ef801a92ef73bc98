"""``Store`` in memory: what a simulated disk holds outlives the daemon that wrote it."""

import asyncio
from collections.abc import Mapping, Sequence

from node.adapters.file_store import check_blob_name, check_key
from node.types import PeerId


class MemoryStore:
    """One simulated disk. The world keeps it over crashes and gives it to the restarted daemon.

    A write takes ``fsync_s`` of virtual time and counts only when that has passed: a daemon that
    is cancelled before loses it whole, as a machine does that crashes before its fsync.

    Attributes:
        fresh: no life before this one left a slot log here.
    """

    def __init__(self, fsync_s: float = 0.0) -> None:
        self.fsync_s = fsync_s
        self.fresh = True
        self._owner: PeerId | None = None
        self._slots: dict[str, bytes] = {}
        self._blobs: dict[str, bytes] = {}

    def open(self, peer_id: PeerId) -> "MemoryStore":
        """Begin a life of the daemon ``peer_id`` on this disk."""
        assert self._owner in (None, peer_id), "one disk belongs to one peer"
        self.fresh = self._owner is None
        self._owner = peer_id
        return self

    def wipe(self) -> None:
        """Lose everything, as a replaced disk does."""
        self._slots.clear()
        self._blobs.clear()
        self._owner = None

    async def put(self, items: Mapping[str, bytes]) -> None:
        """Write all items, or none; kept over a crash once it returns."""
        written = {check_key(key): bytes(value) for key, value in items.items()}
        await asyncio.sleep(self.fsync_s)
        self._slots.update(written)

    async def get(self, key: str) -> bytes | None:
        """The value, or None."""
        return self._slots.get(check_key(key))

    async def scan(self, prefix: str) -> Sequence[tuple[str, bytes]]:
        """All items whose key starts with ``prefix``, sorted by key."""
        check_key(prefix, prefix=True)
        return sorted(item for item in self._slots.items() if item[0].startswith(prefix))

    async def drop(self, keys: Sequence[str]) -> None:
        """Forget keys; missing ones are ignored."""
        dropped = [check_key(key) for key in keys]
        await asyncio.sleep(self.fsync_s)
        for key in dropped:
            self._slots.pop(key, None)

    async def write_blob(self, name: str, chunks: Sequence[bytes | memoryview]) -> None:
        """Replace the blob atomically with the chunks joined."""
        whole = b"".join(chunks)
        check_blob_name(name)
        await asyncio.sleep(self.fsync_s)
        self._blobs[name] = whole

    async def read_blob(self, name: str) -> bytes | None:
        """The blob as last written whole, or None."""
        return self._blobs.get(check_blob_name(name))

    async def drop_blob(self, name: str) -> None:
        """Delete a blob; a missing one is ignored."""
        self._blobs.pop(check_blob_name(name), None)
