"""Status values <-> control messages, which mirror one another field by field."""

from collections.abc import Callable, Mapping
from dataclasses import fields
from typing import Any

from node.observe.status import JobStatus, NodeStatus, PeerStatus
from node.types import PeerId
from node.wire import control_pb2 as pb


def job_to_wire(status: JobStatus) -> pb.JobStatus:
    """The message of one job."""
    return pb.JobStatus(**_plain(status))


def peer_to_wire(status: PeerStatus) -> pb.PeerStatus:
    """The message of one peer."""
    return pb.PeerStatus(**_plain(status))


def node_to_wire(status: NodeStatus) -> pb.NodeStatus:
    """The message of the whole node."""
    values = _plain(status)
    values["peers"] = [peer_to_wire(peer) for peer in status.peers]
    values["jobs"] = [job_to_wire(job) for job in status.jobs]
    return pb.NodeStatus(**values)


def job_from_wire(message: pb.JobStatus) -> JobStatus:
    """One job, from the message."""
    values = _read(message, JobStatus)
    values["loss"] = message.loss if message.HasField("loss") else None
    return JobStatus(**values)


def peer_from_wire(message: pb.PeerStatus) -> PeerStatus:
    """One peer, from the message."""
    return PeerStatus(**_read(message, PeerStatus) | {"peer": PeerId(message.peer)})


def node_from_wire(message: pb.NodeStatus) -> NodeStatus:
    """The whole node, from the message."""
    values = _read(message, NodeStatus)
    values["peer"] = PeerId(message.peer)
    values["peers"] = tuple(peer_from_wire(peer) for peer in message.peers)
    values["jobs"] = tuple(job_from_wire(job) for job in message.jobs)
    return NodeStatus(**values)


def _plain(status: JobStatus | PeerStatus | NodeStatus) -> dict[str, Any]:
    """Field values as protobuf's constructors take them: dicts for maps, lists for repeated."""
    return {field.name: _copy(getattr(status, field.name)) for field in fields(status)}


def _copy(value: Any) -> Any:
    if isinstance(value, Mapping):
        return dict(value)
    return value if value is None or isinstance(value, str | int | float) else list(value)


def _read(message: Any, kind: Callable[..., Any]) -> dict[str, Any]:
    values: dict[str, Any] = {}
    for field in fields(kind):  # type: ignore[arg-type]
        value = getattr(message, field.name)
        if isinstance(value, str | int | float):
            values[field.name] = value
        else:
            values[field.name] = dict(value) if hasattr(value, "keys") else tuple(value)
    return values
