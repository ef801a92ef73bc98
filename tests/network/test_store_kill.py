"""The SQLite adapter under kill -9: what was acknowledged is there, a batch is whole or absent.

A kill shows the order of the adapter's writes and the recovery of its log. That an fsync reaches
the platter is the promise of SQLite's ``synchronous=FULL`` and of the disk.
"""

import asyncio
import json
import os
import signal
import sys
from pathlib import Path

import numpy as np
import pytest

from node.adapters.file_store import open_store
from node.identity import Identity

PEER = Identity(bytes(32)).peer_id
KILLS = 24
WAIT_S_MAX = 0.03
"""Longest time between the first acknowledgement and the kill."""
BLOB_BYTES = 60_000

# Forked for every kill, so that imports cost once. Two writers share the slot log's transactions;
# each acknowledges a batch when its put has returned, and one more replaces a blob.
WRITER = """
import asyncio, json, os, signal, sys
from pathlib import Path
from node.adapters.file_store import open_store
from node.types import PeerId

FOLDER, PEER, BLOB_BYTES = Path(sys.argv[1]), PeerId(sys.argv[2]), int(sys.argv[3])

def tell(text):
    os.write(1, (text + "\\n").encode())

async def batches(store, lane, number):
    while True:
        items = {f"batch/{lane}/{number}/{k}": b"%d" % number for k in range(5)}
        await store.put(items | {f"last/{lane}": b"%d" % number})
        tell(json.dumps([lane, number]))
        if number % 7 == 3:
            await store.drop([f"batch/{lane}/{number}/{k}" for k in range(5)])
            tell(json.dumps(["drop", lane, number]))
        number += 1

async def blobs(store, number):
    while True:
        await store.write_blob("blob", [bytes([number % 251]) * BLOB_BYTES] * 3)
        tell(json.dumps(["blob", number]))
        number += 1

async def write(start):
    store = open_store(FOLDER, PEER)
    await asyncio.gather(batches(store, 0, start), batches(store, 1, start), blobs(store, start))

for line in sys.stdin:
    pid = os.fork()
    if pid == 0:
        asyncio.run(write(int(line)))
    tell(json.dumps(["pid", pid]))
    _, status = os.waitpid(pid, 0)
    tell(json.dumps(["ended", os.WTERMSIG(status)]))
"""


class Killer:
    """Runs writers one after the other on one folder, and kills each."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.said: list[list[object]] = []

    async def run(self) -> None:
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-c", WRITER, str(self.folder), PEER, str(BLOB_BYTES),
            stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE,
        )  # fmt: skip
        assert process.stdin is not None
        assert process.stdout is not None
        draw = np.random.default_rng(1)
        try:
            for kill in range(KILLS):
                start = 10_000 * kill
                process.stdin.write(b"%d\n" % start)
                await self._kill(process.stdout, float(draw.uniform(0, WAIT_S_MAX)))
                await self._check(start)
        finally:
            process.kill()
            await process.wait()

    async def _kill(self, out: asyncio.StreamReader, wait_s: float) -> None:
        """Let the writer acknowledge something, kill it, and read all that it said."""
        self.said = []
        pid = 0
        while not pid or len(self.said) < 2:
            said = json.loads(await out.readline())
            if said[0] == "pid":
                pid = said[1]
            else:
                self.said.append(said)
        await asyncio.sleep(wait_s)
        os.kill(pid, signal.SIGKILL)
        while (said := json.loads(await out.readline()))[0] != "ended":
            self.said.append(said)
        assert said[1] == signal.SIGKILL

    async def _check(self, start: int) -> None:
        store = open_store(self.folder, PEER, key_is_new=False)
        assert not store.slots_lost
        slots = dict(await store.scan(""))
        for lane in (0, 1):
            put = [n for first, *rest in self.said if first == lane for n in rest]
            dropped = [n for first, *rest in self.said if first == "drop" and rest[0] == lane
                       for n in rest[1:]]  # fmt: skip
            last = put[-1] if put else start - 1
            assert put == list(range(start, int(str(last)) + 1))
            for number in range(start, int(str(last)) + 2):
                here = sum(f"batch/{lane}/{number}/{k}" in slots for k in range(5))
                assert here in (0, 5), f"batch {number} is torn: {here} of 5"
                if number in put and number % 7 != 3:
                    assert here == 5, f"batch {number} was acknowledged and is lost"
                if number in dropped:
                    assert here == 0, f"batch {number} was dropped and came back"
            if put:
                assert int(slots[f"last/{lane}"]) in (last, int(str(last)) + 1)
        blob = await store.read_blob("blob")
        acknowledged = [rest[0] for first, *rest in self.said if first == "blob"]
        if blob is not None:
            assert len(blob) == 3 * BLOB_BYTES
            assert len(set(blob)) == 1, "a blob is torn"
        if acknowledged:
            newest = int(str(acknowledged[-1]))
            assert blob is not None
            assert blob[0] in (newest % 251, (newest + 1) % 251)
        assert not list((self.folder / "blobs").glob(".tmp-*"))
        store.close()


@pytest.mark.network
async def test_after_kill_9_what_was_acknowledged_is_there_and_nothing_is_torn(
    tmp_path: Path,
) -> None:
    async with asyncio.timeout(60):
        await Killer(tmp_path / "data").run()
