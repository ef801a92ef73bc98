"""Builds whole nodes on simulated ports: the real ``Daemon``, restartable on the same disk."""

import asyncio
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Literal, Self

from node.config import Limits, NodeConfig
from node.daemon import Daemon
from node.identity import Identity, Signer, Verifier
from node.identity import verify as verify_ed25519
from node.jobs.honest import HONEST
from node.jobs.manifest import ExchangeSection
from node.jobs.scope import Scope, first_of
from node.merkle import digest
from node.ports import Behaviour, Ports
from node.types import PeerId
from simulator.attacks import Attack, make_attack
from simulator.attacks.board import Board, Observed
from simulator.host.clock import HostClock
from simulator.host.compute import SimCompute, cost_of
from simulator.host.signer import KeyedSigner, verify
from simulator.host.store import SimStore
from simulator.hub import Hub
from simulator.scenario import HostSection, Scenario, toml_value
from simulator.seeds import rng
from simulator.wire.links import LinkModel
from simulator.wire.network import SimNetwork

BOOTSTRAPS = 3
"""The first nodes, which all others are told to join: one may be late, or behind a NAT."""
NO_FOLDER = Path("/dev/null")
"""Below it nothing can be written: what a simulated node keeps is in its ``SimStore``."""


class Killed(Exception):
    """The node dies where it stands."""


@dataclass
class Journal:
    """Log of one node, over all its lives; told to the hub."""

    tell: Callable[[str, Mapping[str, object]], None]

    def info(self, event: str, **fields: object) -> None:
        """Tell it."""
        self.tell(event, fields)

    warning = info


@dataclass
class SimNode:
    """One node of a world: what survives a crash, and the daemon that runs now."""

    index: int
    name: str
    signer: Signer
    store: SimStore
    compute: SimCompute
    clock: HostClock
    log: Journal
    behaviour: Behaviour = HONEST
    daemon: Daemon | None = None
    task: asyncio.Task[None] | None = None

    @property
    def peer(self) -> PeerId:
        """Its id."""
        return self.signer.peer_id


class World:
    """The nodes of a scenario. An async context: leaving it ends every node.

    Args:
        scenario: who takes part; its faults are played by ``simulator.faults``.
        seed: of every draw.
        hub: told what happens.
    """

    def __init__(self, scenario: Scenario, seed: int, hub: Hub | None = None) -> None:
        self.scenario = scenario
        self.seed = seed
        self.hub = hub or Hub()
        self.network = SimNetwork(
            seed, LinkModel.of(scenario.link), hub=self.hub, framed=scenario.framed
        )
        self.failpoints: list[Callable[[int, str, int], None]] = []
        """Called with (node, phase, round) at every step; may raise ``Killed``."""
        self.job: tuple[str, str] | None = None
        """(id, manifest) of the job, once it was submitted."""
        self.limits = Limits()
        """Caps of every node."""
        self.serve: Literal["listed", "any"] = "listed"
        """What jobs every node takes."""
        self._group = Scope()
        self._verify: Verifier = verify if scenario.signer == "keyed" else verify_ed25519
        self.nodes = [self._make(i) for i in range(scenario.nodes + scenario.followers)]
        for index, attack in scenario.liars.items():
            self.attack({index: make_attack(attack.name, scale=attack.scale, seed=seed)})

    def _make(self, index: int) -> SimNode:
        secret = digest("simulated key", f"{self.seed}/{index}".encode())
        signer: Signer = (
            KeyedSigner(secret) if self.scenario.signer == "keyed" else Identity(secret)
        )
        host = self._host(index)
        self.network.set_host(signer.peer_id, host)
        return SimNode(
            index,
            f"node-{index}",
            signer,
            SimStore(host.fsync_s, host.disk_bytes),
            SimCompute(cost_of(host, self.seed, index)),
            HostClock(self.network.unix_s, host.clock_skew_s, host.clock_drift),
            Journal(lambda event, fields: self.hub.event(self.now(), index, event, fields)),
        )

    def _host(self, index: int) -> HostSection:
        """What is special about a host: the sections that name it, later ones over earlier."""
        merged: dict[str, object] = {}
        for section in self.scenario.hosts:
            if section.nodes == "all" or index in self.who(section.nodes):
                merged |= section.model_dump(exclude_unset=True)
        return HostSection.model_validate(merged)

    # Facts -------------------------------------------------------------------------------------

    def now(self) -> float:
        """Virtual seconds since the start."""
        return asyncio.get_running_loop().time()

    @property
    def liars(self) -> frozenset[int]:
        """Nodes that do not follow the protocol."""
        return frozenset(
            n.index
            for n in self.nodes
            if n.behaviour is not HONEST and not isinstance(n.behaviour, Observed)
        )

    @property
    def honest(self) -> list[SimNode]:
        """All others, followers included."""
        liars = self.liars
        return [n for n in self.nodes if n.index not in liars]

    def who(self, nodes: tuple[int, ...] | str) -> list[int]:
        """Numbers of the nodes that a section means; roles that need a round: see faults."""
        s = self.scenario
        if not isinstance(nodes, str):
            return list(nodes)
        if nodes == "third":
            honest = [i for i in range(s.nodes) if i not in s.liars]
            return honest[len(honest) - s.nodes // 3 :]
        if nodes == "minority":
            return list(s.last)
        if nodes == "liars":
            return sorted(s.liars)
        assert nodes == "all", nodes
        return list(range(len(self.nodes)))

    def attack(self, behaviours: Mapping[int, Behaviour]) -> None:
        """Make nodes attackers, before they start; they know one another and see the others."""
        for index, behaviour in behaviours.items():
            self.nodes[index].behaviour = behaviour
        liars = self.liars
        electors = self.nodes[: self.scenario.nodes]
        others = [n for n in electors if n.index not in liars]
        board = Board(
            self.scenario.job.get("exchange", {}).get("rule", ExchangeSection().rule),
            KeyedSigner if self.scenario.signer == "keyed" else Identity,
            sorted(n.peer for n in others),
            frozenset(n.peer for n in electors if n.index in liars),
        )
        for node in self.nodes:
            if node.index not in liars:
                if node in electors:
                    node.behaviour = Observed(board, node.peer)
            elif isinstance(node.behaviour, Attack):
                node.behaviour.board = board

    # Life --------------------------------------------------------------------------------------

    async def __aenter__(self) -> Self:
        await self._group.__aenter__()
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if kind is None:
            for node in self.nodes:
                await self.crash(node.index)
        try:
            await self._group.__aexit__(kind, error, trace)
        finally:
            await self.network.close()

    async def start(self, index: int) -> Daemon:
        """Start a node, or start it again on what its disk holds."""
        node = self.nodes[index]
        host = self.network.start(node.peer)
        others = [n.peer for n in self.nodes[:BOOTSTRAPS] if n.index != index]
        join = tuple(f"{self.network.address(peer)}/p2p/{peer}" for peer in others)
        ports = Ports(
            host.transport, host.discovery, node.store.open(node.peer), node.compute, node.clock
        )
        jobs, data = (self.job[0],) if self.job else (), NO_FOLDER / node.name
        node.daemon = Daemon(
            NodeConfig(data=data, join=join, jobs=jobs, serve=self.serve, limits=self.limits),
            node.signer,
            ports,
            node.behaviour,
            lambda phase, round_: self._phase(index, phase, round_),
            slots_lost=node.store.slots_lost,
            verifier=self._verify,
            rng=rng(self.seed, "node", index),
            log=node.log,
        )
        self.hub.life(self.now(), index, "start")
        node.task = self._group.create_task(self._live(node, node.daemon), name=node.name)
        return node.daemon

    def _phase(self, index: int, phase: str, round_: int) -> None:
        self.hub.phase(self.now(), index, phase, round_)
        for failpoint in list(self.failpoints):
            failpoint(index, phase, round_)

    async def _live(self, node: SimNode, daemon: Daemon) -> None:
        try:
            await daemon.run()
        except* Killed:
            await self._gone(node, "crash")
        except* Exception as group:
            self.hub.event(self.now(), node.index, "daemon_failed", {"error": first_of(group)})
            raise

    def kill(self, index: int) -> None:
        """End a node from inside one of its own steps: what it had not sent is not sent.

        Raises:
            Killed: always; let it pass.
        """
        node = self.nodes[index]
        self.network.hosts[node.peer].transport.abort()
        raise Killed(node.name)

    def kill_at(self, index: int, phase: str, from_round: int) -> None:
        """Let a node die the first time that it reaches ``phase`` in ``from_round`` or later."""

        def failpoint(reached_by: int, reached: str, round_: int) -> None:
            if reached_by == index and reached == phase and round_ >= from_round:
                self.failpoints.remove(failpoint)
                self.kill(index)

        self.failpoints.append(failpoint)

    async def crash(self, index: int) -> None:
        """End a node at once; its disk stays. One that does not run stays as it is."""
        node = self.nodes[index]
        if node.task is None or node.daemon is None:
            return
        stopped = node.task.done()  # by itself: it was asked to
        node.task.cancel()
        with suppress(asyncio.CancelledError):
            await asyncio.wait([node.task])
        if node.daemon is not None:
            await self._gone(node, "stop" if stopped else "crash")

    async def _gone(self, node: SimNode, how: str) -> None:
        node.daemon = None
        self.hub.life(self.now(), node.index, how)
        node.store.crash(rng(self.seed, "disk", node.index, node.store.lives))
        await self.network.crash(node.peer)

    # The job -----------------------------------------------------------------------------------

    def manifest(self) -> str:
        """The scenario's job file, with all electors as founders."""
        s = self.scenario
        job = dict(s.job)
        tables: dict[str, Mapping[str, object]] = {
            "job": {
                "name": s.name.replace("_", "-"),
                "workload": job.pop("workload_name", "quadratic"),
                "rounds": s.rounds,
                "seed": self.seed % 2**31,
            },
            "electorate": {"founders": [n.peer for n in self.nodes[: s.nodes]]},
            **job,
        }
        return "\n".join(
            f"[{name}]\n"
            + "".join(f"{key} = {toml_value(value)}\n" for key, value in table.items())
            for name, table in tables.items()
        )

    async def submit(
        self, manifest_toml: str | None = None, overrides: Mapping[str, str] | None = None
    ) -> str:
        """Submit a job to every running elector; others find it by its id. Its id."""
        text = manifest_toml or self.manifest()
        for node in self.nodes[: self.scenario.nodes]:
            if node.daemon is not None:
                job = await node.daemon.submit(text, overrides or {})
                self.job = self.job or (job, text)
        assert self.job is not None, "nobody runs"
        return self.job[0]
