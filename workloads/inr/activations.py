"""Activations with their derivatives, each computed once in the forward pass.

Sine and cosine dominate an activation's cost, so a pass that will need the derivative computes it
beside the value and saves that one tensor; the backward pass is a single product.
"""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from workloads.inr.config import InrConfig

Elementwise = Callable[[Tensor, bool], tuple[Tensor, Tensor | None]]
"""(x, derivative wanted) -> (f(x), f'(x) or None), both new tensors of the shape of x."""

SINC_NUDGE = 1e-20
"""Added to sinc's argument so that 0 / 0 cannot arise: far below the rounding of any other one."""


def sine(omega: float) -> Elementwise:
    """sin(omega x). Source: Sitzmann et al. 2020, arXiv:2006.09661, section 3.2."""

    def function(x: Tensor, derivative: bool) -> tuple[Tensor, Tensor | None]:
        z = x * omega
        return torch.sin(z), torch.cos(z).mul_(omega) if derivative else None

    return function


def sinc(omega: float) -> Elementwise:
    """sin(omega x) / (omega x), and 1 at 0.

    Next to 0 the slope (cos z - sinc z) / z is all rounding error. It is held within its exact
    bound |z| / 3, which is also the first term of its Taylor series: an error of at most 2e-4 in
    float32, where |z| is near 1e-3, and none at 0. A branch would cost more than the cosine.

    Source:
        Saratchandran et al. 2024, arXiv:2402.05427: the one activation studied there whose
        translates form a Riesz basis with the partition of unity.
        Differs: ``torch.sinc`` is not used; it and its derivative are several times slower.
    """

    def function(x: Tensor, derivative: bool) -> tuple[Tensor, Tensor | None]:
        z = (x * omega).add_(SINC_NUDGE)
        value = torch.sin(z).div_(z)
        if not derivative:
            return value, None
        slope = torch.cos(z).sub_(value).div_(z)
        bound = z.abs_().mul_(1 / 3)
        torch.minimum(slope, bound, out=slope)
        torch.maximum(slope, bound.neg_(), out=slope)
        return value, slope.mul_(omega)

    return function


def gaussian(sigma: float) -> Elementwise:
    """exp(-x^2 / (2 sigma^2)). Source: Ramasinghe and Lucey 2022, arXiv:2111.15135, table 1."""

    def function(x: Tensor, derivative: bool) -> tuple[Tensor, Tensor | None]:
        value = torch.exp((x * x).mul_(-0.5 / sigma**2))
        return value, (x * value).mul_(-1 / sigma**2) if derivative else None

    return function


def wire(omega: float, sigma: float) -> Elementwise:
    """cos(omega x) exp(-(sigma x)^2): the real part of WIRE's Gabor wavelet.

    Source:
        Saragadam et al. 2023, arXiv:2301.05187, section 3.
        Differs: real weights and values, where the paper's are complex after the first layer.
    """

    def function(x: Tensor, derivative: bool) -> tuple[Tensor, Tensor | None]:
        z = x * omega
        window = torch.exp((x * x).mul_(-(sigma**2)))
        value = torch.cos(z).mul_(window)
        if not derivative:
            return value, None
        slope = torch.sin(z).mul_(window).mul_(-omega)
        return value, slope.add_((x * value).mul_(-2 * sigma**2))

    return function


def relu(x: Tensor, derivative: bool) -> tuple[Tensor, Tensor | None]:
    """max(x, 0)."""
    return x.clamp_min(0), (x > 0).to(x.dtype) if derivative else None


def choose(config: InrConfig) -> Elementwise:
    """The activation that ``config`` names, with its settings."""
    omega, sigma = config.omega or 0.0, config.sigma or 0.0
    match config.activation:
        case "sinc":
            return sinc(omega)
        case "sine":
            return sine(omega)
        case "gaussian":
            return gaussian(sigma)
        case "wire":
            return wire(omega, sigma)
        case "relu_ff":
            return relu


class _Apply(torch.autograd.Function):
    """Makes an ``Elementwise`` differentiable once."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, function: Elementwise) -> Tensor:
        value, slope = function(x, ctx.needs_input_grad[0])
        ctx.save_for_backward(slope)
        return value

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None]:
        (slope,) = ctx.saved_tensors
        return grad * slope, None


def apply(function: Elementwise, x: Tensor) -> Tensor:
    """``function`` of every element of ``x``, as a node of torch's graph."""
    value: Tensor = _Apply.apply(x, function)  # type: ignore[no-untyped-call]
    return value
