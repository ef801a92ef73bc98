"""The network of RAC: its loss, its parameters, and what its branches read."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from workloads.rac import metrics, network
from workloads.rac.config import RacConfig
from workloads.rac.examples import augmented
from workloads.rac.loss import adjustment, lace
from workloads.replica import split

COUNTS = np.array([60, 30, 0, 10])
VARIANTS = [
    {},
    {"vote": "label"},
    {"branches": "base"},
    {"branches": "retrieval"},
    {"fusion": "gate"},
    {"fusion": "mixture", "vote": "label"},
    {"norm": "none"},
    {"norm": "unit"},
]


def form(text_dims: int | None = None, **settings: object) -> network.Form:
    small = {"width": 4, "text_width": 8, "neighbours": 3}
    return network.Form(RacConfig.parse({"data": "x", **small, **settings}), 4, 1, text_dims)


def params(of: network.Form, seed: int = 1) -> dict[str, torch.Tensor]:
    shapes = network.compute_shapes(of)
    flat = torch.from_numpy(network.initial(of, seed))
    return dict(zip([name for name, _ in shapes], split(flat, shapes), strict=True))


def batch(text_dims: int | None = None) -> tuple[torch.Tensor, network.Looked]:
    rng = np.random.default_rng(3)
    words = rng.integers(0, 9, (5, 16)) if text_dims is None else rng.random((5, text_dims))
    looked = network.Looked(
        torch.from_numpy(words if text_dims is None else words.astype(np.float32)),
        torch.from_numpy(rng.integers(0, 5, (6, 3))),
        torch.from_numpy(rng.random((6, 3)).astype(np.float32)),
        torch.tensor([[True, True, False]] * 6),
        torch.softmax(torch.from_numpy(rng.random((6, 4)).astype(np.float32)), dim=1),
    )
    return torch.from_numpy(rng.integers(0, 256, (6, 1, 14, 14)).astype(np.float32)), looked


def test_lace_is_equation_10_of_menon_et_al():
    """arXiv:2007.07314; naively, in float64."""
    rng = np.random.default_rng(0)
    z, y = rng.normal(size=(7, 4)), rng.choice([0, 1, 3], 7)
    pi = COUNTS / COUNTS.sum()
    naive = [
        -np.log(pi[c] ** 1.5 * np.exp(row[c]) / sum(pi**1.5 * np.exp(row)))
        for row, c in zip(z, y, strict=True)
    ]
    got = lace(torch.from_numpy(z), torch.from_numpy(y), adjustment(COUNTS, 1.5))
    assert float(got) == pytest.approx(np.mean(naive), rel=1e-5)


def test_tau_0_is_cross_entropy_and_a_class_without_examples_is_not_trained():
    z = torch.randn(5, 4, generator=torch.Generator().manual_seed(1), requires_grad=True)
    y = torch.tensor([0, 1, 3, 0, 0])
    plain = lace(z, y, adjustment(np.array([3, 1, 1, 1]), 0.0))
    assert torch.equal(plain, torch.nn.functional.cross_entropy(z, y))
    (gradient,) = torch.autograd.grad(lace(z, y, adjustment(COUNTS, 0.0)), z)
    assert not gradient[:, 2].any()
    assert gradient[:, 0].all()


@pytest.mark.parametrize("settings", VARIANTS, ids=str)
def test_each_variant_uses_all_its_parameters(settings):
    of = form(**settings)
    named = {name: value.clone().requires_grad_(True) for name, value in params(of).items()}
    pictures, looked = batch()
    logits = network.forward(of, named, pictures, looked)
    assert logits.fused.shape == (6, 4)
    torch.nn.functional.cross_entropy(logits.fused, torch.arange(6) % 4).backward()
    # A scale has no gradient only where its norm does not read it.
    unread = {name for name, value in named.items() if value.grad is None}
    gainless = settings.get("norm") in ("none", "unit")
    assert unread == ({"base.scale", "retrieval.scale"} if gainless else set())


def test_frozen_texts_are_read_too():
    of = form(text_dims=12)
    pictures, looked = batch(12)
    assert network.forward(of, params(of), pictures, looked).fused.isfinite().all()


def test_first_parameters_depend_on_the_seed_only():
    one, two = network.initial(form(), 1), network.initial(form(), 2)
    assert one.tobytes() == network.initial(form(), 1).tobytes()
    assert not np.array_equal(one, two)
    assert len(one) == sum(int(np.prod(shape)) for _, shape in network.compute_shapes(form()))


def test_neighbours_that_may_not_be_read_change_nothing():
    of, (pictures, looked) = form(), batch()
    before = network.forward(of, params(of), pictures, looked).retrieval
    other = looked.which.clone()
    other[:, 2] = (other[:, 2] + 1) % 5
    after = network.forward(of, params(of), pictures, replace(looked, which=other)).retrieval
    assert torch.equal(before, after)
    other[:, 0] = (other[:, 0] + 1) % 5
    moved = network.forward(of, params(of), pictures, replace(looked, which=other)).retrieval
    assert not torch.allclose(before, moved)


def test_branches_are_summed_at_one_scale():
    of, (pictures, looked) = form(), batch()
    logits = network.forward(of, params(of), pictures, looked)
    assert torch.allclose(logits.fused, logits.base + logits.retrieval)
    for branch in (logits.base, logits.retrieval):
        assert torch.allclose(branch.mean(dim=1), torch.zeros(6), atol=1e-5)
        deviation = branch.std(dim=1, correction=0)
        assert torch.allclose(deviation, torch.full((6,), network.GAIN_START), atol=0.05)


def test_a_mixture_gives_probabilities():
    of, (pictures, looked) = form(fusion="mixture"), batch()
    fused = network.forward(of, params(of), pictures, looked).fused
    assert torch.allclose(fused.exp().sum(dim=1), torch.ones(6), atol=1e-5)


def test_augmented_pictures_are_moved_and_mirrored_by_the_draws_only():
    x = torch.arange(36, dtype=torch.uint8).view(1, 1, 6, 6).repeat(8, 1, 1, 1)
    still = augmented(x, 0, False, np.random.default_rng(0))
    assert torch.equal(still, x.float())
    moved = augmented(x, 2, True, np.random.default_rng(0))
    assert torch.equal(moved, augmented(x, 2, True, np.random.default_rng(0)))
    assert len({row.numpy().tobytes() for row in moved}) > 1
    mirrored = augmented(x, 0, True, np.random.default_rng(0))
    flipped = [torch.equal(row, x[0].flip(-1).float()) for row in mirrored]
    assert 0 < sum(flipped) < 8


def test_metrics_by_shot():
    counts = np.array([200, 50, 5])
    groups = metrics.shots(counts, 100, 20)
    labels, predicted = np.array([0, 0, 1, 1, 2, 2]), np.array([0, 0, 1, 0, 0, 0])
    right = metrics.class_accuracy(predicted, labels, 3)
    assert metrics.by_shot(right, groups) == {"many": 1.0, "medium": 0.5, "few": 0.0}
    assert metrics.confusion(predicted, labels, 3).tolist() == [[2, 0, 0], [1, 1, 0], [2, 0, 0]]
    near = np.array([[0, 0], [0, 1], [1, 1], [1, 2], [0, 0], [-1, -1]], np.int32)
    assert metrics.class_recall(near, labels, 3).tolist() == [0.75, 0.75, 0.0]
    assert "few" not in metrics.by_shot(right, metrics.shots(counts, 100, 2))
