"""What a job's nodes remember: labelled, described directions by author, and how they are read."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from workloads.api import Entries, MemoryForm
from workloads.rac.config import RacConfig
from workloads.rac.encoders import Floats, TextEncoder
from workloads.rac.longtail import Labels
from workloads.rac.snippets import Snippets, pack, unpack
from workloads.recall.index import Ids
from workloads.recall.label_trust import Judgement, judge
from workloads.recall.memory import AUTHORS_MAX
from workloads.recall.neighbours import ROW_BITS
from workloads.recall.part_vectors import Keep
from workloads.recall.vector_index import IndexSettings
from workloads.recall.vectors import OWN, VectorMemory
from workloads.recall.vote import HEARD_MIN, VoteRules, select, vote

LENGTH_SLACK = 0.05
"""A key of unit length may differ from 1 by so much: it was rounded."""
AUTHOR_SNIPPETS_MAX = 1024
"""Different snippets taken from one author; twice as many as classes if that is more."""
TRUST_STEP = 0.1
"""A trust that moved by more is used from now on; smaller moves are not worth looking up anew."""
GROWTH = 1.25
"""Of the memory, after which its authors are scored anew."""
COORDINATES_A_BYTE = 8
"""Of a key, in its code, at least."""
BELIEVED_MIN = 0.5
"""Trust in an author about a class from which its entries of it are learned from."""
PLACE_MASK = (1 << ROW_BITS) - 1
"""Of an id: the how-manieth of its author's entries."""


@dataclass(frozen=True, eq=False)
class Found:
    """Neighbours of q queries, from near to far, and what they vote."""

    texts: npt.NDArray[np.int64]
    """Numbers of their snippets; 0, the empty one, where missing. Shape [q, k]."""
    similarity: Floats
    """Cosine; 0 where missing. Shape [q, k]."""
    labels: npt.NDArray[np.int32]
    """-1 where missing. Shape [q, k]."""
    authors: Ids
    """Numbers; -1 where missing. Shape [q, k]."""
    votes: Floats
    """Share of each class; zero where there is no neighbour. Shape [q, C]."""


class Catalogue:
    """The memory of one node.

    Args:
        config: The job's.
        texts: The snippet of each class.
        dimensions: Of a key.
        encoder: A frozen T, or None.
        keep: Which entries of others are indexed; None: all.

    Raises:
        WorkloadError: faiss is missing.
    """

    def __init__(
        self,
        config: RacConfig,
        texts: Sequence[str],
        dimensions: int,
        encoder: TextEncoder | None,
        keep: Keep | None = None,
    ) -> None:
        self._config = config
        settings = index_settings(config.index, dimensions)
        most = config.author_entries
        self.memory = VectorMemory(dimensions, settings, author_entries_max=most, keep=keep)
        """Keys and labels by author."""
        self._rules = VoteRules(
            k=config.neighbours, share=config.author_share, beta=config.sharpness
        )
        one = np.ones((1, len(texts)), np.float32)
        self._judgement = Judgement(one, one[:, 0], np.zeros_like(one))
        self._judged_at = 0
        self.snippets = Snippets(encoder)
        self._class_texts = [self.snippets.number(cut(text, config)) for text in texts]
        self._names_a_class = frozenset(self._class_texts)
        self._snippets_max = max(AUTHOR_SNIPPETS_MAX, 2 * len(texts))
        self._texts: dict[int, npt.NDArray[np.int64]] = {}
        self._said: dict[str, set[int]] = {}
        self.version = 0
        """Changes whenever the same query may be answered differently."""
        self.dropped = 0
        """Entries refused since the start."""

    # What there is -----------------------------------------------------------------------------

    def __len__(self) -> int:
        return len(self.memory)

    @property
    def _authors(self) -> Mapping[str, int]:
        return self.memory.authors

    @property
    def neighbours(self) -> int:
        """How many are looked for: k."""
        return self._config.neighbours

    @property
    def authors(self) -> dict[str, int]:
        """Numbers of the others by name."""
        return {name: number for name, number in self._authors.items() if name != OWN}

    def trust(self, author: str) -> float:
        """How far an author is believed, in [0, 1]."""
        return float(self._judgement.authors[self._authors[author]])

    # Writing -----------------------------------------------------------------------------------

    def pack(self, features: Floats, labels: Labels) -> Entries:
        """Own examples as entries: features of unit length [n, d], labels [n]."""
        payload = [self._payload(label) for label in labels.tolist()]
        size = self._config.payload_bytes
        texts = np.array(payload, np.uint8).reshape(len(labels), size)
        values = labels.astype(np.float32)
        if self._config.keys == "fp16":
            return Entries(features.astype(np.float16), values, texts)
        scale = max(float(np.float32(np.abs(features).max(initial=0) / 127)), 1e-6)
        return Entries(np.rint(features / scale).astype(np.int8), values, texts, scale)

    def add(self, author: str, entries: Entries) -> Ids:
        """Take entries in, without those that no honest node makes; these are counted.

        An entry is refused if its value is no class, its key has not length 1, its payload is no
        text, its text is another class's, or its author passes a limit.

        Args:
            author: Name, or ``OWN``.
            entries: Of the job's form.

        Returns:
            Ids of the entries, -1 where refused. Shape [n].
        """
        known = self._authors
        if author not in known and len(known) >= AUTHORS_MAX:
            self.dropped += len(entries)
            return np.full(len(entries), -1, np.int64)
        keys = entries.float_keys()
        texts = [unpack(row.tobytes()) for row in entries.payload]
        with np.errstate(invalid="ignore", over="ignore"):
            lengths = np.linalg.norm(keys, axis=1)
        values = entries.values
        classes = len(self._class_texts)
        good = (values >= 0) & (values < classes) & (values == np.floor(values))
        good &= np.abs(lengths - 1) <= LENGTH_SLACK
        good &= np.array([text is not None for text in texts], bool)
        said = self._said.setdefault(author, set())
        chosen = np.zeros(len(entries), np.int64)
        for row in np.flatnonzero(good):
            chosen[row] = self._allowed(texts[row] or "", int(values[row]), said)
            good[row] = chosen[row] >= 0
        room = self._config.author_entries - self.memory.entries(author)
        rows = np.flatnonzero(good)[: max(0, room)]
        self.dropped += len(entries) - len(rows)
        ids = np.full(len(entries), -1, np.int64)
        if len(rows):
            ids[rows] = self.memory.add(author, keys[rows], values[rows].astype(np.int32))
            self._write_texts(ids[rows], chosen[rows])
            self._make_room()
            self.version += 1
        return ids

    def remove(self, author: str) -> int:
        """Take an author's entries out; how many."""
        self.version += 1
        return self.memory.remove(author)

    def _payload(self, label: int) -> npt.NDArray[np.uint8]:
        text = self.snippets.texts[self._class_texts[label]]
        return pack(text, self._config.payload_bytes)

    def _allowed(self, text: str, label: int, said: set[int]) -> int:
        """Number of a snippet that an author may use for a class; -1 if it may not."""
        if text not in self.snippets and len(said) >= self._snippets_max:
            return -1
        number = self.snippets.number(text)
        said.add(number)
        contradicts = number in self._names_a_class and number != self._class_texts[label]
        return -1 if contradicts else number

    def _write_texts(self, ids: Ids, texts: npt.NDArray[np.int64]) -> None:
        number = int(ids[0]) >> ROW_BITS
        places = ids & PLACE_MASK
        known = self._texts.get(number, np.zeros(64, np.int64))
        short = int(places.max()) + 1 - len(known)
        if short > 0:
            known = np.pad(known, (0, max(short, len(known))))
        known[places] = texts
        self._texts[number] = known

    # Reading -----------------------------------------------------------------------------------

    def look(self, queries: Floats, own: Ids | None = None, named: Ids | None = None) -> Found:
        """The neighbours of queries.

        Args:
            queries: Of unit length. Shape [q, d].
            own: The queries' own entries, which are left out with all copies, or -1. Shape [q].
            named: Entries that other nodes name as near, or -1. Shape [q, m].
        """
        k = self._config.neighbours
        by_author = self.memory.search_authors(queries, k, own, named=named)
        trust = self._judgement.by_class
        near = select(by_author, trust, self._rules)
        votes = vote(near, trust, self._rules)
        # What is not believed where the query seems to be is not read either.
        near = near.without(trust[near.authors, votes.argmax(axis=1)[:, None]] < HEARD_MIN)
        there = near.ids >= 0
        texts = np.zeros(near.ids.shape, np.int64)
        for number, known in self._texts.items():
            at = there & (near.authors == number)
            texts[at] = known[near.ids[at] & PLACE_MASK]
        return Found(
            texts,
            np.where(there, near.similarity, np.float32(0)),
            near.labels,
            near.authors,
            votes,
        )

    def judge(self, rng: np.random.Generator) -> None:
        """Score the authors, if what they say has changed since they were last scored."""
        if not self._config.trust or self._judged_at == len(self) or len(self._authors) == 1:
            return
        self._judged_at = len(self)
        classes = len(self._class_texts)
        judged = judge(self.memory, classes, self._config.sharpness, rng)
        if np.abs(judged.by_class - self._judgement.by_class).max() > TRUST_STEP:
            self.version += 1
            self._judgement = judged

    def believed(self) -> Ids:
        """Entries whose authors are believed about their classes; own ones are. Shape [n]."""
        ids = np.concatenate([self.memory.ids(author) for author in self._authors])
        trust = self._judgement.by_class[ids >> ROW_BITS, self.memory.labels(ids)]
        believed: Ids = ids[trust >= BELIEVED_MIN]
        return believed

    @property
    def outgrown(self) -> bool:
        """Whether the memory is much larger or smaller than when its authors were last scored."""
        return not 1 / GROWTH < (len(self) + 1) / (self._judged_at + 1) < GROWTH

    def _make_room(self) -> None:
        """Believe authors that have just been met, until they are scored."""
        short = len(self._authors) - len(self._judgement.authors)
        if short > 0:
            known = self._judgement
            wide = ((0, short), (0, 0))
            self._judgement = Judgement(
                np.pad(known.by_class, wide, constant_values=1),
                np.pad(known.authors, wide[0], constant_values=1),
                np.pad(known.excess, wide),
            )


def index_settings(index: str, dimensions: int) -> IndexSettings:
    """How each author's index is built.

    A code has the most bytes that divide the dimensions of a key, up to one for
    ``COORDINATES_A_BYTE`` of them.
    """
    if index != "codes":
        return IndexSettings("graph" if index == "hnsw" else "flat")
    most = max(1, dimensions // COORDINATES_A_BYTE)
    sizes = (size for size in range(most, 0, -1) if dimensions % size == 0)
    return IndexSettings("codes", code_bytes=next(sizes))


def no_entries(form: MemoryForm) -> Entries:
    """No entries of a form."""
    kind = np.int8 if form.key_type == "int8" else np.float16
    return Entries(
        np.empty((0, form.key_dims), kind),
        np.empty(0, np.float32),
        np.empty((0, form.payload_bytes), np.uint8),
    )


def cut(text: str, config: RacConfig) -> str:
    """A snippet as it comes out of a payload."""
    return unpack(pack(text, config.payload_bytes).tobytes()) or ""
