"""A scenario: who takes part in which world, what goes wrong, and who lies. TOML -> frozen models.

Named ones lie in ``simulator/scenarios/``; ``simulator.drawing`` draws others from seeds. Node
numbers: electors are 0 to nodes-1, followers come after them.
"""

import json
from collections.abc import Mapping
from importlib.resources import files
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field, model_validator

from node.config import Many, Settings, build, read_toml
from node.errors import ConfigError
from node.types import ELECTORS_MAX

Seconds = Annotated[float, Field(strict=False, ge=0.0, le=1e7)]
Rate = Annotated[float, Field(strict=False, ge=0.0, le=1.0)]
Bandwidth = Annotated[float, Field(strict=False, ge=1e3)]
Who = Many[int] | Literal["leader", "reducers", "third", "minority", "liars", "all"]
"""Node numbers, or a role: ``leader`` of the round in progress (the one the fault falls in);
``reducers``: the first f of the first part's order; ``third``: the last ⌊n/3⌋ honest electors;
``minority``: the last f electors; ``liars``: all attackers."""
Phase = Literal[
    "", "train", "commit", "have", "list", "scatter", "screen", "plan", "reduce", "propose",
    "prepare", "vote", "certified",
]  # fmt: skip
"""A step of a round; empty: any."""


class LinkSection(Settings):
    """How bytes travel between two hosts, each direction on its own."""

    latency_s: Seconds = 0.02
    jitter_s: Seconds = 0.0
    """Largest uniform addition to the latency."""
    tail: Annotated[float, Field(strict=False, ge=0.0, le=3.0)] = 0.0
    """Sigma of a log-normal factor on the latency: 0 none, 0.5 a bad WAN."""
    stream_bytes_per_s: Bandwidth = 1e12
    """Rate of one stream."""
    loss_rate: Rate = 0.0
    """Chance that a request or reply is silent for good."""
    duplicate_rate: Rate = 0.0
    """Chance that a request is handled twice."""
    reset_per_s: Annotated[float, Field(strict=False, ge=0.0, le=10.0)] = 0.0
    """Rate of stream resets in mid-stream, per pair of hosts that talk."""


class HostSection(Settings):
    """What is special about some hosts. Later sections win."""

    nodes: Who = "all"
    up_bytes_per_s: Bandwidth = 1e12
    down_bytes_per_s: Bandwidth = 1e12
    """Access line, shared by all streams of the host, with queueing."""
    nat: Literal["open", "cone", "symmetric"] = "open"
    """``open`` is dialled by all. ``cone`` and ``symmetric`` are not: an open go-between that both
    reach must help. It brings ``open`` together with any, ``cone`` with ``cone``, and no others; a
    stream that exists works both ways (``simulator.wire.nat``)."""
    machine: Literal["cpu", "gpu-small", "gpu-large"] = "cpu"
    """Class of the host: what a local step costs (``simulator.host.compute.MACHINES``)."""
    slowness: Annotated[float, Field(strict=False, gt=0.0, le=1e4)] = 1.0
    """Factor on compute cost: 1 an ordinary host."""
    straggle_rate: Rate = 0.0
    """Chance that a round's training takes ten times as long."""
    clock_skew_s: Annotated[float, Field(strict=False, ge=-1e7, le=1e7)] = 0.0
    clock_drift: Annotated[float, Field(strict=False, ge=-0.1, le=0.1)] = 0.0
    """Seconds of wall clock gained per second."""
    fsync_s: Seconds = 0.0
    disk_bytes: int = Field(default=1 << 40, ge=1024)
    """Size of the disk: writes above it fail."""


class FaultSection(Settings):
    """One fault: at ``at_s``, or when an honest node first reaches ``round`` (and ``phase``).

    It ends ``for_s`` later; 0: when all others are done, or after ``Scenario.heal_s``.
    """

    kind: Literal[
        "crash", "partition", "cut", "link", "slow", "clock", "disk_full", "lose_slots",
        "lose_disk", "reset", "dht", "churn", "late", "leave"
    ]  # fmt: skip
    nodes: Who = "all"
    at_s: Seconds | None = None
    round: int | None = Field(default=None, ge=1)
    phase: Phase = ""
    at_once: bool = False
    """With a phase: it begins when an honest node that does not lead reaches the step, and who
    crashes dies at that moment, wherever it stands. False: each dies in that step of its own."""
    for_s: Seconds = 0.0
    every_s: Seconds = 0.0
    """``churn``: mean time that a node stays (exponential); ``reset``: pause between two, 0: one
    reset."""
    down_s: Seconds = 2.0
    """``churn``: mean time that a node is away (exponential)."""
    at_most: int = Field(default=0, ge=0, le=ELECTORS_MAX)
    """``churn``: most electors that are away at once; 0: f."""
    others: Who = "all"
    """``cut``, ``link``, ``reset``: the other ends, from ``nodes`` to ``others``."""
    both: bool = True
    """``cut``: both directions."""
    link: LinkSection | None = None
    """``link``: the model that replaces the default."""
    factor: Annotated[float, Field(strict=False, gt=0.0, le=1e6)] = 10.0
    """``slow``: slowness."""
    jump_s: Annotated[float, Field(strict=False, ge=-1e7, le=1e7)] = 60.0
    """``clock``: how far the clock jumps; back again at the end, if ``for_s`` is given."""
    dht: Literal["stale", "missing", "withheld", "rolled_back", "conflicting"] = "stale"
    rate: Rate = 1.0
    """``dht``: share of the answers that are wrong."""

    @model_validator(mode="after")
    def _is_whole(self) -> "FaultSection":
        if self.at_s is not None and self.round is not None:
            raise ValueError("give at_s or round, not both")
        if self.phase and self.round is None:
            raise ValueError("a phase needs its round")
        if self.at_once and not self.phase:
            raise ValueError("at_once needs the phase that it waits for")
        if self.kind == "link" and self.link is None:
            raise ValueError("the kind link needs the table link")
        if self.kind == "churn" and not self.every_s:
            raise ValueError("the kind churn needs every_s, how long a node stays on average")
        if self.kind == "late" and self.nodes in ("leader", "reducers", "all"):
            raise ValueError("who starts late is known before the run: give numbers")
        return self


class AttackSection(Settings):
    """Some nodes lie. ``artel.attacks`` names the classes."""

    name: str = Field(pattern=r"^[a-z][a-z0-9_]{0,31}\z")
    nodes: Many[int] = Field(default=())
    """Electors, or followers; empty: the last f electors."""
    scale: Annotated[float, Field(strict=False, ge=0.0, le=1e9)] = 1.0


class ExpectSection(Settings):
    """What this scenario promises beyond the invariants that always hold."""

    loss_max: Annotated[float, Field(strict=False, gt=0.0)] | None = None
    """Bound on the last ``loss`` of every honest node."""
    recovery_s_max: Seconds = 600.0
    """Virtual time from the end of the last fault until every honest node has a new round."""
    rounds_min: int = Field(default=0, ge=0)
    """Certified, not skipped rounds."""
    finish: bool = True
    """The job ends at every honest node."""


class Scenario(Settings):
    """Everything about a run but its seed."""

    name: str = Field(default="unnamed", pattern=r"^[a-z0-9_-]{1,64}\z")
    about: str = Field(default="", max_length=300)
    """One sentence for ``artel sim scenarios``."""
    nodes: int = Field(default=5, ge=1, le=ELECTORS_MAX)
    """Electors."""
    followers: int = Field(default=0, ge=0, le=2000)
    """Nodes that follow the job without a vote."""
    rounds: int = Field(default=10, ge=1, le=100_000)
    heal_s: Seconds = 60.0
    """Longest life of a fault without ``for_s``: then all is healed."""
    limit_s: Seconds = 7200.0
    """Virtual time after which the run is given up."""
    shuffle_ties: bool = False
    """Shuffle what happens at the same instant, by the seed."""
    framed: bool = True
    """Real framing and stream code on every hop; False: whole messages, for large worlds."""
    signer: Literal["keyed", "ed25519"] = "keyed"
    memo: bool = True
    """Share pure results between the daemons of the world by content hash."""
    job: dict[str, Any] = Field(default_factory=dict)
    """Tables of the job file: ``workload_name``, ``workload``, ``round``, ``exchange``,
    ``outer``. The rest is filled in. With ``exchange.replicas`` of at most f, liars alone may
    reduce a part: then the aggregate is promised only where an honest one is among them."""
    link: LinkSection = LinkSection()
    hosts: Many[HostSection] = ()
    faults: Many[FaultSection] = ()
    attacks: Many[AttackSection] = ()
    expect: ExpectSection = ExpectSection()

    @property
    def f(self) -> int:
        """Liars that the electorate survives."""
        return (self.nodes - 1) // 3

    @property
    def last(self) -> tuple[int, ...]:
        """The last f electors."""
        return tuple(range(self.nodes - self.f, self.nodes))

    @property
    def liars(self) -> dict[int, AttackSection]:
        """Node -> its attack."""
        found: dict[int, AttackSection] = {}
        for attack in self.attacks:
            for node in attack.nodes or self.last:
                found[node] = attack
        return found

    @model_validator(mode="after")
    def _fits(self) -> "Scenario":
        total = self.nodes + self.followers
        if any(host.nodes in ("leader", "reducers") for host in self.hosts):
            raise ValueError("leader and reducers are roles of a round; a host needs numbers")
        who: list[Who] = [host.nodes for host in self.hosts]
        who += [nodes for fault in self.faults for nodes in (fault.nodes, fault.others)]
        named = [n for nodes in who if not isinstance(nodes, str) for n in nodes]
        if bad := sorted({n for n in named if not 0 <= n < total}):
            text = f"its hosts and faults name {bad}, but there are only nodes 0 to {total - 1}"
            raise ValueError(f"{text}: give more nodes, or name others")
        if bad := sorted(n for n in self.liars if not 0 <= n < total):
            text = f"its attacks name {bad}, but there are only nodes 0 to {total - 1}"
            raise ValueError(f"{text}: give more nodes, or name others")
        return self

    @model_validator(mode="after")
    def _means_somebody(self) -> "Scenario":
        """No fault and no attack that silently hits nobody."""
        nobody = {"minority": not self.f, "third": self.nodes < 3, "liars": not self.liars}
        sections: list[HostSection | FaultSection] = [*self.hosts, *self.faults]
        for role in [s.nodes for s in sections] + [fault.others for fault in self.faults]:
            if isinstance(role, str) and nobody.get(role, False):
                text = f"its hosts or faults hit {role!r}, which is nobody here"
                raise ValueError(f"{text}: give more nodes or liars, or name numbers")
        for attack in self.attacks:
            if not (attack.nodes or self.f):
                text = f"nobody would play the attack {attack.name}: {self.nodes} electors bear no"
                raise ValueError(f"{text} liar; give 4 nodes or more, or name who lies anyway")
        lying = [n for attack in self.attacks for n in attack.nodes or self.last]
        if bad := sorted({n for n in lying if lying.count(n) > 1}):
            raise ValueError(f"nodes {bad} have two attacks each: give one")
        return self


SCENARIOS = files("simulator") / "scenarios"


def scenario_names() -> list[str]:
    """The named scenarios, sorted."""
    return sorted(
        f.name.removesuffix(".toml") for f in SCENARIOS.iterdir() if f.name.endswith(".toml")
    )


def load_scenario(name_or_path: str, overrides: dict[str, str] | None = None) -> Scenario:
    """A named scenario, or a TOML file's.

    Args:
        name_or_path: as in ``artel sim run``.
        overrides: ``link.loss_rate`` -> text, as ``--set`` gives it.

    Raises:
        ConfigError: no such scenario, or what is wrong in it.
    """
    path = Path(name_or_path)
    if path.suffix == ".toml" or "/" in name_or_path:
        try:
            text = path.read_text()
        except OSError as error:
            raise ConfigError(f"the scenario {name_or_path} cannot be read: {error}") from error
        name = path.stem
    elif name_or_path in scenario_names():
        text, name = (SCENARIOS / f"{name_or_path}.toml").read_text(), name_or_path
    else:
        known = ", ".join(scenario_names())
        raise ConfigError(f"there is no scenario {name_or_path!r}; there are: {known}")
    tables = read_toml(text, overrides or {}, name)
    return build(Scenario, {"name": name} | tables, name)


def to_toml(scenario: Scenario) -> str:
    """The scenario as a file that ``load_scenario`` reads; defaults are left out."""
    return "\n".join(_lines("", scenario.model_dump(exclude_defaults=True))) + "\n"


def _lines(path: str, table: Mapping[str, Any]) -> list[str]:
    """A table's own keys, then the tables inside it."""
    own, inner = [], []
    for key, value in table.items():
        name = f"{path}.{key}" if path else key
        if isinstance(value, Mapping):
            inner += ["", f"[{name}]", *_lines(name, value)]
        elif isinstance(value, (list, tuple)) and value and isinstance(value[0], Mapping):
            for item in value:
                inner += ["", f"[[{name}]]", *_lines(name, item)]
        else:
            own.append(f"{key} = {toml_value(value)}")
    return own + inner


def toml_value(value: object) -> str:
    """A value as TOML writes it; tables inline.

    Raises:
        ValueError: TOML has no such value.
    """
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, int | float):
        return repr(value)
    if isinstance(value, str):
        return json.dumps(value, ensure_ascii=False)
    if isinstance(value, (list, tuple)):
        return f"[{', '.join(map(toml_value, value))}]"
    if isinstance(value, Mapping):
        return "{" + ", ".join(f"{k} = {toml_value(v)}" for k, v in value.items()) + "}"
    raise ValueError(f"TOML has no {type(value).__name__}")
