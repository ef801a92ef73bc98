"""What the reducers of a certified round answered, and what its rows give as far as they were here.

Pure; runs in the maths lane. Our own screens and results tell of the parts that we reduced; where a
list failed, the rows of the next one tell of the plans before it too. docs/protocol.md, "False
answers".
"""

from collections.abc import Mapping
from dataclasses import dataclass

from node.errors import Malformed
from node.exchange.answers import Lists, PartTruth
from node.exchange.core import PlanState, RoundContext
from node.jobs.geometry import Geometry
from node.jobs.work import Decoded, results_of, rows_of
from node.types import Digest
from node.wire.messages import Commitment, PartScreen, Signed

PLANS_MAX = 4
"""Plans of one round that are looked into: a view without liars has one."""


@dataclass(frozen=True, eq=False)
class Answered:
    """A certified round as one elector saw it."""

    context: RoundContext
    g: Geometry
    lists: Lists
    plans: Mapping[Digest, PlanState]
    opened: Mapping[Digest, Commitment]
    """Commitment id -> content."""
    answers: tuple[Signed, ...]
    """Screens and results of others that came here, true or not."""
    screened: Mapping[Digest, tuple[PartScreen, ...]]
    """List -> our own screens."""
    rooted: Mapping[Digest, Mapping[int, Digest]]
    """Plan -> part -> root of our own result."""
    decoded: Mapping[Digest, Decoded]
    """List -> the rows that we screened."""

    @property
    def params(self) -> int:
        """Coordinates that ``truths_of`` combines at most."""
        size = sum(row.size for decoded in self.decoded.values() for row in decoded.values())
        return size * len(self.plans.keys() - self.rooted.keys())


def truths_of(seen: Answered) -> list[PartTruth]:
    """What is known of each part that we screened."""
    parts = {screen.part for screens in seen.screened.values() for screen in screens}
    roots = {part: _roots(seen, part) for part in sorted(parts)}
    return [
        PartTruth(seen.lists[list_id], screen, roots[screen.part])
        for list_id, screens in seen.screened.items()
        for screen in screens
    ]


def _roots(seen: Answered, part: int) -> Mapping[Digest, Digest]:
    """Plan -> root of the result of a part, for the plans whose rows are all here."""
    found: dict[Digest, Digest] = {}
    for plan_id, plan in list(seen.plans.items())[:PLANS_MAX]:
        root = seen.rooted.get(plan_id, {}).get(part) or _root(seen, plan, part)
        if root is not None:
            found[plan_id] = root
    return found


def _root(seen: Answered, plan: PlanState, part: int) -> Digest | None:
    rules, ids = seen.g.rules, dict(plan.listed)
    contributors = plan.resolution.contributors
    rows = rows_of(seen.decoded, seen.lists, ids, [(e, part) for e in contributors])
    if rows is None or len(contributors) < rules.group_min:
        return None
    name = rules.rule if len(contributors) >= rules.rule_min else rules.rule_small
    commitments = {e: seen.opened[ids[e]] for e in contributors}
    round_ = seen.context.round
    try:
        found = results_of(seen.g, round_, plan.resolution, name, commitments, rows, (part,))
    except Malformed:
        return None  # a Gram matrix that only liars signed: nobody honest answers
    return found[0][1]
