"""Body of ``artel bench aggregate``: Artel's rules beside ByzFL's and ByzPy's in one run."""

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from simulator.bench import rivals
from simulator.bench.cases import CASES, INEXACT, subsets

USAGE = 2
SUBSETS_MAX = 200_000
"""A rival that lists subsets is not asked for more: it would take hours and all memory."""
THREAD_NAMES = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")
Result = Mapping[str, Any]


@dataclass(frozen=True)
class Sizes:
    """What is measured."""

    n: int
    f: int
    d: int
    threads: int
    repeats: int
    limit_s: float
    """A library that needs longer for one call is stopped."""


def bench_aggregate(sizes: Sizes, names: str, alone: bool, as_json: bool) -> int:
    """``artel bench aggregate``; the exit code: 0, or 2 for a usage error."""
    chosen = [name.strip() for name in names.split(",")] if names else list(CASES)
    if fault := _fault(sizes, chosen, alone):
        print(f"error: {fault}", file=sys.stderr)
        return USAGE
    libraries = ["artel"] if alone else ["artel", "byzfl numpy", "byzfl torch"]
    if not alone and rivals.has("byzpy"):
        libraries.append("byzpy")
    table = []
    with tempfile.TemporaryDirectory() as folder:
        for name in chosen:
            table.append(_compare(sizes, name, libraries, Path(folder)))
            if not as_json:
                print(_line(table[-1], libraries) if len(table) > 1 else _head(sizes, libraries))
                if len(table) == 1:
                    print(_line(table[0], libraries), flush=True)
    if as_json:
        print(json.dumps({**vars(sizes), "machine": _machine(), "rules": table}, indent=1))
    else:
        print(_foot(sizes, table))
    return 0


def _fault(sizes: Sizes, names: Sequence[str], alone: bool) -> str | None:
    """What is wrong with the request, or None."""
    if sizes.n <= 2 * sizes.f:
        return f"n = {sizes.n} rows cannot bear f = {sizes.f} liars: n must be at least 2f + 1"
    for name in names:
        if name not in CASES:
            return f"no case is called {name!r}; choose from {', '.join(CASES)}"
    if not alone and not rivals.has("byzfl"):
        return rivals.INSTALL
    return None


def _compare(sizes: Sizes, name: str, libraries: Sequence[str], folder: Path) -> dict[str, Any]:
    """One rule in every library, and how far the results are apart."""
    results: dict[str, Any] = {}
    vectors = {}
    for library in libraries:
        many = subsets(name, sizes.n, sizes.f)
        if library != "artel" and many > SUBSETS_MAX:
            results[library] = {"failed": f"{many:.0e} subsets"}
            continue
        kept = folder / f"{library}.npy"
        kept.unlink(missing_ok=True)
        results[library] = _run(sizes, name, library, str(kept))
        if kept.exists():
            vectors[library] = np.load(kept)
    return {"rule": name, "libraries": results} | _verdict(name, results, vectors)


def _verdict(
    name: str, results: Mapping[str, Result], vectors: Mapping[str, Any]
) -> dict[str, Any]:
    """How much faster Artel is than the faster of ByzFL's two paths, and the agreement."""
    ours = results["artel"]
    found: dict[str, Any] = {}
    rival = [r for k, r in results.items() if k.startswith("byzfl") and "cpu_s" in r]
    if rival and "cpu_s" in ours:
        for clock in ("cpu_s", "wall_s"):
            found[f"faster_{clock[:-2]}"] = min(r[clock] for r in rival) / ours[clock]
    if "artel" in vectors:
        mine = vectors["artel"].astype(np.float64)
        found["difference"] = {
            k: float(np.linalg.norm(v - mine) / np.linalg.norm(mine))
            for k, v in vectors.items()
            if k != "artel"
        }
    found["inexact_rival"] = name in INEXACT
    return found


def _run(sizes: Sizes, name: str, library: str, keep: str) -> Result:
    job = {**vars(sizes), "rule": name, "library": library, "keep": keep}
    environment = os.environ | dict.fromkeys(THREAD_NAMES, str(sizes.threads))
    try:
        done = subprocess.run(
            [sys.executable, "-m", "simulator.bench.worker"],
            input=json.dumps(job),
            env=environment,
            capture_output=True,
            text=True,
            timeout=sizes.limit_s * (1 if library != "artel" else 10),
            check=False,
        )
    except subprocess.TimeoutExpired:
        return {"failed": f"over {sizes.limit_s:.0f} s"}
    if done.returncode != 0 or not done.stdout:
        last = (done.stderr.strip().splitlines() or ["killed"])[-1]
        return {"failed": "out of memory" if "emory" in last else last[:120]}
    result: Result = json.loads(done.stdout)
    return result


def _head(sizes: Sizes, libraries: Sequence[str]) -> str:
    names = " | ".join(libraries)
    return (
        f"n = {sizes.n} rows, f = {sizes.f}, d = {sizes.d:,}, {sizes.threads} thread(s). "
        "CPU ms / wall ms / peak memory over the input.\n\n"
        f"| rule | {names} | faster, CPU | wall | difference |\n"
        f"|---|{'---|' * len(libraries)}---|---|---|"
    )


def _line(row: Mapping[str, Any], libraries: Sequence[str]) -> str:
    cells = [_cell(row["libraries"][library]) for library in libraries]
    times = [f"{row[k]:.1f} x" if k in row else "-" for k in ("faster_cpu", "faster_wall")]
    apart = min(row.get("difference", {}).values(), default=None)
    far = "-" if apart is None else f"{apart:.0e}" + (" (theirs draws)" * row["inexact_rival"])
    name = row["rule"].replace("|", "\\|")
    return f"| {name} | {' | '.join([*cells, *times, far])} |"


def _cell(result: Result) -> str:
    if "cpu_s" in result:
        cpu, wall = result["cpu_s"] * 1e3, result["wall_s"] * 1e3
        return f"{cpu:.0f} / {wall:.0f} / {result['peak_share']:.2f}"
    return str(result.get("failed", "-"))


def _foot(sizes: Sizes, table: Sequence[Mapping[str, Any]]) -> str:
    times = [r["libraries"]["artel"].get("cpu_s", 0.0) for r in table]
    share = max(times, default=0.0) / sizes.n * 1e3
    return (
        "\nDifference: relative L2 distance to the nearest rival. In a round every one of the "
        f"{sizes.n} nodes\ndoes 1/{sizes.n} of this work for each replica: at most {share:.1f} ms "
        "of CPU for the slowest rule above."
    )


def _machine() -> dict[str, Any]:
    cpu = next((s for s in Path("/proc/cpuinfo").read_text().splitlines() if "model name" in s), "")
    return {"cpu": cpu.partition(":")[2].strip(), "cores": os.cpu_count(), "numpy": np.__version__}
