"""What waits to be sent on one stream, and whose frame goes next. No IO.

A message that fits a short frame goes before larger ones, which take turns frame by frame; so a
vote never waits for a whole part. A message that waits alone goes in longer frames, which cost us
less. After SMALL_IN_A_ROW small messages one frame of a large one is sent.
"""

from collections import deque
from collections.abc import Callable

from node.adapters.framing import FRAME_BYTES_MAX, FRAME_BYTES_SENT, HEADER, Kind

SMALL_IN_A_ROW = 16
_GOES_ON_AS = {
    Kind.CALL: Kind.MORE,
    Kind.STREAM: Kind.MORE,
    Kind.REPLY: Kind.REST,
    Kind.CHUNK: Kind.REST,
}


class Outgoing:
    """One message on its way out.

    Args:
        head: Start of the first frame's payload, at most a few hundred bytes.
        body: The rest; it must not change until the message is taken or dropped.
    """

    __slots__ = ("_at", "_body", "call", "dropped", "head", "kind", "on_taken")

    def __init__(self, kind: Kind, call: int, head: bytes, body: bytes) -> None:
        self.kind = kind
        self.call = call
        self.head = head
        self.on_taken: Callable[[], object] | None = None
        """Called with the last frame; never after ``drop``."""
        self.dropped = False
        self._body = memoryview(body)
        self._at = -1

    @property
    def begun(self) -> bool:
        """Was a frame of it taken?"""
        return self._at >= 0

    @property
    def taken(self) -> bool:
        """Were all its frames taken?"""
        return self._at == len(self._body)

    @property
    def waiting_bytes(self) -> int:
        """Bytes of head and body that are not yet taken."""
        if self.dropped:
            return 0
        return len(self._body) - self._at if self.begun else len(self.head) + len(self._body)

    def drop(self) -> None:
        """Take no further frame."""
        self.dropped = True

    def frame(self, payload_bytes_max: int) -> list[bytes | memoryview]:
        """The buffers of its next frame, header first."""
        head, kind = (b"", _GOES_ON_AS[self.kind]) if self.begun else (self.head, self.kind)
        start = max(0, self._at)
        part = self._body[start : start + payload_bytes_max - len(head)]
        self._at = start + len(part)
        header = HEADER.pack(len(head) + len(part), kind, self.call) + head
        if self.taken and self.on_taken is not None:
            self.on_taken()
        return [header, part] if part else [header]


class Outbox:
    """The queue of one stream. It keeps no order within a call: send its messages one by one."""

    def __init__(self) -> None:
        self._small: deque[Outgoing] = deque()
        self._large: deque[Outgoing] = deque()
        self._small_in_a_row = 0

    @property
    def waiting_bytes(self) -> int:
        """Bytes that are queued and not yet taken. Cost: one step a queued message."""
        return sum(m.waiting_bytes for queue in (self._small, self._large) for m in queue)

    def put(self, message: Outgoing) -> None:
        """Queue a message."""
        fits = message.waiting_bytes <= FRAME_BYTES_SENT
        (self._small if fits else self._large).append(message)

    def take(self) -> list[bytes | memoryview] | None:
        """The buffers of the next frame, header first; None if nothing waits."""
        message = self._next()
        if message is None:
            return None
        alone = not (self._small or self._large)
        frame = message.frame(FRAME_BYTES_MAX if alone else FRAME_BYTES_SENT)
        if not message.taken:
            self._large.append(message)
        return frame

    def _next(self) -> Outgoing | None:
        while self._small or self._large:
            if self._small and (self._small_in_a_row < SMALL_IN_A_ROW or not self._large):
                self._small_in_a_row += 1
                message = self._small.popleft()
            else:
                self._small_in_a_row = 0
                message = self._large.popleft()
            if not message.dropped:
                return message
        return None
