"""What a contributor opens of its local memory to auditors, and to whom.

The form follows from the job: residual (float32, d), then with a contributor's momentum its weight
(float64) and average (float32, d), then the workload's local state; little-endian.
"""

import asyncio
import struct
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass, field

import numpy as np

from node.errors import Malformed, Refused, WorkerFailed
from node.exchange.momentum import Momentum
from node.identity import public_key_of
from node.jobs.encoding import Local
from node.jobs.geometry import Geometry
from node.ledger.electorate import Electorate
from node.ports import Worker
from node.types import PeerId

CHUNK_BYTES = 256 * 1024
KEPT_BYTES_MAX = 1 << 29
"""Of openings that are kept; two are in any case."""
GIVEN_MAX = 4
"""Times that one elector is given the same opening: a stream may break."""
OPTIMIZER_BYTES_PER_PARAM_MAX = 16
"""Two moments in float64, or four vectors in float32."""
OPTIMIZER_BYTES_MIN = 64 * 1024
"""What a workload may keep besides, however few parameters there are."""


def opening_bytes_max(g: Geometry) -> int:
    """Longest opening of a job."""
    averaged = 8 + 4 * g.d if g.contributor_momentum else 0
    return 4 * g.d + averaged + OPTIMIZER_BYTES_MIN + OPTIMIZER_BYTES_PER_PARAM_MAX * g.d


def opening_chunks(g: Geometry, local: Local, optimizer: bytes) -> Iterator[bytes]:
    """An opening in pieces of CHUNK_BYTES."""
    pieces = [local.residual.astype("<f4").tobytes()]
    if g.contributor_momentum:
        pieces.append(struct.pack("<d", local.momentum.weight))
        pieces.append(local.momentum.average.astype("<f4").tobytes())
    data = b"".join((*pieces, optimizer))
    for at in range(0, len(data), CHUNK_BYTES):
        yield data[at : at + CHUNK_BYTES]


def decode_opening(g: Geometry, data: bytes) -> tuple[Local, bytes]:
    """Inverse of ``opening_chunks``: (residual and momentum, the workload's local state).

    Raises:
        Malformed: too short, or with numbers that are not finite.
    """
    vectors = 2 if g.contributor_momentum else 1
    if len(data) < 4 * g.d * vectors + 8 * (vectors - 1):
        raise Malformed(f"an opening of {len(data)} bytes for {g.d} parameters")
    residual = np.frombuffer(data, "<f4", g.d).astype(np.float32)
    at = 4 * g.d
    momentum = Momentum.zero(0)
    if g.contributor_momentum:
        (weight,) = struct.unpack_from("<d", data, at)
        average = np.frombuffer(data, "<f4", g.d, at + 8).astype(np.float32)
        at += 8 + 4 * g.d
        if not (0 <= weight <= 1 and np.isfinite(average).all()):
            raise Malformed("a momentum that no training reaches")
        momentum = Momentum(average, weight)
    if not np.isfinite(residual).all():
        raise Malformed("a residual that is not finite")
    return Local(residual, momentum), data[at:]


@dataclass
class _Kept:
    """Local memory from before a round that was drawn."""

    electorate: Electorate
    local: Local
    optimizer: "asyncio.Task[bytes | None]"
    given: dict[PeerId, int] = field(default_factory=dict)


class Openings:
    """Own local memory from before the rounds that were drawn, for their electors.

    Args:
        g: geometry of the job.
        worker: keeps the workload's part for a few rounds.
        group: owns the tasks.
    """

    def __init__(self, g: Geometry, worker: Worker, group: asyncio.TaskGroup) -> None:
        self._g = g
        self._worker = worker
        self._group = group
        self._kept: dict[int, _Kept] = {}

    def keep(self, round_: int, electorate: Electorate, local: Local) -> None:
        """Our contribution was drawn; ``local`` is what it started from."""
        optimizer = self._group.create_task(self._optimizer(round_))
        self._kept[round_] = _Kept(electorate, local, optimizer)
        most = max(2, KEPT_BYTES_MAX // opening_bytes_max(self._g))
        self.forget(sorted(self._kept)[-most:][0])

    def forget(self, before: int) -> None:
        """Let go of rounds before this one."""
        for round_ in [r for r in self._kept if r < before]:
            self._kept.pop(round_).optimizer.cancel()

    async def _optimizer(self, round_: int) -> bytes | None:
        try:
            return await self._worker.opening(round_)
        except WorkerFailed:
            return None  # the job learns it from its next steps

    async def give(self, peer: PeerId, round_: int) -> AsyncIterator[bytes]:
        """Reply of "opening/1", in chunks.

        Raises:
            Refused: the round was not drawn, it is too long ago, or the caller may not ask.
        """
        kept = self._kept.get(round_)
        if kept is None or kept.electorate.index(public_key_of(peer)) is None:
            raise Refused("nothing of this round is open to you")
        count = kept.given[peer] = kept.given.get(peer, 0) + 1
        if count > GIVEN_MAX:
            raise Refused("you were given this opening")
        # Shielded: a caller that goes away must not take it from the others.
        optimizer = await asyncio.shield(kept.optimizer)
        if optimizer is None:
            raise Refused("the local memory of this round is lost")
        for chunk in opening_chunks(self._g, kept.local, optimizer):
            yield chunk
