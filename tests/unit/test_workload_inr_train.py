"""First parameters, local steps, updates and their replay."""

import hashlib
import itertools
import math
import random

import numpy as np
import pytest
import torch

from workloads.api import TrainResult, WorkloadError, step_rng
from workloads.inr import InrWorkload, image

ACTIVATIONS = ["sinc", "gaussian", "sine", "wire", "relu_ff"]
SEED = b"certificate and peer"
GOLDEN_INITIAL = {
    "sinc": "cad1882afbe060f5c2d924a5c58a9f27",
    "gaussian": "cad1882afbe060f5c2d924a5c58a9f27",
    "sine": "a7447f9251301318f30535967b91a492",
    "wire": "6dc6c8d7aa58409477b075e253d3b1a8",
    "relu_ff": "2f3828bc603209680e1d50909c0509d9",
}
"""BLAKE2 of the first parameters of ``small`` for seed 1."""


def small(activation: str = "sine", seed: int = 1, **settings: object) -> InrWorkload:
    config = {
        "image": "astronaut",
        "size": 16,
        "hidden_layers": 2,
        "hidden_width": 16,
        "activation": activation,
        "pixels_per_step": 64,
        **settings,
    }
    if activation == "relu_ff":
        config.setdefault("fourier_features", 8)
    return InrWorkload(config, seed)


def train(workload: InrWorkload, params: np.ndarray, **changes: object) -> TrainResult:
    arguments = {
        "round_": 1,
        "rounds": 10,
        "data_seed": SEED,
        "steps": 4,
        "deadline_s": math.inf,
        "continued": False,
        "clock": lambda: 0.0,
    }
    return workload.train(params, **{**arguments, **changes})


@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_initial_has_the_same_bits_on_every_machine(activation):
    digest = hashlib.blake2b(small(activation).initial().tobytes(), digest_size=16).hexdigest()
    assert digest == GOLDEN_INITIAL[activation]


def test_initial_depends_on_the_seed_alone():
    first = small(seed=1)
    again = small(seed=1, lr=0.5, image="coffee")
    assert first.initial().tobytes() == again.initial().tobytes()
    assert not np.array_equal(first.initial(), small(seed=2).initial())


@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_shapes_describe_the_flat_vector(activation):
    workload = small(activation)
    first = 16 if activation == "relu_ff" else 2
    assert workload.shapes == (
        ("0.weight", (16, first)),
        ("0.bias", (16,)),
        ("1.weight", (16, 16)),
        ("1.bias", (16,)),
        ("2.weight", (3, 16)),
        ("2.bias", (3,)),
    )
    params = workload.initial()
    assert params.shape == (sum(math.prod(shape) for _, shape in workload.shapes),)
    assert params.dtype == np.float32


def test_initial_weights_stay_in_the_bounds_of_their_source():
    sine, sinc = small("sine", omega=30).initial(), small("sinc").initial()
    second_layer, last_layer = slice(48, 304), slice(320, 368)
    bound = math.sqrt(6 / 16) / 30
    assert 0.9 * bound < np.abs(sine[second_layer]).max() <= bound
    assert np.abs(sine[:32]).max() <= 0.5
    assert 0.9 / 4 < np.abs(sinc[second_layer]).max() <= 1 / 4
    assert np.abs(sinc[last_layer]).max() <= 1 / 8


def test_frozen_frequencies_are_equal_for_a_seed_and_differ_for_another():
    def features(seed: int) -> np.ndarray:
        workload = small("relu_ff", seed=seed)
        params = small("relu_ff", seed=1).initial()
        return workload.evaluate(params)["loss"]

    assert features(1) == features(1)
    assert features(1) != features(2)


def test_update_is_that_of_plain_torch_on_the_same_draws():
    """A naive loop: autograd's own sine, one tensor a layer, torch's plain Adam, no schedule."""
    workload = small("sine", omega=20, lr=1e-3, lr_end_ratio=1.0)
    params = workload.initial()
    layers, offset = [], 0
    for _, shape in workload.shapes:
        piece = params[offset : offset + math.prod(shape)].reshape(shape)
        layers.append(torch.tensor(piece, requires_grad=True))
        offset += math.prod(shape)
    adam = torch.optim.Adam(layers, lr=1e-3, foreach=False, fused=False)
    colours = image.load("astronaut", 16).reshape(-1, 3)
    losses = []
    for step in range(4):
        pixels = step_rng(SEED, step).integers(256, size=64)
        x = torch.from_numpy(image.grid(16, 16)[pixels])
        for weight, bias in zip(layers[:-2:2], layers[1:-2:2], strict=True):
            x = torch.sin(20 * (x @ weight.T + bias))
        fitted = 0.5 + 0.5 * (x @ layers[-2].T + layers[-1])
        loss = ((fitted - torch.from_numpy(colours[pixels])) ** 2).mean()
        adam.zero_grad()
        loss.backward()
        adam.step()
        losses.append(loss.item())
    after = np.concatenate([layer.detach().numpy().ravel() for layer in layers])
    result = train(workload, params)
    assert result.steps_done == 4
    assert result.loss == pytest.approx(np.mean(losses), rel=1e-4)
    np.testing.assert_allclose(result.update, params - after, atol=2e-5)


def test_params_given_are_neither_changed_nor_kept():
    workload = small()
    params = workload.initial()
    before = params.copy()
    train(workload, params)
    assert np.array_equal(params, before)
    params[:] = 0
    assert np.array_equal(workload.initial(), before)


def test_fewer_steps_are_scaled_up_to_the_nominal():
    full = train(small(), small().initial(), steps=2, round_=1, rounds=1000)
    ticks = itertools.count()
    cut = train(
        small(),
        small().initial(),
        steps=8,
        rounds=250,
        deadline_s=2.0,
        clock=lambda: float(next(ticks)),
    )
    # The same two steps at the same learning rates: 2 of 2, and 2 of 8.
    assert (full.steps_done, cut.steps_done) == (2, 2)
    assert np.array_equal(cut.update, full.update * np.float32(4))
    assert cut.loss == full.loss


@pytest.mark.parametrize(
    ("deadline_s", "done"), [(0.0, 3), (1.0, 3), (3.0, 3), (5.0, 5), (5.5, 6), (100.0, 10)]
)
def test_deadline_stops_the_steps_but_not_before_a_quarter(deadline_s, done):
    ticks = itertools.count(1000)
    result = train(
        small(),
        small().initial(),
        steps=10,
        deadline_s=deadline_s,
        clock=lambda: float(next(ticks)),
    )
    assert result.steps_done == done


def test_continued_goes_on_from_the_replica_and_ignores_the_params():
    params = small().initial()
    straight, broken = small(), small()
    first = train(straight, params)
    train(broken, params)
    after = params - first.update
    given = train(straight, after, round_=2)
    onward = train(broken, params, round_=2, continued=True)
    # Relative to the params given: both steps' ways together. One rounding each in between.
    np.testing.assert_allclose(onward.update, first.update + given.update, atol=2e-6)


def test_replay_on_a_fresh_instance_gives_the_same_bits():
    params = small().initial()
    first, second = train(small(), params), train(small(), params)
    assert first.update.tobytes() == second.update.tobytes()
    assert first.loss == second.loss
    other = train(small(), params, data_seed=b"another peer")
    assert not np.array_equal(first.update, other.update)


def test_adam_lives_from_round_to_round_until_it_is_reset():
    params = small().initial()
    kept, forgot, fresh = small(), small(), small()
    train(kept, params, data_seed=b"earlier")
    train(forgot, params, data_seed=b"earlier")
    forgot.reset()
    updates = [train(workload, params).update for workload in (kept, forgot, fresh)]
    assert not np.array_equal(updates[0], updates[2])
    assert np.array_equal(updates[1], updates[2])


def test_learning_rate_falls_along_a_cosine_over_the_whole_job():
    def length(round_: int) -> float:
        workload = small(lr=1e-3, lr_end_ratio=0.1)
        result = train(workload, workload.initial(), round_=round_, rounds=101, steps=1)
        return float(np.abs(result.update).max())

    # Adam's first step moves each coordinate by the learning rate.
    assert length(1) == pytest.approx(1e-3, rel=1e-2)
    middle = 1e-3 * (0.1 + 0.9 * 0.5 * (1 + math.cos(math.pi * 50 / 101)))
    assert length(51) == pytest.approx(middle, rel=1e-2)
    assert length(101) == pytest.approx(1e-4, rel=1e-2)


@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_loss_falls_to_a_quarter_in_two_hundred_steps(activation):
    workload = small(activation, lr=1e-2)
    params = workload.initial()
    before = workload.evaluate(params)
    params = params - train(workload, params, rounds=1, steps=200).update
    after = workload.evaluate(params)
    assert after["loss"] < before["loss"] / 4
    assert after["psnr_db"] > before["psnr_db"] + 5


@pytest.mark.parametrize("value", [np.nan, np.inf, 3e38])
def test_diverged_replica_contributes_nothing_and_recovers(value):
    workload = small()
    params = workload.initial()
    hopeless = np.full_like(params, value)
    result = train(workload, hopeless)
    assert not result.update.any()
    assert math.isnan(result.loss)
    recovered = train(workload, params)
    assert recovered.update.tobytes() == train(small(), params).update.tobytes()


def test_evaluate_leaves_the_replica_as_it_is():
    params = small().initial()
    disturbed, quiet = small(), small()
    for workload in (disturbed, quiet):
        train(workload, params)
    disturbed.evaluate(params * 2)
    updates = [train(w, params, continued=True).update for w in (disturbed, quiet)]
    assert np.array_equal(*updates)


@pytest.mark.parametrize("activation", ["sine", "relu_ff"])
def test_no_global_generator_moves(activation, tmp_path):
    def states() -> tuple[object, ...]:
        name, keys, *rest = np.random.get_state()  # noqa: NPY002
        return torch.get_rng_state().tolist(), name, keys.tolist(), rest, random.getstate()

    before = states()
    workload = small(activation)
    params = workload.initial()
    train(workload, params)
    workload.evaluate(params)
    workload.artifacts(params, tmp_path)
    workload.reset()
    assert states() == before


@pytest.mark.parametrize(
    "changes",
    [
        {"round_": 0},
        {"round_": 11},
        {"steps": 0},
    ],
)
def test_impossible_rounds_are_refused(changes):
    workload = small()
    with pytest.raises(WorkloadError, match="cannot be trained"):
        train(workload, workload.initial(), **changes)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_parameters_of_another_job_are_refused(dtype):
    workload = small()
    wrong = np.zeros(7 if dtype is np.float32 else len(workload.initial()), dtype)
    for call in (lambda: train(workload, wrong), lambda: workload.evaluate(wrong)):
        with pytest.raises(WorkloadError, match="belong to another job"):
            call()
