"""The outer optimizer: SGD with momentum on the aggregated update, the same bits everywhere.

Source: Douillard et al. 2023, arXiv:2311.08105 (DiLoCo), section 2: Nesterov momentum outside.
"""

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
    _check(state, update, lr, momentum)
    rate, keep = np.float32(lr), np.float32(momentum)
    params = np.empty_like(state.params)
    velocity = None if state.momentum is None else np.empty_like(state.momentum)
    scratch = np.empty(min(CHUNK, len(params)), np.float32)
    with np.errstate(all="ignore"):
        for start in range(0, len(params), CHUNK):
            at = slice(start, start + CHUNK)
            u = update[at]
            step = scratch[: len(u)]
            if velocity is None or state.momentum is None:
                np.multiply(u, rate, out=step)
            else:
                v = velocity[at]
                np.multiply(state.momentum[at], keep, out=v)
                np.add(v, u, out=v)
                _clamp(v)
                if nesterov:
                    np.multiply(v, keep, out=step)
                    np.add(step, u, out=step)
                    _clamp(step)
                    np.multiply(step, rate, out=step)
                else:
                    np.multiply(v, rate, out=step)
            _clamp(step)
            np.subtract(state.params[at], step, out=params[at])
            _clamp(params[at])
    return OuterState(params, velocity)


def _clamp(x: FloatVector) -> None:
    np.minimum(x, LARGEST, out=x)
    np.maximum(x, -LARGEST, out=x)


def _check(state: OuterState, update: FloatVector, lr: float, momentum: float) -> None:
    if not (np.isfinite(np.float32(lr)) and momentum >= 0 and np.float32(momentum) < 1):
        raise ValueError(f"no outer step with lr {lr} and momentum {momentum}")
    if (state.momentum is None) != (momentum == 0):
        raise ValueError("the state holds a momentum exactly if the coefficient is not 0")
    for each in (update, state.momentum):
        if each is not None and each.shape != state.params.shape:
            raise ValueError(f"shape {each.shape} for parameters {state.params.shape}")
