"""Decides a local swarm before anything starts: manifest, folders, who attacks."""

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from node.cli.attacks import check_attack
from node.cli.shared import parse_overrides, read_text
from node.errors import ConfigError
from node.jobs.manifest import JobManifest, parse_manifest


@dataclass(frozen=True)
class Plan:
    """A local swarm."""

    manifest: JobManifest
    """Without founders: they are the nodes' peer ids, which are yet to be made."""
    folder: Path
    nodes: int
    byzantine: int
    """The last so many nodes attack."""
    attack: str
    """``NAME[:SCALE]``."""

    @property
    def honest(self) -> int:
        """Nodes that follow the protocol."""
        return self.nodes - self.byzantine

    def name(self, index: int) -> str:
        """Name of node ``index``, and of its folder."""
        return f"node-{index:02d}"


def make_plan(
    job: Path,
    nodes: int,
    byzantine: int,
    attack: str,
    shortcuts: Mapping[str, Any],
    set_: list[str] | None,
    folder: Path | None,
) -> Plan:
    """Check what the operator asked for.

    Args:
        job: The manifest's file.
        nodes: How many, 1 to 64.
        byzantine: How many of them attack, fewer than ``nodes``.
        attack: ``NAME[:SCALE]``.
        shortcuts: Manifest key -> value or None; each wins over ``set_``.
        set_: ``section.key=value`` texts.
        folder: Where the run goes; None: ``out/JOB NAME``.

    Raises:
        ConfigError: it cannot work.
    """
    if byzantine >= nodes:
        raise ConfigError(f"--byzantine {byzantine} leaves no honest node of {nodes}")
    if byzantine:
        check_attack(attack)
    overrides = parse_overrides(set_)
    overrides |= {key: json.dumps(value) for key, value in shortcuts.items() if value is not None}
    manifest = parse_manifest(read_text(job, "the job"), overrides, str(job))
    if manifest.electorate.founders:
        raise ConfigError(f"{job}: electorate.founders must be empty: `artel up` names its nodes")
    chosen = folder or Path("out") / manifest.job.name
    return Plan(manifest, chosen.absolute(), nodes, byzantine, attack)


_BARE_KEY = re.compile(r"[A-Za-z0-9_-]+\Z")


def to_toml(tables: Mapping[str, Any]) -> str:
    """Tables of JSON values as TOML text.

    Example:
        >>> print(to_toml({"job": {"name": "a", "seed": 1, "of": {"x y": [0.5, True]}}}), end="")
        [job]
        name = "a"
        seed = 1
        of = {"x y" = [0.5, true]}
    """
    lines = []
    for name, table in tables.items():
        lines.append(f"[{_key(name)}]")
        lines += [f"{_key(key)} = {_value(value)}" for key, value in table.items()]
    return "\n".join(lines) + "\n"


def _key(text: str) -> str:
    return text if _BARE_KEY.match(text) else _value(text)


def _value(value: Any) -> str:
    if isinstance(value, Mapping):
        inner = ", ".join(f"{_key(key)} = {_value(item)}" for key, item in value.items())
        return "{" + inner + "}"
    if isinstance(value, list | tuple):
        return "[" + ", ".join(map(_value, value)) + "]"
    if isinstance(value, str):
        # JSON's escapes are TOML's, but for DEL, which JSON leaves bare.
        return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")
    return json.dumps(value)
