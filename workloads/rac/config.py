"""The ``[workload]`` table of a RAC job."""

from typing import Literal

from pydantic import Field, field_validator, model_validator

from workloads.settings import WorkloadSettings


class RacConfig(WorkloadSettings):
    """Everything about a RAC job but its seed. Frozen; unknown keys are refused."""

    workload = "rac"

    # Data
    data: str = Field(min_length=1, max_length=4096)
    """ "fashion-mnist", "mnist-5k", or a path to a folder or an npz file; see ``datasets``."""
    classes: tuple[str, ...] = ()
    """Names of the classes by label; empty: those that the data bring."""
    texts: dict[str, str] = Field(default_factory=dict)
    """Class name -> snippet; a class that is missing is "a photo of a NAME"."""
    imbalance: float = Field(default=1.0, ge=1, le=1000)
    """Training examples of the largest class over those of the smallest; see ``longtail``."""
    class_max: int | None = Field(default=None, ge=1)
    """Training examples of the largest class; None: all that it has."""
    sample: int = Field(default=0, ge=0)
    """Seed of the long-tailed subset and of the shards."""
    test_max: int = Field(default=10_000, ge=10)
    """Test examples used, evenly of all classes."""
    shards: Literal["iid", "classes"] = "iid"
    """How examples are divided over nodes; ``classes``: each class unevenly."""
    concentration: float = Field(default=0.3, gt=0, le=1000)
    """Of the Dirichlet distribution of ``classes``: the smaller, the fewer nodes hold a class."""
    many: int = Field(default=100, ge=1)
    """Classes with more training examples are the many-shot ones."""
    few: int = Field(default=20, ge=1)
    """Classes with fewer are the few-shot ones."""

    # Encoders that are not trained
    encoder: str = Field(default="efficientnet-lite0", max_length=256)
    """E: "efficientnet-lite0", "pixels" or "timm:NAME"."""
    resolution: int = Field(default=64, ge=8, le=1024)
    """Side of the picture that E sees, in pixels."""
    text: str = Field(default="tiny", max_length=256)
    """T: "tiny" (trained with the rest), "minilm" or "sentence-transformers:NAME" (frozen)."""

    # Model
    branches: Literal["both", "base", "retrieval"] = "both"
    vote: Literal["text", "label"] = "text"
    """What the retrieval branch reads of its neighbours."""
    neighbours: int = Field(default=30, ge=1, le=256)
    """k."""
    fusion: Literal["sum", "gate", "mixture"] = "sum"
    norm: Literal["layer", "unit", "none"] = "layer"
    """Of each branch's logits before fusion."""
    size: int | None = Field(default=None, ge=8, le=512)
    """Side of the picture that B sees, in pixels; None: as it is."""
    width: int = Field(default=16, ge=4, le=512)
    """Channels of B's first layer."""
    text_width: int = Field(default=64, ge=8, le=1024)
    """Width of the text transformers; a multiple of 4."""

    # Training
    tau: float = Field(default=1.0, ge=0, le=4)
    """Strength of the logit adjustment; 0 is plain cross-entropy."""
    prior: Literal["own", "job"] = "own"
    """Class frequencies of the adjustment: of this node's part, or of all training data."""
    branch_loss: float = Field(default=0.5, ge=0, le=10)
    """Weight of the loss of each branch by itself."""
    learn: Literal["all", "own"] = "all"
    """Whose entries the retrieval branch's own loss is of: of all believed authors, or this node's.
    Where a node indexes only a part of the memory (``copies``), this node's."""
    batch: int = Field(default=64, ge=1, le=4096)
    lr: float = Field(default=2e-3, gt=0, le=1)
    """Adam's learning rate at the job's first step."""
    lr_end_ratio: float = Field(default=0.05, ge=0, le=1)
    """Learning rate at the job's last step, relative to ``lr``; a cosine joins them."""
    shift: int = Field(default=2, ge=0, le=64)
    """Training pictures are moved by up to so many pixels."""
    flip: bool = True
    """Half of the training pictures are mirrored."""

    # Memory
    index: Literal["flat", "hnsw", "codes"] = "flat"
    """How neighbours are found: exactly, by a graph, or by codes with the keys in a file."""
    copies: int = Field(default=0, ge=0, le=64)
    """Nodes that index an entry, besides its author; 0: all do. See ``recall.sharding``."""
    keys: Literal["int8", "fp16"] = "int8"
    payload_bytes: int = Field(default=96, ge=8, le=1024)
    """Longest snippet, in bytes of UTF-8."""
    author_share: float = Field(default=0.5, gt=0, le=1)
    """Of the neighbours of a query, that one other author may supply."""
    sharpness: float = Field(default=20.0, ge=0, le=1000)
    """A neighbour's vote weighs exp(sharpness * cosine)."""
    trust: bool = True
    """Score authors against own labels."""
    author_entries: int = Field(default=250_000, ge=4, le=1_000_000)
    """Kept of one author."""
    device: str | None = None
    """One of "auto", "cpu", "cuda", "cuda:N"; None leaves the choice to the node."""

    @field_validator("text_width")
    @classmethod
    def _divides(cls, width: int) -> int:
        if width % 4:
            raise ValueError("must be a multiple of 4: the transformers have four heads")
        return width

    @model_validator(mode="after")
    def _shots_in_order(self) -> "RacConfig":
        if self.few > self.many:
            raise ValueError(f"few = {self.few} is above many = {self.many}: no class is between")
        return self
