"""What a process must do before it becomes a node: threads, imports, frozen memory."""

import ctypes
import gc
import importlib
import os
from collections.abc import MutableMapping
from importlib.metadata import entry_points

LATE_IMPORTS = ("torch._dynamo", "skimage.data", "PIL.PngImagePlugin")
"""Modules that torch's first optimizer, or a picture, would else import in every worker anew:
more than a second and 100 MB each time."""

HEAP_BLOCK_BYTES_MAX = 32 << 20
"""Larger blocks are mapped and unmapped one by one; glibc allows no more."""
HEAP_KEPT_BYTES = 64 << 20
"""Free memory at the end of the heap that is not given back."""
_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD = -1, -3  # malloc.h

THREAD_VARIABLES = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")


def set_environment(environment: MutableMapping[str, str]) -> None:
    """Keep the maths libraries at one thread and the transport's own log quiet.

    Before torch or numpy is imported: with more, a fork after one parallel operation would hang
    in the child's first. Workers set their own thread count after their fork.
    """
    for name in THREAD_VARIABLES:
        environment[name] = "1"
    environment.setdefault("HIVEMIND_LOGLEVEL", "ERROR")
    environment.setdefault("GRPC_ENABLE_FORK_SUPPORT", "0")


def keep_heap() -> None:
    """Let glibc keep freed memory for the next message, instead of faulting it in again.

    A call of 2.5 MB costs a third of the CPU then; up to HEAP_KEPT_BYTES stay with each process.
    Another C library is left as it is.
    """
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (OSError, AttributeError):
        return
    mallopt(_M_MMAP_THRESHOLD, HEAP_BLOCK_BYTES_MAX)
    mallopt(_M_TRIM_THRESHOLD, HEAP_KEPT_BYTES)


def import_all() -> None:
    """Import what a node and its workers need, and share it with all later forks.

    Raises:
        RuntimeError: an import has started a thread; a fork from here could hang.
    """
    keep_heap()
    import node.cli.node_flow  # noqa: F401  (imports hivemind, torch, grpc, uvloop)

    for name in LATE_IMPORTS:
        importlib.import_module(name)
    preload_workloads()
    threads = len(os.listdir("/proc/self/task"))
    if threads != 1:
        raise RuntimeError(f"{threads} threads run after the imports: a fork could hang")
    # Collecting writes to object headers, and so would copy the pages that forks share.
    gc.collect()
    gc.freeze()


def preload_workloads() -> None:
    """Import every installed workload that loads; one that does not is reported by its job."""
    from workloads import api

    for point in entry_points(group=api.ENTRY_POINT_GROUP):
        try:
            api.load(point.name)
        except api.WorkloadError:
            continue
