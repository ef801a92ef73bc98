"""How good predictions are, by how many training examples their classes have. Pure."""

from collections.abc import Mapping

import numpy as np
import numpy.typing as npt

from workloads.rac.longtail import Labels

SHOTS = ("many", "medium", "few")


def shots(
    counts: npt.NDArray[np.int64], many: int, few: int
) -> Mapping[str, npt.NDArray[np.bool_]]:
    """Which classes are many-, medium- and few-shot: above ``many``, between, below ``few``.

    Source: Liu et al. 2019, arXiv:1904.05160, with 100 and 20.
    """
    return {
        "many": counts > many,
        "medium": (counts <= many) & (counts >= few),
        "few": counts < few,
    }


def class_accuracy(predicted: Labels, labels: Labels, classes: int) -> npt.NDArray[np.float64]:
    """Share of each class's examples that are predicted as such; NaN without any. Shape [C]."""
    seen = np.bincount(labels, minlength=classes)
    right = np.bincount(labels[predicted == labels], minlength=classes)
    with np.errstate(invalid="ignore"):
        accuracy: npt.NDArray[np.float64] = right / np.where(seen, seen, np.nan)
    return accuracy


def by_shot(
    values: npt.NDArray[np.float64], groups: Mapping[str, npt.NDArray[np.bool_]]
) -> dict[str, float]:
    """Mean over the classes of each group that have a value; empty groups are left out."""
    return {
        name: float(np.mean(values[at & ~np.isnan(values)]))
        for name, at in groups.items()
        if (at & ~np.isnan(values)).any()
    }


def confusion(predicted: Labels, labels: Labels, classes: int) -> npt.NDArray[np.int64]:
    """Examples by class (row) and predicted class (column). Shape [C, C]."""
    flat = np.bincount(labels * classes + predicted, minlength=classes * classes)
    return flat.reshape(classes, classes)


def class_recall(
    near: npt.NDArray[np.int32], labels: Labels, classes: int
) -> npt.NDArray[np.float64]:
    """Share of the k neighbours that are of the query's class, by class. Near [q, k]; shape [C]."""
    share = (near == labels[:, None]).mean(axis=1)
    seen = np.bincount(labels, minlength=classes)
    with np.errstate(invalid="ignore"):
        sums = np.bincount(labels, weights=share, minlength=classes)
        recall: npt.NDArray[np.float64] = sums / np.where(seen, seen, np.nan)
    return recall
