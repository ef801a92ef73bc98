"""Probation: strangers contribute with weight 0 until enough audits found their steps true.

Pure, and a function of the chain alone. A decision gives places, counts contributions and names
audits that passed; from that everybody derives the same roll, and the same draws of audits.
docs/protocol.md, "Probation".

Source: Gorbunov et al. 2022, arXiv:2106.11257 (BTARD), its heuristic against Sybil attacks: who is
    new computes verified gradients for some time, which are not averaged, before it takes part.
    Differs: places are few, and audits that passed are on the chain.
"""

from collections import Counter
from collections.abc import Collection
from dataclasses import dataclass, replace
from functools import partial
from itertools import pairwise

from node.errors import BadSignature
from node.ledger.electorate import Electorate
from node.ledger.succession import ABSENT_ROUNDS, Terms, electorate_of
from node.ledger.vetting import auditor_order, is_drawn
from node.types import Digest
from node.wire.limits import PROBATION_PLACES_MAX
from node.wire.messages import Decision
from node.wire.probation_messages import ProbationStep

AUDIT_RATE = 0.25
"""Chance that a contribution on probation is audited: n / 4 places add 1/16 of a round's steps."""
PAST_ROUNDS = 3
"""Rounds after its own in whose lists a contribution still counts: who follows trains later."""
AUDIT_ROUNDS = 8
"""Rounds after the drawing decision in which an audit can pass."""
FAILED_LEAD = 2
"""Who has so many more failed audits than passed ones gives up its place."""
STAY_TIMES = 16
"""Who has not been seated after so many times the audits that it needs gives up its place."""


def places_of(n: int) -> int:
    """Places for strangers beside ``n`` electors: a quarter as many, 1 to 8."""
    return min(PROBATION_PLACES_MAX, max(1, n // 4))


@dataclass(frozen=True)
class Member:
    """Who has a place."""

    key: bytes
    since: int
    """Round whose decision gave the place."""
    seen: int
    """Round whose decision last counted a contribution of it; ``since`` before the first."""
    last: int = 0
    """Round that this contribution was of."""
    passed: int = 0
    """Audits that found its steps true."""
    failed: int = 0
    """Audits that ended without that."""


@dataclass(frozen=True)
class OpenAudit:
    """A contribution that was drawn, and may pass."""

    key: bytes
    round: int
    """Of the contribution."""
    commitment: Digest
    drawn: int
    """Round of the decision that drew it."""
    auditor: bytes
    """Public key of the elector whose finding counts."""


@dataclass(frozen=True)
class Start:
    """Where a round began: what steps of that round start from."""

    round: int
    prev: Digest
    """Id of the decision before it."""
    state_root: Digest


@dataclass(frozen=True)
class Probation:
    """Where all strangers of a job stand after a round."""

    members: tuple[Member, ...] = ()
    """By rising key."""
    audits: tuple[OpenAudit, ...] = ()
    starts: tuple[Start, ...] = ()
    """Of the next round and the few before it, oldest first."""

    def member(self, key: bytes) -> Member | None:
        """The place of a key."""
        return next((m for m in self.members if m.key == key), None)

    def audit(self, commitment: Digest) -> OpenAudit | None:
        """The audit of a contribution that was drawn."""
        return next((a for a in self.audits if a.commitment == commitment), None)

    def start(self, round_: int) -> Start | None:
        """Where a round began, if contributions to it may still count."""
        return next((s for s in self.starts if s.round == round_), None)

    @property
    def accusable(self) -> frozenset[bytes]:
        """Public keys that a decision may ban though they have no seat."""
        return frozenset((*(m.key for m in self.members), *(a.key for a in self.audits)))

    def _ended(self, round_: int) -> list[OpenAudit]:
        """Audits that can pass by the decision of a round for the last time."""
        return [a for a in self.audits if round_ - a.drawn >= AUDIT_ROUNDS]

    def left(
        self, step: ProbationStep, round_: int, out: Collection[bytes], audits_needed: int
    ) -> tuple[Member, ...]:
        """Who keeps its place after a decision, those who enter by it aside.

        Args:
            step: what it says.
            round_: its round.
            out: public keys that it bans or seats.
            audits_needed: audits that must pass before a seat.
        """
        counted = {each.key: each for each in step.counted}
        passed = Counter(a.key for a in self.audits if a.commitment in step.passed)
        failed = Counter(a.key for a in self._ended(round_) if a.commitment not in step.passed)
        kept: list[Member] = []
        for member in self.members:
            each = counted.get(member.key)
            now = replace(
                member,
                passed=member.passed + passed[member.key],
                failed=member.failed + failed[member.key],
            )
            if each is not None:
                now = replace(now, seen=round_, last=each.round)
            absent = round_ - now.seen >= ABSENT_ROUNDS
            long_here = round_ - now.since >= STAY_TIMES * audits_needed
            doubtful = now.failed >= now.passed + FAILED_LEAD
            if member.key not in out and not (absent or long_here or doubtful):
                kept.append(now)
        return tuple(kept)

    def check(self, step: ProbationStep, round_: int) -> None:
        """Check what a decision (or a list) says of members.

        Raises:
            BadSignature: it counts what it may not, or passes what was not drawn.
        """
        for items in (step.entered, [each.key for each in step.counted], step.passed):
            if any(a >= b for a, b in pairwise(items)):
                raise BadSignature("somebody enters, counts or passes twice in one round")
        for each in step.counted:
            member = self.member(each.key)
            if member is None or each.round <= member.last or self.start(each.round) is None:
                raise BadSignature(
                    f"a contribution to round {each.round} that may not count in round {round_}"
                )
        if any(self.audit(commitment) is None for commitment in step.passed):
            raise BadSignature("an audit is to pass that was not drawn, or has ended")

    def after(
        self,
        decision: Decision,
        id_: Digest,
        electorate: Electorate,
        terms: Terms,
        seated: Collection[bytes],
        audits_needed: int,
    ) -> "Probation":
        """After a decision that was checked.

        Args:
            decision: of a round.
            id_: its id.
            electorate: of its round.
            terms: the electorates up to it.
            seated: public keys that it seats.
            audits_needed: audits that must pass before a seat.
        """
        step, round_ = decision.probation, decision.round
        members = tuple(m for m in self.members if m.key not in decision.bans)
        if not decision.skip:
            out = {*decision.bans, *seated}
            members = self.left(step, round_, out, audits_needed)
        members += tuple(Member(key, round_, round_) for key in step.entered)
        over = {a.commitment for a in self._ended(round_)}.union(step.passed)
        audits = tuple(
            a for a in self.audits if a.commitment not in over and a.key not in decision.bans
        )
        start = Start(round_ + 1, id_, decision.state_root)
        return Probation(
            tuple(sorted(members, key=lambda m: m.key)),
            (*audits, *drawn(decision, id_, electorate, terms)),
            (*self.starts, start)[-PAST_ROUNDS - 1 :],
        )


def drawn(
    decision: Decision, id_: Digest, electorate: Electorate, terms: Terms
) -> tuple[OpenAudit, ...]:
    """The contributions on probation that a decision draws for an audit, and by whom.

    The auditor contributed to the decision's round, and was an elector of the contribution's: a
    finding that convicts is judged by the electors of that round.
    """
    plan = [electorate.keys[elector][0] for elector, _ in decision.plan]
    found: list[OpenAudit] = []
    for each in decision.probation.counted:
        electors = electorate_of(terms, each.round)
        able = [key for key in plan if electors is not None and electors.index(key) is not None]
        if not able or not is_drawn(id_, each.commitment, AUDIT_RATE):
            continue
        auditor = min(able, key=partial(auditor_order, id_, each.commitment))
        found.append(OpenAudit(each.key, each.round, each.commitment, decision.round, auditor))
    return tuple(found)
