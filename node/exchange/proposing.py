"""What a leader proposes, and the votes on it: the last duties of a view's leader.

Pure; part of ``RoundMachine``. docs/protocol.md, "Leader".
"""

from node.exchange.attempt import Attempt
from node.exchange.checking import Proof
from node.exchange.core import PlanState, RoundCore
from node.exchange.decide import decision_of, skip_of
from node.exchange.reducing import Reducing
from node.types import Digest
from node.wire.convert import decode_proposal, decode_vote, encode_proposal
from node.wire.convert_ledger import encode_decision
from node.wire.messages import Proposal, Signed


class Proposing:
    """Makes proposals and counts their votes."""

    def __init__(self, core: RoundCore, reducing: Reducing) -> None:
        self._core = core
        self._reducing = reducing

    def again(self, view: int, haves: tuple[Signed, ...]) -> None:
        """Propose the locked decision once more; who signed the lock has it if we do not."""
        core = self._core
        lock = core.agreement.lock
        assert lock is not None
        held = core.signed.get(lock.decision_id)
        if held is None:
            core.fetch((lock.decision_id,), tuple(v.elector for v in lock.votes))
            return
        core.once("lead", view)
        decision = decode_proposal(held.body, held.job, held.round).decision
        self._propose(Proposal(view, decision, None, (), haves, lock))

    def skip(self, view: int, why: str, haves: tuple[Signed, ...]) -> None:
        """Propose a SKIP that HAVEs alone justify."""
        decision = encode_decision(skip_of(self._core.context, why))
        self._propose(Proposal(view, decision, None, (), haves, None))

    def too_few(self, view: int, plan_id: Digest, state: PlanState) -> None:
        """Propose a SKIP: the plan leaves too few contributions."""
        decision = encode_decision(skip_of(self._core.context, "too_few", state))
        self._propose(Proposal(view, decision, plan_id, (), (), None))

    def results(
        self,
        attempt: Attempt,
        state: PlanState,
        roots: tuple[Digest, ...],
        state_root: Digest,
        proof: Proof | None,
    ) -> None:
        """Propose what a plan and its results lead to; ``proof`` backs them where they need it."""
        core = self._core
        name = self._reducing.rule_for(len(state.resolution.contributors))
        beacon = proof.beacon if proof else None
        decision = encode_decision(
            decision_of(
                core.context, state, name, roots, state_root, core.opened,
                beacon.value if beacon else b"", beacon.unrevealed if beacon else (),
            )
        )  # fmt: skip
        results = sketches = ()  # type: tuple[Signed, ...]
        if proof is None:
            results = tuple(s for _, (s, _) in sorted(attempt.results.items()))
        else:
            sketches = tuple(attempt.sketches[e][0] for e in state.resolution.contributors)
        beacon_id = attempt.beacon_id if proof else None
        self._propose(
            Proposal(
                attempt.view, decision, attempt.plan_id, results, (), None, beacon_id, sketches
            )
        )

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
