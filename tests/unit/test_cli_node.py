"""What `artel node run` wires: attacks, failpoints, logs."""

import io
import json
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import structlog

from node.cli.attacks import load_attack
from node.cli.failpoint import make_failpoint
from node.errors import ConfigError
from node.identity import Identity
from node.observe.log import configure_logging

PEER = Identity(bytes(32)).peer_id
OTHER = Identity(bytes([1]) * 32).peer_id


@pytest.fixture
def toy_attack(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "toy_attack.py").write_text("def make(scale, seed):\n    return (scale, seed)\n")
    info = tmp_path / "toy_attack-1.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: toy-attack\nVersion: 1\n")
    points = "[artel.attacks]\ntoy = toy_attack:make\nbroken = toy_attack:gone\n"
    (info / "entry_points.txt").write_text(points)
    monkeypatch.syspath_prepend(str(tmp_path))


@pytest.mark.usefixtures("toy_attack")
def test_an_attack_gets_its_scale_and_a_seed_of_its_own_peer() -> None:
    made: Any = load_attack("toy:-2.5", PEER)
    assert made[0] == -2.5
    assert 0 <= made[1] < 2**63
    again: Any = load_attack("toy", PEER)
    assert again == (1.0, made[1])
    other: Any = load_attack("toy", OTHER)
    assert other[1] != made[1]


@pytest.mark.usefixtures("toy_attack")
def test_an_attack_that_is_not_there_is_refused_with_a_list() -> None:
    with pytest.raises(ConfigError, match=r"no attack 'frob' .*there is: .*toy"):
        load_attack("frob:1", PEER)
    with pytest.raises(ConfigError, match="broken does not load"):
        load_attack("broken", PEER)


def test_a_failpoint_kills_at_its_phase_from_its_round_on() -> None:
    script = (
        "from node.cli.failpoint import make_failpoint\n"
        "fail = make_failpoint('vote@3')\n"
        "for round_ in (1, 2): fail('vote', round_)\n"
        "fail('train', 3)\n"
        "print('alive', flush=True)\n"
        "fail('vote', 4)\n"
        "print('immortal', flush=True)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, timeout=30, check=False
    )
    assert (done.returncode, done.stdout) == (-signal.SIGKILL, "alive\n")


def test_without_a_failpoint_nothing_dies() -> None:
    make_failpoint(None)("vote", 1)


@pytest.fixture
def _restored_logging() -> object:
    yield
    structlog.reset_defaults()


@pytest.mark.usefixtures("_restored_logging")
def test_log_events_are_lines_of_text_or_json_above_their_level() -> None:
    text, lines = io.StringIO(), io.StringIO()
    configure_logging(text, level="info")
    structlog.get_logger().info(
        "round_closed", round=12, text="two\nlines", s={"update": 0.1234567}
    )
    structlog.get_logger().debug("silence")
    configure_logging(lines, level="warning", form="json")
    structlog.get_logger().info("silence")
    structlog.get_logger().warning("refused", reason="too_large")
    shown = r"Z info    round_closed round=12 text='two\nlines' s=update:0.1235"
    assert shown in text.getvalue()
    assert len(text.getvalue().splitlines()) == 1
    event = json.loads(lines.getvalue())
    assert (event["event"], event["level"], event["reason"]) == ("refused", "warning", "too_large")
