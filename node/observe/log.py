"""Logs: one event a line on a stream, as key=value text or as JSON."""

import logging
import re
from collections.abc import Mapping, MutableMapping
from typing import Any, Literal, TextIO

import structlog

Format = Literal["text", "json"]
Level = Literal["debug", "info", "warning", "error"]

_BARE = re.compile(r"[\w.:/@+-]+\Z", re.ASCII)
"""Text that stands in a line as it is; any other is quoted: a peer may have written it."""


def configure_logging(stream: TextIO, *, level: Level, form: Format = "text") -> None:
    """Send the process's log events to ``stream``. Only an entry point calls this, once.

    Args:
        stream: Usually stderr.
        level: Events below it cost one comparison.
        form: ``text``: time, level, event, then key=value, for people; ``json``: one object a line,
            with all there is.
    """
    last: structlog.typing.Processor
    last = structlog.processors.JSONRenderer(sort_keys=True) if form == "json" else render_text
    number = logging.getLevelNamesMapping()[level.upper()]
    structlog.configure(
        processors=[
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            structlog.processors.format_exc_info,
            last,
        ],
        wrapper_class=structlog.make_filtering_bound_logger(number),
        logger_factory=structlog.PrintLoggerFactory(stream),
        cache_logger_on_first_use=False,
    )


def render_text(logger: object, method: str, event: MutableMapping[str, Any]) -> str:
    """One event as a line: time, level, event, then key=value.

    Example:
        >>> render_text(None, "info", {"event": "done", "level": "info", "s": {"a": 0.25, "b": 1}})
        'info    done s=a:0.25,b:1'
    """
    first = [event.pop("timestamp", ""), f"{event.pop('level', ''):7}", event.pop("event", "")]
    rest = [f"{key}={_shown(value)}" for key, value in event.items()]
    return " ".join([part for part in first if part] + rest)


def _shown(value: object) -> str:
    if isinstance(value, Mapping):
        return ",".join(f"{_shown(key)}:{_shown(inner)}" for key, inner in value.items())
    text = f"{value:.4g}" if isinstance(value, float) else str(value)
    return text if _BARE.match(text) else repr(text)
