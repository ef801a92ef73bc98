"""The electorate that follows from a decision: a pure function, which everybody computes again.

Who is banned leaves, who is admitted enters. Absence is counted: whoever was in no list for
``ABSENT_ROUNDS`` rounds in a row is dropped, as long as f does not fall with it.
docs/protocol.md, "Succession".
"""

from collections.abc import Collection, Iterable

from node.identity import peer_id_of
from node.ledger.electorate import Electorate

ABSENT = "absent"
"""Reason of a decision for an elector that its list does not hold."""
UNLISTED = (ABSENT, "equivocation", "false_work")
"""Reasons for electors that a list does not hold: the others had a commitment in it."""
ABSENT_ROUNDS = 8
"""Rounds in a row without an elector after which it is dropped."""
TERMS_MAX = 64
"""Electorates that are remembered."""

Terms = tuple[tuple[int, Electorate], ...]
"""(first round, its electors) of each electorate, newest last."""


def next_electorate(
    electorate: Electorate,
    plan: Iterable[tuple[int, object]],
    refused: Iterable[tuple[int, str]],
    bans: Collection[bytes],
    admitted: Collection[bytes] = (),
) -> Electorate:
    """The electors after a round.

    Args:
        electorate: those of the round.
        plan: (elector, commitment) of each contribution that entered.
        refused: (elector, reason) of each that did not, as far as the decision names them.
        bans: public keys that the decision bans.
        admitted: public keys that enter; they lead and reduce last until a list holds them.
    """
    missed = list(electorate.missed or [0] * electorate.n)
    for elector, _ in plan:
        missed[elector] = 0
    for elector, reason in refused:
        missed[elector] = missed[elector] + 1 if reason == ABSENT else 0
    left = [e for e, (key, _) in enumerate(electorate.keys) if key not in bans]
    dropped = _dropped(left, missed)
    left = [e for e in left if e not in dropped]
    seats = [(electorate.keys[e], missed[e]) for e in left]
    seats += [((key, 0), 1) for key in admitted]
    seats.sort(key=lambda seat: peer_id_of(seat[0][0]))
    counts = tuple(count for _, count in seats)
    return Electorate(tuple(key for key, _ in seats), counts if any(counts) else ())


def _dropped(left: list[int], missed: list[int]) -> set[int]:
    """Whom absence costs the seat: longest first, and no more than leaves f as it is.

    Whoever is cut off may be honest and the liars not. Were f to fall, as many liars as the
    electorate bore would be too many for the rest. With f = 0 a smaller electorate bears no more
    absence than before: nobody is dropped.
    """
    spare = (len(left) - 1) % 3 if len(left) > 4 else 0
    long_gone = sorted((e for e in left if missed[e] >= ABSENT_ROUNDS), key=lambda e: -missed[e])
    return set(long_gone[:spare])


def extended(terms: Terms, first_round: int, electorate: Electorate) -> Terms:
    """The terms with an electorate that begins at ``first_round``, if it holds other keys."""
    if terms and terms[-1][1].keys == electorate.keys:
        return terms
    return (*terms, (first_round, Electorate(electorate.keys)))[-TERMS_MAX:]


def electorate_of(terms: Terms, round_: int) -> Electorate | None:
    """The electors of a round; None: it is too long ago."""
    return next((electors for first, electors in reversed(terms) if first <= round_), None)
