"""Keys: a truncated transform, exact on every machine, in eight bits."""

import numpy as np
import pytest

from workloads.nait.representation import GRID, PictureEncoder, Stack, VectorEncoder, cosines

RNG = np.random.default_rng(11)


def picture(height=210, width=160):
    return RNG.integers(0, 256, (height, width)).astype(np.uint8)


def test_cosines_are_orthonormal_as_far_as_their_grid_allows():
    rows = cosines(11, 84)
    np.testing.assert_allclose(rows @ rows.T, np.eye(11), atol=84 * GRID * 0.1)
    assert rows[0, 0] == pytest.approx(84**-0.5, abs=GRID)
    assert rows[3, 5] == pytest.approx((2 / 84) ** 0.5 * np.cos(np.pi * 11 * 3 / 168), abs=GRID)


def test_distances_of_keys_are_those_of_low_passed_pictures():
    """Parseval, to the rounding of a level and of the grid."""
    smooth = np.add.outer(np.arange(40, 124), np.arange(84)).astype(np.uint8)
    other = (smooth + RNG.integers(-20, 21, (84, 84))).astype(np.uint8)
    encoder = PictureEncoder(84, 84, 84, 4.0)  # nothing is cut off: no low pass
    encoder.set_reference(smooth)
    a, b = (encoder.encode(p).astype(float) for p in (smooth, other))
    want = np.linalg.norm(smooth.astype(float) - other)
    assert (a == 0).all()
    assert np.linalg.norm(a - b) * 4.0 == pytest.approx(want, rel=0.02)


def test_the_transform_is_exact_in_any_order():
    """Whole grey levels and grid cosines: every partial sum fits a float64."""
    frame = picture()
    down, across = cosines(16, 210), cosines(16, 160)
    whole = [np.rint(rows / GRID).astype(np.int64) for rows in (down, across)]
    exact = whole[0] @ frame.astype(np.int64) @ whole[1].T
    assert np.abs(exact).max() < 2**53
    assert np.array_equal(down @ frame.astype(np.float64) @ across.T / GRID**2, exact)


def test_large_values_are_cut_and_never_overflow():
    encoder = PictureEncoder(210, 160, 11, 0.01)
    encoder.set_reference(np.zeros((210, 160), np.uint8))
    levels = encoder.encode(np.full((210, 160), 255, np.uint8))
    assert levels.dtype == np.int8
    assert levels[0] == 127
    assert levels.min() >= -127


def test_a_small_picture_has_fewer_coefficients():
    assert PictureEncoder(8, 20, 11, 1.0).length == 8 * 11


def test_vectors_are_scaled_by_their_bounds():
    encoder = VectorEncoder(np.array([2.0, 4.0, 1.0]))
    levels = encoder.encode(np.array([1.0, -8.0, np.nan]))
    assert levels.tolist() == [64, -127, 0]


def test_a_key_holds_the_newest_observations_first():
    stack = Stack(VectorEncoder(np.array([127.0])), 3)
    assert stack.reset(np.array([1.0])).tolist() == [1, 1, 1]
    first = stack.push(np.array([2.0]))
    assert stack.push(np.array([3.0])).tolist() == [3, 2, 1]
    assert first.tolist() == [2, 1, 1]
