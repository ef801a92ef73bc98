"""Asks a running node, from a process that imports neither torch nor hivemind."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any

import grpc
from grpc_health.v1 import health_pb2, health_pb2_grpc

from node.control.address import MESSAGE_BYTES_MAX, REPLY_BYTES_MAX, SOCKET_NAME, SocketAddress
from node.control.convert import job_from_wire, node_from_wire, peer_from_wire
from node.errors import ArtelError, ConfigError, Unavailable
from node.observe.status import JobStatus, NodeStatus, PeerStatus
from node.wire import control_pb2 as pb
from node.wire import control_pb2_grpc as pb_grpc


class NoNode(Unavailable):
    """No node runs in the data folder."""


class NodeRefused(ArtelError):
    """The node understood the order and cannot follow it now."""


class ControlClient:
    """Blocking calls to the node that lives in a data folder."""

    def __init__(self, data: Path, *, timeout_s: float = 5.0) -> None:
        """Prepare to ask the node in ``data``; each call ends after ``timeout_s`` at the latest.

        Raises:
            NoNode: there is no control socket in ``data``.
        """
        self._data = data
        self._timeout_s = timeout_s
        if not (data / SOCKET_NAME).exists():
            raise NoNode(f"no node runs in {data}")
        self._address = SocketAddress(data)
        self._channel = grpc.insecure_channel(
            self._address.target,
            options=[
                ("grpc.max_send_message_length", MESSAGE_BYTES_MAX),
                ("grpc.max_receive_message_length", REPLY_BYTES_MAX),
                # A dead node's socket refuses at once; without this gRPC would back off and retry.
                ("grpc.enable_retries", 0),
                # Else it would refuse for a second because another channel of this process, to the
                # node that was here before, had been refused.
                ("grpc.use_local_subchannel_pool", 1),
            ],
        )
        self._stub = pb_grpc.ControlStub(self._channel)  # type: ignore[no-untyped-call]
        self._health = health_pb2_grpc.HealthStub(self._channel)

    def status(self) -> NodeStatus:
        """The whole node."""
        return node_from_wire(self._call(self._stub.Status, pb.StatusRequest()).node)

    def is_serving(self) -> bool:
        """Whether the standard health service says so."""
        reply = self._call(self._health.Check, health_pb2.HealthCheckRequest())
        return bool(reply.status == health_pb2.HealthCheckResponse.SERVING)

    def peers(self) -> tuple[Sequence[PeerStatus], str]:
        """Known peers, and the sentence about membership."""
        reply = self._call(self._stub.Peers, pb.PeersRequest())
        return tuple(peer_from_wire(peer) for peer in reply.peers), reply.membership

    def identity(self) -> tuple[str, Sequence[str], str]:
        """(peer id, full multiaddrs, version)."""
        reply = self._call(self._stub.Identity, pb.IdentityRequest())
        return reply.peer, tuple(reply.addresses), reply.version

    def submit(self, manifest_toml: str, overrides: Mapping[str, str]) -> str:
        """Give the node a job; the job's id, hex.

        Raises:
            ConfigError: the manifest cannot work; the text says why.
        """
        request = pb.SubmitJobRequest(manifest_toml=manifest_toml, overrides=dict(overrides))
        return str(self._call(self._stub.SubmitJob, request).job)

    def list_jobs(self) -> Sequence[JobStatus]:
        """The node's jobs."""
        reply = self._call(self._stub.ListJobs, pb.ListJobsRequest())
        return tuple(job_from_wire(job) for job in reply.jobs)

    def show_job(self, job: str) -> tuple[JobStatus, str]:
        """One job: its status and its canonical manifest, JSON."""
        reply = self._call(self._stub.ShowJob, pb.ShowJobRequest(job=job))
        return job_from_wire(reply.status), reply.manifest_json

    def stop_job(self, job: str) -> None:
        """Stop one job on this node."""
        self._call(self._stub.StopJob, pb.StopJobRequest(job=job))

    def convicted(self) -> Mapping[str, str]:
        """Peer id -> what the evidence against it shows, in words."""
        reply = self._call(self._stub.ListEvidence, pb.ListEvidenceRequest())
        return dict(sorted(reply.convicted.items()))

    def evidence(self, peer: str) -> bytes:
        """The encoded evidence against a peer.

        Raises:
            ConfigError: the node holds none.
        """
        reply = self._call(self._stub.GetEvidence, pb.GetEvidenceRequest(peer=peer))
        return bytes(reply.evidence)

    def close(self) -> None:
        """End the connection; idempotent."""
        self._channel.close()
        self._address.close()

    def __enter__(self) -> "ControlClient":
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def _call(self, method: Callable[..., Any], request: Any) -> Any:
        try:
            return method(request, timeout=self._timeout_s)
        except grpc.RpcError as error:
            raise self._translate(error) from error

    def _translate(self, error: Any) -> ArtelError:
        """The error of ours that says what gRPC's says."""
        code, text = error.code(), error.details() or ""
        if code is grpc.StatusCode.INVALID_ARGUMENT:
            return ConfigError(text)
        if code is grpc.StatusCode.FAILED_PRECONDITION:
            return NodeRefused(text)
        if code is grpc.StatusCode.DEADLINE_EXCEEDED:
            return Unavailable(f"the node in {self._data} did not answer in {self._timeout_s:g} s")
        if code is grpc.StatusCode.UNAVAILABLE:
            if "failed to connect" in text.lower() or not (self._data / SOCKET_NAME).exists():
                return NoNode(f"no node runs in {self._data}")
            return Unavailable(text)
        return NodeRefused(f"the node answered {code.name.lower()}: {text}")
