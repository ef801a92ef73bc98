"""Votes and the quorums of them that lock and certify.

Pure. A vote signs (kind, job, round, view, decision id); a quorum is valid if it has at least
``Electorate.quorum`` signatures of distinct electors. docs/protocol.md, "Votes".
"""

from collections.abc import Sequence

from node.errors import BadSignature
from node.identity import Verifier
from node.ledger.electorate import Electorate
from node.merkle import digest
from node.types import Digest, JobId
from node.wire.convert import encode_vote
from node.wire.convert_ledger import decode_decision
from node.wire.messages import Certificate, Decision, PrepareCertificate, Vote, VoteSignature

PREPARE = "prepare"
COMMIT_VOTE = "vote"


def decision_id(data: bytes) -> Digest:
    """H(D): names a decision by its bytes, never by who signed it."""
    return digest("decision", data)


def _check_quorum(
    kind: str,
    job: JobId,
    round_: int,
    vote: Vote,
    votes: Sequence[VoteSignature],
    electorate: Electorate,
    verify: Verifier,
) -> None:
    voters = len({v.elector for v in votes})
    if voters < electorate.quorum or voters != len(votes):
        raise BadSignature(f"votes of {voters} electors, {electorate.quorum} needed, each once")
    body = encode_vote(vote)
    for v in votes:
        if v.elector >= electorate.n:
            raise BadSignature(f"no elector {v.elector}")
        if not verify(electorate.keys[v.elector][0], kind, job, round_, body, v.signature):
            raise BadSignature(f"elector {v.elector} did not sign this {kind}")


def check_prepared(
    value: PrepareCertificate,
    job: JobId,
    round_: int,
    electorate: Electorate,
    verify: Verifier,
) -> None:
    """Raise BadSignature unless a quorum signed these PREPAREs."""
    vote = Vote(value.view, value.decision_id)
    _check_quorum(PREPARE, job, round_, vote, value.votes, electorate, verify)


def check_certificate(
    value: Certificate, job: JobId, round_: int, electorate: Electorate, verify: Verifier
) -> Decision:
    """The decision that a quorum certified for (job, round).

    Raises:
        BadSignature: too few votes, or one that does not verify.
        Malformed: the decision's bytes are not one, or of another job or round.
    """
    vote = Vote(value.view, decision_id(value.decision))
    _check_quorum(COMMIT_VOTE, job, round_, vote, value.votes, electorate, verify)
    decision = decode_decision(value.decision)
    if decision.job != job or decision.round != round_:
        raise BadSignature("the certificate is of another job or round")
    return decision
