"""Names what decides the bits of a worker's floating-point results: its compute class.

Two workers of one class compute the same update from the same inputs, bit for bit: their libraries
choose the same kernels, and cut the work among the same number of threads.
"""

import os
import platform
from pathlib import Path

from node.merkle import digest

CPUINFO = Path("/proc/cpuinfo")
_VECTOR_FLAGS = ("sse", "avx", "fma", "f16c", "amx", "asimd", "sve")
"""Beginnings of the names of instruction sets that numerical kernels are chosen by."""
_VARIABLES = ("ATEN_CPU_CAPABILITY", "DNNL_MAX_CPU_ISA", "MKL_CBWR", "MKL_ENABLE_INSTRUCTIONS")
"""Environment variables that choose kernels."""


def compute_class(threads: int) -> bytes:
    """The class of this process, 32 bytes; empty where a GPU may do the work.

    Nothing tells yet which GPU kernels give the same bits twice, so that they are of no class.

    Args:
        threads: of the tensor operations.
    """
    import numpy as np
    import torch

    if torch.cuda.is_available():
        return b""
    facts = (
        platform.machine(),
        cpu_facts(CPUINFO.read_text() if CPUINFO.exists() else ""),
        torch.backends.cpu.get_cpu_capability(),
        torch.__version__,
        np.__version__,
        str(threads),
        *(f"{name}={os.environ.get(name, '')}" for name in _VARIABLES),
    )
    return digest("compute class", "\n".join(facts).encode())


def cpu_facts(cpuinfo: str) -> str:
    """Vendor and vector instructions of the first processor that ``/proc/cpuinfo`` lists."""
    first = cpuinfo.split("\n\n", 1)[0]
    fields = dict(line.split(":", 1) for line in first.splitlines() if ":" in line)
    found = {name.strip(): value.strip() for name, value in fields.items()}
    flags = found.get("flags", found.get("Features", "")).split()
    vendor = found.get("vendor_id", found.get("CPU implementer", ""))
    return " ".join([vendor, *sorted(f for f in flags if f.startswith(_VECTOR_FLAGS))])
