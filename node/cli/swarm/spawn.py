"""Starts and ends the processes of a local swarm."""

import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil

from node.cli.environment import set_environment
from node.errors import Unavailable

IMPORT_S_MAX = 120.0
STOP_S = 5.0


@dataclass(frozen=True)
class Exit:
    """A node's end."""

    pid: int
    how: str
    code: int


class Zygote:
    """The supervisor's handle on its zygote and the nodes forked from it."""

    def __init__(self, log: Path) -> None:
        """Start the zygote; ``wait_ready`` tells when it has imported everything."""
        ours, theirs = socket.socketpair()
        environment = dict(os.environ)
        set_environment(environment)
        self._channel = ours
        self._buffer = b""
        self._exits: list[Exit] = []
        self.live: set[int] = set()
        with open(log, "ab") as output, theirs:
            # A session of its own: Ctrl-C reaches the supervisor only, which stops the nodes.
            self._process = subprocess.Popen(
                [
                    sys.executable,
                    "-m",
                    "node.cli.zygote_main",
                    str(theirs.fileno()),
                    str(os.getpid()),
                ],
                env=environment,
                pass_fds=[theirs.fileno()],
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                start_new_session=True,
            )
        self._log = log

    def wait_ready(self) -> None:
        """Wait until it can fork.

        Raises:
            Unavailable: it died, or took longer than IMPORT_S_MAX.
        """
        self._wait_for("ready", IMPORT_S_MAX)

    def spawn(self, data: Path, flags: dict[str, Any]) -> int:
        """Fork a node on the folder ``data``; its pid."""
        request = {"spawn": {"data": str(data), "flags": flags}, "log": str(data / "node.log")}
        self._send(request)
        pid = int(self._wait_for("pid", 30.0)["pid"])
        self.live.add(pid)
        return pid

    def exits(self) -> list[Exit]:
        """Nodes that have ended since the last call."""
        with contextlib.suppress(TimeoutError):
            while True:
                self._note(self._read(0.0))
        exits, self._exits = self._exits, []
        return exits

    def stop(self, within_s: float = STOP_S) -> None:
        """End all nodes with SIGTERM, and what is left after ``within_s`` with SIGKILL."""
        deadline_s = time.monotonic() + within_s
        left = [psutil.Process(pid) for pid in sorted(self.live) if psutil.pid_exists(pid)]
        with contextlib.suppress(TimeoutError, Unavailable):
            self._send({"signal": signal.SIGTERM})
            while self.live:
                self._note(self._read(max(0.0, deadline_s - time.monotonic())))
        self._channel.close()
        # The kernel kills the nodes that are left when their zygote ends.
        self._process.kill()
        self._process.wait()
        psutil.wait_procs(left, timeout=1.0)

    def _send(self, message: dict[str, Any]) -> None:
        try:
            self._channel.settimeout(None)
            self._channel.sendall(json.dumps(message).encode() + b"\n")
        except OSError as error:
            raise self._died() from error

    def _wait_for(self, key: str, within_s: float) -> dict[str, Any]:
        deadline_s = time.monotonic() + within_s
        while True:
            try:
                message = self._read(max(0.0, deadline_s - time.monotonic()))
            except TimeoutError as error:
                raise Unavailable(f"the zygote did not answer in {within_s:g} s") from error
            if key in message:
                return message
            self._note(message)

    def _note(self, message: dict[str, Any]) -> None:
        if "exited" in message:
            self.live.discard(message["exited"])
            self._exits.append(Exit(message["exited"], message["how"], message["code"]))

    def _read(self, within_s: float) -> dict[str, Any]:
        """The next message; TimeoutError if there is none, Unavailable if the zygote is gone."""
        deadline_s = time.monotonic() + within_s
        while b"\n" not in self._buffer:
            self._channel.settimeout(max(0.0, deadline_s - time.monotonic()))
            try:
                data = self._channel.recv(1 << 16)
            except BlockingIOError as error:
                raise TimeoutError from error
            except OSError as error:
                if isinstance(error, TimeoutError):
                    raise
                raise self._died() from error
            if not data:
                raise self._died()
            self._buffer += data
        line, _, self._buffer = self._buffer.partition(b"\n")
        message: dict[str, Any] = json.loads(line)
        return message

    def _died(self) -> Unavailable:
        self.live.clear()
        return Unavailable(f"the process that forks the nodes has ended: see {self._log}")
