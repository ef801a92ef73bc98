"""Every named scenario replays: the same trace under other hash seeds, orders and debug modes."""

import json
import os
import subprocess
import sys
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from simulator.scenario import scenario_names

SEED = 3
# Short runs: every kind of message is in two rounds. Later faults come in whole runs only.
WHOLE = "ARTEL_SIM_WHOLE" in os.environ
SHORT = {} if WHOLE else {"rounds": "2", "limit_s": "30", "heal_s": "5"}
# One process runs all scenarios, since imports cost more than most of them. The second runs them in
# the other order, so that what one run leaves behind in the process would show in the next.
RUNS = """
import json, sys
from simulator.run import run_scenario
from simulator.scenario import load_scenario, scenario_names
short = json.loads(sys.argv[1])
names = scenario_names()
for name in reversed(names) if sys.argv[2] == "reversed" else names:
    outcome = run_scenario(load_scenario(name, short), int(SEED))
    shown = [outcome.trace_digest, outcome.events, outcome.virtual_s, outcome.rounds]
    broken = [v.text for v in outcome.violations if v.invariant == "no_crash"]
    print(json.dumps([name, *shown, sorted(outcome.metrics.items()), broken]), flush=True)
""".replace("SEED", str(SEED))
KINDS: Mapping[str, tuple[tuple[str, ...], str, str]] = {
    "-X dev": (("-X", "dev"), "7", "sorted"),  # first: it takes as long as the others together
    "plain": ((), "0", "sorted"),
    "other hash seed and order": ((), "4242", "reversed"),
}
PROCESS_S_MAX = 3000.0 if WHOLE else 280.0
"""Far above what one takes (15 s of a core, 45 s with -X dev, short): only a hang is an error."""

Shown = dict[str, list[Any]]


def run_all(kind: str) -> Shown:
    """Scenario -> what its run showed, in a process of its own."""
    options, hash_seed, order = KINDS[kind]
    done = subprocess.run(
        [sys.executable, *options, "-c", RUNS, json.dumps(SHORT), order],
        env={"PYTHONHASHSEED": hash_seed, "OMP_NUM_THREADS": "1", "PATH": ""},
        stdout=subprocess.PIPE, text=True, check=True, timeout=PROCESS_S_MAX,
    )  # fmt: skip
    return {name: shown for name, *shown in map(json.loads, done.stdout.splitlines())}


@pytest.fixture(scope="module")
def shown() -> dict[str, Shown]:
    with ThreadPoolExecutor(2) as pool:
        return dict(zip(KINDS, pool.map(run_all, KINDS), strict=True))


@pytest.mark.sim
@pytest.mark.timeout(3 * PROCESS_S_MAX)
@pytest.mark.parametrize("name", scenario_names())
def test_a_scenario_replays_in_another_process(name: str, shown: dict[str, Shown]) -> None:
    first, *others = (runs[name] for runs in shown.values())
    assert first[1] > 50, "nothing happened"
    for other in others:
        assert other == first
