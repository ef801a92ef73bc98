"""What is remembered: unique keys by group, and under each the value that every author gives it."""

import hashlib
from collections.abc import Callable, Mapping

import numpy as np
import numpy.typing as npt

from workloads.api import WorkloadError
from workloads.recall.index import Floats, Ids, Index, Keys

AUTHORS_MAX = 64
"""Authors of one memory, oneself included."""
NODES_START = 1024
"""Nodes that there is room for at first; the room doubles."""

SELF = 0
"""Number of one's own entries' author."""


def digest(key: Keys) -> bytes:
    """What equal keys share and no others: 16 bytes of BLAKE2b."""
    return hashlib.blake2b(key.tobytes(), digest_size=16).digest()


class Memory:
    """Entries of several authors, each a (group, key) with a value.

    A *node* is a (group, key) that anybody remembers; its key is in its group's index once, however
    many authors have an entry there, so copies crowd nobody out.

    Args:
        groups: How many; in NAIT the actions.
        dimensions: Length of a key.
        make_index: An empty index; called once a group, and again when authors are forgotten.
    """

    def __init__(self, groups: int, dimensions: int, make_index: Callable[[], Index]) -> None:
        self._groups = groups
        self._make_index = make_index
        self._keys = np.empty((NODES_START, dimensions), np.int8)
        self._group_of = np.empty(NODES_START, np.uint8)
        self._values = np.full((1, NODES_START), np.nan, np.float32)
        self._nodes = 0
        self._numbers: dict[str, int] = {}
        self._indexes = [make_index() for _ in range(groups)]
        self._known: list[dict[bytes, int]] = [{} for _ in range(groups)]
        self._node_at = np.zeros((groups, NODES_START), np.int64)
        self._rows = np.arange(groups)[:, None]
        self._make_room(1)

    # What there is -----------------------------------------------------------------------------

    @property
    def nodes(self) -> int:
        """Unique keys over all groups."""
        return self._nodes

    @property
    def authors(self) -> Mapping[str, int]:
        """Numbers of the others by name, from 1."""
        return self._numbers

    @property
    def keys(self) -> Keys:
        """Of all nodes. Shape [nodes, d]."""
        return self._keys[: self._nodes]

    @property
    def groups(self) -> npt.NDArray[np.uint8]:
        """Of all nodes. Shape [nodes]."""
        return self._group_of[: self._nodes]

    @property
    def values(self) -> Floats:
        """Of all authors at all nodes, NaN where there is no entry; to be written to with care.

        Row 0 is one's own. Shape [authors, nodes].
        """
        return self._values[:, : self._nodes]

    def entries(self, author: int) -> int:
        """How many an author has."""
        return int(np.count_nonzero(~np.isnan(self.values[author])))

    def find(self, group: int, key_digest: bytes) -> int:
        """The node of an exact key, or -1."""
        return self._known[group].get(key_digest, -1)

    # Writing -----------------------------------------------------------------------------------

    def put(self, group: int, key: Keys, key_digest: bytes) -> int:
        """The node of a key, made if missing; no entry is written. Key of shape [d]."""
        node = self._known[group].get(key_digest, -1)
        return node if node >= 0 else self._append(group, key, key_digest)

    def number(self, author: str) -> int:
        """The author's number, given on first sight.

        Raises:
            WorkloadError: There are too many authors.
        """
        number = self._numbers.get(author)
        if number is None:
            number = len(self._numbers) + 1
            if number >= AUTHORS_MAX:
                raise WorkloadError(f"a memory holds at most {AUTHORS_MAX} authors")
            self._numbers[author] = number
            fresh = np.full((1, self._values.shape[1]), np.nan, np.float32)
            self._values = np.concatenate([self._values, fresh])
        return number

    def write(self, author: int, groups: npt.NDArray[np.uint8], keys: Keys, values: Floats) -> None:
        """Write entries of one author; a later one replaces an earlier one under the same key.

        Args:
            author: Its number.
            groups: Shape [n].
            keys: Shape [n, d].
            values: Shape [n].
        """
        for group, key, value in zip(groups.tolist(), keys, values, strict=True):
            node = self.put(group, key, digest(key))
            self._values[author, node] = value

    def forget(self, author: int) -> Ids:
        """Drop all entries of an author; nodes that nobody else remembers leave the indexes.

        Returns:
            The new number of every node, -1 where it is gone. Shape [nodes before].
        """
        self._values[author] = np.nan
        kept = np.flatnonzero(~np.isnan(self.values).all(axis=0))
        moved = np.full(self._nodes, -1, np.int64)
        moved[kept] = np.arange(len(kept))
        keys, groups, values = self._keys[kept], self._group_of[kept], self._values[:, kept]
        self._nodes = 0
        self._indexes = [self._make_index() for _ in range(self._groups)]
        self._known = [{} for _ in range(self._groups)]
        for group, key in zip(groups.tolist(), keys, strict=True):
            self._append(group, key, digest(key))
        self._values[:, : len(kept)] = values
        self._values[:, len(kept) :] = np.nan
        return moved

    def _append(self, group: int, key: Keys, key_digest: bytes) -> int:
        node, known = self._nodes, self._known[group]
        if node == len(self._keys):
            self._double()
        place = len(known)
        if place == self._node_at.shape[1]:
            self._node_at = np.concatenate([self._node_at, np.zeros_like(self._node_at)], axis=1)
        self._keys[node] = key
        self._group_of[node] = group
        self._node_at[group, place] = node
        self._indexes[group].add(self._keys[node])
        known[key_digest] = node
        self._nodes += 1
        return node

    def _double(self) -> None:
        self._keys = np.concatenate([self._keys, np.empty_like(self._keys)])
        self._group_of = np.concatenate([self._group_of, np.empty_like(self._group_of)])
        fresh = np.full_like(self._values, np.nan)
        self._values = np.concatenate([self._values, fresh], axis=1)

    # Reading -----------------------------------------------------------------------------------

    def near(self, query: Floats, k: int) -> tuple[Floats, Floats, Ids]:
        """The k nearest nodes of every group.

        Args:
            query: Shape [d].
            k: At least 1.

        Returns:
            Squared distances, infinite where a group has fewer than k nodes, shape [groups, k]
            (a buffer that the next call overwrites); values, shape [authors, groups, k]; nodes,
            any where missing, shape [groups, k].
        """
        if k != self._squares.shape[1]:
            self._make_room(k)
        for index, (squares, ids) in zip(self._indexes, self._targets, strict=True):
            index.search(query, squares, ids)
        self._squares[self._ids < 0] = np.inf
        nodes = self._node_at[self._rows, self._ids]
        return self._squares, self._values[:, nodes], nodes

    def _make_room(self, k: int) -> None:
        """Buffers for k neighbours of every group, and their rows."""
        self._squares = np.empty((self._groups, k), np.float32)
        self._ids = np.empty((self._groups, k), np.int64)
        self._targets = list(zip(self._squares, self._ids, strict=True))

    # Keeping -----------------------------------------------------------------------------------

    def dump(self) -> dict[str, npt.NDArray[np.generic]]:
        """All entries as arrays, in the order in which they came."""
        names = sorted(self._numbers, key=self._numbers.__getitem__)
        return {
            "keys": self.keys,
            "groups": self.groups,
            "values": self.values,
            "authors": np.array(names, dtype=np.str_),
        }

    def load(self, state: Mapping[str, npt.NDArray[np.generic]]) -> None:
        """Fill an empty memory with what ``dump`` gave; the indexes come out the same.

        Raises:
            WorkloadError: The arrays do not fit this memory.
        """
        keys, groups, values = state["keys"], state["groups"], state["values"]
        authors = [str(name) for name in state["authors"]]
        if keys.shape[1:] != self._keys.shape[1:] or values.shape != (len(authors) + 1, len(keys)):
            raise WorkloadError("the kept memory has other shapes: it belongs to another config")
        for name in authors:
            self.number(name)
        for group, key in zip(groups.tolist(), keys.astype(np.int8), strict=True):
            self._append(group, key, digest(key))
        self._values[:, : self._nodes] = values
