"""One fault-free job in virtual time and on real daemons: the same decisions, to the last bit.

The job has a step budget and waits of a minute, so that every contribution is awaited and no
decision depends on time. Keys come from a seed and the manifest is the same bytes. What may differ
is outside of a decision: who voted on it, since a quorum is whoever answers first.
"""

import asyncio
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import torch
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from node.adapters.file_store import open_store
from node.cli.shared import KEY_FILE
from node.identity import Identity
from node.jobs.verify_folder import verify_node_folder
from node.ledger.votes import decision_id
from node.types import Digest
from node.wire.convert_ledger import decode_decision
from node.wire.messages import Decision
from simulator.hub import Hub, Watcher
from simulator.loop import run
from simulator.scenario import Scenario
from simulator.world import World

# The wait is for a swarm's end, and long only where many processes share few cores.
pytestmark = [pytest.mark.network, pytest.mark.slow, pytest.mark.timeout(300)]

NODES = 4
SEED = 31
DONE_S = 200.0
WAITS = """
train_s_max = 60.0
commit_s_min = 60.0
commit_s_max = 60.0
view_s_min = 600.0
view_s_max = 600.0
call_s_max = 60.0
[audit]
rate = 0.0
"""
"""Without audits, whose commitments name the compute class: simulated hosts have others."""
QUADRATIC = f"""
[job]
name = "parity"
workload = "quadratic"
seed = 5
rounds = 6
[workload]
dimensions = 200000
heterogeneity = 0.3
[round]
steps = 10
{WAITS}
[outer]
momentum = 0.5
"""
INR = f"""
[job]
name = "parity"
workload = "inr"
seed = 5
rounds = 3
[workload]
image = "astronaut"
size = 32
hidden_layers = 2
hidden_width = 32
pixels_per_step = 256
[round]
steps = 5
{WAITS}
"""


@dataclass
class Told:
    """What the nodes of one world say."""

    job: str
    chains: list[list[tuple[Digest, Decision]]]
    """Of each node."""
    weights: list[Mapping[str, float]]
    """Of contributions, by round; of the real world, those that were asked for in time."""
    metrics: list[Mapping[str, float]]
    """Of each node, in the end."""


# Virtual time ------------------------------------------------------------------------------------


class Weights(Watcher):
    """Reads the weights of each round off a node that computed them."""

    def __init__(self) -> None:
        self.world: World | None = None
        self.seen: dict[int, Mapping[str, float]] = {}

    def event(self, at_s: float, node: int, event: str, fields: Mapping[str, object]) -> None:
        daemon = self.world.nodes[node].daemon if self.world else None
        if event == "round_certified" and daemon and (weights := daemon.list_jobs()[0].weights):
            assert self.seen.setdefault(int(str(fields["round"])), weights) == weights


def make_world(watchers: tuple[Watcher, ...] = ()) -> World:
    return World(Scenario(nodes=NODES, signer="ed25519"), SEED, Hub(watchers))


async def tell_simulated(manifest: str) -> Told:
    weights = Weights()
    world = weights.world = make_world((weights,))
    async with world:
        for node in world.nodes:
            await world.start(node.index)
        job = await world.submit(manifest, {})
        daemons = [node.daemon for node in world.nodes if node.daemon]
        async with asyncio.timeout(3600):
            while [d.list_jobs()[0].state for d in daemons] != ["done"] * NODES:
                await asyncio.sleep(0.1)
        chains = []
        for daemon in daemons:
            runner = daemon.runners[0]
            kept = await runner._records.certificates(1, runner.head.round)
            chains.append([(decision_id(c.decision), decode_decision(c.decision)) for c in kept])
        metrics = [daemon.list_jobs()[0].metrics for daemon in daemons]
    return Told(job, chains, [w for _, w in sorted(weights.seen.items())], metrics)


# Real daemons ------------------------------------------------------------------------------------


def make_home(folder: Path, identity: Identity) -> None:
    """A data folder with this key, whose slot log is as new as the key."""
    folder.mkdir(parents=True)
    key = Ed25519PrivateKey.from_private_bytes(identity.seed)
    file = folder / KEY_FILE
    file.touch(mode=0o600)
    file.write_bytes(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
    open_store(folder, identity.peer_id, key_is_new=True).close()


@pytest.fixture
def make_same_swarm(kit: ModuleType, tmp_path: Path) -> Iterator[Callable[[str], Any]]:
    """A swarm with the keys of the world, and the job that it is given."""
    made: list[Any] = []

    def make(manifest: str) -> Any:
        folder = tmp_path / "swarm"
        for node in make_world().nodes:
            assert isinstance(node.signer, Identity)
            make_home(folder / f"node-{node.index:02d}", node.signer)
        job = tmp_path / "given.toml"
        job.write_text(manifest)
        made.append(kit.Swarm.create(folder, NODES, job, ()))
        return made[-1]

    yield make
    for swarm in made:
        swarm.stop()


def tell_real(swarm: Any, kit: ModuleType) -> Told:
    for node in swarm.nodes:
        swarm.spawn(node)
        if node.index == 0:
            swarm.wait_until_up(node)
    weights: list[Mapping[str, float]] = []
    jobs: list[Any] = []
    deadline_s = time.monotonic() + DONE_S
    while [job.state for job in jobs] != ["done"] * NODES:
        assert time.monotonic() < deadline_s, jobs
        time.sleep(0.05)
        jobs = [job for status in map(swarm.status, swarm.nodes) if status for job in status.jobs]
        weights += [job.weights for job in jobs if job.weights and job.weights not in weights[-1:]]
    swarm.stop()
    swarm.refresh()
    assert [event.line for event in swarm.events if event.name == "peer_error"] == []
    reports = [verify_node_folder(node.data) for node in swarm.nodes]
    assert [report.reason for report in reports] == [""] * NODES
    chains = [
        [(id_, decision) for _, id_, decision in kit.certificates(node.data, 1)]
        for node in swarm.nodes
    ]
    return Told(jobs[0].job, chains, weights, [job.metrics for job in jobs])


# Both --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("text", [QUADRATIC, INR], ids=["quadratic", "inr"])
def test_both_worlds_decide_the_same(
    text: str, make_same_swarm: Callable[[str], Any], kit: ModuleType
) -> None:
    swarm = make_same_swarm(text)
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        simulated = run(tell_simulated((swarm.folder / "job.toml").read_text()))
    finally:
        torch.set_num_threads(threads)
    real = tell_real(swarm, kit)
    assert real.job == simulated.job
    # Lists, refusals, result roots, state roots, credits, next electorate: all of a decision, by
    # name first, so that a failure says what differs; then the ids.
    for told in (*real.chains, *simulated.chains[1:]):
        for (_, expected), (_, decision) in zip(simulated.chains[0], told, strict=True):
            assert asdict(decision) == asdict(expected)
        assert [id_ for id_, _ in told] == [id_ for id_, _ in simulated.chains[0]]
    assert all(len(decision.plan) == NODES for _, decision in simulated.chains[0])
    assert len(simulated.weights) == len(simulated.chains[0])
    assert real.weights[-1] == simulated.weights[-1]
    assert [w for w in real.weights if w not in simulated.weights] == []
    assert real.metrics == simulated.metrics
