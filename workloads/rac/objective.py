"""What a training step minimises."""

from dataclasses import dataclass

from torch import Tensor

from workloads.rac import network
from workloads.rac.loss import lace
from workloads.rac.network import Form, Looked, Params


@dataclass(frozen=True, eq=False)
class Batch:
    """Examples with pictures."""

    pictures: Tensor
    """Shape [n, c, h, w]."""
    looked: Looked | None
    """What was retrieved for them; None without the retrieval branch."""
    targets: Tensor
    """Classes. Shape [n]."""
    offsets: Tensor
    """Of the logit adjustment where they come from. Shape [C]."""


@dataclass(frozen=True, eq=False)
class Lesson:
    """Examples of which there is no picture here, for the retrieval branch."""

    looked: Looked
    targets: Tensor
    """Shape [n]."""
    offsets: Tensor
    """Shape [C]."""


def objective(form: Form, params: Params, batch: Batch, lesson: Lesson | None) -> Tensor:
    """LACE of the sum, and of each branch by itself.

    R's own is that of the lesson, if there is one.
    """
    logits = network.forward(form, params, batch.pictures, batch.looked)
    loss = lace(logits.fused, batch.targets, batch.offsets)
    if logits.base is None or logits.retrieval is None:
        return loss
    base = lace(logits.base, batch.targets, batch.offsets)
    if lesson is None:
        retrieval = lace(logits.retrieval, batch.targets, batch.offsets)
    else:
        found = network.retrieval_logits(form, params, lesson.looked)
        retrieval = lace(found, lesson.targets, lesson.offsets)
    return loss + form.config.branch_loss * (base + retrieval)
