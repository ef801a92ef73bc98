"""What several nodes agree to be there: roots, certified frontiers, and credits for entries.

Pure functions of what nodes hold, for rounds to wire in. A *line* is what one node says that it
holds of one author; a *vector* is all lines of one node; a *frontier* is how far each author is.
Implements docs/protocol.md, "Frontiers and credits".
"""

import struct
from collections.abc import Iterable, Sequence

from node.identity import public_key_of
from node.merkle import digest
from node.types import Digest, PeerId
from node.wire.memory_messages import MemoryLine, MemoryReach

ROOT_DOMAIN = "memory root"
_LINE = struct.Struct("<B32sQQQ")


Frontier = tuple[MemoryReach, ...]
"""How far the authors with at least one batch are, by rising id."""


def memory_root(lines: Iterable[MemoryLine]) -> Digest:
    """Identity of a set: equal roots mean equal sets.

    Over the lines of authors of whom something is held or who forked, by rising public key:
    forked u8, public key, start u64, next u64, entries u64 (little-endian), head id (32 bytes, or
    none if forked).
    """
    shown = sorted((public_key_of(line.author), line) for line in lines if line.next or line.forked)
    parts = [
        _LINE.pack(line.forked, key, line.start, line.next, line.entries) + line.head
        for key, line in shown
    ]
    return digest(ROOT_DOMAIN, b"".join(parts))


def frontier_of(lines: Iterable[MemoryLine]) -> Frontier:
    """How far the authors are, as one node holds them; forked ones are left out."""
    kept = [MemoryReach(x.author, x.next, x.entries) for x in lines if x.next and not x.forked]
    return tuple(sorted(kept, key=lambda reach: reach.author))


def certified_frontier(
    vectors: Sequence[Sequence[MemoryLine]], f: int, before: Frontier
) -> Frontier:
    """How far every author is by the word of more than ``f`` electors, at least one of them honest.

    For batches and for entries on its own, the (f + 1)-th highest number that the vectors name: at
    least one honest elector holds as much. An author is out while more than ``f`` vectors mark it
    as forked. A frontier never falls back otherwise.

    Args:
        vectors: lines of distinct electors, each signed by its elector (peer input).
        f: electors that may lie, at least 0.
        before: the last certified frontier.
    """
    named: dict[PeerId, list[MemoryLine]] = {}
    for vector in vectors:
        for line in vector:
            named.setdefault(line.author, []).append(line)
    last = {reach.author: reach for reach in before}
    frontier: list[MemoryReach] = []
    for author in sorted({*named, *last}):
        lines = named.get(author, [])
        if sum(line.forked for line in lines) > f:
            continue
        known = last.get(author, MemoryReach(author, 0, 0))
        reach = MemoryReach(
            author,
            max(known.next, _backed([line.next for line in lines], f)),
            max(known.entries, _backed([line.entries for line in lines], f)),
        )
        if reach.next:
            frontier.append(reach)
    return tuple(frontier)


def _backed(numbers: Sequence[int], f: int) -> int:
    """The highest number that at least f + 1 of ``numbers`` reach; 0: there are too few."""
    return sorted(numbers, reverse=True)[f] if len(numbers) > f else 0


def entry_credits(before: Frontier, after: Frontier, entries_max: int) -> dict[PeerId, int]:
    """Credits of a round for accepted batches: one an entry that the frontier moved over.

    Args:
        before: the frontier of the round before.
        after: that of this round; authors who are not in it (forked) earn nothing.
        entries_max: most entries that are credited to one author in a round, so that a flood
            earns no more than steady work; what is above is not made up for later.

    Returns:
        Author -> entries, at least 1; sorted by author.
    """
    had = {reach.author: reach.entries for reach in before}
    gained = {r.author: min(entries_max, r.entries - had.get(r.author, 0)) for r in after}
    return {author: entries for author, entries in gained.items() if entries > 0}
