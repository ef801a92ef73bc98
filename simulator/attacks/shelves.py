"""Attacks on who catches up: what a liar serves of the past is not what was certified."""

from collections.abc import AsyncIterator
from dataclasses import replace

from node.jobs.sync import CHAIN_METHOD, CHUNKS_METHOD
from node.ports import Handler, Ports, Sign, StreamHandler
from node.types import PeerId
from node.wire.convert_ledger import decode_chain, decode_decision, encode_chain, encode_decision
from node.wire.messages import Certificate
from simulator.attacks.base import Attack
from simulator.attacks.shells import TransportShell


class false_shelf(Attack):
    """Serves chains whose decisions pay twice, under the true votes, and altered chunks of states.

    Honest in its rounds. Source: docs/protocol.md, "Catching up": nothing that is served is
    believed.
    """

    def ports(self, ports: Ports, sign: Sign) -> Ports:
        """Answers to who catches up are false."""
        ports = super().ports(ports, sign)
        return replace(ports, transport=_Forging(ports.transport))


class _Forging(TransportShell):
    def serve(
        self, method: str, handler: Handler, *, request_bytes_max: int, concurrent_max: int = 64
    ) -> None:
        async def forged(caller: PeerId, request: bytes) -> bytes:
            chain = decode_chain(await handler(caller, request))
            return encode_chain([_richer(certificate) for certificate in chain])

        super().serve(
            method,
            forged if method == CHAIN_METHOD else handler,
            request_bytes_max=request_bytes_max,
            concurrent_max=concurrent_max,
        )

    def serve_stream(
        self,
        method: str,
        handler: StreamHandler,
        *,
        request_bytes_max: int,
        concurrent_max: int = 8,
    ) -> None:
        async def altered(caller: PeerId, request: bytes) -> AsyncIterator[bytes]:
            async for chunk in handler(caller, request):
                yield chunk[:-1] + bytes([chunk[-1] ^ 1]) if chunk else b"\0"

        super().serve_stream(
            method,
            altered if method == CHUNKS_METHOD else handler,
            request_bytes_max=request_bytes_max,
            concurrent_max=concurrent_max,
        )


def _richer(certificate: Certificate) -> Certificate:
    decision = decode_decision(certificate.decision)
    credits = tuple((elector, 2 * micro) for elector, micro in decision.credits)
    return replace(certificate, decision=encode_decision(replace(decision, credits=credits)))
