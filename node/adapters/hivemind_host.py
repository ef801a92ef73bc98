"""One p2pd with our identity, and the Transport and Discovery ports on it."""

import asyncio
import logging
import os
import tempfile
from collections.abc import Callable, Sequence
from contextlib import AsyncExitStack, suppress
from pathlib import Path

os.environ.setdefault("HIVEMIND_LOGLEVEL", "WARNING")  # hivemind reads it when first imported
os.environ.setdefault("GOLOG_LOG_LEVEL", "error")  # p2pd's own; unreachable peers are no news

import psutil
from hivemind.p2p import P2P
from hivemind.p2p.p2p_daemon_bindings.utils import P2PDaemonError

from node.adapters.hivemind_discovery import HivemindDiscovery, Validator, open_discovery
from node.adapters.hivemind_transport import open_transport
from node.adapters.limits import Limits
from node.adapters.mux_transport import MuxTransport
from node.adapters.p2pd import P2pdControl, write_identity
from node.errors import ConfigError, PeerError
from node.ranges import Ranges
from node.types import PeerId

START_S = 15.0
STOP_S = 1.0
"""After it p2pd is killed instead of asked."""
LISTEN_LOCAL = ("/ip4/127.0.0.1/tcp/0",)


class HivemindHost:
    """A running p2pd and the two ports. Made by ``create``, ended by ``close``.

    p2pd also ends with this process, however that ends.
    """

    def __init__(
        self, p2p: P2P, transport: MuxTransport, discovery: HivemindDiscovery, stack: AsyncExitStack
    ) -> None:
        self._p2p = p2p
        self._stack = stack
        self.transport = transport
        self.discovery = discovery

    @property
    def p2pd_pid(self) -> int:
        """Process id of p2pd, for resource metrics."""
        return int(self._p2p._child.pid)

    @property
    def is_alive(self) -> bool:
        """Whether p2pd still runs; without it no call gets through any more."""
        try:
            return psutil.Process(self.p2pd_pid).status() != psutil.STATUS_ZOMBIE
        except psutil.NoSuchProcess:
            return False

    @classmethod
    async def create(
        cls,
        identity_seed: bytes,
        *,
        data_folder: Path,
        listen: Sequence[str] = LISTEN_LOCAL,
        announce: Sequence[str] = (),
        join: Sequence[str] = (),
        relay: bool = False,
        auto_relay: bool = False,
        nat_port_map: bool = False,
        validator: Validator | None = None,
        on_peer_error: Callable[[PeerId, PeerError], None] | None = None,
        limits: Limits | None = None,
        ranges: Ranges | None = None,
        is_spared: Callable[[PeerId], bool] = lambda peer: False,
    ) -> "HivemindHost":
        """Start p2pd and the ports on it; contact the ``join`` peers, whether or not they answer.

        Args:
            identity_seed: Ed25519 private key, 32 bytes; the peer id holds its public key.
            data_folder: An existing folder of ours; the key is there while p2pd starts.
            listen: Multiaddrs to listen on; empty: only dial.
            announce: Multiaddrs to tell others in place of those that p2pd finds out.
            join: Multiaddrs of bootstrap peers, ending in ``/p2p/<peer id>``.
            relay: Dial through relays, and relay for others.
            auto_relay: Be reachable through the bootstrap peers while no port is open.
            nat_port_map: Ask the router for an open port (UPnP).
            validator: Which discovery records are kept and shown; all well-formed ones if None.
            on_peer_error: Is told of peers that break the framing.
            limits: What one peer may take from us.
            ranges: How many peers of one address range may open streams to us.
            is_spared: Whether a peer may, however many do.

        Raises:
            ConfigError: An address is not a multiaddr, or p2pd does not start with these settings.
        """
        limits = limits or Limits()
        bootstrap = _by_peer(join)
        logging.getLogger("hivemind").setLevel(os.environ["HIVEMIND_LOGLEVEL"])
        async with AsyncExitStack() as stack:
            with tempfile.TemporaryDirectory(dir=data_folder, prefix="p2pd-") as folder:
                key_path = Path(folder) / "key"
                write_identity(key_path, identity_seed)
                p2p = await _start(
                    stack,
                    identity_path=str(key_path),
                    host_maddrs=list(listen),
                    no_listen=not listen,
                    announce_maddrs=list(announce) or None,
                    use_relay=relay or auto_relay,
                    use_auto_relay=auto_relay,
                    trusted_relays=list(join) if auto_relay else None,
                    nat_port_map=nat_port_map,
                    check_if_identity_free=False,
                    startup_timeout=START_S,
                )
            control = P2pdControl(p2p.daemon_listen_maddr["unix"])
            transport = await open_transport(
                p2p, control, limits=limits, on_peer_error=on_peer_error, ranges=ranges,
                is_spared=is_spared,
            )  # fmt: skip
            stack.push_async_callback(transport.close)
            discovery = await open_discovery(p2p, control, validator)
            stack.callback(discovery.close)
            for peer, addresses in bootstrap.items():
                transport.learn(peer, addresses)
            await asyncio.gather(*(discovery.meet(p, a) for p, a in bootstrap.items()))
            return cls(p2p, transport, discovery, stack.pop_all())

    async def close(self) -> None:
        """End discovery, transport and p2pd within two seconds; idempotent."""
        await self._stack.aclose()


async def _start(stack: AsyncExitStack, **options: object) -> P2P:
    try:
        p2p = await P2P.create(**options)
    except (P2PDaemonError, ValueError) as error:
        raise ConfigError(f"p2pd does not start with these addresses: {error}") from error
    stack.push_async_callback(_stop, p2p)
    return p2p


async def _stop(p2p: P2P) -> None:
    child = p2p._child  # hivemind has no public way to kill a p2pd that does not end
    try:
        async with asyncio.timeout(STOP_S):
            await p2p.shutdown()
    except TimeoutError:
        with suppress(ProcessLookupError):
            child.kill()
        await child.wait()


def _by_peer(join: Sequence[str]) -> dict[PeerId, list[str]]:
    by_peer: dict[PeerId, list[str]] = {}
    for address in join:
        before, found, peer = address.rpartition("/p2p/")
        if not found or not peer or not before.startswith("/"):
            raise ConfigError(f"{address!r} does not end in /p2p/<peer id>")
        by_peer.setdefault(PeerId(peer), []).append(before)
    return by_peer
