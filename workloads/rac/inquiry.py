"""What a node asks the others about its examples where each indexes only a part of the memory."""

from collections.abc import Callable, Sequence

import numpy as np

from workloads.api import WorkloadError
from workloads.rac.catalogue import Catalogue
from workloads.rac.config import RacConfig
from workloads.rac.encoders import TextEncoder
from workloads.rac.examples import Examples, Rows
from workloads.recall.digests import Digests
from workloads.recall.index import Ids
from workloads.recall.sharding import (
    BUCKETS,
    QUESTION_QUERIES_MAX,
    Mask,
    Named,
    bucket,
    decode_answer,
    decode_question,
    encode_answer,
    encode_question,
    kept,
)
from workloads.recall.vectors import OWN, VectorMemory


class Inquiry:
    """Implements ``workloads.api.Inquiry``.

    Args:
        copies: Nodes that index an entry besides its author.
        neighbours: k. One more is asked for: an example may be its own nearest.
        examples: Lists of examples that are looked up, called when asked.
        memory: What is remembered; its index keeps what ``keep`` says.
    """

    def __init__(
        self,
        copies: int,
        neighbours: int,
        examples: Callable[[], Sequence[Examples]],
        memory: Callable[[], VectorMemory],
    ) -> None:
        self._copies = copies
        self._wanted = neighbours + 1
        self._examples = examples
        self._memory = memory
        self._own = OWN
        self._kept: Mask = np.ones(BUCKETS, bool)
        self._asked: tuple[Examples, Rows, int] | None = None
        self.refused = 0
        """Answers that were none."""
        self.unknown = 0
        """Entries that were named and are not held here: not arrived yet, or invented."""

    def keep(self, digests: Digests) -> Mask:
        """Which entries of others this node indexes. Shape [n]."""
        mask: Mask = self._kept[bucket(digests)]
        return mask

    def meet(self, own: str, peers: Sequence[str]) -> None:
        """Index the buckets of ``own``; before anything arrives."""
        self._own = own
        self._kept = kept(peers, self._copies, own)

    def ask(self) -> bytes:
        """The next question: examples that were last asked about when the memory was smaller."""
        size = len(self._memory())
        for examples in self._examples():
            rows = examples.unasked(size)[:QUESTION_QUERIES_MAX]
            if len(rows):
                self._asked = examples, rows, size
                return encode_question(examples.features[rows], self._wanted)
        self._asked = None
        return b""

    def answer(self, question: bytes) -> bytes:
        """The nearest entries of each author that are indexed here.

        Raises:
            WorkloadError: It is no question.
        """
        memory = self._memory()
        near = memory.search_authors(*decode_question(question, memory.dimensions))
        digests = np.zeros(near.ids.shape, np.uint64)
        there = near.ids >= 0
        digests[there] = memory.digests(near.ids[there])
        names = {number: name or self._own for name, number in memory.authors.items()}
        return encode_answer(Named(tuple(names[n] for n in range(len(names))), digests))

    def learn(self, answers: Sequence[bytes]) -> None:
        """Take note of what others said to the last question; without an answer it is asked again.

        What they name is compared here, and the nearest of each author are remembered.
        """
        if self._asked is None:
            return
        (examples, rows, size), memory = self._asked, self._memory()
        named = [ids for data in answers for ids in self._found(data, len(rows))]
        if not named:
            return
        queries, all_named = examples.features[rows], np.concatenate(named, axis=1)
        near = memory.search_authors(queries, self._wanted, named=all_named)
        examples.tell(rows, np.concatenate(list(near.ids), axis=1), size)

    def _found(self, answer: bytes, queries: int) -> list[Ids]:
        """Ids of what an answer names, by author. Each of shape [q, k]."""
        try:
            named = decode_answer(answer, queries, self._wanted)
        except WorkloadError:
            self.refused += 1
            return []
        found = []
        for author, digests in zip(named.authors, named.digests, strict=True):
            if author != self._own:
                found.append(self._memory().find(author, digests))
                self.unknown += int(((found[-1] < 0) & (digests > 0)).sum())
        return found


def make_memory(
    config: RacConfig,
    texts: Sequence[str],
    dimensions: int,
    encoder: TextEncoder | None,
    examples: Callable[[], Sequence[Examples]],
) -> tuple[Catalogue, Inquiry | None]:
    """A node's memory, and what asks others about the examples, if each indexes only a part.

    Args:
        config: The job's.
        texts: The snippet of each class.
        dimensions: Of a key.
        encoder: A frozen T, or None.
        examples: See ``Inquiry``.
    """
    if not config.copies:
        return Catalogue(config, texts, dimensions, encoder), None
    inquiry = Inquiry(config.copies, config.neighbours, examples, lambda: catalogue.memory)
    catalogue = Catalogue(config, texts, dimensions, encoder, inquiry.keep)
    return catalogue, inquiry
