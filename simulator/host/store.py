"""``Store`` on a simulated disk: a log of checksummed records for the slots, a file for each blob.

The log is read once, when the store is opened; then slots are read from memory, and the log is
what a crash leaves of them.
"""

import asyncio
import zlib
from collections import deque
from collections.abc import Mapping, Sequence
from contextlib import suppress

import numpy as np

from node.adapters.file_store import SLOT_BYTES_MAX, check_blob_name, check_key
from node.errors import ConfigError, Unavailable
from node.types import PeerId
from simulator.host.disk import DISK_BYTES, SimDisk

LOG = "slots.log"
KEY = "node.key"
BLOB = "blobs/"
LOST_MARK = "!lost"
"""Item of the first record of a log that stands for one that was lost; no slot key has a "!"."""
HEAD_BYTES = 8
"""Length and CRC-32 before each record."""
DROPPED = 0xFFFFFFFF
COMPACT_BYTES_MIN = 16 * 1024
COMPACT_FACTOR = 4
"""A log this many times its live part is written anew."""


class SimStore:
    """One host's ``Store``. The world keeps it over crashes and opens it for each life.

    A write takes ``fsync_s`` of virtual time, in which a crash may strike. The contract is that of
    the SQLite adapter: a ``put`` that has returned is there; one that has not is there whole or not
    at all, and if it is there, so is every earlier one (a WAL is read up to its first bad frame:
    sqlite.org/walformat.html; tests/network/test_store_kill.py shows it by kill -9). A blob is the
    old or the new one; a dropped one may come back.

    Args:
        fsync_s: virtual seconds of a durable write.
        disk_bytes: size of the disk: writes above it raise ``Unavailable``, as in FileStore.

    Attributes:
        slots_lost: the slot log of this key was lost once. Known after ``open``, and sticky.
        lives: how often it was opened.
    """

    def __init__(self, fsync_s: float = 0.0, disk_bytes: int = DISK_BYTES) -> None:
        self.fsync_s = fsync_s
        self.disk = SimDisk(disk_bytes)
        self.slots_lost = False
        self.lives = 0
        self._is_open = False
        self._slots: dict[str, bytes] = {}
        self._live_bytes = 0
        self._writes = 0
        self._pending: deque[tuple[int, int, Mapping[str, bytes | None]]] = deque()
        """Appended but not fsynced: (number, length of the log with it, items), in order."""

    # Life --------------------------------------------------------------------------------------

    def open(self, peer: PeerId) -> "SimStore":
        """Begin a life of the daemon ``peer`` on this disk; a torn last record is dropped.

        Raises:
            ConfigError: there is no room for a first log.
        """
        key, log = self.disk.read(KEY), self.disk.read(LOG)
        assert key in (None, b"", peer.encode()), "one disk belongs to one peer"
        items, whole = read_log(log or b"")
        self.slots_lost = LOST_MARK in items if log is not None else key is not None
        items.pop(LOST_MARK, None)
        self._slots = items
        self._live_bytes = sum(map(_item_bytes, items.items()))
        try:
            if not key:
                self.disk.replace(KEY, peer.encode())
            if log is None:
                self._rewrite()
            elif whole < len(log):
                self.disk.truncate(LOG, whole)
        except OSError as error:
            raise ConfigError(f"the data folder cannot be used: {error.strerror}") from error
        self.disk.fsync_folder()
        self.lives += 1
        self._is_open = True
        return self

    def crash(self, rng: np.random.Generator) -> None:
        """The daemon is dead: what it had not fsynced is lost in part.

        Args:
            rng: draws what survives.
        """
        self._is_open = False
        self._slots, self._pending = {}, deque()
        self.disk.crash(rng)

    def lose_slots(self) -> None:
        """Lose the slot log; the key and the blobs stay. Only while no daemon runs here."""
        assert not self._is_open, "stop the daemon first: it holds the log open"
        self.disk.remove(LOG)
        if self.disk.read(KEY) is None:
            self.disk.replace(KEY, b"")  # a key from before the first start here
        self.disk.fsync_folder()

    def wipe(self) -> None:
        """Lose slots and blobs: a new disk, and the key restored from a backup."""
        self.lose_slots()
        for name in self.disk.names():
            if name.startswith(BLOB):
                self.disk.remove(name)
        self.disk.fsync_folder()

    def fill(self) -> None:
        """Another program takes all space, until ``unfill``: every write fails."""
        self.disk.is_full = True

    def unfill(self) -> None:
        """There is space again."""
        self.disk.is_full = False

    # Slots -------------------------------------------------------------------------------------

    async def put(self, items: Mapping[str, bytes]) -> None:
        """Write all items, or none; kept over a crash once it returns.

        Raises:
            Unavailable: the disk is full.
        """
        written = {check_key(key): bytes(value) for key, value in items.items()}
        for key, value in written.items():
            assert len(value) <= SLOT_BYTES_MAX, f"slot {key} has {len(value)} bytes"
        await self._write(written)

    async def drop(self, keys: Sequence[str]) -> None:
        """Forget keys; missing ones are ignored.

        Raises:
            Unavailable: the disk is full.
        """
        await self._write({check_key(key): None for key in keys})

    async def get(self, key: str) -> bytes | None:
        """The value, or None."""
        return self._slots.get(check_key(key))

    async def scan(self, prefix: str) -> Sequence[tuple[str, bytes]]:
        """All items whose key starts with ``prefix``, sorted by key."""
        check_key(prefix, prefix=True)
        return sorted(item for item in self._slots.items() if item[0].startswith(prefix))

    async def _write(self, items: Mapping[str, bytes | None]) -> None:
        assert self._is_open, "a daemon that is dead writes"
        try:
            length = self.disk.append(LOG, record(items))
        except OSError as error:
            raise Unavailable(f"the slot log cannot be written: {error.strerror}") from error
        self._writes += 1
        own = (self._writes, length, items)
        self._pending.append(own)
        life = self.lives
        await asyncio.sleep(self.fsync_s)
        assert self._is_open, "a daemon outlived its crash"
        assert life == self.lives, "a daemon outlived its crash"
        self._commit(own[0])

    def _commit(self, number: int) -> None:
        """One fsync makes a write durable, and all that were appended before it."""
        length = 0
        while self._pending and self._pending[0][0] <= number:
            _, length, items = self._pending.popleft()
            for key, value in items.items():
                before = self._slots.pop(key, None)
                if before is not None:
                    self._live_bytes -= _item_bytes((key, before))
                if value is not None:
                    self._slots[key] = value
                    self._live_bytes += _item_bytes((key, value))
        if not length:
            return  # a later write's fsync was quicker
        self.disk.fsync(LOG, length)
        if not self._pending and length > COMPACT_BYTES_MIN + COMPACT_FACTOR * self._live_bytes:
            with suppress(OSError):  # no room for both: the next write tries again
                self._rewrite()

    def _rewrite(self) -> None:
        """Put a log of the live slots in the place of the old one; durable by the next fsync."""
        mark: dict[str, bytes | None] = {LOST_MARK: b""} if self.slots_lost else {}
        self.disk.replace(LOG, record(mark | self._slots))

    # Blobs -------------------------------------------------------------------------------------

    async def write_blob(self, name: str, chunks: Sequence[bytes | memoryview]) -> None:
        """Replace the blob atomically with the chunks joined; kept over a crash on return.

        Raises:
            Unavailable: the disk is full.
        """
        path = BLOB + check_blob_name(name)
        assert self._is_open, "a daemon that is dead writes"
        try:
            self.disk.replace(path, b"".join(chunks))
        except OSError as error:
            raise Unavailable(f"the blob store does not work: {error.strerror}") from error
        await asyncio.sleep(self.fsync_s)
        self.disk.fsync_folder()

    async def read_blob(self, name: str) -> bytes | None:
        """The blob as last written whole, or None."""
        return self.disk.read(BLOB + check_blob_name(name))

    async def drop_blob(self, name: str) -> None:
        """Delete a blob; a missing one is ignored. It may come back by a crash."""
        assert self._is_open, "a daemon that is dead writes"
        self.disk.remove(BLOB + check_blob_name(name))


def record(items: Mapping[str, bytes | None]) -> bytes:
    """A record of the log: length, CRC-32, then the items; None: the key is forgotten."""
    fields: list[bytes] = []
    for key, value in items.items():
        name = key.encode()
        size = DROPPED if value is None else len(value)
        fields += (len(name).to_bytes(2, "big"), name, size.to_bytes(4, "big"), value or b"")
    body = b"".join(fields)
    return len(body).to_bytes(4, "big") + zlib.crc32(body, 1).to_bytes(4, "big") + body


def read_log(log: bytes) -> tuple[dict[str, bytes], int]:
    """What a log holds up to its first bad record, and how many of its bytes that is."""
    slots: dict[str, bytes] = {}
    at = 0
    while at + HEAD_BYTES <= len(log):
        start = at + HEAD_BYTES
        end = start + int.from_bytes(log[at : at + 4], "big")
        body = log[start:end]
        # A CRC that starts at 1: a record of zeros does not check.
        if end > len(log) or zlib.crc32(body, 1).to_bytes(4, "big") != log[at + 4 : start]:
            break
        _apply(slots, body)
        at = end
    return slots, at


def _apply(slots: dict[str, bytes], body: bytes) -> None:
    at = 0
    while at < len(body):
        name_end = at + 2 + int.from_bytes(body[at : at + 2], "big")
        key = body[at + 2 : name_end].decode()
        size = int.from_bytes(body[name_end : name_end + 4], "big")
        at = name_end + 4
        if size == DROPPED:
            slots.pop(key, None)
        else:
            slots[key] = body[at : at + size]
            at += size


def _item_bytes(item: tuple[str, bytes]) -> int:
    return len(item[0]) + len(item[1]) + 6
