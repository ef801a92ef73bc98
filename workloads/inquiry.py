"""Questions between the workloads of one job; part of ``workloads.api``."""

from collections.abc import Sequence
from typing import Protocol, runtime_checkable


class Inquiry(Protocol):
    """Questions between the workloads of one job, for what no node looks up alone.

    The node carries bytes of which it knows nothing; they may come from liars.
    """

    def meet(self, own: str, peers: Sequence[str]) -> None:
        """Called before the first entry arrives, with this node's peer id and the founders'."""
        ...

    def ask(self) -> bytes:
        """A question to all other nodes; empty: there is none now."""
        ...

    def answer(self, question: bytes) -> bytes:
        """What this node says to another's question.

        Raises:
            WorkloadError: It is no question.
        """
        ...

    def learn(self, answers: Sequence[bytes]) -> None:
        """Take what others said to the last question: of all, of some or of nobody."""
        ...


@runtime_checkable
class Inquires(Protocol):
    """What a workload has besides ``Remembers``'s, if its nodes ask one another."""

    @property
    def inquiry(self) -> Inquiry | None:
        """None: this job's do not."""
        ...
