"""Round machines under one lying elector that can sign: nothing escapes, only the liar is blamed.

The liar takes messages of the round as it runs, changes them anywhere, signs them again and sends
them to honest machines between honest messages. Afterwards the round must still be certified.
"""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from node.errors import PeerError
from node.exchange.effects import Convicted, Effect
from node.ledger.chain import genesis_id
from node.merkle import digest
from node.wire import exchange_pb2 as pb
from node.wire.convert import decode_fetched, decode_round, encode_commitment
from node.wire.messages import Commitment, FetchReply, PartCommitment, RoundBody, Spread
from simulator.host.signer import KeyedSigner, verify
from simulator.machines import JOB, PART_BYTES, Host, MachineWorld, Weather

PARTS = 3
FOREIGN = (
    "commit", "plan", "prepare", "result", "reveal", "scatter", "screen", "seal", "sketch",
    "spread", "vote",
)  # fmt: skip
"""Kinds that are also taken from other runs. The rest hold quorums, which no liar can make."""
GRAFTED = {
    "plan": pb.Plan, "screen": pb.Screens, "result": pb.Results, "seal": pb.Seal,
    "reveal": pb.Reveal, "sketch": pb.Sketches,
}  # fmt: skip
CALM = Weather(0, 0, 0, 0)
HOSTILE_PER_ROUND = 20
HEAL_STEPS = 4000


class LiarWorld(MachineWorld):
    """Four or seven electors and three parts; the liar is an honest machine and this test."""

    def __init__(self, n: int, liar: int, rng: np.random.Generator) -> None:
        self.history: list[bytes] = []
        self.misbehaved: set[int] = set()
        super().__init__(n, 0, rng, CALM, replicas=int(rng.integers(2)))
        self.liar = liar
        self.liars = {liar}

    def _context(self, host: Host) -> Any:
        context = super()._context(host)
        sizes = (PART_BYTES,) * PARTS
        rules = replace(context.rules, part_bytes=sizes, result_bytes=sizes, buckets=(1,) * PARTS)
        return replace(context, rules=rules)

    def _boot(self, host: Host) -> None:
        context = self._context(host)
        signer = KeyedSigner(self.electorate.keys[host.elector][0])
        host.machine = self.make(context, signer, verify)
        self._carry_out(host, host.machine.start())
        part = PartCommitment(digest("leaf", bytes([host.elector])), 1, 0)
        body = encode_commitment(
            Commitment(context.prev, context.state_root, (part,) * PARTS, 1, 0)
        )
        self._carry_out(host, host.machine.on_update(body))

    def _post(self, host: Host, to: int, body: RoundBody, *, to_self: bool = False) -> None:
        before = len(self.mail)
        super()._post(host, to, body, to_self=to_self)
        self.history += [data for _, _, data in self.mail[before:]]

    def _carry_out(self, host: Host, effects: list[Effect]) -> None:
        self.misbehaved |= {e.elector for e in effects if isinstance(e, Convicted)}
        super()._carry_out(host, effects)

    def ids(self) -> list[bytes]:
        """Every id that a message could name."""
        found: dict[bytes, None] = {}
        for host in self.hosts:
            if host.machine is not None:
                core = host.machine.core
                for table in (core.signed, core.results, core.plans, core.lists):
                    found |= dict.fromkeys(bytes(k) for k in table)
        return list(found)

    def mutator(self, fuzz: Any) -> Any:
        n = self.electorate.n
        first = (self.liar - 1) % n
        key = self.electorate.keys[self.liar][0]
        views = (*(h.machine.view for h in self.hosts if h.machine), first, first + n)
        return fuzz.Mutator(key, JOB, 1, self.ids(), views)

    def tell(self, host: Host, data: bytes) -> None:
        """The liar sends ``data``; what the runner refuses before the machine is left out."""
        message = decode_round(data)
        if (message.job, message.round, message.prev) != (JOB, 1, genesis_id(JOB)):
            return
        assert host.machine is not None
        body = message.body
        if isinstance(body, Spread):
            roots = [digest("part", bytes([p]) + part) for p, part in body.parts]
            self._carry_out(host, host.machine.on_spread(self.liar, body, roots))
        else:
            self._carry_out(host, host.machine.on_message(self.liar, body))

    def answer(self, host: Host, data: bytes) -> None:
        """The liar answers a request for messages by id."""
        reply: FetchReply = decode_fetched(data, JOB, 1)
        assert host.machine is not None
        results = [(p, digest("part", bytes([p]) + part), part) for p, part in reply.parts]
        self._carry_out(host, host.machine.on_fetched(reply, results))


def graft(m: pb.RoundMessage, world: LiarWorld, c: Any) -> None:
    """Make a message of another run refer to a list or plan of this one."""
    kind = GRAFTED.get(m.signed.kind)
    cores = [h.machine.core for h in world.hosts if h.machine is not None]
    lists = sorted({i for core in cores for i in core.lists})
    plans = sorted({i for core in cores for i in core.plans})
    if kind in (pb.Plan, pb.Screens) and lists:
        body = kind.FromString(m.signed.body)
        body.list_id = c.of(lists)
        m.signed.body = body.SerializeToString()
    elif kind in (pb.Results, pb.Seal) and plans:
        body = kind.FromString(m.signed.body)
        body.plan_id = c.of(plans)
        m.signed.body = body.SerializeToString()
    elif kind is pb.Reveal and (ids := world.ids()):
        body = kind.FromString(m.signed.body)
        body.seal_id = c.of(ids)
        m.signed.body = body.SerializeToString()
    elif kind is pb.Sketches and (ids := world.ids()):
        body = kind.FromString(m.signed.body)
        body.beacon_id = c.of(ids)
        m.signed.body = body.SerializeToString()
    elif m.HasField("spread") and plans:
        m.spread.plan_id = c.of(plans)


def hostile(
    world: LiarWorld, c: Any, fuzz: Any, sent: dict[str, list[bytes]]
) -> tuple[bool, bytes]:
    """(is it an answer, bytes): a message of this round, or one like it, changed."""
    mutator = world.mutator(fuzz)
    how = c.pick(6)
    if how < 2:
        m = pb.RoundMessage.FromString(c.of(sent[c.of(FOREIGN)]))
        graft(m, world, c)
        for signed in (m.signed, m.scatter.commitment, m.spread.result):
            if signed.kind:
                mutator.sign(signed)
    else:
        m = pb.RoundMessage.FromString(c.of(world.history if how < 3 else world.history[-60:]))
    if m.WhichOneof("body") == "signed" and c.pick(2):
        mutator.sign(m.signed)
    if c.pick(12) == 0:
        return False, bytes(fuzz.mangled(m.SerializeToString(), c))
    for _ in range(c.pick(3)):
        inner = getattr(m, m.WhichOneof("body") or "signed")
        mutator.mutate(m if c.pick(8) == 0 else inner, c)
    if c.pick(4) or m.WhichOneof("body") != "signed":
        return False, m.SerializeToString()
    return True, pb.FetchReply(signed=[m.signed], parts=m.spread.parts).SerializeToString()


def play(world: LiarWorld, data: bytes, fuzz: Any, sent: dict[str, list[bytes]]) -> None:
    honest = [h for h in world.hosts if h.elector != world.liar]
    for k in range(HOSTILE_PER_ROUND):
        c = fuzz.Choices(digest("hostile", data + bytes([k])) + data)
        for _ in range(c.pick(2 * world.electorate.n)):
            world._step(world.weather)
        host = c.of(honest)
        for_answer, message = hostile(world, c, fuzz, sent)
        with fuzz.bounded(64 * len(message)):
            try:
                (world.answer if for_answer else world.tell)(host, message)
            except PeerError:
                continue
        assert world.blamed | world.misbehaved <= {world.liar}, "an honest elector is blamed"


@pytest.mark.parametrize("n", [4, 7])
def test_a_liar_that_signs_breaks_no_machine_and_is_the_only_one_blamed(
    n: int, fuzz: Any, sent: dict[str, list[bytes]]
) -> None:
    blamed = 0

    def case(c: Any, data: bytes) -> None:
        nonlocal blamed
        world = LiarWorld(n, c.pick(n), np.random.default_rng(c.pick(1 << 16)))
        play(world, data, fuzz, sent)
        blamed += bool(world.blamed)
        assert world.heal(HEAL_STEPS), "the round is not certified"
        assert world.blamed | world.misbehaved <= {world.liar}
        assert len({id_ for ids in world.decided.values() for id_ in ids}) == 1

    fuzz.run(0.2 if n == 4 else 0.05, case, each=HOSTILE_PER_ROUND)
    assert blamed > 0, "no mutation reached a check"
