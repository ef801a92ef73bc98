"""What all nodes wrote into the memory, as examples that the retrieval branch learns from."""

import numpy as np
import torch

from workloads.rac.catalogue import Catalogue
from workloads.rac.config import RacConfig
from workloads.rac.examples import looked
from workloads.rac.lookup import Lookup
from workloads.rac.loss import adjustment
from workloads.rac.objective import Lesson
from workloads.recall.index import Ids
from workloads.recall.neighbours import ROW_BITS

EXAMPLES_MAX = 8192
"""Of a memory that has more, so many are drawn whenever it has changed."""


class SharedExamples:
    """Entries with their neighbours and labels: R needs no picture, only a key.

    An entry is an example if its author is believed about its class. So R sees every class that
    any node has, where a node's own pictures may be of few.

    Args:
        catalogue: Whose entries these are.
        classes: C.
        tau: Strength of the logit adjustment, by the frequencies among the entries.
        device: Where batches go.
    """

    def __init__(
        self, catalogue: Catalogue, classes: int, tau: float, device: torch.device
    ) -> None:
        self._catalogue = catalogue
        self._classes = classes
        self._tau = tau
        self._device = device
        self._version = -1
        self._alone = True
        self._ids: Ids = np.empty(0, np.int64)

    def refresh(self, rng: np.random.Generator) -> None:
        """Score the authors and choose the examples, if the memory is not what it was."""
        catalogue = self._catalogue
        if self._version == catalogue.version:
            return
        catalogue.judge(rng)
        self._version = catalogue.version
        ids = catalogue.believed()
        self._ids, self._alone = ids, not (ids >> ROW_BITS).any()
        if self._alone:
            return
        if len(ids) > EXAMPLES_MAX:
            ids = np.sort(rng.choice(ids, EXAMPLES_MAX, replace=False))
        self._ids = ids
        labels = catalogue.memory.labels(ids).astype(np.int64)
        counts = np.bincount(labels, minlength=self._classes)
        self._targets = torch.from_numpy(labels).to(self._device)
        self._offsets = adjustment(counts, self._tau).to(self._device)
        self._lookup = Lookup(catalogue, catalogue.memory.keys(ids), self._classes)

    def draw(self, count: int, rng: np.random.Generator) -> Lesson | None:
        """Some of the examples, drawn evenly; None: there are none but own ones.

        ``refresh`` comes first.
        """
        if self._alone:
            return None
        rows = rng.integers(len(self._ids), size=count)
        found = self._lookup.look(rows, self._lookup.due(rows), self._ids)
        shown = looked(found, self._catalogue, self._device)
        return Lesson(shown, self._targets[torch.from_numpy(rows)], self._offsets)


def shared_examples(
    config: RacConfig, catalogue: Catalogue | None, classes: int, device: torch.device
) -> SharedExamples | None:
    """What a job's retrieval branch learns from; None: from the node's own examples."""
    whole = config.learn == "all" and not config.copies
    if catalogue is None or not whole or config.branches != "both" or not config.branch_loss:
        return None
    return SharedExamples(catalogue, classes, config.tau, device)
