"""A picture as colours in [0, 1] on a grid of coordinates."""

import math
from importlib import resources
from pathlib import Path

import numpy as np
import numpy.typing as npt
from PIL import Image

from workloads.api import WorkloadError

PIXELS_MAX = 64 * 1024 * 1024
"""Largest picture that is decoded, in pixels."""

PSNR_DB_MAX = 100.0
"""PSNR reported for pictures that are equal or nearly so."""

Picture = npt.NDArray[np.float32]
"""Colours in [0, 1]. Shape [height, width, 3]."""


def load(image: str, size: int) -> Picture:
    """Read a picture and scale it down to ``size`` pixels on its longest side.

    Args:
        image: Name of a picture in scikit-image's package, or a path. Never fetched from a network.
        size: In pixels. A smaller picture stays as it is.

    Raises:
        WorkloadError: No such picture, not a picture, or above ``PIXELS_MAX``.
    """
    path = _find(image)
    try:
        with Image.open(path) as opened:
            if opened.width * opened.height > PIXELS_MAX:
                raise WorkloadError(
                    f"image {image} has {opened.width} x {opened.height} pixels, more than "
                    f"{PIXELS_MAX}: scale it down first"
                )
            return scale_down(_to_rgb(opened), size)
    except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
        raise WorkloadError(f"image {image}: {error}: scale it down first") from error
    except (OSError, SyntaxError) as error:
        raise WorkloadError(f"image {image} cannot be read as a picture: {error}") from error


def scale_down(picture: Image.Image, size: int) -> Picture:
    """Average areas until the longest side has ``size`` pixels.

    Where a whole number of pixels falls on each new one the average is exact; elsewhere PIL's box
    filter weighs the pixels by the area that they share.
    """
    longest = max(picture.size)
    if longest <= size:
        return _colours(picture)
    factor, rest = divmod(longest, size)
    if rest == 0 and picture.width % factor == 0 and picture.height % factor == 0:
        height, width = picture.height // factor, picture.width // factor
        blocks = np.asarray(picture).reshape(height, factor, width, factor, 3)
        sums = blocks.sum(axis=(1, 3), dtype=np.int64)
        means: Picture = (sums / (255.0 * factor * factor)).astype(np.float32)
        return means
    width = max(1, round(picture.width * size / longest))
    height = max(1, round(picture.height * size / longest))
    smaller = picture.resize((width, height), Image.Resampling.BOX)
    return _colours(smaller)


def grid(height: int, width: int) -> npt.NDArray[np.float32]:
    """(y, x) of every pixel, row by row, each from -1 to 1. Shape [height * width, 2]."""
    ys = np.linspace(-1, 1, height) if height > 1 else np.zeros(1)
    xs = np.linspace(-1, 1, width) if width > 1 else np.zeros(1)
    mesh = np.stack(np.meshgrid(ys, xs, indexing="ij"), axis=-1)
    return mesh.reshape(-1, 2).astype(np.float32)


def psnr_db(mse: float) -> float:
    """Peak signal-to-noise ratio of colours in [0, 1], in decibels, at most ``PSNR_DB_MAX``.

    Args:
        mse: Mean squared error, at least 0.

    Example:
        >>> round(psnr_db(0.001), 6)
        30.0
    """
    return min(PSNR_DB_MAX, -10 * math.log10(max(mse, 1e-30)))


def displayable(picture: Picture) -> Picture:
    """Colours clipped to [0, 1]; what is not a number, as from a spoilt model, is black."""
    return np.nan_to_num(picture, nan=0.0, posinf=1.0, neginf=0.0).clip(0, 1)


def _find(image: str) -> Path:
    """The file that ``image`` names."""
    folder = Path(str(resources.files("skimage"))) / "data"
    names = {path.stem: path for path in sorted(folder.iterdir()) if _is_picture(path)}
    if image in names:
        return names[image]
    path = Path(image)
    if path.is_file():
        return path
    raise WorkloadError(
        f"no picture {image!r}: give a path to an image file, or one of {', '.join(sorted(names))}"
    )


def _colours(picture: Image.Image) -> Picture:
    colours: Picture = np.asarray(picture, dtype=np.float32) / np.float32(255)
    return colours


def _is_picture(path: Path) -> bool:
    return path.suffix in {".png", ".jpg", ".tif", ".gif"}


def _to_rgb(picture: Image.Image) -> Image.Image:
    """The first frame in 8-bit RGB, transparency laid over white."""
    if picture.mode.startswith("I"):
        deep = np.asarray(picture).astype(np.int64).clip(0, 65535)
        return Image.fromarray((deep // 257).astype(np.uint8)).convert("RGB")
    if picture.has_transparency_data:
        layer = picture.convert("RGBA")
        white = Image.new("RGBA", layer.size, "white")
        return Image.alpha_composite(white, layer).convert("RGB")
    return picture.convert("RGB")
