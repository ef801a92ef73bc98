"""Duties of a view's leader: collect HAVEs, list, plan, propose, collect votes.

Pure; part of ``RoundMachine``. A leader only proposes: whatever it says is checked by everybody.
docs/protocol.md, "Leader".
"""

from node.exchange.agreement import highest_lock
from node.exchange.attempt import Attempt, agreed_roots
from node.exchange.core import PlanState, RoundCore
from node.exchange.decide import decision_of, skip_of
from node.exchange.effects import Apply, StartTimer
from node.exchange.haves import named_by
from node.exchange.reducing import Reducing
from node.exchange.reduction import parts_of, resolve
from node.types import Digest
from node.wire.convert import (
    decode_have,
    decode_proposal,
    decode_results,
    decode_screens,
    decode_vote,
    encode_evidence,
    encode_list,
    encode_plan,
    encode_proposal,
)
from node.wire.convert_ledger import encode_decision
from node.wire.limits import EVIDENCE_LIST_BYTES_MAX
from node.wire.messages import Evidence, Have, ListMessage, Plan, Proposal, Signed

SCREENS_TIMER = "screens"
SETTLED_TIMER = "settled"
RESULTS_TIMER = "results"


class Leading:
    """Leader duties of one round, for each view that we lead."""

    def __init__(self, core: RoundCore, reducing: Reducing) -> None:
        self._core = core
        self._reducing = reducing
        self._haves: dict[int, tuple[Signed, Have]] = {}
        """Elector -> its HAVE of the highest view."""
        self._attempt: Attempt | None = None

    # HAVE -> LIST ------------------------------------------------------------------------------

    def on_have(self, signed: Signed) -> None:
        """Take a HAVE of any view; only the latest of each elector is kept.

        Raises:
            PeerError: its lock has no quorum.
        """
        core = self._core
        elector = core.elector_of(signed)
        have = decode_have(signed.body)
        if have.prepared:
            core.check_lock(have.prepared)
            core.agreement.learn_lock(have.prepared)
        known = self._haves.get(elector)
        if known is None or have.view > known[1].view:
            self._haves[elector] = (signed, have)
        own = core.slots.get(f"have.{core.agreement.view}")
        if have.view < core.agreement.view and own and core.once("behind", elector, own.id):
            core.send(elector, own)

    def view_reached(self, electors: int) -> int:
        """The highest view that so many electors have reached, as their HAVEs say."""
        views = sorted((have.view for _, have in self._haves.values()), reverse=True)
        return views[electors - 1] if len(views) >= electors else 0

    def _haves_of(self, view: int) -> dict[int, tuple[Signed, Have]]:
        return {e: pair for e, pair in sorted(self._haves.items()) if pair[1].view == view}

    def lead(self) -> None:
        """Once a quorum sent HAVEs for the current view, start: list, re-propose or skip."""
        core = self._core
        view = core.agreement.view
        haves = self._haves_of(view)
        if not core.leading or core.signer is None or len(haves) < core.electorate.quorum:
            return
        if ("lead", view) in core.asked:
            return
        lock = highest_lock(have.prepared for _, have in haves.values())
        if lock is not None:
            self._repropose(view)
            return
        named = [
            item
            for item, count in named_by(h.held for _, h in haves.values()).items()
            if count > core.electorate.f
        ]
        missing = [i for e, i in named if i not in core.opened and e not in core.convictions.held]
        if missing:
            core.fetch(missing, tuple(haves))
            return
        core.once("lead", view)
        if view > core.electorate.f:
            self._skip(view, "view")
        elif len({e for e, _ in named}) < core.context.rules.group_min and not self._convicted():
            self._skip(view, "too_few")
        else:
            self._list(self._signed_haves(view), wide=view > 0 or core.context.wide_first)

    def _current(self) -> Attempt | None:
        """The attempt of the current view; those of earlier views are over."""
        attempt = self._attempt
        return attempt if attempt and attempt.view == self._core.agreement.view else None

    def _signed_haves(self, view: int) -> tuple[Signed, ...]:
        return tuple(signed for signed, _ in self._haves_of(view).values())

    def _list(self, haves: tuple[Signed, ...], *, wide: bool) -> None:
        core = self._core
        view = core.agreement.view
        out, door = self._convicted(), core.context.door
        held = tuple((e, i) for e, i in core.held() if e not in out)
        value = ListMessage(
            view=view,
            wide=wide,
            haves=haves,
            commitments=held,
            evidence=tuple(out.values()),
            applications=door.fitting(core.context.applicants, len(held)) if door else (),
        )
        signed = core.sign(f"list.{view}.{int(wide)}", "list", encode_list(value))
        self._attempt = Attempt(view, wide, signed.id, haves)
        core.phase("list")
        # A reducer that waits for a late row needs a step of its own before it answers.
        core.effects.append(
            StartTimer(f"{SCREENS_TIMER}/{signed.id.hex()}", 2 * core.context.deadlines.step_s)
        )
        core.broadcast(signed)

    def _convicted(self) -> dict[int, Evidence]:
        """Whom our list shows to lie, by rising index: everybody of whom we know, but ourselves."""
        core, room = self._core, EVIDENCE_LIST_BYTES_MAX
        out: dict[int, Evidence] = {}
        for elector in sorted(core.convictions.held.keys() - {core.context.me}):
            room -= len(encode_evidence(core.convictions.held[elector]))
            if room >= 0:
                out[elector] = core.convictions.held[elector]
        return out

    def _repropose(self, view: int) -> None:
        core = self._core
        lock = core.agreement.lock
        assert lock is not None
        held = core.signed.get(lock.decision_id)
        if held is None:
            core.fetch((lock.decision_id,), tuple(v.elector for v in lock.votes))
            return
        core.once("lead", view)
        decision = decode_proposal(held.body, held.job, held.round).decision
        self._propose(Proposal(view, decision, None, (), self._signed_haves(view), lock))

    def _skip(self, view: int, why: str) -> None:
        core = self._core
        decision = encode_decision(skip_of(core.context, why))
        self._propose(Proposal(view, decision, None, (), self._signed_haves(view), None))

    # SCREEN -> PLAN ----------------------------------------------------------------------------

    def on_screen(self, signed: Signed) -> None:
        """Take a reducer's screens; plan as soon as they settle every part."""
        attempt = self._current()
        if attempt is None or attempt.plan_id is not None:
            return
        if decode_screens(signed.body).list_id != attempt.list_id:
            return  # late, of an earlier attempt
        screens = self._reducing.check_screens(signed, attempt.list_id)
        elector = self._core.elector_of(signed)
        attempt.screens[elector] = screens
        attempt.signed_screens[elector] = signed
        self._plan(attempt, patient=attempt.wide and not self._all_answered(attempt))

    def _all_answered(self, attempt: Attempt) -> bool:
        core = self._core
        return all(
            e in attempt.screens or not parts_of(core.orders, e, core.width(attempt.wide))
            for e in range(core.electorate.n)
        )

    def on_timer(self, name: str, list_hex: str) -> None:
        """The wait for screens or results of one attempt is over."""
        attempt = self._current()
        if attempt is None or attempt.list_id.hex() != list_hex:
            return
        if name in (SCREENS_TIMER, SETTLED_TIMER) and attempt.plan_id is None:
            self._plan(attempt)
        late = name == RESULTS_TIMER or attempt.plan_id is None
        if late and not attempt.wide:
            self._list(attempt.haves, wide=True)

    def _plan(self, attempt: Attempt, *, patient: bool = False) -> None:
        """Plan if the screens settle every part; if ``patient``, a little later.

        Who screens truly may still lie about the result. Where no more reducers are planned with
        than must agree, one such liar would end the view, and be among the first again in the next.
        """
        core = self._core
        value = core.lists.get(attempt.list_id)
        if value is None:
            return  # an attack signed another list in its place, and we refuse it like everybody
        resolution, _ = resolve(
            tuple(e for e, _ in value.commitments),
            attempt.screens,
            core.orders,
            core.width(attempt.wide),
            core.need(attempt.wide),
            core.electorate.f,
            core.context.prev,
        )
        if resolution is None:
            if self._all_answered(attempt) and not attempt.wide:
                self._list(attempt.haves, wide=True)
            return
        if patient:
            if core.once("settled", attempt.list_id):
                timer = f"{SETTLED_TIMER}/{attempt.list_id.hex()}"
                core.effects.append(StartTimer(timer, core.context.deadlines.step_s / 2))
            return
        plan = Plan(attempt.list_id, tuple(s for _, s in sorted(attempt.signed_screens.items())))
        slot = f"plan.{attempt.view}.{int(attempt.wide)}"
        signed = core.sign(slot, "plan", encode_plan(plan))
        attempt.plan_id = signed.id
        core.phase("plan")
        core.effects.append(
            StartTimer(
                f"{RESULTS_TIMER}/{attempt.list_id.hex()}", 2 * core.context.deadlines.step_s
            )
        )
        core.broadcast(signed)

    def on_own_plan(self, plan_id: Digest, state: PlanState) -> None:
        """Our plan is checked like anybody's; too few contributions left make a SKIP."""
        attempt = self._current()
        if attempt is None or attempt.plan_id != plan_id:
            return
        if not self._reducing.rule_for(len(state.resolution.contributors)):
            decision = encode_decision(skip_of(self._core.context, "too_few", state))
            self._propose(Proposal(attempt.view, decision, plan_id, (), (), None))

    # RESULT -> PROPOSE -------------------------------------------------------------------------

    def on_result(self, signed: Signed) -> None:
        """Take a reducer's result roots; propose when each part has enough equal ones."""
        attempt = self._current()
        elector = self._core.elector_of(signed)
        results = decode_results(signed.body)
        if attempt is None or attempt.plan_id is None or results.plan_id != attempt.plan_id:
            return
        attempt.results[elector] = (signed, dict(results.results))
        self.advance()

    def advance(self) -> None:
        """Propose if results and the state that follows from them are there."""
        core = self._core
        attempt = self._current()
        if attempt is None or attempt.plan_id is None:
            return
        state = core.plans.get(attempt.plan_id)
        if state is None:
            return
        roots = agreed_roots(
            state, {e: r for e, (_, r) in attempt.results.items()}, core.need(state.wide)
        )
        if roots is None:
            asked = {e for order in state.resolution.reducers for e in order}
            if asked <= attempt.results.keys() and not attempt.wide:
                self._list(attempt.haves, wide=True)  # they disagree: more of them must answer
            return
        missing = [r for r in roots if r not in core.results]
        if missing:
            core.fetch(missing, tuple(attempt.results))
            return
        state_root = core.shadows.get(roots)
        if state_root is None:
            if core.once("apply", roots):
                core.effects.append(Apply(roots))
            return
        if core.once("propose", attempt.view):
            rule = self._reducing.rule_for(len(state.resolution.contributors))
            decided = decision_of(core.context, state, rule, roots, state_root, core.opened)
            decision = encode_decision(decided)
            results = tuple(s for _, (s, _) in sorted(attempt.results.items()))
            self._propose(Proposal(attempt.view, decision, attempt.plan_id, results, (), None))

    def _propose(self, proposal: Proposal) -> None:
        core = self._core
        signed = core.sign(f"propose.{proposal.view}", "propose", encode_proposal(proposal))
        core.phase("propose")
        core.broadcast(signed)

    # Votes -------------------------------------------------------------------------------------

    def on_prepare(self, signed: Signed) -> None:
        """Count a PREPARE; a quorum becomes a lock that goes to all."""
        core = self._core
        certificate = core.agreement.count_prepare(core.elector_of(signed), signed)
        if certificate is not None:
            core.broadcast(certificate)

    def on_vote(self, signed: Signed) -> None:
        """Count a COMMITVOTE; a quorum becomes the certificate that goes to all."""
        core = self._core
        elector = core.elector_of(signed)
        held = core.signed.get(decode_vote(signed.body).decision_id)
        if held is None:
            return
        decision = decode_proposal(held.body, held.job, held.round).decision
        certificate = core.agreement.count_vote(elector, signed, decision)
        if certificate is not None:
            core.broadcast(certificate)
