"""Checkpoints: named arrays in one ``.npz`` file, without pickle."""

import json
import os
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from workloads.api import WorkloadError

Arrays = Mapping[str, npt.NDArray[Any]]


def prefixed(name: str, arrays: Arrays) -> dict[str, Any]:
    """The arrays under ``name.key``."""
    return {f"{name}.{key}": array for key, array in arrays.items()}


def part(arrays: Arrays, name: str) -> dict[str, Any]:
    """What ``prefixed`` put there."""
    head = f"{name}."
    return {key.removeprefix(head): a for key, a in arrays.items() if key.startswith(head)}


def save(path: Path, arrays: Arrays) -> None:
    """Replace ``path`` in one step; a reader never sees half a file."""
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f".{path.name}.part")
    with partial.open("wb") as file:
        np.savez(file, allow_pickle=False, **arrays)
        file.flush()
        os.fsync(file.fileno())
    os.replace(partial, path)


def load(path: Path, identity: str) -> dict[str, Any]:
    """The arrays of a checkpoint.

    Args:
        path: The file.
        identity: What its array ``identity`` must say.

    Raises:
        WorkloadError: There is none, it is damaged, or it is of another run.
    """
    try:
        with path.open("rb") as raw, np.load(raw, allow_pickle=False) as file:
            arrays = {name: file[name] for name in file.files}
    except (OSError, ValueError, EOFError, zipfile.BadZipFile) as error:
        raise WorkloadError(f"cannot read the checkpoint {path}: {error}") from error
    if str(arrays.get("identity")) != identity:
        raise WorkloadError(f"the checkpoint {path} is of another config or seed: remove it")
    return arrays


def pack_rng(rng: np.random.Generator) -> npt.NDArray[np.str_]:
    """The state of a PCG64 generator."""
    return np.array(json.dumps(rng.bit_generator.state))


def unpack_rng(packed: npt.NDArray[np.str_]) -> np.random.Generator:
    """A generator that goes on from a packed state."""
    bits = np.random.PCG64()
    bits.state = json.loads(str(packed))
    return np.random.Generator(bits)
