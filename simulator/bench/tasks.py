"""What ``artel bench robustness`` trains: honest gradients, and how good the parameters are.

Shapes: H honest workers, D parameters.
"""

import gzip
from collections.abc import Callable, Iterator
from functools import lru_cache
from pathlib import Path
from typing import Protocol

import numpy as np
import numpy.typing as npt

from node.errors import ConfigError
from simulator.bench.convnet import Convnet

Vector = npt.NDArray[np.float64]
Matrix = npt.NDArray[np.float64]
Labels = npt.NDArray[np.int64]
Draws = np.random.Generator
CLASSES = 10
PIXELS = 784
BATCH = 25
TESTED = 500
"""Test pictures looked at together."""


class Task(Protocol):
    """A problem that H honest workers share."""

    unit: str
    """Of ``score``."""

    def start(self) -> Vector:
        """First parameters, [D]."""

    def gradients(self, at: Vector | Matrix, flipped: bool) -> Matrix:
        """A stochastic gradient of each honest worker, [H, D]; ``flipped``: of false labels.

        ``at`` is one vector for all, [D], or one each, [H, D].
        """

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

    def gradients(self, at: Vector | Matrix, flipped: bool) -> Matrix:
        """Exact gradients with noise; of a false label: towards the mirrored optimum."""
        noise = self._draws.standard_normal(self._own.shape)
        own = -self._own if flipped else self._own
        return np.asarray(self._curvature * (at - own) + 0.5 * noise)

    def score(self, at: Vector) -> float:
        """log10 of the relative distance."""
        near = np.linalg.norm(at - self._optimum) / np.linalg.norm(self._optimum)
        return float(np.log10(max(float(near), 1e-9)))


class Pictures:
    """Pictures in ten classes, each worker with its own part of the training set.

    A share gamma of the data is dealt evenly, the rest sorted by label: gamma-similarity. The score
    is the accuracy on the test set, in percent.
    """

    unit = "% accuracy"

    def __init__(self, workers: int, gamma: float, draws: Draws, folder: Path) -> None:
        self._draws = draws
        pictures, labels = _read(folder, "train")
        self._test = _read(folder, "t10k")
        order = draws.permutation(len(labels))
        even = order[: int(gamma * len(order))]
        rest = order[len(even) :]
        rest = rest[np.argsort(labels[rest], kind="stable")]
        dealt = zip(np.array_split(even, workers), np.array_split(rest, workers), strict=True)
        self._parts = [(pictures[at], labels[at]) for at in map(np.concatenate, dealt)]

    def batches(self, flipped: bool) -> Iterator[tuple[Matrix, Labels]]:
        """BATCH drawn pictures of each worker; a false label is 9 minus the true one."""
        for pictures, labels in self._parts:
            drawn = self._draws.integers(0, len(labels), BATCH)
            yield pictures[drawn], CLASSES - 1 - labels[drawn] if flipped else labels[drawn]

    def accuracy(self, logits: Callable[[Matrix], npt.NDArray[np.floating]]) -> float:
        """On the test set."""
        pictures, labels = self._test
        starts = range(0, len(labels), TESTED)
        found = np.concatenate([logits(pictures[k : k + TESTED]).argmax(axis=1) for k in starts])
        return 100 * float((found == labels).mean())


class Softmax(Pictures):
    """Softmax regression."""

    def start(self) -> Vector:
        """Zeros: the problem is convex."""
        return np.zeros((PIXELS + 1) * CLASSES)

    def gradients(self, at: Vector | Matrix, flipped: bool) -> Matrix:
        """Of the mean cross-entropy."""
        places = at if at.ndim == 2 else [at] * len(self._parts)
        batches = zip(places, self.batches(flipped), strict=True)
        return np.array([_gradient(place, *batch) for place, batch in batches])

    def score(self, at: Vector) -> float:
        """Accuracy."""
        return self.accuracy(lambda pictures: _logits(at, pictures))


class Convolutional(Pictures):
    """A small convolutional network."""

    def __init__(
        self, workers: int, gamma: float, draws: Draws, folder: Path, network: Convnet
    ) -> None:
        super().__init__(workers, gamma, draws, folder)
        self._network = network
        self._first = network.start(draws)

    def start(self) -> Vector:
        """As torch's layers start."""
        return self._first.astype(np.float64)

    def gradients(self, at: Vector | Matrix, flipped: bool) -> Matrix:
        """Of the mean cross-entropy."""
        pictures, labels = map(np.array, zip(*self.batches(flipped), strict=True))
        found = self._network.gradients(at.astype(np.float32), _standard(pictures), labels)
        return found.astype(np.float64)

    def score(self, at: Vector) -> float:
        """Accuracy."""
        narrow = at.astype(np.float32)
        return self.accuracy(lambda pictures: self._network.logits(narrow, _standard(pictures)))


def _standard(pictures: Matrix) -> npt.NDArray[np.float32]:
    """Centred and scaled as MNIST usually is. [..., 784] -> [..., 28, 28]."""
    scaled = (pictures - 0.1307) / 0.3081
    return scaled.reshape(*pictures.shape[:-1], 28, 28).astype(np.float32)


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
            f"{error}; tasks with pictures need the four *-ubyte.gz files of MNIST or Fashion-MNIST"
            ": name their folder with --data"
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
        "fashion": lambda: Softmax(workers, gamma, draws, folder),
        "cnn": lambda: Convolutional(workers, gamma, draws, folder, Convnet(20, 50, 500)),
        "cnn-small": lambda: Convolutional(workers, gamma, draws, folder, Convnet(8, 16, 64)),
    }
    if name not in made:
        raise ConfigError(f"no task is called {name!r}; choose one of {', '.join(made)}")
    return made[name]()
