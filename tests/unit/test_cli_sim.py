"""``artel sim`` as a user meets it: help, exit codes, JSON, reports, traces, Ctrl-C."""

import json
import os
import signal
import subprocess
import sys
import time
import tomllib
from collections.abc import Generator, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil
import pytest

from node.cli import main
from simulator.invariants import Violation
from simulator.run import Outcome
from simulator.scenario import scenario_names
from simulator.swarm import Case, Result

COMMANDS = [[], ["run"], ["swarm"], ["replay"], ["shrink"], ["scenarios"]]

SPY = """
import sys
from node.cli import main
sys.argv = ["artel", *sys.argv[1:]]
code = main()
heavy = sorted({"torch", "hivemind", "numpy", "matplotlib"} & set(sys.modules))
import resource
usage = resource.getrusage(resource.RUSAGE_SELF)
print(code, heavy, usage.ru_utime + usage.ru_stime, file=sys.stderr)
"""


def artel(*words: object, code: int = 0, monkeypatch: pytest.MonkeyPatch) -> None:
    """Run the command in this process and check how it exits."""
    monkeypatch.setattr(sys, "argv", ["artel", *map(str, words)])
    assert main() == code, words


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.parametrize("words", COMMANDS, ids=lambda words: " ".join(words) or "sim")
def test_every_help_has_an_example(
    words: list[str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    artel("sim", *words, "--help", monkeypatch=monkeypatch)
    assert "Example: artel sim" in capsys.readouterr().out


@pytest.mark.parametrize("words", [["--help"], ["sim", "--help"], ["sim", "run", "--help"]])
def test_help_is_quick_and_imports_nothing_heavy(words: list[str]) -> None:
    done = subprocess.run(
        [sys.executable, "-c", SPY, *words], capture_output=True, text=True, check=False
    )
    code, heavy, cpu_s = done.stderr.splitlines()[-1].split()
    assert (code, heavy) == ("0", "[]")
    # Time on the CPU, which a busy machine does not change much.
    assert float(cpu_s) < 0.4
    assert "sim" in done.stdout


def test_a_package_whose_command_does_not_load_fails_alone(tmp_path: Path) -> None:
    folder = tmp_path / "bad_plugin-1.0.dist-info"
    folder.mkdir()
    (folder / "METADATA").write_text("Metadata-Version: 2.1\nName: bad-plugin\nVersion: 1.0\n")
    (folder / "entry_points.txt").write_text("[artel.commands]\nbad = no_such_module_at_all:app\n")

    def run(*words: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-m", "node", *words],
            env=os.environ | {"PYTHONPATH": str(tmp_path), "COLUMNS": "200"},
            capture_output=True,
            text=True,
            check=False,
        )

    listed = run("--help")
    assert listed.returncode == 0
    assert {"bad", "sim", "up"} <= {line.split()[0] for line in listed.stdout.splitlines() if line}
    failed = run("bad", "thing", "--option")
    assert failed.returncode == 2
    assert "the command bad (no_such_module_at_all:app) does not load" in failed.stderr
    assert "Traceback" not in failed.stderr
    assert run("--version").returncode == run("sim", "scenarios").returncode == 0


def test_what_cannot_work_is_one_sentence_and_code_2(
    here: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (here / "bad.toml").write_text("frobs = 3\n")
    (here / "file").write_text("")
    for words, hint in (
        (["run", "no_such"], "calm"),
        (["run", "missing.toml"], "missing.toml"),
        (["run", "bad.toml"], "frobs"),
        (["run", "calm", "--set", "rounds"], "section.key=value"),
        (["run", "calm", "--set", "link.loss_rate=2"], "link.loss_rate"),
        (["run", "calm", "--set", "job.exchange.frob=1"], "exchange.frob"),
        (["run", "calm", "--set", "attacks=[{name='frob'}]"], "frob"),
        (["run", "calm", "--out", "file/inside"], "file/inside"),
        (["run", "calm", "--trace", "no/folder/trace.txt"], "no/folder/trace.txt"),
        (["replay", "--seed", "1", "--out", "x"], "--trace"),
        (["replay", "--seed", "1", "--trace", "--toml"], "exclude"),
        (["shrink", "--seed", "0", "--scenario", "calm", "--set", "rounds=1"], "nothing to shrink"),
        (["swarm", "--seeds", "9..1"], "9..1"),
        (["swarm", "--seeds", "x"], "A..B"),
    ):
        artel("sim", *words, code=2, monkeypatch=monkeypatch)
        shown = capsys.readouterr()
        assert shown.out == ""
        assert len(shown.err.splitlines()) == 1, shown.err
        assert hint in shown.err, words


def test_a_run_writes_a_report_and_ends_with_one_json_object(
    here: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["run", "calm", "--seed", 3, "--nodes", 4, "--rounds", 2, "--json", "--no-plots"]
    artel("sim", *words, "--trace", "trace.txt", monkeypatch=monkeypatch)
    shown = capsys.readouterr()
    assert len(shown.out.splitlines()) == 1
    assert shown.err == ""
    result = json.loads(shown.out)
    assert set(result) == {
        "scenario", "seed", "ok", "violations", "rounds", "virtual_s", "wall_s", "events",
        "trace_digest", "metrics", "bans", "recovery_virtual_s", "not_shown",
    }  # fmt: skip
    assert (result["ok"], result["rounds"], result["seed"]) == (True, 2, 3)
    assert result["events"] == len(Path("trace.txt").read_text().splitlines())
    report = json.loads((here / "out/sim/calm-3/report.json").read_text())
    assert {key: report[key] for key in result} == result
    assert [node["name"] for node in report["nodes"]] == [f"node-{n}" for n in range(4)]
    # The replay line gives the same run.
    artel(*report["replay"].split()[1:], "--json", monkeypatch=monkeypatch)
    again = json.loads(capsys.readouterr().out)
    assert again["trace_digest"] == result["trace_digest"]


def test_a_violation_is_code_1_with_the_line_that_replays_it(
    here: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["sim", "run", "calm", "--set", "limit_s=0.8", "--no-plots", "--out", "here"]
    artel(*words, code=1, monkeypatch=monkeypatch)
    out = capsys.readouterr().out
    assert "FAILED: " in out
    assert "finish at 0.800 s: node-0" in out
    assert "again: artel sim replay --seed 0 --scenario calm --set limit_s=0.8" in out
    assert "FAILED" in Path("here/report.md").read_text().splitlines()[2]


def test_a_replay_writes_the_same_trace_again(
    here: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["sim", "replay", "--seed", "5", "--scenario", "calm", "--set", "rounds=2", "--trace"]
    artel(*words, monkeypatch=monkeypatch)
    on_stdout = capsys.readouterr()
    artel(*words, "--out", "trace.txt", monkeypatch=monkeypatch)
    assert on_stdout.out == Path("trace.txt").read_text()
    assert on_stdout.out.startswith("0.000000 node-0 start\n")
    assert "OK: every invariant held" in on_stdout.err


def test_a_drawn_scenario_can_be_kept_as_a_file(
    here: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    artel("sim", "replay", "--seed", "7", "--toml", "--out", "7.toml", monkeypatch=monkeypatch)
    assert tomllib.loads(Path("7.toml").read_text())["name"] == "seed-7"
    artel("sim", "replay", "--seed", "7", "--toml", monkeypatch=monkeypatch)
    assert capsys.readouterr().out == Path("7.toml").read_text()
    words = ["sim", "replay", "--seed", "7", "--scenario", "7.toml", "--toml"]
    artel(*words, monkeypatch=monkeypatch)
    assert capsys.readouterr().out == Path("7.toml").read_text()


def test_the_scenarios_are_listed_each_with_a_sentence(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    artel("sim", "scenarios", monkeypatch=monkeypatch)
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in lines] == scenario_names()
    artel("sim", "scenarios", "--json", monkeypatch=monkeypatch)
    listed = json.loads(capsys.readouterr().out)
    assert [entry["name"] for entry in listed] == scenario_names()
    assert all(entry["about"].endswith(".") for entry in listed)


def test_a_job_that_fails_at_every_node_ends_the_run_and_says_why(
    here: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["run", "calm", "--set", "hosts=[{disk_bytes=3000}]", "--json", "--no-plots"]
    artel("sim", *words, code=1, monkeypatch=monkeypatch)
    result = json.loads(capsys.readouterr().out)
    assert result["virtual_s"] < 20
    report = json.loads((here / "out/sim/calm-0/report.json").read_text())
    assert {failure["node"] for failure in report["job_failures"]} == {
        f"node-{n}" for n in range(5)
    }
    assert all("No space left" in f["reason"] for f in report["job_failures"])


def test_a_swarm_shows_and_keeps_every_seed_and_how_to_replay_a_failure(
    here: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("simulator.cli.swarm_command.swarm", two_ends)
    artel("sim", "swarm", "--seeds", "3..4", "--out", "kept", code=1, monkeypatch=monkeypatch)
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[:2] for line in lines[1:3]] == [["4", "ok"], ["3", "FAIL"]]
    assert lines[2].endswith("no_crash: ValueError: five")
    assert lines[3] == "1 of 2 runs hold every invariant"
    assert lines[-1] == "again: artel sim replay --seed 3"
    kept = [json.loads(line) for line in Path("kept/results.jsonl").read_text().splitlines()]
    assert [(r["seed"], r["ok"], r["replay"]) for r in kept] == [
        (4, True, "artel sim replay --seed 4"),
        (3, False, "artel sim replay --seed 3"),
    ]
    assert tomllib.loads(Path("kept/seed-3.toml").read_text())["name"] == "seed-3"
    assert not Path("kept/seed-4.toml").exists()
    artel("sim", "swarm", "--seeds", "3..9", "--json", code=1, monkeypatch=monkeypatch)
    result = json.loads(capsys.readouterr().out)
    assert (result["ok"], result["runs"], result["ended"]) == (False, 7, 2)
    assert result["failed"] == ["artel sim replay --seed 3"]
    assert [r["seed"] for r in result["results"]] == [3, 4]


def test_a_swarm_of_named_scenarios_replays_by_name(
    here: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def ends(cases: Iterable[Case], **_how: object) -> Generator[Result, None, None]:
        for case in cases:
            yield Result(case, Outcome("calm", case[1], ok=True))

    monkeypatch.setattr("simulator.cli.swarm_command.swarm", ends)
    words = ["--seeds", "2..3", "--scenario", "calm", "--json"]
    artel("sim", "swarm", *words, monkeypatch=monkeypatch)
    result = json.loads(capsys.readouterr().out)
    assert [r["replay"] for r in result["results"]] == [
        "artel sim run calm --seed 2",
        "artel sim run calm --seed 3",
    ]


def two_ends(*_cases: object, jobs: int, minutes: float | None) -> Generator[Result, None, None]:
    """What a swarm yields: one seed that held, then one that did not."""
    good = Outcome("seed-4", 4, ok=True, rounds=7, virtual_s=9.5, wall_s=0.5)
    text = "  + Exception Group Traceback (most recent call last):\n  | ValueError: five\n  +----"
    bad = Outcome("seed-3", 3, violations=[Violation(1.0, "no_crash", text)])
    for outcome in (good, bad):
        yield Result((None, outcome.seed), outcome)


def test_a_failure_is_shrunk_to_a_file_that_still_fails(
    here: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["--scenario", "calm", "--set", "expect.loss_max=1e-9", "--set", "followers=1"]
    words += ["--runs", "25", "--out", "small.toml", "--json"]
    artel("sim", "shrink", "--seed", "0", *words, monkeypatch=monkeypatch)
    result = json.loads(capsys.readouterr().out)
    assert result["toml"] == Path("small.toml").read_text()
    small = tomllib.loads(result["toml"])
    assert "followers" not in small
    assert small["nodes"] < 5
    assert result["command"] == "artel sim run small.toml --seed 0"
    artel(*result["command"].split()[1:], "--json", "--no-plots", code=1, monkeypatch=monkeypatch)
    again = json.loads(capsys.readouterr().out)
    assert result["invariant"] in {v["invariant"] for v in again["violations"]}


@contextmanager
def started(*words: str, cwd: Path) -> Iterator["subprocess.Popen[str]"]:
    """A command in a process group of its own; a test that fails leaves none of it behind."""
    process = subprocess.Popen(
        [sys.executable, "-m", "node", *words],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        cwd=cwd,
        start_new_session=True,
    )
    try:
        yield process
    finally:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
            process.communicate()


@pytest.mark.parametrize("import_s", [0.0, 0.3, 2.0])
def test_ctrl_c_ends_a_swarm_and_all_its_processes(import_s: float, tmp_path: Path) -> None:
    words = ["sim", "swarm", "--seeds", "0..999999999", "--jobs", "2"]
    with started(*words, cwd=tmp_path) as process:
        assert process.stdout is not None
        assert process.stdout.readline().startswith("run")
        workers: list[psutil.Process] = []
        while len(workers) < 3:  # two, and what Python starts to look after them
            time.sleep(0.05)
            workers = psutil.Process(process.pid).children(recursive=True)
        time.sleep(import_s)
        os.killpg(process.pid, signal.SIGINT)
        out, err = process.communicate(timeout=30)
        assert (process.returncode, err) == (130, "")
        assert "were not run" in out
        assert psutil.wait_procs(workers, timeout=10)[1] == []


def test_ctrl_c_ends_a_run_with_130_and_keeps_what_was_seen(tmp_path: Path) -> None:
    trace = tmp_path / "trace.txt"
    words = ["sim", "run", "calm", "--rounds", "100000", "--out", ".", "--trace", str(trace)]
    with started(*words, "--no-plots", cwd=tmp_path) as process:
        deadline_s = time.monotonic() + 60
        while not (trace.exists() and "round_certified" in trace.read_text()):
            assert time.monotonic() < deadline_s, "it never began"
            time.sleep(0.05)
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=30)
    assert process.returncode == 130, err
    assert "interrupted" in out
    report = json.loads((tmp_path / "report.json").read_text())
    assert not report["ok"]
    assert report["rounds"] >= 1
    assert report["round_log"]
