"""Flags, file and environment -> one ``NodeConfig``."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from node.cli.shared import data_folder, parse_overrides, read_text
from node.config import NodeConfig, parse_node_config, read_toml


def read_node_config(
    config: Path | None, data: Path | None, flags: Mapping[str, Any], set_: list[str] | None
) -> NodeConfig:
    """Settings of a node: flags win over ``--set``, which wins over the file.

    Args:
        config: A TOML file, or None.
        data: ``--data`` or ARTEL_DATA.
        flags: Name of a setting -> its value; None and empty ones were not given.
        set_: ``section.key=value`` texts.

    Raises:
        ConfigError: lists every problem.
    """
    text = read_text(config, "the settings") if config else ""
    source = str(config) if config else "settings"
    overrides = parse_overrides(set_)
    # A JSON string, number or list of strings is the same TOML value.
    overrides |= {key: json.dumps(value) for key, value in flags.items() if value not in (None, [])}
    if data is not None or "data" not in read_toml(text, overrides, source):
        overrides["data"] = json.dumps(str(data_folder(data)))
    return parse_node_config(text, overrides, source)
