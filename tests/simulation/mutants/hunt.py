"""Plants bugs one at a time and looks whether the invariants find them.

``python tests/simulation/mutants/hunt.py [--drawn] [--seeds 60] [--only NAME] [--jobs 2] [--json]``

Each mutant is hunted in its own short scenario; with ``--drawn`` in the scenarios that
``simulator.drawing`` gives for seeds 0 to SEEDS-1, until the first that shows it (but for those
that say why only their own can). The true node must pass the same runs. Exit code 0: every mutant
was found and the true node is innocent; 1: not so; 130: Ctrl-C.
"""

import argparse
import json
import os
import signal
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from functools import partial
from multiprocessing import get_context, resource_tracker

from mutant_kit import Catch, Mutant, hunt, violations_of
from mutants_bans import BANS
from mutants_durable import DURABLE
from mutants_maths import MATHS
from mutants_votes import VOTES

from node.adapters.process_tree import die_with_parent
from simulator.drawing.generate import draw
from simulator.scenario import Scenario

MUTANTS: dict[str, Mutant] = {m.name: m for m in (*VOTES, *DURABLE, *BANS, *MATHS)}
TRUE = "the true node"
DIRECTED_SEEDS = 8
LIMIT_S = 1000.0
"""Virtual seconds after which a drawn run has shown enough."""
TELL_EVERY = 10
"""Seeds between two lines of progress."""


@dataclass(frozen=True)
class Hunted:
    """What came of one mutant, or of the true node in its place."""

    name: str
    catch: Catch | None = None
    guilty: list[str] = field(default_factory=list)
    """What the true node violates in the same runs."""
    cpu_s: float = 0.0

    @property
    def ok(self) -> bool:
        """Found, and nobody else is."""
        return not self.guilty and (self.name == TRUE or self.catch is not None)

    def line(self) -> str:
        """For people."""
        lines = [f"{'':26} THE TRUE NODE FAILS: {text}" for text in self.guilty]
        if self.catch is not None:
            v = self.catch.violation
            where = f"seed {self.catch.seed:2} {self.cpu_s:6.1f} s"
            lines.insert(0, f"{self.name:26} {where} {v.invariant}: {v.text.splitlines()[-1]}")
            if MUTANTS[self.name].only_own:
                lines.append(f"{'':26} in its own scenario: {MUTANTS[self.name].only_own}")
        elif self.name == TRUE:
            lines.insert(0, f"{self.name:26} {'FAILS' if self.guilty else 'passes all seeds'}")
        else:
            text = MUTANTS[self.name].about
            lines.insert(0, f"{self.name:26} NOT FOUND in {self.cpu_s:.1f} s: {text}")
        return "\n".join(lines)

    def plain(self) -> dict[str, object]:
        """For ``--json``."""
        v = self.catch.violation if self.catch else None
        return {
            "name": self.name,
            "ok": self.ok,
            "seed": self.catch.seed if self.catch else None,
            "invariant": v.invariant if v else None,
            "text": v.text if v else None,
            "true_node": self.guilty,
            "only_own": MUTANTS[self.name].only_own if self.name in MUTANTS else "",
            "cpu_s": round(self.cpu_s, 1),
        }


def drawn_scenario(seed: int) -> Scenario:
    """The scenario of a seed, given up early: a bug that stalls a job need not stall the hunt."""
    scenario = draw(seed)
    return scenario.model_copy(update={"limit_s": min(LIMIT_S, scenario.limit_s)})


def hunt_one(
    name: str, seeds: int, drawn: bool, tell: Callable[[int], None] = lambda seed: None
) -> Catch | None:
    """Hunt a mutant by its name; ``tell`` is called before each drawn seed."""

    def scenario_of(seed: int) -> Scenario:
        tell(seed)
        return drawn_scenario(seed)

    if drawn:
        return hunt(MUTANTS[name], range(seeds), scenario_of)
    return hunt(MUTANTS[name], range(min(seeds, DIRECTED_SEEDS)))


def innocent(name: str, seed: int, drawn: bool) -> list[str]:
    """What the true node violates in the run that showed the mutant: nothing."""
    scenario, watchers = (drawn_scenario(seed), ()) if drawn else _directed(name)
    found = violations_of(scenario, seed, watchers)
    return [f"seed {seed}: {v.invariant}: {v.text}" for v in found]


def _directed(name: str) -> tuple[Scenario, tuple]:
    return MUTANTS[name].scenario, MUTANTS[name].watchers


def play(seeds: int, drawn: bool, name: str) -> Hunted:
    """One mutant; or ``TRUE``: all drawn seeds without any."""
    began = time.process_time()

    def tell(seed: int) -> None:
        if seed and seed % TELL_EVERY == 0:
            spent_s = time.process_time() - began
            text = f"  {name}: {seed} of {seeds} seeds in {spent_s:.0f} s"
            print(text, file=sys.stderr, flush=True)

    catch, guilty = None, []
    if name == TRUE:
        for seed in range(seeds):
            tell(seed)
            guilty += innocent(name, seed, drawn=True)
    else:
        drawn = drawn and not MUTANTS[name].only_own
        catch = hunt_one(name, seeds, drawn, tell)
    spent_s = time.process_time() - began
    if catch is not None and not drawn:
        guilty = innocent(name, catch.seed, drawn)
    return Hunted(name, catch, guilty, spent_s)


def results(names: Sequence[str], seeds: int, drawn: bool, jobs: int) -> Iterator[Hunted]:
    """As they come; closing the iterator ends the workers."""
    if jobs == 1:
        yield from map(partial(play, seeds, drawn), names)
        return
    resource_tracker.ensure_running()  # else its own start would unblock the signal
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:  # the workers inherit it: Ctrl-C is ours
        pool = get_context("spawn").Pool(jobs, die_with_parent, (os.getpid(),))
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
    with pool:
        yield from pool.imap_unordered(partial(play, seeds, drawn), names)


def main() -> int:
    """Hunt, show, and judge."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--only", action="append", choices=sorted(MUTANTS), metavar="NAME")
    parser.add_argument("--seeds", type=int, default=60)
    parser.add_argument("--jobs", type=int, default=1)
    parser.add_argument("--drawn", action="store_true", help="use drawn scenarios")
    parser.add_argument("--json", action="store_true", help="one object is the last line")
    chosen = parser.parse_args()
    if chosen.seeds < 1 or chosen.jobs < 1:
        parser.error("--seeds and --jobs are at least 1")
    names = [*(chosen.only or MUTANTS), *([TRUE] if chosen.drawn else [])]
    ended: list[Hunted] = []
    interrupted = False
    try:
        with closing(results(names, chosen.seeds, chosen.drawn, chosen.jobs)) as coming:
            for hunted in coming:
                ended.append(hunted)
                out = sys.stderr if chosen.json else sys.stdout
                print(hunted.line(), file=out, flush=True)
    except KeyboardInterrupt:
        interrupted = True
    failed = [hunted.name for hunted in ended if not hunted.ok]
    if chosen.json:
        whole = {"ok": not failed and not interrupted, "interrupted": interrupted}
        print(json.dumps(whole | {"hunted": [h.plain() for h in ended]}))
    else:
        found = sum(h.catch is not None for h in ended)
        text = f"{found} of {len(names) - chosen.drawn} mutants found; failed: {failed or 'none'}"
        print(text + "; interrupted" * interrupted)
    return 130 if interrupted else int(bool(failed))


if __name__ == "__main__":
    sys.exit(main())
