"""Who founds a gathered job, and the files by which nodes find one another."""

import io
import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import pytest
from hypothesis import given
from hypothesis import strategies as st

from node.cli.gather import Gathering, submit_gathered
from node.cli.rendezvous import WAIT_S_MAX, with_join_file, write_address_file
from node.config import NodeConfig
from node.control.client import ControlClient
from node.errors import ConfigError
from node.identity import Identity
from node.jobs.manifest import canonical_bytes, parse_manifest
from node.observe.status import JobStatus, NodeStatus, PeerStatus

JOB = '[job]\nname = "a"\nworkload = "inr"\nrounds = 3\n'
IDS = [Identity(index.to_bytes(32, "big")).peer_id for index in range(5)]
ADDRESSES = [f"/dns4/bootstrap/tcp/31330/p2p/{peer}" for peer in IDS[:2]]

Steps = st.lists(st.tuples(st.frozensets(st.sampled_from("abcd")), st.floats(0.1, 3.0)))


@given(Steps, st.integers(1, 4), st.floats(0, 5))
def test_founders_are_the_same_for_as_long_as_asked(
    steps: list[tuple[frozenset[str], float]], least: int, settle_s: float
) -> None:
    gathering, now, seen = Gathering(least, settle_s), 0.0, list[tuple[float, frozenset[str]]]()
    for present, wait_s in steps:
        now += wait_s
        seen.append((now, present))
        first = now
        for at, others in reversed(seen):
            if others != present:
                break
            first = at
        naive = len(present) >= least and now - first >= settle_s
        assert gathering.observe(present, now) == naive


def _peer(index: int, *, connected: bool = True, serves_any: bool = True) -> PeerStatus:
    return PeerStatus(IDS[index], (), connected, 0.0, 9.0, 0, 0, {}, serves_any)


class Node:
    """The part of a control client that gathering uses, and what it was asked."""

    def __init__(self, peers: Sequence[PeerStatus]) -> None:
        self.peers = peers
        self.jobs: dict[str, tuple[str, str]] = {}

    def status(self) -> NodeStatus:
        return NodeStatus(IDS[0], "1", (), 1.0, True, "", self.peers, (), ())

    def submit(self, text: str, overrides: Mapping[str, str]) -> str:
        job = f"{len(self.jobs):064x}"
        raw = canonical_bytes(parse_manifest(text, overrides)).decode()
        self.jobs[job] = ("running", raw)
        return job

    def list_jobs(self) -> Sequence[JobStatus]:
        fields: dict[str, Any] = dict.fromkeys(JobStatus.__dataclass_fields__, 0)
        empty = JobStatus(**fields)
        return [replace(empty, job=job, state=state) for job, (state, _) in self.jobs.items()]

    def show_job(self, job: str) -> tuple[JobStatus, str]:
        return self.list_jobs()[0], self.jobs[job][1]

    def founders(self, job: str) -> list[str]:
        founders: list[str] = json.loads(self.jobs[job][1])["electorate"]["founders"]
        return founders


def _submit(node: Node, text: str = JOB, **overrides: str) -> str:
    client = cast(ControlClient, node)
    return submit_gathered(client, "job.toml", text, overrides, Gathering(1, 0.0), io.StringIO())


def test_founders_are_this_node_and_connected_peers_that_serve_any_job() -> None:
    node = Node([_peer(1), _peer(2, connected=False), _peer(3, serves_any=False), _peer(4)])
    assert node.founders(_submit(node)) == sorted([IDS[0], IDS[1], IDS[4]])


def test_a_repeated_command_leaves_the_job_alone_whoever_is_here_by_then() -> None:
    node = Node([_peer(1)])
    job = _submit(node)
    node.peers = [_peer(1), _peer(2)]
    assert _submit(node) == job
    other = parse_manifest(JOB, {"job.rounds": "4"})
    assert _submit(node, JOB.replace("3", str(other.job.rounds))) != job
    node.jobs[job] = ("stopped", node.jobs[job][1])
    assert len(node.founders(_submit(node))) == 3


def test_a_job_that_names_founders_cannot_gather_them() -> None:
    with pytest.raises(ConfigError, match="must be empty"):
        _submit(Node([]), f'{JOB}[electorate]\nfounders = ["{IDS[0]}"]\n')


def test_addresses_written_by_one_node_are_joined_by_another(tmp_path: Path) -> None:
    path, waits = tmp_path / "addresses", list[float]()
    config = NodeConfig(join_file=path, join=())

    def sleep(seconds: float) -> None:
        waits.append(seconds)
        if len(waits) == 3:
            write_address_file(path, ADDRESSES)

    joined = with_join_file(config, clock=lambda: sum(waits), sleep=sleep)
    assert list(joined.join) == ADDRESSES
    assert len(waits) == 3
    assert [entry.name for entry in tmp_path.iterdir()] == ["addresses"]
    assert with_join_file(NodeConfig(join=(ADDRESSES[0],))).join == (ADDRESSES[0],)


def test_a_join_file_that_never_comes_or_holds_no_address_is_told(tmp_path: Path) -> None:
    path, waits = tmp_path / "addresses", list[float]()
    config = NodeConfig(join_file=path)
    with pytest.raises(ConfigError, match="start the node that writes it"):
        with_join_file(config, clock=lambda: sum(waits), sleep=waits.append)
    assert sum(waits) >= WAIT_S_MAX
    path.write_text("not an address\n")
    with pytest.raises(ConfigError, match="multiaddr"):
        with_join_file(config)
    with pytest.raises(ConfigError, match="cannot be written"):
        write_address_file(tmp_path / "no" / "folder", ADDRESSES)
