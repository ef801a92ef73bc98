"""Authors and peers of shared memory that break its rules: they sign and serve what they like.

Used with ``simulator/memory_world.py``. A liar holds a key of the job; it makes chains by hand, and
answers both methods from them.
"""

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import replace

import numpy as np

from node.memory.batch import body_of, make_batch
from node.memory.config import MemorySpec
from node.memory.peers import METHOD as MEMORY_METHOD
from node.memory.pulling import METHOD as BATCHES_METHOD
from node.merkle import digest
from node.ports import Transport
from node.types import PeerId
from node.wire.convert_memory import (
    decode_batches_request,
    decode_memory_request,
    encode_batch,
    encode_header,
    encode_memory_reply,
    encode_memory_request,
    signed_header,
)
from node.wire.memory_messages import (
    Batch,
    BatchHeader,
    ForkEvidence,
    MemoryLine,
    MemoryReply,
    MemoryRequest,
    SignedHeader,
)
from simulator.host.signer import KeyedSigner
from simulator.memory_world import JOB
from workloads.api import Entries

Chunks = Callable[[PeerId, PeerId, int], Sequence[bytes]]
"""(caller, author, first seq wanted) -> the chunks that are sent."""


def some_entries(spec: MemorySpec, count: int, value: float = 0.0) -> Entries:
    """Entries that are all alike."""
    return Entries(
        np.zeros((count, spec.key_dims), np.int8),
        np.full(count, value, np.float32),
        np.zeros((count, spec.payload_bytes), np.uint8),
        1.0,
    )


def chain_of(
    signer: KeyedSigner,
    spec: MemorySpec,
    sizes: Sequence[int],
    value: float = 0.0,
    after: SignedHeader | None = None,
) -> list[Batch]:
    """A valid chain of batches with these numbers of entries."""
    batches: list[Batch] = []
    for size in sizes:
        last = batches[-1].signed if batches else after
        batches.append(make_batch(some_entries(spec, size, value), last, JOB, spec, signer))
    return batches


def forged(
    signer: KeyedSigner, batch: Batch, body: bytes | None = None, **changes: object
) -> Batch:
    """``batch`` with another body or header fields, signed again by ``signer``."""
    body = batch.body if body is None else body
    if "body_hash" not in changes:
        changes["body_hash"] = digest("memory body", body)
    header: BatchHeader = replace(batch.header, **changes)  # type: ignore[arg-type]
    raw = encode_header(header)
    return Batch(signed_header(raw, signer.sign("batch", header.job, header.seq, raw)), body)


def bad_values(signer: KeyedSigner, spec: MemorySpec, batch: Batch) -> Batch:
    """The same place in the chain, with values that are not finite."""
    entries = some_entries(spec, batch.header.entries, float("nan"))
    return forged(signer, batch, body_of(entries))


def line_of(batches: Sequence[Batch]) -> MemoryLine:
    """What a holder of these consecutive batches tells."""
    last = batches[-1].header
    return MemoryLine(
        last.author, batches[0].header.seq, last.seq + 1, last.end_entry, batches[-1].signed.id
    )


class MemoryLiar:
    """Answers "memory/1" and "batches/1" as it is told.

    Args:
        transport: of its host.
        lines: what it claims to hold; may be changed.
        chunks: what it sends; may be changed.
    """

    def __init__(
        self, transport: Transport, lines: Sequence[MemoryLine] = (), chunks: Chunks | None = None
    ) -> None:
        self.lines = list(lines)
        self.lines_for: dict[PeerId, list[MemoryLine]] = {}
        """Claims for some callers in place of ``lines``."""
        self.evidence: list[ForkEvidence] = []
        self.is_obedient = True
        """It sends no more than it was asked for."""
        self.pause_s = 0.0
        """Before each chunk."""
        self.chunks: Chunks = chunks or (lambda caller, author, seq: [])
        self.asked: list[tuple[PeerId, PeerId, int]] = []
        """(who, author, first seq) of each want."""
        self.sent_bytes = 0
        self._transport = transport
        transport.serve(MEMORY_METHOD, self._on_memory, request_bytes_max=1 << 20)
        transport.serve_stream(BATCHES_METHOD, self._on_batches, request_bytes_max=1 << 20)

    def serve_chain(self, batches: Sequence[Batch]) -> None:
        """Claim and send these batches of one author."""
        data = {batch.header.seq: encode_batch(batch) for batch in batches}
        author = batches[0].header.author
        self.lines = [line_of(batches)]

        def chunks(caller: PeerId, wanted: PeerId, first: int) -> list[bytes]:
            return [d for seq, d in sorted(data.items()) if seq >= first and wanted == author]

        self.chunks = chunks

    async def hint(self, peer: PeerId) -> None:
        """Tell a peer what is claimed."""
        request = MemoryRequest(JOB, tuple(self.lines_for.get(peer, self.lines)), hint=True)
        await self._transport.call(
            peer,
            MEMORY_METHOD,
            encode_memory_request(request),
            timeout_s=5,
            reply_bytes_max=1 << 20,
        )

    async def _on_memory(self, caller: PeerId, data: bytes) -> bytes:
        request = decode_memory_request(data)
        lines = tuple(self.lines_for.get(caller, self.lines))
        reply = MemoryReply(lines, tuple(self.evidence))
        return b"" if request.hint else encode_memory_reply(reply)

    async def _on_batches(self, caller: PeerId, data: bytes) -> AsyncIterator[bytes]:
        for want in decode_batches_request(data).wants:
            self.asked.append((caller, want.author, want.from_seq))
            left = want.bytes_max
            for number, chunk in enumerate(self.chunks(caller, want.author, want.from_seq)):
                left -= len(chunk)
                if self.is_obedient and number and left < 0:
                    break
                await asyncio.sleep(self.pause_s)
                self.sent_bytes += len(chunk)
                yield chunk
