"""Catching up: certificates from anybody, verified one by one; the state by its root.

Flow. Nothing that a peer says is believed: certificates verify from the founders on, chunks hash
to the certified root. docs/protocol.md, "Catching up".
"""

import asyncio
from collections.abc import Callable, Coroutine, Sequence
from dataclasses import dataclass
from typing import TypeVar

from node.errors import Malformed, PeerError, Unavailable
from node.identity import Verifier
from node.jobs.courier import Courier
from node.jobs.geometry import Geometry
from node.jobs.records import JobRecords
from node.ledger.chain import Head, verify_next
from node.ledger.electorate import Electorate
from node.merkle import root
from node.ports import Compute, Transport
from node.state.outer import OuterState
from node.state.snapshot import CHUNK_BYTES, assemble, chunk_count, chunk_hash
from node.types import DIGEST_BYTES, Digest, PeerId
from node.wire.chain_messages import ChainRequest, StateRequest
from node.wire.convert_ledger import (
    decode_chain,
    decode_state_reply,
    encode_chain_request,
    encode_state_request,
)
from node.wire.limits import CHAIN_CERTIFICATES_MAX, CHAIN_REPLY_BYTES_MAX, CHUNKS_ASKED_MAX
from node.wire.messages import Certificate, Decision

CHAIN_METHOD = "chain/1"
STATE_METHOD = "state/1"
CHUNKS_METHOD = "chunks/1"
SOURCES_MAX = 4
"""Peers from which one state is fetched at the same time."""
HEADER_CHUNK_BYTES_MAX = 4 << 20
IDLE_S_MAX = 10.0
LATE_S = 0.5
"""How long the others are waited for after the first answer: the mute hold nobody up."""

T = TypeVar("T")


@dataclass
class Catcher:
    """Fetches what this node missed of one job."""

    courier: Courier
    transport: Transport
    records: JobRecords
    compute: Compute
    verify: Verifier
    on_blame: Callable[[PeerId, PeerError], None]

    async def certificates(self, head: Head, peer: PeerId) -> list[Certificate]:
        """Certificates after ``head`` that ``peer`` has and that verify; at most one reply's."""
        return await self._certificates(head, peer) or []

    async def _certificates(self, head: Head, peer: PeerId) -> list[Certificate] | None:
        """The same; None: it gives no answer, or a bad one."""
        request = ChainRequest(head.job, head.round + 1, CHAIN_CERTIFICATES_MAX)
        reply = await self.courier.ask(
            peer, CHAIN_METHOD, encode_chain_request(request), CHAIN_REPLY_BYTES_MAX
        )
        if reply is None:
            return None
        good: list[Certificate] = []
        try:
            for certificate in decode_chain(reply):
                head, _ = verify_next(head, certificate, self.verify)
                good.append(certificate)
        except PeerError as error:
            self.on_blame(peer, error)
            return good or None
        return good

    async def first_proof(
        self, head: Head, peers: Sequence[PeerId], late_s: float = LATE_S
    ) -> tuple[PeerId | None, list[Certificate]]:
        """Certificates after ``head`` from whichever of ``peers`` gives some first.

        Args:
            head: where we stand.
            peers: who is asked.
            late_s: after the first that knows nothing new, the others are waited for this long.
        """
        answers = await _ask_all(
            peers, lambda peer: self._certificates(head, peer), late_s, is_enough=bool
        )
        return next(((peer, found) for peer, found in answers if found), (None, []))

    async def forward(
        self, head: Head, peers: Sequence[PeerId]
    ) -> tuple[Head, tuple[Decision, Electorate] | None]:
        """Advance ``head`` as far as the first of ``peers`` that knows more can prove.

        Certificates are kept. Whoever knows still more will say so.

        Returns:
            (the new head, the last decision and its electors; None where nobody knows more).
        """
        last: tuple[Decision, Electorate] | None = None
        peer, certificates = await self.first_proof(head, peers)
        while certificates and peer is not None:
            first = head.round + 1
            for certificate in certificates:
                electors = head.electorate
                head, decision = verify_next(head, certificate, self.verify)
                last = decision, electors
            await self.records.put_certificates(dict(enumerate(certificates, first)))
            if len(certificates) < CHAIN_CERTIFICATES_MAX:
                break
            certificates = await self.certificates(head, peer)
        return head, last

    async def state(
        self, g: Geometry, state_root: Digest, peers: Sequence[PeerId]
    ) -> OuterState | None:
        """The state under a certified root, in chunks from several peers; None: nobody has it."""
        hashes, sources = await self._hashes(g, state_root, peers)
        if not sources:
            return None
        chunks: list[bytes | None] = [None] * len(hashes)
        while None in chunks and sources:
            missing = [i for i, c in enumerate(chunks) if c is None]
            share = [missing[k :: len(sources)][:CHUNKS_ASKED_MAX] for k in range(len(sources))]
            done = await asyncio.gather(
                *(
                    self._chunks(g, state_root, peer, wanted, hashes, chunks)
                    for peer, wanted in zip(sources, share, strict=True)
                )
            )
            sources = [peer for peer, ok in zip(sources, done, strict=True) if ok]
        whole = [c for c in chunks if c is not None]
        if len(whole) != len(hashes):
            return None
        try:
            return await self.compute.maths(
                lambda: assemble(whole, hashes, state_root, g.shapes, momentum=bool(g.momentum)),
                cost_s=g.d * 2e-9,
            )
        except Malformed:
            return None  # A quorum certified the root of something else than a state of this job.

    async def _hashes(
        self, g: Geometry, state_root: Digest, peers: Sequence[PeerId]
    ) -> tuple[list[Digest], list[PeerId]]:
        count = chunk_count(g.shapes, momentum=bool(g.momentum))
        request = encode_state_request(StateRequest(g.job, state_root, ()))
        limit = count * (DIGEST_BYTES + 8) + 64

        async def ask(peer: PeerId) -> list[Digest] | None:
            reply = await self.courier.ask(peer, STATE_METHOD, request, limit)
            if reply is None:
                return None
            try:
                found = [Digest(h) for h in decode_state_reply(reply)]
                if len(found) != count or root(found) != state_root:
                    raise Malformed("these are not the hashes under the state's root")
            except PeerError as error:
                self.on_blame(peer, error)
                return None
            return found

        answers = await _ask_all(peers, ask, LATE_S)
        return (answers[0][1] if answers else []), [peer for peer, _ in answers][:SOURCES_MAX]

    async def _chunks(
        self,
        g: Geometry,
        state_root: Digest,
        peer: PeerId,
        wanted: Sequence[int],
        hashes: Sequence[Digest],
        chunks: list[bytes | None],
    ) -> bool:
        """Fill in the wanted chunks from one peer; False: do not ask it again."""
        if not wanted:
            return True
        request = encode_state_request(StateRequest(g.job, state_root, tuple(wanted)))
        limit = max(CHUNK_BYTES, HEADER_CHUNK_BYTES_MAX)
        replies = self.transport.stream(
            peer, CHUNKS_METHOD, request, idle_timeout_s=IDLE_S_MAX, chunk_bytes_max=limit
        )
        pending = list(wanted)
        try:
            async for data in replies:
                if not pending or chunk_hash(data) != hashes[pending[0]]:
                    self.on_blame(peer, Malformed("a chunk that is not that of its hash"))
                    return False
                chunks[pending.pop(0)] = data
                self.courier.counters.bytes_down += len(data)
        except (Unavailable, PeerError):
            return False
        return not pending


async def _ask_all(
    peers: Sequence[PeerId],
    ask: Callable[[PeerId], Coroutine[None, None, T | None]],
    late_s: float,
    is_enough: Callable[[T], bool] = lambda answer: False,
) -> list[tuple[PeerId, T]]:
    """Ask all at once; the answers of those that were in time, in the order of ``peers``.

    Args:
        peers: who is asked, each once.
        ask: one checked answer; None: there is no good one.
        late_s: after the first answer, the others are waited for this long.
        is_enough: is one such answer all that is wanted?
    """
    loop = asyncio.get_running_loop()
    tasks = {peer: loop.create_task(ask(peer)) for peer in dict.fromkeys(peers)}
    waiting = set(tasks.values())
    late_at: float | None = None
    try:
        while waiting:
            left_s = None if late_at is None else max(0.0, late_at - loop.time())
            done, waiting = await asyncio.wait(
                waiting, timeout=left_s, return_when=asyncio.FIRST_COMPLETED
            )
            given = {peer: task.result() for peer, task in tasks.items() if task.done()}
            answers = [(peer, found) for peer, found in given.items() if found is not None]
            if not waiting or not done or any(is_enough(found) for _, found in answers):
                return answers
            if answers and late_at is None:
                late_at = loop.time() + late_s
        return []
    finally:
        for task in tasks.values():
            task.cancel()
