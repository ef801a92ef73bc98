"""Makes a failing scenario smaller while the same invariant still fails.

Greedy, after Zeller and Hildebrandt 2002, "Simplifying and isolating failure-inducing input": each
pass tries to take something away, large pieces first, keeps what still fails, and passes repeat
until none helps. Streams of draws are independent, so what is taken away shifts no other draw.
"""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from pydantic import ValidationError

from node.errors import ConfigError
from simulator.run import Outcome, run_scenario
from simulator.scenario import LinkSection, Scenario, to_toml

RUNS_MAX = 200
"""Runs that one shrinking may take."""
LOST = ("lose_slots", "lose_disk")

Fails = Callable[[Scenario, int], bool]
Tables = dict[str, Any]


@dataclass(frozen=True)
class Shrunk:
    """The smallest scenario found."""

    scenario: Scenario
    seed: int
    runs: int
    """Scenarios that were tried."""

    @property
    def toml(self) -> str:
        """As a file."""
        return to_toml(self.scenario)

    def command(self, path: str) -> str:
        """The line that runs it, once it is saved there."""
        return f"artel sim run {path} --seed {self.seed}"


def fails_alike(outcome: Outcome) -> Fails:
    """Whether a run fails in the first way in which ``outcome`` did.

    Raises:
        ValueError: nothing failed.
    """
    if not outcome.violations:
        raise ValueError("nothing failed, so there is nothing to shrink")
    invariant = outcome.violations[0].invariant

    def fails(scenario: Scenario, seed: int) -> bool:
        try:
            found = run_scenario(scenario, seed).violations
        except ConfigError:  # what is left of the job cannot run
            return False
        return any(violation.invariant == invariant for violation in found)

    return fails


def shrink(
    scenario: Scenario,
    seed: int,
    fails: Fails,
    *,
    runs_max: int = RUNS_MAX,
    on_smaller: Callable[[Scenario, int], None] = lambda _scenario, _runs: None,
) -> Shrunk:
    """Take away what the failure does not need.

    Args:
        scenario: fails.
        seed: with which it does.
        fails: says whether a scenario still does; not asked about ``scenario`` itself.
        runs_max: bound on the calls of ``fails``.
        on_smaller: told of each smaller scenario and the runs so far.
    """
    seen, fair = {to_toml(scenario)}, is_fair(scenario)
    improved = True
    while improved:
        improved = False
        for attempts in PASSES:
            tried = attempts(scenario)
            while (candidate := next(tried, None)) is not None:
                smaller = _build(candidate)
                if smaller is None or (fair and not is_fair(smaller)):
                    continue
                if to_toml(smaller) in seen:
                    continue
                if len(seen) > runs_max:
                    return Shrunk(scenario, seed, runs_max)
                seen.add(to_toml(smaller))
                if fails(smaller, seed):
                    scenario, improved = smaller, True
                    on_smaller(scenario, len(seen) - 1)
                    tried = attempts(scenario)
    return Shrunk(scenario, seed, len(seen) - 1)


def is_fair(scenario: Scenario) -> bool:
    """Are liars and electors that can never sign again at most f?"""
    lost = {
        n
        for fault in scenario.faults
        if fault.kind in LOST and not isinstance(fault.nodes, str)
        for n in fault.nodes
        if n < scenario.nodes
    }
    return len(lost | set(scenario.liars)) <= scenario.f


def _build(tables: Tables) -> Scenario | None:
    try:
        return Scenario.model_validate(tables)
    except ValidationError:
        return None


# Passes: each yields smaller candidates of a scenario, the boldest first -------------------------


def _sections(name: str) -> Callable[[Scenario], Iterator[Tables]]:
    """Runs of sections away: all, halves, ..., single ones."""

    def attempts(scenario: Scenario) -> Iterator[Tables]:
        tables = scenario.model_dump()
        items = tables[name]
        size = len(items)
        while size:
            for start in range(0, len(items), size):
                yield tables | {name: items[:start] + items[start + size :]}
            size //= 2

    return attempts


def _count(name: str, least: int) -> Callable[[Scenario], Iterator[Tables]]:
    """A smaller number: the least, the half, one less."""

    def attempts(scenario: Scenario) -> Iterator[Tables]:
        tables = scenario.model_dump()
        value = tables[name]
        for smaller in sorted({least, value // 2, value - 1}):
            if least <= smaller < value:
                yield tables | {name: smaller}

    return attempts


def _followers(scenario: Scenario) -> Iterator[Tables]:
    """Followers away, the last first."""
    total = scenario.nodes + scenario.followers
    if scenario.followers:
        everybody = list(range(scenario.nodes, total))
        yield without(scenario, everybody) | {"followers": 0}
        for node in reversed(everybody):
            yield without(scenario, [node]) | {"followers": scenario.followers - 1}


def _electors(scenario: Scenario) -> Iterator[Tables]:
    """Electors away: three at a time (one liar less is borne), then one."""
    for size in (3, 1):
        for first in reversed(range(0, scenario.nodes - size + 1, size)):
            if scenario.nodes > size:
                gone = list(range(first, first + size))
                yield without(scenario, gone) | {"nodes": scenario.nodes - size}


def without(scenario: Scenario, gone: list[int]) -> Tables:
    """The scenario's tables without these nodes; later ones move up."""
    tables = scenario.model_dump()

    def moved(nodes: Any) -> Any:
        if isinstance(nodes, str):
            return nodes
        return tuple(n - sum(g < n for g in gone) for n in nodes if n not in gone)

    for name in ("hosts", "faults", "attacks"):
        kept = []
        for section in tables[name]:
            nodes = section["nodes"]
            if name == "attacks" and not nodes:
                nodes = scenario.last
            section |= {"nodes": moved(nodes)}
            if "others" in section:
                section |= {"others": moved(section["others"])}
            if section["nodes"] and section.get("others", "all"):
                kept.append(section)
        tables[name] = tuple(kept)
    return tables


def _plainer_link(scenario: Scenario) -> Iterator[Tables]:
    tables, plain = scenario.model_dump(), LinkSection().model_dump()
    yield tables | {"link": plain}
    for key, value in plain.items():
        yield tables | {"link": tables["link"] | {key: value}}


def _plainer_run(scenario: Scenario) -> Iterator[Tables]:
    tables = scenario.model_dump()
    plain = {"framed": False, "shuffle_ties": False, "memo": True, "signer": "keyed"}
    for key, value in plain.items():
        yield tables | {key: value}


def _plainer_job(scenario: Scenario) -> Iterator[Tables]:
    """Settings of the job away, one at a time: the node's defaults come in."""
    tables = scenario.model_dump()
    job = tables["job"]
    for name, table in job.items():
        for key in table if isinstance(table, Mapping) else ():
            rest = {k: v for k, v in table.items() if k != key}
            yield tables | {"job": job | {name: rest}}


def _plainer_faults(scenario: Scenario) -> Iterator[Tables]:
    """Fewer nodes in each fault, and no step."""
    tables = scenario.model_dump()
    faults = tables["faults"]
    for at, fault in enumerate(faults):
        changes: list[Tables] = [{"phase": "", "at_once": False}] if fault["phase"] else []
        for key in ("nodes", "others"):
            nodes = fault[key]
            if not isinstance(nodes, str) and len(nodes) > 1:
                changes += [{key: tuple(m for m in nodes if m != n)} for n in nodes]
        for change in changes:
            yield tables | {"faults": (*faults[:at], fault | change, *faults[at + 1 :])}


PASSES = (
    _sections("faults"),
    _sections("attacks"),
    _sections("hosts"),
    _followers,
    _count("rounds", 1),
    _electors,
    _plainer_link,
    _plainer_run,
    _plainer_faults,
    _plainer_job,
)
