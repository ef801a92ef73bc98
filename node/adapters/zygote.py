"""Forks processes on request from a parent that has imported everything and run nothing.

The supervisor and the zygote share a socket pair that carries JSON lines:
``{"ready": true}`` first; ``{"spawn": {...}, "log": path}`` -> ``{"pid": n}``; ``{"signal": n}``
sends a signal to all; ``{"exited": pid, "how": text, "code": n}`` comes at any time. The forks end
with the zygote, and it ends with the supervisor.
"""

import json
import os
import select
import signal
import socket
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from node.adapters.process_tree import describe_exit, die_with_parent

LINE_BYTES_MAX = 1 << 16
Message = dict[str, Any]


def serve_forks(channel: socket.socket, run: Callable[[Message], int]) -> None:
    """Serve spawn requests until the supervisor closes its end. Call it with one thread.

    Args:
        channel: The zygote's end.
        run: Called in the fork with the request's ``spawn``; its exit code.
    """
    _send(channel, {"ready": True})
    children: dict[int, int] = {}
    buffer = b""
    while True:
        ready, _, _ = select.select([channel.fileno(), *children], [], [])
        for source in ready:
            if source == channel.fileno():
                data = channel.recv(LINE_BYTES_MAX)
                if not data:
                    return
                *lines, buffer = (buffer + data).split(b"\n")
                for request in map(json.loads, lines):
                    if "signal" in request:
                        for watch in children:
                            signal.pidfd_send_signal(watch, request["signal"])
                        continue
                    pid = _fork(channel, list(children), request, run)
                    children[os.pidfd_open(pid)] = pid
                    _send(channel, {"pid": pid})
            else:
                pid = children.pop(source)
                os.close(source)
                _, status = os.waitpid(pid, 0)
                code = os.waitstatus_to_exitcode(status)
                _send(channel, {"exited": pid, "how": describe_exit(status), "code": code})


def _fork(
    channel: socket.socket, watches: list[int], request: Message, run: Callable[[Message], int]
) -> int:
    parent = os.getpid()
    pid = os.fork()
    if pid != 0:
        return pid
    code = 1
    try:
        die_with_parent(parent)
        channel.close()
        for watch in watches:
            os.close(watch)
        _redirect(Path(request["log"]))
        code = run(request["spawn"])
        sys.stdout.flush()
        sys.stderr.flush()
    except BaseException:
        import traceback

        traceback.print_exc()
        sys.stderr.flush()
    finally:
        os._exit(code)


def _redirect(log: Path) -> None:
    """Send stdout and stderr to the end of ``log``; nothing comes in."""
    log.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    file = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    null = os.open(os.devnull, os.O_RDONLY)
    for source, target in ((null, 0), (file, 1), (file, 2)):
        os.dup2(source, target)
    os.close(file)
    os.close(null)
    # Open line by line: a killed node's last events are in the log.
    sys.stdout = os.fdopen(1, "w", buffering=1, closefd=False)
    sys.stderr = os.fdopen(2, "w", buffering=1, closefd=False)


def become_zygote(parent: int) -> None:
    """Tie this process to the supervisor ``parent``; a Ctrl-C is the supervisor's to handle."""
    die_with_parent(parent)
    signal.signal(signal.SIGINT, signal.SIG_IGN)


def _send(channel: socket.socket, message: Message) -> None:
    channel.sendall(json.dumps(message).encode() + b"\n")
