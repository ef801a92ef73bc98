"""What a contributor opens of its local memory to an auditor: bytes <-> values.

The form follows from the job: residual (float32, d), then with a contributor's momentum its weight
(float64) and average (float32, d), then the workload's local state; little-endian.
"""

import struct
from collections.abc import Iterator

import numpy as np

from node.errors import Malformed
from node.exchange.momentum import Momentum
from node.jobs.geometry import Geometry
from node.jobs.work import Local

CHUNK_BYTES = 256 * 1024
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
