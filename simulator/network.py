"""A network of simulated hosts: the Transport and Discovery ports in virtual time.

Calls run the real framing and limits over simulated streams, so bytes cross every hop. Faults are
set from outside: slow or lossy links, one-way and symmetric cuts, crashes and restarts.
"""

import asyncio
from collections.abc import Callable, Collection

import numpy as np

from node.adapters.limits import Limits
from node.adapters.mux_transport import MuxTransport, Streams
from node.errors import PeerError, Unavailable
from node.ports import Handler
from node.types import PeerId
from simulator.discovery import SimDiscovery
from simulator.hub import Hub
from simulator.pipe import LinkModel, PipeEnd, Way, connect, streams
from simulator.seeds import rng

EPOCH_UNIX_S = 1_700_000_000.0
"""Absolute time at virtual time zero."""


class SimTransport(MuxTransport):
    """The real call code; requests may also be duplicated."""

    def __init__(self, network: "SimNetwork", host: "SimHost", limits: Limits) -> None:
        super().__init__(
            host.peer,
            [network.address(host.peer)],
            lambda peer, _addresses: network.dial(host, peer),
            limits=limits,
            on_peer_error=lambda peer, error: host.peer_errors.append((peer, error)),
        )
        self._network = network

    def serve(
        self, method: str, handler: Handler, *, request_bytes_max: int, concurrent_max: int = 64
    ) -> None:
        """As the port; a duplicated request runs ``handler`` twice, and the first answer counts."""

        async def handle(caller: PeerId, request: bytes) -> bytes:
            now = asyncio.get_running_loop().time()
            self._network.hub.arrived(now, caller, self.peer_id, method, request)
            reply = await handler(caller, request)
            if self._network.duplicates(caller, self.peer_id):
                await handler(caller, request)
            return reply

        super().serve(
            method, handle, request_bytes_max=request_bytes_max, concurrent_max=concurrent_max
        )

    async def call(
        self, peer: PeerId, method: str, request: bytes, *, timeout_s: float, reply_bytes_max: int
    ) -> bytes:
        """As the port; told to the hub."""
        now = asyncio.get_running_loop().time()
        self._network.hub.sent(now, self.peer_id, peer, method, request)
        return await super().call(
            peer, method, request, timeout_s=timeout_s, reply_bytes_max=reply_bytes_max
        )


class SimHost:
    """One running host. Made by ``SimNetwork.start``."""

    def __init__(self, network: "SimNetwork", peer: PeerId, limits: Limits) -> None:
        self.peer = peer
        self.peer_errors: list[tuple[PeerId, PeerError]] = []
        """Violations of the framing that this host saw, in order."""
        self.pipes: dict[PipeEnd, None] = {}
        self.accepting: set[asyncio.Task[None]] = set()
        self.transport = SimTransport(network, self, limits)
        self.discovery = SimDiscovery(network, peer)


class SimNetwork:
    """All hosts and the ways between them.

    Args:
        seed: Of every draw that the network makes.
        link: How bytes travel where ``set_link`` says nothing else.
        hub: told of every request.
    """

    def __init__(self, seed: int, link: LinkModel | None = None, *, hub: Hub | None = None) -> None:
        self.hub = hub or Hub()
        self._seed = seed
        self._link = link or LinkModel()
        self._links: dict[tuple[PeerId, PeerId], LinkModel] = {}
        self._rngs: dict[tuple[str, PeerId, PeerId], np.random.Generator] = {}
        self._cuts: set[tuple[PeerId, PeerId]] = set()
        self._held: list[Callable[[], None]] = []
        self._numbers: dict[PeerId, int] = {}
        self.hosts: dict[PeerId, SimHost] = {}
        """The hosts that run now."""

    # -- hosts

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
        host = self.hosts.pop(peer)
        for task in host.accepting:
            task.cancel()
        await host.transport.close()
        for pipe in list(host.pipes):
            pipe.abort()

    async def close(self) -> None:
        """Stop every host."""
        for peer in sorted(self.hosts):
            await self.crash(peer)

    def address(self, peer: PeerId) -> str:
        """The multiaddr of a host that was started at some time."""
        number = self._numbers[peer]
        return f"/ip4/10.{number >> 16 & 255}.{number >> 8 & 255}.{number & 255}/tcp/4001"

    def is_known(self, peer: PeerId) -> bool:
        """Was this host ever started?"""
        return peer in self._numbers

    def unix_s(self) -> float:
        """True absolute time, in seconds; hosts' own clocks may differ."""
        return EPOCH_UNIX_S + asyncio.get_running_loop().time()

    # -- faults

    def set_link(self, source: PeerId, target: PeerId, model: LinkModel) -> None:
        """Change one direction, for what is sent from now on."""
        self._links[source, target] = model

    def cut(self, sources: Collection[PeerId], targets: Collection[PeerId]) -> None:
        """Let nothing pass from ``sources`` to ``targets``. The other direction stays."""
        self._cuts.update((a, b) for a in sources for b in targets if a != b)

    def partition(self, *groups: Collection[PeerId]) -> None:
        """Let nothing pass between different groups."""
        for group in groups:
            for other in groups:
                if other is not group:
                    self.cut(group, other)

    def heal(self) -> None:
        """Undo every cut; what TCP would still be sending arrives."""
        self._cuts.clear()
        held, self._held = self._held, []
        for send in held:
            send()

    def reachable(self, source: PeerId, target: PeerId) -> bool:
        """Does ``target`` run, and do bytes pass both ways?"""
        open_ = (source, target) not in self._cuts and (target, source) not in self._cuts
        return target in self.hosts and open_

    # -- what transports use

    def model(self, source: PeerId, target: PeerId) -> LinkModel:
        """How bytes travel from ``source`` to ``target`` now."""
        return self._links.get((source, target), self._link)

    def duplicates(self, source: PeerId, target: PeerId) -> bool:
        """Is a request of ``source`` to ``target`` handled twice?"""
        model = self.model(source, target)
        return model.duplicates(self._rng("duplicate", source, target))

    async def dial(self, host: SimHost, peer: PeerId) -> Streams:
        """A stream from ``host`` to ``peer``, after one round trip; a cut is waited out.

        Raises:
            Unavailable: ``peer`` does not run.
        """
        loop = asyncio.get_running_loop()
        there, back = self._way(host.peer, peer), self._way(peer, host.peer)
        while there.is_cut() or back.is_cut():
            healed = asyncio.Event()
            self._held.append(healed.set)
            await healed.wait()
        await asyncio.sleep(there.model().delay_s(there.rng) + back.model().delay_s(back.rng))
        target = self.hosts.get(peer)
        if target is None or self.hosts.get(host.peer) is not host:
            raise Unavailable(f"nobody listens at {peer}")
        near, far = connect(there, back, lambda end: self._forget(end, host, target))
        host.pipes[near] = target.pipes[far] = None
        reader, writer = streams(far)
        task = loop.create_task(target.transport.accept(host.peer, reader, writer))
        target.accepting.add(task)
        task.add_done_callback(target.accepting.discard)
        return streams(near)

    @staticmethod
    def _forget(end: PipeEnd, *hosts: SimHost) -> None:
        for host in hosts:
            host.pipes.pop(end, None)

    def _way(self, source: PeerId, target: PeerId) -> Way:
        return Way(
            model=lambda: self.model(source, target),
            rng=self._rng("link", source, target),
            is_cut=lambda: (source, target) in self._cuts,
            hold=lambda send: self._held.append(send),
        )

    def _rng(self, purpose: str, source: PeerId, target: PeerId) -> np.random.Generator:
        name = (purpose, source, target)
        if name not in self._rngs:
            self._rngs[name] = rng(self._seed, *name)
        return self._rngs[name]
