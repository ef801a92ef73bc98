"""The benchmark: sums as rliable's, resumable runs, a report that mixes no protocols."""

import json
import multiprocessing
import os
import signal
import time

import numpy as np
import pytest

from workloads.api import WorkloadError
from workloads.bench.nait_command import bench_nait, parse_settings, pick_games
from workloads.bench.published import COLUMNS, DEVELOPMENT, SCORES
from workloads.bench.report import BESIDE, summarise, to_markdown
from workloads.bench.runs import Run, perform, read_result
from workloads.bench.scores import interquartile_mean, mean, middle, normalise

WHY = "the extra nait is not installed: pip install 'artel-node[nait]'"
SMALL = ["coefficients=3", "frames=1", "stall_steps=50"]


def published(column):
    at = COLUMNS.index(column)
    return {game: [normalise(s[at], s[0], s[1])] for game, s in SCORES.items()}


@pytest.mark.parametrize(
    ("column", "want_mean", "want_median"),
    [("SPR", 0.616, 0.396), ("IRIS", 1.046, 0.289), ("AKR2", 0.359, 0.212)],
)
def test_published_columns_sum_up_to_the_published_aggregates(column, want_mean, want_median):
    assert mean(published(column)) == pytest.approx(want_mean, abs=6e-4)
    assert middle(published(column)) == pytest.approx(want_median, abs=6e-4)


def test_interquartile_mean_cuts_a_quarter_of_all_runs_at_either_end():
    runs = {"a": [0.0, 100.0], "b": [1.0, 2.0], "c": [3.0, 4.0], "d": [-50.0]}
    assert interquartile_mean(runs) == pytest.approx(np.mean([0, 1, 2, 3, 4]))


def test_games_are_picked_by_number_or_name():
    assert len(pick_games("26")) == 26
    assert pick_games("8") == list(DEVELOPMENT)
    assert pick_games("MsPacman, qbert") == ["ms_pacman", "qbert"]
    with pytest.raises(WorkloadError, match="--games chess: write 26, 8, or some of alien"):
        pick_games("chess")


def test_settings_are_json_or_words():
    assert parse_settings(["gamma=0.9", "update=end_of_trace", "fire=true"]) == {
        "gamma": 0.9,
        "update": "end_of_trace",
        "fire": True,
    }
    with pytest.raises(WorkloadError, match="write it as KEY=VALUE"):
        parse_settings(["gamma"])


def result(game, seed, score, protocol="standard"):
    return {
        "game": game,
        "seed": seed,
        "protocol": protocol,
        "steps": 1,
        "settings": {},
        "score": score,
        "wall_s": 1.0,
        "cpu_s": 1.0,
        "steps_per_cpu_s": 1.0,
        "actions": 4,
    }


@pytest.mark.parametrize("protocol", ["standard", "deterministic"])
def test_a_report_shows_only_columns_of_its_protocol(protocol):
    other = "deterministic" if protocol == "standard" else "standard"
    summary = summarise([result("pong", 0, 14.6, protocol)], ["pong"], protocol)
    text = to_markdown(summary)
    assert summary["rows"][0]["hns"] == pytest.approx(1)
    assert all(name in text for name in BESIDE[protocol])
    assert not any(name in text for name in BESIDE[other])


def test_a_bench_plays_reports_and_does_not_play_again(tmp_path, capsys):
    pytest.importorskip("ale_py", reason=WHY)
    arguments = ("pong,breakout", 1, "standard", 300, 2, SMALL, tmp_path, True)
    assert bench_nait(*arguments) == 0
    first = json.loads(capsys.readouterr().out)
    assert [row["game"] for row in first["rows"]] == ["pong", "breakout"]
    assert {p.name for p in tmp_path.iterdir()} == {
        "runs",
        "table.md",
        "table.json",
        "curves.png",
    }
    stamp = (tmp_path / "runs" / "pong-0.json").stat().st_mtime_ns
    assert bench_nait(*arguments) == 0
    assert (tmp_path / "runs" / "pong-0.json").stat().st_mtime_ns == stamp
    assert bench_nait("pong", 1, "standard", 400, 1, SMALL, tmp_path, True) == 2
    assert "of other steps or settings" in capsys.readouterr().err


def test_what_cannot_work_is_told_before_anything_is_played(tmp_path, capsys):
    pytest.importorskip("ale_py", reason=WHY)
    assert bench_nait("pong", 1, "standard", 9, 1, ["colour=1"], tmp_path, False) == 2
    assert "unknown key colour" in capsys.readouterr().err
    assert not (tmp_path / "runs").exists()


def play(run, folder, stop):
    """Steps heard, and the last word, of a run in a process that may be told to stop."""
    context, steps = multiprocessing.get_context("spawn"), []
    ours, theirs = context.Pipe(duplex=False)
    process = context.Process(target=perform, args=(run, folder, theirs))
    process.start()
    theirs.close()
    while isinstance(message := ours.recv(), tuple):
        steps.append(message[0])
        if stop and len(steps) == 1:
            os.kill(process.pid, signal.SIGTERM)
            time.sleep(0.01)
    process.join()
    return steps, message


def test_a_stopped_run_goes_on_where_it_stood(tmp_path):
    pytest.importorskip("ale_py", reason=WHY)
    run = Run("pong", 1, "standard", 1500, parse_settings(SMALL))
    first, word = play(run, tmp_path / "a", True)
    assert word == "stopped"
    assert first[-1] < 1500
    second, word = play(run, tmp_path / "a", False)
    assert word == "done"
    assert second[0] > first[-1]
    play(run, tmp_path / "b", False)
    again, whole = read_result(run, tmp_path / "a"), read_result(run, tmp_path / "b")
    assert again["episodes"] == whole["episodes"]
    assert again["metrics"]["entries_own"] == whole["metrics"]["entries_own"]
