"""The data folder of a stopped node, for reading alone.

A stopped node has no ports, so the files are read directly; docs/runbook.md, "Data folder", tells
their layout.
"""

import fcntl
import os
import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

from node.errors import ConfigError


class StoppedFolder:
    """Slots and blobs of a folder on which no node runs; made by ``open_stopped``."""

    def __init__(self, path: Path, database: sqlite3.Connection) -> None:
        self.path = path
        self._blobs = path / "blobs"
        self._database = database

    def scan(self, prefix: str) -> Iterator[tuple[str, bytes]]:
        """Rest of the key and value of all slots under ``prefix``, in order.

        Raises:
            sqlite3.Error: the slot log is damaged.
        """
        query = "SELECT key, CAST(value AS BLOB) FROM slots WHERE key >= ? AND key < ? ORDER BY key"
        for key, value in self._database.execute(query, (prefix, prefix + "\x7f")):
            yield key.removeprefix(prefix), value

    def get(self, key: str) -> bytes | None:
        """Value of a slot.

        Raises:
            sqlite3.Error: the slot log is damaged.
        """
        return next((value for rest, value in self.scan(key) if not rest), None)

    def blobs(self, prefix: str) -> list[str]:
        """Names of the blobs that start with ``prefix``, in order."""
        start = prefix.replace("/", "~")
        return sorted(
            entry.name.replace("~", "/")
            for entry in self._blobs.glob("*")
            if entry.name.startswith(start)
        )

    def blob(self, name: str) -> bytes:
        """Bytes of a blob.

        Raises:
            OSError: there is none, or it cannot be read.
        """
        return (self._blobs / name.replace("/", "~")).read_bytes()


@contextmanager
def open_stopped(path: Path) -> Iterator[StoppedFolder]:
    """Read a folder, and keep nodes from starting on it meanwhile.

    Raises:
        ConfigError: it is not the folder of a node, or the node runs.
    """
    with _locked(path), closing(_connect(path)) as database:
        yield StoppedFolder(path, database)


@contextmanager
def _locked(path: Path) -> Iterator[None]:
    try:
        descriptor = os.open(path / "lock", os.O_RDONLY | os.O_CLOEXEC)
    except OSError as error:
        raise ConfigError(f"{path} is not the data folder of a node: {error}") from error
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise ConfigError(f"a node runs on {path}: stop it first") from error
        yield
    finally:
        os.close(descriptor)


def _connect(path: Path) -> sqlite3.Connection:
    """The slot log, for reading alone."""
    file = path.absolute() / "store.sqlite"
    # A node that was killed leaves a log beside the database, and reading that needs its locks.
    # Without one, SQLite would make empty files in a folder that may not be ours to write.
    log = file.with_name(file.name + "-wal")
    mode = "mode=ro" if log.exists() else "mode=ro&immutable=1"
    try:
        return sqlite3.connect(f"{file.as_uri()}?{mode}", uri=True)
    except sqlite3.Error as error:
        raise ConfigError(f"{file} cannot be opened: {error}") from error
