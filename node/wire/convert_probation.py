"""Bytes <-> what a decision says of those on probation. See ``convert`` for the rules."""

from collections.abc import Sequence
from itertools import pairwise
from typing import Any

from node.errors import Malformed, TooLarge
from node.types import DIGEST_BYTES, PUBLIC_KEY_BYTES, Digest
from node.wire import ledger_pb2 as pb
from node.wire.limits import PROBATION_PASSED_MAX, PROBATION_PLACES_MAX, ROUND_MAX
from node.wire.probation_messages import NO_STEP, Counted, ProbationStep


def step_to(step: ProbationStep) -> pb.ProbationStep | None:
    """To protobuf; None: it changes nothing, and is left out."""
    if step == NO_STEP:
        return None
    counted = [
        pb.CountedContribution(key=c.key, round=c.round, commitment_id=c.commitment)
        for c in step.counted
    ]
    return pb.ProbationStep(entered=step.entered, counted=counted, passed=step.passed)


def step_from(m: pb.ProbationStep) -> ProbationStep:
    """From protobuf, checked in form."""
    if len(m.entered) > PROBATION_PLACES_MAX or len(m.counted) > PROBATION_PLACES_MAX:
        raise TooLarge(f"more than {PROBATION_PLACES_MAX} on probation")
    if len(m.passed) > PROBATION_PASSED_MAX:
        raise TooLarge(f"more than {PROBATION_PASSED_MAX} audits pass at once")
    counted = tuple(Counted(c.key, c.round, Digest(c.commitment_id)) for c in m.counted)
    keys = [c.key for c in counted]
    if any(len(key) != PUBLIC_KEY_BYTES for key in (*m.entered, *keys)):
        raise Malformed("a key on probation has a wrong length")
    if any(len(id_) != DIGEST_BYTES for id_ in (*m.passed, *(c.commitment for c in counted))):
        raise Malformed("a commitment on probation has a wrong length")
    if any(not 1 <= c.round <= ROUND_MAX for c in counted):
        raise Malformed("a contribution on probation to no round")
    if not all(map(_rises, (m.entered, keys, m.passed))):
        raise Malformed("entries on probation must rise strictly")
    return ProbationStep(tuple(m.entered), counted, tuple(map(Digest, m.passed)))


def _rises(items: Sequence[Any]) -> bool:
    return all(a < b for a, b in pairwise(items))
