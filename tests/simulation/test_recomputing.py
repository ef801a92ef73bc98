"""Openings of parts: lies that no sketch sees are found, and nobody honest is blamed."""

from collections import Counter
from collections.abc import Mapping
from typing import Any

import pytest

from node.errors import Malformed
from node.exchange.redrawing import drawn_parts, recomputer
from node.jobs.recomputing import decode_place, encode_place
from node.ledger.electorate import Electorate
from node.merkle import digest
from node.types import Digest, JobId
from simulator.hub import Watcher
from simulator.run import run_scenario
from simulator.scenario import AttackSection, Scenario
from simulator.world import World

BEACON = digest("test", b"beacon")


class Witness(Watcher):
    """What honest nodes recomputed, and whom they blamed."""

    def __init__(self, world: World) -> None:
        self._world = world
        self._names = {node.peer: node.index for node in world.nodes}
        self.verdicts: Counter[str] = Counter()
        self.blamed: Counter[int] = Counter()

    def event(self, at_s: float, node: int, event: str, fields: Mapping[str, Any]) -> None:
        """Note what honest nodes log."""
        if node in self._world.liars:
            return
        if event == "recomputed":
            self.verdicts[fields["verdict"]] += 1
        elif event == "peer_error":
            self.blamed[self._names[fields["peer"]]] += 1


def test_a_lie_that_no_sketch_sees_is_found_by_everybody_and_bans() -> None:
    scenario = Scenario(
        nodes=7, rounds=10, attacks=(AttackSection(name="false_result", scale=0.003),),
        job={
            "workload": {"dimensions": 3000},
            "exchange": {"rule": "centered_clip", "replicas": 1},
            "audit": {"rate": 1.0},
        },
    )  # fmt: skip
    seen: list[Witness] = []

    def make(world: World) -> Witness:
        seen.append(Witness(world))
        return seen[0]

    outcome = run_scenario(scenario, 1, watchers=[make])
    assert outcome.violations == []
    (witness,) = seen
    assert witness.verdicts["part_ok"] >= 1
    assert witness.verdicts["part_false"] >= 5, "not all five honest nodes looked"
    assert witness.blamed.keys() <= {5, 6}
    assert outcome.bans.keys() <= {"node-5", "node-6"}
    assert outcome.bans


def test_parts_are_drawn_at_their_rate_and_given_to_who_did_not_reduce_them() -> None:
    beacons = [digest("test", bytes([k // 256, k % 256])) for k in range(500)]
    drawn = sum(len(drawn_parts(beacon, 8, 0.1)) for beacon in beacons)
    assert 320 < drawn < 480
    assert drawn_parts(BEACON, 8, 0.0) == ()
    assert drawn_parts(BEACON, 8, 1.0) == tuple(range(8))
    electorate = Electorate.of([digest("key", bytes([k])) for k in range(5)])
    given = Counter(recomputer(beacon, 0, (1, 3), electorate) for beacon in beacons)
    assert given.keys() == {0, 2, 4}
    assert min(given.values()) > 100
    assert recomputer(BEACON, 0, range(5), electorate) is None


def test_a_place_travels_whole() -> None:
    job = JobId(Digest(bytes(range(32))))
    assert decode_place(encode_place(job, 2**40, 63)) == (job, 2**40, 63)
    with pytest.raises(Malformed, match="41 expected"):
        decode_place(bytes(40))
