"""What happens in a world, told to whoever watches: traces, invariants, reports, faults.

Watchers stand outside the node. They are told in a fixed order, inline, and never change what they
see; a watcher that raises ends the run.
"""

from collections.abc import Mapping, Sequence

from node.types import PeerId


class Watcher:
    """Ignores everything; override what matters. Times are virtual seconds since the start."""

    def life(self, at_s: float, node: int, what: str) -> None:
        """A node's life: ``start``, ``crash`` or ``stop``."""

    def sent(self, at_s: float, source: PeerId, target: PeerId, method: str, data: bytes) -> None:
        """A request leaves a host; the network may still lose it."""

    def arrived(
        self, at_s: float, source: PeerId, target: PeerId, method: str, data: bytes
    ) -> None:
        """A request is handed to the target's handler."""

    def phase(self, at_s: float, node: int, phase: str, round_: int) -> None:
        """A node reaches a step of a round; it stands still until this returns."""

    def event(self, at_s: float, node: int, event: str, fields: Mapping[str, object]) -> None:
        """A node logs an event (``round_certified``, ``caught_up``, ``peer_error``, ...)."""

    def fault(self, at_s: float, what: str) -> None:
        """A fault begins or ends, in words."""


class Hub(Watcher):
    """Tells every watcher, in order."""

    def __init__(self, watchers: Sequence[Watcher] = ()) -> None:
        self.watchers = list(watchers)

    def life(self, at_s: float, node: int, what: str) -> None:
        """Tell all."""
        for watcher in self.watchers:
            watcher.life(at_s, node, what)

    def sent(self, at_s: float, source: PeerId, target: PeerId, method: str, data: bytes) -> None:
        """Tell all."""
        for watcher in self.watchers:
            watcher.sent(at_s, source, target, method, data)

    def arrived(
        self, at_s: float, source: PeerId, target: PeerId, method: str, data: bytes
    ) -> None:
        """Tell all."""
        for watcher in self.watchers:
            watcher.arrived(at_s, source, target, method, data)

    def phase(self, at_s: float, node: int, phase: str, round_: int) -> None:
        """Tell all."""
        for watcher in self.watchers:
            watcher.phase(at_s, node, phase, round_)

    def event(self, at_s: float, node: int, event: str, fields: Mapping[str, object]) -> None:
        """Tell all."""
        for watcher in self.watchers:
            watcher.event(at_s, node, event, fields)

    def fault(self, at_s: float, what: str) -> None:
        """Tell all."""
        for watcher in self.watchers:
            watcher.fault(at_s, what)
