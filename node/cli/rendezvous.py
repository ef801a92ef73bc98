"""Files through which nodes that share a folder find one another: a line is an address."""

import os
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from node.config import NodeConfig, build
from node.errors import ConfigError

WAIT_S_MAX = 120.0
"""How long a node waits for the file that it should join by."""
LOOK_EVERY_S = 0.2
FILE_BYTES_MAX = 64 * 1024


def with_join_file(
    config: NodeConfig,
    *,
    clock: Callable[[], float] = time.monotonic,
    sleep: Callable[[float], None] = time.sleep,
) -> NodeConfig:
    """The settings with the addresses of ``join_file`` in ``join``; waits until they are there.

    Raises:
        ConfigError: no address came within WAIT_S_MAX, or a line is none.
    """
    path = config.join_file
    if path is None:
        return config
    deadline_s = clock() + WAIT_S_MAX
    while not (addresses := _read(path)):
        if clock() > deadline_s:
            raise ConfigError(
                f"join_file {path} held no address for {WAIT_S_MAX:.0f} s: start the node that"
                " writes it (--address-file), or name one with --join"
            )
        sleep(LOOK_EVERY_S)
    tables = config.model_dump() | {"join": [*config.join, *addresses]}
    return build(NodeConfig, tables, str(path))


def _read(path: Path) -> list[str]:
    try:
        with path.open(encoding="utf-8") as file:
            text = file.read(FILE_BYTES_MAX)
    except FileNotFoundError:
        return []
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or "it is not UTF-8 text"
        raise ConfigError(f"join_file {path} cannot be read: {reason}") from error
    return text.split()


def write_address_file(path: Path, addresses: Sequence[str]) -> None:
    """Replace ``path`` with ``addresses``, a line each, all at once.

    Raises:
        ConfigError: the folder cannot be written.
    """
    part = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        part.write_text("".join(f"{address}\n" for address in addresses), encoding="utf-8")
        part.replace(path)
    except OSError as error:
        raise ConfigError(f"address_file {path} cannot be written: {error.strerror}") from error
