"""Five planted bugs that the invariants find at once; all of them: ``hunt.py``."""

import importlib
import sys
from pathlib import Path
from types import ModuleType

import pytest

HERE = str(Path(__file__).parent)
QUICK = (
    "no_lock", "sent_before_durable", "restart_commits_anew", "rule_without_defence",
    "feedback_after_exclusion",
)  # fmt: skip


@pytest.fixture(scope="module")
def hunting() -> ModuleType:
    """``hunt.py``; the folder is no package, so its modules are found by path."""
    if HERE not in sys.path:
        sys.path.insert(0, HERE)
    return importlib.import_module("hunt")


@pytest.mark.sim
@pytest.mark.parametrize("name", QUICK)
def test_the_invariants_find_a_planted_bug_and_acquit_the_true_node(
    hunting: ModuleType, name: str
) -> None:
    catch = hunting.hunt_one(name, 8, False)
    assert catch is not None, hunting.MUTANTS[name].about
    assert catch.violation.invariant in hunting.MUTANTS[name].expects
    assert hunting.innocent(name, catch.seed, False) == []


@pytest.mark.slow
def test_every_planted_bug_is_found_in_its_own_scenario(hunting: ModuleType) -> None:
    missed = [name for name in hunting.MUTANTS if hunting.hunt_one(name, 8, False) is None]
    assert missed == []


def test_there_are_enough_bugs_and_each_names_what_should_fail(hunting: ModuleType) -> None:
    assert len(hunting.MUTANTS) >= 20
    assert all(m.about and m.expects for m in hunting.MUTANTS.values())


def test_a_mutant_leaves_nothing_behind(hunting: ModuleType) -> None:
    def bound() -> dict[tuple[str, str], int]:
        kinds = [(m, vars(m)) for k, m in sorted(sys.modules.items()) if k.startswith("node.")]
        names = {(m.__name__, n): id(v) for m, table in kinds for n, v in table.items()}
        for module, table in kinds:
            for cls in [c for c in table.values() if isinstance(c, type)]:
                key = f"{module.__name__}.{cls.__qualname__}"
                names |= {(key, n): id(v) for n, v in vars(cls).items()}
        return names

    before = bound()
    for mutant in hunting.MUTANTS.values():
        with mutant.plant():
            assert bound() != before, mutant.name
        assert bound() == before, mutant.name
