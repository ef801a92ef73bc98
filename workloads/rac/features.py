"""Features on disk: each picture is encoded once on a machine, whichever process asks for it."""

import contextlib
import fcntl
import hashlib
import os
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from workloads.rac.datasets import Pictures
from workloads.rac.encoders import Floats, PictureEncoder

BLOCK_PICTURES = 128
"""Encoded at a time, and one file."""


def cache_folder(environment: dict[str, str] | os._Environ[str]) -> Path:
    """Where features are kept: ``$XDG_CACHE_HOME/artel/features``, or below ``~/.cache``."""
    base = environment.get("XDG_CACHE_HOME") or Path(environment.get("HOME", "/")) / ".cache"
    return Path(base) / "artel" / "features"


class FeatureCache:
    """Features by the content of blocks of pictures and the encoder.

    Processes share a folder: who finds a block missing locks it, encodes it and writes it in one
    step. A folder that cannot be written costs time, not results.

    Args:
        encoder: E.
        folder: Made if missing.
    """

    def __init__(self, encoder: PictureEncoder, folder: Path) -> None:
        self._encoder = encoder
        self._folder = folder
        with contextlib.suppress(OSError):
            folder.mkdir(parents=True, exist_ok=True)

    def block(self, pictures: Pictures) -> Floats:
        """Features of unit length, as kept: rounded to float16. Shape [n, dimensions].

        Args:
            pictures: At most BLOCK_PICTURES. Shape [n, h, w, c].
        """
        path = self._path(pictures)
        kept = self._read(path, len(pictures))
        if kept is not None:
            return kept
        with _locked(path.with_suffix(".lock")):
            kept = self._read(path, len(pictures))
            if kept is None:
                kept = self._encoder.encode(pictures).astype(np.float16).astype(np.float32)
                self._write(path, kept)
        return kept

    def _path(self, pictures: Pictures) -> Path:
        name = f"{self._encoder.identity} {pictures.shape}"
        content = hashlib.blake2b(name.encode(), digest_size=20)
        content.update(np.ascontiguousarray(pictures).data)
        return self._folder / f"{content.hexdigest()}.npy"

    def _read(self, path: Path, count: int) -> Floats | None:
        """What is kept; None if nothing, or nothing that fits."""
        try:
            found = np.load(path, allow_pickle=False)
        except (OSError, ValueError, EOFError):
            return None
        if found.dtype != np.float16 or found.shape != (count, self._encoder.dimensions):
            return None
        features: Floats = found.astype(np.float32)
        return features if np.isfinite(features).all() else None

    def _write(self, path: Path, features: Floats) -> None:
        part = path.with_name(f".{path.name}.{os.getpid()}.part")
        with contextlib.suppress(OSError):
            with part.open("wb") as file:
                np.save(file, features.astype(np.float16))
            os.replace(part, path)


@contextlib.contextmanager
def _locked(path: Path) -> Iterator[None]:
    """While inside, no other process is, for the same path; where no file can be made, any may."""
    try:
        descriptor = os.open(path, os.O_CREAT | os.O_RDWR, 0o600)
    except OSError:
        yield
        return
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        with contextlib.suppress(OSError):
            os.unlink(path)
        os.close(descriptor)


class Encoding:
    """Features of a fixed list of pictures, found block by block.

    Args:
        cache: Finds them.
        pictures: Shape [n, h, w, c].
        first_block: Where to begin; processes that need the same begin at different places.
    """

    def __init__(self, cache: FeatureCache, pictures: Pictures, first_block: int = 0) -> None:
        self._cache = cache
        self._pictures = pictures
        self.features: Floats = np.zeros((len(pictures), cache._encoder.dimensions), np.float32)
        """Zero where not yet found. Shape [n, dimensions]."""
        blocks = -(-len(pictures) // BLOCK_PICTURES)
        self._left = [(first_block + i) % blocks for i in reversed(range(blocks))]

    @property
    def complete(self) -> bool:
        """Whether all are found."""
        return not self._left

    def step(self) -> slice:
        """Find one more block; its rows."""
        start = self._left.pop() * BLOCK_PICTURES
        rows = slice(start, min(start + BLOCK_PICTURES, len(self._pictures)))
        self.features[rows] = self._cache.block(self._pictures[rows])
        return rows
