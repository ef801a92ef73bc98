"""How far each author is believed about each class, from how its labels fit the others' entries."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from workloads.recall.index import Floats, Ids
from workloads.recall.neighbours import Labels, Neighbours
from workloads.recall.vectors import VectorMemory
from workloads.recall.vote import author_shares

NEIGHBOURS = 5
"""Of each author, that are looked at beside an example."""
EXAMPLES = 256
"""Of one testimony: each is searched for among the entries of all authors."""
WITNESSES_MAX = 8
"""Authors whose entries serve as examples, oneself included."""
MEAN_GOOD, MEAN_BAD = 0.1, 0.22
"""Mean excess over the classes from which trust in an author falls, and at which it is 0."""
WORST_GOOD, WORST_BAD = 0.4, 0.7
"""The same for the excess about the worst class."""
CLASS_GOOD, CLASS_BAD = 0.15, 0.35
"""The same for trust about one class."""
PRIOR_COUNT = 4.0
"""Examples of a class that the assumption of no excess is worth."""
RIGHT_MIN = 0.2
"""What an honest author would say rightly counts as at least so much, as measure of an excess."""
KNOWN_HALF = 0.5
"""Entries of a class with which a witness half knows what else is of it."""
RATIO_MAX = 4.0
"""An author is excused for at most so many times the witness's entries of a class: flooding a class
excuses no more."""

Doubles = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Judgement:
    """What is known of s authors; author 0 is oneself and is always believed."""

    by_class: Floats
    """Trust in each author at queries of each class, in [0, 1]; never above ``authors``.
    Shape [s, C]."""
    authors: Floats
    """Trust in each author in all. Shape [s]."""
    excess: Floats
    """What trust follows from, at least 0. Shape [s, C]."""


def judge(
    memory: VectorMemory,
    classes: int,
    beta: float,
    rng: np.random.Generator,
    examples: int = EXAMPLES,
) -> Judgement:
    """Compare what authors say beside entries of others with the labels of these.

    A *testimony* takes entries of one author as examples, evenly over the classes. Beside one of
    class c another author *interrupts* if its nearest entry is at least as near as the witness's
    nearest other one, and is wrong with the share of its weight that is of other classes which the
    witness knows. With W the mean over the examples of c of wrong interruptions, and E what is
    expected of an honest author with as many entries of each class (``expected_false``),

        excess = max(0, W - E) / max(1 - E, ``RIGHT_MIN``):

    how often an author talks falsely over the witness's entries, beyond what honest entries of
    these classes do. So authors with other classes, and with many of one where the witness has
    few, are not taken for liars.

    One's own testimony counts as it is. Others' count by their lower median, if there are two or
    more, the author's own left out; those of authors that one's own distrusts do not count. So a
    liar cannot blame an honest author, and a lie about a class that one does not know is seen.

    Args:
        memory: Oneself is its author 0.
        classes: Labels from there on are wrong wherever they are.
        beta: How fast weight falls with cosine, as in the vote.
        rng: Draws the examples.
        examples: Of one testimony, at most; of each class at least one.
    """
    held = np.stack([_held(memory, author, classes) for author in memory.authors])
    own = testimony(memory, 0, held, beta, rng, examples)
    excess, known = own.excess * _known(own.counts), _known(own.counts)
    trusted = 1 + np.flatnonzero(_believe(excess, known).authors[1:] >= 0.5)
    witnesses = sorted(rng.permutation(trusted)[: WITNESSES_MAX - 1].tolist())
    heard = {w: testimony(memory, w, held, beta, rng, examples) for w in witnesses}
    for author in range(1, len(excess)):
        others = [seen for witness, seen in heard.items() if witness != author]
        for class_ in range(classes):
            told = [seen for seen in others if seen.counts[class_]]
            if len(told) >= 2:
                middle = sorted(seen.excess[author, class_] for seen in told)[(len(told) - 1) // 2]
                sure = _known(sum(seen.counts[class_] for seen in told))
                excess[author, class_] = max(excess[author, class_], middle * sure)
    counts = own.counts + sum(seen.counts for seen in heard.values())
    return _believe(excess, _known(counts))


@dataclass(frozen=True)
class Testimony:
    """What entries of one author tell of all."""

    excess: Doubles
    """0 where there is no example. Shape [s, C]."""
    counts: Doubles
    """Examples of each class. Shape [C]."""


def testimony(
    memory: VectorMemory,
    witness: int,
    held: Doubles,
    beta: float,
    rng: np.random.Generator,
    examples: int,
) -> Testimony:
    """Excess of every author beside entries of one; see ``judge``.

    ``held`` has the entries by author and class. Shape [s, C].
    """
    authors, classes = held.shape
    name = next(name for name, number in memory.authors.items() if number == witness)
    ids = memory.ids(name)
    labels = memory.labels(ids)
    chosen = spread(labels, classes, rng, examples)
    ids, labels = ids[chosen], labels[chosen]
    counts = np.bincount(labels, minlength=classes).astype(np.float64)
    if not len(ids):
        return Testimony(np.zeros((authors, classes)), counts)
    near = memory.search_authors(memory.keys(ids), NEIGHBOURS, ids, copies=False)
    nearest = near.similarity[:, :, 0]
    interrupts = (nearest > -np.inf) & (nearest >= nearest[witness])
    false = false_shares(near, labels, held[witness], beta) * interrupts
    told = np.stack([np.bincount(labels, weights=row, minlength=classes) for row in false])
    expected = expected_false(near.labels[witness], labels, held, witness)
    beyond = told / np.maximum(counts, 1) - expected
    excess = np.maximum(beyond, 0) / np.maximum(1 - expected, RIGHT_MIN)
    excess[witness] = 0
    return Testimony(excess, counts)


def spread(labels: Labels, classes: int, rng: np.random.Generator, count: int) -> Ids:
    """Places of about so many labels, evenly over the classes. Shape [n]."""
    each = max(1, count // classes)
    places = [rng.permutation(np.flatnonzero(labels == c))[:each] for c in range(classes)]
    return np.concatenate(places)


def false_shares(by_author: Neighbours, labels: Labels, held: Doubles, beta: float) -> Doubles:
    """Of each author's weight beside an example, what is of another class that a witness knows.

    What a class is like of which the witness has no entry, it cannot say. With h entries of one it
    knows it to h / (h + ``KNOWN_HALF``).

    Args:
        by_author: Shape [s, q, k].
        labels: Of the examples. Shape [q].
        held: Entries of each class that the witness has. Shape [C].
        beta: How fast weight falls with cosine.

    Returns:
        1 where all is of no class, 0 without entries. Shape [s, q].
    """
    authors, queries, _ = by_author.ids.shape
    classes, known = len(held), held / (held + KNOWN_HALF)
    false = np.empty((authors, queries))
    for author in range(authors):
        near = Neighbours(
            by_author.ids[author], by_author.similarity[author], by_author.labels[author]
        )
        shares = np.nan_to_num(author_shares(near, authors, classes, beta)[0][author])
        nonsense = (shares.sum(axis=1) == 0) & (near.ids >= 0).any(axis=1)
        false[author] = shares @ known - shares[np.arange(queries), labels] * known[labels]
        false[author][nonsense] = 1
    return false


def expected_false(near: Labels, labels: Labels, held: Doubles, witness: int) -> Doubles:
    """How often an honest author's entry beside an example is the nearest, and of another class.

    By what the witness's own entries are. If k_d of those beside examples of c are of class d, an
    author with r_d times as many entries of d has r_d k_d there, and the nearest is any of all:

        E = sum over d != c of r_d k_d / (that + (1 + r_c) k_c).

    The ratios r are at most ``RATIO_MAX``.

    Args:
        near: Labels of the witness's entries beside its examples, -1 where missing. Shape [q, k].
        labels: Of the examples. Shape [q].
        held: Entries by author and class. Shape [s, C].
        witness: Its number.

    Returns:
        In [0, 1]. Shape [s, C].
    """
    classes = held.shape[1]
    beside = np.zeros((classes, classes))
    there = (near >= 0) & (near < classes)
    np.add.at(beside, (labels[np.nonzero(there)[0]], near[there]), 1)
    ratio = np.minimum(held / np.maximum(held[witness], 1), RATIO_MAX)
    right = np.diagonal(beside)
    false = ratio @ beside.T - ratio * right
    total = false + (1 + ratio) * right
    expected: Doubles = np.divide(false, total, out=np.zeros_like(false), where=total > 0)
    return expected


def _held(memory: VectorMemory, author: str, classes: int) -> Doubles:
    """Entries of each class that an author has. Shape [C]."""
    labels = memory.labels(memory.ids(author))
    counts: Doubles = np.bincount(labels[labels < classes], minlength=classes).astype(np.float64)
    return counts


def _known(counts: Doubles) -> Doubles:
    """How much so many examples are worth, in [0, 1)."""
    return counts / (counts + PRIOR_COUNT)


def _believe(excess: Doubles, known: Doubles) -> Judgement:
    """Trust at an excess; ``known`` weighs the classes in its mean. Shapes [s, C] and [C]."""
    mean, worst = excess.sum(axis=1) / max(known.sum(), 1), excess.max(axis=1)
    authors = np.minimum(_fall(mean, MEAN_GOOD, MEAN_BAD), _fall(worst, WORST_GOOD, WORST_BAD))
    by_class = np.minimum(_fall(excess, CLASS_GOOD, CLASS_BAD), authors[:, None])
    authors[0] = by_class[0] = 1
    return Judgement(by_class, authors, excess.astype(np.float32))


def _fall(excess: Doubles, good: float, bad: float) -> Floats:
    """From 1 at ``good`` to 0 at ``bad``."""
    return np.clip((bad - excess) / (bad - good), 0, 1).astype(np.float32)
