"""Where the control socket of a data folder is, and how gRPC names it.

A unix socket's path holds at most 107 bytes (``sun_path`` in unix(7)). A longer one is reached
through an open descriptor of its folder: ``/proc/self/fd/N/control.sock`` is always short.
"""

import os
from pathlib import Path
from types import TracebackType

from node.errors import ConfigError, Unavailable

SOCKET_NAME = "control.sock"
SOCKET_PATH_BYTES_MAX = 107
MESSAGE_BYTES_MAX = 1 << 20
"""Largest request."""
REPLY_BYTES_MAX = 16 << 20
"""Largest reply: 64 electors with their addresses and errors are far below it."""


class SocketAddress:
    """A control socket, reachable however long its path is, until ``close``."""

    def __init__(self, data: Path) -> None:
        """Name the socket of the data folder ``data``.

        Raises:
            Unavailable: the folder is not there.
            ConfigError: the path is too long, and there is no /proc to shorten it.
        """
        self.path = data.absolute() / SOCKET_NAME
        self._folder: int | None = None
        self.short = str(self.path)
        if len(os.fsencode(self.short)) <= SOCKET_PATH_BYTES_MAX:
            return
        if not Path("/proc/self/fd").is_dir():
            raise ConfigError(
                f"the control socket's path {self.path} is above {SOCKET_PATH_BYTES_MAX} bytes:"
                " choose a shorter data folder"
            )
        try:
            self._folder = os.open(data, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        except OSError as error:
            raise Unavailable(f"no data folder at {data}: {error.strerror}") from error
        self.short = f"/proc/self/fd/{self._folder}/{SOCKET_NAME}"

    @property
    def target(self) -> str:
        """The address as gRPC takes it."""
        return f"unix:{self.short}"

    def close(self) -> None:
        """Give the folder's descriptor back; idempotent."""
        if self._folder is not None:
            os.close(self._folder)
            self._folder = None

    def __enter__(self) -> "SocketAddress":
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()
