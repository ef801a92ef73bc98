"""The ``[workload]`` table of an image job."""

from collections.abc import Mapping
from typing import Any, Literal

from pydantic import Field, model_validator

from workloads.settings import WorkloadSettings

Activation = Literal["sinc", "gaussian", "sine", "wire", "relu_ff"]

USES: Mapping[str, frozenset[str]] = {
    "sinc": frozenset({"omega"}),
    "gaussian": frozenset({"sigma"}),
    "sine": frozenset({"omega"}),
    "wire": frozenset({"omega", "sigma"}),
    "relu_ff": frozenset({"sigma", "fourier_features"}),
}
"""Which of the optional settings each activation reads."""

DEFAULTS: Mapping[str, Mapping[str, float]] = {
    "sinc": {"omega": 20.0},
    "gaussian": {"sigma": 0.1},
    "sine": {"omega": 30.0},
    "wire": {"omega": 10.0, "sigma": 10.0},
    "relu_ff": {"sigma": 5.0, "fourier_features": 64},
}
"""Values of those settings where the table gives none."""


class InrConfig(WorkloadSettings):
    """Everything about an image job but its seed. Frozen; unknown keys are refused."""

    workload = "inr"

    image: str = Field(min_length=1, max_length=4096)
    """A picture that scikit-image ships ("astronaut"), or a path to any file that PIL opens."""
    size: int = Field(default=128, ge=2, le=8000)
    """Longest side after scaling down, in pixels. A smaller picture stays as it is."""
    hidden_layers: int = Field(default=3, ge=1, le=16)
    hidden_width: int = Field(default=128, ge=1, le=2048)
    activation: Activation = "sine"
    omega: float | None = Field(default=None, gt=0, le=1000)
    """Frequency of sinc, sine and wire, in radians per unit of the layer's output."""
    sigma: float | None = Field(default=None, gt=0, le=1000)
    """Gaussian: its standard deviation. Wire: decay of the window. relu_ff: deviation of the
    frequencies, in cycles per unit of the coordinates (the picture is 2 units wide)."""
    fourier_features: int | None = Field(default=None, ge=1, le=4096)
    """Frequencies of relu_ff; the network sees a cosine and a sine of each."""
    pixels_per_step: int = Field(default=1024, ge=1, le=1 << 20)
    lr: float = Field(default=1e-3, gt=0, le=1)
    """Adam's learning rate at the job's first step."""
    lr_end_ratio: float = Field(default=0.1, ge=0, le=1)
    """Learning rate at the job's last step, relative to ``lr``; a cosine joins them."""
    device: str | None = None
    """One of "auto", "cpu", "cuda", "cuda:N"; None leaves the choice to the node."""

    @model_validator(mode="before")
    @classmethod
    def _fill_activation_settings(cls, data: Any) -> Any:
        """Refuse a setting that the activation would ignore; fill in those that it reads."""
        if not isinstance(data, Mapping):
            return data
        activation = data.get("activation", "sine")
        if activation not in USES:
            return data
        for key in ("omega", "sigma", "fourier_features"):
            if data.get(key) is not None and key not in USES[activation]:
                raise ValueError(f"{key} has no effect with activation {activation}: remove it")
        given = {key: value for key, value in data.items() if value is not None}
        return {**DEFAULTS[activation], **given}
