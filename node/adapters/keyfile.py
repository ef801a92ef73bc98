"""The key file: the node's Ed25519 seed as PKCS8 PEM, readable by its owner only."""

import os
import stat
import tempfile
from dataclasses import dataclass
from pathlib import Path

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    load_pem_private_key,
)

from node.errors import ConfigError
from node.identity import SEED_BYTES, Identity

KEY_FILE_BYTES_MAX = 4096
"""A PKCS8 PEM of an Ed25519 key has 119 bytes; anything longer is another file."""


@dataclass(frozen=True)
class LoadedKey:
    """An identity and whether it is new."""

    identity: Identity
    created: bool
    """True if this call made the key. False with a fresh store means that the slot log is lost."""


def load_or_create_key(path: Path) -> LoadedKey:
    """Load the key at ``path``, or make one there, never replacing a file.

    Raises:
        ConfigError: others can read the key, another user owns it, it is damaged, or the folder
            cannot be written.
    """
    try:
        created = not path.exists() and _create(path)
        return LoadedKey(_load(path), created)
    except OSError as error:
        raise ConfigError(f"the key file {path} cannot be used: {error.strerror}") from error


def _load(path: Path) -> Identity:
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    with os.fdopen(descriptor, "rb") as file:
        info = os.fstat(descriptor)
        if not stat.S_ISREG(info.st_mode):
            raise ConfigError(f"the key file {path} is not a regular file")
        if info.st_uid != os.geteuid():
            raise ConfigError(
                f"the key file {path} belongs to user {info.st_uid}, not to the user {os.geteuid()}"
                f" who runs the node: run `chown {os.geteuid()} {path}`, or use another folder"
            )
        if info.st_mode & 0o077:
            raise ConfigError(
                f"the key file {path} can be read by other users: run `chmod 600 {path}`"
            )
        pem = file.read(KEY_FILE_BYTES_MAX + 1)
    try:
        if len(pem) > KEY_FILE_BYTES_MAX:
            raise ValueError("too long")
        key = load_pem_private_key(pem, password=None)
    except (ValueError, TypeError, UnsupportedAlgorithm) as error:
        raise ConfigError(
            f"the key file {path} is damaged or not a PEM key: restore it from a backup, or move it"
            " away to get a new identity"
        ) from error
    if not isinstance(key, Ed25519PrivateKey):
        raise ConfigError(f"the key file {path} holds another kind of key: Artel needs Ed25519")
    return Identity(key.private_bytes_raw())


def _create(path: Path) -> bool:
    """Write a new key and link it to ``path``; False if another process was faster."""
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    key = Ed25519PrivateKey.from_private_bytes(os.urandom(SEED_BYTES))
    pem = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    # mkstemp gives mode 0600; a link, unlike a rename, never replaces what is already there.
    descriptor, temporary = tempfile.mkstemp(prefix=".key-", dir=path.parent)
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(pem)
            file.flush()
            os.fsync(descriptor)
        os.link(temporary, path)
    except FileExistsError:
        return False
    finally:
        os.unlink(temporary)
    folder = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)
    return True
