"""Attacks with many identities: records of peers that do not exist, or that point to the liar."""

import asyncio
from contextlib import suppress
from dataclasses import replace

from node.errors import PeerError, Unavailable
from node.identity import Identity, Signer
from node.membership.gossip import METHOD as PEERS_METHOD
from node.membership.record import (
    EXCHANGE_BYTES_MAX,
    EXCHANGE_RECORDS_MAX,
    PeerRecord,
    encode_exchange,
    make_record,
)
from node.ports import Discovery, Handler, Ports, Sign, Transport, WallClock
from node.types import PeerId
from simulator.attacks.base import Attack
from simulator.attacks.shells import DiscoveryShell, TransportShell

TURN_S = 1.0
CALL_S = 2.0
SYBILS_A_TURN = 2
"""Fresh identities in each turn, times the scale."""
SYBIL_TTL_S = 3.0
"""Life of a Sybil's record: it joins and is gone."""
ECLIPSE_RECORDS = 16
"""Records in each turn, times the scale, all of which point to the liar."""
ECLIPSE_TTL_S = 600.0
RECORDS_A_TURN_MAX = EXCHANGE_RECORDS_MAX


class _ManyFaces(Attack):
    """Makes identities and tells of them, in the DHT and to peers."""

    per_turn = 0
    ttl_s = 0.0

    def __init__(self, *, scale: float, seed: int) -> None:
        super().__init__(scale=scale, seed=seed)
        self.told: list[PeerRecord] = []
        """The records of the last turn."""
        self._made = 0
        self._listening: _Listening | None = None

    def ports(self, ports: Ports, sign: Sign) -> Ports:
        """The DHT is listened to: its keys tell the swarm's name."""
        ports = super().ports(ports, sign)
        self._ports = ports
        self._listening = _Listening(ports.discovery)
        return replace(ports, discovery=self._listening)

    async def run(self) -> None:
        """Turns until cancelled."""
        while True:
            await asyncio.sleep(TURN_S)
            count = min(max(1, round(self.per_turn * self.scale)), RECORDS_A_TURN_MAX)
            records = [self._record(self._signer()) for _ in range(count)]
            self.told = records
            await self._tell(records)

    def _signer(self) -> Signer:
        secret = self.own_rng(self._made).bytes(32)
        self._made += 1
        return self.board.make_signer(secret) if self.board else Identity(secret)

    def _record(self, signer: Signer) -> PeerRecord:
        assert self._listening is not None
        return make_record(
            signer,
            sequence=1,
            now=self._clock.unix_s(),
            ttl_s=self.ttl_s,
            addresses=self._ports.transport.addresses,
            swarm=self._listening.swarm,
        )

    @property
    def _clock(self) -> WallClock:
        return self._ports.clock

    async def _tell(self, records: list[PeerRecord]) -> None:
        assert self._listening is not None
        inner = self._ports.discovery
        key = f"artel/{self._listening.swarm}/peers"
        exchange = encode_exchange([r.signed for r in records])
        for record in records:
            with suppress(Unavailable, ValueError):
                await inner.put(key, record.peer, record.signed, record.expires_unix_s)
        for peer in sorted(self.met):
            with suppress(Unavailable, PeerError):
                await self._ports.transport.call(
                    peer,
                    PEERS_METHOD,
                    exchange,
                    timeout_s=CALL_S,
                    reply_bytes_max=EXCHANGE_BYTES_MAX,
                )


class _Listening(DiscoveryShell):
    """Learns the swarm's name from the keys that the node itself writes."""

    def __init__(self, inner: Discovery) -> None:
        super().__init__(inner)
        self.swarm = "default"

    async def put(self, key: str, subkey: str, value: bytes, expires_unix_s: float) -> bool:
        if key.startswith("artel/") and key.endswith("/peers"):
            self.swarm = key.split("/")[1]
        return await super().put(key, subkey, value, expires_unix_s)


class sybil(_ManyFaces):
    """Joins under fresh identities all the time, and lets them die.

    Source: Douceur 2002, "The Sybil Attack", IPTPS.
    """

    per_turn = SYBILS_A_TURN
    ttl_s = SYBIL_TTL_S


class eclipse(_ManyFaces):
    """Fills views and DHT with peers that all live at its own address, and names nobody else.

    Source: Singh et al. 2006, "Eclipse Attacks on Overlay Networks", INFOCOM.
    """

    per_turn = ECLIPSE_RECORDS
    ttl_s = ECLIPSE_TTL_S

    def ports(self, ports: Ports, sign: Sign) -> Ports:
        """Exchanges of views tell of false peers only."""
        ports = super().ports(ports, sign)
        return replace(ports, transport=_Eclipsing(ports.transport, self))


class _Eclipsing(TransportShell):
    def __init__(self, inner: Transport, attack: _ManyFaces) -> None:
        super().__init__(inner)
        self._attack = attack

    def serve(
        self, method: str, handler: Handler, *, request_bytes_max: int, concurrent_max: int = 64
    ) -> None:
        async def answer(caller: PeerId, request: bytes) -> bytes:
            reply = await handler(caller, request)
            told = self._attack.told
            if method == PEERS_METHOD and told:
                return encode_exchange([record.signed for record in told])
            return reply

        super().serve(
            method, answer, request_bytes_max=request_bytes_max, concurrent_max=concurrent_max
        )
