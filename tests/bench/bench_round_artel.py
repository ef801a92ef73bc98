"""Artel's side of ``bench_round``: rounds of 8 real nodes, forked as ``artel up`` forks them.

The job's training is free (workload ``idle``), so a round is what Artel itself costs. Rounds are
counted from the moment when all nodes have contributed to one.
"""

import re
import shutil
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

import psutil
from bench_round_common import PEERS, Measurement, Usage, end_family, usage_of

from node.cli.home import open_home
from node.cli.swarm.plan import Plan, to_toml
from node.cli.swarm.spawn import Zygote
from node.cli.swarm.watch import Member, Watch
from node.jobs.manifest import JobManifest, parse_manifest, with_founders
from node.observe.status import JobStatus
from node.types import PeerId

ROUNDS_MAX = 10**6
"""The job is stopped long before."""
WARM_ROUNDS = 2
ASK_EVERY_S = 2.0
ROUND_S_MAX = 120.0
CALLS_MAX = 250
"""Calls of all nodes in one round (docs/protocol.md, "Cost")."""

_CERTIFIED = re.compile(
    r"(\S+Z) info +round_certified .*\bround=(\d+).*\bseconds=([0-9.]+)"
    r".*\bupdate:([0-9.]+)"
)
"""A node's line on one round: its end, its duration, and when in it the update was ready."""


@dataclass(frozen=True)
class Setting:
    """One way to run Artel."""

    rule: str
    replicas: int
    """0: the default, f + 1."""

    @property
    def name(self) -> str:
        """For tables."""
        return f"artel {self.rule} r={self.replicas or 'f+1'}"


@dataclass(frozen=True)
class Look:
    """All nodes at one moment."""

    jobs: Sequence[JobStatus]
    used: Usage
    at_s: float

    @property
    def rounds(self) -> list[int]:
        """Rounds in progress."""
        return [job.round for job in self.jobs]

    @property
    def whole(self) -> bool:
        """Whether every node has seen a round with all contributions."""
        return all(job.used == PEERS for job in self.jobs)


def manifest_of(setting: Setting, params: int) -> JobManifest:
    """The job: float16 both ways, as hivemind's side has it."""
    text = f"""
    [job]
    name = "bench"
    workload = "idle"
    rounds = {ROUNDS_MAX}
    [workload]
    dimensions = {params}
    [round]
    evaluate_every = {ROUNDS_MAX}
    view_s_min = 20.0
    call_s_max = 60.0
    [exchange]
    codec = "fp16"
    result_codec = "fp16"
    rule = "{setting.rule}"
    replicas = {setting.replicas}
    """
    return parse_manifest(text, {})


@contextmanager
def swarm(setting: Setting, params: int, folder: Path) -> Iterator[Watch]:
    """Eight nodes on one job, and their end."""
    plan = Plan(manifest_of(setting, params), folder, PEERS, 0, "")
    members = []
    for index in range(PEERS):
        home = open_home(folder / plan.name(index))
        home.store.close()
        peer = home.identity.peer_id
        members.append(Member(plan.name(index), folder / plan.name(index), peer, byzantine=False))
    founders = [PeerId(member.peer) for member in members]
    job = folder / "job.toml"
    job.write_text(to_toml(with_founders(plan.manifest, founders).model_dump()))
    zygote = Zygote(folder / "zygote.log")
    watch = Watch(plan, members, zygote, start_s=time.monotonic(), timeout_s=float("inf"))
    try:
        zygote.wait_ready()
        join: list[str] = []
        for member in members:
            member.pid = zygote.spawn(member.data, {"jobs": [str(job)], "join": join})
            join = join or watch.wait_for_addresses(member)
        yield watch
    finally:
        left = family_of(members)
        zygote.stop()
        end_family(left)
        watch.close()


def family_of(members: Sequence[Member]) -> list[psutil.Process]:
    """The nodes with their p2pd and workers."""
    found: list[psutil.Process] = []
    for pid in [member.pid for member in members if member.pid]:
        if psutil.pid_exists(pid):
            process = psutil.Process(pid)
            found += [process, *process.children(recursive=True)]
    return found


def measure(
    setting: Setting, params: int, rounds: int, progress: Callable[[str], None]
) -> Measurement:
    """Run ``rounds`` rounds after the warm-up.

    Raises:
        Unavailable: a node ended, its job failed, or a round took more than ROUND_S_MAX.
    """
    folder = Path(tempfile.mkdtemp(prefix="artel-bench-"))
    try:
        with swarm(setting, params, folder) as watch:
            progress(f"{setting.name}, {params}: nodes started")
            first = _wait(watch, lambda look: look.whole and min(look.rounds) > WARM_ROUNDS + 1)
            start = max(first.rounds)
            # From a look at which all nodes have finished the warm-up.
            base = _wait(watch, lambda look: min(look.rounds) >= start + WARM_ROUNDS)
            after = max(base.rounds) + rounds
            last = _wait(watch, lambda look: min(look.rounds) > after, progress)
            logs = [member.data / "node.log" for member in watch.members]
            return _result(setting, params, base, last, _last_times(logs), rounds)
    except BaseException:
        for log in sorted(folder.glob("*/node.log")):
            progress(f"{log.parent.name}: {_tail(log)}")
        raise
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _wait(
    watch: Watch, ready: Callable[[Look], bool], progress: Callable[[str], None] | None = None
) -> Look:
    shown, since_s = 0, time.monotonic()
    while True:
        watch.refresh()
        jobs = [member.job for member in watch.members]
        known = [job for job in jobs if job is not None]
        if len(known) == PEERS:
            look = Look(known, usage_of(family_of(watch.members)), time.monotonic())
            if ready(look):
                return look
            if min(look.rounds) > shown:
                shown, since_s = min(look.rounds), time.monotonic()
                if progress is not None:
                    progress(f"  round {shown}")
        if time.monotonic() - since_s > ROUND_S_MAX:
            raise TimeoutError(f"no round in {ROUND_S_MAX:g} s: {watch.headline()}")
        time.sleep(ASK_EVERY_S)


def _last_times(logs: Sequence[Path]) -> dict[int, tuple[float, float]]:
    """Round -> when the last node had its update, and when the last had the certificate.

    In seconds of the wall clock. A round without all nodes is left out.
    """
    times: dict[int, list[tuple[float, float]]] = {}
    for log in logs:
        for line in log.read_text(errors="replace").splitlines():
            if found := _CERTIFIED.search(line):
                end_s = datetime.fromisoformat(found[1]).timestamp()
                ready_s = end_s - float(found[3]) + float(found[4])
                times.setdefault(int(found[2]), []).append((ready_s, end_s))
    return {
        round_: (max(ready for ready, _ in at), max(end for _, end in at))
        for round_, at in times.items()
        if len(at) == len(logs)
    }


def _result(
    setting: Setting,
    params: int,
    base: Look,
    last: Look,
    times: dict[int, tuple[float, float]],
    rounds: int,
) -> Measurement:
    first = max(base.rounds)
    counted = range(first, first + rounds)
    seconds = [times[r][1] - times[r][0] for r in counted]
    whole = [times[r][1] - times[r - 1][1] for r in counted]
    pairs = list(zip(base.jobs, last.jobs, strict=True))
    found = Measurement(setting.name, params, seconds)
    passed = (last.at_s - base.at_s) / statistics.fmean(whole)
    found.charge(last.used.since(base.used), passed)
    certain = [s for job in last.jobs for s in list(job.round_seconds)[-rounds:]]
    calls = sum(after.calls - before.calls for before, after in pairs) / passed
    sent = statistics.fmean(after.bytes_up - before.bytes_up for before, after in pairs) / passed
    found.extra = {
        "round_seconds_median": statistics.median(certain),
        "certificate_to_certificate_median": statistics.median(whole),
        "calls_per_round": calls,
        "message_bytes": sent,
        "skips": float(last.jobs[0].skips - base.jobs[0].skips),
        "used_least": float(min(job.used for job in last.jobs)),
    }
    return found


def _tail(log: Path) -> str:
    lines = log.read_text(errors="replace").splitlines()
    return lines[-1][:300] if lines else "empty"
