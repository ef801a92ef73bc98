"""The trace of a run: one line for each thing that happened, and the digest over all of them.

The same seed gives the same bytes, on every machine with the same lock file and under every
``PYTHONHASHSEED``; two traces are compared with ``diff``.
"""

from collections.abc import Mapping
from functools import lru_cache
from typing import TextIO

from blake3 import blake3
from google.protobuf.message import DecodeError

from node.jobs.courier import ROUND_METHOD
from node.types import PeerId
from node.wire import exchange_pb2 as pb
from simulator.hub import Watcher


@lru_cache(maxsize=4096)  # most messages leave for everybody, and each arrives too
def _gist(method: str, data: bytes) -> str:
    """Method, what a round message is, length and hash of the bytes."""
    kind = f" {_kind(data)}" if method == ROUND_METHOD else ""
    return f"{method}{kind} {len(data)} B {blake3(data).hexdigest(length=6)}"


def _kind(data: bytes) -> str:
    try:
        message = pb.RoundMessage.FromString(data)
    except DecodeError:
        return "garbage"
    body = message.WhichOneof("body") or "empty"
    kind = message.signed.kind if body == "signed" else body
    return f"r{message.round} {kind if kind.isidentifier() else 'garbage'}"


class Trace(Watcher):
    """Counts, hashes and, if asked, writes what happens.

    Args:
        names: peer id -> short name.
        out: gets the lines; None: only the digest is kept.
    """

    def __init__(self, names: Mapping[PeerId, str], out: TextIO | None = None) -> None:
        self._names = names
        self._out = out
        self._hash = blake3()
        self.events = 0
        """Lines so far."""

    @property
    def digest(self) -> str:
        """Hash of all lines, 32 hex digits."""
        return self._hash.hexdigest(length=16)

    def life(self, at_s: float, node: int, what: str) -> None:
        """A line."""
        self._line(at_s, f"node-{node} {what}")

    def sent(self, at_s: float, source: PeerId, target: PeerId, method: str, data: bytes) -> None:
        """A line with the hash of the bytes."""
        self._message(at_s, "->", source, target, method, data)

    def arrived(
        self, at_s: float, source: PeerId, target: PeerId, method: str, data: bytes
    ) -> None:
        """A line with the hash of the bytes."""
        self._message(at_s, "=>", source, target, method, data)

    def phase(self, at_s: float, node: int, phase: str, round_: int) -> None:
        """A line."""
        self._line(at_s, f"node-{node} round {round_} {phase}")

    def event(self, at_s: float, node: int, event: str, fields: Mapping[str, object]) -> None:
        """A line with all fields."""
        shown = " ".join(f"{key}={fields[key]}" for key in sorted(fields))
        for peer, name in self._names.items():
            shown = shown.replace(peer, name)
        self._line(at_s, f"node-{node} {event} {shown}")

    def fault(self, at_s: float, what: str) -> None:
        """A line."""
        self._line(at_s, f"fault {what}")

    def _message(
        self, at_s: float, arrow: str, source: PeerId, target: PeerId, method: str, data: bytes
    ) -> None:
        there, back = self._names.get(source, source), self._names.get(target, target)
        self._line(at_s, f"{there} {arrow} {back} {_gist(method, data)}")

    def _line(self, at_s: float, text: str) -> None:
        line = f"{at_s:.6f} {text}\n"
        self.events += 1
        self._hash.update(line.encode())
        if self._out is not None:
            self._out.write(line)
