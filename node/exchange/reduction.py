"""Who reduces what, and what follows from the screens: pure functions, the same everywhere.

docs/protocol.md, "Reduction". Electors are indices; a part has an order of reducers, of which the
first ``width`` are asked.
"""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from node.exchange.gram import IntegerGram, gram_fault
from node.ledger.electorate import Electorate
from node.merkle import digest
from node.types import Digest
from node.wire.messages import PartScreen


def reducer_orders(prev: Digest, electorate: Electorate, parts: int) -> tuple[tuple[int, ...], ...]:
    """For each part, all electors in the order in which they are asked to reduce it.

    One permutation a round, drawn by hash of the last decision and rotated by the part, so that
    every elector has the same load and nobody chooses its part. Who is away comes last, unrotated.
    """
    drawn = sorted(
        range(electorate.n), key=lambda e: digest("reducer", prev + electorate.keys[e][0])
    )
    here = [e for e in drawn if e not in electorate.away]
    away = [e for e in drawn if e in electorate.away]
    return tuple(
        (*(here[(part + k) % len(here)] for k in range(len(here))), *away) for part in range(parts)
    )


def width(electorate: Electorate, replicas: int, wide: bool) -> int:
    """How many reducers each part has; after a failure enough for f liars among them."""
    if not wide:
        return min(replicas, electorate.n)
    return min(electorate.n, max(2 * electorate.f + 1, replicas + electorate.f))


def need(electorate: Electorate, replicas: int, wide: bool) -> int:
    """Equal answers that a part needs.

    In a wide list the leader chooses among more reducers than it needs, so more than f must agree:
    at least one of them is honest, and as many honest ones were asked.
    """
    return max(replicas, electorate.f + 1) if wide else min(replicas, electorate.n)


def parts_of(orders: Sequence[Sequence[int]], elector: int, width_: int) -> tuple[int, ...]:
    """Parts that ``elector`` reduces, rising."""
    return tuple(p for p, order in enumerate(orders) if elector in order[:width_])


def unpack_gram(packed: bytes, rows: int) -> IntegerGram:
    """The symmetric matrix [rows, rows] from its upper triangle."""
    gram = np.zeros((rows, rows), dtype=np.int64)
    upper = np.triu_indices(rows)
    gram[upper] = np.frombuffer(packed, dtype="<i8")
    gram.T[upper] = gram[upper]
    return gram


def pack_gram(gram: IntegerGram) -> bytes:
    """Inverse of ``unpack_gram``."""
    return gram[np.triu_indices(len(gram))].astype("<i8").tobytes()


def packed_gram_fault(packed: bytes, sq_norms: tuple[int, ...]) -> str | None:
    """As ``gram_fault``, for the matrix as it travels."""
    return gram_fault(unpack_gram(packed, len(sq_norms)), sq_norms)


@dataclass(frozen=True)
class Resolution:
    """What a set of screens says."""

    contributors: tuple[int, ...]
    """Electors whose whole contribution enters the aggregate, rising."""
    refused: tuple[tuple[int, str], ...]
    """Listed contributions that do not, with the reason, rising."""
    reducers: tuple[tuple[int, ...], ...]
    """For each part the reducers that agree, in the part's order. The first one sends the bytes."""
    grams: tuple[bytes, ...]
    """For each part the agreed integer Gram over ``contributors``, as ``PartScreen.gram``."""


def drop_complained(
    listed: Sequence[int],
    screens: Mapping[int, Mapping[int, PartScreen]],
    f: int,
    salt: bytes,
) -> tuple[dict[int, str], set[int]]:
    """Contributors and reducers that the complaints take out of the round.

    More than ``f`` complainers cannot all lie, so such a contributor goes alone. Each other
    complaint is an edge between a reducer and a contributor, one of which lies: in hash order, an
    edge with both ends still in takes both out. A liar takes out one honest peer at most.

    Returns:
        (refused contributor -> reason, reducers out of the round).
    """
    edges: dict[tuple[int, int], str] = {}
    for reducer in sorted(screens):
        for part in sorted(screens[reducer]):
            for contributor, why in screens[reducer][part].complaints:
                edges.setdefault((reducer, contributor), why)
    accusers: dict[int, set[int]] = defaultdict(set)
    for reducer, contributor in edges:
        accusers[contributor].add(reducer)
    refused: dict[int, str] = {}
    for contributor in sorted(accusers):
        if len(accusers[contributor]) > f and contributor in listed:
            first = min(e for e in edges if e[1] == contributor)
            refused[contributor] = edges[first]
    out: set[int] = set()

    def drawn(edge: tuple[int, int]) -> bytes:
        return digest("complaint", salt + bytes(edge))

    for reducer, contributor in sorted(edges, key=drawn):
        if reducer not in out and contributor not in refused:
            refused[contributor] = edges[reducer, contributor]
            out.add(reducer)
    return refused, out


def resolve(
    listed: Sequence[int],
    screens: Mapping[int, Mapping[int, PartScreen]],
    orders: Sequence[Sequence[int]],
    width_: int,
    need: int,
    f: int,
    salt: bytes,
) -> tuple[Resolution | None, tuple[int, ...]]:
    """Which contributions count, and the Gram of each part that ``need`` reducers agree on.

    Args:
        listed: electors whose commitments are listed, rising.
        screens: reducer -> part -> screen; each covers ``listed`` exactly.
        orders: for each part the order of reducers.
        width_: how many of each order are asked.
        need: equal screens that a part needs.
        f: liars among the electors.
        salt: binds the draw of edges to the round (id of the last decision).

    Returns:
        (resolution, ()), or (None, parts that lack ``need`` equal screens).
    """
    refused, out = drop_complained(listed, screens, f, salt)
    contributors = tuple(e for e in listed if e not in refused)
    reducers: list[tuple[int, ...]] = []
    grams: list[bytes] = []
    lacking: list[int] = []
    for part, order in enumerate(orders):
        answers: dict[bytes, list[int]] = defaultdict(list)
        for reducer in order[:width_]:
            screen = screens.get(reducer, {}).get(part)
            if reducer not in out and screen and set(contributors) <= set(screen.rows):
                answers[restricted_gram(screen, contributors)].append(reducer)
        # The largest group; among equals the smallest matrix, so that everybody picks the same.
        best = min(answers, key=lambda a: (-len(answers[a]), a), default=None)
        if best is None or len(answers[best]) < need:
            lacking.append(part)
        else:
            reducers.append(tuple(answers[best]))
            grams.append(best)
    if lacking:
        return None, tuple(lacking)
    return (
        Resolution(contributors, tuple(sorted(refused.items())), tuple(reducers), tuple(grams)),
        (),
    )


def restricted_gram(screen: PartScreen, contributors: Sequence[int]) -> bytes:
    """The Gram matrix of a screen, cut to some of its rows."""
    if tuple(contributors) == screen.rows:
        return screen.gram
    at = [screen.rows.index(e) for e in contributors]
    return pack_gram(unpack_gram(screen.gram, len(screen.rows))[np.ix_(at, at)])
