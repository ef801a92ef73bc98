"""Delivers one job's messages to electors, as long as they may still matter.

Flow over ``Transport``. A delivery that fails is tried again until the job is two rounds on; the
receipt tells where the receiver stands, so that whoever is behind finds out.
"""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field

from node.errors import PeerError, Unavailable
from node.exchange.core import RoundContext
from node.ports import Behaviour, Transport
from node.types import Digest, PeerId
from node.wire.convert import decode_ack, decode_fetched, encode_fetch, encode_round
from node.wire.limits import FETCH_IDS_MAX, PAYLOAD_BYTES_MAX
from node.wire.memory_messages import ForkEvidence
from node.wire.messages import (
    Certificate,
    Contradiction,
    FetchReply,
    FetchRequest,
    Judgement,
    PrepareCertificate,
    RoundBody,
    RoundMessage,
    Scatter,
    Signed,
    Spread,
)

ROUND_METHOD = "round/1"
FETCH_METHOD = "fetch/1"
RETRY_S_FIRST = 0.1
RETRY_S_MAX = 2.0
ASK_S_MAX = 3.0
"""Longest wait for an answer that somebody else could give too."""
ACK_BYTES_MAX = 128
UNKNOWN_JOB = "unknown job"
"""Refusal of a node that does not run the job, or not yet."""
NOT_YET = "no elector of this round"
"""Refusal of a node that is not yet in the round of a message from who may be an elector then."""


@dataclass
class Counters:
    """What a job sent and received since the node started."""

    bytes_up: int = 0
    bytes_down: int = 0
    calls: int = 0


@dataclass
class Courier:
    """Outgoing side of one job.

    Args:
        transport: calls peers.
        behaviour: what an attack changes on the way out.
        group: owns the deliveries; it outlives single rounds.
        call_s_max: longest wait for one reply.
        round_now: the round that the job is in.
        on_ack: told where each receiver stands: (peer, its round).
    """

    transport: Transport
    behaviour: Behaviour
    group: asyncio.TaskGroup
    call_s_max: float
    round_now: Callable[[], int]
    on_ack: Callable[[PeerId, int], None]
    counters: Counters = field(default_factory=Counters)

    def send(self, context: RoundContext, to: Sequence[int], body: RoundBody) -> None:
        """Deliver ``body`` to electors, each on its own."""
        if not to:
            return
        data = encode_round(RoundMessage(context.job, context.round, context.prev, body))
        for elector in to:
            peer = context.electorate.ids[elector]
            sent = self.behaviour.sends(context.round, peer, kind_of(body), data)
            if sent is not None:
                self.group.create_task(self._deliver(peer, context.round, sent))

    async def _deliver(self, peer: PeerId, round_: int, data: bytes) -> None:
        pause_s = RETRY_S_FIRST
        while self.round_now() <= round_ + 1:
            self.counters.calls += 1
            self.counters.bytes_up += len(data)
            try:
                reply = await self.transport.call(
                    peer,
                    ROUND_METHOD,
                    data,
                    timeout_s=self.call_s_max,
                    reply_bytes_max=ACK_BYTES_MAX,
                )
                self.counters.bytes_down += len(reply)
                self.on_ack(peer, decode_ack(reply).round)
                return
            except Unavailable:
                await asyncio.sleep(pause_s)
                pause_s = min(2 * pause_s, RETRY_S_MAX)
            except PeerError as error:
                if UNKNOWN_JOB in str(error) or NOT_YET in str(error):  # it is still starting
                    await asyncio.sleep(pause_s)
                    continue
                return  # it refuses this message: sending it again changes nothing

    async def fetch(
        self,
        context: RoundContext,
        ids: Sequence[Digest],
        ask: Sequence[PeerId],
        take: Callable[[FetchReply], Awaitable[set[Digest]]],
    ) -> None:
        """Ask one peer after the other until every id was found, or the round is over.

        Args:
            context: facts of the round.
            ids: signed messages, decisions or results that we lack.
            ask: whom to ask, best first.
            take: takes a reply, checks it, and tells which ids it really held.
        """
        missing = set(ids)
        pause_s = RETRY_S_FIRST
        while missing and self.round_now() == context.round:
            for peer in ask:
                wanted = tuple(sorted(missing))[:FETCH_IDS_MAX]
                request = encode_fetch(FetchRequest(context.job, context.round, wanted))
                reply = await self.ask(peer, FETCH_METHOD, request, PAYLOAD_BYTES_MAX)
                if reply is None:
                    continue
                try:
                    missing -= await take(decode_fetched(reply, context.job, context.round))
                except PeerError:
                    continue
                if not missing:
                    return
            await asyncio.sleep(pause_s)
            pause_s = min(2 * pause_s, RETRY_S_MAX)

    async def ask(
        self,
        peer: PeerId,
        method: str,
        request: bytes,
        reply_bytes_max: int,
        *,
        timeout_s: float | None = None,
    ) -> bytes | None:
        """One call; None where there is no good answer. A round waits ``ASK_S_MAX`` at most."""
        self.counters.calls += 1
        self.counters.bytes_up += len(request)
        try:
            reply = await self.transport.call(
                peer,
                method,
                request,
                timeout_s=timeout_s or min(self.call_s_max, ASK_S_MAX),
                reply_bytes_max=reply_bytes_max,
            )
        except (Unavailable, PeerError):
            return None
        self.counters.bytes_down += len(reply)
        return reply


def kind_of(body: RoundBody) -> str:
    """Name of a message for behaviours and metrics."""
    if isinstance(body, Signed):
        return body.kind
    names: dict[type, str] = {
        Scatter: "scatter",
        Spread: "spread",
        PrepareCertificate: "lock",
        Certificate: "certificate",
        Contradiction: "evidence",
        ForkEvidence: "evidence",
        Judgement: "evidence",
    }
    return names[type(body)]
