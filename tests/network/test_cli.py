"""The ``artel`` command as an operator meets it: real processes, a node that is a table."""

import asyncio
import json
import os
import subprocess
import sys
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import pytest

from node.adapters.keyfile import load_or_create_key
from node.control.server import ControlServer
from node.errors import ConfigError
from node.observe.status import JobStatus, NodeStatus, PeerStatus
from node.types import PeerId

pytestmark = pytest.mark.network

JOB = JobStatus(
    job="ab" * 32,
    name="camera",
    workload="inr",
    state="waiting",
    reason="1 of [2] founders answer",
    round=1,
    rounds=40,
    phase="idle",
    view=0,
    leader="",
    electors=2,
    faulty_max=0,
    loss=None,
    metrics={"psnr_db": 31.5},
    metrics_round=0,
    used=0,
    refused={},
    refusals={},
    skips=0,
    bytes_up=10,
    bytes_down=20,
    calls=1,
    round_seconds=(),
    params=0,
    state_root="",
    artifacts=(),
)
PEER = PeerStatus(PeerId("12D3KooWpeer"), ("/ip4/127.0.0.1/tcp/1",), True, 0.0, 9.0, 1, 2)
NODE = NodeStatus(
    peer=PeerId("12D3KooWme"),
    version="1",
    addresses=("/ip4/127.0.0.1/tcp/2/p2p/12D3KooWme",),
    uptime_s=1.0,
    ready=True,
    membership="one peer",
    peers=(PEER,),
    jobs=(JOB, replace(JOB, job="cd" * 32)),
    warnings=(),
)


class Table:
    def __init__(self) -> None:
        self.orders: list[object] = []

    def status(self) -> NodeStatus:
        return NODE

    async def submit(self, manifest_toml: str, overrides: Mapping[str, str]) -> str:
        if not manifest_toml:
            raise ConfigError("the manifest is empty")
        self.orders.append((manifest_toml, dict(overrides)))
        return JOB.job

    async def stop_job(self, job_id_hex: str) -> None:
        self.orders.append(job_id_hex)

    def list_jobs(self) -> Sequence[JobStatus]:
        return NODE.jobs

    def show_job(self, job_id_hex: str) -> tuple[JobStatus, str]:
        return JOB, '{"job":{"name":"camera"}}'


def artel(*arguments: object, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "node", *map(str, arguments)],
        env=os.environ | {"COLUMNS": "200"} | environment,
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )


@pytest.fixture
async def table(tmp_path: Path) -> AsyncIterator[Table]:
    daemon = Table()
    server = await ControlServer.start(daemon, tmp_path)
    yield daemon
    await server.close()


async def test_every_question_to_a_node_is_answered_in_text_and_json(
    table: Table, tmp_path: Path
) -> None:
    questions = (["id"], ["status"], ["peers"], ["job", "list"], ["job", "show", "ab"])
    for words in questions:
        text, plain = await asyncio.gather(
            asyncio.to_thread(artel, *words, "--data", tmp_path),
            asyncio.to_thread(artel, *words, "--json", ARTEL_DATA=str(tmp_path)),
        )
        assert (text.returncode, text.stderr) == (0, ""), words
        assert (plain.returncode, plain.stderr) == (0, ""), words
        assert len(plain.stdout.splitlines()) == 1
        json.loads(plain.stdout)
        if words == ["status"]:
            assert json.loads(plain.stdout)["jobs"][0]["name"] == "camera"
            # Square brackets of a reason are not taken for markup.
            assert "1 of [2] founders answer" in text.stdout


async def test_a_job_is_submitted_and_stopped(table: Table, tmp_path: Path) -> None:
    file = tmp_path / "job.toml"
    file.write_text("[job]")
    done = await asyncio.to_thread(
        artel, "job", "submit", file, "--set", "job.rounds=3", "--data", tmp_path
    )
    assert (done.returncode, done.stdout) == (0, JOB.job + "\n")
    done = await asyncio.to_thread(artel, "job", "stop", "cd", "--data", tmp_path)
    assert done.returncode == 0
    assert table.orders == [("[job]", {"job.rounds": "3"}), "cd" * 32]


async def test_what_the_node_refuses_is_one_sentence_and_code_2(
    table: Table, tmp_path: Path
) -> None:
    file = tmp_path / "job.toml"
    file.write_text("")
    done = await asyncio.to_thread(artel, "job", "submit", file, "--data", tmp_path)
    assert (done.returncode, done.stderr) == (2, "artel: the manifest is empty\n")
    done = await asyncio.to_thread(artel, "job", "show", "ff", "--data", tmp_path)
    assert done.returncode == 2
    assert "no job on this node begin" in done.stderr


@pytest.mark.parametrize("words", [["status"], ["peers"], ["job", "list"], ["id"], ["health"]])
def test_where_no_node_runs_the_folder_and_the_remedy_are_named(
    words: list[str], tmp_path: Path
) -> None:
    done = artel(*words, "--data", tmp_path)
    assert (done.returncode, done.stdout) == (3, "")
    assert len(done.stderr.splitlines()) == 1
    assert str(tmp_path) in done.stderr
    assert "artel node run" in done.stderr


def test_the_id_of_a_node_at_rest_comes_from_its_key_file(tmp_path: Path) -> None:
    peer = load_or_create_key(tmp_path / "key.pem").identity.peer_id
    done = artel("id", "--data", tmp_path)
    assert (done.returncode, done.stdout) == (0, peer + "\n")


async def test_health_is_what_the_standard_service_says(table: Table, tmp_path: Path) -> None:
    done = await asyncio.to_thread(artel, "health", "--data", tmp_path)
    assert (done.returncode, done.stdout, done.stderr) == (0, "serving\n", "")


def test_usage_errors_are_code_2(tmp_path: Path) -> None:
    for words in (["frobnicate"], ["status", "--frob"], ["up"], ["job", "submit", "/no/file"]):
        assert artel(*words).returncode == 2, words
    done = artel("node", "run", "--data", tmp_path, "--set", "frob=1")
    assert done.returncode == 2
    assert "Traceback" not in done.stderr
    assert list(tmp_path.iterdir()) == []


COMMANDS = [
    [],
    ["id"],
    ["status"],
    ["peers"],
    ["up"],
    ["node", "run"],
    ["job", "submit"],
    ["job", "list"],
    ["job", "show"],
    ["job", "stop"],
]


@pytest.mark.parametrize("words", COMMANDS, ids=" ".join)
def test_every_help_has_an_example(words: list[str]) -> None:
    done = artel(*words, "--help")
    assert done.returncode == 0
    assert "Example: artel" in done.stdout


SPY = """
import sys
from node.cli import main
sys.argv = ["artel", *sys.argv[1:]]
code = main()
heavy = sorted({"torch", "hivemind", "numpy", "uvloop"} & set(sys.modules))
import resource
usage = resource.getrusage(resource.RUSAGE_SELF)
print(code, heavy, usage.ru_utime + usage.ru_stime, file=sys.stderr)
"""


async def test_no_command_that_asks_imports_what_trains(table: Table, tmp_path: Path) -> None:
    for words, cpu_s_max in ((["--help"], 0.4), (["status"], 0.8), (["peers"], 0.8), (["id"], 0.8)):
        data = [] if words == ["--help"] else ["--data", str(tmp_path)]
        done = await asyncio.to_thread(
            subprocess.run,
            [sys.executable, "-c", SPY, *words, *data],
            capture_output=True,
            text=True,
            timeout=30,
            check=False,
        )
        code, heavy, cpu_s = done.stderr.splitlines()[-1].split()
        assert (code, heavy) == ("0", "[]"), words
        # Time on the CPU, which a busy machine does not change much.
        assert float(cpu_s) < cpu_s_max, words


def test_the_version_is_shown() -> None:
    assert artel("--version").stdout.startswith("artel ")
