"""Checks a stopped node's folder: its chain of certificates and the state that they certify."""

from pathlib import Path
from typing import TYPE_CHECKING

from node.errors import ConfigError

if TYPE_CHECKING:
    from node.jobs.verify_folder import FolderReport


def verify_member(data: Path) -> "FolderReport":
    """What the folder ``data`` of one node proves; one that holds no job proves nothing."""
    from node.jobs.verify_folder import FolderReport, verify_node_folder  # imports numpy

    try:
        return verify_node_folder(data)
    except ConfigError as error:
        return FolderReport(reason=str(error))
