"""Attacks with valid signatures: different words to different peers, and old words again."""

from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import replace
from typing import ClassVar

from node.errors import PeerError, Unavailable
from node.identity import public_key_of
from node.jobs.courier import ACK_BYTES_MAX, ROUND_METHOD
from node.ports import Handler, Ports, Sign, Transport
from node.types import Digest, PeerId
from node.wire.convert import (
    decode_beacon,
    decode_commitment,
    decode_have,
    decode_list,
    decode_plan,
    decode_proposal,
    decode_results,
    decode_reveal,
    decode_round,
    decode_screens,
    decode_seal,
    decode_sketches,
    decode_vote,
    encode_beacon,
    encode_commitment,
    encode_have,
    encode_list,
    encode_plan,
    encode_proposal,
    encode_results,
    encode_reveal,
    encode_round,
    encode_screens,
    encode_seal,
    encode_sketches,
    encode_vote,
)
from node.wire.convert_ledger import decode_decision, encode_decision
from node.wire.messages import Contradiction, Signed, Vote
from simulator.attacks.base import Attack
from simulator.attacks.shells import TransportShell

REPLAYS_KEPT = 64
"""Old messages that a replayer chooses from."""
REPLAYED_AT_ONCE_MAX = 8


class equivocate(Attack):
    """Signs two different values in every place and sends one to each half of the electors.

    Source: Bano et al. 2020, arXiv:2004.10617 (Twins): every Byzantine signer reduces to this.
    """

    def alters(self, round_: int, to: PeerId, kind: str, message: bytes) -> bytes | None:
        """Another value for electors of an odd index."""
        if kind not in _OTHERS or self.electors.index(to) % 2 == 0:
            return message
        return self.forge(message, _OTHERS[kind])


def _other_commitment(s: Signed) -> bytes:
    value = decode_commitment(s.body)
    return encode_commitment(replace(value, steps=value.steps + 1))


def _other_have(s: Signed) -> bytes:
    value = decode_have(s.body)
    return encode_have(replace(value, held=value.held[:-1]))


def _other_list(s: Signed) -> bytes:
    value = decode_list(s.body, s.job, s.round)
    return encode_list(replace(value, wide=not value.wide))


def _other_screens(s: Signed) -> bytes:
    value = decode_screens(s.body)
    return encode_screens(replace(value, screens=value.screens[1:]))


def _other_plan(s: Signed) -> bytes:
    value = decode_plan(s.body, s.job, s.round)
    return encode_plan(replace(value, screens=value.screens[::-1]))


def _other_results(s: Signed) -> bytes:
    value = decode_results(s.body)
    return encode_results(replace(value, results=tuple((p, _other(r)) for p, r in value.results)))


def _other_seal(s: Signed) -> bytes:
    value = decode_seal(s.body, s.job, s.round)
    return encode_seal(replace(value, results=value.results[::-1]))


def _other_reveal(s: Signed) -> bytes:
    value = decode_reveal(s.body)
    return encode_reveal(replace(value, nonce=_other(Digest(value.nonce))))


def _other_beacon(s: Signed) -> bytes:
    value = decode_beacon(s.body, s.job, s.round)
    return encode_beacon(replace(value, reveals=value.reveals[1:]))


def _other_sketches(s: Signed) -> bytes:
    value = decode_sketches(s.body)
    return encode_sketches(replace(value, parts=tuple(bytes(len(p)) for p in value.parts)))


def _other_proposal(s: Signed) -> bytes:
    value = decode_proposal(s.body, s.job, s.round)
    decision = decode_decision(value.decision)
    later = replace(decision, lease_until_round=decision.lease_until_round + 1)
    return encode_proposal(replace(value, decision=encode_decision(later)))


def _other_vote(s: Signed) -> bytes:
    value = decode_vote(s.body)
    return encode_vote(replace(value, decision_id=_other(value.decision_id)))


def _other(digest: Digest) -> Digest:
    return Digest(bytes(byte ^ 255 for byte in digest))


_OTHERS: Mapping[str, Callable[[Signed], bytes]] = {
    "commit": _other_commitment,
    "have": _other_have,
    "list": _other_list,
    "screen": _other_screens,
    "plan": _other_plan,
    "result": _other_results,
    "seal": _other_seal,
    "reveal": _other_reveal,
    "beacon": _other_beacon,
    "sketch": _other_sketches,
    "propose": _other_proposal,
    "prepare": _other_vote,
    "vote": _other_vote,
}
"""Kind -> another body that its signer could have meant."""


class _Doubling(Attack):
    """After each message of its kinds it sends another value for its slot, to the same peer."""

    kinds: ClassVar[tuple[str, ...]]

    def ports(self, ports: Ports, sign: Sign) -> Ports:
        """The transport says everything of these kinds twice, in two ways."""
        ports = super().ports(ports, sign)
        return replace(ports, transport=_Stammer(ports.transport, self))

    def other(self, request: bytes) -> bytes | None:
        """What contradicts a round message; None: it is of another kind."""
        body = decode_round(request).body
        if not (isinstance(body, Signed) and body.kind in self.kinds):
            return None
        return self.forge(request, _OTHERS[body.kind])


class double_vote(_Doubling):
    """Votes for two decisions in one view, both to the leader, who counts votes.

    Source: Buchman et al. 2018, arXiv:1807.04938 (Tendermint), on duplicate votes.
    """

    kinds = ("prepare", "vote")


class double_propose(_Doubling):
    """As a leader it proposes two decisions in one view to everybody, the true one first."""

    kinds = ("propose",)


class frame(_Doubling):
    """Shows forged evidence: two votes in the name of an honest elector that never signed them."""

    kinds = ("commit",)

    def other(self, request: bytes) -> bytes | None:
        """The accusation."""
        envelope = decode_round(request)
        body = envelope.body
        if not (isinstance(body, Signed) and body.kind in self.kinds):
            return None
        friends = set(self.accomplices)
        victim = next((p for e, p in enumerate(self.electors) if e not in friends), self.own)
        key = public_key_of(victim)
        first, second = (
            # Signed, but by us: all that is missing is the victim's own signature.
            replace(self.signed(body, encode_vote(Vote(0, Digest(word * 32))), "vote"), signer=key)
            for word in (b"a", b"b")
        )
        return encode_round(replace(envelope, body=Contradiction(first, second)))


class _Stammer(TransportShell):
    def __init__(self, inner: Transport, attack: _Doubling) -> None:
        super().__init__(inner)
        self._attack = attack

    async def call(
        self, peer: PeerId, method: str, request: bytes, *, timeout_s: float, reply_bytes_max: int
    ) -> bytes:
        reply = await self.inner.call(
            peer, method, request, timeout_s=timeout_s, reply_bytes_max=reply_bytes_max
        )
        other = self._attack.other(request) if method == ROUND_METHOD else None
        if other is not None:
            with suppress(PeerError, Unavailable):
                await self.inner.call(
                    peer, method, other, timeout_s=timeout_s, reply_bytes_max=ACK_BYTES_MAX
                )
        return reply


class replay(Attack):
    """Sends old messages again, its own and those that it heard from others.

    Before each message go ``scale`` old ones, at most 8, drawn from the last 64.
    """

    def ports(self, ports: Ports, sign: Sign) -> Ports:
        """The transport repeats itself."""
        ports = super().ports(ports, sign)
        return replace(ports, transport=_Parrot(ports.transport, self))


class _Parrot(TransportShell):
    def __init__(self, inner: Transport, attack: Attack) -> None:
        super().__init__(inner)
        self._rng = attack.own_rng(0)
        self._copies = min(max(1, round(attack.scale)), REPLAYED_AT_ONCE_MAX)
        self._kept: list[bytes] = []

    def _keep(self, request: bytes) -> None:
        self._kept = [*self._kept[-REPLAYS_KEPT + 1 :], request]

    def serve(
        self, method: str, handler: Handler, *, request_bytes_max: int, concurrent_max: int = 64
    ) -> None:
        async def listen(caller: PeerId, request: bytes) -> bytes:
            if method == ROUND_METHOD:
                self._keep(request)
            return await handler(caller, request)

        self.inner.serve(
            method, listen, request_bytes_max=request_bytes_max, concurrent_max=concurrent_max
        )

    async def call(
        self, peer: PeerId, method: str, request: bytes, *, timeout_s: float, reply_bytes_max: int
    ) -> bytes:
        if method == ROUND_METHOD:
            for _ in range(self._copies if self._kept else 0):
                old = self._kept[int(self._rng.integers(len(self._kept)))]
                with suppress(PeerError, Unavailable):
                    await self.inner.call(
                        peer, method, old, timeout_s=timeout_s, reply_bytes_max=ACK_BYTES_MAX
                    )
            self._keep(request)
        return await self.inner.call(
            peer, method, request, timeout_s=timeout_s, reply_bytes_max=reply_bytes_max
        )
