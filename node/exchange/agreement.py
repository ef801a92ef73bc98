"""The lock: one consensus instance over one value, with two-phase votes.

Pure. It decides what this elector may sign, and never looks inside the value: the round machine
feeds it proposals that it found true. Safety needs only this file and that every value it returns
is on disk before it is sent (``votes`` of ``restore``). docs/protocol.md, "Agreement".

Source:
    Buchman, Kwon, Milosevic 2018, arXiv:1807.04938 (Tendermint), Algorithm 1; Yin et al. 2019,
    arXiv:1803.05069 (HotStuff), section 4. Differs: votes go to the leader, who sends back one
    certificate, and a new view starts from a quorum of HAVEs that carry the highest lock.
"""

from collections.abc import Iterable
from dataclasses import dataclass, field

from node.identity import Signer, Verifier
from node.ledger.electorate import Electorate
from node.ledger.votes import COMMIT_VOTE, PREPARE, check_prepared, decision_id
from node.types import Digest, JobId
from node.wire.convert import decode_vote, encode_vote
from node.wire.messages import Certificate, PrepareCertificate, Signed, Vote, VoteSignature


@dataclass(frozen=True)
class Verdict:
    """Whether something may happen, and why not."""

    ok: bool
    reason: str = ""


@dataclass
class Agreement:
    """What this elector has signed in one round, and the votes that it collects as a leader.

    ``signer`` is None for a node that may not vote: it follows certificates only.
    """

    job: JobId
    round: int
    electorate: Electorate
    signer: Signer | None
    verify: Verifier
    view: int = 0
    lock: PrepareCertificate | None = None
    """The prepare certificate of the highest view seen; on disk before a vote for it leaves."""
    prepared: dict[int, Signed] = field(default_factory=dict)
    """View -> the one PREPARE signed in it."""
    voted: dict[int, Signed] = field(default_factory=dict)
    """View -> the one COMMITVOTE signed in it."""
    _ballots: dict[tuple[str, int, Digest], dict[int, bytes]] = field(default_factory=dict)

    def restore(self, slots: Iterable[Signed], lock: PrepareCertificate | None, view: int) -> None:
        """Take over what an earlier process of this node signed in this round."""
        self.lock = lock
        self.view = view
        for signed in slots:
            if signed.kind in (PREPARE, COMMIT_VOTE):
                vote = decode_vote(signed.body)
                table = self.prepared if signed.kind == PREPARE else self.voted
                table[vote.view] = signed
                self.view = max(self.view, vote.view)

    def enter(self, view: int) -> bool:
        """Go to a higher view; False if we are there or beyond."""
        if view <= self.view:
            return False
        self.view = view
        return True

    def may_prepare(self, view: int, id_: Digest, prepared: PrepareCertificate | None) -> Verdict:
        """Whether a true proposal of ``id_`` may be prepared in ``view``.

        Args:
            view: view of the proposal.
            id_: the proposed decision.
            prepared: the certificate that a re-proposal carries; its signatures were checked.
        """
        if view != self.view:
            return Verdict(False, f"proposal of view {view}, we are in {self.view}")
        earlier = self.prepared.get(view)
        if earlier is not None and decode_vote(earlier.body).decision_id != id_:
            return Verdict(False, f"already prepared another decision in view {view}")
        if self.lock is None or self.lock.decision_id == id_:
            return Verdict(True)
        if prepared and prepared.decision_id == id_ and prepared.view > self.lock.view:
            return Verdict(True)
        return Verdict(False, f"locked on another decision since view {self.lock.view}")

    def prepare(self, view: int, id_: Digest) -> Signed:
        """The PREPARE for ``id_``: the one on record, or a new one. Persist before sending."""
        return self._sign(PREPARE, self.prepared, Vote(view, id_))

    def learn_lock(self, certificate: PrepareCertificate) -> bool:
        """Take a valid prepare certificate as the lock if it is of a higher view.

        Raises:
            BadSignature: not a quorum.
        """
        if self.lock is not None and certificate.view <= self.lock.view:
            return False
        check_prepared(certificate, self.job, self.round, self.electorate, self.verify)
        self.lock = certificate
        return True

    def commit_vote(self) -> Signed | None:
        """The COMMITVOTE that the lock allows, or None.

        Only in the lock's own view: after a HAVE of a higher view, the new leader may already
        know that we hold no lock. Persist before sending.
        """
        if self.signer is None or self.lock is None or self.lock.view != self.view:
            return None
        return self._sign(COMMIT_VOTE, self.voted, Vote(self.view, self.lock.decision_id))

    def _sign(self, kind: str, table: dict[int, Signed], vote: Vote) -> Signed:
        assert self.signer is not None
        signed = table.get(vote.view)
        if signed is None:
            body = encode_vote(vote)
            signature = self.signer.sign(kind, self.job, self.round, body)
            key = self.signer.public_key
            signed = Signed(kind, self.job, self.round, key, body, signature)
            table[vote.view] = signed
        assert decode_vote(signed.body) == vote
        return signed

    def count_prepare(self, elector: int, signed: Signed) -> PrepareCertificate | None:
        """Add a PREPARE whose signature was checked; the certificate when it completes a quorum."""
        vote = decode_vote(signed.body)
        votes = self._count(PREPARE, vote, elector, signed.signature)
        return PrepareCertificate(vote.view, vote.decision_id, votes) if votes else None

    def count_vote(self, elector: int, signed: Signed, decision: bytes) -> Certificate | None:
        """Add a COMMITVOTE for ``decision``; the certificate when it completes a quorum."""
        vote = decode_vote(signed.body)
        if vote.decision_id != decision_id(decision):
            return None
        votes = self._count(COMMIT_VOTE, vote, elector, signed.signature)
        return Certificate(decision, vote.view, votes) if votes else None

    def _count(
        self, kind: str, vote: Vote, elector: int, signature: bytes
    ) -> tuple[VoteSignature, ...] | None:
        ballots = self._ballots.setdefault((kind, vote.view, vote.decision_id), {})
        before = len(ballots)
        ballots.setdefault(elector, signature)
        if len(ballots) != self.electorate.quorum or before == len(ballots):
            return None
        return tuple(VoteSignature(e, ballots[e]) for e in sorted(ballots))


def highest_lock(locks: Iterable[PrepareCertificate | None]) -> PrepareCertificate | None:
    """The certificate of the highest view, whose value a leader must propose again."""
    known = [lock for lock in locks if lock is not None]
    return max(known, key=lambda lock: lock.view, default=None)
