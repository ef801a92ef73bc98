"""A swarm that only gossips: many whole daemons without a job that come and go at random.

Shows whether views stay true at sizes that no job needs: each node should know as many of the live
peers as its table holds, and forget the dead once their records have expired.
"""

import asyncio
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from node.config import Limits
from simulator.hub import Hub, Watcher
from simulator.loop import run
from simulator.memo import shared_results
from simulator.scenario import LinkSection, Scenario
from simulator.seeds import rng
from simulator.trace import Trace
from simulator.world import World

TTL_S = 120.0
"""Life of a peer's record: a silent peer may be shown for so long."""
SETTLED_S = 30.0
"""Nodes that are up for less are still finding the others."""


@dataclass(frozen=True)
class Churn:
    """Who comes and goes. Every node starts within ``arrive_s``; node 0, which all know, stays."""

    nodes: int = 1000
    virtual_s: float = 180.0
    arrive_s: float = 30.0
    up_s: float = 300.0
    """Mean time until a node leaves without a word (exponential)."""
    down_s: float = 60.0
    """Mean time until it comes back on its disk (exponential)."""
    peers_max: int = 256
    """Size of a node's table."""
    latency_s: float = 0.05
    loss_rate: float = 0.005


@dataclass
class ChurnOutcome:
    """What the views were worth at the end; medians over the settled nodes."""

    joins: int = 0
    leaves: int = 0
    live: int = 0
    """Nodes that run at the end."""
    settled: int = 0
    """Of them, nodes whose views were judged."""
    known_share: float = 0.0
    """Live peers in the view, of those that it has room for."""
    known_share_min: float = 0.0
    """The same of the worst settled node."""
    dead_share: float = 0.0
    """Shown peers that do not run: they left within TTL_S, or the view is wrong."""
    overdue: int = 0
    """Peers, over all views, that are shown though they left longer than TTL_S ago."""
    known_by_min: int = 0
    """Judged views that show the settled node which the fewest show."""
    splits: int = 0
    """Nodes that believe the DHT to be split, which it is not."""
    events: int = 0
    trace_digest: str = ""
    virtual_s: float = 0.0


def run_churn(churn: Churn, seed: int, watchers: Sequence[Watcher] = ()) -> ChurnOutcome:
    """Let them come and go, then judge the views.

    Args:
        churn: how many, and how restless.
        seed: of every draw.
        watchers: told what happens.
    """
    with shared_results():
        return run(_run(churn, seed, watchers))


async def _run(churn: Churn, seed: int, watchers: Sequence[Watcher]) -> ChurnOutcome:
    scenario = Scenario(
        name="membership",
        nodes=1,
        followers=churn.nodes - 1,
        framed=False,
        link=LinkSection(latency_s=churn.latency_s, loss_rate=churn.loss_rate),
    )
    hub = Hub(watchers)
    world = World(scenario, seed, hub)
    world.limits = Limits(peers_max=churn.peers_max)
    trace = Trace({node.peer: node.name for node in world.nodes})
    hub.watchers.append(trace)
    outcome = ChurnOutcome()
    changed_s: dict[int, float] = {}
    async with world:
        try:
            async with asyncio.timeout(churn.virtual_s), asyncio.TaskGroup() as group:
                for node in world.nodes:
                    group.create_task(_come_and_go(world, churn, node.index, outcome, changed_s))
        except TimeoutError:
            pass
        _judge(world, outcome, changed_s)
        outcome.virtual_s = world.now()
        outcome.events, outcome.trace_digest = trace.events, trace.digest
    return outcome


async def _come_and_go(
    world: World, churn: Churn, index: int, outcome: ChurnOutcome, changed_s: dict[int, float]
) -> None:
    draws = rng(world.seed, "churn", index)
    await asyncio.sleep(index and draws.uniform(0.0, churn.arrive_s))
    while True:
        await world.start(index)
        changed_s[index] = world.now()
        outcome.joins += 1
        if not index:
            return
        await asyncio.sleep(draws.exponential(churn.up_s))
        await world.crash(index)
        changed_s[index] = world.now()
        outcome.leaves += 1
        await asyncio.sleep(draws.exponential(churn.down_s))


def _judge(world: World, outcome: ChurnOutcome, changed_s: dict[int, float]) -> None:
    now = world.now()
    index_of = {node.peer: node.index for node in world.nodes}
    live = [node for node in world.nodes if node.daemon is not None]
    known: list[float] = []
    dead: list[float] = []
    known_by: Counter[int] = Counter()
    for node in live:
        if node.daemon is None or now - changed_s[node.index] < SETTLED_S:
            continue
        status = node.daemon.status()
        shown = [index_of[p.peer] for p in status.peers if p.expires_in_s > 0]
        gone = [i for i in shown if world.nodes[i].daemon is None]
        room = min(len(live) - 1, node.daemon.config.limits.peers_max)
        known.append((len(shown) - len(gone)) / max(1, room))
        dead.append(len(gone) / max(1, len(shown)))
        known_by.update(shown)
        outcome.splits += "split noticed" in status.membership
        outcome.overdue += sum(now - changed_s[i] > TTL_S for i in gone)
    outcome.live, outcome.settled = len(live), len(known)
    if known:
        outcome.known_share, outcome.known_share_min = sorted(known)[len(known) // 2], min(known)
        outcome.dead_share = sorted(dead)[len(dead) // 2]
        settled = [n for n in live if now - changed_s[n.index] >= SETTLED_S]
        outcome.known_by_min = min(known_by[node.index] for node in settled)
