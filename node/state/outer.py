"""The outer optimizer: SGD with momentum on the aggregated update, the same bits everywhere.

Source: Douillard et al. 2023, arXiv:2311.08105 (DiLoCo), section 2: Nesterov momentum outside.
"""

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

from node.ports import FloatVector

CHUNK = 32 * 1024
"""Coordinates stepped at once, so that the four buffers stay in cache."""
LARGEST = np.finfo(np.float32).max


@dataclass(frozen=True)
class OuterState:
    """The model that all honest nodes agree on. Buffers are never changed in place."""

    params: FloatVector
    """Shape [d], finite."""
    momentum: FloatVector | None
    """Shape [d], finite. None: the optimizer has no momentum."""


def outer_step(
    state: OuterState, update: FloatVector, lr: float, momentum: float, nesterov: bool
) -> OuterState:
    """The state after one aggregated update (old minus new parameters), in new buffers.

    ``v = momentum * v + update``; the step is ``v``, or ``update + momentum * v`` with Nesterov;
    ``params - lr * step``. Every result is clamped to the finite range: which nan an overflow
    would end in depends on the CPU.

    Args:
        state: Its momentum must be present exactly if ``momentum`` is not 0.
        update: Shape [d], float32, finite.
        lr: Outer learning rate, finite; rounded to float32.
        momentum: Coefficient within [0, 1); rounded to float32.
        nesterov: Ignored without momentum.

    Raises:
        ValueError: shapes, momentum or coefficients are not as above.
    """
    return outer_step_parts(state, [(slice(0, len(update)), update)], lr, momentum, nesterov)


def outer_step_parts(
    state: OuterState,
    parts: Iterable[tuple[slice, FloatVector]],
    lr: float,
    momentum: float,
    nesterov: bool,
) -> OuterState:
    """``outer_step`` with an update that comes in parts, each used while it is in cache.

    Args:
        state: As in ``outer_step``.
        parts: (coordinates, update of these), which cover the vector once.
        lr: As in ``outer_step``.
        momentum: As in ``outer_step``.
        nesterov: As in ``outer_step``.

    Raises:
        ValueError: as in ``outer_step``, or the parts do not cover the vector.
    """
    _check(state, lr, momentum)
    params = np.empty_like(state.params)
    velocity = None if state.momentum is None else np.empty_like(state.momentum)
    after = OuterState(params, velocity)
    scratch = np.empty(min(CHUNK, max(1, len(params))), np.float32)
    covered = 0
    with np.errstate(all="ignore"):
        for at, update in parts:
            if at.start != covered or at.stop - at.start != len(update):
                raise ValueError(f"an update of {update.shape} for coordinates {at}")
            covered = at.stop
            for start in range(at.start, at.stop, CHUNK):
                piece = slice(start, min(start + CHUNK, at.stop))
                u = update[start - at.start : piece.stop - at.start]
                _step(state, after, piece, u, scratch, lr, momentum, nesterov)
    if covered != len(params):
        raise ValueError(f"an update of shape [{covered}] for {len(params)} parameters")
    return after


def _step(
    before: OuterState,
    after: OuterState,
    at: slice,
    u: FloatVector,
    scratch: FloatVector,
    lr: float,
    momentum: float,
    nesterov: bool,
) -> None:
    """One chunk; which operations, and in which order, is fixed: the bits are consensus."""
    rate, keep = np.float32(lr), np.float32(momentum)
    step = scratch[: len(u)]
    if before.momentum is None or after.momentum is None:
        direction = u
    else:
        v = after.momentum[at]
        np.multiply(before.momentum[at], keep, out=v)
        np.add(v, u, out=v)
        _clamp(v)
        direction = v
        if nesterov:
            np.multiply(v, keep, out=step)
            np.add(step, u, out=step)
            _clamp(step)
            direction = step
    if rate != 1:  # a product with 1 is exact, and with less it cannot overflow
        np.multiply(direction, rate, out=step)
        if abs(rate) > 1:
            _clamp(step)
        direction = step
    params = after.params[at]
    np.subtract(before.params[at], direction, out=params)
    _clamp(params)


def _clamp(x: FloatVector) -> None:
    np.minimum(x, LARGEST, out=x)
    np.maximum(x, -LARGEST, out=x)


def _check(state: OuterState, lr: float, momentum: float) -> None:
    if not (np.isfinite(np.float32(lr)) and momentum >= 0 and np.float32(momentum) < 1):
        raise ValueError(f"no outer step with lr {lr} and momentum {momentum}")
    if (state.momentum is None) != (momentum == 0):
        raise ValueError("the state holds a momentum exactly if the coefficient is not 0")
    if state.momentum is not None and state.momentum.shape != state.params.shape:
        raise ValueError(f"a momentum of shape {state.momentum.shape} for {state.params.shape}")
