"""What crosses the socket between a node and a worker: JSON, and bytes that JSON would bloat.

A frame is a u32 length (big endian), that many bytes of JSON, and then the blobs whose lengths its
key ``blobs`` lists. Parameters do not go this way: they lie in memory that both map.
"""

import json
from collections.abc import Mapping, Sequence
from itertools import accumulate, pairwise
from typing import Any

import numpy as np

from workloads.api import Entries, MemoryForm

FRAME_BYTES_MAX = 1 << 20
"""Largest JSON: a config, a list of shapes, a traceback's last line."""
BLOBS_BYTES_MAX = 256 << 20
"""Largest sum of one frame's blobs."""
HEAD_BYTES = 4
_KEYS: Mapping[str, np.dtype[Any]] = {"int8": np.dtype("i1"), "fp16": np.dtype("<f2")}

Message = dict[str, Any]


def encode_frame(message: Mapping[str, Any], blobs: Sequence[bytes] = ()) -> bytes:
    """One message as it crosses the socket.

    Raises:
        ValueError: it is above FRAME_BYTES_MAX, or the blobs above BLOBS_BYTES_MAX.
    """
    sizes = [len(blob) for blob in blobs]
    body = json.dumps({**message, "blobs": sizes} if blobs else message).encode()
    if len(body) > FRAME_BYTES_MAX or sum(sizes) > BLOBS_BYTES_MAX:
        raise ValueError(f"a message of {len(body)} + {sum(sizes)} bytes is above the limit")
    return b"".join((len(body).to_bytes(HEAD_BYTES, "big"), body, *blobs))


def head_size(head: bytes) -> int:
    """Length of the JSON that follows the first HEAD_BYTES of a frame.

    Raises:
        ValueError: above FRAME_BYTES_MAX.
    """
    size = int.from_bytes(head, "big")
    if size > FRAME_BYTES_MAX:
        raise ValueError(f"a message of {size} bytes")
    return size


def blob_sizes(message: Message) -> list[int]:
    """Lengths of the blobs that follow a message.

    Raises:
        ValueError: more than BLOBS_BYTES_MAX in sum.
    """
    sizes = [int(size) for size in message.get("blobs", ())]
    if min(sizes, default=0) < 0 or sum(sizes) > BLOBS_BYTES_MAX:
        raise ValueError(f"blobs of {sum(sizes)} bytes")
    return sizes


def split_blobs(data: bytes, sizes: Sequence[int]) -> list[bytes]:
    """The blobs that lie one after the other in ``data``."""
    ends = [0, *accumulate(sizes)]
    return [data[start:end] for start, end in pairwise(ends)]


def entries_message(entries: Entries) -> tuple[Message, bytes]:
    """Entries as a JSON value and a blob."""
    columns = (entries.values, entries.keys, entries.payload)
    blob = b"".join(np.ascontiguousarray(column).tobytes() for column in columns)
    return {"count": len(entries), "scale": float(entries.key_scale)}, blob


def entries_from(message: Message, blob: bytes, form: MemoryForm) -> Entries:
    """Inverse of ``entries_message``; the arrays are read-only views of ``blob``.

    Raises:
        ValueError: the blob has another length than such entries.
    """
    n, d, kind = int(message["count"]), form.key_dims, _KEYS[form.key_type]
    values_end = 4 * n
    keys_end = values_end + n * d * kind.itemsize
    if len(blob) != keys_end + n * form.payload_bytes:
        raise ValueError(f"{n} entries in {len(blob)} bytes")
    return Entries(
        np.frombuffer(blob, kind, n * d, values_end).reshape(n, d),
        np.frombuffer(blob, "<f4", n),
        np.frombuffer(blob[keys_end:], np.uint8).reshape(n, form.payload_bytes),
        float(message["scale"]),
    )
