"""Drives one round: feeds the machine what arrives, carries out what it asks for.

Flow. The machine decides; this file waits for disks, peers and the maths lane. Effects of one
event are carried out in order, with everything that must be durable first.
"""

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from node.errors import Malformed, PeerError
from node.exchange.core import RoundContext
from node.exchange.deadlines import Durations
from node.exchange.effects import (
    Apply,
    Blame,
    Certified,
    Effect,
    Fetch,
    KeepResults,
    Misbehaved,
    Persist,
    Phase,
    Reduce,
    ScatterParts,
    Screen,
    Send,
    SpreadResults,
    StartTimer,
)
from node.exchange.round import Result, RoundMachine
from node.jobs.courier import Courier
from node.jobs.records import JobRecords
from node.jobs.work import (
    Decoded,
    Encoded,
    Geometry,
    Row,
    apply_results,
    reduce_parts,
    result_root,
    screen_parts,
    weights_of,
)
from node.ledger.votes import decision_id
from node.ports import Compute
from node.state.outer import OuterState
from node.types import Digest, PeerId
from node.wire.convert import decode_proposal, encode_commitment
from node.wire.messages import (
    Certificate,
    Decision,
    FetchReply,
    PrepareCertificate,
    RoundBody,
    Scatter,
    Signed,
    Spread,
)

EVENTS_MAX = 4096
"""Events that wait for the machine; beyond it, messages of peers are refused."""
MESSAGES_PER_PEER_MAX = 128
"""Messages of one elector in one round: an honest one needs fewer even after many views."""
S_PER_PARAM = 5e-9
"""Cost of screening, combining or applying one parameter, in seconds, for the simulator."""
S_PER_BYTE = 0.3e-9
"""Cost of hashing one byte, in seconds, for the simulator."""

Event = Callable[[], list[Effect]]


@dataclass(frozen=True)
class RoundOutcome:
    """How a round ended here."""

    certificate: Certificate
    decision: Decision
    state: OuterState | None
    """The state after it, where it was computed here."""
    durations: Durations | None
    """None where views failed: such a round teaches nothing about deadlines."""


@dataclass
class RoundFlow:
    """One elector's part in one round.

    Args:
        machine: decides.
        g: geometry of the job.
        state: the state before the round.
        records: the job's disk.
        courier: delivers to electors.
        compute: the maths lane.
        group: owns the tasks of this round.
        on_phase: told of each phase; a failpoint may end the process there.
        on_blame: told of each protocol error.
        own_parts: our encoded parts, from before a restart.
    """

    machine: RoundMachine
    g: Geometry
    state: OuterState
    records: JobRecords
    courier: Courier
    compute: Compute
    group: asyncio.TaskGroup
    on_phase: Callable[[str], None]
    on_blame: Callable[[PeerId, PeerError], None]
    own_parts: Sequence[bytes] = ()
    phase: str = "train"
    weights: dict[int, float] = field(default_factory=dict)
    """Elector -> weight of its contribution in the newest plan that was reduced here."""
    _events: "asyncio.Queue[Event]" = field(default_factory=lambda: asyncio.Queue(EVENTS_MAX))
    _decoded: dict[Digest, Decoded] = field(default_factory=dict)
    _reduced: dict[Digest, dict[int, bytes]] = field(default_factory=dict)
    _shadows: dict[tuple[Digest, ...], OuterState] = field(default_factory=dict)
    _messages: dict[int, int] = field(default_factory=dict)
    _times: dict[str, float] = field(default_factory=dict)

    @property
    def context(self) -> RoundContext:
        """Facts of the round."""
        return self.machine.core.context

    # Inputs ------------------------------------------------------------------------------------

    def admit(self, sender: int) -> None:
        """Count a message of an elector.

        Raises:
            PeerError: it sent too many, or too many events wait.
        """
        count = self._messages[sender] = self._messages.get(sender, 0) + 1
        if count > MESSAGES_PER_PEER_MAX:
            raise PeerError(f"more than {MESSAGES_PER_PEER_MAX} messages in one round")
        if self._events.qsize() > EVENTS_MAX // 2:
            raise PeerError("too many messages wait")

    def take(self, sender: int, body: RoundBody) -> None:
        """Queue a message that ``admit`` let in."""
        if isinstance(body, Spread):
            self.group.create_task(self._hash_spread(sender, body))
        else:
            self._put(lambda: self.machine.on_message(sender, body))

    async def _hash_spread(self, sender: int, body: Spread) -> None:
        if any(p >= len(self.g.slices) for p, _ in body.parts):
            self.on_blame(self._peer(sender), Malformed("a result of a part that does not exist"))
            return
        roots = await self._roots(body.parts)
        self._put(lambda: self.machine.on_spread(sender, body, roots))

    def update(self, encoded: Encoded) -> None:
        """Our update is encoded and on disk."""
        self.own_parts = encoded.parts
        body = encode_commitment(encoded.commitment)
        self._put(lambda: self.machine.on_update(body))

    def _put(self, event: Event) -> None:
        self._events.put_nowait(event)

    def _peer(self, elector: int) -> PeerId:
        return self.context.electorate.ids[elector]

    # The loop ----------------------------------------------------------------------------------

    async def run(self) -> RoundOutcome:
        """Until the round is certified."""
        loop = asyncio.get_running_loop()
        self._times["start"] = loop.time()
        effects = self.machine.start()
        while True:
            certified = await self._carry_out(effects)
            if certified is not None:
                return self._outcome(certified)
            event = await self._events.get()
            effects = event()
            while not self._events.empty():  # one fsync for whatever came in the meantime
                effects += self._events.get_nowait()()
            self._note_quorum(loop.time())

    def _note_quorum(self, now: float) -> None:
        electorate = self.context.electorate
        if len(self.machine.core.commitments) >= electorate.n - electorate.f:
            self._times.setdefault("commit", now)

    def _outcome(self, certified: Certified) -> RoundOutcome:
        now = asyncio.get_running_loop().time()
        decision = certified.decision
        state = self.state if decision.skip else self._shadows.get(decision.result_roots)
        durations = None
        if not decision.skip and certified.certificate.view == 0 and "scatter" in self._times:
            start = self._times["start"]
            durations = Durations(
                commit_s=self._times.get("commit", now) - start,
                exchange_s=now - self._times["scatter"],
                round_s=now - start,
            )
        return RoundOutcome(certified.certificate, decision, state, durations)

    async def _carry_out(self, effects: list[Effect]) -> Certified | None:
        await self._make_durable(effects)
        certified = None
        for effect in effects:
            if isinstance(effect, Certified):
                certified = effect
            elif isinstance(effect, Phase):
                self.phase = effect.name
                self._times.setdefault(effect.name, asyncio.get_running_loop().time())
                self.on_phase(effect.name)
            elif isinstance(effect, Blame):
                self.on_blame(self._peer(effect.elector), effect.error)
            elif isinstance(effect, Misbehaved):
                self.on_blame(self._peer(effect.elector), PeerError(effect.reason))
            elif not isinstance(effect, (Persist, KeepResults)):
                self._start(effect)
        return certified

    async def _make_durable(self, effects: list[Effect]) -> None:
        slots: dict[str, Signed | PrepareCertificate] = {}
        for effect in effects:
            if isinstance(effect, Persist):
                slots[effect.slot] = effect.value
            elif isinstance(effect, KeepResults):
                held = self.machine.core.results
                results: list[Result] = [(held[r][0], r, held[r][1]) for r in effect.roots]
                await self.records.put_results(self.context.round, results)
        if slots:
            await self.records.put_slots(self.context.round, slots)

    def _start(self, effect: Effect) -> None:
        loop = asyncio.get_running_loop()
        if isinstance(effect, Send):
            self.courier.send(self.context, effect.to, effect.body)
        elif isinstance(effect, ScatterParts):
            if self.own_parts:
                sent = self.courier.behaviour.parts(self.context.round, self.own_parts)
                parts = tuple((p, sent[p]) for p in effect.parts)
                self.courier.send(self.context, (effect.to,), Scatter(effect.commitment, parts))
        elif isinstance(effect, SpreadResults):
            mine = self._reduced[effect.plan_id]
            parts = tuple((p, mine[p]) for p in effect.parts)
            body = Spread(effect.plan_id, parts, effect.result)
            self.courier.send(self.context, effect.to, body)
        elif isinstance(effect, StartTimer):
            name = effect.name
            loop.call_later(effect.delay_s, lambda: self._put(lambda: self.machine.on_timer(name)))
        elif isinstance(effect, Screen):
            self.group.create_task(self._screen(effect))
        elif isinstance(effect, Reduce):
            self.group.create_task(self._reduce(effect))
        elif isinstance(effect, Apply):
            self.group.create_task(self._apply(effect))
        elif isinstance(effect, Fetch):
            self.group.create_task(self._fetch(effect))

    # Work --------------------------------------------------------------------------------------

    async def _screen(self, effect: Screen) -> None:
        core = self.machine.core
        ids = dict(core.lists[effect.list_id].commitments)
        rows: list[Row] = []
        for elector in effect.listed:
            id_ = ids[elector]
            commitment = core.opened.get(id_)
            if commitment is None:
                continue
            if elector == self.context.me:
                parts = {p: self.own_parts[p] for p in effect.parts if self.own_parts}
            else:
                parts = {p: core.parts[id_, p] for p in effect.parts if (id_, p) in core.parts}
            rows.append(Row(elector, self._peer(elector), commitment, parts))
        absent = tuple(e for e in effect.listed if ids[e] not in core.opened)
        round_, size = self.context.round, sum(self.g.part_sizes[p] for p in effect.parts)
        screens, decoded = await self.compute.maths(
            lambda: screen_parts(self.g, round_, rows, effect.parts),
            cost_s=len(rows) * size * S_PER_PARAM,
        )
        self._decoded[effect.list_id] = decoded
        if absent:  # a commitment that nobody gave us: we can only complain
            lost = tuple((e, "missing") for e in absent)
            screens = tuple(
                type(s)(s.part, s.rows, s.gram, tuple(sorted((*s.complaints, *lost))))
                for s in screens
            )
        self._put(lambda: self.machine.on_screened(effect.list_id, screens))

    async def _reduce(self, effect: Reduce) -> None:
        core = self.machine.core
        state = core.plans[effect.plan_id]
        ids = dict(state.listed)
        wanted = {(e, p) for e in effect.resolution.contributors for p in effect.parts}
        decoded = next((d for d in self._decoded.values() if wanted <= d.keys()), None)
        commitments = {
            e: core.opened[ids[e]] for e in effect.resolution.contributors if ids[e] in core.opened
        }
        if decoded is None or len(commitments) != len(effect.resolution.contributors):
            return  # after a restart: the other reducers of these parts answer
        size = sum(self.g.part_sizes[p] for p in effect.parts)

        def work() -> tuple[tuple[float, ...], list[Result]]:
            weights = weights_of(self.g, effect.resolution, effect.rule, commitments)
            found = reduce_parts(
                self.g, self.context.round, effect.resolution, effect.rule, weights, decoded,
                effect.parts,
            )  # fmt: skip
            return weights, found

        weights, results = await self.compute.maths(
            work, cost_s=len(commitments) * size * S_PER_PARAM
        )
        self.weights = dict(zip(effect.resolution.contributors, weights, strict=True))
        self._reduced[effect.plan_id] = {part: data for part, _, data in results}
        self._put(lambda: self.machine.on_reduced(effect.plan_id, results))

    async def _apply(self, effect: Apply) -> None:
        data = [self.machine.core.results[root][1] for root in effect.roots]
        try:
            state, root = await self.compute.maths(
                lambda: apply_results(self.g, self.state, data), cost_s=self.g.d * S_PER_PARAM
            )
        except Malformed:
            return  # agreed on by liars alone (r <= f): never prepared here
        self._shadows[effect.roots] = state
        self._put(lambda: self.machine.on_applied(effect.roots, root))

    async def _fetch(self, effect: Fetch) -> None:
        async def take(reply: FetchReply) -> set[Digest]:
            parts = [
                (p, data)
                for p, data in reply.parts
                if p < len(self.g.slices) and len(data) == self.g.rules.result_bytes[p]
            ]
            roots = await self._roots(parts)
            results = [
                (p, root, data)
                for (p, data), root in zip(parts, roots, strict=True)
                if root in effect.ids
            ]
            self._put(lambda: self.machine.on_fetched(reply, results))
            return {name_of(s) for s in reply.signed} | {root for _, root, _ in results}

        ask = [self._peer(e) for e in effect.ask]
        await self.courier.fetch(self.context, effect.ids, ask, take)

    async def _roots(self, parts: Sequence[tuple[int, bytes]]) -> list[Digest]:
        return await self.compute.maths(
            lambda: [result_root(self.g, self.context.round, p, data) for p, data in parts],
            cost_s=sum(len(data) for _, data in parts) * S_PER_BYTE,
        )

    def held(self, ids: Sequence[Digest]) -> FetchReply:
        """Signed messages and results that another elector asks for."""
        core = self.machine.core
        return FetchReply(
            tuple(core.signed[i] for i in ids if i in core.signed),
            tuple(sorted({core.results[i] for i in ids if i in core.results})),
        )


def name_of(signed: Signed) -> Digest:
    """The id by which a signed message is fetched: a proposal's is that of its decision."""
    if signed.kind != "propose":
        return signed.id
    return decision_id(decode_proposal(signed.body, signed.job, signed.round).decision)
