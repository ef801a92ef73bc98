"""Catching up: certificates from anybody, verified one by one; the state by its root.

Flow. Nothing that a peer says is believed: certificates verify from the founders on, chunks hash
to the certified root. docs/protocol.md, "Catching up".
"""

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from node.errors import Malformed, PeerError, Unavailable
from node.identity import Verifier
from node.jobs.courier import Courier
from node.jobs.records import JobRecords
from node.jobs.work import Geometry
from node.ledger.chain import Head, verify_next
from node.merkle import root
from node.ports import Compute, Transport
from node.state.outer import OuterState
from node.state.snapshot import CHUNK_BYTES, assemble, chunk_count, chunk_hash
from node.types import DIGEST_BYTES, Digest, PeerId
from node.wire.convert_ledger import (
    decode_chain,
    decode_state_reply,
    encode_chain_request,
    encode_state_request,
)
from node.wire.limits import CHAIN_CERTIFICATES_MAX, CHAIN_REPLY_BYTES_MAX, CHUNKS_ASKED_MAX
from node.wire.messages import Certificate, ChainRequest, Decision, StateRequest

CHAIN_METHOD = "chain/1"
STATE_METHOD = "state/1"
CHUNKS_METHOD = "chunks/1"
SOURCES_MAX = 4
"""Peers from which one state is fetched at the same time."""
HEADER_CHUNK_BYTES_MAX = 4 << 20
IDLE_S_MAX = 10.0


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
        request = ChainRequest(head.job, head.round + 1, CHAIN_CERTIFICATES_MAX)
        reply = await self.courier.ask(
            peer, CHAIN_METHOD, encode_chain_request(request), CHAIN_REPLY_BYTES_MAX
        )
        good: list[Certificate] = []
        try:
            for certificate in decode_chain(reply or b""):
                head, _ = verify_next(head, certificate, self.verify)
                good.append(certificate)
        except PeerError as error:
            self.on_blame(peer, error)
        return good

    async def first_proof(
        self, head: Head, peers: Sequence[PeerId]
    ) -> tuple[PeerId | None, list[Certificate]]:
        """Certificates after ``head`` from whichever of ``peers`` gives some first."""
        asked = list(dict.fromkeys(peers))
        tasks = [asyncio.ensure_future(self.certificates(head, peer)) for peer in asked]
        try:
            waiting = set(tasks)
            while waiting:
                _, waiting = await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
                for peer, task in zip(asked, tasks, strict=True):
                    if task.done() and task.result():
                        return peer, task.result()
            return None, []
        finally:
            for task in tasks:
                task.cancel()

    async def forward(self, head: Head, peers: Sequence[PeerId]) -> tuple[Head, Decision | None]:
        """Advance ``head`` as far as the first of ``peers`` that knows more can prove.

        Certificates are kept. Whoever knows still more will say so.

        Returns:
            (the new head, the last decision; None where nobody knows more).
        """
        decision = None
        peer, certificates = await self.first_proof(head, peers)
        while certificates and peer is not None:
            first = head.round + 1
            for certificate in certificates:
                head, decision = verify_next(head, certificate, self.verify)
            await self.records.put_certificates(dict(enumerate(certificates, first)))
            if len(certificates) < CHAIN_CERTIFICATES_MAX:
                break
            certificates = await self.certificates(head, peer)
        return head, decision

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
        asked = list(dict.fromkeys(peers))
        limit = count * (DIGEST_BYTES + 8) + 64
        replies = await asyncio.gather(
            *(self.courier.ask(peer, STATE_METHOD, request, limit) for peer in asked)
        )
        hashes: list[Digest] = []
        sources: list[PeerId] = []
        for peer, reply in zip(asked, replies, strict=True):
            if reply is None:
                continue
            try:
                found = [Digest(h) for h in decode_state_reply(reply)]
                if len(found) != count or root(found) != state_root:
                    raise Malformed("these are not the hashes under the state's root")
            except PeerError as error:
                self.on_blame(peer, error)
                continue
            hashes = found
            sources.append(peer)
        return hashes, sources[:SOURCES_MAX]

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
