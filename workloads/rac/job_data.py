"""Which examples a job uses, and which of them a node has."""

import numpy as np

from workloads.api import WorkloadError
from workloads.rac import datasets, longtail
from workloads.rac.config import RacConfig
from workloads.rac.datasets import Part


class JobData:
    """The examples of a job, the same on all its nodes.

    Args:
        config: The job's.

    Raises:
        WorkloadError: The data cannot be read.
    """

    def __init__(self, config: RacConfig) -> None:
        self._config = config
        self._data = datasets.load(config.data, config.classes)
        self.classes = self._data.classes
        """Names by label."""
        labels = self._data.train.labels
        rng = np.random.Generator(np.random.PCG64([config.sample, 1]))
        self._rows = longtail.subset(
            labels, len(self.classes), config.class_max, config.imbalance, rng
        )
        self._labels = labels[self._rows]
        self.counts = np.bincount(self._labels, minlength=len(self.classes))
        """Training examples of each class, of all nodes. Shape [C]."""

    @property
    def channels(self) -> int:
        """1 or 3."""
        return int(self._data.train.pictures.shape[3])

    def shard(self, index: int, count: int) -> Part:
        """Training examples of one node, in an order drawn once.

        Args:
            index: From 0.
            count: Nodes.

        Raises:
            WorkloadError: There are fewer examples than nodes.
        """
        config = self._config
        if config.shards == "iid":
            rows = longtail.divide_evenly(len(self._rows), count)[index]
        else:
            rng = np.random.Generator(np.random.PCG64([config.sample, 2]))
            rows = longtail.divide_by_class(
                self._labels, len(self.classes), count, config.concentration, rng
            )[index]
        if not len(rows):
            raise WorkloadError(f"{len(self._rows)} examples are too few for {count} nodes")
        return self._data.train.take(self._rows[rows])

    def test(self) -> Part:
        """Test examples."""
        whole = self._data.test
        rows = longtail.balanced_prefix(whole.labels, len(self.classes), self._config.test_max)
        return whole.take(rows)
