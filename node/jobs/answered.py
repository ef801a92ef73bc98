"""What the reducers of a certified round answered, and what its rows give as far as they were here.

Pure; runs in the maths lane. Our own screens and results tell of the parts that we reduced; where a
list failed, the rows of the next one tell of the plans before it too. docs/protocol.md, "False
answers".
"""

from collections.abc import Mapping
from dataclasses import dataclass

from node.errors import Malformed
from node.exchange.answers import Lists, PartTruth
from node.exchange.checking import BeaconState
from node.exchange.core import PlanState, RoundContext
from node.exchange.gram import quantise_row
from node.exchange.sketch import pack_sketch, sketch_row
from node.jobs.geometry import Geometry
from node.jobs.work import Decoded, results_of, rows_of
from node.types import Digest
from node.wire.messages import Commitment, PartScreen, Signed

S_PER_PARAM = 5e-9
"""Cost of combining one parameter, in seconds, for the simulator."""
S_PER_SKETCHED = 60e-9
"""Cost of sketching one parameter, in seconds, for the simulator."""
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
    """Screens, results and sketches of others that came here, true or not."""
    screened: Mapping[Digest, tuple[PartScreen, ...]]
    """List -> our own screens."""
    rooted: Mapping[Digest, Mapping[int, Digest]]
    """Plan -> part -> root of our own result."""
    decoded: Mapping[Digest, Decoded]
    """List -> the rows that we screened."""
    beacons: Mapping[Digest, BeaconState]
    """Beacon id -> beacon."""

    @property
    def cost_s(self) -> float:
        """Of ``truths_of``, in seconds, for the simulator."""
        size = sum(row.size for decoded in self.decoded.values() for row in decoded.values())
        sketched = size * len(self.failed_beacons) * S_PER_SKETCHED
        return size * len(self.plans.keys() - self.rooted.keys()) * S_PER_PARAM + sketched

    @property
    def failed_beacons(self) -> Mapping[Digest, BeaconState]:
        """Beacons under which something was refuted or missing: another list followed."""
        return self.beacons if len(self.lists) > 1 else {}


def truths_of(seen: Answered) -> list[PartTruth]:
    """What is known of each part that we screened."""
    parts = {screen.part for screens in seen.screened.values() for screen in screens}
    roots = {part: _roots(seen, part) for part in sorted(parts)}
    sketches = {part: _sketches(seen, part) for part in sorted(parts)}
    return [
        PartTruth(seen.lists[list_id], screen, roots[screen.part], sketches[screen.part])
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


def _sketches(seen: Answered, part: int) -> Mapping[tuple[Digest, bytes], bytes]:
    """(Beacon, contributor's key) -> packed sketch, where a beacon failed and the row is here."""
    found: dict[tuple[Digest, bytes], bytes] = {}
    for beacon_id, beacon in seen.failed_beacons.items():
        plan, k = beacon.seal.plan, seen.g.rules.buckets[part]
        for elector in plan.resolution.contributors:
            ids = {elector: dict(plan.listed)[elector]}
            rows = rows_of(seen.decoded, seen.lists, ids, [(elector, part)])
            if rows is not None:
                values = quantise_row(rows[elector, part]).values
                key = seen.context.electorate.keys[elector][0]
                sketch = sketch_row(values, beacon.value, part, k)
                found[beacon_id, key] = pack_sketch(sketch)
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
