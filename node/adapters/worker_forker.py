"""A small process that forks workers, made before the node has a loop, a thread or gRPC.

A fork copies only the calling thread: one taken from a process with running threads may hang in a
lock that none of them will release. The forker has imported what workers need and runs nothing, so
a worker starts in milliseconds and shares the imported pages.

For each worker the node sends one message with four descriptors: the worker's end of the command
socket, its *lifeline* (kept by the forker), and two memfds. The forker kills the worker when the
node shuts the lifeline down, and writes there how the worker ended.
"""

import os
import select
import signal
import socket
from collections.abc import Callable

from node.adapters.process_tree import describe_exit, die_with_parent
from node.adapters.worker_process import run_worker
from node.errors import WorkerFailed

_DESCRIPTORS = 4
Fork = tuple[int, socket.socket]
"""(pid, lifeline) of a worker."""


class WorkerForker:
    """The node's handle on its forker."""

    def __init__(self, channel: socket.socket, pid: int) -> None:
        self._channel = channel
        self.pid = pid

    @classmethod
    def start(cls, *, prepare: Callable[[], None] = lambda: None) -> "WorkerForker":
        """Fork the forker. Call it in a process with one thread, and from that thread.

        Args:
            prepare: Run in the forker before it serves, for imports.
        """
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        parent = os.getpid()
        pid = os.fork()
        if pid == 0:
            _run_child(lambda: _serve(theirs, ours, parent, prepare))
        theirs.close()
        return cls(ours, pid)

    def request(self, commands: socket.socket, fd_in: int, fd_out: int) -> socket.socket:
        """Fork a worker on ``commands`` (its end) and the two memfds; the lifeline's near end.

        Raises:
            WorkerFailed: the forker is gone.
        """
        near, far = socket.socketpair()
        try:
            fds = [commands.fileno(), far.fileno(), fd_in, fd_out]
            socket.send_fds(self._channel, [b"worker"], fds)
        except OSError as error:
            near.close()
            raise WorkerFailed("the process that starts workers has ended") from error
        finally:
            far.close()
        return near

    def close(self) -> None:
        """End the forker, and with it all workers; idempotent."""
        if self.pid == 0:
            return
        self._channel.close()
        os.kill(self.pid, signal.SIGKILL)
        os.waitpid(self.pid, 0)
        self.pid = 0


def _run_child(body: Callable[[], None]) -> None:
    """Run ``body`` in a process just forked, and never return into the parent's stack."""
    code = 1
    try:
        body()
        code = 0
    finally:
        os._exit(code)


def _serve(
    channel: socket.socket, ours: socket.socket, parent: int, prepare: Callable[[], None]
) -> None:
    """The forker's loop: fork on request, watch workers and lifelines, until the node is gone."""
    die_with_parent(parent)
    ours.close()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_IGN)
    prepare()
    workers: dict[int, Fork] = {}
    lifelines: dict[int, int] = {}
    while True:
        ready, _, _ = select.select([channel.fileno(), *workers, *lifelines], [], [])
        for source in ready:
            if source == channel.fileno():
                fork = _fork_worker(channel, [line for _, line in workers.values()])
                if fork is None:
                    return
                watch = os.pidfd_open(fork[0])
                workers[watch] = fork
                lifelines[fork[1].fileno()] = watch
            elif source in lifelines:
                # The node shut its end down: the worker is not wanted any more.
                signal.pidfd_send_signal(lifelines.pop(source), signal.SIGKILL)
            elif source in workers:
                pid, line = workers.pop(source)
                lifelines.pop(line.fileno(), None)
                _bury(source, pid, line)


def _fork_worker(channel: socket.socket, others: list[socket.socket]) -> Fork | None:
    """Fork one worker from the next request; None once the node is gone."""
    message, fds, _, _ = socket.recv_fds(channel, 64, _DESCRIPTORS)
    if not message or len(fds) != _DESCRIPTORS:
        return None
    commands, line = socket.socket(fileno=fds[0]), socket.socket(fileno=fds[1])
    parent = os.getpid()
    pid = os.fork()
    if pid == 0:

        def work() -> None:
            die_with_parent(parent)
            # A lifeline that stayed open here would hide the forker's end from the node.
            for inherited in (channel, line, *others):
                inherited.close()
            run_worker(commands, fds[2], fds[3])

        _run_child(work)
    commands.close()
    for fd in fds[2:]:
        os.close(fd)
    return pid, line


def _bury(watch: int, pid: int, line: socket.socket) -> None:
    """Say over the lifeline how the worker ended, and forget it."""
    _, status = os.waitpid(pid, 0)
    os.close(watch)
    try:
        line.sendall(describe_exit(status).encode())
    except OSError:
        pass  # The node does not listen any more.
    finally:
        line.close()
