"""The PNG files that show how far a job has come."""

import os
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw

from workloads.inr.image import Picture, displayable

ERROR_GAIN = 8
"""Factor on the absolute error, so that an error of 1/8 shows as white."""
LABEL_PX = 16
"""Height of the strip above each panel."""
PANEL_PX_MIN = 128
"""Panels of the side-by-side picture are enlarged by a whole factor to at least this width."""


def write(original: Picture, reconstruction: Picture, folder: Path) -> list[Path]:
    """Write ``original.png``, ``reconstruction.png`` and ``side_by_side.png``.

    Args:
        original: Colours in [0, 1]. Shape [h, w, 3].
        reconstruction: Same shape, any values.
        folder: Made if missing.

    Returns:
        The paths, in that order. A reader never sees a half-written file.
    """
    folder.mkdir(parents=True, exist_ok=True)
    fitted = displayable(reconstruction)
    error = (np.abs(fitted - original) * ERROR_GAIN).clip(0, 1)
    panels = [
        ("original", original),
        ("reconstruction", fitted),
        (f"error x {ERROR_GAIN}", error),
    ]
    pictures = {
        "original.png": _image(original),
        "reconstruction.png": _image(fitted),
        "side_by_side.png": _side_by_side(panels),
    }
    return [_save(picture, folder / name) for name, picture in pictures.items()]


def _image(picture: Picture) -> Image.Image:
    return Image.fromarray(np.rint(picture * 255).astype(np.uint8))


def _side_by_side(panels: list[tuple[str, Picture]]) -> Image.Image:
    """Labelled panels in a row."""
    height, width, _ = panels[0][1].shape
    factor = max(1, -(-PANEL_PX_MIN // width))
    height, width = height * factor, width * factor
    sheet = Image.new("RGB", (width * len(panels), height + LABEL_PX), "white")
    draw = ImageDraw.Draw(sheet)
    for column, (label, picture) in enumerate(panels):
        panel = _image(picture).resize((width, height), Image.Resampling.NEAREST)
        sheet.paste(panel, (column * width, LABEL_PX))
        draw.text((column * width + 4, 2), label, fill="black")
    return sheet


def _save(picture: Image.Image, path: Path) -> Path:
    """Replace ``path`` in one step."""
    part = path.with_name(f".{path.name}.part")
    picture.save(part, format="PNG")
    os.replace(part, path)
    return path
