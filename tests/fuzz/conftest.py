"""What the fuzz tests share: a budget of inputs, hostile bytes, mutations of valid messages.

Inputs are drawn by hypothesis from a fixed seed per target, so every run repeats. A drawn byte
string is a list of choices: it says where a valid message is changed and how.
"""

import os
import tracemalloc
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any
from zlib import crc32

import numpy as np
import pytest
from google.protobuf.descriptor import FieldDescriptor as Field
from google.protobuf.message import DecodeError, Message
from hypothesis import HealthCheck, Phase, given, seed, settings
from hypothesis import strategies as st

from node.errors import PeerError
from node.ledger.chain import genesis_id
from node.types import JobId
from node.wire import exchange_pb2 as pb
from node.wire import ledger_pb2
from node.wire.convert import encode_round
from node.wire.messages import RoundBody, RoundMessage
from simulator.host.signer import KeyedSigner
from simulator.machines import JOB, Host, MachineWorld, Weather

INPUTS = int(os.environ.get("ARTEL_FUZZ_INPUTS", "5000"))
"""Hostile inputs of the whole folder; each target takes its share."""
SLACK_BYTES = 1 << 20
TEMPLATES_MAX = 20
"""Valid messages of each kind that are changed."""
NOBODY = bytes([7]) * 32
"""A key outside every electorate."""
BODIES: dict[str, type[Message]] = {
    "commit": pb.Commitment,
    "have": pb.Have,
    "list": pb.List,
    "screen": pb.Screens,
    "plan": pb.Plan,
    "result": pb.Results,
    "seal": pb.Seal,
    "reveal": pb.Reveal,
    "beacon": pb.Beacon,
    "sketch": pb.Sketches,
    "propose": pb.Proposal,
}
KINDS = (*BODIES, "prepare", "vote")
SMALL = (0, 1, 2, 3, 4, 5, 63, 64, 65, 255, 2**31 - 1, 2**31, 2**32 - 1)
LARGE = (*SMALL, 2**48, 2**48 + 1, 2**53, 2**63 - 1, 2**63, 2**64 - 1)
SIGNED_INTS = (0, 1, -1, 113, 114, 115, 200, 201, -162, -163, -200, -201, 2**31 - 1, -(2**31))


class Choices:
    """Decisions read from drawn bytes, two at a time; zero when they run out, so that they shrink.

    Args:
        data: what hypothesis drew.
    """

    def __init__(self, data: bytes) -> None:
        self._data = data
        self._at = 0

    def pick(self, options: int) -> int:
        """A number below ``options``."""
        word = self._data[self._at : self._at + 2]
        self._at += 2
        return int.from_bytes(word, "big") % options

    def of(self, options: Any) -> Any:
        """One of a sequence."""
        return options[self.pick(len(options))]

    def bytes(self, size: int) -> bytes:
        """Noise that depends on the drawn bytes."""
        stamp = crc32(self._data[self._at :]) + self._at
        return bytes((stamp >> (8 * (i % 4))) + i & 255 for i in range(size))


class Mutator:
    """Changes valid protobuf messages in place; what it signs, the liar signs.

    Args:
        liar: the key with which changed messages are signed again.
        job: job of the signatures.
        round_: round of the signatures.
        pool: byte strings worth putting elsewhere: ids of lists, plans, results, decisions.
        views: views worth claiming: those that the liar leads.
    """

    def __init__(
        self,
        liar: bytes,
        job: JobId,
        round_: int,
        pool: list[bytes],
        views: tuple[int, ...] = (0,),
    ) -> None:
        self._signer = KeyedSigner(liar)
        self._job = job
        self._round = round_
        self._pool = pool or [bytes(32)]
        self._views = views

    def sign(self, m: pb.Signed) -> None:
        """Make ``m`` a message of the liar whose signature holds."""
        m.signer = self._signer.public_key
        m.signature = self._signer.sign(m.kind, self._job, self._round, m.body)

    def mutate(self, m: Message, c: Choices) -> None:
        """One change somewhere in the tree under ``m``, bodies of signed messages included."""
        if isinstance(m, pb.Signed) and c.pick(8):
            self._signed(m, c)
            return
        fields = list(m.DESCRIPTOR.fields)
        present = [f for f, _ in m.ListFields()]
        field = c.of(present) if present and c.pick(4) else c.of(fields)
        if field.is_repeated:
            self._repeated(m, field, c)
        elif field.type == Field.TYPE_MESSAGE:
            if c.pick(6) == 0:
                m.ClearField(field.name)
            else:
                self.mutate(getattr(m, field.name), c)
        elif field.name == "decision" and c.pick(4):
            self._decision(m, c)
        else:
            setattr(m, field.name, self._scalar(field, getattr(m, field.name), c))

    def _signed(self, m: pb.Signed, c: Choices) -> None:
        how = c.pick(12)
        kind = BODIES.get(m.kind)
        if how == 0:
            m.kind = c.of(KINDS)
        elif how == 1:
            m.body = self._bytes(m.body, c)
        elif how == 2:
            m.signature = self._bytes(m.signature, c)
            return
        elif how == 3:
            m.signer = c.of((NOBODY, self._signer.public_key))
            return
        elif kind is None:
            view = c.of((*self._views, *SMALL))
            id_ = m.body[4:] if c.pick(2) else c.of(self._pool)
            m.body = view.to_bytes(4, "big") + id_
        elif how > 4:
            body = kind()
            try:
                body.ParseFromString(m.body)
            except DecodeError:
                return
            for _ in range(1 + c.pick(2)):
                self.mutate(body, c)
            m.body = body.SerializeToString()
        if c.pick(8):  # else: forged in the name of whoever signed it before
            self.sign(m)

    def _decision(self, m: Any, c: Choices) -> None:
        decision = ledger_pb2.Decision()
        try:
            decision.ParseFromString(m.decision)
        except DecodeError:
            return
        self.mutate(decision, c)
        m.decision = decision.SerializeToString(deterministic=True)

    def _repeated(self, m: Message, field: Any, c: Choices) -> None:
        items = getattr(m, field.name)
        how = c.pick(6)
        nested = field.type == Field.TYPE_MESSAGE
        if how == 0:
            del items[c.pick(len(items) + 1) :]
        elif how == 1 and items:
            items.extend([items[c.pick(len(items))]] * c.of((1, 1, 2, 64)))
        elif how == 2 and len(items) > 1:
            order = list(items)
            at = c.pick(len(order) - 1)
            order[at], order[at + 1] = order[at + 1], order[at]
            copies = [type(x).FromString(x.SerializeToString()) if nested else x for x in order]
            del items[:]
            items.extend(copies)
        elif how == 3:
            if nested:
                items.add()
            else:
                items.append(self._scalar(field, None, c))
        elif items:
            at = c.pick(len(items))
            if nested:
                self.mutate(items[at], c)
            else:
                items[at] = self._scalar(field, items[at], c)

    def _scalar(self, field: Any, value: Any, c: Choices) -> Any:
        if field.type == Field.TYPE_BYTES:
            return self._bytes(value or b"", c)
        if field.type == Field.TYPE_STRING:
            return c.of(("", "missing", "too_few", "view", "a" * 33, "é", "x y", "mean"))
        if field.type == Field.TYPE_BOOL:
            return not value
        if field.type in (Field.TYPE_SINT32, Field.TYPE_SINT64):
            return c.of(SIGNED_INTS)
        if field.name == "view" and c.pick(2):
            return c.of(self._views)
        return c.of(SMALL if field.type == Field.TYPE_UINT32 else LARGE)

    def _bytes(self, value: bytes, c: Choices) -> bytes:
        how = c.pick(7)
        if how == 0:
            return value[: c.pick(len(value) + 1)]
        if how == 1:
            return value + c.bytes(1 + c.pick(64))
        if how == 2:
            return value * c.of((2, 3, 64)) if len(value) < 4096 else b""
        if how == 3 and value:
            at = c.pick(len(value))
            return value[:at] + bytes([value[at] ^ 1 << c.pick(8)]) + value[at + 1 :]
        if how == 4:
            return c.bytes(len(value))
        return bytes(c.of(self._pool))


def mangled(data: bytes, c: Choices) -> bytes:
    """``data`` with a byte changed, a piece cut, doubled or swapped."""
    how = c.pick(5)
    a, b = sorted((c.pick(len(data) + 1), c.pick(len(data) + 1)))
    if how == 0:
        return data[:a]
    if how == 1:
        return data[:a] + data[b:]
    if how == 2:
        return data[:b] + data[a:]
    if how == 3:
        return data[:a] + c.bytes(b - a) + data[b:]
    flipped = bytes([data[a] ^ 1 << c.pick(8)]) if a < len(data) else b"\xff"
    return data[:a] + flipped + data[a + 1 :]


class Fuzz:
    """Runs one target on its share of the inputs."""

    def __init__(self, name: str) -> None:
        self._name = name
        self.inputs = 0
        self.Choices = Choices
        self.Mutator = Mutator
        self.mangled = mangled

    def run(self, share: float, case: Callable[[Choices, bytes], None], *, each: int = 1) -> None:
        """Call ``case`` until a ``share`` of all inputs was tried.

        Args:
            share: part of all inputs.
            case: one example: gets choices, and the drawn bytes themselves.
            each: inputs that one call of ``case`` tries.
        """
        wanted = max(4, round(share * INPUTS / each))
        start = self.inputs

        @seed(crc32(self._name.encode()))
        @settings(
            max_examples=wanted,
            deadline=None,
            database=None,
            phases=(Phase.generate, Phase.shrink),
            suppress_health_check=list(HealthCheck),
        )
        @given(st.binary(min_size=8, max_size=96))
        def one(data: bytes) -> None:
            self.inputs += 1
            case(Choices(data), data)

        one()
        assert self.inputs - start >= wanted, "hypothesis drew fewer examples than asked"

    @contextmanager
    def bounded(self, limit_bytes: int) -> Iterator[None]:
        """Assert that Python's memory rises by at most ``limit_bytes`` and 1 MiB inside."""
        tracemalloc.start()  # here only: hypothesis itself would run at half its speed
        try:
            yield
            rise = tracemalloc.get_traced_memory()[1]
        finally:
            tracemalloc.stop()
        assert rise <= limit_bytes + SLACK_BYTES, f"{rise} bytes for a limit of {limit_bytes}"

    def refuses(self, call: Callable[[], Any], limit_bytes: int) -> Any:
        """What ``call`` returns, or None where it raised a PeerError. Anything else escapes."""
        with self.bounded(limit_bytes):
            try:
                return call()
            except PeerError:
                return None


class Recorder(MachineWorld):
    """Keeps every message that was sent, by kind."""

    def __init__(self, seed_: int) -> None:
        self.sent: list[bytes] = []
        checked = seed_ % 2  # takes more steps, and so better weather
        weather = Weather(0.01, 0.1, 0.01, 0.0) if checked else Weather(0.1, 0.1, 0.1, 0.01)
        super().__init__(4, 1, np.random.default_rng(seed_), weather, replicas=checked)

    def _post(self, host: Host, to: int, body: RoundBody, *, to_self: bool = False) -> None:
        super()._post(host, to, body, to_self=to_self)
        self.sent.append(encode_round(RoundMessage(JOB, 1, genesis_id(JOB), body)))


@pytest.fixture(scope="session")
def sent() -> dict[str, list[bytes]]:
    """Valid "round/1" requests by kind, from rounds with a liar, lost messages and crashes."""
    found: dict[str, dict[bytes, None]] = {}
    for seed_ in range(4):
        world = Recorder(seed_)
        world.run(400)
        assert world.heal(20_000)
        for data in world.sent:
            m = pb.RoundMessage.FromString(data)
            body = m.WhichOneof("body") or ""
            found.setdefault(m.signed.kind or body, {})[data] = None
            if m.spread.HasField("result"):
                m.signed.CopyFrom(m.spread.result)
                found.setdefault("result", {})[m.SerializeToString()] = None
    assert set(found) >= {*KINDS, "scatter", "spread", "prepared", "certificate", "evidence"}
    return {kind: list(found[kind])[:TEMPLATES_MAX] for kind in sorted(found)}


@pytest.fixture
def fuzz(request: pytest.FixtureRequest) -> Fuzz:
    return Fuzz(request.node.nodeid)
