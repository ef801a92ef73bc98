"""How a job's flat vector is cut and encoded, and the rules that follow from who votes."""

from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np

from node.exchange.codecs import Codec, codec
from node.exchange.core import RoundRules
from node.exchange.partition import part_slices
from node.exchange.rules import rule
from node.exchange.sketch import bucket_counts
from node.jobs.manifest import JobManifest
from node.ledger.electorate import Electorate
from node.state.snapshot import Shapes
from node.types import JobId


@dataclass(frozen=True)
class Geometry:
    """How the flat vector of one job is cut and encoded: fixed by the manifest and the founders.

    ``f`` and some of ``rules`` follow from the head before a round (``with_electorate``).
    """

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

    def with_electorate(
        self, manifest: JobManifest, electorate: Electorate, liars: int | None = None
    ) -> "Geometry":
        """The same cut under the rules for this electorate.

        Args:
            manifest: of the job.
            electorate: of a round.
            liars: f of the rules in that round; None: as many as the electorate bears.
        """
        exchange = manifest.exchange
        small, f = rule(exchange.rule_small), electorate.f if liars is None else liars
        rules = replace(
            self.rules,
            replicas=min(exchange.replicas or electorate.replicas, electorate.n),
            # However few liars audits allow: a round of fewer is one that a part of the swarm made.
            group_min=max(manifest.round.group_min, small.m_min(electorate.f)),
            rule_min=rule(exchange.rule).m_min(f),
            buckets=bucket_counts(electorate.n, self.part_sizes),
        )
        return replace(self, rules=rules, f=f)


def geometry(job: JobId, manifest: JobManifest, shapes: Shapes, founders: Electorate) -> Geometry:
    """The geometry of a job, under the rules for its first electorate.

    Raises:
        ConfigError: the manifest names a codec or rule that does not exist.
    """
    d = sum(int(np.prod(shape, dtype=np.int64)) for _, shape in shapes)
    exchange = manifest.exchange
    up, down = codec(exchange.codec), codec(exchange.result_codec or exchange.codec)
    align = int(np.lcm(up.align, down.align))
    slices = part_slices(d, founders.n, up.encoded_bytes(d), align=align)
    sizes = [s.stop - s.start for s in slices]
    rules = RoundRules(
        part_bytes=tuple(up.encoded_bytes(s) for s in sizes),
        result_bytes=tuple(down.encoded_bytes(s) for s in sizes),
        replicas=0,
        group_min=0,
        rule=exchange.rule,
        rule_min=0,
        rule_small=exchange.rule_small,
    )
    outer = manifest.outer
    cut = Geometry(
        job, d, shapes, slices, up, down, rules, founders.f,
        outer.lr, outer.momentum, outer.nesterov, exchange.momentum,
    )  # fmt: skip
    return cut.with_electorate(manifest, founders)
