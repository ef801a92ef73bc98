"""Time of a training step: sine, our sinc and torch.sinc on one network, side by side.

Run as a script; ``--json`` prints one object. The goal is ours / sine <= 1.3.
"""

import argparse
import json
import math
import statistics
import time
from collections.abc import Callable, Mapping

import torch
from torch import Tensor

from workloads.inr import activations
from workloads.inr.config import InrConfig
from workloads.inr.network import compute_shapes, initial
from workloads.replica import Replica

OMEGA = 30.0


def make_step(activation: Callable[[Tensor], Tensor], kind: str, pixels: int) -> Callable[[], None]:
    """One training step of a 3x128 network with ``activation`` between its layers."""
    config = InrConfig.parse({"image": "none", "activation": kind, "omega": OMEGA})
    replica = Replica(compute_shapes(config), torch.device("cpu"))
    replica.write(initial(config, seed=1))
    generator = torch.Generator().manual_seed(1)
    coordinates = torch.rand(pixels, 2, generator=generator) * 2 - 1
    colours = torch.rand(pixels, 3, generator=generator)
    tensors = replica.tensors

    def step() -> None:
        x = coordinates
        for weight, bias in zip(tensors[:-2:2], tensors[1:-2:2], strict=True):
            x = activation(torch.addmm(bias, x, weight.t()))
        fitted = torch.addmm(tensors[-1], x, tensors[-2].t())
        replica.step(torch.nn.functional.mse_loss(fitted, colours), 1e-4)

    return step


def measure(repeats: int, pixels: int) -> Mapping[str, float]:
    """Median milliseconds of each step, taken in turn so that all meet the same load."""
    ours = activations.sinc(OMEGA)
    steps = {
        "sine": make_step(lambda x: torch.sin(x * OMEGA), "sine", pixels),
        "sinc": make_step(lambda x: activations.apply(ours, x), "sinc", pixels),
        "torch.sinc": make_step(lambda x: torch.sinc(x * (OMEGA / math.pi)), "sinc", pixels),
    }
    seconds: dict[str, list[float]] = {name: [] for name in steps}
    for repeat in range(repeats + 5):
        for name, step in steps.items():
            start = time.perf_counter()
            step()
            if repeat >= 5:  # the first ones fill caches
                seconds[name].append(time.perf_counter() - start)
    return {name: statistics.median(values) * 1e3 for name, values in seconds.items()}


def main() -> None:
    """Print medians and ratios."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--repeats", type=int, default=200)
    parser.add_argument("--pixels", type=int, default=1024)
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    torch.set_num_threads(1)
    medians = measure(options.repeats, options.pixels)
    ratios = {f"{name} / sine": medians[name] / medians["sine"] for name in ("sinc", "torch.sinc")}
    if options.json:
        print(json.dumps({"median_ms": medians, "ratio": ratios, "pixels": options.pixels}))
        return
    for name, value in medians.items():
        print(f"{name:18} {value:8.3f} ms a step")
    for name, value in ratios.items():
        print(f"{name:18} {value:8.2f}")


if __name__ == "__main__":
    main()
