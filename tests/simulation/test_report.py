"""The report tells what the trace tells, changes nothing, and is the same for the same seed."""

import io
import json
import re
from pathlib import Path

import pytest
from matplotlib.figure import Figure
from matplotlib.text import Text

from simulator.report import plots
from simulator.report.recorder import Recorder
from simulator.report.report import Report, make_report, write_report
from simulator.report.spans import Span, spans
from simulator.report.text import PLOTS, summary, to_markdown
from simulator.run import Outcome, run_scenario
from simulator.scenario import AttackSection, FaultSection, LinkSection, Scenario
from simulator.world import World

CRASHES = Scenario(
    name="crashes",
    nodes=5,
    rounds=16,
    link=LinkSection(latency_s=0.02, jitter_s=0.01),
    faults=(
        FaultSection(kind="crash", nodes=(2,), at_s=2.0, for_s=3.0),
        FaultSection(kind="late", nodes=(1,), at_s=1.5),
    ),
)
LIARS = Scenario(
    name="liars",
    nodes=7,
    followers=1,
    rounds=5,
    attacks=(AttackSection(name="silent", nodes=(5,)), AttackSection(name="garbage", nodes=(6,))),
)


def recorded(scenario: Scenario, seed: int) -> tuple[Report, Outcome, list[str]]:
    seen: list[Recorder] = []
    trace = io.StringIO()

    def record(world: World) -> Recorder:
        seen.append(Recorder(world))
        return seen[0]

    outcome = run_scenario(scenario, seed, trace=trace, watchers=[record])
    line = f"artel sim replay --seed {seed}"
    return make_report(scenario, outcome, seen[0], line), outcome, trace.getvalue().splitlines()


@pytest.fixture(scope="module")
def crashes() -> tuple[Report, Outcome, list[str]]:
    return recorded(CRASHES, 3)


@pytest.fixture(scope="module")
def liars() -> Report:
    return recorded(LIARS, 4)[0]


def test_recording_changes_nothing(crashes: tuple[Report, Outcome, list[str]]) -> None:
    plain = run_scenario(CRASHES, 3)
    assert (plain.trace_digest, plain.events) == (crashes[1].trace_digest, crashes[1].events)


def test_the_same_seed_gives_the_same_report(crashes: tuple[Report, Outcome, list[str]]) -> None:
    again = recorded(CRASHES, 3)[0]
    assert json.dumps(again | {"wall_s": 0}) == json.dumps(crashes[0] | {"wall_s": 0})


def test_recoveries_are_those_of_the_trace(crashes: tuple[Report, Outcome, list[str]]) -> None:
    report, _, lines = crashes
    told = {r["what"]: r for r in report["recoveries"]}
    assert {"node-1 joins late", "node-2 comes back"} <= set(told)
    for name in ("node-1 joins late", "node-2 comes back"):
        recovery, node = told[name], name.split()[0]
        started = max(float(x.split()[0]) for x in lines if re.search(rf"{node} start$", x))
        assert recovery["at_s"] == pytest.approx(started, abs=1e-6)
        news = re.compile(rf"^(\S+) {node} (?:round_certified|caught_up) .*\bround=(\d+)")
        reached = [
            float(match[1])
            for match in map(news.match, lines)
            if match and float(match[1]) >= started and int(match[2]) >= recovery["until_round"]
        ]
        assert recovery["took_s"] == pytest.approx(reached[0] - started, abs=1e-5)
        assert 0 < recovery["took_s"] < 60
        assert recovery["missing"] == []
    assert told["node-2 comes back"]["until_round"] > told["node-1 joins late"]["until_round"] - 1


def test_lives_and_faults_have_their_times(crashes: tuple[Report, Outcome, list[str]]) -> None:
    report, outcome, _ = crashes
    lives = {(life["node"], life["from_s"]): life for life in report["lives"]}
    assert lives[2, 0.0]["end"] == "crash"
    assert lives[2, 0.0]["to_s"] == pytest.approx(2.0, abs=0.2)
    assert lives[0, 0.0] == {"node": 0, "from_s": 0.0, "to_s": outcome.virtual_s, "end": "run"}
    assert (1, 1.5) in lives
    node = report["nodes"][2]
    assert (node["lives"], node["crashes"]) == (2, 1)
    (crash,) = [span for span in report["fault_spans"] if "node-2" in span["what"]]
    assert crash["to_s"] - crash["from_s"] == pytest.approx(3.0, abs=0.3)


def test_every_round_and_metric_is_there(crashes: tuple[Report, Outcome, list[str]]) -> None:
    report, outcome, _ = crashes
    assert [entry["round"] for entry in report["round_log"]] == list(range(1, 17))
    assert outcome.rounds == report["rounds"] == 16
    last = [p["value"] for p in report["metric_points"]["loss"] if p["round"] == 16]
    assert max(last) == outcome.metrics["loss"]
    times = [entry["first_s"] for entry in report["round_log"]]
    assert report["pause_s_max"] == pytest.approx(
        max(b - a for a, b in zip([0.0, *times], times, strict=False))
    )


def test_bytes_cover_what_was_asked_for(crashes: tuple[Report, Outcome, list[str]]) -> None:
    report, _, lines = crashes
    asked = sum(int(line.rsplit(" ", 3)[1]) for line in lines if " -> " in line)
    assert sum(call["bytes"] for call in report["calls"].values()) == asked
    assert sum(node["bytes_up"] for node in report["nodes"]) > 0.5 * asked
    for node in range(5):
        up = [s["up"] for s in report["traffic"] if s["node"] == node]
        assert up == sorted(up), "bytes are counted over all lives of a node"


def test_who_was_refused_and_why_is_told_by_node(liars: Report) -> None:
    nodes = {node["name"]: node for node in liars["nodes"]}
    assert nodes["node-5"]["refused"] == {"absent": 5}
    assert nodes["node-6"]["refused"] == {"bad_leaf": 5}
    assert (nodes["node-5"]["attack"], nodes["node-6"]["attack"]) == ("silent", "garbage")
    assert all(nodes[f"node-{n}"]["rounds_used"] == 5 for n in range(5))
    assert all(not nodes[f"node-{n}"]["refused"] for n in range(5))
    assert nodes["node-7"]["role"] == "follower"
    assert nodes["node-7"]["round"] == 5
    text = to_markdown(liars)
    assert "| node-6 | elector | garbage |" in text
    assert "bad_leaf x5" in text


def test_the_verdict_comes_first_and_a_failure_says_how_to_repeat_it(
    crashes: tuple[Report, Outcome, list[str]],
) -> None:
    report = crashes[0]
    assert to_markdown(report).splitlines()[2].startswith("**OK: ")
    bad = {"at_s": 1.5, "invariant": "one_decision", "text": "two | values\nfor one round"}
    failed = report | {"ok": False, "violations": [bad]}
    lines = to_markdown(failed).splitlines()
    assert lines[2].startswith("**FAILED: 1 violation.**")
    assert "- one_decision at 1.500 s: two | values for one round" in lines
    assert summary(failed)[-1] == "again: artel sim replay --seed 3"


def test_sentences_become_spans() -> None:
    told = [
        (1.0, "crash of node-2 begins"),
        (2.0, "cut begins"),
        (2.5, "reset of streams"),
        (3.0, "crash of node-2 ends"),
        (4.0, "crash of node-2 begins"),
        (5.0, "healed"),
    ]
    assert spans(told) == [
        Span("crash of node-2", 1.0, 3.0),
        Span("cut", 2.0, 5.0),
        Span("reset of streams", 2.5, 2.5),
        Span("crash of node-2", 4.0, 5.0),
    ]
    assert spans(told[:2])[1].to_s is None


def test_all_pictures_are_drawn_alike_and_named_in_the_report(
    crashes: tuple[Report, Outcome, list[str]], tmp_path: Path
) -> None:
    report = crashes[0]
    files = plots.draw(report, tmp_path)
    assert [path.name for path in files] == [name for name, _ in PLOTS]
    first = [path.read_bytes() for path in files]
    assert all(data.startswith(b"\x89PNG") for data in first)
    assert [path.read_bytes() for path in plots.draw(report, tmp_path)] == first
    write_report(report | {"plots": PLOTS}, tmp_path)
    text = (tmp_path / "report.md").read_text()
    assert all(f"]({path.name})" in text for path in files)


def large() -> Report:
    """Forty nodes, a third of them liars, and twenty faults with long names."""
    nodes = [
        {"name": f"node-{n}", "role": "elector", "attack": "min_max" if n > 26 else None,
         "bytes_up": 10**6 * n, "bytes_down": 10**6}
        for n in range(40)
    ]  # fmt: skip
    why = ("absent", "bad_leaf", "norm", "gram", "late")
    log = [
        {"round": r, "first_s": 2.0 * r, "last_s": 2.0 * r + 1, "seconds_median": 1.5,
         "seconds_max": 2.0 + r % 7, "view": r % 5 == 0, "used": 30, "skip": "few" * (r == 9),
         "refused": {f"node-{n}": why[(n + r) % 5] for n in range(27, 40)}}
        for r in range(1, 41)
    ]  # fmt: skip
    points = [
        {"node": n, "at_s": 2.0 * r + 0.01 * n, "round": r, "value": 0.5**r + 0.001 * n}
        for n in range(40)
        for r in range(1, 41)
    ]
    return {
        "scenario": "large",
        "seed": 0,
        "virtual_s": 82.0,
        "nodes": nodes,
        "round_log": log,
        "losses": points,
        "metric_points": {"loss": points, "error": points},
        "traffic": [
            {"node": n, "at_s": 8.0 * k, "up": 10**5 * n * k, "down": 10**5 * k}
            for n in range(40)
            for k in range(1, 11)
        ],
        "lives": [{"node": n, "from_s": 0.0, "to_s": 82.0, "end": "run"} for n in range(40)],
        "fault_spans": [
            {"what": f"cut from node-{n} to node-{n + 1}, node-{n + 2}, node-{n + 3} and others",
             "from_s": 3.0 * n, "to_s": 3.0 * n + 5}
            for n in range(20)
        ],
    }  # fmt: skip


@pytest.mark.parametrize("name", [name for name, _ in PLOTS])
def test_texts_of_a_picture_neither_overlap_nor_leave_it(name: str) -> None:
    figure: Figure = getattr(plots, name.removesuffix(".png"))(large())
    figure.savefig(io.BytesIO())  # this lays it out
    page = figure.bbox.padded(1)
    hidden = {
        id(label)
        for axes in figure.axes
        for axis in (axes.xaxis, axes.yaxis)
        for tick in (*axis.get_major_ticks(), *axis.get_minor_ticks())
        if not min(axis.get_view_interval()) <= tick.get_loc() <= max(axis.get_view_interval())
        for label in (tick.label1, tick.label2)
    }  # matplotlib keeps ticks beyond the limits, and does not draw them
    texts = [
        t
        for t in figure.findobj(Text)
        if t.get_visible() and t.get_text().strip() and id(t) not in hidden
    ]
    assert len(texts) > 5
    shown = [(t.get_text(), t.get_window_extent().shrunk(0.98, 0.9)) for t in texts]
    for place, (text, box) in enumerate(shown):
        assert page.x0 <= box.x0 < box.x1 <= page.x1, f"{text} leaves the picture"
        assert page.y0 <= box.y0 < box.y1 <= page.y1, f"{text} leaves the picture"
        for other, there in shown[place + 1 :]:
            assert not box.overlaps(there), f"{text!r} lies over {other!r}"
