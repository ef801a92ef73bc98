"""The network as shapes, first parameters and a function: it holds no tensors of its own."""

import itertools
import math
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from workloads.api import FloatVector
from workloads.inr import activations
from workloads.inr.config import InrConfig

COORDINATES = 2
CHANNELS = 3

Shapes = tuple[tuple[str, tuple[int, ...]], ...]


def compute_shapes(config: InrConfig) -> Shapes:
    """Weight [out, in] and bias [out] of each layer, input first."""
    first = 2 * config.fourier_features if config.fourier_features else COORDINATES
    widths = [first, *[config.hidden_width] * config.hidden_layers, CHANNELS]
    shapes: list[tuple[str, tuple[int, ...]]] = []
    for layer, (fan_in, fan_out) in enumerate(itertools.pairwise(widths)):
        shapes += [(f"{layer}.weight", (fan_out, fan_in)), (f"{layer}.bias", (fan_out,))]
    return tuple(shapes)


def weight_bound(config: InrConfig, layer: int, fan_in: int) -> float:
    """Half the width of the uniform distribution of a layer's first weights.

    Source:
        sine: Sitzmann et al. 2020, arXiv:2006.09661, section 3.2: 1 / n first, then
        sqrt(6 / n) / omega.
        sinc, gaussian: Saratchandran et al. 2024, "From Activation to Initialization":
        1 / sqrt(n), last layer n^(-3/4).
        wire: Saragadam et al. 2023, authors' code: 1 / sqrt(n).
        relu_ff: He et al. 2015, arXiv:1502.01852: sqrt(6 / n).
    """
    is_last = layer == config.hidden_layers
    match config.activation:
        case "sine" if layer == 0:
            return 1 / fan_in
        case "sine":
            return math.sqrt(6 / fan_in) / (config.omega or 1.0)
        case "sinc" | "gaussian" if is_last:
            return 1 / math.sqrt(fan_in * math.sqrt(fan_in))
        case "relu_ff":
            return math.sqrt(6 / fan_in)
        case _:
            return 1 / math.sqrt(fan_in)


def initial(config: InrConfig, seed: int) -> FloatVector:
    """The first parameters: the same bits on every machine. Shape [d].

    Uniform doubles from PCG64, one product and one rounding each: nothing in it depends on the
    CPU. Biases are U(-1/sqrt(fan_in), 1/sqrt(fan_in)): with biases of 0 every feature of a sinc
    or Gaussian first layer would be centred on a line through the middle of the image.
    """
    rng = np.random.Generator(np.random.PCG64(seed))
    pieces: list[FloatVector] = []
    shapes = compute_shapes(config)
    for layer, ((_, weight), (_, bias)) in enumerate(zip(shapes[::2], shapes[1::2], strict=True)):
        fan_out, fan_in = weight
        bound = weight_bound(config, layer, fan_in)
        pieces.append(_uniform(rng, fan_out * fan_in, bound))
        pieces.append(_uniform(rng, bias[0], 1 / math.sqrt(fan_in)))
    return np.concatenate(pieces)


def _uniform(rng: np.random.Generator, count: int, bound: float) -> FloatVector:
    """``count`` numbers in [-bound, bound)."""
    return ((rng.random(count) * 2.0 - 1.0) * bound).astype(np.float32)


def frequencies(config: InrConfig, seed: int) -> npt.NDArray[np.float32] | None:
    """Frozen frequencies of relu_ff, in radians per unit. Shape [2, features]; None for others.

    A normal number is the sum of 12 uniform ones less 6 (Irwin-Hall): additions only, so the
    features are equal on every machine without being parameters.

    Source:
        Tancik et al. 2020, arXiv:2006.10739, section 3, "Gaussian".
    """
    if config.fourier_features is None:
        return None
    rng = np.random.Generator(np.random.PCG64([seed, 1]))
    normal = np.full((COORDINATES, config.fourier_features), -6.0)
    for _ in range(12):
        normal = normal + rng.random(normal.shape)
    return (normal * (2 * math.pi * (config.sigma or 0.0))).astype(np.float32)


class Network:
    """Coordinates to colour."""

    def __init__(self, config: InrConfig, seed: int, device: torch.device) -> None:
        self._activation = activations.choose(config)
        frozen = frequencies(config, seed)
        self._frequencies = None if frozen is None else torch.from_numpy(frozen).to(device)

    def features(self, coordinates: Tensor) -> Tensor:
        """What the first layer sees: the coordinates, or their Fourier features. [n, features]."""
        if self._frequencies is None:
            return coordinates
        phase = coordinates @ self._frequencies
        return torch.cat([torch.cos(phase), torch.sin(phase)], dim=1)

    def forward(self, tensors: Sequence[Tensor], features: Tensor) -> Tensor:
        """Colours in [0, 1] for a fitted network. Shape [n, 3].

        Args:
            tensors: Parameters as ``compute_shapes`` lists them.
            features: Shape [n, features].
        """
        x = features
        for weight, bias in zip(tensors[:-2:2], tensors[1:-2:2], strict=True):
            hidden = torch.addmm(bias, x, weight.t())
            x = activations.apply(self._activation, hidden)
        # Outputs start around 0, colours around 1/2.
        return torch.addmm(tensors[-1], x, tensors[-2].t()).mul(0.5).add(0.5)
