"""Shared memory under hostile bytes: decoders, the intake of a stream, and whole nodes.

Everything is a value or a PeerError, nothing that an honest node holds changes by it, and nobody
but the liar is blamed.
"""

import asyncio
from collections.abc import Callable, Sequence
from itertools import pairwise
from typing import Any

import numpy as np
import pytest
from google.protobuf.descriptor import FieldDescriptor as Field
from google.protobuf.message import Message

from node.errors import PeerError, Unavailable
from node.ledger.forks import check_fork
from node.memory.batch import check_batch, entries_of
from node.memory.chain import Chain
from node.memory.intake import Intake, Step
from node.memory.memory_set import MemorySet
from node.memory.peers import METHOD as MEMORY_METHOD
from node.memory.pulling import METHOD as BATCHES_METHOD
from node.types import PeerId
from node.wire import convert_memory as convert
from node.wire import limits
from node.wire import memory_pb2 as pb
from node.wire.memory_messages import (
    Batch,
    BatchesRequest,
    BatchWant,
    ForkEvidence,
    MemoryLine,
    MemoryReply,
    MemoryRequest,
    Question,
)
from simulator.host.signer import KeyedSigner, verify
from simulator.loop import run
from simulator.memory_liar import MemoryLiar, chain_of, line_of
from simulator.memory_world import JOB, SMALL, MemoryWorld

LIAR = KeyedSigner(bytes(range(32)))
OTHER = KeyedSigner(bytes(range(1, 33)))
CHAIN = chain_of(LIAR, SMALL, [3, 4, 5, 2, 2, 6])
TWIN = chain_of(LIAR, SMALL, [3, 4, 5, 2], 2.0)
CALLS = 60

Target = tuple[Callable[[bytes], Any], int, type[Message], list[bytes]]
"""(decoder, declared limit in bytes, class of the message, valid inputs)."""


def _targets() -> dict[str, Target]:
    batches = [convert.encode_batch(batch) for batch in [*CHAIN, *TWIN]]
    proof = ForkEvidence(CHAIN[0].signed, TWIN[0].signed)
    lines = (line_of(CHAIN[2:]), MemoryLine(OTHER.peer_id, forked=True))
    wants = tuple(BatchWant(s.peer_id, 3, 1 << 20) for s in (LIAR, OTHER))
    return {
        "header": (
            convert.decode_header, limits.BATCH_HEADER_BYTES_MAX, pb.BatchHeader,
            [batch.signed.raw for batch in CHAIN],
        ),
        "batch": (convert.decode_batch, limits.BATCH_BYTES_MAX, pb.Batch, batches),
        "evidence": (
            convert.decode_fork, 1024, pb.ForkEvidence, [convert.encode_fork(proof)]
        ),
        "memory_request": (
            convert.decode_memory_request, limits.MEMORY_LINES_BYTES_MAX, pb.MemoryRequest,
            [convert.encode_memory_request(MemoryRequest(JOB, lines, hint=True))],
        ),
        "memory_reply": (
            convert.decode_memory_reply, limits.MEMORY_REPLY_BYTES_MAX, pb.MemoryReply,
            [convert.encode_memory_reply(MemoryReply(lines, (proof,)))],
        ),
        "batches_request": (
            convert.decode_batches_request, limits.BATCHES_REQUEST_BYTES_MAX, pb.BatchesRequest,
            [convert.encode_batches_request(BatchesRequest(JOB, wants))],
        ),
        "question": (
            convert.decode_question, limits.QUESTION_REQUEST_BYTES_MAX, pb.Question,
            [convert.encode_question(Question(JOB, b"what?"))],
        ),
    }  # fmt: skip


TARGETS = _targets()


def mutator_of(fuzz: Any) -> Any:
    """The shared mutator, which also knows the scalars that only memory has."""

    class MemoryMutator(fuzz.Mutator):  # type: ignore[misc]
        def _scalar(self, field: Any, value: Any, c: Any) -> Any:
            if field.type == Field.TYPE_ENUM:
                return c.pick(5)
            if field.type == Field.TYPE_FIXED32:
                return c.of((0, 1, 0x3F800000, 0x7F800000, 0x7FC00000, 0x80000000, 2**32 - 1))
            return super()._scalar(field, value, c)

    pool = [CHAIN[1].signed.id, TWIN[1].signed.id, LIAR.public_key, bytes(32), b""]
    return MemoryMutator(LIAR.public_key, JOB, 1, pool)


def changed(fuzz: Any, kind: type[Message], data: bytes, c: Any) -> bytes:
    """``data`` with a change in its tree or bytes; changed headers are signed again."""
    if c.pick(5) == 0:
        return bytes(fuzz.mangled(data, c))
    mutator = mutator_of(fuzz)
    m = kind.FromString(data)
    for _ in range(c.pick(3)):
        mutator.mutate(m, c)
    if isinstance(m, pb.Batch) and c.pick(4):
        resign(m, mutator, c)
    return m.SerializeToString()


def resign(m: pb.Batch, mutator: Any, c: Any) -> None:
    header = pb.BatchHeader()
    try:
        header.ParseFromString(m.signed.header)
    except Exception:
        return
    for _ in range(c.pick(3)):
        mutator.mutate(header, c)
    if c.pick(2):
        header.body_hash = convert.hash_of("memory body", m.body)
    m.signed.header = header.SerializeToString(deterministic=True)
    m.signed.signature = LIAR.sign("batch", JOB, header.seq, m.signed.header)


@pytest.mark.parametrize("name", sorted(TARGETS))
def test_a_decoder_raises_nothing_but_peer_errors(name: str, fuzz: Any) -> None:
    decode, limit, kind, valid = TARGETS[name]
    for data in valid:
        decode(data)
    accepted = 0

    def case(c: Any, noise: bytes) -> None:
        nonlocal accepted
        data = noise if c.pick(8) == 0 else changed(fuzz, kind, c.of(valid), c)
        found = fuzz.refuses(lambda: decode(data), min(limit, 64 * len(data)))
        accepted += found is not None
        if isinstance(found, Batch):
            try:
                check_batch(found, JOB, SMALL, verify)
            except PeerError:
                return
            assert np.isfinite(entries_of(found).values).all()
        elif isinstance(found, ForkEvidence):
            fuzz.refuses(lambda: check_fork(found, JOB, verify), limit)

    fuzz.run(0.2 / len(TARGETS), case)
    assert accepted > 0, "no mutation came through: they are too coarse to reach a check"


def test_the_intake_takes_only_what_extends_a_chain_or_proves_a_fork(fuzz: Any) -> None:
    taken = forks = 0

    def case(c: Any, noise: bytes) -> None:
        nonlocal taken, forks
        held = MemorySet([LIAR.peer_id, OTHER.peer_id], SMALL)
        for batch in CHAIN[: c.pick(4)]:
            held.add(batch.signed)
        chain = held.chain(LIAR.peer_id)
        wants = [BatchWant(LIAR.peer_id, c.of((chain.next, max(0, chain.next - 1))), 1 << 20)]
        intake = Intake(JOB, held, verify, OTHER.peer_id, wants)
        for step in range(6):
            pool = CHAIN if c.pick(4) else TWIN
            at = (wants[0].from_seq + step) if c.pick(6) else c.pick(len(pool))
            data = convert.encode_batch(pool[at % len(pool)])
            if c.pick(4) == 0:
                data = changed(fuzz, pb.Batch, data, c)
            try:
                batch = convert.decode_batch(data)
                outcome = intake.take(batch, len(data))
            except PeerError:
                break
            if outcome.step is Step.APPEND:
                taken += 1
                check_batch(batch, JOB, SMALL, verify)
                held.add(batch.signed)  # asserts that it follows
            elif outcome.evidence is not None:
                forks += 1
                check_fork(outcome.evidence, JOB, verify)
                held.fork(outcome.evidence)
        check_chain(held.chain(LIAR.peer_id))

    fuzz.run(0.2, case)
    assert taken > 0
    assert forks > 0


def check_chain(chain: Chain) -> None:
    headers = chain.headers()
    for first, later in pairwise(headers):
        assert later.header.prev == first.id
        assert later.header.first_entry == first.header.end_entry
    assert chain.is_complete


def test_nodes_beside_a_liar_stay_equal_and_blame_only_it(fuzz: Any) -> None:
    scored = 0

    async def main(data: bytes) -> None:
        nonlocal scored
        world = MemoryWorld(3, data[0])
        world.nodes[2].signer = LIAR
        world.authors[2] = LIAR.peer_id
        for index in range(2):
            await world.start(index)
        transport = world.lie(2).transport
        liar = MemoryLiar(transport)
        rng = np.random.default_rng(list(data))

        def chunks(caller: PeerId, author: PeerId, first: int) -> Sequence[bytes]:
            c = fuzz.Choices(rng.bytes(60))
            pool = CHAIN if c.pick(6) else TWIN
            whole = [convert.encode_batch(batch) for batch in pool[first:]]
            return [changed(fuzz, pb.Batch, d, c) if c.pick(3) == 0 else d for d in whole]

        liar.chunks = chunks
        liar.is_obedient = False
        for number in range(CALLS):
            c = fuzz.Choices(rng.bytes(60))
            honest = world.honest[0].lines()
            liar.lines = [line_of(CHAIN[: 1 + c.pick(6)]), *(x for x in honest if x.next)][
                : c.pick(3)
            ]
            victim = world.nodes[c.pick(2)].peer
            name = c.of(("memory_request", "batches_request"))
            request = changed(fuzz, TARGETS[name][2], TARGETS[name][3][0], c)
            await call(transport, victim, name, rng.bytes(40) if c.pick(6) == 0 else request)
            if number % 10 == 0:
                await world.append(c.pick(2), 3)
            await asyncio.sleep(0.05)
        liar.lines, liar.chunks = [], lambda caller, author, first: []
        await world.until(world.all_equal, within_s=90.0)
        for service in world.honest:
            made = {a.author: a.made for a in service.status().authors}
            assert all(made[node.peer] == node.made for node in world.nodes[:2])
        assert world.blamed() <= {LIAR.peer_id}
        scored += bool(world.blamed())
        await world.close()

    fuzz.run(0.1, lambda c, data: run(main(data)), each=CALLS)
    assert scored > 0, "nothing that the liar sent was noticed"


async def call(transport: Any, victim: PeerId, name: str, data: bytes) -> None:
    try:
        if name == "memory_request":
            await transport.call(victim, MEMORY_METHOD, data, timeout_s=5, reply_bytes_max=1 << 20)
            return
        async for _ in transport.stream(
            victim, BATCHES_METHOD, data, idle_timeout_s=5, chunk_bytes_max=1 << 22
        ):
            pass
    except (PeerError, Unavailable):
        pass
