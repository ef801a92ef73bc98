"""A half-built memory of one author on disk, so that a build of hours goes on where it stopped."""

import json
import os
from dataclasses import dataclass, field

import faiss
import numpy as np

EVERY = 50
"""Chunks between two checkpoints."""


@dataclass
class Spent:
    """CPU time since the last size that was measured."""

    chunks: int = 0
    cpu_s: float = 0.0
    start_size: int = 0
    slowest_s: float = 0.0
    measured: list[int] = field(default_factory=list)


def save(folder, memory, truth, spent):
    """Write what cannot be computed anew quickly; the old checkpoint stays until it is done."""
    part = folder.with_suffix(".part")
    part.mkdir(parents=True, exist_ok=True)
    shelf = memory._shelves[1]
    np.savez(part / "state.npz", digests=shelf.digests, best=truth.best, ids=truth.ids)
    index = getattr(shelf.index, "_codes", None) or shelf.index._index
    faiss.write_index(index, str(part / "index.faiss"))
    train_at = getattr(shelf.index, "_train_at", 0)
    (part / "spent.json").write_text(json.dumps({**vars(spent), "train_at": train_at}))
    if folder.exists():
        for old in folder.iterdir():
            old.unlink()
        folder.rmdir()
    os.rename(part, folder)


def load(folder, memory, truth, chunk):
    """Fill an empty memory and its truth; ``chunk(n)`` gives the keys of the n-th chunk from 1."""
    if not (folder / "spent.json").exists():
        return Spent()
    said = json.loads((folder / "spent.json").read_text())
    train_at = said.pop("train_at")
    spent, state = Spent(**said), np.load(folder / "state.npz")
    truth.best, truth.ids = state["best"], state["ids"]
    memory._number("author 0")
    shelf = memory._shelves[1]
    shelf._table.place(state["digests"])
    shelf._labels, shelf._digests = np.zeros(len(shelf), np.int32), state["digests"].copy()
    built = faiss.read_index(str(folder / "index.faiss"))
    if not hasattr(shelf.index, "_codes"):
        shelf.index._index = built
        return spent
    shelf.index._codes, shelf.index._few, shelf.index._train_at = built, None, train_at
    for number in range(1, spent.chunks + 1):
        shelf.index._keys.add(chunk(number))
    return spent
