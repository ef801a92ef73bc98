"""The maths that one round asks for, in the maths lane, and what it leaves for later steps.

Flow. Rows that were screened are kept decoded until they are reduced; states that follow from
results are kept until one of them is certified.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

from node.errors import Malformed
from node.exchange.arriving import Result
from node.exchange.checking import BeaconState
from node.exchange.core import RoundContext, RoundCore
from node.exchange.effects import Apply, Check, Reduce, Screen, Sketch
from node.exchange.rules import rule
from node.jobs.answered import S_PER_SKETCHED, Answered
from node.jobs.geometry import Geometry
from node.jobs.honest import HONEST
from node.jobs.sketching import CheckedRound, refuted, sketch_parts
from node.jobs.work import (
    Decoded,
    Row,
    apply_results,
    mixture_of,
    reduce_parts,
    result_root,
    rows_of,
    screen_parts,
    weights_of,
)
from node.ports import Behaviour, Compute
from node.state.outer import OuterState
from node.types import Digest
from node.wire.messages import Decision, PartScreen

S_PER_PARAM = 5e-9
"""Cost of screening, combining or applying one parameter, in seconds, for the simulator."""
S_PER_BYTE = 0.3e-9
"""Cost of hashing one byte, in seconds, for the simulator."""


@dataclass
class RoundWork:
    """Maths of one round.

    Args:
        core: what the machine holds; read only.
        g: geometry of the job.
        state: the state before the round.
        compute: the maths lane.
        behaviour: what an attack changes in what is combined.
    """

    core: RoundCore
    g: Geometry
    state: OuterState
    compute: Compute
    behaviour: Behaviour = HONEST
    own_parts: Sequence[bytes] = ()
    """Our encoded parts, once there are any."""
    shadows: dict[tuple[Digest, ...], OuterState] = field(default_factory=dict)
    """Result roots -> the state that follows."""
    reduced: dict[Digest, dict[int, bytes]] = field(default_factory=dict)
    """Plan -> part -> result that we computed."""
    weights: dict[int, float] = field(default_factory=dict)
    """Elector -> weight of its contribution in the newest plan that was reduced here."""
    screened: dict[Digest, tuple[PartScreen, ...]] = field(default_factory=dict)
    """List -> what we found of the parts that we reduce."""
    rooted: dict[Digest, dict[int, Digest]] = field(default_factory=dict)
    """Plan -> part -> root of the result that we computed."""
    _decoded: dict[Digest, Decoded] = field(default_factory=dict)

    @property
    def _context(self) -> RoundContext:
        return self.core.context

    def clear(self) -> None:
        """Let go of everything large."""
        self.own_parts = ()
        self.shadows.clear()
        self.reduced.clear()
        self._decoded.clear()

    async def roots(self, parts: Sequence[tuple[int, bytes]]) -> list[Digest]:
        """Roots of encoded results."""
        round_ = self._context.round
        return await self.compute.maths(
            lambda: [result_root(self.g, round_, p, data) for p, data in parts],
            cost_s=sum(len(data) for _, data in parts) * S_PER_BYTE,
        )

    async def screen(self, effect: Screen) -> tuple[PartScreen, ...]:
        """Check the rows of a list that we reduce."""
        core = self.core
        ids = dict(core.lists[effect.list_id].commitments)
        rows: list[Row] = []
        for elector in effect.listed:
            commitment = core.opened.get(ids[elector])
            if commitment is None:
                continue
            if elector == self._context.me:
                parts = {p: self.own_parts[p] for p in effect.parts if self.own_parts}
            else:
                held = ((p, core.parts.get((ids[elector], p))) for p in effect.parts)
                parts = {p: data for p, data in held if data is not None}
            rows.append(Row(elector, self._context.electorate.ids[elector], commitment, parts))
        size = sum(self.g.part_sizes[p] for p in effect.parts)
        screens, self._decoded[effect.list_id] = await self.compute.maths(
            lambda: screen_parts(self.g, self._context.round, rows, effect.parts),
            cost_s=len(rows) * size * S_PER_PARAM,
        )
        self.screened[effect.list_id] = screens
        # Of a commitment that nobody gave us we can only complain.
        unknown = tuple((e, "missing") for e in effect.listed if ids[e] not in core.opened)
        if not unknown:
            return screens
        return tuple(
            replace(s, complaints=tuple(sorted((*s.complaints, *unknown)))) for s in screens
        )

    async def reduce(self, effect: Reduce) -> list[Result] | None:
        """Results of our parts; None after a restart lost the rows: other reducers answer."""
        contributors = effect.resolution.contributors
        wanted = [(e, p) for e in contributors for p in effect.parts]
        ids = dict(self.core.plans[effect.plan_id].listed)
        held = rows_of(self._decoded, self._lists(), ids, wanted)
        opened = {e: self.core.opened.get(ids[e]) for e in contributors}
        commitments = {e: c for e, c in opened.items() if c is not None}
        if held is None or len(commitments) != len(contributors):
            return None
        decoded = {row: held[row] for row in wanted}

        def work() -> tuple[tuple[float, ...], list[Result]]:
            weights = weights_of(self.g, effect.resolution, effect.rule, commitments)
            mixture = (
                mixture_of(self.g, effect.resolution, effect.rule, commitments)
                if rule(effect.rule).kind == "mixed"
                else None
            )
            rows, used = self.behaviour.reduces(self._context.round, decoded, weights)
            found = reduce_parts(
                self.g,
                self._context.round,
                effect.resolution,
                effect.rule,
                used,
                rows,
                effect.parts,
                mixture,
            )
            return weights, found

        size = sum(self.g.part_sizes[p] for p in effect.parts)
        cost_s = len(contributors) * size * S_PER_PARAM
        try:
            weights, results = await self.compute.maths(work, cost_s=cost_s)
        except Malformed:
            return None  # a Gram matrix that only liars signed (r <= f)
        self.weights = dict(zip(contributors, weights, strict=True))
        self.reduced[effect.plan_id] = {part: data for part, _, data in results}
        self.rooted[effect.plan_id] = {part: root for part, root, _ in results}
        return results

    async def sketch(self, effect: Sketch) -> tuple[bytes, ...] | None:
        """Sketches of our own parts; None after a restart lost them, or if nobody decodes them."""
        if not self.own_parts:
            return None
        try:
            return await self.compute.maths(
                lambda: sketch_parts(self.g, effect.value, self.own_parts),
                cost_s=self.g.d * S_PER_SKETCHED,
            )
        except Malformed:
            return None

    async def check(self, effect: Check) -> str:
        """Why the sketches of a proof refute the results of its seal; empty: they do not."""
        beacon, core = effect.proof.beacon, self.core
        plan = beacon.seal.plan
        ids = dict(plan.listed)
        contributors = plan.resolution.contributors
        commitments = {e: core.opened[ids[e]] for e in contributors if ids[e] in core.opened}
        if len(commitments) < len(contributors):
            return "a commitment is not here"
        results = [core.results[root][1] for root in beacon.seal.roots]
        rules = self._context.rules
        name = rules.rule if len(contributors) >= rules.rule_min else rules.rule_small
        return await self.compute.maths(
            lambda: refuted(
                self.g, plan.resolution, name, commitments, beacon.value, effect.proof.sketches,
                results,
            ),
            cost_s=self.g.d * S_PER_SKETCHED,
        )  # fmt: skip

    def checked(self, beacon: BeaconState, decision: Decision) -> CheckedRound | None:
        """What openings of a certified round's parts need; None if a commitment never came."""
        opened = self.core.opened
        if any(id_ not in opened for _, id_ in decision.plan):
            return None
        commitments = {e: opened[id_] for e, id_ in decision.plan}
        return CheckedRound(
            self._context, self.g, beacon.value, beacon.seal.plan_id, beacon.seal.plan,
            decision.rule, decision.result_roots, commitments, self.own_parts,
        )  # fmt: skip

    def answered(self, beacons: Mapping[Digest, BeaconState]) -> Answered | None:
        """What other reducers answered, and what it is compared with; None: nothing came here."""
        core, me = self.core, self._context.me
        answers = tuple(signed for (e, _, _), signed in core.answers.items() if e != me)
        if not answers:
            return None
        return Answered(
            self._context, self.g, self._lists(), core.plans, core.opened, answers,
            dict(self.screened), dict(self.rooted), dict(self._decoded), beacons,
        )  # fmt: skip

    def _lists(self) -> dict[Digest, dict[int, Digest]]:
        return {id_: dict(value.commitments) for id_, value in self.core.lists.items()}

    async def apply(self, effect: Apply) -> Digest | None:
        """Root of the state that follows; None if the results do not decode (all were liars)."""
        data = [self.core.results[root][1] for root in effect.roots]
        try:
            state, root = await self.compute.maths(
                lambda: apply_results(self.g, self.state, data), cost_s=self.g.d * S_PER_PARAM
            )
        except Malformed:
            return None
        self.shadows[effect.roots] = state
        return root
