"""Whole daemons beside a liar that changes what it sends, and calls every method with noise.

Calls go over the simulated transport, so a handler that raises what is not a PeerError fails the
loop. Afterwards honest nodes must have certified more rounds, and blamed nobody but the liar.
"""

import asyncio
from typing import Any

import numpy as np

from node.daemon import Daemon
from node.errors import PeerError, Unavailable
from node.jobs.courier import FETCH_METHOD, ROUND_METHOD
from node.jobs.honest import Honest
from node.jobs.sync import CHAIN_METHOD, CHUNKS_METHOD, STATE_METHOD
from node.membership.gossip import METHOD as PEERS_METHOD
from node.merkle import digest
from node.types import Digest, JobId, PeerId
from node.wire import exchange_pb2 as pb
from node.wire import ledger_pb2 as ledger
from node.wire import peer_pb2
from simulator.loop import run
from simulator.scenario import Scenario
from simulator.world import World

LIAR = 3
CALLS = 60
JOB = """
[job]
name = "quadratic"
workload = "quadratic"
rounds = 1000
[workload]
dimensions = 600
[round]
steps = 2
view_s_max = 4.0
"""


class Liar(Honest):
    """Remembers what it sends; from the second round on, half of it is changed."""

    def __init__(self, key: bytes, data: bytes, fuzz: Any) -> None:
        self.key, self.data, self.fuzz = key, data, fuzz
        self.sent: list[bytes] = []

    def sends(self, round_: int, to: PeerId, kind: str, message: bytes) -> bytes | None:
        self.sent.append(message)
        c = self.choices()
        return message if round_ < 2 or c.pick(2) else self.changed(message, c)

    def choices(self) -> Any:
        seed = digest("liar", self.data + len(self.sent).to_bytes(4, "big"))
        return self.fuzz.Choices(seed + self.data)

    def changed(self, message: bytes, c: Any) -> bytes:
        m = pb.RoundMessage.FromString(message)
        ids = [bytes(m.prev), bytes(32), bytes(digest("id", message))]
        views = tuple(range(8))
        mutator = self.fuzz.Mutator(self.key, JobId(m.job), m.round, ids, views)
        for _ in range(1 + c.pick(2)):
            inner = getattr(m, m.WhichOneof("body") or "signed")
            mutator.mutate(m if c.pick(8) == 0 else inner, c)
        return m.SerializeToString()


def request(daemon: Daemon, liar: Liar, job: JobId, c: Any, noise: bytes) -> tuple[str, bytes]:
    """(method, request): noise, or a valid request with changes."""
    runner = next(r for r in daemon.runners if r.job == job)
    ids = [bytes(runner.head.state_root or bytes(32)), bytes(runner.head.id), bytes(32)]
    if runner.flow is not None:
        ids += list(runner.flow.machine.core.signed)
    mutator = liar.fuzz.Mutator(liar.key, job, runner.round_now, ids)
    root = Digest(c.of(ids))
    method, m = c.of(
        (
            (ROUND_METHOD, pb.RoundMessage.FromString(c.of(liar.sent))),
            (FETCH_METHOD, pb.FetchRequest(job=job, round=runner.round_now, ids=ids)),
            (CHAIN_METHOD, ledger.ChainRequest(job=job, from_round=1, count=64)),
            (STATE_METHOD, ledger.StateRequest(job=job, state_root=root)),
            (CHUNKS_METHOD, ledger.StateRequest(job=job, state_root=root, chunks=[0, 1, 65535])),
            (PEERS_METHOD, peer_pb2.PeerExchangeRequest(records=[noise])),
            ("manifest/1", ledger.ChainRequest(job=job)),
        )
    )
    if c.pick(6) == 0:
        return method, noise
    for _ in range(c.pick(3)):
        mutator.mutate(m, c)
    data = m.SerializeToString()
    return method, liar.fuzz.mangled(data, c) if c.pick(6) == 0 else data


def honest(world: World) -> list[Daemon]:
    return [n.daemon for i, n in enumerate(world.nodes) if n.daemon is not None and i != LIAR]


async def reach(world: World, round_: int) -> None:
    async with asyncio.timeout(600):
        while any(d.list_jobs()[0].round < round_ for d in honest(world)):
            await asyncio.sleep(0.1)


async def call(world: World, victim: int, method: str, data: bytes) -> None:
    transport = world.network.hosts[world.nodes[LIAR].signer.peer_id].transport
    peer = world.nodes[victim].signer.peer_id
    try:
        if method == CHUNKS_METHOD:
            chunks = transport.stream(
                peer, method, data, idle_timeout_s=5.0, chunk_bytes_max=1 << 24
            )
            async for _ in chunks:
                pass
        else:
            await transport.call(peer, method, data, timeout_s=5.0, reply_bytes_max=1 << 24)
    except (PeerError, Unavailable):
        pass


def founders(world: World) -> str:
    names = ", ".join(f'"{node.peer}"' for node in world.nodes)
    return f"[electorate]\nfounders = [{names}]\n"


def test_a_liar_that_calls_everything_stops_no_honest_node_and_frames_none(fuzz: Any) -> None:
    scored = 0

    async def main(data: bytes) -> None:
        nonlocal scored
        world = World(Scenario(nodes=4), seed=data[0])
        liar = Liar(world.nodes[LIAR].signer.public_key, data, fuzz)
        world.attack({LIAR: liar})
        rng = np.random.default_rng(list(data))
        async with world:
            for index in range(4):
                await world.start(index)
            job = JobId(bytes.fromhex(await world.submit(JOB + founders(world))))
            await reach(world, 3)
            for _ in range(CALLS):
                victim = int(rng.integers(3))
                daemon = world.nodes[victim].daemon
                assert daemon is not None
                noise = rng.bytes(int(rng.integers(200)))
                c = fuzz.Choices(rng.bytes(80))
                await call(world, victim, *request(daemon, liar, job, c, noise))
                await asyncio.sleep(0.01)
            await reach(world, max(d.list_jobs()[0].round for d in honest(world)) + 3)
            own = world.nodes[LIAR].signer.peer_id
            for daemon in honest(world):
                blamed = {p.peer: dict(p.errors) for p in daemon.status().peers if p.errors}
                assert set(blamed) <= {own}, blamed
                scored += bool(blamed)
                assert daemon.list_jobs()[0].state == "running"

    fuzz.run(0.05, lambda c, data: run(main(data)), each=CALLS)
    assert scored > 0, "nothing that the liar sent was noticed"
