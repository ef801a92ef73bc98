"""Who is audited by whom, what a local memory must follow from, and when findings convict.

Pure. The draw follows from a certified decision, which nobody knows while it commits. One auditor
looks at each drawn contribution; only if it objects do all others of the author's compute class
look too, so that audits of the honest cost one replay. docs/protocol.md, "Audits".

Source: Gorbunov et al. 2022, arXiv:2106.11257, Algorithm 2 (validators drawn at random recompute).
Differs: drawn from the decision, one round behind it, and two stages.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from node.ledger.electorate import Electorate
from node.ledger.judging import convicting, counts_against, counts_for
from node.ledger.vetting import CLEARED_ROUNDS, Draw, auditor_order
from node.types import Digest
from node.wire.audit import Finding, Verdict, decode_finding
from node.wire.limits import CLEARED_MAX
from node.wire.messages import Commitment, Decision, Judgement, Signed

CASES_KEPT_ROUNDS = CLEARED_ROUNDS
"""Rounds after its own in which a contribution can be audited."""
OBJECTIONS = (Verdict.MISMATCH, Verdict.BREACH, Verdict.NO_OPENING)
"""Verdicts of the first auditor after which the others look too."""


@dataclass(frozen=True)
class Contribution:
    """One contribution of a certified plan."""

    signed: Signed
    """Its commitment, as its author signed it."""
    commitment: Commitment

    @property
    def round(self) -> int:
        """Round of the plan."""
        return self.signed.round

    @property
    def author(self) -> bytes:
        """Public key."""
        return self.signed.signer

    @property
    def commitment_id(self) -> Digest:
        """Names it in plan and findings."""
        return self.signed.id


def contributions(
    decision: Decision,
    electorate: Electorate,
    opened: Mapping[Digest, Commitment],
    signed: Mapping[Digest, Signed],
) -> tuple[Contribution, ...]:
    """Those of a plan whose commitments are known.

    A plan that gives a commitment to another elector than its author makes nobody's work false.

    Args:
        decision: a certified one.
        electorate: that of its round.
        opened: commitment id -> commitment.
        signed: commitment id -> the message.
    """
    return tuple(
        Contribution(signed[id_], opened[id_])
        for elector, id_ in decision.plan
        if id_ in opened and id_ in signed
        if signed[id_].signer == electorate.keys[elector][0]
    )


def first_auditor(
    decision_id: Digest, audited: Contribution, plan: Sequence[Contribution]
) -> bytes | None:
    """Public key of who audits first: another contributor, of the same compute class if there is.

    A contributor has proven that it can train in time. None: there is no other.
    """
    others = [c for c in plan if c.author != audited.author]
    alike = [c for c in others if c.commitment.compute_class == audited.commitment.compute_class]
    keys = (c.author for c in alike or others)
    place = decision_id, audited.commitment_id
    return min(keys, key=lambda key: auditor_order(*place, key), default=None)


# What a local memory follows from ----------------------------------------------------------------


@dataclass
class History:
    """The local memory that each contributor must start from.

    It is that after its last contribution that was used, or a new one. Nothing follows from a
    contribution of a round after a SKIP, which nobody can audit: whoever made it starts anew.
    """

    is_whole: bool = True
    """Whether every certified round since the first was seen here."""
    _after: dict[bytes, bytes | None] = field(default_factory=dict)
    """Public key -> hash after its last used contribution; empty: starts anew; None: not known."""

    def note(
        self,
        decision: Decision,
        electorate: Electorate,
        opened: Mapping[Digest, Commitment],
        after_skip: bool,
    ) -> None:
        """A round was certified; ``after_skip``: the one before it was a SKIP."""
        for elector, id_ in decision.plan:
            commitment = opened.get(id_)
            known = None if commitment is None else commitment.local_after
            self._after[electorate.keys[elector][0]] = b"" if after_skip else known

    def missed(self) -> None:
        """Certified rounds were not seen here."""
        self.is_whole = False
        self._after.clear()

    def follows(self, author: bytes, before: bytes, new: bytes) -> bool | None:
        """Whether ``author`` may have started from ``before``; None: that is not known here.

        Args:
            author: public key.
            before: hash of the local memory that it claims.
            new: hash of a new one.
        """
        if before == new:
            return True
        if author not in self._after:
            return False if self.is_whole else None
        expected = self._after[author]
        return None if expected is None else before == expected


def breach(commitment: Commitment, steps: int, follows: bool | None) -> str:
    """The first thing wrong with a commitment, as far as no replay is needed; empty: nothing.

    Args:
        commitment: of a round that did not follow a SKIP.
        steps: nominal local steps of a round.
        follows: see ``History.follows``.
    """
    if not -(-steps // 4) <= commitment.steps <= steps:
        return f"{commitment.steps} local steps, where a round has {-(-steps // 4)} to {steps}"
    if not commitment.local_before or not commitment.local_after:
        return "it does not bind its author to any local memory"
    if follows is False:
        return "it starts from a local memory that follows from no contribution"
    return ""


# Findings ----------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Case:
    """A contribution that was drawn, and what its findings are counted by."""

    contribution: Contribution
    decision_id: Digest
    electorate: Electorate
    first: bytes
    """Public key of the first auditor."""


@dataclass
class Tally:
    """Counts findings. Equal findings give equal convictions on every node."""

    _cases: dict[Digest, Case] = field(default_factory=dict)
    _findings: dict[Digest, dict[bytes, Signed]] = field(default_factory=dict)
    """Commitment -> auditor -> its first finding."""
    _convicted: dict[bytes, Judgement] = field(default_factory=dict)

    def open(self, case: Case) -> None:
        """A contribution was drawn; cases that are too old go."""
        self._cases[case.contribution.commitment_id] = case
        oldest = case.contribution.round - CASES_KEPT_ROUNDS
        for id_ in [i for i, c in self._cases.items() if c.contribution.round < oldest]:
            del self._cases[id_]
            self._findings.pop(id_, None)

    def case(self, commitment: Digest) -> Case | None:
        """A case that is open."""
        return self._cases.get(commitment)

    def expects(self, signed: Signed) -> Case | None:
        """The case in which a finding would be its signer's first; None: it counts nowhere.

        Raises:
            Malformed: not a finding in form.
        """
        id_ = decode_finding(signed.body).about
        case = self._cases.get(id_)
        if case is None or signed.round != case.contribution.round:
            return None
        if case.electorate.index(signed.signer) is None:
            return None
        told = signed.signer in self._findings.get(id_, ())
        return None if told or signed.signer == case.contribution.author else case

    def finding(self, commitment: Digest, auditor: bytes) -> Signed | None:
        """An auditor's first finding on a commitment."""
        return self._findings.get(commitment, {}).get(auditor)

    def other(self, signed: Signed) -> Signed | None:
        """The earlier finding of the same auditor that this one (in form) contradicts."""
        id_ = decode_finding(signed.body).about
        first = self._findings.get(id_, {}).get(signed.signer)
        return first if first is not None and first.body != signed.body else None

    def add(self, signed: Signed) -> Case | None:
        """Count a finding whose signature was checked; its case, see ``expects``."""
        case = self.expects(signed)
        if case is None:
            return None
        on = case.contribution
        self._findings.setdefault(on.commitment_id, {})[signed.signer] = signed
        against = self._of(case, counts_against)
        if on.author not in self._convicted and len(against) >= convicting(case.electorate):
            self._convicted[on.author] = Judgement(on.signed, against)
        return case

    def _of(self, case: Case, counts: Callable[[Commitment, Finding], bool]) -> tuple[Signed, ...]:
        """The findings of a case that count for or against it, by rising signer."""
        on = case.contribution
        found = sorted(self._findings.get(on.commitment_id, {}).items())
        return tuple(s for _, s in found if counts(on.commitment, decode_finding(s.body)))

    def cleared_by(self, auditor: bytes, draws: Iterable[Draw]) -> tuple[Digest, ...]:
        """Which of some draws are an auditor's own to clear and were found true by it, rising."""
        own = (d.commitment for d in draws if d.auditor == auditor)
        told = ((id_, self._findings.get(id_, {}).get(auditor)) for id_ in own)
        true = [i for i, s in told if s and decode_finding(s.body).verdict is Verdict.OK]
        return tuple(sorted(true)[:CLEARED_MAX])

    def refuted(self, case: Case) -> frozenset[bytes]:
        """Public keys of auditors that objected to what enough others found to be true.

        Steps are taken again bit for bit, so that one of the two sides is wrong, and more than f
        electors are not all wrong. The same number convicts.
        """
        if len(self._of(case, counts_for)) < convicting(case.electorate):
            return frozenset()
        return frozenset(s.signer for s in self._of(case, counts_against))

    def convicted(self) -> dict[bytes, int]:
        """Public key -> round of the first false contribution that enough auditors found."""
        return {key: judged.first.round for key, judged in self._convicted.items()}

    def judgements(self) -> tuple[Judgement, ...]:
        """The same, with the findings that prove it."""
        return tuple(self._convicted.values())
