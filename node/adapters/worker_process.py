"""What runs inside a worker: one workload, driven by small JSON commands over a socket.

Parameters come in through one memfd, parameters or updates leave through the other; entries of a
shared memory follow the commands (``worker_frames``). The loop ends when the node closes its end.
"""

import json
import math
import signal
import socket
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from node.adapters.compute_class import compute_class
from node.adapters.inquired import inquire
from node.adapters.replaying import Replaying
from node.adapters.shared_memory import map_memory
from node.adapters.worker_frames import (
    HEAD_BYTES,
    blob_sizes,
    encode_frame,
    entries_from,
    entries_message,
    head_size,
    split_blobs,
)
from node.ports import FloatVector, InquireRequest, ReplayRequest, Shard
from workloads import api

TEXT_CHARS_MAX = 4000


def run_worker(commands: socket.socket, fd_in: int, fd_out: int) -> None:
    """Serve one workload until the node closes ``commands``."""
    for number in (signal.SIGINT, signal.SIGTERM):
        # The node ends its workers itself; a Ctrl-C in the terminal reaches the whole group.
        signal.signal(number, signal.SIG_IGN)
    received = _receive(commands)
    if received is None:
        return
    start = received[0]
    try:
        workload = _load(start)
        shapes = [[name, list(shape)] for name, shape in workload.shapes]
        form = workload.memory if isinstance(workload, api.Remembers) else None
        hello = {
            "shapes": shapes,
            "memory": asdict(form) if form else None,
            "replayable": isinstance(workload, api.Replayable),
            "class": compute_class(start["threads"]).hex(),
        }
        commands.sendall(encode_frame(hello))
    except Exception as error:
        commands.sendall(encode_frame(_failure(error)))
        return
    server: _Server | None = None
    while (received := _receive(commands)) is not None:
        command, blobs = received
        try:
            # The node has sized both buffers once it has seen the shapes.
            server = server or _Server(workload, start, map_memory(fd_in), map_memory(fd_out))
            answer, attached = server.answer(command["op"], command, blobs)
            frame = encode_frame({"id": command["id"], **answer}, attached)
        except Exception as error:
            frame = encode_frame({"id": command["id"], **_failure(error)})
        commands.sendall(frame)


def _load(start: Mapping[str, Any]) -> api.Workload:
    import torch

    torch.set_num_threads(start["threads"])
    _reseed(start["seed"])
    return _make(start, tuple(start["shard"]))


def _make(start: Mapping[str, Any], shard: Shard) -> api.Workload:
    workload = api.load(start["workload"])(start["config"], start["seed"], start["device"])
    if isinstance(workload, api.Sharded):
        workload.shard(*shard)
    return workload


def _reseed(seed: int) -> None:
    """Give this process its own global generators: it was forked, so it has its siblings' state."""
    import random

    import numpy as np
    import torch

    random.seed(seed)
    np.random.seed(seed % 2**32)  # noqa: NPY002 (a plug-in may use the global one)
    torch.manual_seed(seed % 2**63)


Answer = tuple[Mapping[str, Any], Sequence[bytes]]
"""JSON, and blobs."""


class _Server:
    """Answers commands with one workload and two buffers."""

    def __init__(
        self,
        workload: api.Workload,
        start: Mapping[str, Any],
        inbox: FloatVector,
        outbox: FloatVector,
    ) -> None:
        self._workload = workload
        self._replaying = Replaying(workload, lambda shard: _make(start, shard))
        self._inbox = inbox
        self._outbox = outbox
        self._started = False

    def answer(self, op: str, command: Mapping[str, Any], blobs: Sequence[bytes]) -> Answer:
        if op == "advance":
            return self._advance(command, blobs)
        if op == "inquire":
            request = InquireRequest(
                command["own"], command["founders"], b"".join(blobs[:1]), blobs[1:]
            )
            return {}, (inquire(self._workload, request),)
        if op == "replay":
            return self._replay(command, blobs[0] if blobs else b""), ()
        if op == "opening":
            kept = self._replaying.opening(command["round"])
            return {"kept": kept is not None}, (kept or b"",)
        operations: Mapping[str, Callable[[Mapping[str, Any]], Mapping[str, Any]]] = {
            "initial": self._initial,
            "train": self._train,
            "evaluate": self._evaluate,
            "artifacts": self._artifacts,
            "reset": self._reset,
            "revert": self._revert,
        }
        return operations[op](command), ()

    def _advance(self, command: Mapping[str, Any], blobs: Sequence[bytes]) -> Answer:
        workload = self._workload
        assert isinstance(workload, api.Remembers)
        start_s = time.monotonic()
        for arrived, blob in zip(command["arrived"], blobs, strict=True):
            if arrived["entries"] is None:
                workload.forget(arrived["author"])
            else:
                entries = entries_from(arrived["entries"], blob, workload.memory)
                workload.absorb(arrived["author"], entries)
        if not command["steps"]:
            seconds = time.monotonic() - start_s
            return {"steps": 0, "waiting": False, "entries": None, "seconds": seconds}, ()
        if not self._started:
            self._started = True
            workload.start(bytes.fromhex(command["data_seed"]))
        done = workload.advance(command["steps"], command["deadline_s"], time.monotonic)
        shown, blob = entries_message(done.entries)
        seconds = time.monotonic() - start_s
        told = {"steps": done.steps, "waiting": done.waiting, "seconds": seconds}
        return {**told, "entries": shown}, (blob,)

    def _initial(self, command: Mapping[str, Any]) -> Mapping[str, Any]:
        self._outbox[:] = self._workload.initial()
        return {}

    def _train(self, command: Mapping[str, Any]) -> Mapping[str, Any]:
        start_s = time.monotonic()
        keep = command["keep"]
        before = self._replaying.begin(command["round"]) if keep else b""
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
        after = self._replaying.end() if keep else b""
        return {
            "steps_done": result.steps_done,
            "loss": result.loss,
            "seconds": time.monotonic() - start_s,
            "local": [before.hex(), after.hex()],
        }

    def _replay(self, command: Mapping[str, Any], local_state: bytes) -> Mapping[str, Any]:
        start_s = time.monotonic()
        request = ReplayRequest(
            params=self._inbox,
            round=command["round"],
            rounds=command["rounds"],
            data_seed=bytes.fromhex(command["data_seed"]),
            steps=command["steps"],
            steps_done=command["steps_done"],
            local_state=local_state,
            shard=tuple(command["shard"]),
        )
        replayed = self._replaying.replay(request)
        if replayed is None:
            return {"after": None}
        self._outbox[:], after = replayed
        return {"after": after.hex(), "seconds": time.monotonic() - start_s}

    def _revert(self, command: Mapping[str, Any]) -> Mapping[str, Any]:
        self._replaying.revert(command["round"])
        return {}

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


def _receive(commands: socket.socket) -> tuple[dict[str, Any], list[bytes]] | None:
    """The next command and its blobs; None once the node is gone."""
    head = _receive_exactly(commands, HEAD_BYTES)
    body = _receive_exactly(commands, head_size(head)) if head is not None else None
    if body is None:
        return None
    message = json.loads(body)
    assert isinstance(message, dict)
    sizes = blob_sizes(message)
    blobs = _receive_exactly(commands, sum(sizes))
    return None if blobs is None else (message, split_blobs(blobs, sizes))


def _receive_exactly(commands: socket.socket, size: int) -> bytes | None:
    data = bytearray(size)
    view = memoryview(data)
    at = 0
    while at < size:
        count = commands.recv_into(view[at:])
        if not count:
            return None
        at += count
    return bytes(data)


def count_params(shapes: list[tuple[str, tuple[int, ...]]]) -> int:
    """d: length of the flat vector that holds ``shapes``."""
    return sum(math.prod(shape) for _, shape in shapes)
