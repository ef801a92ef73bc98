"""From the labelled neighbours that several authors supply to class scores that a liar cannot turn.

Pure and vectorised over queries. With one author, or with the rule ``mean`` and full shares and
trust, a score is the share of its class in the neighbours, weighted by exp(beta * similarity).
"""

from dataclasses import dataclass

import numpy as np

from workloads.api import WorkloadError
from workloads.recall.index import Floats
from workloads.recall.neighbours import Neighbours, merge
from workloads.recall.retrieval import Rule, combine

HEARD_MIN = 0.05
"""An author whose trust is below it in every class is not heard at all."""


@dataclass(frozen=True)
class VoteRules:
    """How neighbours become class scores."""

    k: int = 30
    """Neighbours used for a query."""
    share: float = 0.5
    """Of the k, that one author other than oneself may supply, in (0, 1]; at least one."""
    beta: float = 20.0
    """How fast weight falls with cosine."""
    rule: Rule = "trimmed"
    """How authors are combined; see ``retrieval.combine``."""
    trim: float = 0.25
    """Share of the mass cut off at either end by ``trimmed``, in [0, 0.5)."""

    def __post_init__(self) -> None:
        if self.k < 1 or not 0 < self.share <= 1 or not self.beta >= 0 or not 0 <= self.trim < 0.5:
            raise WorkloadError("k is at least 1, share in (0, 1], beta not negative, trim < 0.5")


def select(by_author: Neighbours, trust: Floats, rules: VoteRules) -> Neighbours:
    """The k nearest entries, of which no author but oneself supplies more than its share.

    Author 0 is oneself and may fill all k. What is too much of one author makes room for the
    next nearest of the others.

    Args:
        by_author: At least k neighbours of every author, if it has so many. Shape [s, q, n].
        trust: In [0, 1], by author and class. Shape [s, C].
        rules: See ``VoteRules``.

    Returns:
        Shape [q, k].
    """
    quota = np.full(len(by_author.ids), max(1, int(rules.share * rules.k)))
    quota[0] = rules.k
    quota[trust.max(axis=1) < HEARD_MIN] = 0
    rank = np.arange(by_author.ids.shape[2])
    over = np.broadcast_to(rank >= quota[:, None, None], by_author.ids.shape)
    return merge(by_author.without(over), rules.k)


def vote(used: Neighbours, trust: Floats, rules: VoteRules) -> Floats:
    """Class scores from the neighbours used.

    An entry weighs w = exp(beta * (similarity - nearest)). Author a gives class c the share p_ac
    of c in its own weight, with mass m_a = trust * (sum of w); ``combine`` makes one score of each
    class from these, and the scores are made to sum to 1. Trust depends on what is asked: it is
    the author's trust about each class, by how likely the other authors think the class.

    Args:
        used: What ``select`` gave. Shape [q, k].
        trust: In [0, 1], by author and class; all 1 for author 0, oneself. Shape [s, C].
        rules: See ``VoteRules``.

    Returns:
        Zero where a query has no neighbour that is heard. Shape [q, C].
    """
    authors, classes = trust.shape
    shares, mass = author_shares(used, authors, classes, rules.beta)
    heard = mass * trust_here(np.nan_to_num(shares), mass, trust)
    queries = mass.shape[1]
    spread = np.broadcast_to(heard[:, :, None], shares.shape)
    estimates = shares.reshape(authors, -1), spread.reshape(authors, -1)
    scores = np.nan_to_num(combine(*estimates, rules.rule, rules.trim)).reshape(queries, classes)
    total = scores.sum(axis=1, keepdims=True)
    normal: Floats = np.divide(scores, total, out=np.zeros_like(scores), where=total > 0)
    return normal


def trust_here(shares: Floats, mass: Floats, trust: Floats) -> Floats:
    """Trust in each author at each query: by what the others say that the query is.

    Args:
        shares: Of the classes by author, 0 where an author has no entry. Shape [s, q, C].
        mass: Shape [s, q].
        trust: By author and class. Shape [s, C].

    Returns:
        The mean over the classes where no other author is heard. Shape [s, q].
    """
    mean = trust.mean(axis=1)
    votes = shares * (mass * mean[:, None])[:, :, None]
    others = votes.sum(axis=0) - votes
    total = others.sum(axis=2)
    about = np.einsum("sqc,sc->sq", others, trust)
    alone = np.broadcast_to(mean[:, None], total.shape)
    here: Floats = np.where(total > 1e-6, about / np.maximum(total, 1e-6), alone)
    return here


def author_shares(
    used: Neighbours, authors: int, classes: int, beta: float
) -> tuple[Floats, Floats]:
    """What each author's entries among the neighbours say.

    Entries of labels that are no class weigh nothing.

    Args:
        used: Shape [q, k].
        authors: How many there are, s.
        classes: How many there are, C.
        beta: How fast weight falls with cosine.

    Returns:
        The share of each class, NaN where an author has no entry, shape [s, q, C]; the author's
        weight, the nearest entry's being 1, shape [s, q].
    """
    queries = len(used.ids)
    there = (used.labels >= 0) & (used.labels < classes)
    nearest = np.where(there, used.similarity, -np.inf).max(axis=1, keepdims=True)
    rows = np.nonzero(there)[0]
    weights = np.exp(beta * (used.similarity - np.where(np.isinf(nearest), 0, nearest))[there])
    sums = np.zeros((authors, queries, classes), np.float32)
    np.add.at(sums, (used.authors[there], rows, used.labels[there]), weights)
    mass = sums.sum(axis=2)
    with np.errstate(invalid="ignore", divide="ignore"):
        return sums / mass[:, :, None], mass
