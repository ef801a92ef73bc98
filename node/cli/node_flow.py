"""One running node: ports, daemon and control, opened in order and closed in reverse."""

import asyncio
import faulthandler
import signal
import sys
from collections.abc import Callable, Sequence
from contextlib import AsyncExitStack

import uvloop

from node.adapters.hivemind_host import HivemindHost
from node.adapters.process_compute import ProcessCompute
from node.adapters.system_clock import SystemClock
from node.adapters.worker_forker import WorkerForker
from node.cli.attacks import load_attack
from node.cli.failpoint import make_failpoint
from node.cli.home import open_home
from node.cli.rendezvous import write_address_file
from node.config import NodeConfig
from node.control.server import ControlServer
from node.daemon import Daemon, manifest_id
from node.errors import ConfigError, Unavailable
from node.jobs.honest import HONEST
from node.jobs.scope import first_of
from node.membership.checks import record_validator
from node.observe.log import Format, configure_logging
from node.ports import Ports
from node.ranges import Ranges

P2PD_WATCH_S = 2.0
"""Pause between two looks at p2pd."""
STOP_S_MAX = 5.0
"""A node is gone this long after it was told to stop, whatever hangs."""


def run_flow(
    config: NodeConfig, manifests: Sequence[str], forker: WorkerForker, log_format: str
) -> int:
    """Run the node on uvloop; the exit code.

    Args:
        config: The node's settings.
        manifests: Texts of the job files, submitted once the daemon runs.
        forker: Starts the workers; made before any loop.
        log_format: Of the events on stderr: ``text`` or ``json``.
    """
    configure_logging(sys.stderr, level=config.log_level, form=_format(log_format))
    try:
        uvloop.run(_serve(config, manifests, forker))
    except BaseExceptionGroup as group:
        raise first_of(group) from group
    return 0


def _format(text: str) -> Format:
    if text == "text":
        return "text"
    if text == "json":
        return "json"
    raise ConfigError(f"--log-format {text}: choose text or json")


async def _serve(config: NodeConfig, manifests: Sequence[str], forker: WorkerForker) -> None:
    async with AsyncExitStack() as stack:
        home = open_home(config.data)
        stack.callback(home.store.close)
        behaviour = load_attack(config.attack, home.identity.peer_id) if config.attack else HONEST
        compute = ProcessCompute(forker, threads=config.threads, device=config.device)
        stack.push_async_callback(compute.close)
        clock = SystemClock()
        host = await HivemindHost.create(
            home.identity.seed,
            data_folder=config.data,
            listen=config.listen,
            announce=config.announce,
            join=config.join,
            relay=config.relay,
            auto_relay=config.relay and bool(config.join),
            validator=record_validator(config.swarm, clock.unix_s, manifest_id),
            on_peer_error=lambda peer, error: daemon.blame(peer, error),
            ranges=Ranges(config.limits.range_peers, config.limits.trusted_ranges),
            is_spared=lambda peer: daemon.is_needed(peer),
        )
        stack.push_async_callback(host.close)
        if config.address_file is not None:
            own = config.announce or host.transport.addresses
            peer = home.identity.peer_id
            write_address_file(config.address_file, [f"{address}/p2p/{peer}" for address in own])
        ports = Ports(host.transport, host.discovery, home.store, compute, clock)
        daemon = Daemon(
            config,
            home.identity,
            ports,
            behaviour,
            make_failpoint(config.failpoint),
            slots_lost=home.slots_lost,
        )
        control = await ControlServer.start(daemon, config.data)
        stack.push_async_callback(control.close)
        _stop_on_signals(daemon.request_stop)
        async with asyncio.TaskGroup() as group:
            watch = group.create_task(_watch_p2pd(host))
            run = group.create_task(daemon.run())
            run.add_done_callback(lambda _: watch.cancel())
            for manifest in manifests:
                await daemon.submit(manifest, {})


async def _watch_p2pd(host: HivemindHost) -> None:
    """End the node if its p2pd is gone, so that whatever supervises it starts both anew."""
    while host.is_alive:
        await asyncio.sleep(P2PD_WATCH_S)
    raise Unavailable("p2pd has ended: this node can reach nobody any more; start it again")


def _stop_on_signals(stop: Callable[[], None]) -> None:
    """SIGTERM and SIGINT end the node cleanly, and after STOP_S_MAX in any case."""
    loop = asyncio.get_running_loop()

    def on_signal() -> None:
        # A second signal, or a loop that hangs in the closing, must not leave a node behind;
        # p2pd, the forker and the workers go with this process.
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.remove_signal_handler(number)
            signal.signal(number, signal.SIG_DFL)
        # Not an alarm: the first process of a container takes no signal that it does not handle.
        faulthandler.dump_traceback_later(STOP_S_MAX, exit=True)
        stop()

    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, on_signal)
