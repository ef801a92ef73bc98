"""Independent random streams from one master seed: adding a draw in one place shifts no other."""

import hashlib

import numpy as np


def rng(seed: int, *path: str | int) -> np.random.Generator:
    """The random stream of one purpose, for example ``rng(seed, "link", a, b)``.

    The same on every machine and under every ``PYTHONHASHSEED``; streams of different paths are
    independent. Parts of the path are told apart by type and length, so that ``("ab",)``,
    ``("a", "b")`` and ``(1,)``, ``("1",)`` are four streams.

    Args:
        seed: Master seed of the run, any integer.
        path: What the stream is for, from the general to the particular.
    """
    digest = hashlib.sha256()
    for part in (seed, *path):
        raw = repr(part).encode()
        digest.update(len(raw).to_bytes(4, "big") + raw)
    return np.random.Generator(np.random.PCG64(int.from_bytes(digest.digest(), "big")))
