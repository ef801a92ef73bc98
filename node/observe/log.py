"""Logs: one event a line on a stream, as key=value text or as JSON."""

import logging
from typing import Literal, TextIO

import structlog

Format = Literal["text", "json"]
Level = Literal["debug", "info", "warning", "error"]


def configure_logging(stream: TextIO, *, level: Level, form: Format = "text") -> None:
    """Send the process's log events to ``stream``. Only an entry point calls this, once.

    Args:
        stream: Usually stderr.
        level: Events below it cost one comparison.
        form: ``text``: time, level, event, then key=value; ``json``: one object a line.
    """
    last: structlog.typing.Processor
    if form == "json":
        last = structlog.processors.JSONRenderer(sort_keys=True)
    else:
        first = ["timestamp", "level", "event"]
        last = structlog.processors.KeyValueRenderer(key_order=first, drop_missing=True)
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
