"""The state as canonical chunks under one Merkle root, and as a safetensors file.

Chunk 0 is a header (names, shapes, whether there is a momentum); the parameters' little-endian
bytes follow in chunks of CHUNK_BYTES, then the momentum's, each starting a chunk of its own, so
that hashing copies nothing. The round is left out: a round without a step keeps its root.
"""

import json
import math
import struct
from collections.abc import Iterator, Mapping, Sequence

import numpy as np
from safetensors import SafetensorError, deserialize

from node.errors import Malformed, TooLarge
from node.merkle import digest, root
from node.ports import FloatVector
from node.state.outer import OuterState
from node.types import Digest

CHUNK_BYTES = 256 * 1024
FILE_BYTES_MAX = 4 << 30
FILE_HEADER_BYTES_MAX = 1 << 20
NAME_BYTES_MAX = 512
DIMENSIONS_MAX = 8

Shapes = Sequence[tuple[str, tuple[int, ...]]]
"""Names and shapes in the order in which the flat vector holds them."""

_MAGIC = b"artel-state-1\n"
_SHAPES_KEY = "artel.shapes"
_PARAMS = "params."
_MOMENTUM = "momentum."


def state_root(state: OuterState, shapes: Shapes) -> Digest:
    """The Merkle root over all chunks.

    Raises:
        ValueError: ``shapes`` do not describe ``state``.
    """
    return root(chunk_hashes(state, shapes))


def chunk_hashes(state: OuterState, shapes: Shapes) -> tuple[Digest, ...]:
    """Hashes of all chunks, in order. Errors as in ``state_root``."""
    return tuple(chunk_hash(data) for data in _chunks(state, shapes))


def chunk_hash(data: bytes | memoryview) -> Digest:
    """Hash of one chunk: what a fetched chunk is compared with."""
    return digest("state chunk", data)


def chunk_count(shapes: Shapes, *, momentum: bool) -> int:
    """How many chunks a state of these shapes has."""
    return 1 + (1 + momentum) * -(-4 * _size(shapes) // CHUNK_BYTES)


def chunk(state: OuterState, shapes: Shapes, index: int) -> bytes:
    """One chunk, to be served to a peer.

    Raises:
        ValueError: ``shapes`` do not describe ``state``.
        IndexError: there is no such chunk.
    """
    if not 0 <= index < chunk_count(shapes, momentum=state.momentum is not None):
        raise IndexError(f"the state has no chunk {index}")
    if index == 0:
        _check(state, shapes)
        return _header(shapes, momentum=state.momentum is not None)
    each = chunk_count(shapes, momentum=False) - 1
    section = state.params if index <= each or state.momentum is None else state.momentum
    start = (index - 1) % each * CHUNK_BYTES
    return bytes(_bytes(section)[start : start + CHUNK_BYTES])


def assemble(
    chunks: Sequence[bytes], hashes: Sequence[Digest], root_: Digest, shapes: Shapes, *,
    momentum: bool,
) -> OuterState:  # fmt: skip
    """Build the state from chunks that peers sent.

    Args:
        chunks: All chunks in order, from anybody.
        hashes: Their hashes, from anybody.
        root_: The certified root.
        shapes: Of this job's model.
        momentum: Whether this job's outer optimizer has one.

    Raises:
        Malformed: the hashes are not those under the root, a chunk is not that of its hash, or
            the chunks are not those of a state of these shapes.
    """
    count = chunk_count(shapes, momentum=momentum)
    if len(chunks) != count or len(hashes) != count:
        raise Malformed(f"{len(chunks)} chunks and {len(hashes)} hashes of a state of {count}")
    if any(len(each) != len(root_) for each in hashes) or root(hashes) != root_:
        raise Malformed("the hashes of the state's chunks are not those under its root")
    for index, (data, expected) in enumerate(zip(chunks, hashes, strict=True)):
        if chunk_hash(data) != expected:
            raise Malformed(f"chunk {index} of the state is not that of its hash")
    if chunks[0] != _header(shapes, momentum=momentum):
        raise Malformed("the state belongs to a model of other shapes")
    each = (count - 1) // (1 + momentum)
    params = _joined(chunks[1 : 1 + each], _size(shapes))
    return OuterState(params, _joined(chunks[1 + each :], _size(shapes)) if momentum else None)


def to_safetensors(state: OuterState, shapes: Shapes, metadata: Mapping[str, str]) -> bytes:
    """A safetensors file with tensors ``params.NAME`` and ``momentum.NAME``; see its chunks."""
    return b"".join(safetensors_chunks(state, shapes, metadata))


def safetensors_chunks(
    state: OuterState, shapes: Shapes, metadata: Mapping[str, str]
) -> list[bytes | memoryview]:
    """The pieces of a safetensors file, views of the state among them: nothing large is copied.

    The same bytes on every machine: the format's own library orders metadata at random.

    Raises:
        ValueError: ``shapes`` do not describe ``state``, or ``metadata`` uses a reserved key.
    """
    _check(state, shapes)
    if _SHAPES_KEY in metadata:
        raise ValueError(f"metadata key {_SHAPES_KEY} is reserved")
    listed = json.dumps([[name, list(shape)] for name, shape in shapes])
    header: dict[str, object] = {"__metadata__": {**metadata, _SHAPES_KEY: listed}}
    sections = [(_PARAMS, state.params)]
    if state.momentum is not None:
        sections.append((_MOMENTUM, state.momentum))
    offset = 0
    for prefix, _ in sections:
        for name, shape in shapes:
            end = offset + 4 * math.prod(shape)
            header[prefix + name] = {
                "dtype": "F32", "shape": list(shape), "data_offsets": [offset, end]
            }  # fmt: skip
            offset = end
    text = json.dumps(header, sort_keys=True, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    return [struct.pack("<Q", len(text)), text, *(_bytes(x) for _, x in sections)]


def from_safetensors(
    data: bytes, *, bytes_max: int = FILE_BYTES_MAX
) -> tuple[OuterState, Shapes, dict[str, str]]:
    """Read what ``to_safetensors`` wrote; anybody may have written ``data``.

    Returns:
        The state, its shapes, and the metadata without reserved keys.

    Raises:
        TooLarge: the file or its header is above its limit.
        Malformed: not safetensors, or tensors that are not those of a finite float32 state.
    """
    if len(data) > bytes_max:
        raise TooLarge(f"a state file of {len(data)} bytes, at most {bytes_max} are read")
    metadata, shapes = _file_header(data)
    try:
        tensors = dict(deserialize(data))  # type: ignore[no-untyped-call]
    except (SafetensorError, ValueError, OverflowError) as error:
        raise Malformed(f"not a safetensors file: {error}") from error
    momentum = len(tensors) == 2 * len(shapes)
    if len(tensors) != len(shapes) * (1 + momentum):
        raise Malformed(f"{len(tensors)} tensors for a state of {len(shapes)} names")
    params = _section(tensors, _PARAMS, shapes)
    return (
        OuterState(params, _section(tensors, _MOMENTUM, shapes) if momentum else None),
        shapes,
        metadata,
    )


def _size(shapes: Shapes) -> int:
    return sum(math.prod(shape) for _, shape in shapes)


def _bytes(x: FloatVector) -> memoryview:
    return np.ascontiguousarray(x, dtype="<f4").data.cast("B")


def _check(state: OuterState, shapes: Shapes) -> None:
    if state.params.shape != (_size(shapes),) or _size(shapes) == 0:
        raise ValueError(f"{state.params.shape} parameters for shapes of {_size(shapes)}")
    if len({name for name, _ in shapes}) != len(shapes):
        raise ValueError("two tensors have one name")


def _header(shapes: Shapes, *, momentum: bool) -> bytes:
    out = [_MAGIC, struct.pack("<BQI", momentum, _size(shapes), len(shapes))]
    for name, shape in shapes:
        text = name.encode()
        if len(text) > NAME_BYTES_MAX or len(shape) > DIMENSIONS_MAX:
            raise ValueError(f"tensor {name!r}: the name or the list of dimensions is too long")
        out.append(struct.pack(f"<H{len(text)}sB", len(text), text, len(shape)))
        out.append(struct.pack(f"<{len(shape)}Q", *shape))
    return b"".join(out)


def _chunks(state: OuterState, shapes: Shapes) -> Iterator[bytes | memoryview]:
    _check(state, shapes)
    yield _header(shapes, momentum=state.momentum is not None)
    for section in (state.params, state.momentum):
        if section is not None:
            whole = _bytes(section)
            for start in range(0, len(whole), CHUNK_BYTES):
                yield whole[start : start + CHUNK_BYTES]


def _joined(chunks: Sequence[bytes], d: int) -> FloatVector:
    whole = bytearray().join(chunks)
    if len(whole) != 4 * d:
        raise Malformed(f"{len(whole)} bytes for {d} parameters")
    return np.frombuffer(whole, "<f4").astype(np.float32, copy=False)


def _file_header(data: bytes) -> tuple[dict[str, str], Shapes]:
    """Metadata and shapes of a file that is not checked yet."""
    length = int.from_bytes(data[:8], "little")
    if length > FILE_HEADER_BYTES_MAX:
        raise TooLarge(f"a state file with a header of {length} bytes")
    try:
        metadata = json.loads(data[8 : 8 + length])["__metadata__"]
        shapes = tuple(
            (name, tuple(shape)) for name, shape in json.loads(metadata.pop(_SHAPES_KEY))
        )
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise Malformed(f"a state file without a readable header: {error!r}") from error
    strings = all(isinstance(v, str) for v in metadata.values())
    named = all(
        isinstance(name, str)
        and len(shape) <= DIMENSIONS_MAX
        and all(type(n) is int and 0 <= n <= FILE_BYTES_MAX for n in shape)
        for name, shape in shapes
    )
    names = len({name for name, _ in shapes}) if named else -1
    if not strings or names != len(shapes) or not 0 < _size(shapes) <= len(data) // 4:
        raise Malformed("a state file whose names, shapes or metadata are not well formed")
    return metadata, shapes


def _section(
    tensors: Mapping[str, Mapping[str, object]], prefix: str, shapes: Shapes
) -> FloatVector:
    """One flat vector from the tensors under ``prefix``."""
    flat = np.empty(_size(shapes), np.float32)
    start = 0
    for name, shape in shapes:
        tensor = tensors.get(prefix + name)
        if tensor is None or tensor["dtype"] != "F32" or tuple(tensor["shape"]) != shape:  # type: ignore[arg-type]
            raise Malformed(f"tensor {prefix + name!r} is not float32 of shape {shape}")
        values = np.frombuffer(tensor["data"], "<f4")  # type: ignore[call-overload]
        flat[start : start + len(values)] = values
        start += len(values)
    if not np.isfinite(flat).all():
        raise Malformed("a state file with values that are not finite")
    return flat
