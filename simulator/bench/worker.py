"""One measurement in a process of its own, so that peak memory and threads are its own.

``python -m simulator.bench.worker`` reads a JSON job from standard input, prints a JSON result.
"""

import json
import os
import resource
import sys
import time
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from simulator.bench import cases, rivals

Matrix = npt.NDArray[np.float32]
DEVIATION = 0.3
MEMORY_SHARE = 0.8
"""Of the memory that is free, what a library may take before it counts as failed."""
SLOW_S = 10.0
"""A call that takes longer is not repeated only to warm up."""


def rows_of(n: int, f: int, d: int) -> Matrix:
    """Honest rows about one mean, and f rows 1.5 deviations away from it (ALIE). Shape [n, d]."""
    draws = np.random.default_rng(0)
    middle = draws.standard_normal(d, dtype=np.float32)
    rows = np.empty((n, d), np.float32)
    for row in rows[f:]:
        draws.standard_normal(d, dtype=np.float32, out=row)
        row *= np.float32(DEVIATION)
        row += middle
    for row in rows[:f]:
        draws.standard_normal(d, dtype=np.float32, out=row)
        row *= np.float32(0.01)
        row += middle
        row += np.float32(1.5 * DEVIATION)
    return rows


def measure(job: dict[str, Any]) -> dict[str, Any]:
    """Times in seconds and memory in bytes of one rule of one library."""
    n, f, d, name, library = job["n"], job["f"], job["d"], job["rule"], job["library"]
    radius = DEVIATION * float(np.sqrt(d))
    rows: Any = rows_of(n, f, d)
    size = rows.nbytes
    if library == "artel":
        call = cases.artel_call(name, f, radius)
    else:
        import torch

        torch.set_num_threads(job["threads"])
        torch.manual_seed(0)
        np.random.seed(0)  # noqa: NPY002  ByzFL draws from it
        found = (
            rivals.byzpy_call(name, f, n, radius)
            if library == "byzpy"
            else rivals.byzfl_call(name, f, radius)
        )
        if found is None:
            return {"none": True}
        call = found
        rows = rows if library == "byzfl numpy" else torch.from_numpy(rows)
    _limit_memory()
    before = _reset_peak()
    out, once = _timed(call, rows)
    out = np.asarray(out)
    peak = _memory("VmHWM") - before
    if job["keep"]:
        np.save(job["keep"], out)
    del out
    # The first call also warms up; one that takes long counts all the same.
    runs = [once] if once[0] > SLOW_S else []
    while not runs or (len(runs) < job["repeats"] and sum(w for w, _ in runs) < job["limit_s"] / 2):
        runs.append(_timed(call, rows)[1])
    wall, cpu = ([run[clock] for run in runs] for clock in (0, 1))
    return {
        "wall_s": min(wall), "cpu_s": min(cpu), "wall_median_s": float(np.median(wall)),
        "cpu_median_s": float(np.median(cpu)), "runs": len(wall),
        "peak_share": (size + peak) / size,
    }  # fmt: skip


def _timed(call: Any, rows: Any) -> tuple[Any, tuple[float, float]]:
    """What a call gives, and its wall and CPU seconds."""
    at, used = time.perf_counter(), time.process_time()
    out = call(rows)
    return out, (time.perf_counter() - at, time.process_time() - used)


def _limit_memory() -> None:
    free = int(next(s for s in _lines("/proc/meminfo") if "MemAvailable" in s).split()[1]) * 1024
    used = _memory("VmSize")
    hard = resource.getrlimit(resource.RLIMIT_AS)[1]
    resource.setrlimit(resource.RLIMIT_AS, (used + int(MEMORY_SHARE * free), hard))


def _reset_peak() -> int:
    """Forget the peak so far; the memory in use now, in bytes."""
    try:
        Path("/proc/self/clear_refs").write_text("5")
    except OSError:  # not allowed here: the peak then includes what came before
        return _memory("VmHWM")
    return _memory("VmRSS")


def _memory(field: str) -> int:
    line = next(s for s in _lines("/proc/self/status") if s.startswith(field + ":"))
    return int(line.split()[1]) * 1024


def _lines(path: str) -> list[str]:
    return Path(path).read_text().splitlines()


def main() -> None:
    """Read, measure, print."""
    job = json.load(sys.stdin)
    warnings.simplefilter("ignore")
    try:
        found = measure(job)
    except (MemoryError, RuntimeError) as error:
        text = str(error) or "out of memory"
        short = "out of memory" if "memory" in text or "allocate" in text else text[:200]
        found = {"failed": short}
    sys.stdout.flush()
    os.write(1, json.dumps(found).encode())


if __name__ == "__main__":
    main()
