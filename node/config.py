"""The node's settings: frozen models parsed from TOML text and ``key=value`` overrides.

Nothing here reads a file or the environment: ``node.cli`` does, and gives the text. Every problem
of a file is told at once, each with its key, its value and what is allowed.
"""

import ipaddress
import math
import re
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError

from node.errors import ConfigError, Malformed
from node.identity import public_key_of
from node.ranges import RANGE_PEERS
from node.types import DIGEST_BYTES, ELECTORS_MAX, PeerId

ADDRESS_CHARS_MAX = 256
"""Longest multiaddr that is read, in characters."""
CONFIG_CHARS_MAX = 1024 * 1024
"""Longest TOML text that is parsed, in characters."""

_HOST = re.compile(r"(?=.{1,253}\Z)[A-Za-z0-9_]([A-Za-z0-9_.-]*[A-Za-z0-9_])?\.?\Z")
_BASE58 = re.compile(r"[1-9A-HJ-NP-Za-km-z]{1,64}\Z")
_SUBJECT = re.compile(r"^[A-Z][a-z]+ (?=should )")
_BARE = frozenset({"quic", "quic-v1", "ws", "wss", "tls", "noise", "p2p-circuit"})
_FIRST = frozenset({"ip4", "ip6", "dns", "dns4", "dns6", "dnsaddr", "memory", "p2p"})


def check_multiaddr(text: str) -> str:
    """Return ``text`` if it is a multiaddr of the protocols that a node can dial.

    Args:
        text: Peer or operator input, for example ``/ip4/203.0.113.7/tcp/31330``.

    Raises:
        ValueError: it is longer than ADDRESS_CHARS_MAX or not such an address; the text says why.

    Source:
        multiformats/multiaddr, protocols.csv; the subset that go-libp2p dials.
    """
    if len(text) > ADDRESS_CHARS_MAX:
        raise ValueError(f"an address has at most {ADDRESS_CHARS_MAX} characters")
    segments = text.split("/")
    if len(segments) < 3 or segments[0] or segments[1] not in _FIRST:
        raise ValueError(f"{text!r} is not a multiaddr such as /ip4/203.0.113.7/tcp/31330")
    rest = iter(segments[1:])
    for protocol in rest:
        if protocol in _BARE:
            continue
        value = next(rest, "")
        if not _is_value(protocol, value):
            raise ValueError(f"{text!r} is not a multiaddr: /{protocol}/{value} is not known")
    return text


def _is_value(protocol: str, value: str) -> bool:
    if protocol == "ip4" or protocol == "ip6":
        version = ipaddress.IPv4Address if protocol == "ip4" else ipaddress.IPv6Address
        try:
            version(value)
        except ValueError:
            return False
        return "%" not in value
    if protocol in ("tcp", "udp"):
        return value.isascii() and value.isdigit() and len(value) <= 5 and int(value) < 65536
    if protocol == "memory":
        return value.isascii() and value.isdigit() and len(value) <= 20
    if protocol == "p2p":
        return _BASE58.match(value) is not None
    return protocol in _FIRST and _HOST.match(value) is not None


def split_peer_address(text: str) -> tuple[PeerId, str]:
    """Split ``ADDRESS/p2p/PEER`` into the peer id and the address without it.

    Raises:
        ValueError: it is not a multiaddr that ends with the id of an Ed25519 key.

    Example:
        >>> peer = "12D3KooWDpJ7As7BWAwRMfu1VU2WCqNjvq387JEYKDBj4kx6nXTN"
        >>> split_peer_address(f"/ip4/127.0.0.1/tcp/9/p2p/{peer}")[1]
        '/ip4/127.0.0.1/tcp/9'
    """
    address, _, peer = check_multiaddr(text).rpartition("/p2p/")
    try:
        public_key_of(peer)
    except Malformed as error:
        raise ValueError(f"{text!r} does not end with /p2p/ and a peer id (12D3KooW...)") from error
    return PeerId(peer), check_multiaddr(address)


def _listen(text: str) -> str:
    if "/p2p/" in check_multiaddr(text):
        raise ValueError(f"{text!r} must not hold /p2p/: it is the node's own address")
    return text


def _join(text: str) -> str:
    split_peer_address(text)
    return text


def _network(text: str) -> str:
    try:
        return str(ipaddress.ip_network(text))
    except ValueError as error:
        raise ValueError(f"{text!r} is not a network such as 203.0.113.0/24: {error}") from error


def _attack(text: str) -> str:
    _, colon, scale = text.partition(":")
    if colon and not math.isfinite(float(scale)):
        raise ValueError("the scale must be finite")
    return text


ListenAddress = Annotated[str, AfterValidator(_listen)]
JoinAddress = Annotated[str, AfterValidator(_join)]
T = TypeVar("T")
Many = Annotated[tuple[T, ...], Field(strict=False)]
"""A TOML list, kept as a tuple."""

SWARM_PATTERN = r"^[a-z0-9-]{1,32}\z"


class Settings(BaseModel):
    """Base of all models that come from TOML: frozen, strict, unknown keys and nan refused."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, allow_inf_nan=False)


class Limits(Settings):
    """Caps on what this node spends, whatever others ask."""

    peers_max: int = Field(default=256, ge=ELECTORS_MAX, le=4096)
    """Peers kept in the table; must hold an electorate."""
    range_peers: int = Field(default=RANGE_PEERS, ge=1, le=4096)
    """Peers of one /24 (IPv6: /48) that may have streams to us, and places in the table; of a /16
    (/32) four times as many. Electors, bootstrap peers and private addresses have no limit."""
    trusted_ranges: Many[Annotated[str, AfterValidator(_network)]] = Field(
        default=(), max_length=64
    )
    """Networks without that limit, such as ``["203.0.113.0/24"]``: a site with many nodes."""


class NodeConfig(Settings):
    """Everything an operator may set on a node."""

    data: Annotated[Path, Field(strict=False)] = Path("artel-data")
    """Folder of the key, the slot log, the blobs and the artifacts."""
    artifacts: Annotated[Path, Field(strict=False)] | None = None
    """Folder for what jobs draw and write, in place of ``artifacts`` in the data folder."""
    listen: Many[ListenAddress] = Field(
        default=("/ip4/127.0.0.1/tcp/0",), min_length=1, max_length=16
    )
    """Where to listen. Loopback by default, port 0 chooses a free one. To be reached by others:
    ``["/ip4/0.0.0.0/tcp/31330", "/ip4/0.0.0.0/udp/31330/quic-v1"]``."""
    announce: Many[ListenAddress] = Field(default=(), max_length=16)
    """Told to peers in place of the listened addresses, where a NAT or a proxy forwards them."""
    join: Many[JoinAddress] = Field(default=(), max_length=64)
    """Bootstrap peers, each a multiaddr that ends with /p2p/ID. Empty: wait to be joined."""
    join_file: Annotated[Path, Field(strict=False)] | None = None
    """A file with more bootstrap peers, a line each, as ``address_file`` of another node makes it;
    waited for."""
    address_file: Annotated[Path, Field(strict=False)] | None = None
    """Where this node writes its own addresses once it listens, for ``join_file`` of others."""
    relay: bool = False
    """Reach and be reached through relays where no direct connection works."""
    swarm: str = Field(default="main", pattern=SWARM_PATTERN)
    """Nodes see only nodes of the same swarm name."""
    jobs: Many[Annotated[str, Field(min_length=1, max_length=4096)]] = Field(
        default=(), max_length=64
    )
    """Jobs to serve: manifest files, or job ids of 64 hex digits that are looked up."""
    serve: Literal["listed", "any"] = "listed"
    """``any``: also serve every job that the swarm publishes."""
    device: Literal["auto", "cpu", "cuda"] = "auto"
    """Where workers train; resolved in the worker's process."""
    threads: int = Field(default=1, ge=1, le=1024)
    """Threads of each worker's arithmetic."""
    log_level: Literal["debug", "info", "warning", "error"] = "info"
    failpoint: Annotated[str, Field(pattern=r"^[a-z_]{1,32}@[1-9][0-9]{0,7}\z")] | None = None
    """``PHASE@ROUND``: the process kills itself there. For crash tests."""
    attack: (
        Annotated[
            str,
            Field(pattern=r"^[a-z][a-z0-9_]{0,31}(:-?[0-9]+(\.[0-9]+)?(e[+-]?[0-9]+)?)?\z"),
            AfterValidator(_attack),
        ]
        | None
    ) = None
    """``NAME`` or ``NAME:SCALE``: misbehave so. For trials of the defences."""
    limits: Limits = Limits()


def is_job_id(text: str) -> bool:
    """Whether ``text`` is a job id rather than the name of a job file."""
    return len(text) == 2 * DIGEST_BYTES and all(c in "0123456789abcdef" for c in text)


def parse_node_config(
    toml_text: str, overrides: Mapping[str, str], source: str = "config"
) -> NodeConfig:
    """Parse a node's settings.

    Args:
        toml_text: The file's text; empty for defaults.
        overrides: ``limits.peers_max`` -> text, parsed as a TOML value, else taken as a string.
        source: Names the file in errors.

    Raises:
        ConfigError: lists every problem.
    """
    return build(NodeConfig, read_toml(toml_text, overrides, source), source)


def read_toml(toml_text: str, overrides: Mapping[str, str], source: str) -> dict[str, Any]:
    """The tables of ``toml_text`` with ``overrides`` set in them.

    Raises:
        ConfigError: the text is not TOML, or an override names a key inside a value.
    """
    if len(toml_text) > CONFIG_CHARS_MAX:
        raise ConfigError(f"{source} is longer than {CONFIG_CHARS_MAX} characters")
    try:
        tables = tomllib.loads(toml_text)
    except (tomllib.TOMLDecodeError, RecursionError) as error:
        raise ConfigError(f"{source} is not TOML: {error}") from error
    for key in sorted(overrides):
        *path, last = key.split(".")
        table: Any = tables
        for name in path:
            table = table.setdefault(name, {})
            if not isinstance(table, dict):
                raise ConfigError(f"{source}: {key} cannot be set, since {name} is not a table")
        if not all([*path, last]):
            raise ConfigError(f"{source}: {key!r} is not a key of the form section.key")
        table[last] = _override(overrides[key])
    return tables


def _override(text: str) -> Any:
    try:
        parsed = tomllib.loads(f"value = {text}")
    except (tomllib.TOMLDecodeError, RecursionError):
        return text
    return parsed["value"] if parsed.keys() == {"value"} else text


M = TypeVar("M", bound=BaseModel)


def build(model: type[M], tables: Mapping[str, Any], source: str) -> M:
    """Make ``model`` of parsed tables.

    Raises:
        ConfigError: one sentence per problem: key, value, and what is allowed.
    """
    try:
        return model.model_validate(tables)
    except ValidationError as error:
        raise ConfigError("; ".join(_problems(model, error, source))) from error


def _problems(model: type[BaseModel], error: ValidationError, source: str) -> list[str]:
    problems = []
    items = error.errors(include_url=False, include_context=False)
    for item in items:
        inner = [other for other in items if other["loc"] and other["loc"][:-1] == item["loc"]]
        if item["type"] == "too_short" and inner:
            continue  # A list is "too short" only because its elements were refused.
        *path, last = item["loc"] or ("",)
        key = ".".join(map(str, [*path, last]))
        text = _SUBJECT.sub("it ", item["msg"]).removeprefix("Value error, ")
        if item["type"] == "extra_forbidden":
            known = ", ".join(_known_keys(model, path))
            problems.append(f"{source}: {key} is not a setting; known here: {known}")
        elif item["type"] == "missing":
            problems.append(f"{source}: {key} is missing")
        elif not key or isinstance(item["input"], Mapping):
            problems.append(f"{source}: {key}{key and ' is refused: '}{text}")
        else:
            value = repr(item["input"])
            shown = value if len(value) <= 80 else value[:77] + "..."
            problems.append(f"{source}: {key} = {shown} is refused: {text}")
    return problems


def _known_keys(model: type[BaseModel], path: list[int | str]) -> list[str]:
    for name in path:
        field = model.model_fields.get(str(name))
        if field is None or not isinstance(field.annotation, type):
            return []
        if not issubclass(field.annotation, BaseModel):
            return []
        model = field.annotation
    return sorted(model.model_fields)
