"""Checks a stopped node's folder: its chain of certificates and the state that they certify."""

from pathlib import Path
from typing import Protocol


class FolderReport(Protocol):
    """What a folder proves by itself."""

    @property
    def round(self) -> int:
        """Last certified round."""
        ...

    @property
    def state_root(self) -> str:
        """Root recomputed from the stored state, hex."""
        ...

    @property
    def agreement(self) -> bool:
        """The chain verifies from the founders on, and its last root is ``state_root``."""
        ...


def verify_member(data: Path) -> FolderReport:
    """What the folder ``data`` of one node proves."""
    from node.ledger.verify_folder import verify_node_folder

    report: FolderReport = verify_node_folder(data)
    return report
