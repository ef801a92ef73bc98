"""The node's disk: SQLite for small durable slots, files for blobs, one node per folder.

Slots are written by one thread; ``put``s that wait at the same time share one transaction and so
one fsync. Blobs have a thread of their own, so that tens of megabytes do not delay a vote.
"""

import asyncio
import fcntl
import os
import re
import sqlite3
import threading
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import ParamSpec, TypeVar

from node.errors import ConfigError, Unavailable
from node.types import PeerId

P = ParamSpec("P")
T = TypeVar("T")

KEY_CHARS_MAX = 200
"""Longest slot key."""
BLOB_NAME_CHARS_MAX = 128
"""Longest blob name."""
SLOT_BYTES_MAX = 64 * 1024 * 1024
"""Largest slot value; larger things are blobs."""

_KEY = re.compile(r"[A-Za-z0-9._/:-]*\Z")
_BLOB_NAME = re.compile(r"[A-Za-z0-9_-][A-Za-z0-9._-]*(/[A-Za-z0-9_-][A-Za-z0-9._-]*)*\Z")
_TEMPORARY = ".tmp-"
_SCHEMA = """
CREATE TABLE IF NOT EXISTS slots (key TEXT PRIMARY KEY, value BLOB NOT NULL) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS meta (name TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID;
"""

Write = Mapping[str, bytes | None]
"""Keys to values; None: forget the key."""


def check_key(key: str, *, prefix: bool = False) -> str:
    """Return ``key`` if it is one; a wrong one is our own bug.

    Args:
        key: ``[A-Za-z0-9._/:-]``, 1 to KEY_CHARS_MAX characters.
        prefix: Allow the empty string.
    """
    assert key or prefix, "a slot key is not empty"
    assert len(key) <= KEY_CHARS_MAX, f"slot key {key[:300]!r} is too long"
    assert _KEY.match(key), f"slot key {key!r}"
    return key


def check_blob_name(name: str) -> str:
    """Return ``name`` if it is one: no empty part, none that starts with a dot, so no traversal.

    Args:
        name: Parts of ``[A-Za-z0-9._-]`` joined by ``/``, at most BLOB_NAME_CHARS_MAX characters.

    Raises:
        ValueError: it is not; names may be built from peer input.
    """
    if len(name) > BLOB_NAME_CHARS_MAX or not _BLOB_NAME.match(name):
        raise ValueError(f"{name[:200]!r} is not a blob name")
    return name


def open_store(data: Path, peer_id: PeerId, *, key_is_new: bool = True) -> "FileStore":
    """Open, or make, the store in ``data`` for the node ``peer_id``.

    Args:
        data: the node's folder.
        peer_id: who keeps its slots here.
        key_is_new: False for a key from an earlier start. A slot log that is missing then is lost,
            and stays so: the mark is written with the new one.

    Raises:
        ConfigError: another node runs on this folder, it belongs to another peer id, or it cannot
            be used.
    """
    try:
        _make_folder(data)
        return FileStore(data, _lock(data / "lock"), peer_id, key_is_new)
    except (OSError, sqlite3.Error) as error:
        raise ConfigError(f"the data folder {data} cannot be used: {error}") from error


class FileStore:
    """``Store`` in a folder. Made by ``open_store``; ``close`` ends it.

    Attributes:
        slots_lost: True if the slot log of this key was lost once: what it signed before is not
            known any more (docs/protocol.md, "Durable slots").
    """

    def __init__(self, data: Path, lock_descriptor: int, peer_id: PeerId, key_is_new: bool) -> None:
        self._blobs = data / "blobs"
        self._lock_descriptor = lock_descriptor
        self._pending: list[tuple[Write, Future[None]]] = []
        self._pending_guard = threading.Lock()
        self._slot_thread = ThreadPoolExecutor(1, "store-slots")
        self._blob_thread = ThreadPoolExecutor(1, "store-blobs")
        self._closed = False
        self.transactions = 0
        """Transactions committed so far: how well ``put``s share their fsync."""
        try:
            _make_folder(self._blobs)
            for leftover in sorted(self._blobs.glob(_TEMPORARY + "*")):
                leftover.unlink()
            self._database, self.slots_lost = _open_database(
                data / "store.sqlite", peer_id, key_is_new
            )
        except BaseException:
            self.close()
            raise

    async def put(self, items: Mapping[str, bytes]) -> None:
        """Write all items, or none; on disk when it returns."""
        for key, value in items.items():
            check_key(key)
            assert len(value) <= SLOT_BYTES_MAX, f"slot {key} has {len(value)} bytes"
        await self._write(dict(items))

    async def drop(self, keys: Sequence[str]) -> None:
        """Forget keys; missing ones are ignored."""
        await self._write({check_key(key): None for key in keys})

    async def get(self, key: str) -> bytes | None:
        """The value, or None."""
        rows = await self._read("SELECT key, value FROM slots WHERE key = ?", check_key(key))
        return rows[0][1] if rows else None

    async def scan(self, prefix: str) -> Sequence[tuple[str, bytes]]:
        """All items whose key starts with ``prefix``, sorted by key."""
        query = "SELECT key, value FROM slots WHERE key >= ? AND key < ? ORDER BY key"
        # Keys are ASCII without DEL, so DEL is above every continuation.
        return await self._read(query, check_key(prefix, prefix=True), prefix + "\x7f")

    async def write_blob(self, name: str, chunks: Sequence[bytes | memoryview]) -> None:
        """Replace the blob atomically with the chunks joined; on disk when it returns."""
        await self._on_blobs(self._write_blob, self._path(name), list(chunks))

    async def read_blob(self, name: str) -> bytes | None:
        """The blob as last written whole, or None."""
        return await self._on_blobs(_read_file, self._path(name))

    async def drop_blob(self, name: str) -> None:
        """Delete a blob; a missing one is ignored."""
        await self._on_blobs(_unlink, self._path(name))

    def close(self) -> None:
        """Finish what is being written and let another node use the folder; idempotent."""
        if self._closed:
            return
        self._closed = True
        self._slot_thread.shutdown()
        self._blob_thread.shutdown()
        if hasattr(self, "_database"):
            self._database.close()
        os.close(self._lock_descriptor)

    async def _write(self, write: Write) -> None:
        done: Future[None] = Future()
        with self._pending_guard:
            self._pending.append((write, done))
        # Each call submits a commit, but the first one that runs takes all that wait by then.
        self._slot_thread.submit(self._commit_pending)
        await asyncio.wrap_future(done)

    def _commit_pending(self) -> None:
        with self._pending_guard:
            taken, self._pending = self._pending, []
        batch = [(write, done) for write, done in taken if done.set_running_or_notify_cancel()]
        if not batch:
            return
        try:
            with self._database:
                self._database.execute("BEGIN IMMEDIATE")
                for write, _ in batch:
                    self._apply(write)
        except Exception as error:  # Whatever it is, those who wait must hear of it.
            for _, done in batch:
                done.set_exception(Unavailable(f"the slot log cannot be written: {error}"))
            return
        self.transactions += 1
        for _, done in batch:
            done.set_result(None)

    def _apply(self, write: Write) -> None:
        for key, value in write.items():
            if value is None:
                self._database.execute("DELETE FROM slots WHERE key = ?", (key,))
            else:
                self._database.execute("INSERT OR REPLACE INTO slots VALUES (?, ?)", (key, value))

    async def _read(self, query: str, *values: str) -> list[tuple[str, bytes]]:
        def read() -> list[tuple[str, bytes]]:
            return self._database.execute(query, values).fetchall()

        try:
            return await asyncio.wrap_future(self._slot_thread.submit(read))
        except sqlite3.Error as error:
            raise Unavailable(f"the slot log cannot be read: {error}") from error

    async def _on_blobs(self, work: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        try:
            return await asyncio.wrap_future(self._blob_thread.submit(work, *args, **kwargs))
        except OSError as error:
            raise Unavailable(f"the blob store does not work: {error}") from error

    def _path(self, name: str) -> Path:
        # "~" is in no name, so the folder stays flat and no two names share a file.
        return self._blobs / check_blob_name(name).replace("/", "~")

    def _write_blob(self, path: Path, chunks: list[bytes | memoryview]) -> None:
        temporary = self._blobs / (_TEMPORARY + path.name)
        try:
            with open(temporary, "wb") as file:
                for chunk in chunks:
                    file.write(chunk)
                file.flush()
                os.fsync(file.fileno())
            os.replace(temporary, path)
        except BaseException:
            temporary.unlink(missing_ok=True)
            raise
        _sync_folder(self._blobs)


def _make_folder(path: Path) -> None:
    if not path.is_dir():
        path.mkdir(mode=0o700, parents=True, exist_ok=True)
        _sync_folder(path.parent)


def _lock(path: Path) -> int:
    """Lock the folder for this process and write its pid; returns the descriptor that holds it."""
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        pid = os.pread(descriptor, 32, 0).decode("ascii", "replace").strip() or "unknown"
        os.close(descriptor)
        raise ConfigError(
            f"another node (pid {pid}) runs on the data folder {path.parent}: stop it, or give this"
            " one another folder with --data"
        ) from error
    os.ftruncate(descriptor, 0)
    os.pwrite(descriptor, b"%d\n" % os.getpid(), 0)
    return descriptor


def _open_database(
    path: Path, peer_id: PeerId, key_is_new: bool
) -> tuple[sqlite3.Connection, bool]:
    """Open the slot log; returns it and whether an earlier one was lost."""
    database = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
    try:
        database.execute("PRAGMA journal_mode=WAL")
        database.execute("PRAGMA synchronous=FULL")
        database.executescript(_SCHEMA)
        row = database.execute("SELECT value FROM meta WHERE name = 'peer_id'").fetchone()
        if row is None:
            rows = [("peer_id", peer_id), ("slots_lost", "0" if key_is_new else "1")]
            with database:
                database.execute("BEGIN IMMEDIATE")
                database.executemany("INSERT INTO meta VALUES (?, ?)", rows)
        elif row[0] != peer_id:
            raise ConfigError(
                f"the data folder {path.parent} belongs to the peer {row[0]}, but the key is that"
                f" of {peer_id}: restore its key, or use another folder"
            )
        (lost,) = database.execute("SELECT value FROM meta WHERE name = 'slots_lost'").fetchone()
        _sync_folder(path.parent)
    except BaseException:
        database.close()
        raise
    return database, lost == "1"


def _read_file(path: Path) -> bytes | None:
    try:
        return path.read_bytes()
    except FileNotFoundError:
        return None


def _unlink(path: Path) -> None:
    path.unlink(missing_ok=True)


def _sync_folder(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
