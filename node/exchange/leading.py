"""Duties of a view's leader: collect HAVEs, list, plan, collect results, propose.

Pure; part of ``RoundMachine``. A leader only proposes: whatever it says is checked by everybody.
docs/protocol.md, "Leader".
"""

from node.exchange.agreement import highest_lock
from node.exchange.attempt import Attempt, agreed_roots
from node.exchange.checking import Checking
from node.exchange.core import PlanState, RoundCore
from node.exchange.effects import Apply, StartTimer
from node.exchange.haves import named_by
from node.exchange.probation import fitting_evidence, size_of, step_of
from node.exchange.proposing import Proposing
from node.exchange.reducing import Reducing
from node.exchange.reduction import parts_of, resolve
from node.exchange.rules import rule
from node.exchange.sealing import REVEALS_TIMER, SKETCHES_TIMER, Sealing
from node.ledger.evidence import accused
from node.types import Digest
from node.wire.convert import (
    decode_have,
    decode_results,
    decode_screens,
    encode_list,
    encode_plan,
)
from node.wire.limits import EVIDENCE_LIST_BYTES_MAX
from node.wire.messages import Evidence, Have, ListMessage, Plan, Signed

SCREENS_TIMER = "screens"
SETTLED_TIMER = "settled"
RESULTS_TIMER = "results"


class Leading:
    """Leader duties of one round, for each view that we lead."""

    def __init__(
        self, core: RoundCore, reducing: Reducing, checking: Checking, proposing: Proposing
    ) -> None:
        self._core = core
        self._reducing = reducing
        self._checking = checking
        self._sealing = Sealing(core, checking)
        self._proposing = proposing
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
            self._proposing.again(view, self._signed_haves(view))
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
            self._proposing.skip(view, "view", self._signed_haves(view))
        elif len({e for e, _ in named}) < core.context.rules.group_min and not self._convicted():
            self._proposing.skip(view, "too_few", self._signed_haves(view))
        else:
            self._list(self._signed_haves(view), wide=view > 0 or self._wide_first())

    def _wide_first(self) -> bool:
        """The last round had to, few would answer what no sketch can check, or one convicted."""
        core = self._core
        checkable = rule(core.context.rules.rule).kind == "weights"
        asked = core.width(False)  # of whom is convicted, nobody who knows takes an answer
        silent = any(parts_of(core.orders, e, asked) for e in core.convictions.held)
        return core.context.wide_first or silent or (core.checks and not checkable)

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
        evidence, entrants = tuple(out.values()), core.context.entrants
        charges = fitting_evidence(entrants.charges, EVIDENCE_LIST_BYTES_MAX - size_of(evidence))
        banned = {*map(accused, charges)}
        probation = tuple(s for s in entrants.probation if s.signer not in banned)
        step = step_of(door, (), probation)
        applications = entrants.applications
        value = ListMessage(
            view=view,
            wide=wide,
            haves=haves,
            commitments=held,
            evidence=(*evidence, *charges),
            applications=door.fitting(applications, len(held), step, banned) if door else (),
            probation=probation,
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
        held = self._core.convictions.held
        known = tuple(held[e] for e in sorted(held.keys() - {self._core.context.me}))
        fitting = fitting_evidence(known, EVIDENCE_LIST_BYTES_MAX)
        return {e: held[e] for e in sorted(held) if held[e] in fitting}

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
            if e not in core.convictions.held
        )

    def on_timer(self, name: str, list_hex: str) -> None:
        """The wait for screens or results of one attempt is over."""
        attempt = self._current()
        if attempt is None or attempt.list_id.hex() != list_hex:
            return
        if name in (REVEALS_TIMER, SKETCHES_TIMER):
            self._sealing.on_timer(name, attempt)
            self.advance()
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
            self._proposing.too_few(attempt.view, plan_id, state)
        elif self._checking.needed(state) and not self._checking.possible(state):
            self._list(attempt.haves, wide=True)

    # RESULT -> PROPOSE -------------------------------------------------------------------------

    def on_result(self, signed: Signed) -> None:
        """Take a reducer's result roots; propose when each part has enough equal ones."""
        attempt = self._current()
        elector = self._core.elector_of(signed)
        results = decode_results(signed.body)
        if attempt is None or attempt.plan_id is None or results.plan_id != attempt.plan_id:
            return
        attempt.results[elector] = (signed, dict(results.results))
        self._core.answers.setdefault((elector, "result", results.plan_id), signed)
        self.advance()

    def on_reveal(self, signed: Signed) -> None:
        """Take a nonce for the beacon of our seal."""
        attempt = self._current()
        if attempt is not None:
            self._sealing.on_reveal(attempt, signed)

    def on_sketch(self, signed: Signed) -> None:
        """Take a contributor's sketches under our beacon."""
        attempt = self._current()
        if attempt is not None:
            self._sealing.on_sketch(attempt, signed)

    def advance(self) -> None:
        """Propose if results, the state that follows and what backs them are there."""
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
        checked = self._checking.needed(state)
        if checked:
            self._sealing.collect(attempt)  # while bytes are on their way and the state is computed
        missing = [r for r in roots if r not in core.results]
        if missing:
            core.fetch(missing, tuple(attempt.results))
            return
        state_root = core.shadows.get(roots)
        if state_root is None:
            if core.once("apply", roots):
                core.effects.append(Apply(roots))
            return
        proof = self._sealing.proof(attempt) if checked else None
        if attempt.failed:
            self._list(attempt.haves, wide=True)
        elif (proof or not checked) and core.once("propose", attempt.view):
            self._proposing.results(attempt, state, roots, state_root, proof)
