"""What RAC is compared with: linear probes on E, and one network over B's and E's features."""

from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from workloads.api import step_rng
from workloads.rac import network
from workloads.rac.config import RacConfig
from workloads.rac.examples import Examples, augmented
from workloads.rac.loss import adjustment, lace
from workloads.rac.workload import RacWorkload
from workloads.replica import Replica
from workloads.steps import cosine

FEATURE_SCALE = 10.0
"""Features of unit length are small; scaled so that Adam's steps fit them."""


def linear_probe(workload: RacWorkload, tau: float, steps: int, seed: int) -> np.ndarray:
    """Logits of the test examples. As many steps and examples a step as RAC takes; the best of
    three learning rates by the loss on the training examples, which favours the probe."""
    own, test = workload.own, workload.test
    offsets = adjustment(workload.counts, tau)
    x, y = features(own), own.targets
    best: tuple[float, np.ndarray] | None = None
    for lr in (1e-3, 1e-2, 1e-1):
        shapes = [("weight", (len(workload.counts), x.shape[1])), ("bias", (len(workload.counts),))]
        replica = Replica(shapes, torch.device("cpu"))
        weight, bias = replica.tensors

        def logits(rows: Tensor, weight: Tensor = weight, bias: Tensor = bias) -> Tensor:
            return functional.linear(rows, weight, bias)

        def loss(rng: np.random.Generator, logits: Callable[[Tensor], Tensor] = logits) -> Tensor:
            rows = torch.from_numpy(rng.integers(len(y), size=workload.config.batch))
            return lace(logits(x[rows]), y[rows], offsets)

        fit(replica, loss, steps, seed, lr)
        with torch.no_grad():
            on_training = float(lace(logits(x), y, offsets))
            if best is None or on_training < best[0]:
                best = on_training, logits(features(test)).numpy()
    assert best is not None
    return best[1]


def concat(workload: RacWorkload, size: int, steps: int, seed: int) -> tuple[np.ndarray, int]:
    """B's features beside E's, a hidden layer and a head, with about ``size`` parameters; LACE."""
    config: RacConfig = workload.config
    own, test, classes = workload.own, workload.test, len(workload.counts)
    base = RacConfig.parse({**config.model_dump(), "branches": "base"})
    form = network.Form(base, classes, own.pictures.shape[1], None)
    shapes = [s for s in network.compute_shapes(form) if not s[0].startswith("base.head")]
    shapes = [s for s in shapes if s[0] != "base.scale"]
    trunk = sum(int(np.prod(shape)) for _, shape in shapes)
    read = network.HIDDEN + features(own).shape[1]
    width = max(8, (size - trunk) // (read + 1 + classes))
    shapes += [("hidden.weight", (width, read)), ("hidden.bias", (width,))]
    shapes += [("head.weight", (classes, width)), ("head.bias", (classes,))]
    replica = Replica(shapes, torch.device("cpu"))
    rng = np.random.Generator(np.random.PCG64([seed, 6]))
    replica.write(np.concatenate([network.first_values(rng, n, shape) for n, shape in shapes]))
    named = dict(zip((name for name, _ in shapes), replica.tensors, strict=True))
    offsets = adjustment(workload.counts, 1.0)

    def logits(pictures: Tensor, found: Tensor) -> Tensor:
        seen = torch.cat([network.base_features(named, pictures), found], dim=1)
        hidden = functional.relu(
            functional.linear(seen, named["hidden.weight"], named["hidden.bias"])
        )
        return functional.linear(hidden, named["head.weight"], named["head.bias"])

    x = features(own)

    def loss(rng: np.random.Generator) -> Tensor:
        rows = torch.from_numpy(rng.integers(len(own), size=config.batch))
        seen = augmented(own.pictures[rows], config.shift, config.flip, rng)
        return lace(logits(seen, x[rows]), own.targets[rows], offsets)

    fit(replica, loss, steps, seed, config.lr)
    with torch.no_grad():
        parts = torch.arange(len(test)).split(256)
        whole = features(test)
        found = [logits(test.pictures[part].float(), whole[part]) for part in parts]
    return torch.cat(found).numpy(), len(replica.read())


def features(examples: Examples) -> Tensor:
    return torch.from_numpy(examples.features) * FEATURE_SCALE


def fit(
    replica: Replica,
    loss: Callable[[np.random.Generator], Tensor],
    steps: int,
    seed: int,
    lr: float,
) -> None:
    for step in range(steps):
        rng = step_rng(b"baseline%d" % seed, step)
        replica.step(loss(rng), cosine(lr, 0.05, step / steps))
