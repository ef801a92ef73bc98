"""Builds whole nodes on simulated ports: the real ``Daemon``, restartable on the same disk."""

import asyncio
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from node.config import NodeConfig
from node.daemon import Daemon
from node.jobs.honest import HONEST, no_failpoint
from node.merkle import digest
from node.ports import Behaviour, Ports
from simulator.compute import SimCompute
from simulator.network import SimNetwork
from simulator.pipe import LinkModel
from simulator.seeds import rng
from simulator.signer import KeyedSigner, verify
from simulator.store import MemoryStore


class HostClock:
    """A host's wall clock."""

    def __init__(self, network: SimNetwork) -> None:
        self._network = network

    def unix_s(self) -> float:
        """True time; skew comes with the faults that set it."""
        return self._network.unix_s()


class Killed(Exception):
    """A failpoint was reached: the node dies where it stands."""


@dataclass
class Journal:
    """Events of one node, over all its lives."""

    events: list[tuple[str, dict[str, object]]] = field(default_factory=list)

    def info(self, event: str, **fields: object) -> None:
        """Keep it."""
        self.events.append((event, fields))

    warning = info


@dataclass
class SimNode:
    """One node of a world: what survives a crash, and the daemon that runs now."""

    name: str
    signer: KeyedSigner
    store: MemoryStore
    behaviour: Behaviour = HONEST
    failpoint: Callable[[str, int], None] = no_failpoint
    """May raise ``Killed``."""
    log: Journal = field(default_factory=Journal)
    slots_lost: bool = False
    compute: SimCompute = field(default_factory=SimCompute)
    daemon: Daemon | None = None
    task: asyncio.Task[None] | None = None


class World:
    """n nodes, the first of which all others join.

    Args:
        n: nodes.
        seed: of every draw.
        link: how bytes travel.
    """

    def __init__(self, n: int, seed: int, link: LinkModel | None = None) -> None:
        self.seed = seed
        self.network = SimNetwork(seed, link)
        self.liars: frozenset[int] = frozenset()
        self.nodes = [
            SimNode(
                f"node-{i}",
                KeyedSigner(digest("simulated key", f"{seed}/{i}".encode())),
                MemoryStore(),
            )
            for i in range(n)
        ]

    def attack(self, behaviours: Mapping[int, Behaviour]) -> None:
        """Make some nodes attackers, before they start."""
        self.liars = frozenset(behaviours)
        for index, behaviour in behaviours.items():
            self.nodes[index].behaviour = behaviour

    def kill_at(self, index: int, phase: str, from_round: int) -> None:
        """Let a node die the first time that it reaches ``phase`` in ``from_round`` or later."""
        node = self.nodes[index]

        def failpoint(reached: str, round_: int) -> None:
            if reached == phase and round_ >= from_round and node.task is not None:
                node.failpoint = no_failpoint
                for pipe in list(self.network.hosts[node.signer.peer_id].pipes):
                    pipe.abort()  # what was not sent yet is not sent
                raise Killed(node.name)

        node.failpoint = failpoint

    def founders(self) -> str:
        """The manifest's electorate table, in TOML."""
        ids = ", ".join(f'"{node.signer.peer_id}"' for node in self.nodes)
        return f"[electorate]\nfounders = [{ids}]\n"

    async def start(self, group: asyncio.TaskGroup, index: int) -> Daemon:
        """Start a node, or start it again on what its disk holds."""
        node = self.nodes[index]
        host = self.network.start(node.signer.peer_id)
        first = self.nodes[0].signer.peer_id
        join = () if index == 0 else (f"{self.network.address(first)}/p2p/{first}",)
        ports = Ports(
            host.transport,
            host.discovery,
            node.store.open(node.signer.peer_id),
            node.compute,
            HostClock(self.network),
        )
        config = NodeConfig(data=Path(node.name), join=join)
        node.daemon = Daemon(
            config,
            node.signer,
            ports,
            node.behaviour,
            lambda phase, round_: node.failpoint(phase, round_),
            slots_lost=node.slots_lost,
            verifier=verify,
            rng=rng(self.seed, "node", index),
            log=node.log,
        )
        node.task = group.create_task(self._live(node, node.daemon), name=node.name)
        return node.daemon

    async def _live(self, node: SimNode, daemon: Daemon) -> None:
        try:
            await daemon.run()
        except* Killed:
            await self.network.crash(node.signer.peer_id)
            node.daemon = None

    async def crash(self, index: int) -> None:
        """End a node at once; its disk stays."""
        node = self.nodes[index]
        assert node.task is not None
        node.task.cancel()
        await asyncio.gather(node.task, return_exceptions=True)
        if node.daemon is not None:
            await self.network.crash(node.signer.peer_id)
            node.daemon = None

    async def submit(self, manifest_toml: str, overrides: Mapping[str, str]) -> str:
        """Submit a job to every running node; its id."""
        job = ""
        for node in self.nodes:
            if node.daemon is not None:
                job = await node.daemon.submit(manifest_toml, overrides)
        return job
