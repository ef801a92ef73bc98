"""What a node does that neither attacks nor is being crash-tested."""

from collections.abc import Sequence

from node.ports import Behaviour, FloatVector


class Honest:
    """The behaviour of every node that is not an attacker: it changes nothing."""

    def update(self, round_: int, update: FloatVector) -> FloatVector:
        """The update itself."""
        return update

    def parts(self, round_: int, parts: Sequence[bytes]) -> Sequence[bytes]:
        """The parts themselves."""
        return parts

    def sends(self, round_: int, kind: str, message: bytes) -> bytes | None:
        """The message itself."""
        return message


HONEST: Behaviour = Honest()


def no_failpoint(phase: str, round_: int) -> None:
    """Nothing fails."""
