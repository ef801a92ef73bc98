"""The trained network as shapes, first parameters and functions: it holds no tensors of its own."""

import math
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from workloads.api import FloatVector
from workloads.rac.config import RacConfig
from workloads.rac.snippets import SNIPPET_WORDS, WORDS

Shape = tuple[int, ...]
Shapes = list[tuple[str, Shape]]
Params = Mapping[str, Tensor]

HEADS = 4
HIDDEN = 128
"""Features of B before its head."""
POOLED = 3
"""Side of B's last map."""
CONVOLUTIONS = 3
NORM_GROUPS = 4
VOTE_FLOOR = 1e-2
"""Added to shares of votes before their logarithm."""
GAIN_START = 2.0
"""Of the branches' normalised logits."""


@dataclass(frozen=True)
class Form:
    """What the shapes depend on."""

    config: RacConfig
    classes: int
    channels: int
    text_dims: int | None
    """Of a frozen T's vectors; None: T is trained."""


@dataclass(frozen=True, eq=False)
class Looked:
    """What the retrieval branch sees of a batch."""

    snippets: Tensor
    """Of the u different texts: word numbers [u, words], or a frozen T's vectors [u, dims]."""
    which: Tensor
    """Text of each neighbour, from near to far. Shape [n, k]."""
    similarity: Tensor
    """0 where unused. Shape [n, k]."""
    used: Tensor
    """Which neighbours may be read. Shape [n, k]."""
    votes: Tensor
    """Share of each class among the neighbours' labels. Shape [n, C]."""


@dataclass(frozen=True, eq=False)
class Logits:
    """Of a batch, each of shape [n, C]. Branches are normalised; one that is off is None."""

    fused: Tensor
    base: Tensor | None
    retrieval: Tensor | None


def compute_shapes(form: Form) -> Shapes:
    """Parameters of the branches that are on, by name."""
    config = form.config
    shapes: Shapes = []
    if config.branches != "retrieval":
        widths = [form.channels, config.width, 2 * config.width, 4 * config.width]
        for i in range(CONVOLUTIONS):
            shapes += [
                (f"base.{i}.weight", (widths[i + 1], widths[i], 3, 3)),
                (f"base.{i}.gain", (widths[i + 1],)),
                (f"base.{i}.bias", (widths[i + 1],)),
            ]
        shapes += _linear("base.hidden", widths[-1] * POOLED**2, HIDDEN)
        shapes += [*_linear("base.head", HIDDEN, form.classes), ("base.scale", (1,))]
    if config.branches != "base":
        of_labels: Shapes = [("retrieval.bias", (form.classes,))]
        shapes += _text_shapes(form) if config.vote == "text" else of_labels
        shapes += [("retrieval.scale", (1,))]
    if config.branches == "both" and config.fusion != "sum":
        read = config.text_width if config.vote == "text" else form.classes
        shapes += _linear("gate", HIDDEN + read, 1)
    return shapes


def _text_shapes(form: Form) -> Shapes:
    width, k = form.config.text_width, form.config.neighbours
    shapes: Shapes = []
    if form.text_dims is None:
        shapes += [("text.words", (WORDS, width)), ("text.places", (SNIPPET_WORDS, width))]
        shapes += _block_shapes("text", width)
    else:
        shapes += _linear("text.project", form.text_dims, width)
    shapes += [("near.similarity", (width,)), ("near.ranks", (k, width)), ("near.query", (width,))]
    shapes += _block_shapes("near", width)
    return [*shapes, *_linear("near.head", width, form.classes)]


def _block_shapes(name: str, width: int) -> Shapes:
    shapes: Shapes = []
    for norm in ("before", "between", "after"):
        shapes += [(f"{name}.{norm}.gain", (width,)), (f"{name}.{norm}.bias", (width,))]
    shapes += _linear(f"{name}.mix", width, 3 * width) + _linear(f"{name}.out", width, width)
    return (
        shapes + _linear(f"{name}.up", width, 2 * width) + _linear(f"{name}.down", 2 * width, width)
    )


def _linear(name: str, fan_in: int, fan_out: int) -> Shapes:
    return [(f"{name}.weight", (fan_out, fan_in)), (f"{name}.bias", (fan_out,))]


def initial(form: Form, seed: int) -> FloatVector:
    """The first parameters: the same bits on every machine. Shape [d].

    Weights are uniform with variance 2 / fan_in before a ReLU (He et al. 2015, arXiv:1502.01852)
    and 1 / fan_in elsewhere, embeddings within a variance of 1/3 / width; gains 1, biases 0.
    """
    rng = np.random.Generator(np.random.PCG64([seed, 6]))
    return np.concatenate([first_values(rng, name, shape) for name, shape in compute_shapes(form)])


def first_values(rng: np.random.Generator, name: str, shape: Shape) -> FloatVector:
    """First values of one parameter; see ``initial``. Flat."""
    count, last = math.prod(shape), name.rpartition(".")[2]
    if last in ("gain", "scale"):
        return np.full(count, GAIN_START if last == "scale" else 1.0, np.float32)
    if last == "bias":
        return np.zeros(count, np.float32)
    fan_in = math.prod(shape[1:]) if last == "weight" else shape[-1]
    before_relu = name.startswith("base.") and name != "base.head.weight"
    bound = math.sqrt((6 if before_relu else 3 if last == "weight" else 1) / fan_in)
    return ((rng.random(count) * 2.0 - 1.0) * bound).astype(np.float32)


def forward(form: Form, params: Params, pictures: Tensor, looked: Looked | None) -> Logits:
    """Logits of a batch.

    Args:
        form: Of the network.
        params: By name, as ``compute_shapes`` lists them.
        pictures: Colours in [0, 255]; not read without the base branch. Shape [n, c, h, w].
        looked: What was retrieved for them; not read without the retrieval branch.
    """
    config = form.config
    base = retrieval = hidden = read = None
    if config.branches != "retrieval":
        hidden = base_features(params, pictures)
        base = normalised(_apply(params, "base.head", hidden), params["base.scale"], config.norm)
    if config.branches != "base":
        assert looked is not None
        read, found = _retrieval(form, params, looked)
        retrieval = normalised(found, params["retrieval.scale"], config.norm)
    if base is None or retrieval is None:
        fused = base if base is not None else retrieval
        assert fused is not None
        return Logits(fused, base, retrieval)
    if config.fusion == "sum":
        return Logits(base + retrieval, base, retrieval)
    assert hidden is not None
    assert read is not None
    opening = _apply(params, "gate", torch.cat([hidden, read], dim=1))
    if config.fusion == "gate":
        share = torch.sigmoid(opening)
        return Logits(2 * (share * base + (1 - share) * retrieval), base, retrieval)
    shares = functional.logsigmoid(opening), functional.logsigmoid(-opening)
    logs = base.log_softmax(dim=1) + shares[0], retrieval.log_softmax(dim=1) + shares[1]
    return Logits(torch.logaddexp(*logs), base, retrieval)


def retrieval_logits(form: Form, params: Params, looked: Looked) -> Tensor:
    """R's logits alone, normalised: what ``forward`` has besides. Shape [n, C]."""
    _, found = _retrieval(form, params, looked)
    return normalised(found, params["retrieval.scale"], form.config.norm)


def normalised(logits: Tensor, gain: Tensor, norm: str) -> Tensor:
    """A branch's logits at a scale that the branches share.

    ``layer``: gain (z - mean z) / deviation of z over classes; ``unit``: z / deviation, without a
    gain; ``none``: z.
    """
    if norm == "none":
        return logits
    deviation = (logits.var(dim=1, keepdim=True, correction=0) + 1e-5).sqrt()
    if norm == "unit":
        return logits / deviation
    return gain * (logits - logits.mean(dim=1, keepdim=True)) / deviation


def _apply(params: Params, name: str, x: Tensor) -> Tensor:
    return functional.linear(x, params[f"{name}.weight"], params[f"{name}.bias"])


def base_features(params: Params, pictures: Tensor) -> Tensor:
    """B's features: three convolutions with group normalisation, and a layer. Shape [n, HIDDEN]."""
    x = (pictures - 127.5) / 127.5
    for i in range(CONVOLUTIONS):
        x = functional.conv2d(x, params[f"base.{i}.weight"], padding=1)
        gain, bias = params[f"base.{i}.gain"], params[f"base.{i}.bias"]
        x = functional.relu(functional.group_norm(x, NORM_GROUPS, gain, bias))
        if i < CONVOLUTIONS - 1:
            x = functional.max_pool2d(x, 2)
    x = functional.adaptive_avg_pool2d(x, POOLED).flatten(1)
    return functional.relu(_apply(params, "base.hidden", x))


def _retrieval(form: Form, params: Params, looked: Looked) -> tuple[Tensor, Tensor]:
    """What R read, and its logits. Shapes [n, width] or [n, C], and [n, C].

    With labels, the logits are log votes and a bias by class, which learns to make up for how
    frequent a class is. With texts, T makes one vector of each different snippet,
    and a transformer reads those of the neighbours from near to far, with their ranks and
    similarities, from a learned query.
    """
    if form.config.vote == "label":
        return looked.votes, torch.log(looked.votes + VOTE_FLOOR) + params["retrieval.bias"]
    if form.text_dims is None:
        mask = looked.snippets > 0
        mask[:, 0] = True  # an empty snippet is one empty word
        words = params["text.words"][looked.snippets] + params["text.places"]
        mixed = _block(params, "text", words, mask)
        texts = (mixed * mask[..., None]).sum(dim=1) / mask.sum(dim=1, keepdim=True)
    else:
        texts = _apply(params, "text.project", looked.snippets)
    near = texts[looked.which] + params["near.ranks"]
    near = near + looked.similarity[..., None] * params["near.similarity"]
    count = len(looked.which)
    query = params["near.query"].expand(count, 1, -1)
    mask = torch.cat([torch.ones_like(looked.used[:, :1]), looked.used], dim=1)
    read = _block(params, "near", torch.cat([query, near], dim=1), mask)[:, 0]
    return read, _apply(params, "near.head", read)


def _block(params: Params, name: str, x: Tensor, mask: Tensor) -> Tensor:
    """One pre-norm transformer block and a last normalisation.

    Args:
        params: Hold the block's.
        name: Before the dots.
        x: Shape [n, t, w].
        mask: What may be attended to. Shape [n, t].
    """
    count, length, width = x.shape
    mixed = _apply(params, f"{name}.mix", _norm(params, f"{name}.before", x))
    heads = mixed.view(count, length, 3, HEADS, width // HEADS).permute(2, 0, 3, 1, 4)
    attended = functional.scaled_dot_product_attention(
        heads[0], heads[1], heads[2], attn_mask=mask[:, None, None, :]
    )
    x = x + _apply(params, f"{name}.out", attended.transpose(1, 2).reshape(count, length, width))
    up = functional.relu(_apply(params, f"{name}.up", _norm(params, f"{name}.between", x)))
    return _norm(params, f"{name}.after", x + _apply(params, f"{name}.down", up))


def _norm(params: Params, name: str, x: Tensor) -> Tensor:
    return functional.layer_norm(x, x.shape[-1:], params[f"{name}.gain"], params[f"{name}.bias"])
