"""What a search over labelled vectors answers."""

from dataclasses import dataclass
from typing import TypeVar

import numpy as np
import numpy.typing as npt

from workloads.recall.index import Floats, Ids

Labels = npt.NDArray[np.int32]
Scalar = TypeVar("Scalar", bound=np.generic)

ROW_BITS = 40
"""An id is the author's number, then so many bits for the how-manieth of its entries it is."""


@dataclass(frozen=True, eq=False)
class Neighbours:
    """Entries from near to far along the last axis; equal similarities are in the order of ids."""

    ids: Ids
    """-1 where there are too few. Shape [..., k]."""
    similarity: Floats
    """Cosine, in [-1, 1]; -inf where missing. Shape [..., k]."""
    labels: Labels
    """-1 where missing. Shape [..., k]."""

    @property
    def authors(self) -> Ids:
        """Number of each entry's author, -1 where missing. Shape [..., k]."""
        return self.ids >> ROW_BITS

    def nearest(self, k: int) -> "Neighbours":
        """Sorted, and the first k; missing entries are added if there are fewer."""
        order = np.lexsort((self.ids, -self.similarity), axis=-1)[..., :k]
        return Neighbours(
            _pick(self.ids, order, k, -1),
            _pick(self.similarity, order, k, -np.inf),
            _pick(self.labels, order, k, -1),
        )

    def without(self, dropped: npt.NDArray[np.bool_]) -> "Neighbours":
        """Those of the mask become missing, in place. Shape [..., k]."""
        return Neighbours(
            np.where(dropped, -1, self.ids),
            np.where(dropped, np.float32(-np.inf), self.similarity),
            np.where(dropped, np.int32(-1), self.labels),
        )


def merge(by_author: Neighbours, k: int) -> Neighbours:
    """The k nearest of all authors' lists.

    Args:
        by_author: Shape [s, q, n].
        k: At least 1.

    Returns:
        Shape [q, k].
    """
    side_by_side = Neighbours(
        _join(by_author.ids), _join(by_author.similarity), _join(by_author.labels)
    )
    return side_by_side.nearest(k)


def _join(column: npt.NDArray[Scalar]) -> npt.NDArray[Scalar]:
    """From shape [s, q, n] to [q, s n]."""
    return column.swapaxes(0, 1).reshape(column.shape[1], -1)


def _pick(
    column: npt.NDArray[Scalar], order: npt.NDArray[np.intp], k: int, missing: float
) -> npt.NDArray[Scalar]:
    """The entries of an order along the last axis, which becomes k long. Shape [..., k]."""
    picked = np.full((*order.shape[:-1], k), missing, column.dtype)
    picked[..., : order.shape[-1]] = np.take_along_axis(column, order, axis=-1)
    return picked
