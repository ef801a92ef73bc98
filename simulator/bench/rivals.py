"""Other libraries' aggregators, where they are installed. Nothing here is needed to run Artel.

ByzFL's package imports torchvision and plots when it is imported; its rules need neither. So only
the modules of its rules are loaded, under their own names.
"""

import importlib
import importlib.util
import sys
from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt

Matrix = npt.NDArray[np.float32]
Call = Callable[[Any], Any]

INSTALL = (
    "ByzFL is not installed, so there is nothing to compare with. Install it into this environment:"
    "\n  pip install 'artel-node[bench]'        (with all that it asks for, torchvision included)"
    "\n  pip install --no-deps byzfl scipy      (enough for this benchmark)"
    "\nor pass --alone to measure Artel only."
)


def has(name: str) -> bool:
    """Is a package installed, whether or not it loads?"""
    return importlib.util.find_spec(name) is not None


def byzfl() -> tuple[Any, Any]:
    """ByzFL's modules of aggregators and of pre-aggregators.

    Raises:
        ImportError: it is not installed, or another version that looks different.
    """
    spec = importlib.util.find_spec("byzfl")
    if spec is None or not spec.submodule_search_locations:
        raise ImportError(INSTALL)
    if "byzfl" not in sys.modules:
        sys.modules["byzfl"] = importlib.util.module_from_spec(spec)  # without running it
    return (
        importlib.import_module("byzfl.aggregators.aggregators"),
        importlib.import_module("byzfl.aggregators.preaggregators"),
    )


def byzfl_call(name: str, f: int, radius: float) -> Call:
    """ByzFL's rule for a case of the benchmark: (matrix or tensor) -> vector.

    Objects that keep state between calls are made anew in each.
    """
    rules, before = byzfl()
    clip = {"L": 1 if name.endswith("L=1") else 5, "tau": radius}
    calls: dict[str, Call] = {
        "mean": lambda v: rules.Average()(v),
        "median": lambda v: rules.Median()(v),
        "trimmed_mean": lambda v: rules.TrMean(f=f)(v),
        "meamed": lambda v: rules.Meamed(f=f)(v),
        "krum": lambda v: rules.Krum(f=f)(v),
        "multi_krum": lambda v: rules.MultiKrum(f=f)(v),
        "geometric_median": lambda v: rules.GeometricMedian(nu=0.1, T=3)(v),
        "centered_clip L=1": lambda v: rules.CenteredClipping(**clip)(v),
        "centered_clip L=5": lambda v: rules.CenteredClipping(**clip)(v),
        "mda": lambda v: rules.MDA(f=f)(v),
        "caf": lambda v: rules.CAF(f=f)(v),
        "smea": lambda v: rules.SMEA(f=f)(v),
        "nnm | multi_krum": lambda v: rules.MultiKrum(f=f)(before.NNM(f=f)(v)),
        "nnm | geometric_median": lambda v: rules.GeometricMedian(nu=0.1, T=3)(before.NNM(f=f)(v)),
        "nnm | trimmed_mean": lambda v: rules.TrMean(f=f)(before.NNM(f=f)(v)),
        # ARC clips the caller's rows in place.
        "arc | nnm | trimmed_mean": lambda v: rules.TrMean(f=f)(
            before.NNM(f=f)(before.ARC(f=f)(_copy(v)))
        ),
    }
    return calls[name]


def _copy(rows: Any) -> Any:
    return rows.copy() if isinstance(rows, np.ndarray) else rows.clone()


def byzpy_call(name: str, f: int, n: int, radius: float) -> Call | None:
    """ByzPy's rule on a list of tensors, or None where it has none of the kind."""
    base = "byzpy.aggregators."
    places: dict[str, tuple[str, str, dict[str, Any]]] = {
        "median": ("coordinate_wise.median", "CoordinateWiseMedian", {}),
        "trimmed_mean": ("coordinate_wise.trimmed_mean", "CoordinateWiseTrimmedMean", {"f": f}),
        "meamed": ("coordinate_wise.mean_of_medians", "MeanOfMedians", {"f": f}),
        "krum": ("geometric_wise.krum", "Krum", {"f": f}),
        "multi_krum": ("geometric_wise.krum", "MultiKrum", {"f": f, "q": n - f}),
        "geometric_median": ("geometric_wise.geometric_median", "GeometricMedian", {}),
        "mda": ("geometric_wise.minimum_diameter_average", "MinimumDiameterAveraging", {"f": f}),
        "smea": ("geometric_wise.smea", "SMEA", {"f": f}),
        "caf": ("norm_wise.caf", "CAF", {"f": f}),
        "centered_clip L=5": (
            "norm_wise.center_clipping",
            "CenteredClipping",
            {"c_tau": radius, "M": 5, "init": "zero"},
        ),
    }
    if name not in places:
        return None
    module, kind, settings = places[name]
    made = getattr(importlib.import_module(base + module), kind)(**settings)
    return lambda v: made.aggregate(list(v))
