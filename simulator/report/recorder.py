"""What a run did, collected for its report: rounds, losses, traffic, refusals, lives, recoveries.

It only listens: a run with it has the same trace as one without.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field

from node.jobs.runner import JobRunner
from node.ledger.succession import electorate_of
from node.types import PeerId
from simulator.hub import Watcher
from simulator.report.spans import ends
from simulator.world import World


@dataclass
class RoundSeen:
    """One certified round, as the honest nodes saw it."""

    round: int
    first_s: float
    """When the first honest node had the certificate."""
    last_s: float
    """When the last one that took part had it."""
    view: int
    """View of the first certificate: how many leaders failed before."""
    used: int
    """Contributions in the plan."""
    skip: str
    """Why it was skipped; empty: it was not."""
    refused: Mapping[int, str]
    """Node -> reason."""
    electors: tuple[int, ...]
    """Who could contribute."""
    weights: dict[int, float] = field(default_factory=dict)
    """Node -> weight that the rule gave its contribution, where a reducer computed it."""
    seconds: list[float] = field(default_factory=list)
    """Duration at each honest node that took part."""


@dataclass
class Point:
    """A value that a node had at a time."""

    at_s: float
    node: int
    round: int
    value: float


@dataclass
class Recovery:
    """Who had to come back after what, and how long it took."""

    at_s: float
    what: str
    until_round: int
    """After a start: the newest round that an honest node held then. After a fault: the next one,
    so that the swarm must get on."""
    waiting: dict[int, None]
    """Honest nodes that do not hold it yet, in order."""
    took_s: float | None = None
    """Virtual seconds until the last of them held it; None: not before the run ended."""


@dataclass
class Blame:
    """Protocol errors of one peer, as scored by one other."""

    first_s: float
    text: str
    """Of the first."""
    count: int = 0


class Recorder(Watcher):
    """Collects what ``simulator.report.report`` shows.

    Args:
        world: about to start.
    """

    def __init__(self, world: World) -> None:
        self.world = world
        self.now_s = 0.0
        """Time of the last thing told."""
        self.rounds: dict[int, RoundSeen] = {}
        self.certified: dict[int, int] = {}
        """Node -> rounds it certified itself."""
        self.newest: dict[int, int] = {}
        """Node -> newest round it holds."""
        self.losses: list[Point] = []
        """Mean training loss of each node and round."""
        self.metrics: dict[str, list[Point]] = {}
        """Name -> what the nodes measured on a certified state."""
        self.traffic: dict[int, list[tuple[float, int, int]]] = {}
        """Node -> (time, bytes sent, bytes received), both since time zero over all its lives."""
        self.calls: dict[str, list[int]] = {}
        """Method -> [requests, their bytes]."""
        self.faults: list[tuple[float, str]] = []
        self.lives: list[tuple[float, int, str]] = []
        self.blames: dict[tuple[int, int, str], Blame] = {}
        """(accuser, accused, reason)."""
        self.failures: list[tuple[float, int, str]] = []
        """Jobs that failed: (time, node, reason)."""
        self.recoveries: list[Recovery] = []
        self._index = {node.peer: node.index for node in world.nodes}
        self._honest = {node.index: None for node in world.honest}
        self._before: dict[int, tuple[int, int]] = {}
        self._measured: dict[int, int] = {}
        self._reached: dict[tuple[int, int], float] = {}
        self._done: dict[int, None] = {}
        self._up: dict[int, None] = {}

    @property
    def frontier(self) -> int:
        """Newest round that an honest node holds."""
        return max((self.newest.get(node, 0) for node in self._honest), default=0)

    # What is told ------------------------------------------------------------------------------

    def life(self, at_s: float, node: int, what: str) -> None:
        """Keep it; a start after the beginning is something to recover from."""
        self.now_s = at_s
        self.lives.append((at_s, node, what))
        if what != "start":
            self._sample(at_s, node)
            sent, received = self.traffic[node][-1][1:]
            self._before[node] = sent, received
            self._up.pop(node, None)
            return
        self._up[node] = None
        again = any(other == node for _, other, _ in self.lives[:-1])
        if at_s > 0 and node in self._honest:
            why = "comes back" if again else "joins late"
            name = self.world.nodes[node].name
            self._wait(at_s, f"{name} {why}", max(self.frontier, 1), {node: None})

    def sent(self, at_s: float, source: PeerId, target: PeerId, method: str, data: bytes) -> None:
        """Count it."""
        count = self.calls.setdefault(method, [0, 0])
        count[0] += 1
        count[1] += len(data)

    def fault(self, at_s: float, what: str) -> None:
        """Keep it, and wait for every honest node that runs to get on."""
        self.now_s = at_s
        self.faults.append((at_s, what))
        waiting = {n: None for n in self._honest if n in self._up and n not in self._done}
        told = bool(self.faults[1:]) and self.faults[-2][0] == at_s and ends(self.faults[-2][1])
        if waiting and ends(what) and not told:
            self._wait(at_s, what, self.frontier + 1, waiting)

    def event(self, at_s: float, node: int, event: str, fields: Mapping[str, object]) -> None:
        """Keep what the report shows."""
        self.now_s = at_s
        if event == "peer_error":
            self._blame(at_s, node, fields)
        elif event == "job_failed":
            self.failures.append((at_s, node, str(fields["reason"])))
        elif event in ("round_certified", "caught_up", "job_done"):
            self._advance(at_s, node, event, fields)

    # What is made of it ------------------------------------------------------------------------

    def _advance(self, at_s: float, node: int, event: str, fields: Mapping[str, object]) -> None:
        round_ = fields["round"]
        assert isinstance(round_, int)
        self.newest[node] = max(round_, self.newest.get(node, 0))
        self._reached.setdefault((node, round_), at_s)
        runner = self._runner(node)
        if event == "round_certified" and runner is not None:
            self._certified(at_s, node, round_, fields, runner)
        if event == "job_done":
            self._done[node] = None
            numbers = {k: v for k, v in fields.items() if isinstance(v, float)}
            self._measure(at_s, node, round_, numbers)
        elif runner is not None:
            shown = runner.progress
            self._measure(at_s, node, shown.metrics_round, shown.metrics)
        self._sample(at_s, node)
        for recovery in self.recoveries:
            if node in recovery.waiting and self.newest[node] >= recovery.until_round:
                del recovery.waiting[node]
                recovery.took_s = None if recovery.waiting else at_s - recovery.at_s

    def _certified(
        self, at_s: float, node: int, round_: int, fields: Mapping[str, object], runner: JobRunner
    ) -> None:
        shown = runner.progress
        self.certified[node] = self.certified.get(node, 0) + 1
        if shown.loss is not None:
            self.losses.append(Point(at_s, node, round_, shown.loss))
        if node not in self._honest:
            return
        if round_ not in self.rounds:
            view, head = fields["view"], runner.head
            assert isinstance(view, int)
            electors = electorate_of(head.terms, round_) or head.electorate
            self.rounds[round_] = RoundSeen(
                round=round_,
                first_s=at_s,
                last_s=at_s,
                view=view,
                used=shown.used,
                skip=str(fields["skip"] or ""),
                refused={self._index[PeerId(p)]: why for p, why in sorted(shown.refused.items())},
                electors=tuple(sorted(self._index[peer] for peer in electors.ids)),
            )
        seen = self.rounds[round_]
        seen.weights |= {self._index[PeerId(peer)]: w for peer, w in sorted(shown.weights.items())}
        seen.last_s = at_s
        seconds = fields["seconds"]
        assert isinstance(seconds, float)
        seen.seconds.append(seconds)

    def _measure(self, at_s: float, node: int, round_: int, values: Mapping[str, float]) -> None:
        """Keep the metrics of a state once, at the time when the node had that state."""
        if not values or self._measured.get(node) == round_:
            return
        self._measured[node] = round_
        at_s = self._reached.get((node, round_), at_s)
        for name in sorted(values):
            self.metrics.setdefault(name, []).append(Point(at_s, node, round_, values[name]))

    def _wait(self, at_s: float, what: str, round_: int, nodes: dict[int, None]) -> None:
        until = min(round_, self.world.scenario.rounds)
        self.recoveries.append(Recovery(at_s, what, until, nodes))

    def _blame(self, at_s: float, node: int, fields: Mapping[str, object]) -> None:
        accused = self._index.get(PeerId(str(fields["peer"])), -1)
        key = node, accused, str(fields["reason"])
        blame = self.blames.setdefault(key, Blame(at_s, str(fields.get("text", ""))))
        blame.count += 1

    def _sample(self, at_s: float, node: int) -> None:
        sent, received = self._before.get(node, (0, 0))
        host = self.world.network.hosts.get(self.world.nodes[node].peer)
        for up, down in host.transport.traffic().values() if host else ():
            sent, received = sent + up, received + down
        self.traffic.setdefault(node, []).append((at_s, sent, received))

    def _runner(self, node: int) -> JobRunner | None:
        daemon = self.world.nodes[node].daemon
        return next(iter(daemon.runners), None) if daemon else None
