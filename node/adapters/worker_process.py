"""What runs inside a worker: one workload, driven by small JSON commands over a socket.

A frame is a u32 length (big endian) and that many bytes of JSON. Vectors never cross the socket:
parameters come in through one memfd, parameters or updates leave through the other. The loop ends
when the node closes its end.
"""

import json
import math
import signal
import socket
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from node.adapters.shared_memory import map_memory
from node.ports import FloatVector
from workloads import api

FRAME_BYTES_MAX = 1 << 20
"""Largest command or answer: a config, a list of shapes, a traceback's last line."""
TEXT_CHARS_MAX = 4000


def encode_frame(message: Mapping[str, Any]) -> bytes:
    """One message as it crosses the socket.

    Raises:
        ValueError: it is above FRAME_BYTES_MAX.
    """
    body = json.dumps(message).encode()
    if len(body) > FRAME_BYTES_MAX:
        raise ValueError(f"a message of {len(body)} bytes is above {FRAME_BYTES_MAX}")
    return len(body).to_bytes(4, "big") + body


def run_worker(commands: socket.socket, fd_in: int, fd_out: int) -> None:
    """Serve one workload until the node closes ``commands``."""
    for number in (signal.SIGINT, signal.SIGTERM):
        # The node ends its workers itself; a Ctrl-C in the terminal reaches the whole group.
        signal.signal(number, signal.SIG_IGN)
    start = _receive(commands)
    if start is None:
        return
    try:
        workload = _load(start)
        shapes = [[name, list(shape)] for name, shape in workload.shapes]
        commands.sendall(encode_frame({"shapes": shapes}))
    except Exception as error:
        commands.sendall(encode_frame(_failure(error)))
        return
    server: _Server | None = None
    while (command := _receive(commands)) is not None:
        try:
            # The node has sized both buffers once it has seen the shapes.
            server = server or _Server(workload, map_memory(fd_in), map_memory(fd_out))
            answer = {"id": command["id"], **server.answer(command["op"], command)}
            frame = encode_frame(answer)
        except Exception as error:
            frame = encode_frame({"id": command["id"], **_failure(error)})
        commands.sendall(frame)


def _load(start: Mapping[str, Any]) -> api.Workload:
    import torch

    torch.set_num_threads(start["threads"])
    _reseed(start["seed"])
    kind = api.load(start["workload"])
    return kind(start["config"], start["seed"], start["device"])


def _reseed(seed: int) -> None:
    """Give this process its own global generators: it was forked, so it has its siblings' state."""
    import random

    import numpy as np
    import torch

    random.seed(seed)
    np.random.seed(seed % 2**32)  # noqa: NPY002 (a plug-in may use the global one)
    torch.manual_seed(seed % 2**63)


class _Server:
    """Answers commands with one workload and two buffers."""

    def __init__(self, workload: api.Workload, inbox: FloatVector, outbox: FloatVector) -> None:
        self._workload = workload
        self._inbox = inbox
        self._outbox = outbox

    def answer(self, op: str, command: Mapping[str, Any]) -> Mapping[str, Any]:
        operations: Mapping[str, Callable[[Mapping[str, Any]], Mapping[str, Any]]] = {
            "initial": self._initial,
            "train": self._train,
            "evaluate": self._evaluate,
            "artifacts": self._artifacts,
            "reset": self._reset,
        }
        return operations[op](command)

    def _initial(self, command: Mapping[str, Any]) -> Mapping[str, Any]:
        self._outbox[:] = self._workload.initial()
        return {}

    def _train(self, command: Mapping[str, Any]) -> Mapping[str, Any]:
        start_s = time.monotonic()
        result = self._workload.train(
            self._inbox,
            round_=command["round"],
            rounds=command["rounds"],
            data_seed=bytes.fromhex(command["data_seed"]),
            steps=command["steps"],
            deadline_s=command["deadline_s"],
            continued=command["continued"],
            clock=time.monotonic,
        )
        self._outbox[:] = result.update
        seconds = time.monotonic() - start_s
        return {"steps_done": result.steps_done, "loss": result.loss, "seconds": seconds}

    def _evaluate(self, command: Mapping[str, Any]) -> Mapping[str, Any]:
        metrics = self._workload.evaluate(self._inbox)
        return {"metrics": {name: float(value) for name, value in metrics.items()}}

    def _artifacts(self, command: Mapping[str, Any]) -> Mapping[str, Any]:
        folder = Path(command["folder"])
        folder.mkdir(parents=True, exist_ok=True)
        return {"paths": [str(path) for path in self._workload.artifacts(self._inbox, folder)]}

    def _reset(self, command: Mapping[str, Any]) -> Mapping[str, Any]:
        self._workload.reset()
        return {}


def _failure(error: Exception) -> Mapping[str, Any]:
    """What the node is told: the operator's fault, or the workload's."""
    if isinstance(error, api.WorkloadError):
        return {"config_error": str(error)[:TEXT_CHARS_MAX]}
    return {"error": f"{type(error).__name__}: {error}"[:TEXT_CHARS_MAX]}


def _receive(commands: socket.socket) -> dict[str, Any] | None:
    """The next command; None once the node is gone."""
    head = _receive_exactly(commands, 4)
    if head is None:
        return None
    size = int.from_bytes(head, "big")
    if size > FRAME_BYTES_MAX:
        return None
    body = _receive_exactly(commands, size)
    if body is None:
        return None
    message = json.loads(body)
    assert isinstance(message, dict)
    return message


def _receive_exactly(commands: socket.socket, size: int) -> bytes | None:
    data = b""
    while len(data) < size:
        chunk = commands.recv(size - len(data))
        if not chunk:
            return None
        data += chunk
    return data


def count_params(shapes: list[tuple[str, tuple[int, ...]]]) -> int:
    """d: length of the flat vector that holds ``shapes``."""
    return sum(math.prod(shape) for _, shape in shapes)
