"""What ``artel bench robustness`` trains: honest gradients, and how good the parameters are.

Shapes: H honest workers, D parameters.
"""

import gzip
from collections.abc import Callable
from functools import lru_cache
from pathlib import Path
from typing import Protocol

import numpy as np
import numpy.typing as npt

from node.errors import ConfigError

Vector = npt.NDArray[np.float64]
Matrix = npt.NDArray[np.float64]
Labels = npt.NDArray[np.int64]
Draws = np.random.Generator
CLASSES = 10
PIXELS = 784


class Task(Protocol):
    """A problem that H honest workers share."""

    unit: str
    """Of ``score``."""

    def start(self) -> Vector:
        """First parameters, [D]."""

    def gradients(self, at: Vector, flipped: bool) -> Matrix:
        """A stochastic gradient of each honest worker, [H, D]; ``flipped``: of false labels."""

    def score(self, at: Vector) -> float:
        """How good parameters are."""


class Quadratic:
    """Each worker has its own optimum around a common one; curvatures from 1 down to 1/100.

    The score is log10 of the distance to the common optimum, relative to the start: lower is
    better.
    """

    unit = "log10 distance"

    def __init__(
        self, workers: int, gamma: float, draws: np.random.Generator, d: int = 500
    ) -> None:
        self._draws = draws
        self._curvature = np.logspace(-2, 0, d)
        self._optimum = draws.standard_normal(d)
        away = draws.standard_normal((workers, d))
        self._own = self._optimum + (1 - gamma) * (away - away.mean(axis=0))

    def start(self) -> Vector:
        """Zeros."""
        return np.zeros(len(self._optimum))

    def gradients(self, at: Vector, flipped: bool) -> Matrix:
        """Exact gradients with noise; of a false label: towards the mirrored optimum."""
        noise = self._draws.standard_normal(self._own.shape)
        own = -self._own if flipped else self._own
        return np.asarray(self._curvature * (at - own) + 0.5 * noise)

    def score(self, at: Vector) -> float:
        """log10 of the relative distance."""
        near = np.linalg.norm(at - self._optimum) / np.linalg.norm(self._optimum)
        return float(np.log10(max(float(near), 1e-9)))


class Fashion:
    """Fashion-MNIST by softmax regression, each worker with its own part of the training set.

    A share gamma of the data is dealt evenly, the rest sorted by label. The score is the accuracy
    on the test set, in percent.
    """

    unit = "% accuracy"

    def __init__(
        self, workers: int, gamma: float, draws: np.random.Generator, folder: Path
    ) -> None:
        self._draws = draws
        pictures, labels = _read(folder, "train")
        self._test = _read(folder, "t10k")
        order = draws.permutation(len(labels))
        even = order[: int(gamma * len(order))]
        rest = order[len(even) :]
        rest = rest[np.argsort(labels[rest], kind="stable")]
        dealt = zip(np.array_split(even, workers), np.array_split(rest, workers), strict=True)
        self._parts = [(pictures[at], labels[at]) for at in map(np.concatenate, dealt)]

    def start(self) -> Vector:
        """Zeros: the problem is convex."""
        return np.zeros((PIXELS + 1) * CLASSES)

    def gradients(self, at: Vector, flipped: bool) -> Matrix:
        """Of the cross-entropy on 25 drawn pictures each; a false label is 9 minus the true one."""
        found = []
        for pictures, labels in self._parts:
            drawn = self._draws.integers(0, len(labels), 25)
            wanted = CLASSES - 1 - labels[drawn] if flipped else labels[drawn]
            found.append(_gradient(at, pictures[drawn], wanted))
        return np.array(found)

    def score(self, at: Vector) -> float:
        """Accuracy on the test set."""
        pictures, labels = self._test
        return 100 * float((_logits(at, pictures).argmax(axis=1) == labels).mean())


def _logits(at: Vector, pictures: Matrix) -> Matrix:
    table = at.reshape(PIXELS + 1, CLASSES)
    return np.asarray(pictures @ table[:-1] + table[-1])


def _gradient(at: Vector, pictures: Matrix, labels: Labels) -> Vector:
    logits = _logits(at, pictures)
    p = np.exp(logits - logits.max(axis=1, keepdims=True))
    p /= p.sum(axis=1, keepdims=True)
    p[np.arange(len(labels)), labels] -= 1
    return np.vstack([pictures.T @ p, p.sum(axis=0)]).ravel() / len(labels)


@lru_cache(maxsize=2)
def _read(folder: Path, name: str) -> tuple[Matrix, Labels]:
    """Pictures [N, 784] within [0, 1], and labels [N]."""
    try:
        pictures = gzip.decompress((folder / f"{name}-images-idx3-ubyte.gz").read_bytes())
        labels = gzip.decompress((folder / f"{name}-labels-idx1-ubyte.gz").read_bytes())
    except OSError as error:
        raise ConfigError(
            f"{error}; the task fashion needs the four *-ubyte.gz files of Fashion-MNIST: "
            "name their folder with --data"
        ) from error
    values = np.frombuffer(pictures, np.uint8, offset=16).reshape(-1, PIXELS) / 255.0
    return values, np.frombuffer(labels, np.uint8, offset=8).astype(np.int64)


def task(name: str, workers: int, gamma: float, seed: int, folder: Path) -> Task:
    """The task called ``name``.

    Raises:
        ConfigError: there is none, or its data is not in ``folder``.
    """
    draws = np.random.default_rng([seed, workers])
    made: dict[str, Callable[[], Task]] = {
        "quadratic": lambda: Quadratic(workers, gamma, draws),
        "fashion": lambda: Fashion(workers, gamma, draws, folder),
    }
    if name not in made:
        raise ConfigError(f"no task is called {name!r}; choose one of {', '.join(made)}")
    return made[name]()
