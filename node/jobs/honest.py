"""What a node does that neither attacks nor is being crash-tested."""

from collections.abc import Sequence

from node.ports import Behaviour, FloatVector, Ports, Rows, Sign
from node.types import PeerId


class Honest:
    """The behaviour of every node that is not an attacker: it changes nothing."""

    def ports(self, ports: Ports, sign: Sign) -> Ports:
        """The ports themselves."""
        return ports

    async def run(self) -> None:
        """Nothing."""

    async def update(self, round_: int, update: FloatVector) -> FloatVector:
        """The update itself."""
        return update

    def signs(self, round_: int, kind: str, body: bytes) -> bytes:
        """The body itself."""
        return body

    def reduces(
        self, round_: int, rows: Rows, weights: Sequence[float]
    ) -> tuple[Rows, Sequence[float]]:
        """The rows and weights themselves."""
        return rows, weights

    def sends(self, round_: int, to: PeerId, kind: str, message: bytes) -> bytes | None:
        """The message itself."""
        return message


HONEST: Behaviour = Honest()


def no_failpoint(phase: str, round_: int) -> None:
    """Nothing fails."""
