"""Vectors that two processes share through an anonymous file (memfd), never by a name.

A named segment outlives a killed process, and a container's /dev/shm is small; a memfd is freed
with its last descriptor.
"""

import fcntl
import mmap
import os

import numpy as np

from node.errors import WorkerFailed
from node.ports import FloatVector

PARAMS_MAX = 1 << 30
"""Largest number of parameters of a job: 4 GiB a buffer."""
_SEALS = fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_GROW


def make_memory() -> int:
    """A new, empty memfd."""
    return os.memfd_create("artel", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)


def size_memory(fd: int, count: int) -> None:
    """Give ``fd`` room for ``count`` floats, for good: nobody can shrink it under a reader.

    Raises:
        WorkerFailed: ``count`` is out of range, or the machine has no room.
    """
    if not 1 <= count <= PARAMS_MAX:
        raise WorkerFailed(f"the workload has {count} parameters: 1 to {PARAMS_MAX} are supported")
    try:
        os.ftruncate(fd, 4 * count)
        fcntl.fcntl(fd, fcntl.F_ADD_SEALS, _SEALS)
    except OSError as error:
        raise WorkerFailed(f"no memory for {count} parameters: {error.strerror}") from error


def map_memory(fd: int) -> FloatVector:
    """The whole of ``fd`` as a vector; the mapping lives as long as the vector does."""
    return np.frombuffer(mmap.mmap(fd, os.fstat(fd).st_size), dtype=np.float32)
