"""A working copy of the parameters on the device, and the Adam that moves it."""

import math
from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from workloads.api import FloatVector, WorkloadError

Shapes = Sequence[tuple[str, tuple[int, ...]]]


def split(flat: Tensor, shapes: Shapes) -> tuple[Tensor, ...]:
    """Views of a flat vector, one for each shape."""
    sizes = [math.prod(shape) for _, shape in shapes]
    pieces = torch.split(flat, sizes)
    return tuple(piece.view(shape) for piece, (_, shape) in zip(pieces, shapes, strict=True))


class Replica:
    """Parameters and gradients as two flat vectors: an Adam step is a few operations on each.

    The layers' tensors are views, and autograd adds into their gradients in place.
    """

    def __init__(self, shapes: Shapes, device: torch.device) -> None:
        count = sum(math.prod(shape) for _, shape in shapes)
        self._flat = torch.zeros(count, device=device)
        self._flat.grad = torch.zeros(count, device=device)
        self.tensors: Sequence[Tensor] = split(self._flat, shapes)
        """The layers' parameters, as ``shapes`` lists them."""
        for tensor, grad in zip(self.tensors, split(self._flat.grad, shapes), strict=True):
            tensor.requires_grad_(True)
            tensor.grad = grad
        self.reset()

    def reset(self) -> None:
        """Start Adam afresh; the parameters stay."""
        self._adam = torch.optim.Adam([self._flat], fused=True)

    def local_state(self) -> bytes:
        """Adam's state: step count, mean and mean square of the gradients, float32 little-endian.

        Length 4 + 8d; empty before the first step.
        """
        state = self._adam.state.get(self._flat)
        if not state:
            return b""
        pieces = (state["step"].reshape(1), state["exp_avg"], state["exp_avg_sq"])
        return b"".join(p.detach().to("cpu").numpy().astype("<f4").tobytes() for p in pieces)

    def load_local_state(self, data: bytes) -> None:
        """Take over what ``local_state`` gave, maybe elsewhere.

        Raises:
            WorkloadError: another length, a number that is not finite, or that no Adam reaches.
        """
        if not data:
            self.reset()
            return
        d = self._flat.numel()
        if len(data) != 4 + 8 * d:
            raise WorkloadError(
                f"an Adam state of {len(data)} bytes for {d} parameters: 0 or {4 + 8 * d} expected"
            )
        values = np.frombuffer(data, "<f4").astype(np.float32)
        steps, squares = float(values[0]), values[1 + d :]
        if not np.isfinite(values).all() or steps < 1 or steps % 1 or squares.min() < 0:
            raise WorkloadError("an Adam state with numbers that no training reaches")
        mean, square = (torch.from_numpy(v.copy()) for v in (values[1 : 1 + d], squares))
        self.reset()
        # As the fused Adam keeps them: all three where the parameters are.
        self._adam.state[self._flat] = {
            "step": torch.tensor(steps, device=self._flat.device),
            "exp_avg": mean.to(self._flat.device),
            "exp_avg_sq": square.to(self._flat.device),
        }

    def write(self, params: FloatVector) -> None:
        """Set the parameters."""
        with torch.no_grad():
            self._flat.copy_(torch.from_numpy(np.array(params)))

    def read(self) -> FloatVector:
        """A copy of the parameters."""
        values: FloatVector = self._flat.detach().to("cpu", copy=True).numpy()
        return values

    def step(self, loss: Tensor, lr: float) -> None:
        """One Adam step down the gradient of ``loss``."""
        assert self._flat.grad is not None
        self._flat.grad.zero_()
        loss.backward()  # type: ignore[no-untyped-call]
        self._adam.param_groups[0]["lr"] = lr
        self._adam.step()


def resolve_device(name: str) -> torch.device:
    """The torch device that ``name`` means here; "auto" is CUDA where there is one.

    Raises:
        WorkloadError: No such device on this machine.
    """
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    kind, _, index = name.partition(":")
    if name == "cpu":
        return torch.device("cpu")
    if kind != "cuda" or (index and not index.isdecimal()):
        raise WorkloadError(f'no device {name!r}: use "auto", "cpu", "cuda" or "cuda:N"')
    if not torch.cuda.is_available() or int(index or 0) >= torch.cuda.device_count():
        raise WorkloadError(f'no device {name!r} on this machine: use "cpu" or "auto"')
    return torch.device(name)
