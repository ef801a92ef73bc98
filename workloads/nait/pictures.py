"""What is worth seeing of a learner: its best game, its learning curve, its memory by author."""

import os
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt
from PIL import Image

from workloads.nait.environment import Environment, Picture
from workloads.nait.records import RECENT, Records
from workloads.recall.memory import Memory

GIF_FRAMES_MAX = 900
"""Of a longer game the newest are shown."""
GIF_FRAME_MS = 70
MAP_POINTS_MAX = 4000
CURVE_DPI = 120


def best_game(environment: Environment, records: Records, path: Path) -> Path | None:
    """Play the best finished episode again and write it as a GIF.

    Args:
        environment: Not the one that is being played: it is reset.
        records: Hold the start and the moves.
        path: Written atomically.

    Returns:
        The path; None before an episode has ended, or where there is nothing to see.
    """
    if not records.best_moves:
        return None
    frames: list[Picture] = []
    environment.reset(records.best_start)
    skipped = len(records.best_moves) - GIF_FRAMES_MAX
    for step, action in enumerate(records.best_moves):
        environment.step(action)
        screen = environment.screen() if step >= skipped else None
        if screen is not None:
            frames.append(screen.copy())
    if not frames:
        return None
    first, *others = [Image.fromarray(frame).quantize(64) for frame in frames]

    def write(part: Path) -> None:
        first.save(part, "GIF", save_all=True, append_images=others, duration=GIF_FRAME_MS, loop=0)

    return _atomically(path, write)


def curve(records: Records, title: str, path: Path) -> Path | None:
    """Scores of the episodes and their running mean over agent steps; None before there are any."""
    if not records.episodes:
        return None
    from matplotlib.figure import Figure

    steps = [episode.end_step for episode in records.episodes]
    scores = [episode.score for episode in records.episodes]
    figure = Figure(figsize=(6, 3.6), layout="constrained")
    axes = figure.add_subplot()
    axes.plot(steps, scores, ".", color="0.7", markersize=4, label="episode")
    axes.plot(steps, running_mean(scores), color="C0", label=f"mean of {RECENT}")
    axes.set(xlabel="agent steps", ylabel="score", title=title)
    axes.legend(frameon=False)
    return _atomically(path, lambda part: figure.savefig(part, format="png", dpi=CURVE_DPI))


def memory_map(memory: Memory, path: Path) -> Path | None:
    """Keys in the plane of their two largest principal components, coloured by author.

    A key that several remember has the colour of the last of them. None below three nodes.
    """
    count = memory.nodes
    if count < 3:
        return None
    from matplotlib.figure import Figure

    shown = np.linspace(0, count - 1, min(count, MAP_POINTS_MAX)).astype(np.int64)
    places = principal_plane(memory.keys[shown])
    held = ~np.isnan(memory.values[:, shown])
    newest = len(held) - 1 - np.argmax(held[::-1], axis=0)
    figure = Figure(figsize=(5, 5), layout="constrained")
    axes = figure.add_subplot()
    names = ["own", *memory.authors]
    for number, name in enumerate(names):
        points = places[newest == number]
        if len(points):
            axes.scatter(points[:, 0], points[:, 1], s=3, color=f"C{number % 10}", label=name[:12])
    axes.set(xticks=[], yticks=[], title=f"memory by author: {count:,} keys")
    axes.legend(frameon=False, markerscale=4)
    return _atomically(path, lambda part: figure.savefig(part, format="png", dpi=CURVE_DPI))


def running_mean(scores: Sequence[float]) -> list[float]:
    """Mean of each score and of up to nine before it."""
    return [
        sum(scores[max(0, i + 1 - RECENT) : i + 1]) / min(i + 1, RECENT) for i in range(len(scores))
    ]


def principal_plane(keys: npt.NDArray[np.int8]) -> npt.NDArray[np.float64]:
    """Coordinates on the two directions of largest variance. Keys [n, d]; result [n, 2]."""
    centred = keys.astype(np.float64)
    centred -= centred.mean(axis=0)
    _, directions = np.linalg.eigh(centred.T @ centred)
    plane = directions[:, -1:-3:-1]
    if plane.shape[1] < 2:
        plane = np.concatenate([plane, np.zeros_like(plane)], axis=1)
    largest = np.abs(plane).argmax(axis=0)
    placed: npt.NDArray[np.float64] = centred @ (plane * np.sign(plane[largest, [0, 1]] + 1e-300))
    return placed


def _atomically(path: Path, write: Callable[[Path], None]) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(f".{path.name}.part")
    write(part)
    os.replace(part, path)
    return path
