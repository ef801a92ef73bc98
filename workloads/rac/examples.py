"""A node's examples: pictures for B, features for E, entries for the others."""

from collections import deque

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torch.nn import functional

from workloads.api import Entries
from workloads.rac.catalogue import Catalogue, Found
from workloads.rac.config import RacConfig
from workloads.rac.datasets import Part, Pictures
from workloads.rac.encoders import Floats
from workloads.rac.features import Encoding, FeatureCache
from workloads.rac.lookup import Lookup
from workloads.rac.network import Looked
from workloads.recall.index import Ids
from workloads.recall.vectors import OWN

Rows = npt.NDArray[np.int64]


class Examples:
    """Labelled pictures with their neighbours; features are found block by block.

    Args:
        part: The pictures.
        config: The job's.
        device: Where B's pictures lie.
        catalogue: Where neighbours are found; None: no retrieval branch.
        cache: Finds features; None as well then.
        first_block: Where encoding begins.
        own: The examples are this node's training data: they go into the catalogue.
    """

    def __init__(
        self,
        part: Part,
        config: RacConfig,
        device: torch.device,
        catalogue: Catalogue | None,
        cache: FeatureCache | None,
        *,
        first_block: int = 0,
        own: bool,
        classes: int,
    ) -> None:
        self.labels = part.labels
        self.pictures = to_tensor(part.pictures, config.size).to(device)
        self.targets = torch.from_numpy(part.labels).to(device)
        self.outbox: deque[Entries] = deque()
        """Entries made since they were last taken."""
        self._device = device
        self._own = own
        self._ids = np.full(len(part.labels), -1, np.int64)
        self._known = 0
        self._catalogue = catalogue
        self._encoding: Encoding | None = None
        if catalogue is not None and cache is not None:
            self._encoding = Encoding(cache, part.pictures, first_block)
            self._lookup = Lookup(catalogue, self._encoding.features, classes)

    def __len__(self) -> int:
        return len(self.labels)

    @property
    def known(self) -> int:
        """Examples from the first on whose features are known; all where none are needed."""
        return len(self) if self._encoding is None else self._known

    @property
    def features(self) -> Floats:
        """Of unit length, zero where not yet known. Shape [n, d]."""
        assert self._encoding is not None
        return self._encoding.features

    @property
    def complete(self) -> bool:
        """Whether there is nothing to encode."""
        return self._encoding is None or self._encoding.complete

    def encode(self) -> None:
        """Find the features of one more block."""
        assert self._encoding is not None
        assert self._catalogue is not None
        rows = self._encoding.step()
        self._known = rows.stop if self._own else len(self) * self._encoding.complete
        if self._own:
            entries = self._catalogue.pack(self._encoding.features[rows], self.labels[rows])
            self._ids[rows] = self._catalogue.add(OWN, entries)
            self.outbox.append(entries)

    def found(self, rows: Rows) -> Found:
        """Neighbours of some examples whose features are known; own entries are not their own."""
        assert self._encoding is not None
        assert self._catalogue is not None
        due = self._lookup.due(rows)
        due = due[due < self.known]
        return self._lookup.look(rows, due, self._ids if self._own else None)

    def unasked(self, size: int) -> Rows:
        """Examples that other nodes were not asked about since the memory had about this size."""
        return self._lookup.unasked(self.known, size)

    @property
    def answered(self) -> float:
        """Share of the examples about which other nodes were asked."""
        return self._lookup.answered

    def tell(self, rows: Rows, named: Ids, size: int) -> None:
        """Remember what other nodes named as near to some examples; see ``Lookup.tell``."""
        self._lookup.tell(rows, named, size)

    def looked(self, rows: Rows) -> Looked | None:
        """What the retrieval branch sees of some examples; None without it."""
        if self._encoding is None or self._catalogue is None:
            return None
        return looked(self.found(rows), self._catalogue, self._device)


def looked(found: Found, catalogue: Catalogue, device: torch.device) -> Looked:
    """As tensors, with each different snippet once."""
    numbers, which = np.unique(found.texts, return_inverse=True)
    tensors = (
        catalogue.snippets.rows(numbers),
        which.reshape(found.texts.shape),
        found.similarity,
        found.labels >= 0,
        found.votes,
    )
    return Looked(*(torch.from_numpy(np.ascontiguousarray(x)).to(device) for x in tensors))


def to_tensor(pictures: Pictures, size: int | None) -> Tensor:
    """Bytes of shape [n, c, h, w], scaled to a side if one is given."""
    x = torch.from_numpy(np.array(pictures)).permute(0, 3, 1, 2).contiguous()
    if size is None or x.shape[2:] == (size, size):
        return x
    parts = torch.split(x, 1024)
    scale = (size, size)
    scaled = [
        functional.interpolate(part.float(), scale, mode="bicubic", antialias=True)
        for part in parts
    ]
    return torch.cat([part.clamp(0, 255).round().to(torch.uint8) for part in scaled])


def augmented(pictures: Tensor, shift: int, flip: bool, rng: np.random.Generator) -> Tensor:
    """Each picture moved by up to ``shift`` pixels each way, and every other one mirrored.

    Args:
        pictures: Shape [n, c, h, w]; the colour at the edge is repeated.
        shift: At least 0.
        flip: Whether to mirror.
        rng: Draws.
    """
    count, _, height, width = pictures.shape
    moves = rng.integers(-shift, shift + 1, (2, count, 1))
    rows = np.clip(np.arange(height) + moves[0], 0, height - 1)
    columns = np.clip(np.arange(width) + moves[1], 0, width - 1)
    mirrored = rng.random(count) < 0.5
    if flip:
        columns[mirrored] = columns[mirrored, ::-1]
    at = [torch.from_numpy(x).to(pictures.device) for x in (np.arange(count), rows, columns)]
    moved = pictures[at[0][:, None, None], :, at[1][:, :, None], at[2][:, None, :]]
    return moved.permute(0, 3, 1, 2).float()
