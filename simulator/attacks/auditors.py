"""Attacks on audits: what an auditor says of others."""

from contextlib import suppress
from dataclasses import replace

from node.errors import PeerError, Unavailable
from node.identity import public_key_of
from node.jobs.courier import ROUND_METHOD
from node.jobs.refuting import ANSWER_METHOD
from node.jobs.telling import FINDING_METHOD
from node.ports import Handler, Ports, Sign, Transport
from node.types import Digest, PeerId
from node.wire.audit import (
    KIND,
    Finding,
    Verdict,
    decode_answer_request,
    decode_finding,
    encode_finding,
    encode_signed_finding,
)
from node.wire.convert import decode_plan, decode_round, encode_signed
from node.wire.messages import Signed
from simulator.attacks.base import Attack
from simulator.attacks.shells import TransportShell

SLANDERS_MAX = 1024
"""Answers that a slanderer remembers."""


class accuse(Attack):
    """Finds every work that it audits false, whatever its own replay gave.

    Source: false accusations are what "accusations" of Gorbunov et al. 2022, arXiv:2106.11257
        (BTARD, Algorithm 3) must survive; there the accuser is banned if all others disagree.
    """

    def signs(self, round_: int, kind: str, body: bytes) -> bytes:
        """A finding of a mismatch."""
        if kind != KIND:
            return body
        return encode_finding(replace(decode_finding(body), verdict=Verdict.MISMATCH))


class slander(Attack):
    """Finds every screen of an honest reducer false, tells all, and shows it to who asks.

    Source: as ``accuse``, of reducers.
    """

    told = 0
    """Findings that others took."""

    def ports(self, ports: Ports, sign: Sign) -> Ports:
        """The transport listens to plans, and slips findings in between round messages."""
        ports = super().ports(ports, sign)
        return replace(ports, transport=_Slanderer(ports.transport, self))


class _Slanderer(TransportShell):
    def __init__(self, inner: Transport, attack: slander) -> None:
        super().__init__(inner)
        self._attack = attack
        self._newest = 0
        self._answers: dict[Digest, Signed] = {}
        self._told: set[tuple[PeerId, Digest]] = set()

    def serve(
        self, method: str, handler: Handler, *, request_bytes_max: int, concurrent_max: int = 64
    ) -> None:
        async def listen(caller: PeerId, request: bytes) -> bytes:
            if method == ROUND_METHOD:
                self._hear(request)
            elif method == ANSWER_METHOD:
                shown = self._answers.get(decode_answer_request(request)[2])
                if shown is not None:
                    return encode_signed(shown)
            return await handler(caller, request)

        self.inner.serve(
            method, listen, request_bytes_max=request_bytes_max, concurrent_max=concurrent_max
        )

    def _hear(self, request: bytes) -> None:
        with suppress(PeerError):
            envelope = decode_round(request)
            body, self._newest = envelope.body, max(self._newest, envelope.round)
            if isinstance(body, Signed) and body.kind == "plan":
                electors, friends = self._attack.electors, self._attack.accomplices
                spared = {public_key_of(electors[e]) for e in friends}
                for screen in decode_plan(body.body, body.job, body.round).screens:
                    if screen.signer not in spared and len(self._answers) < SLANDERS_MAX:
                        self._answers[screen.id] = screen

    async def call(
        self, peer: PeerId, method: str, request: bytes, *, timeout_s: float, reply_bytes_max: int
    ) -> bytes:
        if method == ROUND_METHOD:
            for id_, screen in list(self._answers.items()):
                if screen.round < self._newest and (peer, id_) not in self._told:
                    self._told.add((peer, id_))
                    await self._tell(peer, screen)
        return await self.inner.call(
            peer, method, request, timeout_s=timeout_s, reply_bytes_max=reply_bytes_max
        )

    async def _tell(self, peer: PeerId, screen: Signed) -> None:
        body = encode_finding(Finding(screen.id, Verdict.FALSE_ANSWER, b""))
        own = public_key_of(self._attack.own)
        finding = replace(self._attack.signed(screen, body, KIND), signer=own)
        with suppress(PeerError, Unavailable):
            data = encode_signed_finding(finding)
            await self.inner.call(peer, FINDING_METHOD, data, timeout_s=2.0, reply_bytes_max=64)
            self._attack.told += 1
