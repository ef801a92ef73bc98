"""Drives one round: feeds the machine what arrives, carries out what it asks for.

Flow. The machine decides; this file waits for disks, peers and the maths lane. Effects of one
event are carried out in order, with everything that must be durable first.
"""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field

from node.errors import Malformed, PeerError
from node.exchange.arriving import Result
from node.exchange.core import RoundContext
from node.exchange.deadlines import Durations, Failed
from node.exchange.effects import (
    Apply,
    Blame,
    Certified,
    Check,
    Convicted,
    Effect,
    Fetch,
    KeepResults,
    Persist,
    Phase,
    Reduce,
    ScatterParts,
    Screen,
    Send,
    Sketch,
    SpreadResults,
    StartTimer,
)
from node.exchange.round import RoundMachine
from node.jobs.answered import Answered
from node.jobs.courier import Courier
from node.jobs.encoding import Encoded
from node.jobs.records import JobRecords
from node.jobs.round_times import RoundTimes
from node.jobs.round_work import RoundWork
from node.jobs.scope import Scope
from node.jobs.sketching import CheckedRound
from node.ledger.evidence import breach_of
from node.ledger.votes import decision_id
from node.state.outer import OuterState
from node.types import Digest, PeerId
from node.wire.convert import decode_proposal, encode_commitment
from node.wire.messages import (
    Certificate,
    Decision,
    Evidence,
    FetchReply,
    RoundBody,
    Scatter,
    Signed,
    Spread,
)

EVENTS_MAX = 2048
"""Events that wait for the machine; above it, messages of peers are refused."""
MESSAGES_PER_PEER_MAX = 128
"""Messages of one elector in one round: an honest one needs fewer even after many views."""

Event = Callable[[], list[Effect]]


@dataclass(frozen=True)
class RoundOutcome:
    """How a round ended here."""

    certificate: Certificate
    decision: Decision
    state: OuterState | None
    """The state after it, where it was computed here."""
    durations: Durations | Failed | None
    """What the round teaches about deadlines; None where it was followed from outside."""
    checked: CheckedRound | None = None
    """What openings of its parts need, where sketches backed it."""
    answered: Answered | None = None
    """What its reducers answered, where rows to compare it with were here."""


@dataclass
class RoundFlow:
    """One elector's part in one round.

    Args:
        machine: decides.
        work: computes.
        records: the job's disk.
        courier: delivers to electors.
        scope: owns the tasks of this round.
        on_phase: told of each phase; a failpoint may end the process there.
        on_blame: told of each protocol error.
        convict: puts evidence on disk.
    """

    machine: RoundMachine
    work: RoundWork
    records: JobRecords
    courier: Courier
    scope: Scope
    on_phase: Callable[[str], None]
    on_blame: Callable[[PeerId, PeerError], None]
    convict: Callable[[Evidence], Awaitable[None]]
    phase: str = "train"
    _events: "asyncio.Queue[Event]" = field(default_factory=asyncio.Queue)
    """Bounded by what ``admit`` lets in and by the work that the machine asks for."""
    _timers: list[asyncio.TimerHandle] = field(default_factory=list)
    _messages: dict[int, int] = field(default_factory=dict)
    times: RoundTimes = field(default_factory=RoundTimes)
    _unsaved: set[Digest] = field(default_factory=set)
    """Ids of what we signed that is not yet on disk."""

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
        if self._events.qsize() > EVENTS_MAX:
            raise PeerError("too many messages wait")

    def take(self, sender: int, body: RoundBody) -> None:
        """Queue a message that ``admit`` let in."""
        if isinstance(body, Spread):
            self.scope.create_task(self._take_spread(sender, body))
        else:
            self._put(lambda: self.machine.on_message(sender, body))

    async def _take_spread(self, sender: int, body: Spread) -> None:
        sizes = self.context.rules.result_bytes
        if any(p >= len(sizes) or len(data) != sizes[p] for p, data in body.parts):
            self.on_blame(self._peer(sender), Malformed("a result of a wrong part or length"))
            return
        roots = await self.work.roots(body.parts)
        self._put(lambda: self.machine.on_spread(sender, body, roots))

    def update(self, encoded: Encoded) -> None:
        """Our update is encoded and on disk."""
        self.work.own_parts = encoded.parts
        body = encode_commitment(encoded.commitment)
        self._put(lambda: self.machine.on_update(body))

    def held(self, ids: Sequence[Digest]) -> FetchReply:
        """Signed messages and results that another elector asks for."""
        core = self.machine.core
        found = [core.signed[i] for i in ids if i in core.signed]
        # Were it shown and then lost in a crash, another value could be signed in its place.
        signed = tuple(s for s in found if s.id not in self._unsaved)
        # One result a part: a second one, which only liars signed, is asked for by itself.
        results = dict(core.results[i] for i in ids if i in core.results)
        return FetchReply(signed, tuple(sorted(results.items())))

    def reached(self, step: str) -> None:
        """Remember when a step was first reached."""
        self.times.reached(step, asyncio.get_running_loop().time())

    def close(self) -> None:
        """The round is over: let go of its timers and bytes, which a cycle may hold for long."""
        for timer in self._timers:
            timer.cancel()
        self.machine.core.parts.clear()
        self.machine.core.results.clear()
        self.work.clear()

    def _put(self, event: Event) -> None:
        self._events.put_nowait(event)

    def _peer(self, elector: int) -> PeerId:
        return self.context.electorate.ids[elector]

    # The loop ----------------------------------------------------------------------------------

    async def run(self) -> RoundOutcome:
        """Until the round is certified."""
        loop = asyncio.get_running_loop()
        self.reached("start")
        effects = self.machine.start()
        while True:
            certified = await self._carry_out(effects)
            if certified is not None:
                return self._outcome(certified)
            event = await self._events.get()
            effects = event()
            while not self._events.empty():  # one fsync for whatever came in the meantime
                effects += self._events.get_nowait()()
            self.times.look(self.machine.core, loop.time())

    def _outcome(self, certified: Certified) -> RoundOutcome:
        now = asyncio.get_running_loop().time()
        decision = certified.decision
        shadows = self.work.shadows
        state = self.work.state if decision.skip else shadows.get(decision.result_roots)
        durations: Durations | Failed | None = None
        if decision.skip or certified.certificate.view > 0:
            durations = Failed()
        else:
            durations = self.times.durations(now)
        backing = self.machine.backing(decision.beacon) if decision.beacon else None
        checked = self.work.checked(backing, decision) if backing else None
        answered = self.work.answered(self.machine.beacons())
        return RoundOutcome(certified.certificate, decision, state, durations, checked, answered)

    async def _carry_out(self, effects: list[Effect]) -> Certified | None:
        await self._make_durable(effects)
        certified = None
        for effect in effects:
            if isinstance(effect, Certified):
                certified = effect
            elif isinstance(effect, Phase):
                self.phase = effect.name
                self.reached(effect.name)
                self.on_phase(effect.name)
            elif isinstance(effect, Blame):
                self.on_blame(self._peer(effect.elector), effect.error)
            elif isinstance(effect, Convicted):
                self.on_blame(self._peer(effect.elector), breach_of(effect.evidence))
            elif isinstance(effect, (Screen, Reduce, Apply, Sketch, Check, Fetch)):
                self.scope.create_task(self._do(effect))
            elif not isinstance(effect, (Persist, KeepResults)):
                self._send(effect)
        return certified

    async def _make_durable(self, effects: list[Effect]) -> None:
        slots = {e.slot: e.value for e in effects if isinstance(e, Persist)}
        self._unsaved = {value.id for value in slots.values() if isinstance(value, Signed)}
        for effect in effects:
            if isinstance(effect, Convicted):
                await self.convict(effect.evidence)
            elif isinstance(effect, KeepResults):
                held = self.machine.core.results
                results: list[Result] = [(held[r][0], r, held[r][1]) for r in effect.roots]
                await self.records.put_results(self.context.round, results)
        if slots:
            await self.records.put_slots(self.context.round, slots)
        self._unsaved.clear()

    def _send(self, effect: Send | ScatterParts | SpreadResults | StartTimer) -> None:
        if isinstance(effect, StartTimer):
            name = effect.name
            timer = asyncio.get_running_loop().call_later(
                effect.delay_s, lambda: self._put(lambda: self.machine.on_timer(name))
            )
            self._timers.append(timer)
        elif isinstance(effect, Send):
            self.courier.send(self.context, effect.to, effect.body)
        elif isinstance(effect, SpreadResults):
            mine = self.work.reduced[effect.plan_id]
            parts = tuple((p, mine[p]) for p in effect.parts)
            spread = Spread(effect.plan_id, parts, effect.result)
            self.courier.send(self.context, effect.to, spread)
        elif self.work.own_parts:  # none after a restart that lost them: the others complain
            parts = tuple((p, self.work.own_parts[p]) for p in effect.parts)
            self.courier.send(self.context, (effect.to,), Scatter(effect.commitment, parts))

    async def _do(self, effect: Screen | Reduce | Apply | Sketch | Check | Fetch) -> None:
        """Work off the loop, then tell the machine."""
        machine = self.machine
        if isinstance(effect, Screen):
            self.reached("screening")
            screens = await self.work.screen(effect)
            self._put(lambda: machine.on_screened(effect.list_id, screens))
        elif isinstance(effect, Reduce):
            results = await self.work.reduce(effect)
            if results is not None:
                self._put(lambda: machine.on_reduced(effect.plan_id, results))
        elif isinstance(effect, Apply):
            root = await self.work.apply(effect)
            if root is not None:
                self._put(lambda: machine.on_applied(effect.roots, root))
        elif isinstance(effect, Sketch):
            parts = await self.work.sketch(effect)
            if parts is not None:
                self._put(lambda: machine.on_sketched(effect.beacon_id, parts))
        elif isinstance(effect, Check):
            fault = await self.work.check(effect)
            self._put(lambda: machine.on_checked(effect.proof, fault))
        else:
            ask = [self._peer(e) for e in effect.ask]
            await self.courier.fetch(
                self.context, effect.ids, ask, lambda reply: self._take_fetched(effect, reply)
            )

    async def _take_fetched(self, effect: Fetch, reply: FetchReply) -> set[Digest]:
        """Check a reply; the ids that it really held."""
        sizes = self.context.rules.result_bytes
        parts = [(p, data) for p, data in reply.parts if p < len(sizes) and len(data) == sizes[p]]
        roots = await self.work.roots(parts)
        results = [
            (p, root, data)
            for (p, data), root in zip(parts, roots, strict=True)
            if root in effect.ids
        ]
        self._put(lambda: self.machine.on_fetched(reply, results))
        return {name_of(s) for s in reply.signed} | {root for _, root, _ in results}


def name_of(signed: Signed) -> Digest:
    """The id by which a signed message is fetched: a proposal's is that of its decision."""
    if signed.kind != "propose":
        return signed.id
    return decision_id(decode_proposal(signed.body, signed.job, signed.round).decision)
