"""A small convolutional network on pictures of 28 x 28, with all workers' gradients at once.

Two layers of 5 x 5 convolutions, each followed by the largest of 2 x 2 and ReLU, then a hidden
layer with ReLU and one output a class: ``cnn_mnist`` of ByzFL (Gonzalez et al. 2025,
arXiv:2505.24802), whose widths are 20, 50 and 500. In numpy, so that it runs where torch is not.

Shapes: W workers, B pictures each (last, so that inner loops are long), C channels, K kernel
elements of all channels.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[np.float32]
SIDE, CLASSES, KERNEL = 28, 10, 5
QUARTERS = ((0, 0), (0, 1), (1, 0), (1, 1))


@dataclass(frozen=True)
class Convnet:
    """The network's widths; parameters are one vector."""

    first: int
    second: int
    hidden: int

    @property
    def shapes(self) -> Sequence[tuple[int, ...]]:
        """Of weights and biases, layer by layer."""
        kernel = KERNEL * KERNEL
        return (
            (self.first, kernel), (self.first,),
            (self.second, self.first * kernel), (self.second,),
            (self.hidden, self.second * 16), (self.hidden,),
            (CLASSES, self.hidden), (CLASSES,),
        )  # fmt: skip

    def start(self, draws: np.random.Generator) -> Array:
        """Uniform within 1 / sqrt(inputs) of a unit, as torch's layers. Shape [D]."""
        drawn = []
        for at, shape in enumerate(self.shapes):
            inputs = self.shapes[at - at % 2][1]
            drawn.append(draws.uniform(-1, 1, int(np.prod(shape))) / np.sqrt(inputs))
        return np.concatenate(drawn).astype(np.float32)

    def logits(self, at: Array, pictures: Array) -> Array:
        """[B, 28, 28] -> [B, 10]."""
        x = np.moveaxis(pictures, 0, -1)[None, None]
        w = self._split(at)
        h = _pooled(_convolved(w[0], _patches(x)) + w[1][..., None, None, None])
        h = _pooled(_convolved(w[2], _patches(h)) + w[3][..., None, None, None])
        hidden = np.maximum(_affine(_flat(h)[0], w[4], w[5]), 0)
        return _affine(hidden, w[6], w[7])

    def gradients(self, at: Array, pictures: Array, labels: npt.NDArray[np.int64]) -> Array:
        """Of each worker's mean cross-entropy, at one place [D] or one each [W, D].

        [W, B, 28, 28] and [W, B] -> [W, D].
        """
        workers, batch = labels.shape
        w = self._split(at)
        patches1 = _patches(np.ascontiguousarray(np.moveaxis(pictures, 1, -1))[:, None])
        a1 = _convolved(w[0], patches1) + w[1][..., None, None, None]
        h1 = _pooled(a1)
        patches2 = _patches(h1)
        a2 = _convolved(w[2], patches2) + w[3][..., None, None, None]
        h2 = _pooled(a2)
        flat = _flat(h2)
        hidden = np.maximum(_affine(flat, w[4], w[5]), 0)
        d = _softmax(_affine(hidden, w[6], w[7]))
        d[np.arange(workers)[:, None], np.arange(batch), labels] -= 1
        d /= batch
        found = [d.sum(axis=1), d.transpose(0, 2, 1) @ hidden]
        d = (d @ w[6]) * (hidden > 0)
        found += [d.sum(axis=1), d.transpose(0, 2, 1) @ flat]
        d = np.moveaxis((d @ w[4]).reshape(workers, batch, *h2.shape[1:4]), 1, -1)
        found += _kernel_gradients(d := _unpooled(d, a2, h2), patches2)
        back = (np.swapaxes(w[2], -1, -2) @ d.reshape(workers, self.second, -1)).reshape(
            workers, self.first, KERNEL, KERNEL, *a2.shape[2:]
        )
        found += _kernel_gradients(_unpooled(_summed(back), a1, h1), patches1)
        return np.concatenate([g.reshape(workers, -1) for g in reversed(found)], axis=1)

    def _split(self, at: Array) -> list[Array]:
        ends = np.cumsum([int(np.prod(shape)) for shape in self.shapes])
        pieces = zip(np.split(at, ends[:-1], axis=-1), self.shapes, strict=True)
        return [piece.reshape(*at.shape[:-1], *shape) for piece, shape in pieces]


def _affine(x: Array, weights: Array, biases: Array) -> Array:
    """[..., B, I], [..., O, I] and [..., O] -> [..., B, O]."""
    return np.asarray(x @ np.swapaxes(weights, -1, -2) + biases[..., None, :])


def _patches(x: Array) -> Array:
    """Of every place what the kernel covers. [W, C, S, S, B] -> [W, K, S-4, S-4, B]."""
    seen = np.lib.stride_tricks.sliding_window_view(x, (KERNEL, KERNEL), axis=(2, 3))
    seen = np.ascontiguousarray(seen.transpose(0, 1, 5, 6, 2, 3, 4))
    return np.asarray(seen.reshape(len(x), -1, *seen.shape[4:]))


def _convolved(kernels: Array, patches: Array) -> Array:
    """[C, K] or [W, C, K], and [W, K, T, T, B] -> [W, C, T, T, B]."""
    lines = kernels @ patches.reshape(*patches.shape[:2], -1)
    return np.asarray(lines.reshape(*lines.shape[:2], *patches.shape[2:]))


def _quarters(x: Array) -> list[Array]:
    return [x[:, :, i::2, j::2] for i, j in QUARTERS]


def _pooled(x: Array) -> Array:
    """The largest of 2 x 2, not below 0. [W, C, T, T, B] -> [W, C, T/2, T/2, B]."""
    a, b, c, d = _quarters(x)
    most = np.maximum(np.maximum(a, b), np.maximum(c, d))
    return np.asarray(np.maximum(most, 0, out=most))


def _unpooled(d: Array, before: Array, after: Array) -> Array:
    """The gradient before ``_pooled``: all of it to the first of the largest, if above 0."""
    out = np.empty_like(before)
    left = after > 0
    for seen, place in zip(_quarters(before), _quarters(out), strict=True):
        chosen = left & (seen == after)
        np.multiply(d, chosen, out=place)
        left &= ~chosen
    return out


def _kernel_gradients(d: Array, patches: Array) -> list[Array]:
    """Of biases and weights. [W, C, T, T, B] and [W, K, T, T, B] -> [W, C], [W, C, K]."""
    lines = d.reshape(*d.shape[:2], -1)
    seen = patches.reshape(*patches.shape[:2], -1)
    return [lines.sum(axis=2), lines @ seen.transpose(0, 2, 1)]


def _summed(back: Array) -> Array:
    """Gradients of patches, where they came from. [W, C, 5, 5, T, T, B] -> [W, C, S, S, B]."""
    size = back.shape[4]
    side = size + KERNEL - 1
    out = np.zeros((*back.shape[:2], side, side, back.shape[-1]), np.float32)
    for i in range(KERNEL):
        for j in range(KERNEL):
            out[:, :, i : i + size, j : j + size] += back[:, :, i, j]
    return out


def _flat(h: Array) -> Array:
    """[W, C, 4, 4, B] -> [W, B, 16 C]."""
    return np.ascontiguousarray(np.moveaxis(h, -1, 1)).reshape(len(h), h.shape[-1], -1)


def _softmax(x: Array) -> Array:
    p = np.exp(x - x.max(axis=-1, keepdims=True))
    return np.asarray(p / p.sum(axis=-1, keepdims=True))
