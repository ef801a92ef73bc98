"""Follows a local swarm over the nodes' control sockets, and shows it."""

import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TextIO

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.table import Table
from rich.text import Text

from node.cli.shared import format_bytes, format_number, short_id
from node.cli.swarm.plan import Plan
from node.cli.swarm.spawn import Zygote
from node.control.client import ControlClient
from node.errors import Unavailable
from node.observe.status import JobStatus, NodeStatus

REFRESH_S = 0.5
PLAIN_EVERY_S = 3.0
START_S_MAX = 60.0
ASK_S_MAX = 2.0
COLUMNS = ("psnr_db", "accuracy", "score", "swarm_score", "steps", "memory_entries", "trust_min")
"""Metrics that the table shows, if the job has them."""
MEMORY_METRIC = "memory_entries"


@dataclass
class Member:
    """One node of the swarm."""

    name: str
    data: Path
    peer: str
    byzantine: bool
    pid: int = 0
    status: NodeStatus | None = None
    """As last told."""
    client: ControlClient | None = None

    @property
    def job(self) -> JobStatus | None:
        """The swarm's one job, once the node has it."""
        return self.status.jobs[0] if self.status and self.status.jobs else None


class Watch:
    """Asks every node again and again, and decides when the swarm has ended."""

    def __init__(
        self, plan: Plan, members: list[Member], zygote: Zygote, *, start_s: float, timeout_s: float
    ) -> None:
        self.plan = plan
        self.members = members
        self.start_s = start_s
        self.ready_s: float | None = None
        """Seconds from ``start_s`` until all nodes were ready."""
        self.notes: list[str] = []
        self._zygote = zygote
        self._deadline_s = start_s + timeout_s
        self._askers = ThreadPoolExecutor(8, thread_name_prefix="ask")

    @property
    def honest(self) -> list[Member]:
        """Nodes that follow the protocol."""
        return [member for member in self.members if not member.byzantine]

    def wait_for_addresses(self, member: Member) -> list[str]:
        """Where ``member`` can be dialled, once it says so.

        Raises:
            Unavailable: it ended, or took longer than START_S_MAX.
        """
        deadline_s = time.monotonic() + START_S_MAX
        while time.monotonic() < deadline_s:
            self._ask(member)
            if member.status is not None and member.status.addresses:
                return list(member.status.addresses)[:1]
            self._check_exits()
            time.sleep(0.05)
        raise Unavailable(f"{member.name} was not up in {START_S_MAX:g} s: see its node.log")

    def refresh(self) -> bool:
        """Ask all nodes; True while the job goes on.

        Raises:
            Unavailable: an honest node ended or failed its job, or the time is up.
        """
        self._check_exits()
        list(self._askers.map(self._ask, self.members))
        if self.ready_s is None and all(m.status and m.status.ready for m in self.members):
            self.ready_s = time.monotonic() - self.start_s
        jobs = [member.job for member in self.honest]
        for member, job in zip(self.honest, jobs, strict=True):
            if job is not None and job.state in ("failed", "stopped"):
                raise Unavailable(f"{member.name}: the job {job.state}: {job.reason}")
        if all(job is not None and job.state == "done" for job in jobs):
            return False
        if time.monotonic() > self._deadline_s:
            raise Unavailable(f"the time is up: {self.headline()}")
        return True

    def until_interrupted(self) -> None:
        """Wait for Ctrl-C; a node that ends by itself is an error."""
        while True:
            self._check_exits()
            time.sleep(REFRESH_S)

    def headline(self) -> str:
        """The swarm in one line."""
        jobs = [member.job for member in self.honest]
        rounds = self.plan.manifest.job.rounds
        known = [job for job in jobs if job is not None]
        closed = [len(job.round_seconds) and _certified(job) for job in known]
        low, high = (min(closed), max(closed)) if closed else (0, 0)
        span = f"{low}" if low == high else f"{low}-{high}"
        up = sum(bool(member.status and member.status.ready) for member in self.members)
        parts = [f"round {span}/{rounds}", f"{up}/{len(self.members)} nodes ready"]
        if known:
            best = max(known, key=lambda job: job.metrics_round)
            numbers = [(name, told(best, name)) for name in columns(known)]
            parts += [f"{name} {value:.5g}" for name, value in numbers if value is not None]
        waiting = sorted({job.reason for job in known if job.state == "waiting" and job.reason})
        return ", ".join(parts + waiting)

    def close(self) -> None:
        """End the connections; idempotent."""
        self._askers.shutdown()
        for member in self.members:
            if member.client is not None:
                member.client.close()
                member.client = None

    def _ask(self, member: Member) -> None:
        """Refresh one status; a node that does not answer keeps its last one."""
        with suppress(Unavailable):
            if member.client is None:
                member.client = ControlClient(member.data, timeout_s=ASK_S_MAX)
            member.status = member.client.status()

    def _check_exits(self) -> None:
        names = {member.pid: member for member in self.members}
        for end in self._zygote.exits():
            member = names.get(end.pid)
            if member is None:
                continue
            text = f"{member.name} {end.how}: see {member.data / 'node.log'}"
            if not member.byzantine:
                raise Unavailable(f"{text}{_last_line(member.data / 'node.log')}")
            self.notes.append(text)


def show(watch: Watch, out: TextIO) -> None:
    """Follow the swarm until its job is done: a live table; plain lines where there is no tty."""
    if out.isatty():
        console = Console(file=out, markup=False, highlight=False, emoji=False)
        with Live(console=console, auto_refresh=False) as live:
            going = True
            while going:
                going = watch.refresh()
                live.update(_view(watch), refresh=True)
                time.sleep(REFRESH_S if going else 0.0)
        return
    shown_s = 0.0
    while watch.refresh():
        if time.monotonic() - shown_s >= PLAIN_EVERY_S:
            shown_s = time.monotonic()
            print(watch.headline(), file=out, flush=True)
        time.sleep(REFRESH_S)
    print(watch.headline(), file=out, flush=True)


def _view(watch: Watch) -> RenderableType:
    table = Table(box=None, header_style="bold")
    metrics = columns([member.job for member in watch.honest if member.job])
    for name in ("node", "peer", "role", "round", "phase", *metrics, "up", "down", "used"):
        table.add_column(name)
    table.add_column("contribution")
    for member in watch.members:
        job = member.job
        role = Text("byzantine", style="red") if member.byzantine else Text("honest")
        if job is None:
            waiting = "ready" if member.status and member.status.ready else "starting"
            table.add_row(member.name, short_id(member.peer), role, "-", waiting)
            continue
        table.add_row(
            member.name,
            short_id(member.peer),
            role,
            f"{job.round}/{job.rounds}",
            job.phase if job.state == "running" else job.state,
            *(format_number(told(job, name), ".5g") for name in metrics),
            format_bytes(job.bytes_up),
            format_bytes(job.bytes_down),
            str(job.used),
            _contribution(member.peer, [m.job for m in watch.honest if m.job]),
        )
    return Group(Text(watch.headline(), style="bold"), table, *map(Text, watch.notes))


def columns(jobs: Sequence[JobStatus]) -> list[str]:
    """Numbers worth a column: the loss, or what a job with a memory tells, and a few metrics."""
    names = sorted({name for job in jobs for name in job.metrics})
    wanted = [name for name in COLUMNS if name in names]
    first = [] if any(map(shares_memory, jobs)) else ["loss"]
    return first + (wanted or [name for name in names if name != "loss"][:2])


def told(job: JobStatus, name: str) -> float | None:
    """A number of the table: the loss is that of the last steps, all else of the last state."""
    return job.loss if name == "loss" else job.metrics.get(name)


def shares_memory(job: JobStatus) -> bool:
    """Whether the job has a memory besides parameters."""
    return MEMORY_METRIC in job.metrics


def _contribution(peer: str, jobs: Sequence[JobStatus]) -> str:
    """What the others made of this node's last contribution: refused and why, or its weight."""
    for job in jobs:
        if peer in job.bans:
            return f"banned in round {job.bans[peer]}"
        if peer in job.refused:
            return f"refused: {job.refused[peer]}"
    weights = [job.weights[peer] for job in jobs if peer in job.weights]
    return f"weight {weights[0]:.3f}" if weights else ""


def _certified(job: JobStatus) -> int:
    """Rounds that are closed."""
    return job.rounds if job.state == "done" else max(job.round - 1, 0)


def _last_line(log: Path) -> str:
    """The end of a log, for an error's text."""
    with suppress(OSError):
        lines = log.read_text(errors="replace").strip().splitlines()
        if lines:
            return f" ({lines[-1][:300]})"
    return ""
