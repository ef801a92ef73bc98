"""The chain of certificates of one job, from its founders to the last round.

Pure. Each decision names the one before it and the electorate after it, so whoever knows the
manifest can verify the whole chain alone. docs/protocol.md, "Chain".
"""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from node.errors import BadSignature
from node.identity import Verifier
from node.ledger.admission import WINDOW_ROUNDS, AdmissionRules, Door
from node.ledger.electorate import Electorate
from node.ledger.frontier import Frontier
from node.ledger.probation import Probation
from node.ledger.succession import UNLISTED, Terms, extended, next_electorate
from node.ledger.vetting import Vetting
from node.ledger.votes import check_certificate, decision_id
from node.merkle import digest
from node.types import Digest, JobId
from node.wire.messages import Certificate, Decision
from node.wire.probation_messages import NO_STEP


def genesis_id(job: JobId) -> Digest:
    """Stands for the decision of round 0."""
    return digest("genesis", job)


@dataclass(frozen=True)
class Head:
    """Where a chain stands: everything that the next round's rules need."""

    job: JobId
    round: int
    """Last certified round; 0 before the first."""
    id: Digest
    electorate: Electorate
    """Electors of round ``round + 1``."""
    state_root: Digest | None
    """Root after ``round``; None at genesis, where it follows from the manifest."""
    credits: Mapping[bytes, int]
    """Micro-credits by public key."""
    refusals: Mapping[str, int]
    """Reason -> refused contributions so far."""
    skips: int
    lease_until_round: int
    halted: bool = False
    memory: Frontier = ()
    """How far each author of shared memory is certified to be."""
    bans: Mapping[bytes, int] = field(default_factory=dict)
    """Public key -> round whose decision banned it, for good."""
    terms: Terms = ()
    """The electorates so far, the newest last."""
    admission: AdmissionRules = field(default_factory=AdmissionRules)
    """Who may enter."""
    admitted: tuple[int, ...] = ()
    """Rounds of late in which strangers entered, one for each."""
    probation: Probation = field(default_factory=Probation)
    """Strangers that contribute without a vote and without weight."""
    vetting: Vetting = field(default_factory=Vetting)
    """What audits came to, where the manifest asks for f to follow from it."""

    @property
    def liars(self) -> int:
        """F of the rules of the next round."""
        return self.vetting.liars(self.electorate)

    @property
    def door(self) -> Door:
        """What decides who may enter by the next decision."""
        return Door(
            self.job, self.round + 1, self.electorate, self.admission, self.bans, self.admitted,
            self.probation,
        )  # fmt: skip


def genesis(
    job: JobId,
    founders: Electorate,
    rounds: int,
    admission: AdmissionRules | None = None,
    vetting: Vetting | None = None,
) -> Head:
    """The head before round 1; the lease covers the manifest's rounds.

    Args:
        job: its id.
        founders: first electorate.
        rounds: last round of the job.
        admission: the manifest's; None: founders alone may enter, again.
        vetting: none so far, at the manifest's rate; None: f does not follow from audits.
    """
    rules = admission or AdmissionRules(keys=frozenset(key for key, _ in founders.keys))
    return Head(
        job, 0, genesis_id(job), founders, None, {}, {}, 0, rounds,
        terms=extended((), 1, founders), admission=rules, vetting=vetting or Vetting(),
    )  # fmt: skip


def extend(head: Head, decision: Decision, id_: Digest) -> Head:
    """The head after a decision that was already checked against ``head``."""
    credits = Counter(head.credits)
    for elector, micro in decision.credits:
        credits[head.electorate.keys[elector][0]] += micro
    refusals = Counter(head.refusals)
    refusals.update(reason for _, reason in decision.refused)
    electorate = _next(head, decision)
    return replace(
        head,
        round=decision.round,
        id=id_,
        electorate=electorate,
        state_root=decision.state_root,
        credits=dict(credits),
        refusals=dict(refusals),
        skips=head.skips + decision.skip,
        lease_until_round=decision.lease_until_round,
        halted=decision.halted,
        memory=decision.memory,
        bans={**head.bans, **dict.fromkeys(decision.bans, decision.round)},
        terms=extended(head.terms, decision.round + 1, electorate),
        admitted=_admitted(head, decision),
        probation=_probation(head, decision, id_),
        vetting=head.vetting.after(head.electorate, decision, id_),
    )


def _newcomers(head: Head, decision: Decision) -> list[bytes]:
    return [key for key, _ in decision.electors if head.electorate.index(key) is None]


def _admitted(head: Head, decision: Decision) -> tuple[int, ...]:
    recent = [r for r in head.admitted if r > decision.round - WINDOW_ROUNDS]
    strangers = sum(map(head.door.is_stranger, _newcomers(head, decision)))
    return (*recent, *[decision.round] * strangers)


def _probation(head: Head, decision: Decision, id_: Digest) -> Probation:
    if head.admission.mode != "open":
        return head.probation
    chain = id_, head.electorate, head.terms
    return head.probation.after(decision, *chain, _newcomers(head, decision), head.admission.audits)


def _next(head: Head, decision: Decision) -> Electorate:
    named = decision.plan, decision.refused, decision.bans
    return next_electorate(head.electorate, *named, _newcomers(head, decision))


def verify_next(head: Head, certificate: Certificate, verify: Verifier) -> tuple[Head, Decision]:
    """Check that ``certificate`` is the next one after ``head``, and advance.

    Raises:
        BadSignature: not a quorum of this electorate, or not a child of ``head``.
        Malformed: not a decision in form.
    """
    decision = check_certificate(certificate, head.job, head.round + 1, head.electorate, verify)
    check_parent(head, decision)
    return extend(head, decision, decision_id(certificate.decision)), decision


def check_parent(head: Head, decision: Decision) -> None:
    """Raise BadSignature or Malformed unless ``decision`` may follow ``head``."""
    if decision.prev != head.id:
        raise BadSignature("the decision has another parent")
    if head.halted or decision.round > head.lease_until_round:
        raise BadSignature("the job was halted, or its lease has ended")
    if decision.skip and head.state_root not in (None, decision.state_root):
        raise BadSignature("a SKIP may not change the state")
    named = [e for e, _ in (*decision.plan, *decision.refused)]
    if any(e >= head.electorate.n for e in (*named, *decision.unrevealed)):
        raise BadSignature("the decision names an elector that does not exist")
    banned = [key for key in decision.bans if head.electorate.index(key) is not None]
    if not head.probation.accusable.issuperset({*decision.bans} - {*banned}):
        raise BadSignature("the decision bans somebody who is no elector, nor on probation")
    if len(banned) == head.electorate.n:
        raise BadSignature("the decision bans everybody")
    others = [why for _, why in decision.refused if why not in UNLISTED]
    listed = 0 if decision.skip else len(decision.plan) + len(others)
    newcomers = _newcomers(head, decision)
    head.door.check_keys(newcomers, listed)
    if decision.skip and decision.probation != NO_STEP:
        raise BadSignature("a SKIP counts nobody's probation")
    head.door.check_step(decision.probation, {*decision.bans, *newcomers})
    if decision.electors != _next(head, decision).keys:
        raise BadSignature("the next electorate is not the one that follows from the decision")
    head.vetting.check_cleared(decision)
    reached = {reach.author: reach for reach in decision.memory}
    for before in head.memory:
        after = reached.get(before.author, before)  # who is gone has forked
        if after.next < before.next or after.entries < before.entries:
            raise BadSignature("shared memory may not shrink")
    if decision.skip and decision.memory != head.memory:
        raise BadSignature("a SKIP may not change shared memory")
    if any(e >= head.electorate.n for e, _ in decision.credits):
        raise BadSignature("credit for an elector that does not exist")
