"""How a workload is found, and the generator that all of them draw data from."""

from importlib.metadata import EntryPoint, EntryPoints

import numpy as np
import pytest

from workloads import api
from workloads.inr import InrWorkload


def test_load_finds_the_declared_workload():
    assert api.load("inr") is InrWorkload


def test_load_of_an_unknown_name_lists_what_is_installed():
    with pytest.raises(api.WorkloadError, match=r"no workload 'nosuch'.*there is: .*inr"):
        api.load("nosuch")


def test_load_says_which_installed_workload_does_not_import(monkeypatch):
    broken = EntryPoint("broken", "workloads.no_such_module:Job", api.ENTRY_POINT_GROUP)
    monkeypatch.setattr(api, "entry_points", lambda group: EntryPoints([broken]))
    with pytest.raises(api.WorkloadError, match="no_such_module:Job but does not load"):
        api.load("broken")


def test_workload_error_is_a_value_error():
    assert issubclass(api.WorkloadError, ValueError)


def test_step_rng_depends_on_seed_and_step_only():
    def draw(seed: bytes, step: int) -> list[int]:
        return api.step_rng(seed, step).integers(1 << 40, size=4).tolist()

    assert draw(b"a", 0) == draw(b"a", 0)
    assert len({tuple(draw(seed, step)) for seed in (b"a", b"b") for step in (0, 1, 256)}) == 6


def test_step_rng_is_the_same_on_every_machine():
    assert api.step_rng(bytes(32), 7).integers(1 << 16, size=4).tolist() == [
        29854,
        20176,
        56059,
        24495,
    ]


def test_step_rng_draws_every_pixel_about_equally_often():
    drawn = np.concatenate([api.step_rng(b"seed", k).integers(16, size=64) for k in range(100)])
    counts = np.bincount(drawn, minlength=16)
    assert counts.min() > 300
    assert counts.max() < 500
