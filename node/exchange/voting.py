"""Duties of a voter: check a proposal, prepare, lock, vote, accept a certificate.

Pure; part of ``RoundMachine``. A proposal is prepared only when everything that it says was
computed here too. docs/protocol.md, "Agreement".
"""

from dataclasses import dataclass

from node.errors import BadSignature, PeerError
from node.exchange.agreement import highest_lock
from node.exchange.attempt import agreed_roots
from node.exchange.checking import Checking, Proof
from node.exchange.core import PlanState, RoundCore
from node.exchange.decide import decision_of, skip_of
from node.exchange.effects import Apply, Certified, KeepResults, Persist
from node.exchange.haves import named_by, open_haves
from node.exchange.reducing import Reducing
from node.ledger.votes import COMMIT_VOTE, PREPARE, check_certificate, decision_id
from node.types import Digest
from node.wire.convert import decode_proposal
from node.wire.convert_ledger import decode_decision
from node.wire.messages import Certificate, Decision, PrepareCertificate, Proposal, Signed

HEARD = "heard."
"""Prefix of the slots that keep the proposals which we prepared."""


@dataclass
class Pending:
    """A proposal that is being checked."""

    signed: Signed
    proposal: Proposal
    decision: Decision
    id: Digest
    proof: Proof | None = None
    """What backs its results, where they need it."""


class Voting:
    """Voter duties of one round."""

    def __init__(self, core: RoundCore, reducing: Reducing, checking: Checking) -> None:
        self._core = core
        self._reducing = reducing
        self._checking = checking
        self._pending: Pending | None = None
        self._early: Pending | None = None
        """A proposal of a view that we have not entered yet."""
        self._lock_on_disk: PrepareCertificate | None = core.agreement.lock

    def on_propose(self, signed: Signed) -> None:
        """Start to check a leader's proposal.

        Raises:
            PeerError: not the leader's, or of another job, round or parent.
        """
        core = self._core
        core.elector_of(signed)
        proposal = decode_proposal(signed.body, signed.job, signed.round)
        core.check_leads(signed, "propose", proposal.view)
        decision = decode_decision(proposal.decision)
        c = core.context
        if (decision.job, decision.round, decision.prev) != (c.job, c.round, c.prev):
            raise PeerError("a proposal for another job, round or parent")
        id_ = decision_id(proposal.decision)
        wanted = id_ in core.signed or ("fetch", id_) in core.asked  # a lock may be on it
        if not core.once("proposal", proposal.view) and not wanted:
            raise PeerError("a second proposal for one view")
        core.signed.setdefault(id_, signed)
        pending = Pending(signed, proposal, decision, id_)
        if proposal.view == core.agreement.view:
            self._pending = pending
            self.advance()
        elif proposal.view > core.agreement.view:
            self._early = pending

    def drop(self) -> None:
        """Forget the pending proposal: it does not hold."""
        self._pending = None

    def advance(self) -> None:
        """Go on with the pending proposal: fetch or compute what is missing, or prepare."""
        core = self._core
        if self._early and self._early.proposal.view == core.agreement.view:
            self._pending, self._early = self._early, None
        pending = self._pending
        if pending is None or pending.proposal.view != core.agreement.view:
            return
        if not self._is_justified(pending) or not self._is_computed(pending):
            return
        self._pending = None
        proposal = pending.proposal
        verdict = core.agreement.may_prepare(proposal.view, pending.id, proposal.prepared)
        if verdict.ok and core.signer is not None:
            # A quorum of PREPAREs may bind the round to this decision for ever, so the decision
            # and its results must survive a crash of everybody who holds them.
            core.record_slot(f"{HEARD}{proposal.view}", pending.signed)
            if pending.decision.result_roots:
                core.effects.append(KeepResults(pending.decision.result_roots))
            vote = core.agreement.prepare(proposal.view, pending.id)
            core.record_slot(f"prepare.{proposal.view}", vote)
            core.phase("prepare")
            core.send(core.leader, vote)

    # Justification: the proposal follows from what a quorum said -----------------------------

    def _is_justified(self, pending: Pending) -> bool:
        """False while the plan, or a commitment that it uses, is on its way.

        Raises:
            PeerError: the proposal does not follow.
        """
        proposal = pending.proposal
        if proposal.plan_id is None:
            self._check_without_plan(pending)
            return True
        state = self._core.plans.get(proposal.plan_id)
        if state is None:
            held = self._core.signed.get(proposal.plan_id)
            if held is None:
                self._core.fetch((proposal.plan_id,), (self._core.leader,))
                return False
            state = self._reducing.on_plan(held)
            if state is None:
                return False
        ids = dict(state.listed)
        used = [ids[elector] for elector in state.resolution.contributors]
        missing = [id_ for id_ in used if id_ not in self._core.opened]
        if missing:
            self._core.fetch(missing, (self._core.leader,))
            return False
        if self._checking.needed(state) and self._reducing.rule_for(len(used)):
            if not self._checking.possible(state):
                raise PeerError("fewer results than liars, for a rule that no sketch can check")
            pending.proof = self._checking.proof_of(proposal)
            if pending.proof is None:
                return False
        elif proposal.beacon_id is not None or proposal.sketches:
            raise PeerError("sketches for a plan that needs none")
        self._check_with_plan(pending, state)
        return True

    def _check_with_plan(self, pending: Pending, state: PlanState) -> None:
        core = self._core
        proposal, decision = pending.proposal, pending.decision
        if state.view != proposal.view:
            raise PeerError("the plan is of another view")
        if state.lock is not None and state.lock.decision_id != pending.id:
            raise PeerError("the proposal ignores a lock that its own HAVEs carry")
        rule = self._reducing.rule_for(len(state.resolution.contributors))
        if not rule:
            expected = skip_of(core.context, "too_few", state)
        else:
            beacon = pending.proof.beacon if pending.proof else None
            roots = beacon.seal.roots if beacon else self._agreed(proposal, state)
            expected = decision_of(
                core.context, state, rule, roots, decision.state_root, core.opened,
                beacon.value if beacon else b"", beacon.unrevealed if beacon else (),
            )  # fmt: skip
        if decision != expected:
            raise PeerError("the decision does not follow from its plan and results")

    def _agreed(self, proposal: Proposal, state: PlanState) -> tuple[Digest, ...]:
        assert proposal.plan_id is not None
        roots = self._checking.roots_of(proposal.results, proposal.plan_id)
        agreed = agreed_roots(state, roots, self._core.need(state.wide))
        if agreed is None:
            raise PeerError("a part lacks equal results")
        return agreed

    def _check_without_plan(self, pending: Pending) -> None:
        core = self._core
        proposal, decision = pending.proposal, pending.decision
        haves = open_haves(core, proposal.haves, proposal.view)
        lock = highest_lock(h.prepared for h in haves)
        if lock is not None:
            if lock.decision_id != pending.id or proposal.prepared is None:
                raise PeerError("the proposal ignores a lock that its own HAVEs carry")
            core.check_lock(proposal.prepared)
            if proposal.prepared.decision_id != pending.id or proposal.prepared.view < lock.view:
                raise PeerError("the proposal carries a lock on something else")
            return
        if decision != skip_of(core.context, decision.skip_reason):
            raise PeerError("without a plan or a lock only a SKIP may be proposed")
        named = {
            e
            for (e, _), count in named_by(h.held for h in haves).items()
            if count > core.electorate.f
        }
        allowed = {
            "view": proposal.view > core.electorate.f,
            "too_few": len(named) < core.context.rules.group_min,
        }
        if not allowed.get(decision.skip_reason, False):
            raise PeerError(f"a SKIP for {decision.skip_reason} is not allowed here")

    # Computation: the state that follows was computed here -----------------------------------

    def _is_computed(self, pending: Pending) -> bool:
        core = self._core
        decision = pending.decision
        if decision.skip:
            return True
        missing = [r for r in decision.result_roots if r not in core.results]
        if missing:
            core.fetch(missing, (core.leader,))
            return False
        state_root = core.shadows.get(decision.result_roots)
        if state_root is None:
            if core.once("apply", decision.result_roots):
                core.effects.append(Apply(decision.result_roots))
            return False
        if state_root != decision.state_root:
            raise PeerError("the proposed state is not the one that its results lead to")
        fault = self._checking.verdict(pending.proof) if pending.proof else ""
        if fault:
            raise PeerError(f"the results are refuted: {fault}")
        return fault is not None

    # Locks and certificates --------------------------------------------------------------------

    def on_prepared(self, certificate: PrepareCertificate) -> None:
        """Lock on it and vote, if it is of our view.

        Raises:
            BadSignature: not a quorum.
        """
        core = self._core
        if core.agreement.learn_lock(certificate):
            id_ = certificate.decision_id
            core.convictions.see_votes(PREPARE, certificate.view, id_, certificate.votes)
        vote = core.agreement.commit_vote()
        lock = core.agreement.lock
        if vote is None or lock is None:
            return
        if lock != self._lock_on_disk:
            core.effects.append(Persist("lock", lock))
            self._lock_on_disk = lock
        core.record_slot(f"vote.{core.agreement.view}", vote)
        core.phase("vote")
        core.send(core.leader, vote)

    def on_certificate(self, certificate: Certificate) -> None:
        """The round is decided.

        Raises:
            BadSignature: not a quorum, or a child of another decision.
        """
        core = self._core
        c = core.context
        decision = check_certificate(certificate, c.job, c.round, c.electorate, core.verify)
        if decision.prev != c.prev:
            raise BadSignature("the certificate has another parent")
        id_ = decision_id(certificate.decision)
        core.convictions.see_votes(COMMIT_VOTE, certificate.view, id_, certificate.votes)
        if core.once("certified"):
            core.effects.append(Certified(certificate, decision))
