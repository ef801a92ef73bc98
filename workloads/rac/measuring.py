"""Answers to the test examples, and numbers about them."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from workloads.rac import metrics
from workloads.rac.catalogue import Found
from workloads.rac.encoders import Floats
from workloads.rac.longtail import Labels
from workloads.rac.network import Logits


@dataclass(frozen=True, eq=False)
class Answers:
    """Of n test examples and C classes."""

    labels: Labels
    """Right answers. Shape [n]."""
    fused: Floats
    """Logits. Shape [n, C]."""
    base: Floats | None
    retrieval: Floats | None
    found: Found | None
    """What was retrieved; None without a retrieval branch."""

    @classmethod
    def joined(cls, passes: Sequence[Logits], found: Found | None, labels: Labels) -> "Answers":
        """From the logits of consecutive batches."""

        def join(parts: list[Tensor | None]) -> Floats | None:
            tensors = [part for part in parts if part is not None]
            return torch.cat(tensors).cpu().numpy() if tensors else None

        fused = join([part.fused for part in passes])
        assert fused is not None
        base, retrieval = join([p.base for p in passes]), join([p.retrieval for p in passes])
        return cls(labels, fused, base, retrieval, found)

    @property
    def predicted(self) -> Labels:
        """By the fused logits. Shape [n]."""
        predicted: Labels = self.fused.argmax(axis=1)
        return predicted


def measure(
    answers: Answers, counts: npt.NDArray[np.int64], many: int, few: int
) -> dict[str, float]:
    """Metrics by name.

    ``accuracy`` and, with its name, that of each branch and of the plain vote; ``many``, ``medium``
    and ``few`` of the fused logits, and with a prefix of the others; ``loss``: cross-entropy; and
    ``recall``: share of same-class neighbours.

    Args:
        answers: To the test.
        counts: Training examples by class. Shape [C].
        many: See ``metrics.shots``.
        few: Likewise.
    """
    classes, labels = len(counts), answers.labels
    groups = metrics.shots(counts, many, few)
    votes = answers.found.votes if answers.found is not None else None
    scored = {"": answers.fused, "base_": answers.base, "retrieval_": answers.retrieval}
    numbers: dict[str, float] = {}
    for prefix, scores in {**scored, "vote_": votes}.items():
        if scores is None:
            continue
        predicted = scores.argmax(axis=1)
        numbers[f"{prefix}accuracy"] = float((predicted == labels).mean())
        right = metrics.class_accuracy(predicted, labels, classes)
        for name, value in metrics.by_shot(right, groups).items():
            numbers[prefix + name] = value
    logits = torch.from_numpy(answers.fused)
    loss = torch.nn.functional.cross_entropy(logits, torch.from_numpy(labels))
    numbers["loss"] = float(loss)
    if answers.found is not None:
        recall = metrics.class_recall(answers.found.labels, labels, classes)
        numbers["recall"] = float(np.nanmean(recall))
        for name, value in metrics.by_shot(recall, groups).items():
            numbers[f"recall_{name}"] = value
    return numbers
