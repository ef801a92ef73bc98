"""Rules that look for the direction in which the rows spread most.

The non-zero eigenvalues of the covariance of D coordinates are those of the M x M matrix of inner
products about the mean, so both rules are exact from the Gram matrix.

Shapes: M rows.
"""

import math
from itertools import combinations, islice

import numpy as np

from node.exchange.rules.base import Gram, Weights
from node.exchange.rules.eigen import top_eigenvalues, top_pair
from node.exchange.rules.space import equal, product, running, start

SUBSETS_MAX = 20_000
"""Subsets that ``smea`` looks at; with more it is ``caf``. 16 rows stay below for every f."""
BATCH = 512
"""Subsets looked at together."""


def caf(gram: Gram, f: int) -> Weights:
    """Fade rows out by their projections on the top direction; the calmest mean wins.

    Weights c start at 1. As long as they sum to more than m - 2f: take the weighted mean and
    covariance, its largest eigenvalue and vector; multiply c_i by 1 - tau_i / tau_max, where tau_i
    is the squared projection of row i. The mean with the least eigenvalue is the aggregate. Each
    pass takes one row out for good, so there are at most m.

    Breakdown point 1/2, m_min 2f + 1. Its error goes with the largest eigenvalue of the honest
    covariance, not with the trace, as does SMEA's: kappa of that order is 4 f / (m - f) (1 + a)^2.

    Source:
        Allouah et al. 2025, arXiv:2505.01874, Algorithm 1 (CAF). Differs: eigenvectors are exact,
        and tau_max is taken over rows that still have weight. Over all rows one that is long gone
        but far away keeps every other weight from shrinking, and the loop hardly ends.
    """
    m = len(gram)
    c = np.ones(m)
    best, least = equal(list(range(m)), m), math.inf
    centred = start(gram, f)[1]
    while (total := math.fsum(c.tolist())) > m - 2 * f:
        w = c / total
        inner = product(centred, w)
        about = centred - inner[:, None] - inner[None, :] + math.fsum((w * inner).tolist())
        root = np.sqrt(c)
        value, vector = top_pair(root[:, None] * about * root / total)
        if value < least:
            best, least = w, value
        seen = np.where(c > 0.0, np.abs(product(about, root * vector)), 0.0)
        most = float(seen.max())
        if not most > 0.0:
            break
        # Ratios before squares, so that nothing overflows.
        share = seen / most
        c = c * (1.0 - share * share)
    return best


def smea(gram: Gram, f: int) -> Weights:
    """The mean of the m - f rows whose covariance has the least largest eigenvalue.

    All subsets are looked at; where there are more than SUBSETS_MAX the rule is ``caf``, which
    seeks the same in polynomial time.

    Breakdown point 1/2, m_min 2f + 1, kappa = 4 f / (m - f) (1 + a)^2 with respect to the largest
    eigenvalue in place of the trace.

    Source: Allouah et al. 2023, arXiv:2302.04787 (SMEA), section 3.
    """
    m = len(gram)
    if math.comb(m, f) > SUBSETS_MAX:
        return caf(gram, f)
    centred = start(gram, f)[1]
    best, least = np.arange(m - f), math.inf
    subsets = combinations(range(m), m - f)
    while batch := list(islice(subsets, BATCH)):
        at = np.array(batch)
        inner = centred[at[:, :, None], at[:, None, :]]
        lines = running(inner) / (m - f)
        about = inner - lines[:, :, None] - lines[:, None, :]
        about += (running(lines) / (m - f))[:, None, None]
        values = top_eigenvalues(about)
        if values.min() < least:
            first = int(values.argmin())
            best, least = at[first], float(values[first])
    return equal(best, m)
