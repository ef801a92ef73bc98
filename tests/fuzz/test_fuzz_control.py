"""Control requests with odd contents: answered, or refused with the code of an ArtelError."""

import asyncio
from collections.abc import Mapping, Sequence
from typing import Any, NoReturn

import grpc

from node.control.server import _Control
from node.errors import ConfigError
from node.jobs.manifest import parse_manifest
from node.observe.status import JobStatus, NodeStatus
from node.wire import control_pb2 as pb

TEXT = '[job]\nname = "cat"\nworkload = "inr"\nrounds = 9\n[workload]\nx = [1, {y = 2.5}]\n'
METHODS = {
    "SubmitJob": pb.SubmitJobRequest,
    "ShowJob": pb.ShowJobRequest,
    "StopJob": pb.StopJobRequest,
    "ListJobs": pb.ListJobsRequest,
}


class Aborted(Exception):
    pass


class Context:
    async def abort(self, code: grpc.StatusCode, text: str) -> NoReturn:
        assert code is not grpc.StatusCode.UNKNOWN
        text.encode()
        raise Aborted


class Parsing:
    """A daemon that parses what it is given and has no job."""

    def status(self) -> NodeStatus:
        raise AssertionError

    async def submit(self, manifest_toml: str, overrides: Mapping[str, str]) -> str:
        parse_manifest(manifest_toml, overrides)
        return "ab" * 32

    async def stop_job(self, job_id_hex: str) -> None:
        raise ConfigError(f"no job {job_id_hex}")

    def list_jobs(self) -> Sequence[JobStatus]:
        return []

    def show_job(self, job_id_hex: str) -> tuple[JobStatus, str]:
        raise ConfigError(f"no job {job_id_hex}")


def text(c: Any, noise: bytes) -> str:
    how = c.pick(6)
    if how == 0:
        return noise.decode("utf-8", "replace")
    if how == 1:
        return str(c.of(("[", "a = [", "a.", "a = {b = ", "[a.", '"'))) * c.of((1, 60, 3000))
    lines = TEXT.splitlines(keepends=True)
    at = c.pick(len(lines))
    odd = (
        "rounds = nan",
        "name = 1979-05-27",
        "x = inf",
        "[round]",
        "steps = 0",
        'name = "\\u0000"',
    )
    lines[at] = str(c.of(odd)) + "\n" if c.pick(2) else lines[at]
    return "".join(lines)


def test_every_control_request_is_answered_or_refused(fuzz: Any) -> None:
    servicer: Any = _Control(Parsing())
    answered = 0

    async def case(c: Any, noise: bytes) -> None:
        nonlocal answered
        name = c.of(("SubmitJob", "SubmitJob", *METHODS))
        request = METHODS[name]()
        if name == "SubmitJob":
            request.manifest_toml = text(c, noise)
            for _ in range(c.pick(3)):
                key = c.of(
                    ("round.steps", "job", "job.name", "", ".", "a.b.c", "x" * 99, "__proto__")
                )
                request.overrides[key] = (
                    text(c, noise) if c.pick(2) else c.of(("1", "", "nan", "[["))
                )
        elif name != "ListJobs":
            request.job = noise.hex() if c.pick(2) else text(c, noise)
        request = METHODS[name].FromString(request.SerializeToString())
        try:
            await getattr(servicer, name)(request, Context())
            answered += 1
        except Aborted:
            pass

    with asyncio.Runner() as runner:
        fuzz.run(0.04, lambda c, noise: runner.run(case(c, noise)))
    assert answered > 0
