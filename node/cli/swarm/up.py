"""Runs a local swarm from its plan to its report."""

import json
import signal
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType

from node.cli.home import open_home
from node.cli.shared import print_json, to_plain
from node.cli.swarm.folder import SwarmFolder
from node.cli.swarm.plan import Plan, to_toml
from node.cli.swarm.report import make_result, print_summary, save_pictures
from node.cli.swarm.spawn import STOP_S, Zygote
from node.cli.swarm.watch import Member, Watch, show
from node.control.address import SOCKET_NAME
from node.jobs.manifest import with_founders
from node.types import PeerId

INTERRUPTED = 130
"""Exit code after Ctrl-C or SIGTERM, as shells have it."""


def run_swarm(plan: Plan, *, timeout_s: float, keep: bool, as_json: bool) -> int:
    """Start the nodes, follow them until the job is done, stop them, verify and report.

    Args:
        plan: What to run.
        timeout_s: Give up after so long.
        keep: Once the job is done, leave the nodes running until Ctrl-C.
        as_json: End with one line of JSON on stdout; all else goes to stderr.

    Returns:
        0: the job is done and the honest nodes agree. 1: not so. 130: interrupted.

    Raises:
        ConfigError: the folder cannot be used.
    """
    folder = SwarmFolder(plan.folder)
    out = sys.stderr if as_json else sys.stdout
    zygote: Zygote | None = None
    watch: Watch | None = None
    done_s: float | None = None
    start_s = time.monotonic()
    try:
        with _interrupts():
            members = _make_members(plan)
            print(f"artel: starting {plan.nodes} nodes in {plan.folder}", file=out, flush=True)
            with _deferred():
                zygote = Zygote(plan.folder / "zygote.log")
            zygote.wait_ready()
            watch = Watch(plan, members, zygote, start_s=start_s, timeout_s=timeout_s)
            _start_nodes(plan, watch, zygote)
            show(watch, out)
            done_s = time.monotonic()
            if keep:
                print("artel: done; the nodes run until Ctrl-C", file=out, flush=True)
                watch.until_interrupted()
    except KeyboardInterrupt:
        if done_s is None:
            print("artel: interrupted", file=sys.stderr)
            return INTERRUPTED
    finally:
        with _uninterrupted():
            if zygote is not None:
                zygote.stop(within_s=STOP_S - 1.0)
            if watch is not None:
                watch.close()
            _remove_sockets(plan)
            folder.close()
    assert watch is not None
    assert done_s is not None
    result = make_result(plan, watch, wall_s=done_s - start_s)
    (plan.folder / "result.json").write_text(json.dumps(to_plain(result), indent=2) + "\n")
    print_summary(result, watch, save_pictures(plan, watch), out)
    if as_json:
        print_json(result)
    return 0 if result["agreement"] else 1


def _make_members(plan: Plan) -> list[Member]:
    """Give each node a folder with key and store, and write the manifest that names them all."""
    members = []
    for index in range(plan.nodes):
        data = plan.folder / plan.name(index)
        home = open_home(data)
        home.store.close()
        peer = home.identity.peer_id
        members.append(Member(plan.name(index), data, peer, byzantine=index >= plan.honest))
    founders = [PeerId(member.peer) for member in members]
    manifest = with_founders(plan.manifest, founders).model_dump()
    text = to_toml(manifest)
    (plan.folder / "job.toml").write_text(text, encoding="utf-8")
    return members


def _start_nodes(plan: Plan, watch: Watch, zygote: Zygote) -> None:
    """Start the first node, then the others, which join it."""
    join: list[str] = []
    for member in watch.members:
        flags: dict[str, object] = {"jobs": [str(plan.folder / "job.toml")], "join": join}
        if member.byzantine:
            flags["attack"] = plan.attack
        member.pid = zygote.spawn(member.data, flags)
        if not join:
            join = watch.wait_for_addresses(member)


def _remove_sockets(plan: Plan) -> None:
    """A node that had to be killed leaves its socket behind."""
    for index in range(plan.nodes):
        (Path(plan.folder) / plan.name(index) / SOCKET_NAME).unlink(missing_ok=True)


@contextmanager
def _interrupts() -> Iterator[None]:
    """SIGTERM is taken as Ctrl-C is: the nodes are stopped on the way out."""

    def interrupt(number: int, frame: FrameType | None) -> None:
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGTERM, interrupt)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


@contextmanager
def _deferred() -> Iterator[None]:
    """An interrupt comes after the block: a process just started is not lost from sight."""
    pending: list[int] = []

    def remember(number: int, frame: FrameType | None) -> None:
        pending.append(number)

    before = {n: signal.signal(n, remember) for n in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
    if pending:
        raise KeyboardInterrupt


@contextmanager
def _uninterrupted() -> Iterator[None]:
    """A second Ctrl-C does not cut the stopping short."""
    before = {n: signal.signal(n, signal.SIG_IGN) for n in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
