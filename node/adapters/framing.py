"""The frames that calls are cut into on a kept stream: bytes to frames and back, no IO.

A frame is a header (payload bytes u32, kind u8, call id u32, big endian) and its payload. A message
(request, reply, chunk) starts with a frame that declares its whole size and goes on in ``MORE`` or
``REST`` frames, so that frames of different calls may interleave. Which side's call an id
belongs to follows from the kind: each side numbers the calls that it makes.
"""

import io
import struct
from dataclasses import dataclass
from enum import IntEnum, unique

from node.errors import Malformed, TooLarge

HEADER = struct.Struct("!IBI")
FRAME_BYTES_MAX = 256 * 1024
"""Largest payload of a frame that is accepted."""
FRAME_BYTES_SENT = 64 * 1024
"""Payload that we put into a frame while another message waits, so that it waits for no more."""
FRAME_BYTES_MIN = 4 * 1024
"""Least payload of a frame that does not end its message: tiny frames would cost us CPU."""
METHOD_BYTES_MAX = 64
ERROR_TEXT_BYTES_MAX = 512
MESSAGE_BYTES_MAX = 0xFFFF_FFFF
CALL_ID_MAX = 0xFFFF_FFFF
WINDOW_BYTES = 4 * 1024 * 1024
"""Cost of chunks that a stream's sender may have unread at its reader; one chunk may exceed it."""
CHUNK_COST_BYTES = 64
"""Added to each chunk's size in the window, so that empty chunks are not free."""

_OPENING = struct.Struct("!BII")
_U32 = struct.Struct("!I")


@unique
class Kind(IntEnum):
    """What a frame is. Up to BYE by the caller of the id, from REPLY on by the callee."""

    CALL = 1
    """Opening, then the request's first bytes."""
    STREAM = 2
    """As CALL; the answer is a stream of chunks."""
    MORE = 3
    """The request goes on."""
    CANCEL = 4
    """The caller no longer wants an answer."""
    CREDIT = 5
    """u32: cost of chunks that the caller has consumed."""
    READY = 6
    """Id 0, first frame of the side that dialled: the other may send from now on."""
    BYE = 7
    """Id 0: the sender has no open call here and makes no new one; after both, it closes."""
    REPLY = 16
    """u32 size, then the reply's first bytes."""
    CHUNK = 17
    """u32 size, then the chunk's first bytes."""
    REST = 18
    """The reply or chunk goes on."""
    END = 19
    """The stream of chunks is complete."""
    ERROR = 20
    """u8 code, then UTF-8 text: there will be no (further) answer."""


KINDS = frozenset(Kind)


@unique
class ErrorCode(IntEnum):
    """Why a call was not answered."""

    REFUSED = 1
    """The handler raised a PeerError, the method is unknown, or the request is too large."""
    REPLY_TOO_LARGE = 2
    """The reply or a chunk is above the caller's limit."""
    UNAVAILABLE = 3
    """Too many open calls, or the callee cannot answer now: retry later."""


@dataclass(frozen=True, slots=True)
class Frame:
    """One frame. The payload is a view that is valid as long as it is kept."""

    kind: Kind
    call: int
    payload: memoryview


@dataclass(frozen=True, slots=True)
class Opening:
    """The start of a call: what is called, how much follows, how much may come back."""

    method: str
    request_bytes: int
    answer_bytes_max: int
    """Largest reply, or largest chunk, that the caller accepts."""


class Deframer:
    """Cuts a byte stream into frames; holds at most one incomplete frame."""

    def __init__(self) -> None:
        self._head = b""
        """An incomplete header."""
        self._kind = Kind.MORE
        self._call = 0
        self._payload: io.BytesIO | None = None
        """Of the frame of that kind and call, if it is incomplete."""
        self._missing = 0

    def feed(self, data: bytes) -> list[Frame]:
        """Frames completed by ``data``, in order.

        Raises:
            TooLarge: A header declares a payload above FRAME_BYTES_MAX.
            Malformed: A header's kind is unknown.
        """
        view = memoryview(self._head + data if self._head else data)
        frames, at = [], 0
        if self._payload is not None:
            at = self._payload.write(view[: self._missing])
            self._missing -= at
            if self._missing:
                return []
            frames.append(Frame(self._kind, self._call, memoryview(self._payload.getvalue())))
            self._payload = None
        while len(view) - at >= HEADER.size:
            size, kind, call = HEADER.unpack_from(view, at)
            if size > FRAME_BYTES_MAX:
                raise TooLarge(f"frame of {size} bytes, at most {FRAME_BYTES_MAX} are allowed")
            if kind not in KINDS:
                raise Malformed(f"unknown frame kind {kind}")
            at += HEADER.size
            payload = view[at : at + size]
            at += len(payload)
            if len(payload) < size:
                self._kind, self._call, self._missing = Kind(kind), call, size - len(payload)
                # Nobody else holds these bytes: what is written fills them and getvalue gives them
                # out, both without a copy.
                self._payload = io.BytesIO(bytes(size))
                self._payload.write(payload)
                break
            frames.append(Frame(Kind(kind), call, payload))
        self._head = bytes(view[at:])
        return frames


class Assembler:
    """Joins the parts of one message of a declared size.

    It reserves nothing for what is declared: to clear 32 MiB costs us more than it costs a peer to
    declare them. The parts are kept as they came and copied once, when the last is here.
    """

    def __init__(self, total: int) -> None:
        self.total = total
        self._parts: list[bytes | memoryview] = []
        self._missing = total

    def add(self, part: memoryview) -> bytes | None:
        """The whole message once it is complete, else None.

        Raises:
            Malformed: The parts exceed the declared size, or a part that is not the last is
                smaller than FRAME_BYTES_MIN with its message's head.
        """
        left = self._missing - len(part)
        if left < 0:
            raise Malformed(f"{-left} bytes above the {self.total} of a message as declared")
        if left and len(part) < FRAME_BYTES_MIN - METHOD_BYTES_MAX - _OPENING.size:
            raise Malformed(f"a part of {len(part)} bytes that does not end its message")
        self._missing = left
        if left == 0:
            return b"".join((*self._parts, part))
        # A view keeps alive all that arrived with it, which may be many times its size.
        alone = 4 * len(part) >= 3 * memoryview(part.obj).nbytes
        self._parts.append(part if alone else bytes(part))
        return None


def encode_opening(opening: Opening) -> bytes:
    """The head of a CALL or STREAM frame.

    Raises:
        ValueError: The method's name is empty or too long, or a size does not fit 32 bits.
    """
    name = opening.method.encode()
    if not 0 < len(name) <= METHOD_BYTES_MAX:
        raise ValueError(f"a method name has 1 to {METHOD_BYTES_MAX} bytes: {opening.method!r}")
    if opening.request_bytes > MESSAGE_BYTES_MAX:
        raise ValueError(f"a request of {opening.request_bytes} bytes does not fit a message")
    limit = min(opening.answer_bytes_max, MESSAGE_BYTES_MAX)
    return _OPENING.pack(len(name), opening.request_bytes, limit) + name


def decode_opening(payload: memoryview) -> tuple[Opening, memoryview]:
    """The opening, and the request's first bytes.

    Raises:
        Malformed: The payload is too short, or the name is empty, too long or not UTF-8.
    """
    if len(payload) < _OPENING.size:
        raise Malformed(f"an opening of {len(payload)} bytes")
    name_bytes, request_bytes, answer_bytes_max = _OPENING.unpack_from(payload)
    end = _OPENING.size + name_bytes
    if not 0 < name_bytes <= METHOD_BYTES_MAX or end > len(payload):
        raise Malformed(f"a method name of {name_bytes} bytes")
    try:
        method = str(payload[_OPENING.size : end], "utf-8")
    except UnicodeDecodeError as error:
        raise Malformed("a method name that is not UTF-8") from error
    return Opening(method, request_bytes, answer_bytes_max), payload[end:]


def encode_u32(value: int) -> bytes:
    """The head of REPLY and CHUNK (a size), the payload of CREDIT (a cost)."""
    return _U32.pack(value)


def decode_u32(payload: memoryview) -> tuple[int, memoryview]:
    """The number, and what follows it.

    Raises:
        Malformed: Fewer than four bytes.
    """
    if len(payload) < _U32.size:
        raise Malformed(f"a number of {len(payload)} bytes")
    return _U32.unpack_from(payload)[0], payload[_U32.size :]


def encode_error(code: ErrorCode, text: str) -> bytes:
    """The payload of ERROR; a long text is cut."""
    return bytes([code]) + text.encode()[:ERROR_TEXT_BYTES_MAX]


def decode_error(payload: memoryview) -> tuple[ErrorCode, str]:
    """Code and text, which a peer wrote.

    Raises:
        Malformed: The code is unknown or the text too long.
    """
    if not 1 <= len(payload) <= 1 + ERROR_TEXT_BYTES_MAX or payload[0] not in set(ErrorCode):
        raise Malformed("an error frame without a known code and a short text")
    return ErrorCode(payload[0]), str(payload[1:], "utf-8", "replace")


def chunk_cost(chunk_bytes: int) -> int:
    """What a chunk takes from a stream's window."""
    return chunk_bytes + CHUNK_COST_BYTES
