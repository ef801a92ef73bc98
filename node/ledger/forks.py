"""Proofs that an author forked its chain: two signed headers that no honest author signs both.

Self-contained: whoever knows the job checks them alone. Implements docs/protocol.md, "Forks".
"""

from node.errors import BadSignature, Malformed
from node.identity import Verifier, public_key_of
from node.types import JobId
from node.wire.memory_messages import ForkEvidence, SignedHeader

BATCH = "batch"
"""Kind of the signature on a header; its round is the batch's seq."""


def contradict(a: SignedHeader, b: SignedHeader) -> bool:
    """Whether no single chain of their author holds both headers.

    Two batches with one seq; a batch that does not follow the one before it; or entries that are
    counted down, since each batch between has at least one.
    """
    if a.header.seq > b.header.seq:
        a, b = b, a
    first, later = a.header, b.header
    if first.author != later.author:
        return False
    between = later.seq - first.seq - 1
    if between < 0:
        return a.id != b.id
    if between == 0:
        return (
            later.prev != a.id
            or later.first_entry != first.end_entry
            or later.prev_first_entry != first.first_entry
        )
    return later.prev_first_entry < first.end_entry + between - 1


def check_signature(signed: SignedHeader, job: JobId, verify: Verifier) -> None:
    """Whether a header is its author's, in this job.

    Raises:
        BadSignature: it is not, or it is of another job.
    """
    h = signed.header
    if h.job != job:
        raise BadSignature("a batch of another job")
    if not verify(public_key_of(h.author), BATCH, job, h.seq, signed.raw, signed.signature):
        raise BadSignature(f"the signature of batch {h.seq} of {h.author} does not verify")


def check_fork(evidence: ForkEvidence, job: JobId, verify: Verifier) -> None:
    """Whether the evidence (peer input) proves a fork.

    Raises:
        BadSignature: a header is not its author's, or of another job.
        Malformed: the two do not contradict each other.
    """
    if not contradict(evidence.one, evidence.other):
        raise Malformed("evidence that proves no fork")
    check_signature(evidence.one, job, verify)
    check_signature(evidence.other, job, verify)
