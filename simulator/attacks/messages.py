"""Attacks on messages: an honest update, but what leaves for the peers is not it, or nothing."""

from dataclasses import replace

from node.types import PeerId
from node.wire.convert import decode_round, encode_round
from node.wire.messages import Scatter
from simulator.attacks.base import Attack


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
