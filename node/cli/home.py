"""A node's data folder: its key and its store, made together."""

from dataclasses import dataclass
from pathlib import Path

from node.adapters.file_store import FileStore, open_store
from node.adapters.keyfile import load_or_create_key
from node.cli.shared import KEY_FILE
from node.identity import Identity


@dataclass(frozen=True)
class Home:
    """An opened data folder, locked for this process until the store is closed."""

    identity: Identity
    store: FileStore
    slots_lost: bool
    """True if the key is old and the store new: what was signed before is not known any more."""


def open_home(data: Path) -> Home:
    """Open the data folder, or make it.

    Raises:
        ConfigError: another node runs there, or the folder cannot be used.
    """
    key = load_or_create_key(data / KEY_FILE)
    store = open_store(data, key.identity.peer_id, key_is_new=key.created)
    return Home(key.identity, store, slots_lost=store.slots_lost)
