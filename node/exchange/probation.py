"""What a list lets in, counts of strangers, and takes out besides electors.

Pure. docs/protocol.md, "Admission" and "Probation".
"""

from collections.abc import Iterable, Sequence
from itertools import pairwise

from node.errors import BadSignature, Malformed, PeerError
from node.exchange.core import RoundCore
from node.ledger.admission import Door
from node.ledger.evidence import accused
from node.wire.audit import Verdict, decode_finding
from node.wire.convert import decode_commitment, encode_evidence
from node.wire.messages import Evidence, ListMessage, Signed
from node.wire.probation_messages import NO_STEP, Counted, ProbationStep


def admitted_of(door: Door | None, applications: Sequence[Signed]) -> tuple[bytes, ...]:
    """Public keys that a list's applications seat."""
    return tuple(a.signer for a in applications if door is not None and door.seats(a.signer))


def step_of(
    door: Door | None, applications: Sequence[Signed], probation: Sequence[Signed]
) -> ProbationStep:
    """What a list changes of probation."""
    if door is None:
        return NO_STEP
    commits = [s for s in probation if s.kind == "commit"]
    findings = [s for s in probation if s.kind != "commit"]
    return ProbationStep(
        tuple(a.signer for a in applications if not door.seats(a.signer)),
        tuple(Counted(s.signer, s.round, s.id) for s in commits),
        tuple(sorted(decode_finding(s.body).about for s in findings)),
    )


def size_of(evidence: Iterable[Evidence]) -> int:
    """Bytes of some evidence in a list."""
    return sum(len(encode_evidence(each)) for each in evidence)


def fitting_evidence(evidence: Iterable[Evidence], room: int) -> tuple[Evidence, ...]:
    """As much of some evidence, from the first, as ``room`` bytes hold."""
    fitting: list[Evidence] = []
    for each in evidence:
        room -= size_of((each,))
        if room >= 0:
            fitting.append(each)
    return tuple(fitting)


def split_evidence(
    core: RoundCore, value: ListMessage
) -> tuple[tuple[Evidence, ...], tuple[Evidence, ...]]:
    """A list's evidence against electors, and that against strangers.

    Raises:
        Malformed: the second comes before the first.
    """
    is_elector = [core.electorate.index(accused(e)) is not None for e in value.evidence]
    first = sum(is_elector)
    if not all(is_elector[:first]):
        raise Malformed("evidence against strangers comes after that against electors")
    return value.evidence[:first], value.evidence[first:]


def check_entrants(core: RoundCore, value: ListMessage, charged: Sequence[Evidence]) -> None:
    """Check who enters by a list, and what it says of those on probation.

    Args:
        core: of the round.
        value: the list.
        charged: its evidence against who is no elector.

    Raises:
        PeerError: somebody may not enter, counts who may not, or is banned without a proof.
    """
    door = core.context.door
    if door is None:
        if value.applications or value.probation or charged:
            raise PeerError("nobody may enter this job")
        return
    applicants = [door.check(application, core.verify) for application in value.applications]
    listed = len({e for e, _ in value.commitments})
    seated = [key for key in applicants if door.seats(key)]
    door.check_keys(seated, listed)
    banned = _check_charges(core, door, charged)
    for signed in value.probation:
        check_past(core, door, signed)
    step = step_of(door, value.applications, value.probation)
    door.check_step(step, {*seated, *banned})
    if any(each.key in banned for each in step.counted):
        raise PeerError("a contribution counts of who is banned")
    for signed in value.probation:
        if signed.kind == "commit":  # for its audit, should it be drawn
            core.opened[signed.id] = decode_commitment(signed.body)
            core.signed[signed.id] = signed


def _check_charges(core: RoundCore, door: Door, charged: Sequence[Evidence]) -> list[bytes]:
    """Whom evidence against strangers bans."""
    keys = [accused(evidence) for evidence in charged]
    if any(a >= b for a, b in pairwise(keys)):
        raise Malformed("evidence against strangers must rise strictly by key")
    if not door.probation.accusable.issuperset(keys):
        raise PeerError("evidence against somebody who is no elector, nor on probation")
    for evidence in charged:
        core.convictions.check_stranger(evidence)
    return keys


def check_past(core: RoundCore, door: Door, signed: Signed) -> None:
    """Check a message of a list on probation.

    Raises:
        PeerError: a commitment that starts elsewhere, or a finding that passes nothing.
    """
    probation = door.probation
    if signed.kind == "commit":
        check_start(door, signed, core.context.rules.parts)
    else:
        finding = decode_finding(signed.body)
        audit = probation.audit(finding.about)
        if audit is None or (signed.signer, signed.round) != (audit.auditor, audit.round):
            raise PeerError("a finding that no auditor of a stranger was drawn for")
        if finding.verdict is not Verdict.OK:
            raise PeerError("a finding by which no audit passes")
    if not signed.holds(core.verify):
        raise BadSignature(f"bad signature on a {signed.kind} on probation")


def check_start(door: Door, signed: Signed, parts: int) -> None:
    """Check that a commitment may count, but for its signature.

    Raises:
        PeerError: its author has no place, or it starts elsewhere or counted before.
    """
    member, start = door.probation.member(signed.signer), door.probation.start(signed.round)
    if member is None or start is None or signed.round <= member.last:
        raise PeerError(f"a contribution to round {signed.round} that does not count now")
    commitment = decode_commitment(signed.body)
    if (commitment.prev, commitment.state_root) != (start.prev, start.state_root):
        raise PeerError("a contribution on probation that starts from another decision or state")
    if len(commitment.parts) != parts:
        raise Malformed(f"{len(commitment.parts)} parts, {parts} expected")
