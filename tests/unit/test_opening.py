"""Openings: bytes of local memory come back, and what no training reaches is refused."""

import numpy as np
import pytest

from node.errors import Malformed
from node.exchange.momentum import Momentum, advance
from node.jobs.encoding import Local, local_hash
from node.jobs.geometry import Geometry, geometry
from node.jobs.manifest import parse_manifest
from node.jobs.opening import (
    CHUNK_BYTES,
    decode_opening,
    opening_bytes_max,
    opening_chunks,
)
from node.ledger.electorate import Electorate
from node.types import JobId

D = 70_000


def geometry_of(beta: float) -> Geometry:
    manifest = parse_manifest(
        '[job]\nname = "o"\nworkload = "quadratic"\nrounds = 1\n', {"exchange.momentum": str(beta)}
    )
    electorate = Electorate.of(bytes([k]) * 32 for k in range(4))
    return geometry(JobId(bytes(32)), manifest, [("x", (D,))], electorate)


def local_of(g: Geometry) -> Local:
    rng = np.random.default_rng(1)
    new = Local.new(g)
    momentum = new.momentum
    if g.contributor_momentum:
        for _ in range(3):
            momentum = advance(momentum, rng.standard_normal(D).astype(np.float32), 0.9)
    return Local(rng.standard_normal(D).astype(np.float32), momentum)


@pytest.mark.parametrize("beta", [0.0, 0.9])
def test_an_opening_comes_back_with_the_same_hash(beta: float) -> None:
    g = geometry_of(beta)
    local, optimizer = local_of(g), b"moments" * 100_000
    chunks = list(opening_chunks(g, local, optimizer))
    assert max(map(len, chunks)) == CHUNK_BYTES
    data = b"".join(chunks)
    assert len(data) <= opening_bytes_max(g)
    again, state = decode_opening(g, data)
    assert state == optimizer
    assert local_hash(bytes(32), again) == local_hash(bytes(32), local)
    assert local_hash(bytes(32), Local.new(g)) != local_hash(bytes(32), local)
    changed = Local(local.residual, Momentum(local.momentum.average, local.momentum.weight / 2))
    assert local_hash(bytes(32), changed) != local_hash(bytes(32), local)


@pytest.mark.parametrize("beta", [0.0, 0.9])
def test_short_openings_and_numbers_that_are_none_are_refused(beta: float) -> None:
    g = geometry_of(beta)
    data = b"".join(opening_chunks(g, local_of(g), b""))
    with pytest.raises(Malformed, match="an opening of"):
        decode_opening(g, data[:-1])
    nan = np.float32(np.nan).tobytes()
    with pytest.raises(Malformed, match="not finite"):
        decode_opening(g, nan + data[4:])
    if beta:
        for weight in (2.0, -1.0, np.nan):
            hostile = data[: 4 * D] + np.float64(weight).tobytes() + data[4 * D + 8 :]
            with pytest.raises(Malformed, match="momentum"):
                decode_opening(g, hostile)
