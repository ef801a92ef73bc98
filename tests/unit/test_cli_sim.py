"""``artel sim`` as a user meets it: help, exit codes, JSON, reports, traces, Ctrl-C."""

import json
import os
import signal
import subprocess
import sys
import time
import tomllib
from pathlib import Path

import pytest

from node.cli import main
from simulator.scenario import scenario_names

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
        (["run", "calm", "--out", "file/inside"], "file/inside"),
        (["run", "calm", "--trace", "no/folder/trace.txt"], "no/folder/trace.txt"),
        (["replay", "--seed", "1", "--out", "x"], "--trace"),
        (["replay", "--seed", "1", "--trace", "--toml"], "exclude"),
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
        "trace_digest", "metrics", "bans", "recovery_virtual_s",
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


def test_ctrl_c_ends_a_run_with_130_and_keeps_what_was_seen(tmp_path: Path) -> None:
    trace = tmp_path / "trace.txt"
    words = ["sim", "run", "calm", "--rounds", "100000", "--out", tmp_path, "--trace", trace]
    process = subprocess.Popen(
        [sys.executable, "-m", "node", *map(str, words), "--no-plots"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
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
