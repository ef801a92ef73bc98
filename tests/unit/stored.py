"""Changes to a stopped node's slots, as a faulty disk or somebody else makes them."""

import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path


def edit(folder: Path, key: str, change: Callable[[bytes], bytes] | None) -> None:
    """Change the value of one slot behind the node's back; None: delete it."""
    with closing(sqlite3.connect(folder / "store.sqlite")) as database, database:
        (value,) = database.execute("SELECT value FROM slots WHERE key = ?", (key,)).fetchone()
        if change is None:
            database.execute("DELETE FROM slots WHERE key = ?", (key,))
        else:
            database.execute("UPDATE slots SET value = ? WHERE key = ?", (change(value), key))


def flip(data: bytes, at: int) -> bytes:
    return data[:at] + bytes([data[at] ^ 1]) + data[at + 1 :]
