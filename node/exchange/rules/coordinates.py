"""Rules that order each coordinate, in canonical float32 (docs/protocol.md).

Minimum and maximum of zeros of both signs depend on the CPU; sums that start from +0 do not.
Kappa is as in ``geometry``, with a = f / (m - 2f).

Shapes: M rows, D coordinates.
"""

from collections.abc import Callable, Sequence

import numpy as np

from node.exchange.buffers import scratch
from node.exchange.rules.base import Mixture
from node.exchange.rules.combine import SMALLEST, clamp, combine_into
from node.exchange.rules.network import CHUNK
from node.exchange.rules.sorting import sorted_chunks
from node.ports import FloatVector

Vectors = Sequence[FloatVector]
_HALF = np.float32(0.5)


def trimmed_mean(rows: Vectors, f: int) -> FloatVector:
    """Average each coordinate after dropping its ``f`` lowest and ``f`` highest values.

    Every value kept lies within the honest range, so no liar moves a coordinate out of it.

    Breakdown point 1/2, m_min 2f + 1, kappa = 6 a (1 + a).

    Source: Yin et al. 2018, arXiv:1803.01498, Definition 2, with beta = f / m.
    """
    m = len(rows)
    total = np.empty(len(rows[0]), np.float32)
    kept = np.float32(m - 2 * f)
    for at, ordered in sorted_chunks(rows, f, m - f):
        acc = total[at]
        _add_up(ordered, acc)
        np.divide(acc, kept, out=acc)
        clamp(acc)
    return total


def median(rows: Vectors, f: int) -> FloatVector:
    """The middle value of each coordinate, or the mean of the two middle ones.

    Breakdown point 1/2, m_min 2f + 1, kappa = 4 (1 + a)^2.

    Source: Yin et al. 2018, arXiv:1803.01498, Definition 1.
    """
    del f
    m = len(rows)
    middle = np.empty(len(rows[0]), np.float32)
    for at, ordered in sorted_chunks(rows, (m - 1) // 2, m // 2 + 1):
        _middle(ordered, middle[at])
    return middle


def meamed(rows: Vectors, f: int) -> FloatVector:
    """The mean of the m - f values nearest to the median of each coordinate.

    Breakdown point 1/2, m_min 2f + 1, kappa = 4 f / (m - f) (1 + kappa of the median). For a value
    of a liar that is kept is no farther from the centre c than some honest value that is not, so
    that |F - mean_S| <= 2 / (m - f) times the sum of f honest distances to c.

    Source: Xie, Koyejo, Gupta 2018, arXiv:1802.10116, Definition 7 (mean around median).
    """
    return _around(rows, len(rows) - f, None)


def phocas(rows: Vectors, f: int) -> FloatVector:
    """The mean of the m - f values nearest to the trimmed mean of each coordinate.

    Breakdown point 1/2, m_min 2f + 1, kappa = 4 f / (m - f) (1 + kappa of the trimmed mean), as
    for ``meamed``.

    Source: Xie, Koyejo, Gupta 2018, arXiv:1805.09682, Definition 8.
    """
    return _around(rows, len(rows) - f, f)


def near_median(rows: Vectors, f: int) -> FloatVector:
    """The mean of the m - 2f values nearest to the median: Bulyan's second half.

    After ``krum_pick`` it is Bulyan, m_min 4f + 3 of the rows before; breakdown point 1/4.

    Source: El Mhamdi, Guerraoui, Rouault 2018, arXiv:1802.07927, section 4.
    """
    return _around(rows, len(rows) - 2 * f, None)


def sign_vote(rows: Vectors, f: int) -> FloatVector:
    """+1, -1 or, where there is no majority, 0: choose ``outer.lr`` for a step of that size.

    Breakdown point 1/2, m_min 2f + 1. It need not converge even without liars, and there is no
    kappa: the outcome does not scale with the rows.

    Source: Bernstein et al. 2019, arXiv:1810.05291, Algorithm 1 (majority vote).
    """
    del f
    votes = np.zeros(len(rows[0]), np.float32)
    line = scratch((min(CHUNK, len(votes)),), np.float32)
    for start in range(0, len(votes), CHUNK):
        acc = votes[start : start + CHUNK]
        sign = line[: len(acc)]
        for row in rows:
            np.sign(row[start : start + CHUNK], out=sign)
            np.add(acc, sign, out=acc)
        np.sign(acc, out=acc)
    return votes


def combine_mixed(
    rows: Vectors, mixture: Mixture, combine: Callable[[Vectors, int], FloatVector], f: int
) -> FloatVector:
    """A coordinate rule on combinations of the rows, made chunk by chunk.

    Combinations with equal weights are made once.
    """
    if mixture.shape[1:] != (len(rows),):
        raise ValueError("a combination needs a weight for each row")
    weights = mixture.astype(np.float32)
    weights[weights < SMALLEST] = 0.0
    distinct, which = np.unique(weights, axis=0, return_inverse=True)
    out = np.empty(len(rows[0]), np.float32)
    mixed = scratch((len(distinct), min(CHUNK, len(out))), np.float32)
    for start in range(0, len(out), CHUNK):
        at = slice(start, min(start + CHUNK, len(out)))
        made = list(mixed[:, : at.stop - start])
        for line, target in zip(distinct, made, strict=True):
            combine_into(rows, line, at, target)
        out[at] = combine([made[k] for k in which.tolist()], f)
    return out


def _add_up(rows: Vectors, acc: FloatVector) -> None:
    acc.fill(0)
    for row in rows:
        np.add(acc, row, out=acc)


def _middle(ordered: Vectors, out: FloatVector) -> None:
    """The mean of one or two rows."""
    out.fill(0)
    for row in ordered:
        # Halved first, the sum of two values cannot overflow.
        if len(ordered) == 2:
            np.add(out, row * _HALF, out=out)
        else:
            np.add(out, row, out=out)


def _around(rows: Vectors, keep: int, trim: int | None) -> FloatVector:
    """The mean of the ``keep`` values nearest to a centre; ties go to the lower value.

    In sorted order they are neighbours, so of the values at i, i + keep, i + 2 keep, ... exactly
    one is among them: the nearest.

    Args:
        rows: M vectors of shape [D].
        keep: From 1 to M.
        trim: The centre is the mean without so many values at each end; None: the median.
    """
    m = len(rows)
    total = np.empty(len(rows[0]), np.float32)
    width = min(CHUNK, len(total))
    buffers = scratch((3, width), np.float32)
    farther = np.empty(width, np.bool_)
    for at, ordered in sorted_chunks(rows, 0, m):
        size = at.stop - at.start
        centre, gap, other = buffers[:, :size]
        if trim is None:
            _middle(ordered[(m - 1) // 2 : m // 2 + 1], centre)
        else:
            _add_up(ordered[trim : m - trim], centre)
            np.divide(centre, np.float32(m - 2 * trim), out=centre)
            clamp(centre)
        acc = total[at]
        acc.fill(0)
        for i in range(keep):
            chosen = ordered[i]
            for k in range(i + keep, m, keep):
                np.abs(np.subtract(chosen, centre, out=gap), out=gap)
                np.abs(np.subtract(ordered[k], centre, out=other), out=other)
                np.less(other, gap, out=farther[:size])
                np.copyto(chosen, ordered[k], where=farther[:size])
            np.add(acc, chosen, out=acc)
        np.divide(acc, np.float32(keep), out=acc)
        clamp(acc)
    return total
