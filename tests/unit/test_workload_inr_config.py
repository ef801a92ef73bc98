"""Every refused setting is refused with a sentence that says what to do."""

import pytest
from pydantic import ValidationError

from workloads.api import WorkloadError
from workloads.inr import InrWorkload
from workloads.inr.config import InrConfig
from workloads.replica import resolve_device

SMALL = {"image": "astronaut", "size": 8, "hidden_layers": 1, "hidden_width": 4}


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"colour": 1}, r"unknown key colour: remove it \(known: image, size"),
        ({"size": 0}, r"size = 0: Input should be greater than or equal to 2"),
        ({"hidden_width": 4096}, r"hidden_width = 4096: .*less than or equal to 2048"),
        ({"activation": "tanh"}, r"activation = 'tanh': Input should be 'sinc', 'gaussian'"),
        ({"lr": float("nan")}, r"lr = nan: Input should be a finite number"),
        ({"lr": 0}, r"lr = 0: Input should be greater than 0"),
        ({"lr_end_ratio": 2}, r"lr_end_ratio = 2: .*less than or equal to 1"),
        ({"activation": "gaussian", "omega": 30}, r"omega has no effect with .*gaussian: remove"),
        ({"activation": "sine", "sigma": 1}, r"sigma has no effect with activation sine"),
        ({"fourier_features": 4}, r"fourier_features has no effect with activation sine"),
        ({"image": "no/such/file.png"}, r"no picture .*give a path .* or one of .*astronaut"),
        ({"device": "tpu"}, r"no device 'tpu': use"),
    ],
)
def test_bad_setting_is_refused_with_what_to_do(change, sentence):
    with pytest.raises(WorkloadError, match=sentence):
        InrWorkload({**SMALL, **change}, 1)


def test_missing_image_is_named():
    with pytest.raises(WorkloadError, match="image is missing: add it"):
        InrWorkload({}, 1)


def test_all_faults_are_told_at_once():
    with pytest.raises(WorkloadError, match=r"size = 0.*unknown key colour"):
        InrWorkload({**SMALL, "size": 0, "colour": 1}, 1)


def test_negative_seed_is_refused():
    with pytest.raises(WorkloadError, match="seed -1 is negative"):
        InrWorkload(SMALL, -1)


def test_settings_of_the_activation_have_defaults():
    assert InrConfig.parse({"image": "x", "activation": "sinc"}).omega is not None
    assert InrConfig.parse({"image": "x", "activation": "relu_ff"}).fourier_features is not None
    assert InrConfig.parse({"image": "x", "activation": "gaussian"}).omega is None


def test_config_is_frozen():
    config = InrConfig.parse({"image": "x"})
    with pytest.raises(ValidationError, match="frozen"):
        config.size = 3


def test_device_of_the_job_wins_over_the_default():
    with pytest.raises(WorkloadError, match="no device 'cuda:x'"):
        InrWorkload({**SMALL, "device": "cuda:x"}, 1, device="cpu")


def test_auto_device_is_cuda_only_where_there_is_one(monkeypatch):
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    assert resolve_device("auto").type == "cpu"
    with pytest.raises(WorkloadError, match="no device 'cuda' on this machine"):
        resolve_device("cuda")
    monkeypatch.setattr("torch.cuda.is_available", lambda: True)
    monkeypatch.setattr("torch.cuda.device_count", lambda: 1)
    assert resolve_device("auto").type == "cuda"
    assert resolve_device("cuda:0").index == 0
    with pytest.raises(WorkloadError, match="no device 'cuda:1' on this machine"):
        resolve_device("cuda:1")
