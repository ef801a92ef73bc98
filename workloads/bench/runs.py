"""One run of a benchmark in a process of its own: resumable, and stopped cleanly by a signal."""

import json
import os
import signal
from collections.abc import Mapping
from dataclasses import dataclass
from multiprocessing.connection import Connection
from pathlib import Path
from time import perf_counter, process_time
from typing import Any

from workloads.api import WorkloadError

SLICE_STEPS = 500
"""Agent steps between two looks at the signal and two lines of progress."""
CHECKPOINT_STEPS = 20_000


@dataclass(frozen=True)
class Run:
    """What is played."""

    game: str
    seed: int
    protocol: str
    steps: int
    settings: Mapping[str, Any]
    """Changes to the default config."""

    @property
    def name(self) -> str:
        """Of its files."""
        return f"{self.game}-{self.seed}"

    @property
    def config(self) -> dict[str, Any]:
        """The workload table."""
        return {"environment": self.game, "protocol": self.protocol, **self.settings}


def result_path(run: Run, folder: Path) -> Path:
    """Where its result is, once it has ended."""
    return folder / "runs" / f"{run.name}.json"


def read_result(run: Run, folder: Path) -> dict[str, Any] | None:
    """The result of a run that has ended; None if it has not.

    Raises:
        WorkloadError: The folder holds a run of other steps or settings.
    """
    path = result_path(run, folder)
    if not path.exists():
        return None
    result: dict[str, Any] = json.loads(path.read_text())
    if result["steps"] != run.steps or result["settings"] != dict(run.settings):
        raise WorkloadError(f"{path} is of other steps or settings: choose another --out")
    return result


def perform(run: Run, folder: Path, progress: Connection) -> None:
    """The body of the process: play to the end, or until a signal, and keep what was played.

    Sends (steps, score) now and then, and at the end one word or what went wrong.
    """
    stopped: list[int] = []
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda received, _: stopped.append(received))
    try:
        progress.send(_play(run, folder, progress, stopped))
    except WorkloadError as error:
        progress.send(str(error))
    except BrokenPipeError:
        return  # whoever asked is gone


def _play(run: Run, folder: Path, progress: Connection, stopped: list[int]) -> str:
    from workloads.nait import Learner

    learner = Learner(run.config, run.seed)
    kept = folder / "runs" / f"{run.name}.npz"
    clock_file = folder / "runs" / f"{run.name}.clock.json"
    spent = {"wall_s": 0.0, "cpu_s": 0.0}
    if kept.exists():
        learner.restore(kept)
        spent |= json.loads(clock_file.read_text())
    begun = (perf_counter() - spent["wall_s"], process_time() - spent["cpu_s"])

    def used() -> dict[str, float]:
        return {"wall_s": perf_counter() - begun[0], "cpu_s": process_time() - begun[1]}

    next_checkpoint = learner.steps + CHECKPOINT_STEPS
    while learner.steps < run.steps and not stopped:
        learner.play(min(SLICE_STEPS, run.steps - learner.steps), float("inf"), perf_counter)
        progress.send((learner.steps, learner.records.recent()))
        if learner.steps >= next_checkpoint:
            next_checkpoint += CHECKPOINT_STEPS
            _write_json(clock_file, used())
            learner.checkpoint(kept)
    if learner.steps < run.steps:
        _write_json(clock_file, used())
        learner.checkpoint(kept)
        return "stopped"
    _write_json(result_path(run, folder), _summarise(run, learner, used()))
    learner.artifacts(folder / "runs" / run.name)
    kept.unlink(missing_ok=True)
    clock_file.unlink(missing_ok=True)
    return "done"


def _summarise(run: Run, learner: Any, used: Mapping[str, float]) -> dict[str, Any]:
    records = learner.records
    return {
        "game": run.game,
        "seed": run.seed,
        "protocol": run.protocol,
        "steps": run.steps,
        "settings": dict(run.settings),
        "config": learner.config.model_dump(),
        "score": records.recent(),
        "score_last5": records.recent(5),
        "score_last100": records.recent(100),
        "score_best": records.best,
        "metrics": learner.metrics(),
        "episodes": [[e.end_step, e.score, e.steps, int(e.stalled)] for e in records.episodes],
        "wall_s": round(used["wall_s"], 2),
        "cpu_s": round(used["cpu_s"], 2),
        "steps_per_cpu_s": round(run.steps / used["cpu_s"], 1),
        "actions": learner.environment.actions,
    }


def _write_json(path: Path, value: Mapping[str, Any]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f".{path.name}.part")
    partial.write_text(json.dumps(value) + "\n")
    os.replace(partial, path)
