"""The control API over its real unix socket, with a daemon that is a table of answers."""

import asyncio
import socket
import stat
from collections.abc import AsyncIterator, Mapping, Sequence
from pathlib import Path

import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection_pb2, reflection_pb2_grpc

from node.cli.evidence import export_evidence
from node.control.client import ControlClient, NodeRefused, NoNode
from node.control.server import ControlServer
from node.errors import ConfigError, Unavailable, WorkerFailed
from node.observe.status import JobStatus, NodeStatus, PeerStatus
from node.types import PeerId

pytestmark = pytest.mark.network

LIAR, PROOF = "12D3KooWliar", b"proof"
JOB = JobStatus(
    job="ab" * 32,
    name="camera",
    workload="inr",
    state="running",
    reason="",
    round=3,
    rounds=40,
    phase="train",
    view=1,
    leader="12D3KooWleader",
    electors=8,
    faulty_max=2,
    loss=None,
    metrics={"psnr_db": 31.5, "loss": 0.01},
    metrics_round=2,
    used=6,
    refused={"12D3KooWliar": "norm"},
    refusals={"norm": 2},
    skips=1,
    bytes_up=10,
    bytes_down=2**40,
    calls=99,
    round_seconds=(0.5, 0.25),
    params=1000,
    state_root="cd" * 32,
    artifacts=("a.png",),
    bans={"12D3KooWliar": 2},
    rule_liars=1,
    assurance="certain while at most 2 of 8 lie: 3 equal answers a part",
)
PEER = PeerStatus(
    peer=PeerId("12D3KooWpeer"),
    addresses=("/ip4/127.0.0.1/tcp/1",),
    connected=True,
    score=-1.5,
    expires_in_s=12.0,
    bytes_up=1,
    bytes_down=2,
    errors={"malformed": 3},
    banned="it lied",
)
NODE = NodeStatus(
    peer=PeerId("12D3KooWme"),
    version="9.9",
    addresses=("/ip4/127.0.0.1/tcp/2/p2p/12D3KooWme",),
    uptime_s=1.5,
    ready=True,
    membership="1 peer",
    peers=(PEER,),
    jobs=(JOB,),
    warnings=("n <= 3",),
)


class Table:
    """A daemon whose answers are fixed, and which remembers its orders."""

    def __init__(self) -> None:
        self.orders: list[tuple[object, ...]] = []

    def status(self) -> NodeStatus:
        return NODE

    async def submit(self, manifest_toml: str, overrides: Mapping[str, str]) -> str:
        self.orders.append((manifest_toml, *overrides.items()))
        if manifest_toml == "bad":
            raise ConfigError("the manifest says nothing")
        if manifest_toml == "later":
            raise Unavailable("the worker does not answer")
        return JOB.job

    async def stop_job(self, job_id_hex: str) -> None:
        self.orders.append(("stop", job_id_hex))
        raise WorkerFailed("its worker is dead")

    def list_jobs(self) -> Sequence[JobStatus]:
        return [JOB]

    def show_job(self, job_id_hex: str) -> tuple[JobStatus, str]:
        if job_id_hex != JOB.job:
            raise ConfigError(f"no job {job_id_hex}")
        return JOB, '{"name":"camera"}'

    def convicted(self) -> Mapping[str, str]:
        return {LIAR: "lied"}

    def evidence(self, peer: str) -> bytes:
        if peer != LIAR:
            raise ConfigError(f"no evidence against {peer}")
        return PROOF


@pytest.fixture
async def table(tmp_path: Path) -> AsyncIterator[Table]:
    daemon = Table()
    server = await ControlServer.start(daemon, tmp_path)
    yield daemon
    await server.close()


async def ask(data: Path, call: str, *arguments: object) -> object:
    def run() -> object:
        with ControlClient(data) as client:
            return getattr(client, call)(*arguments)

    return await asyncio.to_thread(run)


async def test_every_field_of_a_status_survives_the_wire(table: Table, tmp_path: Path) -> None:
    assert await ask(tmp_path, "status") == NODE
    assert await ask(tmp_path, "peers") == ((PEER,), "1 peer")
    assert await ask(tmp_path, "identity") == (NODE.peer, NODE.addresses, "9.9")
    assert await ask(tmp_path, "list_jobs") == (JOB,)
    assert await ask(tmp_path, "show_job", JOB.job) == (JOB, '{"name":"camera"}')


async def test_a_job_is_submitted_with_its_overrides(table: Table, tmp_path: Path) -> None:
    assert await ask(tmp_path, "submit", "manifest", {"a.b": "1"}) == JOB.job
    assert table.orders == [("manifest", ("a.b", "1"))]


async def test_evidence_is_listed_and_given_by_peer(table: Table, tmp_path: Path) -> None:
    assert await ask(tmp_path, "convicted") == {LIAR: "lied"}
    assert await ask(tmp_path, "evidence", LIAR) == PROOF
    with pytest.raises(ConfigError, match="no evidence against x"):
        await ask(tmp_path, "evidence", "x")
    file = tmp_path / "liar.evidence"
    await asyncio.to_thread(export_evidence, "liar", file, tmp_path, as_json=False)
    assert file.read_bytes() == PROOF
    with pytest.raises(ConfigError, match="no convicted peer"):
        await asyncio.to_thread(export_evidence, "nobody", file, tmp_path, as_json=False)


async def test_errors_keep_their_family_and_text(table: Table, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"^the manifest says nothing$"):
        await ask(tmp_path, "submit", "bad", {})
    with pytest.raises(Unavailable, match=r"^the worker does not answer$"):
        await ask(tmp_path, "submit", "later", {})
    with pytest.raises(NodeRefused, match=r"^its worker is dead$"):
        await ask(tmp_path, "stop_job", JOB.job)


async def test_a_request_above_the_limit_is_refused_unread(table: Table, tmp_path: Path) -> None:
    with pytest.raises(NodeRefused):
        await ask(tmp_path, "submit", "x" * (2 << 20), {})
    assert table.orders == []


async def test_only_the_owner_can_open_the_socket_and_it_goes_with_the_node(tmp_path: Path) -> None:
    server = await ControlServer.start(Table(), tmp_path)
    mode = (tmp_path / "control.sock").stat().st_mode
    assert stat.S_ISSOCK(mode)
    assert stat.S_IMODE(mode) == 0o600
    await server.close()
    assert not (tmp_path / "control.sock").exists()
    with pytest.raises(NoNode, match=str(tmp_path)):
        await ask(tmp_path, "status")


async def test_a_dead_nodes_socket_is_no_node_and_is_replaced(tmp_path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as dead:
        dead.bind(str(tmp_path / "control.sock"))
    with ControlClient(tmp_path) as refused:
        with pytest.raises(NoNode):
            await asyncio.to_thread(refused.status)
        server = await ControlServer.start(Table(), tmp_path)
        # The first client, still open, waits before it tries again; another does not.
        assert await ask(tmp_path, "status") == NODE
    await server.close()


async def test_a_data_folder_with_a_very_long_path_works(tmp_path: Path) -> None:
    data = tmp_path / ("x" * 100) / ("y" * 100)
    data.mkdir(parents=True)
    server = await ControlServer.start(Table(), data)
    assert await ask(data, "status") == NODE
    await server.close()
    assert not (data / "control.sock").exists()


async def test_health_and_reflection_are_the_standard_ones(table: Table, tmp_path: Path) -> None:
    async with grpc.aio.insecure_channel(f"unix:{tmp_path}/control.sock") as channel:
        health = health_pb2_grpc.HealthStub(channel)
        answer = await health.Check(health_pb2.HealthCheckRequest(service="artel.v1.Control"))
        assert answer.status == health_pb2.HealthCheckResponse.SERVING
        request = reflection_pb2.ServerReflectionRequest(list_services="")
        stub = reflection_pb2_grpc.ServerReflectionStub(channel)
        async for reply in stub.ServerReflectionInfo(iter([request])):
            names = {service.name for service in reply.list_services_response.service}
            assert "artel.v1.Control" in names
