"""Plants bugs one at a time and looks whether the invariants find them.

``python tests/simulation/mutants/hunt.py [--only NAME] [--seeds 60] [--jobs 2] [--drawn]``

Each mutant is first hunted in its own short scenario; with ``--drawn`` in the scenarios that
``simulator.drawing`` gives for seeds 0 to SEEDS-1. The true node must pass the same runs.
"""

import argparse
import sys
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context

from mutant_kit import Catch, Mutant, hunt, violations_of
from mutants_durable import DURABLE
from mutants_maths import MATHS
from mutants_votes import VOTES

from simulator.drawing.generate import draw
from simulator.scenario import Scenario

MUTANTS: dict[str, Mutant] = {m.name: m for m in (*VOTES, *DURABLE, *MATHS)}
DIRECTED_SEEDS = 8
LIMIT_S = 1000.0
"""Virtual seconds after which a drawn run has shown enough."""


def drawn_scenario(seed: int) -> Scenario:
    """The scenario of a seed, given up early: a bug that stalls a job need not stall the hunt."""
    scenario = draw(seed)
    return scenario.model_copy(update={"limit_s": min(LIMIT_S, scenario.limit_s)})


def hunt_one(name: str, seeds: int, drawn: bool) -> Catch | None:
    """Hunt a mutant by its name; for worker processes."""
    if drawn:
        return hunt(MUTANTS[name], range(seeds), drawn_scenario)
    return hunt(MUTANTS[name], range(min(seeds, DIRECTED_SEEDS)))


def innocent(name: str, seed: int, drawn: bool) -> list[str]:
    """What the true node violates in the run that showed the mutant: nothing."""
    mutant = MUTANTS[name]
    scenario, watchers = (drawn_scenario(seed), ()) if drawn else (mutant.scenario, mutant.watchers)
    return [f"{v.invariant}: {v.text}" for v in violations_of(scenario, seed, watchers)]


def _try(args: tuple[str, int, bool]) -> tuple[str, Catch | None, list[str]]:
    name, seeds, drawn = args
    catch = hunt_one(name, seeds, drawn)
    return name, catch, innocent(name, catch.seed, drawn) if catch else []


def main() -> int:
    """0 if every mutant was found and the true node is innocent."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--only", action="append", choices=sorted(MUTANTS))
    parser.add_argument("--seeds", type=int, default=60)
    parser.add_argument("--jobs", type=int, default=1)
    parser.add_argument("--drawn", action="store_true", help="use drawn scenarios")
    chosen = parser.parse_args()
    work = [(name, chosen.seeds, chosen.drawn) for name in chosen.only or MUTANTS]
    failed = 0
    with ProcessPoolExecutor(chosen.jobs, mp_context=get_context("spawn")) as pool:
        for name, catch, guilty in pool.map(_try, work):
            if catch is None:
                failed += 1
                print(f"{name:26} NOT FOUND: {MUTANTS[name].about}", flush=True)
                continue
            failed += bool(guilty)
            v = catch.violation
            print(f"{name:26} seed {catch.seed} {catch.seconds:5.1f} s {v.invariant}: {v.text}")
            for line in guilty:
                print(f"{'':26} THE TRUE NODE FAILS TOO: {line}", flush=True)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
