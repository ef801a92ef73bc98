"""Local steps of a round on a replica: the loop that trained workloads share."""

import math
from collections.abc import Callable

import numpy as np
from torch import Tensor

from workloads.api import Clock, FloatVector, TrainResult, WorkloadError
from workloads.replica import Replica, Shapes


def check_params(params: FloatVector, shapes: Shapes) -> None:
    """Refuse parameters of another job.

    Raises:
        WorkloadError: Their shape or type is not that of ``shapes``.
    """
    count = sum(math.prod(shape) for _, shape in shapes)
    if params.shape != (count,) or params.dtype != np.float32:
        raise WorkloadError(
            f"parameters are {params.dtype}{list(params.shape)}, this job needs "
            f"float32[{count}]: they belong to another job"
        )


def cosine(lr: float, end_ratio: float, position: float) -> float:
    """Learning rate from ``lr`` at position 0 to ``lr * end_ratio`` at position 1."""
    return lr * (end_ratio + (1 - end_ratio) * 0.5 * (1 + math.cos(math.pi * position)))


def local_steps(
    replica: Replica,
    params: FloatVector,
    *,
    loss_of: Callable[[int], Tensor],
    learning_rate: Callable[[float], float],
    round_: int,
    rounds: int,
    steps: int,
    deadline_s: float,
    continued: bool,
    clock: Clock,
) -> TrainResult:
    """Take a round's steps.

    A replica that leaves the finite numbers gives an update of zero and starts the next round with
    a fresh Adam: one bad round must not spoil those after it.

    Args:
        replica: Moved.
        params: As in ``workloads.api.Workload.train``, like all that follow the first two.
        loss_of: The loss of a step, by its number.
        learning_rate: By position in the job, in [0, 1).
        round_: This round.
        rounds: The last round.
        steps: Nominal steps.
        deadline_s: Stop after this long, but not before a quarter of the steps.
        continued: Go on from where the replica stands.
        clock: Read before the first step and after each one.

    Raises:
        WorkloadError: A number is out of range.
    """
    if not 1 <= round_ <= rounds or steps < 1:
        raise WorkloadError(f"round {round_} of {rounds} with {steps} steps cannot be trained")
    start_s = clock()
    if not continued:
        replica.write(params)
    steps_min = -(-steps // 4)
    losses: list[float] = []
    for step in range(steps):
        position = ((round_ - 1) * steps + step) / (rounds * steps)
        loss = loss_of(step)
        replica.step(loss, learning_rate(position))
        losses.append(float(loss.detach()))
        if clock() - start_s >= deadline_s and len(losses) >= steps_min:
            break
    scale = np.float32(steps / len(losses))
    with np.errstate(over="ignore", invalid="ignore"):
        update = (params - replica.read()) * scale
    if not np.isfinite(update).all():
        replica.reset()
        return TrainResult(np.zeros_like(params), len(losses), math.nan)
    return TrainResult(update, len(losses), math.fsum(losses) / len(losses))
