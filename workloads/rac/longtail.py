"""Which training examples a job and a node use: long-tailed subsets, and shards. Pure."""

import numpy as np
import numpy.typing as npt

Labels = npt.NDArray[np.int64]
Rows = npt.NDArray[np.int64]


def class_counts(classes: int, largest: int, imbalance: float) -> list[int]:
    """Examples of each class, exponentially falling: n_i = largest mu^(i / (C - 1)), mu = 1 / IR.

    Source: Cui et al. 2019, arXiv:1901.05555, section 5.1. At least one each.
    """
    last = max(1, classes - 1)
    return [max(1, int(largest * imbalance ** (-i / last))) for i in range(classes)]


def subset(
    labels: Labels, classes: int, largest: int | None, imbalance: float, rng: np.random.Generator
) -> Rows:
    """Rows of a long-tailed subset, in an order drawn once, so that any prefix is a fair sample.

    Args:
        labels: Of all training examples, below ``classes``. Shape [n].
        classes: C.
        largest: Examples of class 0; None: of the class that has most.
        imbalance: At least 1; 1 leaves a balanced set as it is.
        rng: Draws.
    """
    have = np.bincount(labels, minlength=classes)
    wanted = class_counts(classes, largest or int(have.max()), imbalance)
    drawn = [
        rng.permutation(np.flatnonzero(labels == label))[:count]
        for label, count in enumerate(wanted)
    ]
    return rng.permutation(np.concatenate(drawn)).astype(np.int64)


def balanced_prefix(labels: Labels, classes: int, count: int) -> Rows:
    """Up to ``count`` rows, evenly of all classes, the first ones of each; in order of rows."""
    each = -(-count // classes)
    return np.sort(np.concatenate([np.flatnonzero(labels == c)[:each] for c in range(classes)]))


def divide_evenly(count: int, nodes: int) -> list[Rows]:
    """Every node gets each ``nodes``-th example; with an order that is drawn this is i.i.d."""
    return [np.arange(node, count, nodes) for node in range(nodes)]


def divide_by_class(
    labels: Labels, classes: int, nodes: int, concentration: float, rng: np.random.Generator
) -> list[Rows]:
    """Each class is divided over the nodes in shares drawn from a Dirichlet distribution.

    Source: Hsu, Qi, Brown 2019, arXiv:1909.06335, over classes. No node stays empty while there are
    as many examples as nodes.

    Args:
        labels: Of the job's training examples. Shape [n].
        classes: C.
        nodes: At least 1.
        concentration: Of the distribution; the smaller, the fewer nodes hold a class.
        rng: Draws; the same on all nodes.
    """
    owner = np.empty(len(labels), np.int64)
    for label in range(classes):
        rows = np.flatnonzero(labels == label)
        shares = rng.dirichlet(np.full(nodes, concentration))
        ends = np.rint(np.cumsum(shares) * len(rows)).astype(np.int64)
        owner[rows] = np.searchsorted(ends, np.arange(len(rows)), side="right").clip(max=nodes - 1)
    for node in range(nodes):
        sizes = np.bincount(owner, minlength=nodes)
        if not sizes[node] and len(labels) >= nodes:
            owner[np.flatnonzero(owner == sizes.argmax())[0]] = node
    return [np.flatnonzero(owner == node) for node in range(nodes)]
