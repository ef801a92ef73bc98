"""Round machines alone under a hostile scheduler: no loop, no clock, no tensors.

Any message may be delivered next, twice, late or never; any timer may fire at any moment; any node
may crash and come back with what it persisted. A liar is two honest machines with one key that
share a mailbox, so it equivocates in every way that the protocol allows. Bytes cross every hop.

Source:
    Bano et al. 2020, arXiv:2004.10617 (Twins): equivocation from two copies of a correct node.
"""

from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np

from node.exchange.core import RoundContext, RoundRules
from node.exchange.deadlines import Deadlines
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
    Reduce,
    ScatterParts,
    Screen,
    Send,
    Sketch,
    SpreadResults,
    StartTimer,
)
from node.exchange.round import RoundMachine
from node.ledger.chain import genesis_id
from node.ledger.electorate import Electorate
from node.ledger.votes import decision_id
from node.merkle import digest
from node.types import Digest, JobId
from node.wire.convert import decode_round, encode_commitment, encode_round
from node.wire.messages import (
    Certificate,
    Commitment,
    Evidence,
    PartCommitment,
    PrepareCertificate,
    RoundBody,
    RoundMessage,
    Scatter,
    Signed,
    Spread,
)
from simulator.host.signer import KeyedSigner, verify
from simulator.machine_work import found_by, root_of, screen_of

JOB = JobId(bytes(32))
PART_BYTES = 4
BUCKETS = 1


@dataclass
class Host:
    """One machine and the disk under it. Twins are two hosts with one ``elector``."""

    elector: int
    twin: int
    slots: dict[str, Signed] = field(default_factory=dict)
    lock: PrepareCertificate | None = None
    results: dict[Digest, tuple[int, bytes]] = field(default_factory=dict)
    evidence: dict[int, Evidence] = field(default_factory=dict)
    machine: RoundMachine | None = None
    timers: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class Weather:
    """How hostile the scheduler is; probabilities for each step."""

    drop: float = 0.05
    duplicate: float = 0.05
    timer: float = 0.05
    crash: float = 0.005


MachineFactory = Callable[..., RoundMachine]


class MachineWorld:
    """n electors in one round.

    Args:
        n: electors.
        liars: how many of them are twins; they are the first leaders.
        rng: decides everything.
        weather: see ``Weather``.
        forgets: slots (by prefix) that a planted bug does not put on disk.
        make: builds a machine; a planted bug passes a broken one.
        replicas: equal answers that a part needs; 0: as a job has it by default.
    """

    def __init__(
        self,
        n: int,
        liars: int,
        rng: np.random.Generator,
        weather: Weather,
        *,
        forgets: tuple[str, ...] = (),
        make: MachineFactory = RoundMachine,
        replicas: int = 0,
    ) -> None:
        self.rng = rng
        self.weather = weather
        self.forgets = forgets
        self.make = make
        keys = [digest("test key", bytes([i])) for i in range(n)]
        self.electorate = Electorate.of(keys)
        self.replicas = replicas or self.electorate.replicas
        self.liars = {self.electorate.leader(1, view) for view in range(liars)}
        self.hosts = [
            Host(e, twin) for e in range(n) for twin in range(2 if e in self.liars else 1)
        ]
        self.mail: list[tuple[Host, int, bytes]] = []
        self.decided: dict[int, set[Digest]] = {}
        self.blamed: set[int] = set()
        self.convicted: dict[int, set[int]] = {}
        """Elector -> whom its honest hosts hold evidence against."""
        self.certificate: Certificate | None = None
        self.silenced: set[int] = set()
        """Electors that no longer hear or are heard."""
        for host in self.hosts:
            self._boot(host)

    # Hosts -------------------------------------------------------------------------------------

    def _context(self, host: Host) -> RoundContext:
        rules = RoundRules(
            (PART_BYTES,), (PART_BYTES,), self.replicas, 2, "mean", 1, "mean", (BUCKETS,)
        )
        deadlines = Deadlines(1.0, 0.5, 1.0, 5.0, 60.0)
        prev, state = genesis_id(JOB), digest("state", b"0")
        return RoundContext(
            JOB, 1, prev, state, self.electorate, host.elector, rules, deadlines, 100
        )

    def _boot(self, host: Host) -> None:
        context = self._context(host)
        signer = KeyedSigner(self.electorate.keys[host.elector][0])
        results = [(part, root, data) for root, (part, data) in host.results.items()]
        host.machine = self.make(
            context, signer, verify, dict(host.slots), host.lock, results, host.evidence
        )
        host.timers = []
        self._carry_out(host, host.machine.start())
        part = PartCommitment(digest("leaf", bytes([host.elector, host.twin])), 1, 0)
        body = encode_commitment(Commitment(context.prev, context.state_root, (part,), 1, 0))
        self._carry_out(host, host.machine.on_update(body))

    def _crash(self, host: Host) -> None:
        host.slots = {s: v for s, v in host.slots.items() if not s.startswith(self.forgets or "!")}
        if "lock" in self.forgets:
            host.lock = None
        self._boot(host)

    # Scheduler ---------------------------------------------------------------------------------

    def ambush(self, steps: int) -> None:
        """Let one node decide, cut it off, crash all others at once, and let them go on.

        The certificate is then known to nobody who can speak: only disks can save the decision.
        """
        calm = Weather(0, 0, 0, 0)
        while not self.decided:
            self._step(calm)
        self.silenced = set(self.decided)
        self.certificate = None
        self.mail.clear()
        for host in self.hosts:
            if host.elector not in self.silenced:
                self._crash(host)
        self.heal(steps)

    def run(self, steps: int) -> None:
        """Take ``steps`` hostile steps, or stop early when all honest hosts have decided."""
        for _ in range(steps):
            if len(self.decided) == self.electorate.n - len(self.liars):
                return
            self._step(self.weather)

    def heal(self, steps: int) -> bool:
        """No more drops, crashes or early timers; True if every honest host decides.

        Timers run at any of the hosts most behind. Who has decided tells the others, as daemons do.
        """
        for _ in range(steps):
            if len(self.decided) == self.electorate.n - len(self.liars):
                return True
            for host in self.hosts:
                if self.certificate is not None and host.elector not in self.decided:
                    self._post(host, host.elector, self.certificate, to_self=True)
            if self.mail:
                self._deliver(*self.mail.pop(self.rng.integers(len(self.mail))))
            else:
                self._fire(fair=True)
        return False

    def _step(self, weather: Weather) -> None:
        draw = self.rng.random()
        if draw < weather.crash:
            self._crash(self.hosts[self.rng.integers(len(self.hosts))])
        elif draw < weather.crash + weather.timer or not self.mail:
            self._fire()
        else:
            host, sender, data = self.mail.pop(self.rng.integers(len(self.mail)))
            fate = self.rng.random()
            if fate < weather.drop:
                return
            if fate < weather.drop + weather.duplicate:
                self.mail.append((host, sender, data))
            self._deliver(host, sender, data)

    def _fire(self, *, fair: bool = False) -> None:
        waiting = [host for host in self.hosts if host.timers]
        if waiting:
            if fair:
                least = min(host.machine.view for host in waiting if host.machine)
                waiting = [h for h in waiting if h.machine and h.machine.view == least]
            host = waiting[self.rng.integers(len(waiting))]
            assert host.machine is not None
            name = host.timers.pop(self.rng.integers(len(host.timers)))
            self._carry_out(host, host.machine.on_timer(name))

    def _deliver(self, host: Host, sender: int, data: bytes) -> None:
        machine = host.machine
        assert machine is not None
        body = decode_round(data).body
        if isinstance(body, Spread):
            roots = [root_of(part, part_data) for part, part_data in body.parts]
            self._carry_out(host, machine.on_spread(sender, body, roots))
        else:
            self._carry_out(host, machine.on_message(sender, body))

    # Effects -----------------------------------------------------------------------------------

    def _post(self, host: Host, to: int, body: RoundBody, *, to_self: bool = False) -> None:
        if self.silenced & {host.elector, to}:
            return
        data = encode_round(RoundMessage(JOB, 1, genesis_id(JOB), body))
        for other in self.hosts:
            if other.elector == to and (to_self or other is not host):
                self.mail.append((other, host.elector, data))

    def _carry_out(self, host: Host, effects: list[Effect]) -> None:
        machine = host.machine
        assert machine is not None
        for effect in effects:
            if isinstance(effect, Persist):
                if isinstance(effect.value, Signed):
                    host.slots[effect.slot] = effect.value
                else:
                    host.lock = effect.value
            elif isinstance(effect, Send):
                for to in effect.to:
                    self._post(host, to, effect.body)
            elif isinstance(effect, ScatterParts):
                parts = tuple((p, bytes(PART_BYTES)) for p in effect.parts)
                self._post(host, effect.to, Scatter(effect.commitment, parts))
            elif isinstance(effect, SpreadResults):
                found = machine.core.results.values()
                parts = tuple((p, data) for p, data in found if p in effect.parts)[:1]
                for to in effect.to:
                    self._post(host, to, Spread(effect.plan_id, parts, effect.result))
            elif isinstance(effect, StartTimer):
                host.timers.append(effect.name)
            elif isinstance(effect, KeepResults):
                host.results |= {root: machine.core.results[root] for root in effect.roots}
            elif isinstance(effect, Convicted):
                host.evidence[effect.elector] = effect.evidence
                if host.elector not in self.liars:
                    self.convicted.setdefault(host.elector, set()).add(effect.elector)
            elif isinstance(effect, Blame):
                self.blamed.add(effect.elector)
            elif isinstance(effect, Certified):
                self.certificate = effect.certificate
                if host.elector not in self.liars:
                    id_ = decision_id(effect.certificate.decision)
                    self.decided.setdefault(host.elector, set()).add(id_)
            else:
                self._compute(host, machine, effect)

    def _compute(self, host: Host, machine: RoundMachine, effect: Effect) -> None:
        if isinstance(effect, Screen):
            screens = tuple(
                screen_of(machine, effect.list_id, effect.listed, part) for part in effect.parts
            )
            self._carry_out(host, machine.on_screened(effect.list_id, screens))
        elif isinstance(effect, Reduce):
            data = digest("result", bytes(effect.resolution.contributors))[:PART_BYTES]
            results = [(part, root_of(part, data), data) for part in effect.parts]
            self._carry_out(host, machine.on_reduced(effect.plan_id, results))
        elif isinstance(effect, Apply):
            state = digest("state", b"".join(effect.roots))
            self._carry_out(host, machine.on_applied(effect.roots, state))
        elif isinstance(effect, Sketch):
            sketch = digest("sketch", effect.value)[: 4 * BUCKETS]
            parts = (sketch,) * len(machine.core.context.rules.buckets)
            self._carry_out(host, machine.on_sketched(effect.beacon_id, parts))
        elif isinstance(effect, Check):
            self._carry_out(host, machine.on_checked(effect.proof, self.refutes(host)))
        elif isinstance(effect, Fetch):
            near = (h for h in self.hosts if h.elector not in self.silenced)
            asked = [h.machine.core for h in near if h.elector in effect.ask and h.machine]
            self._carry_out(host, machine.on_fetched(*found_by(asked, effect)))

    def refutes(self, host: Host) -> str:
        """Why sketches refute results, as one host computes it; here they never do."""
        return ""
