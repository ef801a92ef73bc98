"""An image job: local steps, metrics and pictures."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from workloads.api import Clock, FloatVector, TrainResult, WorkloadError, step_rng
from workloads.inr import image, network, pictures
from workloads.inr.config import InrConfig
from workloads.replica import Replica, resolve_device, split
from workloads.steps import check_params, cosine, local_steps

PIXELS_PER_PASS = 1 << 16
"""Pixels that an evaluation computes at a time, to bound its memory."""


class InrWorkload:
    """Fits a network from coordinates to colour; see ``workloads.api.Workload``."""

    def __init__(self, config: Mapping[str, Any], seed: int, device: str = "cpu") -> None:
        """Check the config, load the picture, make a replica with the initial parameters.

        Raises:
            WorkloadError: The config, the seed, the picture or the device cannot work.
        """
        if seed < 0:
            raise WorkloadError(f"seed {seed} is negative: choose one that is at least 0")
        self._config = InrConfig.parse(config)
        self._seed = seed
        self._device = resolve_device(self._config.device or device)
        self._picture = image.load(self._config.image, self._config.size)
        self._shapes = network.compute_shapes(self._config)
        self._network = network.Network(self._config, seed, self._device)
        height, width, _ = self._picture.shape
        self._coordinates = torch.from_numpy(image.grid(height, width)).to(self._device)
        self._colours = torch.from_numpy(self._picture.reshape(-1, 3)).to(self._device)
        self._replica = Replica(self._shapes, self._device)
        self._replica.write(self.initial())

    @property
    def shapes(self) -> Sequence[tuple[str, tuple[int, ...]]]:
        """Names and shapes of the parameters, in flat-vector order."""
        return self._shapes

    def initial(self) -> FloatVector:
        """The first parameters. Shape [d]."""
        return network.initial(self._config, self._seed)

    def reset(self) -> None:
        """Forget Adam's state."""
        self._replica.reset()

    def local_state(self) -> bytes:
        """Adam's moments and step count; see ``workloads.api.Replayable``."""
        return self._replica.local_state()

    def load_local_state(self, data: bytes) -> None:
        """Take over Adam's state.

        Raises:
            WorkloadError: Not one of such a network.
        """
        self._replica.load_local_state(data)

    def train(
        self,
        params: FloatVector,
        *,
        round_: int,
        rounds: int,
        data_seed: bytes,
        steps: int,
        deadline_s: float,
        continued: bool,
        clock: Clock,
    ) -> TrainResult:
        """Local Adam steps; see ``workloads.api.Workload.train``.

        Raises:
            WorkloadError: ``params`` has another shape, or a number is out of range.
        """
        check_params(params, self._shapes)
        config = self._config
        return local_steps(
            self._replica,
            params,
            loss_of=lambda step: self._step_loss(data_seed, step),
            learning_rate=lambda position: cosine(config.lr, config.lr_end_ratio, position),
            round_=round_,
            rounds=rounds,
            steps=steps,
            deadline_s=deadline_s,
            continued=continued,
            clock=clock,
        )

    def evaluate(self, params: FloatVector) -> dict[str, float]:
        """``loss``: mean squared error; ``psnr_db``: of the colours that a screen can show.

        The loss of a spoilt model may be infinite or NaN; its PSNR is a number all the same.
        """
        fitted = self._reconstruct(params)
        shown = image.displayable(fitted)
        return {
            "loss": _mean_squared(fitted, self._picture),
            "psnr_db": image.psnr_db(_mean_squared(shown, self._picture)),
        }

    def artifacts(self, params: FloatVector, folder: Path) -> list[Path]:
        """``original.png``, ``reconstruction.png``, ``side_by_side.png`` in ``folder``."""
        return pictures.write(self._picture, self._reconstruct(params), folder)

    def _step_loss(self, data_seed: bytes, step: int) -> Tensor:
        """Loss on the pixels of a step, drawn evenly from the whole picture."""
        rng = step_rng(data_seed, step)
        drawn = rng.integers(len(self._colours), size=self._config.pixels_per_step)
        pixels = torch.from_numpy(drawn).to(self._device)
        features = self._network.features(self._coordinates[pixels])
        colours = self._network.forward(self._replica.tensors, features)
        return torch.nn.functional.mse_loss(colours, self._colours[pixels])

    def _reconstruct(self, params: FloatVector) -> image.Picture:
        """The network's picture, not clipped. Shape [h, w, 3]."""
        check_params(params, self._shapes)
        tensors = split(torch.from_numpy(np.array(params)).to(self._device), self._shapes)
        with torch.no_grad():
            passes = [
                self._network.forward(tensors, self._network.features(coordinates)).cpu()
                for coordinates in torch.split(self._coordinates, PIXELS_PER_PASS)
            ]
        fitted: image.Picture = torch.cat(passes).numpy().reshape(self._picture.shape)
        return fitted


def _mean_squared(fitted: image.Picture, target: image.Picture) -> float:
    difference = fitted.astype(np.float64) - target
    return float(np.mean(difference * difference))
