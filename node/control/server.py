"""Serves one node's control API on the unix socket of its data folder.

Needs a daemon with the five calls of ``Controlled``; knows nothing else of the node.
"""

import asyncio
import os
from collections.abc import Awaitable, Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NoReturn, Protocol, TypeVar

import grpc
import grpc.aio
from grpc_health.v1 import health, health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection

from node.control.address import MESSAGE_BYTES_MAX, REPLY_BYTES_MAX, SocketAddress
from node.control.convert import job_to_wire, node_to_wire, peer_to_wire
from node.errors import ArtelError, ConfigError, Unavailable
from node.observe.status import JobStatus, NodeStatus
from node.wire import control_pb2 as pb
from node.wire import control_pb2_grpc as pb_grpc

CALLS_MAX = 16
"""Control calls served at once; more are refused with RESOURCE_EXHAUSTED."""

Reply = TypeVar("Reply")
Context = grpc.aio.ServicerContext[Any, Any]


class Controlled(Protocol):
    """What the control API needs of a daemon."""

    def status(self) -> NodeStatus:
        """The whole node now."""
        ...

    async def submit(self, manifest_toml: str, overrides: Mapping[str, str]) -> str:
        """Serve a job; its id, hex."""
        ...

    async def stop_job(self, job_id_hex: str) -> None:
        """Stop a job on this node."""
        ...

    def list_jobs(self) -> Sequence[JobStatus]:
        """All jobs of this node."""
        ...

    def show_job(self, job_id_hex: str) -> tuple[JobStatus, str]:
        """One job and its canonical manifest."""
        ...

    def convicted(self) -> Mapping[str, str]:
        """Peer -> what the evidence against it shows."""
        ...

    def evidence(self, peer: str) -> bytes:
        """The encoded evidence against a peer."""
        ...


class ControlServer:
    """The running server; ``close`` ends it and removes the socket."""

    def __init__(self, server: grpc.aio.Server, address: SocketAddress, checks: Any) -> None:
        self._server = server
        self._address = address
        self._checks = checks

    @classmethod
    async def start(cls, daemon: Controlled, data: Path) -> "ControlServer":
        """Bind ``data/control.sock`` (mode 0600) and serve.

        The caller holds the data folder's lock (``FileStore``), so a socket that is there belongs
        to a dead node.

        Raises:
            ConfigError: the socket cannot be made.
        """
        address = SocketAddress(data)
        address.path.unlink(missing_ok=True)
        server = grpc.aio.server(
            options=[
                ("grpc.max_receive_message_length", MESSAGE_BYTES_MAX),
                ("grpc.max_send_message_length", REPLY_BYTES_MAX),
            ],
            maximum_concurrent_rpcs=CALLS_MAX,
        )
        checks = health.aio.HealthServicer()  # type: ignore[attr-defined]
        pb_grpc.add_ControlServicer_to_server(_Control(daemon), server)  # type: ignore[no-untyped-call]
        health_pb2_grpc.add_HealthServicer_to_server(checks, server)
        control = pb.DESCRIPTOR.services_by_name["Control"].full_name
        names = (control, health.SERVICE_NAME, reflection.SERVICE_NAME)
        reflection.enable_server_reflection(names, server)
        mask = os.umask(0o177)
        try:
            server.add_insecure_port(address.target)
        except RuntimeError as error:
            address.close()
            raise ConfigError(f"cannot make the control socket {address.path}: {error}") from error
        finally:
            os.umask(mask)
        await server.start()
        for name in ("", control):
            await checks.set(name, health_pb2.HealthCheckResponse.SERVING)
        return cls(server, address, checks)

    async def close(self, *, grace_s: float = 0.5) -> None:
        """Finish calls for at most ``grace_s``, then remove the socket; idempotent."""
        await self._checks.enter_graceful_shutdown()
        await self._server.stop(grace_s)
        self._address.path.unlink(missing_ok=True)
        self._address.close()


class _Control:
    """Each call asks the daemon once; the daemon's errors become status codes."""

    def __init__(self, daemon: Controlled) -> None:
        self._daemon = daemon

    async def Status(self, request: pb.StatusRequest, context: Context) -> pb.StatusReply:
        return await _answer(
            context, lambda: pb.StatusReply(node=node_to_wire(self._daemon.status()))
        )

    async def Peers(self, request: pb.PeersRequest, context: Context) -> pb.PeersReply:
        def reply() -> pb.PeersReply:
            status = self._daemon.status()
            peers = [peer_to_wire(peer) for peer in status.peers]
            return pb.PeersReply(peers=peers, membership=status.membership)

        return await _answer(context, reply)

    async def Identity(self, request: pb.IdentityRequest, context: Context) -> pb.IdentityReply:
        def reply() -> pb.IdentityReply:
            status = self._daemon.status()
            return pb.IdentityReply(
                peer=status.peer, addresses=status.addresses, version=status.version
            )

        return await _answer(context, reply)

    async def SubmitJob(self, request: pb.SubmitJobRequest, context: Context) -> pb.SubmitJobReply:
        job = await _guard(
            context, self._daemon.submit(request.manifest_toml, dict(request.overrides))
        )
        return pb.SubmitJobReply(job=job)

    async def ListJobs(self, request: pb.ListJobsRequest, context: Context) -> pb.ListJobsReply:
        return await _answer(
            context,
            lambda: pb.ListJobsReply(jobs=[job_to_wire(job) for job in self._daemon.list_jobs()]),
        )

    async def ShowJob(self, request: pb.ShowJobRequest, context: Context) -> pb.ShowJobReply:
        def reply() -> pb.ShowJobReply:
            status, manifest = self._daemon.show_job(request.job)
            return pb.ShowJobReply(status=job_to_wire(status), manifest_json=manifest)

        return await _answer(context, reply)

    async def StopJob(self, request: pb.StopJobRequest, context: Context) -> pb.StopJobReply:
        await _guard(context, self._daemon.stop_job(request.job))
        return pb.StopJobReply()

    async def ListEvidence(
        self, request: pb.ListEvidenceRequest, context: Context
    ) -> pb.ListEvidenceReply:
        return await _answer(
            context, lambda: pb.ListEvidenceReply(convicted=dict(self._daemon.convicted()))
        )

    async def GetEvidence(
        self, request: pb.GetEvidenceRequest, context: Context
    ) -> pb.GetEvidenceReply:
        return await _answer(
            context, lambda: pb.GetEvidenceReply(evidence=self._daemon.evidence(request.peer))
        )


async def _answer(context: Context, reply: Callable[[], Reply]) -> Reply:
    async def run() -> Reply:
        return reply()

    return await _guard(context, run())


async def _guard(context: Context, call: Awaitable[Reply]) -> Reply:
    try:
        return await call
    except ConfigError as error:
        await _abort(context, grpc.StatusCode.INVALID_ARGUMENT, error)
    except Unavailable as error:
        await _abort(context, grpc.StatusCode.UNAVAILABLE, error)
    except ArtelError as error:
        await _abort(context, grpc.StatusCode.FAILED_PRECONDITION, error)


async def _abort(context: Context, code: grpc.StatusCode, error: Exception) -> NoReturn:
    await context.abort(code, str(error))
    raise asyncio.CancelledError  # abort always raises; this tells the type checker so
