"""Evidence that a key lied: two messages for one slot, a fork of shared memory, or false work.

Pure. The first two are self-contained: whoever holds a piece checks it alone, years later, without
the job. An honest node writes each signed value to disk under its slot before it sends it, and
never signs a slot twice, so that no crash makes evidence. A judgement on false work also needs the
electors of its round (``judging``). Implements docs/protocol.md, "Evidence".

Source:
    Buchman, Kwon, Milosevic 2018, arXiv:1807.04938 (Tendermint): duplicate votes as evidence.
    Differs: every slot of a round counts, not votes alone.
"""

from collections.abc import Callable

from node.errors import BadSignature, Equivocation, FalseWork, Malformed, PeerError
from node.identity import Verifier, peer_id_of, public_key_of
from node.ledger.electorate import Electorate
from node.ledger.forks import check_fork
from node.ledger.judging import check_judgement
from node.types import JobId, PeerId
from node.wire.audit import decode_finding
from node.wire.convert import (
    decode_beacon,
    decode_commitment,
    decode_have,
    decode_list,
    decode_plan,
    decode_proposal,
    decode_results,
    decode_reveal,
    decode_screens,
    decode_seal,
    decode_sketches,
    decode_vote,
    encode_evidence,
)
from node.wire.limits import EVIDENCE_BYTES_MAX
from node.wire.memory_messages import ForkEvidence
from node.wire.messages import Contradiction, Evidence, Judgement, Signed

Electors = Callable[[JobId, int], Electorate | None]
"""(job, round) -> its electors, as far as they are known."""
Slot = tuple[str | int | bytes, ...]
"""Where a round has room for one value of each signer: the kind, and what tells places apart."""


def slot_of(signed: Signed) -> Slot:
    """The slot that a signed message (peer input) fills.

    Raises:
        Malformed, TooLarge: the body is not one of its kind.
    """
    kind, body = signed.kind, signed.body
    if kind == "commit":
        decode_commitment(body)
        return (kind,)
    if kind == "have":
        return kind, decode_have(body).view
    if kind == "list":
        value = decode_list(body, signed.job, signed.round)
        return kind, value.view, int(value.wide)
    if kind == "plan":
        return kind, decode_plan(body, signed.job, signed.round).list_id
    if kind == "screen":
        return kind, decode_screens(body).list_id
    if kind == "result":
        return kind, decode_results(body).plan_id
    if kind == "propose":
        return kind, decode_proposal(body, signed.job, signed.round).view
    if kind == "seal":
        return kind, decode_seal(body, signed.job, signed.round).plan_id
    if kind == "reveal":
        return kind, decode_reveal(body).view
    if kind == "beacon":
        return kind, decode_beacon(body, signed.job, signed.round).seal_id
    if kind == "sketch":
        return kind, decode_sketches(body).beacon_id
    if kind in ("prepare", "vote"):
        return kind, decode_vote(body).view
    if kind == "finding":
        return kind, decode_finding(body).about
    raise Malformed(f"nothing is signed as {kind!r} in a round")


def contradiction(a: Signed, b: Signed) -> Contradiction | None:
    """The evidence in two messages of one slot; None: too large to be passed on."""
    first, second = sorted((a, b), key=lambda signed: signed.body)
    found = Contradiction(first, second)
    return found if len(encode_evidence(found)) <= EVIDENCE_BYTES_MAX else None


def accused(evidence: Evidence) -> bytes:
    """Whose key it speaks of, before anything is checked: 32 bytes."""
    if isinstance(evidence, ForkEvidence):
        return public_key_of(evidence.author)
    return evidence.first.signer


def nobody(job: JobId, round_: int) -> Electorate | None:
    """For who knows no chain: a judgement proves nothing to it."""
    return None


def accused_peer(evidence: Evidence) -> PeerId:
    """The same, as a peer id."""
    return peer_id_of(accused(evidence))


def offender(evidence: Evidence, verify: Verifier, electors: Electors = nobody) -> bytes:
    """The public key that a piece of evidence (peer input) convicts; 32 bytes.

    Args:
        evidence: decoded.
        verify: checks signatures.
        electors: who voted when; asked where the evidence is a judgement.

    Raises:
        Malformed, TooLarge: the two do not contradict each other, or are not in order.
        BadSignature: the key did not sign both, or too few electors signed findings.
    """
    if isinstance(evidence, Judgement):
        on = evidence.first
        electorate = electors(on.job, on.round)
        if electorate is None:
            raise Malformed(f"the electors of round {on.round} of its job are not known here")
        check_judgement(evidence, electorate, verify)
        return on.signer
    if isinstance(evidence, ForkEvidence):
        check_fork(evidence, evidence.one.header.job, verify)
        return accused(evidence)
    first, second = evidence.first, evidence.second
    if _place(first) != _place(second):
        raise Malformed("evidence of two signers, kinds, jobs or rounds")
    if first.body >= second.body:
        raise Malformed("evidence of one message twice, or the larger body first")
    if slot_of(first) != slot_of(second):
        raise Malformed("evidence of two slots, each of which may be filled")
    for signed in (first, second):
        if not signed.holds(verify):
            raise BadSignature(f"evidence with a bad signature on a {signed.kind}")
    return first.signer


def _place(signed: Signed) -> tuple[bytes, str, bytes, int]:
    return signed.signer, signed.kind, signed.job, signed.round


def describe(evidence: Evidence) -> str:
    """What it shows, in words: for people."""
    if isinstance(evidence, ForkEvidence):
        header = evidence.one.header
        return f"forked its chain of batches of job {header.job.hex()[:12]} at {header.seq}"
    signed = evidence.first
    where = f"round {signed.round} of job {signed.job.hex()[:12]}"
    if isinstance(evidence, Judgement):
        named = {"commit": "work", "sketch": "sketch of its contribution"}
        work = named.get(signed.kind, f"answer as a reducer ({signed.kind})")
        return f"its {work} of {where} is false, as {len(evidence.findings)} auditors found"
    return f"signed two messages for one slot ({signed.kind}) in {where}"


def breach_of(evidence: Evidence) -> PeerError:
    """The error that its author is blamed for, which also names the refusal in a decision."""
    kind = FalseWork if isinstance(evidence, Judgement) else Equivocation
    return kind(describe(evidence))
