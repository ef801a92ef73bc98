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
from node.jobs.work import Decoded, results_of
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
    return [
        PartTruth(seen.lists[list_id], screen, _roots(seen, list_id, screen.part))
        for list_id, screens in seen.screened.items()
        for screen in screens
    ]


def _roots(seen: Answered, list_id: Digest, part: int) -> Mapping[Digest, Digest]:
    """Plan -> root of the result of a part, for the plans whose rows are all here."""
    found: dict[Digest, Digest] = {}
    for plan_id, plan in list(seen.plans.items())[:PLANS_MAX]:
        own = seen.rooted.get(plan_id, {}).get(part)
        root = own or _root(seen, plan, list_id, part)
        if root is not None:
            found[plan_id] = root
    return found


def _root(seen: Answered, plan: PlanState, list_id: Digest, part: int) -> Digest | None:
    rules, ids = seen.g.rules, dict(plan.listed)
    rows, contributors = seen.decoded.get(list_id, {}), plan.resolution.contributors
    same = all(seen.lists[list_id].get(e) == ids[e] and (e, part) in rows for e in contributors)
    if not same or len(contributors) < rules.group_min:
        return None
    name = rules.rule if len(contributors) >= rules.rule_min else rules.rule_small
    commitments = {e: seen.opened[ids[e]] for e in contributors}
    round_ = seen.context.round
    try:
        found = results_of(seen.g, round_, plan.resolution, name, commitments, rows, (part,))
    except Malformed:
        return None  # a Gram matrix that only liars signed: nobody honest answers
    return found[0][1]
