"""What single values of a manifest may be. Each check returns its value or raises ValueError."""

import math
import re
from typing import Annotated, Any

from pydantic import AfterValidator

from node.errors import Malformed
from node.identity import public_key_of
from node.wire.limits import RULE_PATTERN

_DEPTH_MAX = 8
_KEY_CHARS_MAX = 64
INT_MAX = 2**63 - 1
"""Largest integer."""


def plain(value: Any, depth: int = 0) -> Any:
    """Return ``value`` if JSON says it exactly: bool, int, float, str, lists and tables of them."""
    if depth > _DEPTH_MAX:
        raise ValueError(f"tables may be nested {_DEPTH_MAX} deep")
    if isinstance(value, dict):
        for key, inner in value.items():
            if not 0 < len(key) <= _KEY_CHARS_MAX or not key.isascii() or not key.isprintable():
                raise ValueError(f"a key has 1 to {_KEY_CHARS_MAX} printable ASCII characters")
            plain(inner, depth + 1)
    elif isinstance(value, list):
        for inner in value:
            plain(inner, depth + 1)
    elif isinstance(value, str):
        value.encode()  # UnicodeEncodeError is a ValueError: no lone surrogates.
    elif isinstance(value, float):
        if not math.isfinite(value):
            raise ValueError("a number must be finite")
    elif isinstance(value, int):
        if abs(value) > INT_MAX:
            raise ValueError("an integer must fit in 64 bits")
    else:
        raise ValueError(f"a {type(value).__name__} cannot be a workload setting")
    return value


def peer(text: str) -> str:
    """Return ``text`` if it is a peer id."""
    try:
        public_key_of(text)
    except Malformed as error:
        raise ValueError(f"{text[:80]!r} is not a peer id (12D3KooW...)") from error
    return text


def _rule(text: str) -> str:
    """The one spelling of a rule; which names there are is the registry's business."""
    spelled = " | ".join(name.strip() for name in text.split("|"))
    if not re.match(RULE_PATTERN, spelled):
        raise ValueError(
            f"{text[:80]!r} is not a rule: write a name such as caf, or up to three steps before "
            "it, with | between them, as in nnm | caf"
        )
    return spelled


RuleText = Annotated[str, AfterValidator(_rule)]
