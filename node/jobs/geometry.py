"""How a job's flat vector is cut, encoded and shared out: fixed by its manifest and founders."""

from dataclasses import dataclass
from functools import cached_property

import numpy as np

from node.exchange.codecs import Codec, codec
from node.exchange.core import RoundRules
from node.exchange.partition import part_slices
from node.exchange.rules import rule
from node.jobs.manifest import JobManifest
from node.ledger.electorate import Electorate
from node.merkle import digest
from node.ports import Shard
from node.state.snapshot import Shapes
from node.types import JobId


@dataclass(frozen=True)
class Geometry:
    """How the flat vector of one job is cut and encoded; fixed by manifest and electorate."""

    job: JobId
    d: int
    shapes: Shapes
    slices: tuple[slice, ...]
    codec: Codec
    result_codec: Codec
    rules: RoundRules
    f: int
    lr: float
    momentum: float
    nesterov: bool
    contributor_momentum: float

    @cached_property
    def part_sizes(self) -> tuple[int, ...]:
        """Coordinates of each part."""
        return tuple(s.stop - s.start for s in self.slices)


def shard_of(public_key: bytes, founders: Electorate) -> Shard:
    """The part of a job's data that a node works on; the same for whoever replays its work.

    Founders have one each. Others take over a founder's, drawn by hash of their key.
    """
    index = founders.index(public_key)
    if index is None:
        index = int.from_bytes(digest("shard", public_key)) % founders.n
    return index, founders.n


def geometry(job: JobId, manifest: JobManifest, shapes: Shapes, electorate: Electorate) -> Geometry:
    """The geometry of a job.

    Raises:
        ConfigError: the manifest names a codec or rule that does not exist.
    """
    d = sum(int(np.prod(shape, dtype=np.int64)) for _, shape in shapes)
    exchange = manifest.exchange
    up, down = codec(exchange.codec), codec(exchange.result_codec or exchange.codec)
    main, small = rule(exchange.rule), rule(exchange.rule_small)
    align = int(np.lcm(up.align, down.align))
    slices = part_slices(d, electorate.n, up.encoded_bytes(d), align=align)
    sizes = [s.stop - s.start for s in slices]
    rules = RoundRules(
        part_bytes=tuple(up.encoded_bytes(s) for s in sizes),
        result_bytes=tuple(down.encoded_bytes(s) for s in sizes),
        replicas=min(exchange.replicas or electorate.replicas, electorate.n),
        group_min=max(manifest.round.group_min, small.m_min(electorate.f)),
        rule=exchange.rule,
        rule_min=main.m_min(electorate.f),
        rule_small=exchange.rule_small,
    )
    outer = manifest.outer
    return Geometry(
        job, d, shapes, slices, up, down, rules, electorate.f,
        outer.lr, outer.momentum, outer.nesterov, exchange.momentum,
    )  # fmt: skip
