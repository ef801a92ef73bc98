"""What an attack may change in a node, and all ports of one."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from node.ports.compute import Compute, FloatVector
from node.ports.world import Discovery, Store, Transport, WallClock
from node.types import PeerId

Sign = Callable[[str, bytes, int, bytes], bytes]
"""(kind, job, round, body) -> signature of this node; see ``node.identity.Signer``."""

Rows = Mapping[tuple[int, int], FloatVector]
"""(elector, part) -> decoded coordinates of one contribution."""


class Behaviour(Protocol):
    """What an attack changes in an otherwise honest node; ``node.jobs.honest.HONEST``: nothing."""

    def ports(self, ports: "Ports", sign: Sign) -> "Ports":
        """The ports that the daemon gets in place of ``ports``; called once a daemon."""
        ...

    async def run(self) -> None:
        """What a liar does besides its duties; cancelled with the node."""
        ...

    async def update(self, round_: int, update: FloatVector) -> FloatVector:
        """The update that is encoded and committed in place of the honest one. Shape [d]."""
        ...

    def signs(self, round_: int, kind: str, body: bytes) -> bytes:
        """The body that is signed, kept and sent in place of ``body`` of ``kind``."""
        ...

    def reduces(
        self, round_: int, rows: Rows, weights: Sequence[float]
    ) -> tuple[Rows, Sequence[float]]:
        """What a reducer combines in place of the screened rows and the rule's weights."""
        ...

    def sends(self, round_: int, to: PeerId, kind: str, message: bytes) -> bytes | None:
        """The bytes that leave for ``to`` in place of ``message`` of ``kind``; None: silence."""
        ...


@dataclass(frozen=True)
class Ports:
    """All ports of one daemon."""

    transport: Transport
    discovery: Discovery
    store: Store
    compute: Compute
    clock: WallClock
