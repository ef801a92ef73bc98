"""Attacks of a leader: it leaves contributions out, within the rules or not, or skips rounds."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from itertools import combinations, islice

from node.identity import public_key_of
from node.types import Digest, JobId, PeerId
from node.wire.convert import (
    decode_commitment,
    decode_have,
    decode_list,
    decode_round,
    encode_list,
    encode_proposal,
    encode_round,
)
from node.wire.convert_ledger import decode_decision, encode_decision
from node.wire.messages import Certificate, Decision, ListMessage, Proposal, Signed
from simulator.attacks.base import Attack

CHOICES_MAX = 512
"""Sets of HAVEs that an unfair leader tries."""
_NO_JOB = JobId(bytes(32))
"""A body does not say its job, and is encoded without it."""


class unfair_leader(Attack):
    """Lists no honest contribution that it may leave out: those that few of its HAVEs name.

    It chooses, among the quorums of HAVEs that it holds, the one that lets it leave out most.
    """

    def signs(self, round_: int, kind: str, body: bytes) -> bytes:
        """The most unfair list that every elector must accept."""
        if kind != "list":
            return body
        value = decode_list(body, _NO_JOB, round_)
        quorum = -(-2 * len(self.electors) // 3)
        choices = islice(combinations(value.haves, min(quorum, len(value.haves))), CHOICES_MAX)
        return encode_list(min((self._cut(value, c) for c in choices), key=_listed))

    def _cut(self, value: ListMessage, haves: Sequence[Signed]) -> ListMessage:
        named = Counter(item for have in haves for item in decode_have(have.body).held)
        f = (len(self.electors) - 1) // 3
        friends = set(self.accomplices)
        kept = tuple(c for c in value.commitments if c[0] in friends or named[c] > f)
        return replace(value, haves=tuple(haves), commitments=kept)


class skip_leader(Attack):
    """As a leader it proposes to skip the round at once, as if there were too few contributions."""

    def __init__(self, *, scale: float, seed: int) -> None:
        super().__init__(scale=scale, seed=seed)
        self._state_root: Digest | None = None
        self._last: Decision | None = None

    def signs(self, round_: int, kind: str, body: bytes) -> bytes:
        """The body itself; notes the state that the round starts from."""
        if kind == "commit":
            self._state_root = decode_commitment(body).state_root
        return body

    def alters(self, round_: int, to: PeerId, kind: str, message: bytes) -> bytes | None:
        """A SKIP in place of each list."""
        envelope = decode_round(message)
        if isinstance(envelope.body, Certificate):
            self._last = decode_decision(envelope.body.decision)
        if kind != "list" or self._state_root is None:
            return message
        signed = envelope.body
        assert isinstance(signed, Signed)
        value = decode_list(signed.body, signed.job, signed.round)
        decision = Decision(
            job=signed.job,
            round=round_,
            prev=envelope.prev,
            skip=True,
            skip_reason="too_few",
            rule="",
            replicas=min((len(self.electors) - 1) // 3 + 1, 3),
            plan=(),
            refused=(),
            result_roots=(),
            state_root=self._state_root,
            credits=(),
            bans=(),
            electors=tuple((public_key_of(peer), 0) for peer in self.electors),
            lease_until_round=self._last.lease_until_round if self._last else round_,
            halted=False,
        )
        proposal = Proposal(value.view, encode_decision(decision), None, (), value.haves, None)
        skip = self.signed(signed, encode_proposal(proposal), "propose")
        return encode_round(replace(envelope, body=skip))


class censor(Attack):
    """As a leader it never lists its victim, whatever the HAVEs say, and goes on with that list."""

    def signs(self, round_: int, kind: str, body: bytes) -> bytes:
        """The list without the victim."""
        if kind != "list":
            return body
        value = decode_list(body, _NO_JOB, round_)
        friends = set(self.accomplices)
        victim = next((e for e, _ in value.commitments if e not in friends), None)
        kept = tuple(c for c in value.commitments if c[0] != victim)
        return encode_list(replace(value, commitments=kept))


def _listed(value: ListMessage) -> int:
    return len(value.commitments)
