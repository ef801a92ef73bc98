"""Attacks on messages: an honest update, but what leaves for the peers is not it, or nothing."""

from dataclasses import replace

from node.types import PeerId
from node.wire.convert import decode_round, encode_round
from node.wire.messages import Scatter, Signed
from simulator.attacks.base import Attack


class bad_signatures(Attack):
    """Its commitments and votes do not verify: the last byte of each signature is wrong."""

    def alters(self, round_: int, to: PeerId, kind: str, message: bytes) -> bytes | None:
        """The same words under a signature that is none."""
        if kind not in ("commit", "scatter", "prepare", "vote"):
            return message
        envelope = decode_round(message)
        body = envelope.body
        if isinstance(body, Scatter):
            body = replace(body, commitment=_unsigned(body.commitment))
        elif isinstance(body, Signed):
            body = _unsigned(body)
        return encode_round(replace(envelope, body=body))


def _unsigned(signed: Signed) -> Signed:
    signature = signed.signature
    return replace(signed, signature=signature[:-1] + bytes([signature[-1] ^ 1]))


class garbage(Attack):
    """Sends random bytes in place of the parts that it committed to."""

    def alters(self, round_: int, to: PeerId, kind: str, message: bytes) -> bytes | None:
        """Random bytes of the same lengths, the same for every peer."""
        if kind != "scatter":
            return message
        envelope = decode_round(message)
        assert isinstance(envelope.body, Scatter)
        parts = tuple((p, self.rng(round_, p).bytes(len(data))) for p, data in envelope.body.parts)
        return encode_round(replace(envelope, body=replace(envelope.body, parts=parts)))


class old_parts(Attack):
    """Sends the parts of its last round under this round's commitment: they decode well."""

    def __init__(self, *, scale: float, seed: int) -> None:
        super().__init__(scale=scale, seed=seed)
        self._parts: dict[int, dict[int, bytes]] = {}
        """Round -> part -> its bytes: the round in progress and the one before."""

    def alters(self, round_: int, to: PeerId, kind: str, message: bytes) -> bytes | None:
        """Old parts, where there are any."""
        if kind != "scatter":
            return message
        envelope = decode_round(message)
        assert isinstance(envelope.body, Scatter)
        self._parts.setdefault(round_, {}).update(envelope.body.parts)
        for old in sorted(self._parts)[:-2]:
            del self._parts[old]
        before = self._parts[min(self._parts)]
        parts = tuple((p, before.get(p, data)) for p, data in envelope.body.parts)
        return encode_round(replace(envelope, body=replace(envelope.body, parts=parts)))


class silent(Attack):
    """Trains and listens, but sends nothing: every wait for it runs into its deadline."""

    def alters(self, round_: int, to: PeerId, kind: str, message: bytes) -> bytes | None:
        """None."""
        return None


class silent_reducer(Attack):
    """Contributes, but never screens, reduces or spreads: parts wait for its answer."""

    def alters(self, round_: int, to: PeerId, kind: str, message: bytes) -> bytes | None:
        """None for what reducers send."""
        return None if kind in ("screen", "result", "spread") else message


class withhold(Attack):
    """Commits, but sends no parts: reducers wait, then complain.

    Source: docs/protocol.md, "Reduction": a missing row is a complaint.
    """

    def alters(self, round_: int, to: PeerId, kind: str, message: bytes) -> bytes | None:
        """None for parts."""
        return None if kind == "scatter" else message


class withhold_some(Attack):
    """Sends its parts to every other elector only, so that reducers disagree on whether it did."""

    def alters(self, round_: int, to: PeerId, kind: str, message: bytes) -> bytes | None:
        """None for parts to electors of an odd index."""
        if kind == "scatter" and self.electors.index(to) % 2:
            return None
        return message
