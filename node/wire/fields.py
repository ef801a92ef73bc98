"""Counts the fields of encoded messages before they are parsed.

Two bytes on the wire can be an empty message that takes a hundred in memory, so a limit on bytes
alone lets 256 MiB grow beyond 10 GiB. This walk allocates nothing and stops at the limit.
"""

from typing import Any

from google.protobuf.message import Message

from node.errors import Malformed, TooLarge

UNCOUNTED_BYTES = 64 * 1024
"""What is no longer than this is parsed at once: it grows to a few MiB at most."""
FIELDS_MAX = 32 * 1024
"""Fields of one message with all that it nests; an honest one has less than half of it."""

_VARINT, _FIXED64, _BYTES, _FIXED32 = 0, 1, 2, 5


def check_fields(message: Message, data: bytes, most: int) -> None:
    """Refuse ``data`` (peer input) if it holds more than ``most`` fields of such a ``message``.

    Raises:
        TooLarge: more fields.
        Malformed: not the encoding of any message.
    """
    if len(data) > UNCOUNTED_BYTES:
        _walk(message.DESCRIPTOR, data, 0, len(data), most)


def _walk(descriptor: Any, data: bytes, at: int, end: int, left: int) -> int:
    """Fields that are left of the limit after those in ``data[at:end]``."""
    while at < end:
        left -= 1
        if left < 0:
            raise TooLarge("a message with too many fields")
        key, at = _varint(data, at, end)
        wire = key & 7
        if wire == _BYTES:
            size, at = _varint(data, at, end)
            if size > end - at:
                raise Malformed("a field beyond the end of its message")
            field = descriptor.fields_by_number.get(key >> 3)
            if field is not None and field.message_type is not None:
                left = _walk(field.message_type, data, at, at + size, left)
            at += size
        elif wire == _VARINT:
            _, at = _varint(data, at, end)
        elif wire in (_FIXED64, _FIXED32):
            at += 8 if wire == _FIXED64 else 4
        else:
            raise Malformed("a field of unknown form")
    return left


def _varint(data: bytes, at: int, end: int) -> tuple[int, int]:
    value = 0
    for shift in range(0, 70, 7):
        if at >= end:
            break
        byte = data[at]
        at += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, at
    raise Malformed("a number without an end")
