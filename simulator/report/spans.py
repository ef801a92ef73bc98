"""Pairs the sentences that tell when a fault begins and ends (``simulator.faults``)."""

from collections.abc import Iterable
from dataclasses import dataclass

HEALED = "healed"
"""Ends whatever is still on."""
BEGINS, ENDS = " begins", " ends"


@dataclass
class Span:
    """One fault in virtual time; one that is over at once has no length."""

    what: str
    from_s: float
    to_s: float | None = None
    """None: it is on."""


def ends(what: str) -> bool:
    """Does this sentence say that something is over?"""
    return what == HEALED or what.endswith(ENDS)


def spans(faults: Iterable[tuple[float, str]]) -> list[Span]:
    """The faults among the sentences, in the order of their beginning.

    Args:
        faults: (virtual time, sentence): ``X begins``, ``X ends``, ``healed``; any other sentence
            is a fault that is over at once.
    """
    found: list[Span] = []
    for at_s, what in faults:
        going = [span for span in found if span.to_s is None]
        if what == HEALED:
            over = going
        elif what.endswith(ENDS):
            over = [s for s in going if s.what == what.removesuffix(ENDS)][:1]
        else:
            moment = None if what.endswith(BEGINS) else at_s
            found.append(Span(what.removesuffix(BEGINS), at_s, moment))
            continue
        for span in over:
            span.to_s = at_s
    return found
