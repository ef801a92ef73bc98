"""Judgements: a signed message, and the findings of enough electors of its round that it is false.

Pure. It is a commitment, whose steps they took again, or a screen, result or sketch, which they
computed again from the committed rows. Unlike other evidence a judgement does not stand
alone: who may find, and how many must, says the electorate of the message's round, which the job's
chain names. docs/protocol.md, "Judgements".
"""

from collections.abc import Callable
from functools import partial
from itertools import pairwise

from node.errors import BadSignature, Malformed
from node.identity import Verifier
from node.ledger.electorate import Electorate
from node.wire.audit import KIND, Finding, Verdict, decode_finding
from node.wire.convert import decode_commitment, decode_results, decode_screens, decode_sketches
from node.wire.messages import Commitment, Judgement, Signed

ANSWERS = frozenset({"screen", "result", "sketch"})
"""Kinds of what electors answer in a reduction."""


def convicting(electorate: Electorate) -> int:
    """Auditors of one electorate that must agree: one of them is honest, and never one alone."""
    return max(2, electorate.f + 1)


def counts_against(commitment: Commitment, finding: Finding) -> bool:
    """Whether a finding speaks against a commitment: a mismatch does in its class only."""
    return finding.verdict is Verdict.BREACH or (
        finding.verdict is Verdict.MISMATCH and _is_of_class(commitment, finding)
    )


def counts_for(commitment: Commitment, finding: Finding) -> bool:
    """Whether a finding speaks for a commitment: an auditor of its class took its steps again."""
    return finding.verdict is Verdict.OK and _is_of_class(commitment, finding)


def _is_of_class(commitment: Commitment, finding: Finding) -> bool:
    return bool(commitment.compute_class) and finding.compute_class == commitment.compute_class


def check_judgement(judgement: Judgement, electorate: Electorate, verify: Verifier) -> None:
    """Check everything that a judgement (peer input) claims.

    Args:
        judgement: decoded, so that all its messages are of one job and round.
        electorate: that of its round.
        verify: checks signatures.

    Raises:
        Malformed: not a commitment or answer with findings against it, in rising order of signers.
        BadSignature: somebody is no elector or did not sign, or too few did.
    """
    signed = judgement.first
    speaks_against = _opened(signed)
    if any(a.signer >= b.signer for a, b in pairwise(judgement.findings)):
        raise Malformed("findings must rise strictly by signer")
    for each in judgement.findings:
        if each.kind != KIND or each.signer == signed.signer:
            raise Malformed("not a finding, or the author's own")
        if (each.job, each.round) != (signed.job, signed.round):
            raise Malformed("a finding of another job or round")
        finding = decode_finding(each.body)
        if finding.about != signed.id or not speaks_against(finding):
            raise Malformed(f"a finding that does not speak against the {signed.kind}")
    if len(judgement.findings) < convicting(electorate):
        text = f"{len(judgement.findings)} findings, {convicting(electorate)} needed"
        raise BadSignature(f"{text} of {electorate.n} electors")
    for message in (signed, *judgement.findings):
        # The author of a commitment may be a stranger on probation.
        if message.kind != "commit" and electorate.index(message.signer) is None:
            raise BadSignature(f"a {message.kind} of who is no elector of round {signed.round}")
        if not message.holds(verify):
            raise BadSignature(f"evidence with a bad signature on a {message.kind}")


def _opened(first: Signed) -> Callable[[Finding], bool]:
    """What speaks against a message that a judgement is on.

    Raises:
        Malformed, TooLarge: not a commitment or a reducer's answer in form.
    """
    if first.kind == "commit":
        return partial(counts_against, decode_commitment(first.body))
    if first.kind not in ANSWERS:
        raise Malformed(f"a judgement on a {first.kind}")
    decode = {"screen": decode_screens, "result": decode_results, "sketch": decode_sketches}
    decode[first.kind](first.body)
    return lambda finding: finding.verdict is Verdict.FALSE_ANSWER
