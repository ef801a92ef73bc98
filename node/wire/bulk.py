"""Protobuf bytes of messages with large ``bytes`` fields: the bytes that protobuf would write.

Protobuf's classes copy such a field into its message, that into its parent, and so on to the
output. Here small messages are serialised as usual, large fields stay as they are, and one join at
the end copies them. Source: https://protobuf.dev/programming-guides/encoding/
"""

from collections.abc import Iterable, Sequence
from itertools import chain

from node.wire import exchange_pb2 as pb

_LENGTH_DELIMITED = 2


def nested(number: int, pieces: Sequence[bytes]) -> list[bytes]:
    """The pieces of field ``number``, a message or bytes whose content is ``pieces`` in order."""
    size = sum(map(len, pieces))
    return [_varint(number << 3 | _LENGTH_DELIMITED) + _varint(size), *pieces]


def part_fields(number: int, parts: Iterable[tuple[int, bytes]]) -> list[bytes]:
    """The pieces of the repeated PartBytes field ``number``; ``parts`` are (index, bytes)."""
    return list(chain.from_iterable(nested(number, _part(p, data)) for p, data in parts))


def _part(part: int, data: bytes) -> list[bytes]:
    head = pb.PartBytes(part=part).SerializeToString()
    # An empty field is left out, as protobuf does.
    return [head, *nested(pb.PartBytes.DATA_FIELD_NUMBER, [data])] if data else [head]


def _varint(value: int) -> bytes:
    out = bytearray()
    while value > 0x7F:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    out.append(value)
    return bytes(out)
