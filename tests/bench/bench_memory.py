"""Shared memory on real nodes: bytes to reconcile large sets, a late joiner, lag and CPU.

    python tests/bench/bench_memory.py [--seconds 30] [--entries 1000000]

Real libp2p on loopback, real signatures, SQLite and files. Reconciling runs in one process; sharing
in one process a node, so that its CPU time is its own.
"""

import argparse
import asyncio
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import aclosing, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import uvloop

from node.adapters.file_store import FileStore, open_store
from node.identity import Identity, verify
from node.memory.batch import make_batch
from node.memory.config import MemorySpec
from node.memory.methods import MemoryMethods
from node.memory.service import MemoryDeps, MemoryService
from node.merkle import digest
from node.types import JobId, PeerId
from node.wire.convert_memory import encode_batch
from workloads.api import Entries

JOB = JobId(digest("memory job", b"bench"))
DIMS = 242
BATCH = 250
"""Entries of an append: a quarter of a second at 1,000 entries/s."""
AUTHORS = 4
DIFFERENCE = 1000


class ThreadCompute:
    """The maths lane of the real Compute port, without workers."""

    def __init__(self) -> None:
        self._thread = ThreadPoolExecutor(1)

    async def maths(self, work: Callable[[], Any], *, cost_s: float) -> Any:
        return await asyncio.get_running_loop().run_in_executor(self._thread, work)


@dataclass
class Node:
    """One real node that has only a memory."""

    service: MemoryService
    host: Any
    store: FileStore


def identity(number: int) -> Identity:
    return Identity(bytes([number + 1]) * 32)


@asynccontextmanager
async def node(
    number: int, folder: Path, spec: MemorySpec, peers: Callable[[], list[PeerId]]
) -> AsyncIterator[Node]:
    from node.adapters.hivemind_host import HivemindHost

    signer = identity(number)
    host = await HivemindHost.create(signer.seed, data_folder=folder)
    store = open_store(folder, signer.peer_id)
    deps = MemoryDeps(
        transport=host.transport,
        store=store,
        compute=ThreadCompute(),  # type: ignore[arg-type]
        signer=signer,
        verify=verify,
        peers=peers,
        rng=np.random.default_rng(number),
        on_blame=lambda peer, error: print("blamed", peer, error, flush=True),
    )
    authors = [identity(n).peer_id for n in range(AUTHORS)]
    service = MemoryService(JOB, authors, spec, deps)
    methods = MemoryMethods(deps.on_blame)
    methods.add(service)
    methods.serve(host.transport)
    try:
        yield Node(service, host, store)
    finally:
        await host.close()
        store.close()


def drawn(rng: np.random.Generator, count: int) -> Entries:
    keys = rng.integers(-127, 128, (count, DIMS), dtype=np.int8)
    values = rng.standard_normal(count, dtype=np.float32)
    return Entries(keys, values, rng.integers(0, 18, (count, 1), dtype=np.uint8), 0.01)


# Reconciling ------------------------------------------------------------------------------------


async def reconcile(total: int, lacking: int, folder: Path) -> None:
    """Two nodes hold ``total`` entries but for the last ``lacking``, which one of them lacks."""
    spec = MemorySpec.shared(total, AUTHORS, DIMS, payload_bytes=1)
    none: list[PeerId] = []
    peers: list[PeerId] = none
    async with (
        node(0, folder / "a", spec, lambda: peers) as a,
        node(1, folder / "b", spec, lambda: peers) as b,
    ):
        began = time.perf_counter()
        for x in (a, b):
            await x.service._holding.load()
        rng = np.random.default_rng(7)
        entries = drawn(rng, BATCH)
        each = total // AUTHORS // BATCH
        missing = dict.fromkeys(range(AUTHORS), lacking // AUTHORS // BATCH)
        for author in range(AUTHORS):
            group = []
            previous = None
            for seq in range(each):
                batch = make_batch(entries, previous, JOB, spec, identity(author))
                previous = batch.signed
                group.append((batch, encode_batch(batch)))
                if len(group) == 16 or seq + 1 >= each - missing[author]:
                    await a.service._holding.accept(group)
                    if seq < each - missing[author]:
                        await b.service._holding.accept(group)
                    group = []
        fill_s = time.perf_counter() - began
        held = [x.service.status().entries for x in (a, b)]
        assert held[0] - held[1] == lacking, held
        b.host.transport.learn(a.host.transport.peer_id, a.host.transport.addresses)
        a.host.transport.learn(b.host.transport.peer_id, b.host.transport.addresses)
        began = time.perf_counter()
        tasks = [asyncio.ensure_future(x.service.run()) for x in (a, b)]
        await asyncio.gather(*(x.service.loaded.wait() for x in (a, b)))
        load_s = time.perf_counter() - began
        peers = [identity(n).peer_id for n in range(2)]
        began = time.perf_counter()
        while a.service.root() != b.service.root():
            await asyncio.sleep(0.005)
            assert time.perf_counter() - began < 300
        took_s = time.perf_counter() - began
        moved = sum(sum(sizes) for sizes in b.host.transport.traffic().values())
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
    difference = lacking * spec.entry_bytes
    print(
        f"reconcile: {held[0]:,} entries against {held[1]:,} (filled in {fill_s:.1f} s, read and "
        f"checked from disk in {load_s:.1f} s for both)\n"
        f"  {moved:,} bytes both ways for a difference of {difference:,}: ratio "
        f"{moved / difference:.2f} (limit 3); {took_s:.2f} s from the first contact",
        flush=True,
    )


# Sharing ----------------------------------------------------------------------------------------


async def share(number: int, folder: Path, seconds: float) -> None:
    """One of two nodes; talks to the parent by lines of JSON."""
    spec = MemorySpec.shared(10**6, AUTHORS, DIMS, payload_bytes=1)
    both = [identity(n).peer_id for n in range(2)]
    made: dict[int, float] = {}
    taken: dict[int, float] = {}
    async with node(number, folder, spec, lambda: both) as own:
        print(json.dumps([own.host.transport.peer_id, list(own.host.transport.addresses)]))
        sys.stdout.flush()
        peer, addresses = json.loads(await asyncio.to_thread(sys.stdin.readline))
        own.host.transport.learn(PeerId(peer), addresses)
        run = asyncio.ensure_future(own.service.run())
        await own.service.loaded.wait()

        async def consume() -> None:
            async with aclosing(own.service.subscribe()) as changes:  # type: ignore[type-var]
                async for change in changes:
                    taken[change.first_entry] = time.monotonic()

        consumer = asyncio.ensure_future(consume())
        rng = np.random.default_rng(number)
        pool = [drawn(rng, BATCH) for _ in range(8)]
        await asyncio.sleep(3)
        process, p2pd = psutil.Process(), psutil.Process(own.host.p2pd_pid)

        def used(of: psutil.Process) -> float:
            times = of.cpu_times()
            return times.user + times.system

        idle_from, idle_at = used(process), time.monotonic()
        await asyncio.sleep(5)
        idle = (used(process) - idle_from) / (time.monotonic() - idle_at)
        await asyncio.sleep(0.1 * number)
        before, before_p2pd, began = used(process), used(p2pd), time.monotonic()
        for step in range(int(seconds * 4)):
            await asyncio.sleep(max(0.0, began + 0.25 * (step + 1) - time.monotonic()))
            at = time.monotonic()
            made[(await own.service.append(pool[step % 8])).start] = at
        took_s = time.monotonic() - began
        cpu, cpu_p2pd = used(process) - before, used(p2pd) - before_p2pd
        await asyncio.sleep(1.5)
        print(
            json.dumps(
                {
                    "made": made,
                    "taken": taken,
                    "cpu": cpu / took_s,
                    "p2pd": cpu_p2pd / took_s,
                    "idle": idle,
                    "root": own.service.root().hex(),
                    "rate": sum(1 for _ in made) * BATCH / took_s,
                }
            ),
            flush=True,
        )
        await asyncio.to_thread(sys.stdin.readline)
        for task in (run, consumer):
            task.cancel()
        await asyncio.gather(run, consumer, return_exceptions=True)


def share_both(folder: Path, seconds: float) -> None:
    command = [sys.executable, __file__, "--seconds", str(seconds), "--folder"]
    processes = [
        subprocess.Popen(
            [*command, str(folder / f"node-{n}"), "--node", str(n)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        for n in range(2)
    ]
    try:
        hellos = [p.stdout.readline() for p in processes if p.stdout]
        for process, hello in zip(processes, reversed(hellos), strict=True):
            assert process.stdin
            process.stdin.write(hello)
            process.stdin.flush()
        results = [json.loads(p.stdout.readline()) for p in processes if p.stdout]
        for process in processes:
            assert process.stdin
            process.stdin.write("\n")
            process.stdin.flush()
            process.wait(timeout=20)
    finally:
        for process in processes:
            process.kill()
    assert results[0]["root"] == results[1]["root"], "the nodes do not hold the same"
    for number, (own, other) in enumerate(zip(results, reversed(results), strict=True)):
        lags = sorted(other["taken"][entry] - at for entry, at in own["made"].items())
        p50, p99 = (1000 * lags[int(len(lags) * share)] for share in (0.5, 0.99))
        print(
            f"share, node {number}: {own['rate']:.0f} entries/s made; lag to the other's consumer "
            f"p50 {p50:.0f} ms, p99 {p99:.0f} ms, max {1000 * lags[-1]:.0f} ms\n"
            f"  CPU {100 * own['cpu']:.1f} % of a core in the node's process "
            f"({100 * own['idle']:.1f} % before the first entry), {100 * own['p2pd']:.1f} % in p2pd"
        )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=30.0)
    parser.add_argument("--entries", type=int, default=10**6)
    parser.add_argument("--only", choices=["reconcile", "share"])
    parser.add_argument("--node", type=int)
    parser.add_argument("--folder", type=Path)
    options = parser.parse_args()
    if options.node is not None:
        options.folder.mkdir()
        uvloop.run(share(options.node, options.folder, options.seconds))
        return
    with tempfile.TemporaryDirectory() as name:
        if options.only != "reconcile":
            share_both(Path(name), options.seconds)
        if options.only != "share":
            for lacking in (DIFFERENCE, options.entries):
                folder = Path(name) / str(lacking)
                for side in "ab":
                    (folder / side).mkdir(parents=True)
                uvloop.run(reconcile(options.entries, lacking, folder))


if __name__ == "__main__":
    main()
