"""Each activation's value and derivative against independent formulas."""

import math

import pytest
import torch

from workloads.inr import activations
from workloads.inr.config import InrConfig

FUNCTIONS = {
    "sine": (activations.sine(30.0), lambda x: torch.sin(30 * x)),
    "sinc": (activations.sinc(30.0), lambda x: torch.sinc(30 * x / math.pi)),
    "gaussian": (activations.gaussian(0.1), lambda x: torch.exp(-(x**2) / (2 * 0.1**2))),
    "wire": (
        activations.wire(20.0, 10.0),
        lambda x: torch.cos(20 * x) * torch.exp(-((10 * x) ** 2)),
    ),
    "relu": (activations.relu, torch.relu),
}


def points(dtype: torch.dtype = torch.float64) -> torch.Tensor:
    """0 and both sides of it, from next to it to 2."""
    away = torch.logspace(-12, 0.3, 2000, dtype=torch.float64)
    return torch.cat([-away, torch.zeros(1, dtype=torch.float64), away]).to(dtype)


@pytest.mark.parametrize("name", FUNCTIONS)
def test_value_is_the_textbook_formula(name):
    function, textbook = FUNCTIONS[name]
    torch.testing.assert_close(
        activations.apply(function, points()), textbook(points()), rtol=0, atol=1e-9
    )


@pytest.mark.parametrize("name", FUNCTIONS)
def test_gradient_is_the_finite_difference(name):
    function, textbook = FUNCTIONS[name]
    x = points().requires_grad_()
    activations.apply(function, x).sum().backward()
    h = 1e-6
    smooth = x.detach().abs() > 2 * h if name == "relu" else torch.ones_like(x, dtype=torch.bool)
    difference = (textbook(x.detach() + h) - textbook(x.detach() - h)) / (2 * h)
    torch.testing.assert_close(x.grad[smooth], difference[smooth], rtol=0, atol=1e-6)


def test_sinc_at_zero_is_one_with_a_flat_slope():
    x = torch.zeros(3, 2, requires_grad=True)
    value = activations.apply(activations.sinc(30.0), x)
    value.sum().backward()
    assert value.tolist() == [[1.0, 1.0]] * 3
    assert x.grad.tolist() == [[0.0, 0.0]] * 3


def test_sinc_in_float32_keeps_its_precision_next_to_zero():
    x = points(torch.float32).requires_grad_()
    value = activations.apply(activations.sinc(30.0), x)
    value.sum().backward()
    exact = x.detach().double().requires_grad_()
    exact_value = torch.sinc(30 * exact / math.pi)
    exact_value.sum().backward()
    # Rounding 30 x itself moves the argument, relative 6e-8: at |z| = 60 that is 4e-6.
    torch.testing.assert_close(value.double(), exact_value, rtol=0, atol=1e-6)
    torch.testing.assert_close(x.grad.double() / 30, exact.grad / 30, rtol=0, atol=2e-4)
    far = exact.detach().abs() > 1e-3
    torch.testing.assert_close(x.grad.double()[far] / 30, exact.grad[far] / 30, rtol=0, atol=1e-5)


@pytest.mark.parametrize("activation", ["sine", "sinc", "gaussian", "wire", "relu_ff"])
def test_value_is_the_same_with_and_without_a_gradient(activation):
    function = activations.choose(InrConfig.parse({"image": "x", "activation": activation}))
    x = points(torch.float32)
    value, slope = function(x, False)
    assert slope is None
    assert torch.equal(value, function(x, True)[0])


def test_no_gradient_flows_to_an_input_that_wants_none():
    value = activations.apply(activations.sinc(30.0), points())
    assert not value.requires_grad
