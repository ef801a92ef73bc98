"""Duties of every elector in the reduction: send own parts, screen rows, reduce, spread results.

Pure; part of ``RoundMachine``. docs/protocol.md, "Reduction".
"""

from node.errors import Malformed, PeerError, TooLarge
from node.exchange.agreement import highest_lock
from node.exchange.core import PlanState, RoundCore
from node.exchange.effects import Blame, Reduce, ScatterParts, Screen, SpreadResults, StartTimer
from node.exchange.haves import named_by, open_haves
from node.exchange.probation import admitted_of, check_entrants, split_evidence, step_of
from node.exchange.reduction import packed_gram_fault, parts_of, resolve
from node.ledger.evidence import accused, breach_of
from node.ledger.succession import ABSENT
from node.types import Digest
from node.wire.convert import (
    decode_have,
    decode_list,
    decode_plan,
    decode_screens,
    encode_results,
    encode_screens,
)
from node.wire.convert_ledger import rising
from node.wire.messages import (
    ListMessage,
    PartScreen,
    Plan,
    Results,
    Scatter,
    Screens,
    Signed,
    Spread,
)

SCREEN_TIMER = "screen"


class Reducing:
    """Contributor and reducer duties of one round."""

    def __init__(self, core: RoundCore) -> None:
        self._core = core
        self._current: Digest | None = None
        """Id of the newest list of the current view."""
        self._waiting_plans: dict[int, tuple[Digest, Signed]] = {}
        """Elector -> (list id, its newest plan), where the list is on its way."""
        self._reduced: dict[Digest, tuple[tuple[int, Digest], ...]] = {}

    # Lists -------------------------------------------------------------------------------------

    def check_list(self, signed: Signed) -> ListMessage:
        """Open a leader's list and check that it censors nobody.

        Raises:
            PeerError: not the leader's, not justified, or it omits a named commitment.
        """
        core = self._core
        known = core.lists.get(signed.id)
        if known is not None:
            return known
        core.elector_of(signed)
        value = decode_list(signed.body, signed.job, signed.round)
        core.check_leads(signed, "list", value.view)
        haves = open_haves(core, value.haves, value.view)
        against, charged = split_evidence(core, value)
        out = [core.convictions.check(evidence) for evidence in against]
        rising(out, core.electorate.n, "evidence")
        if len(out) == core.electorate.n:
            raise PeerError("the list leaves nobody for the next round")
        listed = set(value.commitments)
        if {e for e, _ in listed} & {*out}:
            raise PeerError("a peer is both listed and shown to have lied")
        for item, count in named_by(h.held for h in haves).items():
            if count > core.electorate.f and item not in listed and item[0] not in out:
                raise PeerError(f"the list leaves out elector {item[0]}, whom {count} HAVEs name")
        if any(e >= core.electorate.n for e, _ in listed):
            raise Malformed("the list names an elector that does not exist")
        check_entrants(core, value, charged)
        core.lists[signed.id] = value
        core.locks[signed.id] = highest_lock(h.prepared for h in haves)
        core.signed[signed.id] = signed
        return value

    def on_list(self, signed: Signed) -> None:
        """Scatter our parts to the reducers of the list, and wait for the rows that we reduce."""
        core = self._core
        value = self.check_list(signed)
        if value.view != core.agreement.view or not core.once("list", value.view, value.wide):
            return
        self._current = signed.id
        core.phase("scatter")
        self._scatter(value)
        core.effects.append(
            StartTimer(f"{SCREEN_TIMER}/{signed.id.hex()}", core.context.deadlines.step_s)
        )
        missing = [i for _, i in value.commitments if i not in core.opened]
        core.fetch(missing, (core.leader,))
        self.advance()
        self._take_waiting(signed.id)

    def _take_waiting(self, list_id: Digest) -> None:
        """Check the plans that waited for a list; whoever sent a wrong one is at fault."""
        waiting = sorted(self._waiting_plans.items())
        for elector, plan in [(e, plan) for e, (id_, plan) in waiting if id_ == list_id]:
            del self._waiting_plans[elector]
            try:
                self.on_plan(plan)
            except PeerError as error:
                self._core.effects.append(Blame(elector, error))

    def _scatter(self, value: ListMessage) -> None:
        core = self._core
        own = core.slots.get("commit")
        if own is None or (core.context.me, own.id) not in value.commitments:
            return
        wanted = core.width(value.wide)
        for reducer in core.others():
            parts = tuple(
                p
                for p in parts_of(core.orders, reducer, wanted)
                if core.once("scatter", reducer, p)
            )
            if parts:
                core.effects.append(ScatterParts(reducer, own, parts))

    # Rows --------------------------------------------------------------------------------------

    def on_scatter(self, sender: int, message: Scatter) -> None:
        """Hold the parts of a contribution until its list is screened."""
        core = self._core
        if core.learn_commitment(message.commitment) != sender:
            raise PeerError("parts of somebody else's contribution")
        id_ = message.commitment.id
        if id_ not in core.opened:
            return
        for part, data in message.parts:
            if part >= core.context.rules.parts:
                raise Malformed(f"no part {part}")
            if len(data) != core.context.rules.part_bytes[part]:
                raise TooLarge(f"part {part} has {len(data)} bytes")
            core.parts.setdefault((id_, part), data)
        self.advance()

    def advance(self, *, expired: bool = False) -> None:
        """Screen once all rows of the current list are here, or the timer ran out."""
        core = self._core
        if self._current is None or core.context.me is None or core.signer is None:
            return
        if ("screen", self._current) in core.asked:
            return
        value = core.lists[self._current]
        parts = parts_of(core.orders, core.context.me, core.width(value.wide))
        if not parts or (
            not expired and len(core.parts) < (len(value.commitments) - 1) * len(parts)
        ):
            return
        others = [i for e, i in value.commitments if e != core.context.me]
        complete = all((i, p) in core.parts for i in others for p in parts)
        if (complete or expired) and core.once("screen", self._current):
            listed = tuple(e for e, _ in value.commitments)
            core.effects.append(Screen(self._current, listed, parts))

    def on_screen_timer(self, list_hex: str) -> None:
        """The wait for the rows of one list is over."""
        if self._current is not None and self._current.hex() == list_hex:
            self.advance(expired=True)

    def on_screened(self, list_id: Digest, screens: tuple[PartScreen, ...]) -> None:
        """Our screens are computed: sign them for the leader."""
        core = self._core
        value = core.lists[list_id]
        if value.view != core.agreement.view:
            return
        body = encode_screens(Screens(list_id, screens))
        core.phase("screen")
        core.send(core.leader, core.sign(f"screen.{value.view}.{int(value.wide)}", "screen", body))

    # Plans -------------------------------------------------------------------------------------

    def check_screens(self, signed: Signed, list_id: Digest) -> dict[int, PartScreen]:
        """Part -> screen of one reducer, each covering the list exactly.

        Raises:
            PeerError: of another list, of a part that is not the reducer's, or incomplete.
        """
        core = self._core
        reducer = core.elector_of(signed)
        screens = decode_screens(signed.body)
        if signed.kind != "screen" or screens.list_id != list_id:
            raise PeerError("a screen of another list")
        core.answers.setdefault((reducer, "screen", list_id), signed)
        value = core.lists[list_id]
        listed = {e for e, _ in value.commitments}
        own = parts_of(core.orders, reducer, core.width(value.wide))
        for s in screens.screens:
            rows, complained = set(s.rows), {e for e, _ in s.complaints}
            if s.part not in own or rows & complained or rows | complained != listed:
                raise PeerError("a screen must cover its list and its reducer's parts, once")
            self._check_gram(dict(value.commitments), s)
        return {s.part: s for s in screens.screens}

    def _check_gram(self, ids: dict[int, Digest], screen: PartScreen) -> None:
        """The norms that the authors committed to pin the diagonal, which bounds the rest."""
        opened = [self._core.opened.get(ids[e]) for e in screen.rows]
        norms = tuple(c.parts[screen.part].square_norm for c in opened if c is not None)
        if len(norms) == len(screen.rows):  # else a commitment is still on its way
            fault = packed_gram_fault(screen.gram, norms)
            if fault is not None:
                raise PeerError(f"the Gram matrix of part {screen.part}: {fault}")

    def open_plan(self, signed: Signed, plan: Plan) -> PlanState:
        """What a plan says; its list must be known.

        Raises:
            PeerError: its screens do not settle every part.
        """
        core = self._core
        value = core.lists[plan.list_id]
        screens = {core.elector_of(s): self.check_screens(s, plan.list_id) for s in plan.screens}
        listed = tuple(e for e, _ in value.commitments)
        resolution, lacking = resolve(
            listed,
            screens,
            core.orders,
            core.width(value.wide),
            core.need(value.wide),
            core.electorate.f,
            core.context.prev,
        )
        if resolution is None:
            raise PeerError(f"parts {lacking[:4]} of the plan lack equal screens")
        bans = tuple(sorted(accused(evidence) for evidence in value.evidence))
        why = {core.electorate.index(accused(x)): breach_of(x).reason for x in value.evidence}
        absent = tuple((e, why.get(e, ABSENT)) for e in range(core.electorate.n) if e not in listed)
        lock = core.locks[plan.list_id]
        haves = ((core.elector_of(s), decode_have(s.body).nonce_hash) for s in value.haves)
        nonces = {elector: bound for elector, bound in haves if bound}
        door, applications = core.context.door, value.applications
        state = PlanState(
            value.view,
            value.wide,
            value.commitments,
            absent,
            bans,
            admitted_of(door, applications),
            step_of(door, applications, value.probation),
            resolution,
            lock,
            nonces,
        )
        core.plans[signed.id] = state
        core.signed[signed.id] = signed
        return state

    def on_plan(self, signed: Signed) -> PlanState | None:
        """Check the plan and reduce our parts. None: its list was asked for and comes first."""
        core = self._core
        known = core.plans.get(signed.id)
        if known is not None:
            return known
        sender = core.elector_of(signed)
        if signed.kind != "plan":
            raise Malformed(f"a {signed.kind} in place of a plan")
        plan = decode_plan(signed.body, signed.job, signed.round)
        if plan.list_id not in core.lists:
            self._waiting_plans[sender] = (plan.list_id, signed)
            core.fetch((plan.list_id,), (core.leader,))
            return None
        core.check_leads(signed, "plan", core.lists[plan.list_id].view)
        state = self.open_plan(signed, plan)
        if state.view == core.agreement.view and core.signer is not None:
            self._reduce(signed.id, state)
        return state

    def rule_for(self, contributors: int) -> str:
        """The rule that is defined for so many rows; empty: too few, the round is a SKIP."""
        rules = self._core.context.rules
        if contributors < rules.group_min:
            return ""
        return rules.rule if contributors >= rules.rule_min else rules.rule_small

    def _reduce(self, plan_id: Digest, state: PlanState) -> None:
        core = self._core
        rule = self.rule_for(len(state.resolution.contributors))
        parts = tuple(
            p for p, order in enumerate(state.resolution.reducers) if core.context.me in order
        )
        if rule and parts and core.once("reduce", state.view, state.wide):
            core.phase("reduce")
            core.effects.append(Reduce(plan_id, state.resolution, rule, parts))

    def on_reduced(self, plan_id: Digest, results: tuple[tuple[int, Digest], ...]) -> None:
        """Our results are computed: sign their roots for the leader, spread the bytes to all."""
        core = self._core
        state = core.plans[plan_id]
        if state.view != core.agreement.view:
            return
        body = encode_results(Results(plan_id, results))
        signed = core.sign(f"result.{state.view}.{int(state.wide)}", "result", body)
        first = tuple(p for p, _ in results if state.resolution.reducers[p][0] == core.context.me)
        if not first or core.leading:
            core.send(core.leader, signed)
        if first:
            others = tuple(e for e in core.others() if e != core.leader)
            core.effects.append(SpreadResults(others, plan_id, first, None))
            if not core.leading:
                core.effects.append(SpreadResults((core.leader,), plan_id, first, signed))

    def check_spread(self, message: Spread) -> None:
        """Refuse results whose size is wrong, before anything is computed on them.

        Raises:
            PeerError: no such part, or a wrong length.
        """
        rules = self._core.context.rules
        for part, data in message.parts:
            if part >= rules.parts or len(data) != rules.result_bytes[part]:
                raise Malformed(f"result {part} of {len(data)} bytes")
