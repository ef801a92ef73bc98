"""A network of simulated hosts: the Transport and Discovery ports in virtual time.

Calls cross it as bytes: ``framed`` with the real framing and limits over simulated streams
(``framed.py``, ``pipe.py``), or as whole messages with the same limits and errors (``calls.py``),
which is many times faster. What a way between two hosts is like: ``links.py``; who can dial whom:
``nat.py``. Faults are set from outside: other links, cuts, resets, crashes and restarts, wrong
answers of the DHT.
"""

import asyncio
from collections.abc import Collection

import numpy as np

from node.adapters.limits import Limits
from node.errors import PeerError, Unavailable
from node.types import PeerId
from simulator.dht.discovery import SimDiscovery
from simulator.dht.lies import DhtFaults
from simulator.hub import Hub
from simulator.scenario import HostSection
from simulator.seeds import rng
from simulator.wire import nat
from simulator.wire.calls import WholeTransport
from simulator.wire.cuts import Cuts
from simulator.wire.framed import FramedTransport
from simulator.wire.links import Line, LinkModel, Path, line
from simulator.wire.resets import Pair, Resets, pair_of

EPOCH_UNIX_S = 1_700_000_000.0
"""Absolute time at virtual time zero."""


class SimHost:
    """One running host. Made by ``SimNetwork.start``."""

    def __init__(self, network: "SimNetwork", peer: PeerId, limits: Limits) -> None:
        self.peer = peer
        self.peer_errors: list[tuple[PeerId, PeerError]] = []
        """Violations of the framing that this host saw, in order."""
        self.transport: FramedTransport | WholeTransport = (
            FramedTransport(network, self, limits)
            if network.framed
            else WholeTransport(network, self, limits)
        )
        self.discovery = SimDiscovery(network, peer)


class SimNetwork:
    """All hosts and the ways between them.

    Args:
        seed: Of every draw that the network makes.
        link: How bytes travel where ``set_link`` says nothing else.
        hub: told of every request.
        framed: Real framing on every hop; False: whole messages.
    """

    def __init__(
        self,
        seed: int,
        link: LinkModel | None = None,
        *,
        hub: Hub | None = None,
        framed: bool = True,
    ) -> None:
        self.hub = hub or Hub()
        self.framed = framed
        self.cuts = Cuts()
        self.resets = Resets(self._reset_rate, self.rng)
        self.hosts: dict[PeerId, SimHost] = {}
        """The hosts that run now."""
        self._seed = seed
        self._link = link or LinkModel()
        self._links: dict[tuple[PeerId, PeerId], LinkModel] = {}
        self._paths: dict[tuple[PeerId, PeerId], Path] = {}
        self._nats: dict[PeerId, nat.Nat] = {}
        self._lines: dict[PeerId, tuple[Line | None, Line | None]] = {}
        self._numbers: dict[PeerId, int] = {}
        self.public: dict[PeerId, str] = {}
        """Hosts with an IP address of the internet; all others are in one private network."""
        self.dht = DhtFaults(self)
        """Wrong answers of discovery."""

    # -- hosts

    def set_host(self, peer: PeerId, section: HostSection) -> None:
        """Give a host its access line and its NAT, before its first start.

        Raises:
            ValueError: It was started, or its address was given away, before.
        """
        if peer in self._numbers:
            raise ValueError(f"{peer} is in use: set its host before that")
        self._lines[peer] = line(section.up_bytes_per_s), line(section.down_bytes_per_s)
        if section.nat != "open":
            self._nats[peer] = section.nat

    def start(self, peer: PeerId, limits: Limits | None = None) -> SimHost:
        """Start a host, or start it again after a crash: it remembers nothing.

        Raises:
            ValueError: It runs already.
        """
        if peer in self.hosts:
            raise ValueError(f"{peer} runs already")
        self._numbers.setdefault(peer, len(self._numbers))
        host = self.hosts[peer] = SimHost(self, peer, limits or Limits())
        return host

    async def crash(self, peer: PeerId) -> None:
        """Stop a host at once: its streams break, its handlers and records are gone."""
        await self.hosts.pop(peer).transport.close()

    async def close(self) -> None:
        """Stop every host."""
        for peer in sorted(self.hosts):
            await self.crash(peer)

    def address(self, peer: PeerId) -> str:
        """The multiaddr of a host, the same over all its lives."""
        if peer in self.public:
            return f"/ip4/{self.public[peer]}/tcp/4001"
        number = self._numbers.setdefault(peer, len(self._numbers))
        return f"/ip4/10.{number >> 16 & 255}.{number >> 8 & 255}.{number & 255}/tcp/4001"

    def unix_s(self) -> float:
        """True absolute time, in seconds; hosts' own clocks may differ."""
        return EPOCH_UNIX_S + asyncio.get_running_loop().time()

    # -- faults

    def set_link(self, source: PeerId, target: PeerId, model: LinkModel) -> None:
        """Change one direction, for what is sent from now on."""
        self._links[source, target] = model
        self._use(source, target, model)

    def clear_link(self, source: PeerId, target: PeerId) -> None:
        """Undo ``set_link``."""
        if self._links.pop((source, target), None) is not None:
            self._use(source, target, self._link)

    def cut(self, sources: Collection[PeerId], targets: Collection[PeerId]) -> None:
        """Let nothing pass from ``sources`` to ``targets``. The other direction stays."""
        self.cuts.add(sources, targets)

    def uncut(self, sources: Collection[PeerId], targets: Collection[PeerId]) -> None:
        """Undo one ``cut`` of exactly these; what other cuts cover stays cut."""
        self.cuts.remove(sources, targets)

    def partition(self, *groups: Collection[PeerId]) -> None:
        """Let nothing pass between different groups: a ``cut`` for each two, both ways."""
        for group in groups:
            for other in groups:
                if other is not group:
                    self.cut(group, other)

    def unpartition(self, *groups: Collection[PeerId]) -> None:
        """Undo one ``partition`` into exactly these groups."""
        for group in groups:
            for other in groups:
                if other is not group:
                    self.uncut(group, other)

    def heal(self) -> None:
        """Undo every cut; what TCP would still be sending arrives."""
        self.cuts.clear()

    def reset(self, source: PeerId, target: PeerId) -> None:
        """Break the streams of these two now, for both; what is under way is lost."""
        self.resets.reset(pair_of(source, target))

    def reachable(self, source: PeerId, target: PeerId) -> bool:
        """Does ``target`` run, do bytes pass both ways, and can the two be joined?"""
        if target not in self.hosts:
            return False
        covers = self.cuts.covers
        if self.cuts.active and (covers(source, target) or covers(target, source)):
            return False
        return not self._nats or self.can_dial(source, target)

    # -- what transports use

    def path(self, source: PeerId, target: PeerId) -> Path:
        """The way from ``source`` to ``target``."""
        path = self._paths.get((source, target))
        if path is None:
            none = (None, None)
            path = self._paths[source, target] = Path(
                source,
                target,
                self._links.get((source, target), self._link),
                self._lines.get(source, none)[0],
                self._lines.get(target, none)[1],
                self.cuts,
                self.rng,
            )
        return path

    def can_dial(self, source: PeerId, target: PeerId) -> bool:
        """Do the NATs of the two let a stream be opened, now?"""
        one, other = self._nats.get(source, "open"), self._nats.get(target, "open")
        if not nat.can_join(one, other):
            return False
        return not nat.needs_go_between(other) or any(
            peer not in self._nats
            and not any(map(self._is_cut_off, (peer, peer), (source, target)))
            for peer in self.hosts
            if peer not in (source, target)
        )

    async def knock(self, host: SimHost, peer: PeerId, trips: int = 1) -> SimHost:
        """The running host at ``peer``, after as many round trips; a cut is waited out.

        Raises:
            Unavailable: ``peer`` does not run, or a NAT is in the way.
        """
        there, back = self.path(host.peer, peer), self.path(peer, host.peer)
        await self._until_open(there, back)
        if self._nats:
            if not self.can_dial(host.peer, peer):
                await asyncio.sleep(nat.SILENCE_S)
                raise Unavailable(f"{peer} is behind a NAT that lets nobody dial it from here")
            if nat.needs_go_between(self._nats.get(peer, "open")):
                trips += nat.PUNCH_TRIPS
        for _ in range(trips):
            await asyncio.sleep(there.delay_s() + back.delay_s())
            await self._until_open(there, back)
        target = self.hosts.get(peer)
        if target is None or self.hosts.get(host.peer) is not host:
            raise Unavailable(f"nobody listens at {peer}")
        return target

    async def _until_open(self, there: Path, back: Path) -> None:
        while there.is_cut or back.is_cut:
            opened = asyncio.Event()
            self.cuts.hold(there if there.is_cut else back, opened.set)
            await opened.wait()

    def round_trip_s(self) -> float:
        """Of an ordinary link, without its draws."""
        return 2 * self._link.latency_s + self._link.jitter_s

    def rng(self, purpose: str, *of: str) -> np.random.Generator:
        """The random stream of one purpose of the network."""
        return rng(self._seed, purpose, *of)

    def _is_cut_off(self, one: PeerId, other: PeerId) -> bool:
        return self.cuts.covers(one, other) or self.cuts.covers(other, one)

    def _use(self, source: PeerId, target: PeerId, model: LinkModel) -> None:
        path = self._paths.get((source, target))
        if path is not None:
            path.use(model)
            self.resets.arm(pair_of(source, target))

    def _reset_rate(self, pair: Pair) -> float:
        one, other = pair
        return max(self.path(one, other).model.reset_per_s, self.path(other, one).model.reset_per_s)
