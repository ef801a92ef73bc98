"""Runs one scenario from one seed: faults, then healing, under invariants all the time."""

import asyncio
import math
import time
import traceback
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, field
from typing import TextIO

from node.errors import ConfigError
from node.jobs.geometry import geometry
from node.jobs.manifest import JobManifest, parse_manifest
from node.ledger.electorate import Electorate
from node.types import JobId
from simulator.faults import FaultPlayer, is_done
from simulator.guard import guard
from simulator.host.compute import SimCompute
from simulator.hub import Hub, Watcher
from simulator.invariants import Invariants, Violation
from simulator.loop import run
from simulator.memo import shared_results
from simulator.scenario import Scenario
from simulator.seeds import rng
from simulator.trace import Trace
from simulator.world import SimNode, World

POLL_S = 0.1
"""Virtual pause between two looks at whether a run is over."""
HIGHER_IS_BETTER = ("accuracy", "psnr")
"""What the names of such metrics begin with; of all others less is better."""


@dataclass
class Outcome:
    """What a run showed; the fields of ``artel sim run --json``."""

    scenario: str
    seed: int
    ok: bool = False
    violations: list[Violation] = field(default_factory=list)
    rounds: int = 0
    """Rounds that every honest node has certified."""
    virtual_s: float = 0.0
    wall_s: float = 0.0
    events: int = 0
    trace_digest: str = ""
    metrics: Mapping[str, float] = field(default_factory=dict)
    """Worst of each metric over the honest nodes (``HIGHER_IS_BETTER``); not a number is worst."""
    bans: Mapping[str, str] = field(default_factory=dict)
    """Node -> reason."""
    recovery_virtual_s: float | None = None
    """From the end of the last fault until every honest node has a new round."""
    not_shown: Sequence[str] = ()
    """What a reader might take as shown, and is not: faults that never came, promises that the
    rule or the replicas do not give."""


def run_scenario(
    scenario: Scenario,
    seed: int,
    *,
    trace: TextIO | None = None,
    watchers: Sequence[Callable[[World], Watcher]] = (),
) -> Outcome:
    """Run to the end and check everything.

    Args:
        scenario: what happens.
        seed: of every draw.
        trace: gets the readable trace.
        watchers: makers of more watchers, for progress and reports.

    Raises:
        ConfigError: the scenario names what does not exist, or its job does not check.
    """
    outcome = Outcome(scenario.name, seed)
    ties = rng(seed, "ties") if scenario.shuffle_ties else None
    started = time.perf_counter()
    with shared_results() if scenario.memo else nullcontext():
        try:
            with guard():
                run(_run(scenario, seed, outcome, trace, watchers), tie_rng=ties)
        except ConfigError:
            raise
        except Exception as error:
            if not outcome.violations:  # else a daemon told of it before
                text = "".join(traceback.format_exception(error))
                outcome.violations.append(Violation(outcome.virtual_s, "no_crash", text))
    outcome.wall_s = time.perf_counter() - started
    outcome.ok = not outcome.violations
    return outcome


async def _run(
    scenario: Scenario,
    seed: int,
    outcome: Outcome,
    out: TextIO | None,
    watchers: Sequence[Callable[[World], Watcher]],
) -> None:
    hub = Hub()
    world = World(scenario, seed, hub)
    await check_job(parse_manifest(world.manifest(), {}), world)
    trace = Trace({node.peer: node.name for node in world.nodes}, out)
    invariants = Invariants(world)
    outcome.violations = invariants.violations
    hub.watchers += [trace, invariants, *(make(world) for make in watchers)]
    player = FaultPlayer(world)
    async with world:
        there = [node.index for node in world.nodes if node.index not in player.late]
        for index in (i for i in there if i < scenario.nodes):
            await world.start(index)
        await world.submit()
        for index in (i for i in there if i >= scenario.nodes):
            await world.start(index)  # followers are told the job's id
        try:
            async with asyncio.timeout(scenario.limit_s):
                await player.run()
                await _until_done(world)
        except TimeoutError:
            pass  # what is not done by now is found by the invariants
        invariants.finish(world.now())
        outcome.virtual_s = world.now()
        outcome.recovery_virtual_s = invariants.recovery_virtual_s
        outcome.bans = invariants.bans
        outcome.not_shown = (*player.missed, *invariants.not_promised)
        outcome.metrics = worst_metrics(
            runner.progress.metrics
            for node in world.honest
            for runner in (node.daemon.runners if node.daemon else ())
        )
        outcome.rounds = min(
            (r.head.round for n in world.honest if n.daemon for r in n.daemon.runners), default=0
        )
    outcome.events, outcome.trace_digest = trace.events, trace.digest


async def _until_done(world: World) -> None:
    """Until the job is over at every honest node; after the faults nobody starts a failed one."""
    while not all(is_done(n) or _has_failed(n) for n in world.honest):
        await asyncio.sleep(POLL_S)


def _has_failed(node: SimNode) -> bool:
    jobs = node.daemon.list_jobs() if node.daemon else ()
    return bool(jobs) and jobs[0].state == "failed"


async def check_job(manifest: JobManifest, world: World) -> None:
    """Refuse what every node would refuse, before any runs.

    Raises:
        ConfigError: no such workload, rule or codec, or settings that the workload refuses.
    """
    job = manifest.job
    worker = await SimCompute().start_worker(job.workload, manifest.workload, job.seed)
    electors = world.nodes[: world.scenario.nodes]
    electorate = Electorate.of(node.signer.public_key for node in electors)
    geometry(JobId(b""), manifest, worker.shapes, electorate)
    await worker.close()


def worst_metrics(nodes: Iterable[Mapping[str, float]]) -> dict[str, float]:
    """Of each metric the worst value that a node has."""
    worst: dict[str, float] = {}
    for metrics in nodes:
        for name, value in metrics.items():
            pick = min if name.startswith(HIGHER_IS_BETTER) else max
            other = worst.get(name, value)
            worst[name] = math.nan if math.isnan(value + other) else pick(value, other)
    return worst
