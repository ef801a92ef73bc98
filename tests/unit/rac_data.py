"""Small pictures that a classifier can tell apart, for the tests of RAC."""

from pathlib import Path
from typing import Any

import numpy as np

CLASSES = ("bar", "column", "square", "diagonal")
SIDE = 12


def pictures(labels: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """One pattern a class, at a place of its own in each picture, with noise. [n, h, w, 1]."""
    x = rng.normal(60, 25, (len(labels), SIDE, SIDE))
    for picture, label, (top, left) in zip(
        x, labels, rng.integers(0, 3, (len(labels), 2)), strict=True
    ):
        part = picture[top : top + 9, left : left + 9]
        if label == 0:
            part[3:6] += 120
        elif label == 1:
            part[:, 3:6] += 120
        elif label == 2:
            part[2:7, 2:7] += 120
        else:
            part[np.arange(9), np.arange(9)] += 150
    return x.clip(0, 255).astype(np.uint8)[..., None]


def write(path: Path, train: int = 200, test: int = 80, without: tuple[int, ...] = ()) -> Path:
    """An npz file; classes in ``without`` have no training examples."""
    rng = np.random.default_rng(5)
    labels = {"train": np.arange(train) % 4, "test": np.arange(test) % 4}
    arrays: dict[str, Any] = {"classes": np.array(CLASSES)}
    for part, given in labels.items():
        seen = pictures(given, rng)
        kept = ~np.isin(given, without) if part == "train" else np.ones(len(given), bool)
        arrays |= {f"{part}_images": seen[kept], f"{part}_labels": given[kept]}
    np.savez(path, **arrays)
    return path


def config(path: Path, **more: Any) -> dict[str, Any]:
    small = {"width": 4, "text_width": 8, "neighbours": 8, "batch": 16, "many": 30, "few": 10}
    return {"data": str(path), "encoder": "pixels", "test_max": 80, **small, **more}
