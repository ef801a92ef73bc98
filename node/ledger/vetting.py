"""How many liars a rule has to bear, as far as the audits on a job's chain allow to say.

Pure: the same on everybody who verifies the chain. A decision draws contributions, and names those
of earlier ones that their auditor cleared. What was drawn and not cleared in time counts as a lie,
whatever the reason, so that who opens nothing or claims a class of its own gains nothing by it. Who
lies in every round is drawn, and not cleared, with a certain chance at least; from how many were
cleared in a row follows how many such liars there can be. One that was not begins the count anew:
who waits until a rule bears few is met by all that it can bear as soon as one lie is overdue.
docs/protocol.md, "Liars that a rule bears".

Source:
    Clopper & Pearson 1934, "The use of confidence or fiducial limits": the exact upper limit of a
    share of which no case was seen.
"""

from collections.abc import Collection, Mapping
from dataclasses import dataclass, replace
from functools import lru_cache

from node.errors import BadSignature
from node.ledger.electorate import Electorate
from node.merkle import digest
from node.types import Digest
from node.wire.limits import DECISION_CLEARED_MAX
from node.wire.messages import Decision

CLEARED_ROUNDS = 8
"""Rounds after its own in which a contribution that was drawn can be cleared."""
CLEAN_MAX = 512
"""Clean contributions in a row that count: enough for f = 1 of 64 electors."""
DOUBT = 20
"""One in so many: the chance that there are more liars than the estimate says."""
CAUGHT = (4, 9)
"""Least share of its drawn contributions that a liar cannot get cleared, while at most a third of
the electors lie: its auditor is honest, and so is the leader who chose among lists."""


def is_drawn(decision_id: Digest, commitment_id: Digest, rate: float) -> bool:
    """Whether a contribution is audited; true with probability ``rate``."""
    drawn = digest("audit draw", decision_id + commitment_id)
    return int.from_bytes(drawn[:8], "big") < rate * 2.0**64


def auditor_order(decision_id: Digest, commitment_id: Digest, key: bytes) -> bytes:
    """The contributor with the least of these audits first."""
    return digest("audit auditor", decision_id + commitment_id + key)


@dataclass(frozen=True)
class Draw:
    """A contribution that was drawn, and who may clear it."""

    round: int
    commitment: Digest
    auditor: bytes
    """Public key."""
    is_cleared: bool = False


@dataclass(frozen=True)
class Vetting:
    """What the chain shows of its audits. Starts anew where somebody is banned or enters."""

    rate: float = 0.0
    """Of audits; 0: not asked for, a rule bears as many liars as the electorate."""
    pending: tuple[Draw, ...] = ()
    """Drawn of late, in order. They count when their time is over, cleared or not: or else those
    that are cleared, sooner, would count for more."""
    clean: int = 0
    """Cleared ones in a row until now, of those whose time is over; at most CLEAN_MAX."""
    after_skip: bool = False

    def after(self, electorate: Electorate, decision: Decision, id_: Digest) -> "Vetting":
        """The same after a decision that was checked.

        Args:
            electorate: that of its round.
            decision: the decision.
            id_: its id.
        """
        if not self.rate:
            return self
        enters = any(electorate.index(key) is None for key, _ in decision.electors)
        if decision.bans or enters:
            return Vetting(self.rate, after_skip=decision.skip)
        pending = [
            replace(draw, is_cleared=draw.is_cleared or draw.commitment in decision.cleared)
            for draw in self.pending
        ]
        late = decision.round - CLEARED_ROUNDS
        clean = self.clean
        for draw in pending:
            if draw.round <= late:
                clean = min(clean + 1, CLEAN_MAX) if draw.is_cleared else 0
        left = [draw for draw in pending if draw.round > late]
        return replace(
            self,
            pending=(*left, *self._drawn(electorate, decision, id_)),
            clean=clean,
            after_skip=decision.skip,
        )

    def _drawn(self, electorate: Electorate, decision: Decision, id_: Digest) -> list[Draw]:
        # Of fewer contributors than 2f + 1 too many could be liars, who would clear each other.
        if decision.skip or self.after_skip or len(decision.plan) < max(2, 2 * electorate.f + 1):
            return []
        draws = []
        for elector, commitment in decision.plan:
            if is_drawn(id_, commitment, self.rate):
                others = (electorate.keys[e][0] for e, _ in decision.plan if e != elector)
                first = min((auditor_order(id_, commitment, key), key) for key in others)[1]
                draws.append(Draw(decision.round, commitment, first))
        return draws

    @property
    def open(self) -> tuple[Draw, ...]:
        """What can still be cleared."""
        return tuple(draw for draw in self.pending if not draw.is_cleared)

    def liars(self, electorate: Electorate) -> int:
        """Liars that rules are to bear: from 1 (0, if so many are borne) to the electorate's f."""
        if not self.rate:
            return electorate.f
        return liars_at_most(electorate.n, electorate.f, self.clean)

    def cleared_by(self, said: Mapping[bytes, Collection[Digest]]) -> tuple[Digest, ...]:
        """What a decision clears, at most DECISION_CLEARED_MAX, rising: no leader has a choice.

        Args:
            said: public key -> what its commitment in the plan (peer input) claims to clear.
        """
        true = (d.commitment for d in self.open if d.commitment in said.get(d.auditor, ()))
        return tuple(sorted(true)[:DECISION_CLEARED_MAX])

    def check_cleared(self, decision: Decision) -> None:
        """Raise BadSignature if a decision clears what is not there to be cleared."""
        known = {draw.commitment for draw in self.open}
        if decision.cleared and (decision.skip or not known.issuperset(decision.cleared)):
            raise BadSignature("the decision clears what was not drawn of late")


@lru_cache(maxsize=1024)
def liars_at_most(n: int, borne: int, clean: int) -> int:
    """Liars in every round that can be among ``n`` electors, with confidence 1 - 1 / DOUBT.

    The least k from 1 with which ``clean`` contributions in a row are cleared in less than one case
    in DOUBT; ``borne`` if there is none below. Exact integers: no CPU computes another one.
    """
    part, whole = CAUGHT
    for k in range(1, borne):
        if (whole * n - part * k) ** clean * DOUBT <= (whole * n) ** clean:
            return k
    return borne
