"""What is worth seeing of a classifier: its confusions, its classes by shot, its neighbours."""

import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageDraw

from workloads.rac import metrics
from workloads.rac.datasets import Pictures
from workloads.rac.measuring import Answers

DPI = 120
CLASSES_NAMED_MAX = 40
"""With more classes names are left out."""
QUERIES_SHOWN = 12
NEIGHBOURS_SHOWN = 6
CELL_PX = (100, 60)
"""Width and height of a cell of the sheet."""
PICTURE_PX = 40
LINE_CHARACTERS = 16


@dataclass(frozen=True, eq=False)
class Scene:
    """What pictures need to know of a job."""

    names: tuple[str, ...]
    counts: npt.NDArray[np.int64]
    """Training examples by class."""
    thresholds: tuple[int, int]
    """Of many and few."""


def write(
    answers: Answers, scene: Scene, shown: Pictures, authors: Mapping[str, int], folder: Path
) -> list[Path]:
    """``confusion.png``, ``classes.png``, and where something was retrieved ``neighbours.png``.

    Args:
        answers: To the test.
        scene: Of the job.
        shown: Test pictures. Shape [n, h, w, c].
        authors: Numbers by name, without oneself.
        folder: Made if missing.
    """
    paths = [
        confusion_matrix(answers, scene, folder / "confusion.png"),
        class_bars(answers, scene, folder / "classes.png"),
    ]
    if answers.found is not None:
        names = {0: "own", **{number: name for name, number in authors.items()}}
        paths.append(neighbour_sheet(answers, scene, shown, names, folder / "neighbours.png"))
    return paths


def confusion_matrix(answers: Answers, scene: Scene, path: Path) -> Path:
    """Share of each class's test examples by predicted class; written atomically."""
    classes = len(scene.names)
    counted = metrics.confusion(answers.predicted, answers.labels, classes)
    shares = counted / np.maximum(counted.sum(axis=1, keepdims=True), 1)
    figure, axes = _figure(6.5, 6)
    shown = axes.imshow(shares, vmin=0, vmax=1, cmap="Blues")
    figure.colorbar(shown, ax=axes, shrink=0.8, label="share of the class")
    axes.set(xlabel="predicted", ylabel="class", title="confusions")
    if classes <= CLASSES_NAMED_MAX:
        axes.set_xticks(range(classes), scene.names, rotation=90)
        axes.set_yticks(range(classes), scene.names)
        for row, column in np.argwhere(shares >= 0.01) if classes <= 20 else ():
            colour = "white" if shares[row, column] > 0.5 else "black"
            text = f"{100 * shares[row, column]:.0f}"
            axes.text(column, row, text, ha="center", va="center", color=colour, fontsize=8)
    return _save(figure, path)


def class_bars(answers: Answers, scene: Scene, path: Path) -> Path:
    """Accuracy of each class, fused and by branch, classes with most examples first."""
    order = np.argsort(-scene.counts, kind="stable")
    lines: dict[str, Any] = {"fused": answers.fused}
    lines |= {"base": answers.base, "retrieval": answers.retrieval}
    if answers.found is not None:
        lines["vote"] = answers.found.votes
    figure, axes = _figure(7, 4)
    for name, scores in lines.items():
        if scores is None:
            continue
        right = metrics.class_accuracy(scores.argmax(axis=1), answers.labels, len(scene.names))
        style = {"lw": 2.5, "color": "black"} if name == "fused" else {"lw": 1}
        axes.plot(right[order], marker="o", markersize=3, label=name, **style)
    groups = metrics.shots(scene.counts, *scene.thresholds)
    for name, colour in zip(metrics.SHOTS, ("0.9", "0.95", "0.9"), strict=True):
        places = np.flatnonzero(groups[name][order])
        if len(places):
            axes.axvspan(places[0] - 0.5, places[-1] + 0.5, color=colour, zorder=0)
            axes.text(places.mean(), 1.02, name, ha="center", fontsize=8)
    axes.set(ylim=(0, 1.08), ylabel="accuracy", xlabel="class (training examples)")
    if len(order) <= CLASSES_NAMED_MAX:
        names = [f"{scene.names[c]} ({scene.counts[c]})" for c in order]
        axes.set_xticks(range(len(order)), names, rotation=60, ha="right", fontsize=8)
    axes.legend(frameon=False, loc="lower left", fontsize=8)
    return _save(figure, path)


def neighbour_sheet(
    answers: Answers, scene: Scene, shown: Pictures, authors: Mapping[int, str], path: Path
) -> Path:
    """Test pictures with label, similarity and author of their nearest entries.

    Entries carry no pictures: other nodes' examples stay with them. Shown are evenly many of all
    classes, those with fewest training examples first, up to QUERIES_SHOWN.

    Args:
        answers: With what was found.
        scene: Of the job.
        shown: Test pictures. Shape [n, h, w, c].
        authors: Names by number.
        path: Written atomically.
    """
    assert answers.found is not None
    found = answers.found
    rarest = np.argsort(scene.counts, kind="stable")
    firsts = [np.flatnonzero(answers.labels == c)[:2] for c in rarest]
    queries = np.concatenate(firsts)[:QUERIES_SHOWN]
    columns = 1 + min(NEIGHBOURS_SHOWN, found.labels.shape[1])
    sheet = Image.new("RGB", (CELL_PX[0] * (columns + 1), CELL_PX[1] * len(queries)), "white")
    draw = ImageDraw.Draw(sheet)
    for row, query in enumerate(queries):
        label, top = int(answers.labels[query]), row * CELL_PX[1]
        picture = Image.fromarray(shown[query].squeeze())
        sheet.paste(picture.resize((PICTURE_PX, PICTURE_PX)), (2, top + 2))
        predicted = int(answers.predicted[query])
        _write(draw, (0, top), ("", "", "", scene.names[label]), True)
        _write(draw, (1, top), ("predicted:", scene.names[predicted]), predicted == label)
        for place in range(columns - 1):
            near = int(found.labels[query, place])
            if near >= 0:
                author = authors.get(int(found.authors[query, place]), "?")
                lines = (scene.names[near], f"{found.similarity[query, place]:.3f}", author[-12:])
                _write(draw, (2 + place, top), lines, near == label)
    return _atomically(path, lambda part: sheet.save(part, format="PNG"))


def _write(
    draw: ImageDraw.ImageDraw, cell: tuple[int, int], lines: tuple[str, ...], right: bool
) -> None:
    """Lines of text in a cell, given by its column and the row's top, green where right."""
    left = cell[0] * CELL_PX[0] + 4
    for number, line in enumerate(lines):
        shown = line.encode("latin-1", "replace").decode("latin-1")[:LINE_CHARACTERS]
        draw.text((left, cell[1] + 4 + 13 * number), shown, fill="green" if right else "red")


def _figure(width: float, height: float) -> tuple[Any, Any]:
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, height), layout="constrained")
    return figure, figure.add_subplot()


def _save(figure: Any, path: Path) -> Path:
    return _atomically(path, lambda part: figure.savefig(part, format="png", dpi=DPI))


def _atomically(path: Path, write: Callable[[Path], None]) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(f".{path.name}.part")
    write(part)
    os.replace(part, path)
    return path
