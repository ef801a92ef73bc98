"""The golden digest is the same under other CPU kernels, and changes when arithmetic does."""

import json
import os
import subprocess
import sys

import pytest

from node.exchange import canonical

PROBE = """
import ctypes, glob, json, os, sys
import numpy as np
from node.exchange.canonical import golden_check
core = None
libraries = os.path.join(os.path.dirname(np.__file__), "..", "numpy.libs", "*openblas*")
for path in glob.glob(libraries):
    name = getattr(ctypes.CDLL(path), "scipy_openblas_get_corename64_", None)
    if name is not None:
        name.restype = ctypes.c_char_p
        core = name().decode()
features = np._core._multiarray_umath.__cpu_features__
print(json.dumps({"fault": golden_check(), "core": core,
                  "features": sorted(k for k, on in features.items() if on)}))
"""
FORCED = (
    "ATEN_CPU_CAPABILITY",
    "OPENBLAS_CORETYPE",
    "NPY_DISABLE_CPU_FEATURES",
    "OPENBLAS_NUM_THREADS",
    "OMP_NUM_THREADS",
)


def probe(**forced: str) -> dict[str, object]:
    environment = {k: v for k, v in os.environ.items() if k not in FORCED}
    done = subprocess.run(
        [sys.executable, "-c", PROBE],
        env=environment | forced,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    report: dict[str, object] = json.loads(done.stdout)
    return report


def test_golden_digest_holds_in_this_process() -> None:
    assert canonical.golden_check() is None


def test_golden_check_says_so_when_the_digest_differs(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(canonical, "GOLDEN", "00" * 32)
    assert "does not vote" in (canonical.golden_check() or "")


@pytest.mark.parametrize("core", ["Nehalem", "Prescott", "Haswell"])
def test_golden_digest_holds_on_an_openblas_kernel(core: str) -> None:
    report = probe(OPENBLAS_CORETYPE=core, OPENBLAS_NUM_THREADS="1")
    # A build without Katmai gives Prescott's kernels that name.
    if report["core"] not in {core, "Katmai" if core == "Prescott" else core}:
        pytest.skip(f"OpenBLAS runs {report['core']} although {core} was forced: nothing proven")
    assert report["fault"] is None


@pytest.mark.parametrize("disabled", [("X86_V3", "X86_V4", "AVX512_ICL"), ("X86_V4", "AVX512_ICL")])
def test_golden_digest_holds_without_vector_extensions_of_numpy(disabled: tuple[str, ...]) -> None:
    here = probe()["features"]
    assert isinstance(here, list)
    # numpy 2.4 groups what older versions name one by one; it warns of names that it lacks.
    names = [name for name in disabled if name in here] or [
        name for name in ("AVX2", "FMA3", "AVX512F", "AVX512_SKX", "AVX512_ICL") if name in here
    ]
    if not names:
        pytest.skip(f"this CPU has none of {disabled}: nothing to disable, nothing proven")
    report = probe(NPY_DISABLE_CPU_FEATURES=" ".join(names))
    left = report["features"]
    assert isinstance(left, list)
    if set(names) & set(left):
        pytest.skip(f"numpy keeps {set(names) & set(left)} although disabled: nothing proven")
    assert report["fault"] is None


@pytest.mark.parametrize("threads", ["1", "2"])
def test_golden_digest_holds_for_a_number_of_threads(threads: str) -> None:
    report = probe(OPENBLAS_NUM_THREADS=threads, OMP_NUM_THREADS=threads)
    assert report["fault"] is None


def test_golden_digest_holds_beside_torch_without_its_vector_kernels() -> None:
    # torch is imported first, as in a worker: its libraries must not change numpy's arithmetic.
    done = subprocess.run(
        [sys.executable, "-c", "import torch\n" + PROBE],
        env=os.environ | {"ATEN_CPU_CAPABILITY": "default", "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["fault"] is None


def test_golden_check_notices_a_thread_that_flushes_subnormals() -> None:
    script = (
        "import torch\n"
        "assert torch.set_flush_denormal(True)\n"
        "from node.exchange.canonical import golden_check\n"
        "print(golden_check())"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 0, done.stderr
    assert "does not vote" in done.stdout
