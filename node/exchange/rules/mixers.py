"""Steps before the last one: rows are clipped, replaced by means of their neighbours, or picked.

Shapes: M rows in, K out.
"""

import numpy as np
from blake3 import blake3

from node.exchange.rules.base import Gram, Mixture
from node.exchange.rules.geometry import krum_scores
from node.exchange.rules.space import lower_median, sq_distances

NORM_CAP = 3.0
"""Longest row allowed, in median norms."""
BUCKET = 2
"""Rows averaged in one bucket."""


def norm_cap(gram: Gram, f: int, seed: bytes) -> Mixture:
    """Shorten rows to three times the (lower) median norm. K = M.

    A guard, not a defence: a liar's pull is bounded by f / m times the cap.

    Source: median-norm clipping as in Covenant-72B, arXiv:2603.08163, section 2, with a factor.
    """
    del f, seed
    norms = np.sqrt(np.maximum(gram.diagonal(), 0.0))
    return _clipped(norms, NORM_CAP * lower_median(norms))


def arc(gram: Gram, f: int, seed: bytes) -> Mixture:
    """Shorten the k = floor(2 f (m - f) / m) longest rows to the next longest norm. K = M.

    An (f, kappa)-robust rule stays (f, kappa + 2f / (m - 2f))-robust, and the aggregate is no
    longer than the longest honest row. Before nnm it hides the norms by which that tells liars.

    Source: Allouah et al. 2024, arXiv:2405.14432, Algorithm 2 and Theorem 3.2.
    """
    del seed
    m = len(gram)
    norms = np.sqrt(np.maximum(gram.diagonal(), 0.0))
    return _clipped(norms, float(np.sort(norms)[m - 1 - 2 * f * (m - f) // m]))


def _clipped(norms: Gram, longest: float) -> Mixture:
    over = norms > longest
    return np.diag(np.where(over, longest / np.where(over, norms, 1.0), 1.0))


def nnm(gram: Gram, f: int, seed: bytes) -> Mixture:
    """Replace each row by the mean of the m - f rows nearest to it, itself included. K = M.

    Makes an (f, kappa)-robust rule (f, 8 f / (m - f) (kappa + 1))-robust: of the order of the best
    possible, f / m.

    Source: Allouah et al. 2023, arXiv:2302.01772, Algorithm 2 and Lemma 1.
    """
    del seed
    m = len(gram)
    order = np.argsort(sq_distances(gram), axis=1, kind="stable")[:, : m - f]
    mixture = np.zeros((m, m))
    np.put_along_axis(mixture, order, 1.0 / (m - f), axis=1)
    return mixture


def bucketing(gram: Gram, f: int, seed: bytes) -> Mixture:
    """Replace the rows by the means of pairs, drawn by hash of ``seed``. K = ceil(M / 2).

    Makes Krum and the medians usable where honest rows differ in kind; f liars spoil at most f
    buckets, of half as many.

    Source: Karimireddy, He, Jaggi 2022, arXiv:2006.09365, Algorithm 1, with s = 2.
    """
    del f
    m = len(gram)
    drawn = sorted(range(m), key=lambda i: (blake3(seed + i.to_bytes(2, "little")).digest(), i))
    mixture = np.zeros((-(-m // BUCKET), m))
    for k in range(len(mixture)):
        bucket = drawn[k * BUCKET : (k + 1) * BUCKET]
        mixture[k, bucket] = 1.0 / len(bucket)
    return mixture


def krum_pick(gram: Gram, f: int, seed: bytes) -> Mixture:
    """Pick rows by Krum, one after the other among the rest. K = M - 2f: Bulyan's first half.

    Source: El Mhamdi, Guerraoui, Rouault 2018, arXiv:1802.07927, section 4, m >= 4f + 3.
    """
    del seed
    left = list(range(len(gram)))
    picked = []
    for _ in range(len(gram) - 2 * f):
        best = int(np.argmin(krum_scores(gram[np.ix_(left, left)], f))) if len(left) > 1 else 0
        picked.append(left.pop(best))
    mixture = np.zeros((len(picked), len(gram)))
    mixture[np.arange(len(picked)), sorted(picked)] = 1.0
    return mixture
