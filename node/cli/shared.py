"""What several commands need: where the data is, and how things are printed."""

import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import asdict, is_dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from node.errors import ConfigError

if TYPE_CHECKING:
    from node.control.client import ControlClient

KEY_FILE = "key.pem"

DataOption = Annotated[
    Path | None,
    typer.Option("--data", envvar="ARTEL_DATA", help="Data folder of the node [~/.artel]."),
]
JsonOption = Annotated[bool, typer.Option("--json", help="One JSON value on stdout.")]
SetOption = Annotated[
    list[str] | None,
    typer.Option("--set", metavar="KEY=VALUE", help="Set section.key=value; repeatable."),
]


def data_folder(given: Path | None) -> Path:
    """The data folder: as given, or the user's own."""
    return (given or Path.home() / ".artel").expanduser()


def client_of(given: Path | None) -> "ControlClient":
    """A client of the node in the data folder."""
    from node.control.client import ControlClient

    return ControlClient(data_folder(given))


def no_node_text(error: Exception) -> str:
    """What to do where no node runs."""
    return f"{error}: start one with `artel node run --data DIR`, or name another with --data"


def parse_overrides(texts: Sequence[str] | None) -> dict[str, str]:
    """``["a.b=1"]`` -> ``{"a.b": "1"}``.

    Raises:
        ConfigError: an item has no key or no ``=``.
    """
    overrides = {}
    for text in texts or ():
        key, equals, value = text.partition("=")
        if not equals or not key.strip():
            raise ConfigError(f"--set {text}: write it as section.key=value")
        overrides[key.strip()] = value
    return overrides


def read_text(path: Path, what: str) -> str:
    """The text of a file that the operator named.

    Raises:
        ConfigError: it cannot be read, or is not UTF-8.
    """
    try:
        return path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or "it is not UTF-8 text"
        raise ConfigError(f"cannot read {what} {path}: {reason}") from error


def print_json(value: Any) -> None:
    """Print a value or a status dataclass as one line of JSON."""
    print(json.dumps(to_plain(value), sort_keys=True, allow_nan=False), flush=True)


def to_plain(value: Any) -> Any:
    """``value`` as JSON can hold it; numbers that are not finite become null."""
    if is_dataclass(value) and not isinstance(value, type):
        return to_plain(asdict(value))
    if isinstance(value, Mapping):
        return {str(key): to_plain(inner) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return [to_plain(inner) for inner in value]
    if isinstance(value, float) and not abs(value) < float("inf"):
        return None
    return os.fspath(value) if isinstance(value, os.PathLike) else value


def short_id(peer: str) -> str:
    """A peer id short enough for a table: all Ed25519 ids begin alike, so its end."""
    return peer[-8:]


def format_bytes(count: float) -> str:
    """``12.3 MB``: powers of 1000."""
    for unit in ("B", "kB", "MB", "GB"):
        if count < 1000:
            return f"{count:.0f} {unit}" if unit == "B" else f"{count:.1f} {unit}"
        count /= 1000
    return f"{count:.1f} TB"


def format_number(value: float | None, form: str) -> str:
    """``value`` in ``form``, or a dash."""
    return "-" if value is None else format(value, form)
