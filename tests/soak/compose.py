"""The swarm of docker-compose.yml, run for real: ``make test-compose``.

Builds the image. *Faults*: a bootstrap and four nodes; one is killed with SIGKILL, the others go
on, it comes back and catches up; the bootstrap is started anew, at another address if the engine
gives one; at the end all states are equal. *Demo*: what `docker compose up` does, with the overlay
of a liar, beside `artel up` with the job, the nodes and the liar of `make demo`.
"""

import json
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from containers import ROOT, Missing, Project, artel, find_compose, prepare_base, run, say

NODES = 4
ROUNDS = 80
"""Of the job with faults: long enough for all of them to strike while it runs."""
KILL_AT, ROUNDS_WITHOUT = 5, 5
STOP_S_MAX = 5.0
DB_MAX = 0.5
"""Largest difference in PSNR between the swarm in containers and `make demo`."""
JOB = "/examples/inr-astronaut.toml"
ARTIFACTS = {"original.png", "reconstruction.png", "side_by_side.png"}
FILES = ("docker-compose.yml", "docker-compose.byzantine.yml")


class Failed(Exception):
    """The swarm did not do what it should."""


def main() -> int:
    """0: all held. 1: something did not. 2: this machine lacks something."""
    start_s = time.monotonic()
    scratch = Path(tempfile.mkdtemp(prefix="artel-compose-"))
    try:
        compose = find_compose()
        say(f"{' '.join(compose)}: {run(*compose, 'version').splitlines()[0]}")
        environment = {"BASE_IMAGE": prepare_base(), "ARTEL_IMAGE": "artel-test"}
        result = {**_build(compose, environment)}
        result |= _faults(compose, environment, scratch)
        result |= _demo(compose, environment, scratch)
    except Missing as error:
        print(f"test-compose: {error}", file=sys.stderr)
        return 2
    except Failed as error:
        print(f"test-compose: FAILED: {error}", file=sys.stderr)
        return 1
    finally:
        shutil.rmtree(scratch, ignore_errors=True)
    result["wall_s"] = round(time.monotonic() - start_s, 1)
    print(json.dumps(result, indent=2))
    return 0


def _build(compose: list[str], environment: dict[str, str]) -> dict[str, Any]:
    say("building the image")
    start_s = time.monotonic()
    Project("artel-build", compose, environment, FILES[0]).compose("build", timeout_s=1800)
    size = int(run("docker", "image", "inspect", "-f", "{{.Size}}", "artel-test"))
    base = int(run("docker", "image", "inspect", "-f", "{{.Size}}", environment["BASE_IMAGE"]))
    tools = "command -v cc gcc g++ make git || true"
    found = run("docker", "run", "--rm", "--entrypoint", "sh", "artel-test", "-c", tools)
    _check(not found, f"the image holds build tools: {found}")
    build_s = round(time.monotonic() - start_s, 1)
    say(f"built in {build_s} s: {size / 1e6:.0f} MB, of which the base has {base / 1e6:.0f}")
    return {"build_s": build_s, "image_mb": round(size / 1e6), "base_mb": round(base / 1e6)}


def _faults(compose: list[str], environment: dict[str, str], scratch: Path) -> dict[str, Any]:
    out = scratch / "faults"
    project = Project("artel-faults", compose, environment | {"ARTEL_OUT": str(out)}, FILES[0])
    try:
        say(f"starting a bootstrap and {NODES} nodes")
        start_s = time.monotonic()
        project.compose("up", "-d", "--scale", f"node={NODES}", "--scale", "job=0", timeout_s=300)
        (boot,), nodes = project.containers("bootstrap"), project.containers("node")
        swarm = [boot, *nodes]
        gather = (f"--gather={NODES + 1}", "--settle=0", f"--set=job.rounds={ROUNDS}")
        _until(lambda: artel(boot, "status"), "the bootstrap answers", 60)
        job = artel(boot, "job", "submit", JOB, *gather, timeout_s=120)
        _check(job is not None, "the job was not taken")
        up_s = round(time.monotonic() - start_s, 1)
        _until_round(boot, KILL_AT)
        say("killing a node (SIGKILL)")
        run("docker", "kill", "-s", "KILL", nodes[1])
        killed_at = _round(boot)
        _until_round(boot, killed_at + ROUNDS_WITHOUT)
        say(f"{ROUNDS_WITHOUT} rounds were certified without it; starting it again")
        back_s = time.monotonic()
        run("docker", "start", nodes[1])
        # Its own round follows the others' once it has caught up.
        _until(lambda: _round(nodes[1]) > killed_at + ROUNDS_WITHOUT, "it catches up", 60)
        caught_s = round(time.monotonic() - back_s, 1)
        say(f"it caught up {caught_s} s after its start; starting the bootstrap anew")
        run("docker", "restart", boot)
        running = [_round(node) for node in nodes]
        _until(lambda: all(_state(each) == "done" for each in swarm), "all are done", 180)
        equal = _compare(swarm)
        _check({p.name for p in out.rglob("*.png")} == ARTIFACTS, f"pictures are not in {out}")
        _hardened(nodes[0])
        stopped_s = _stop(swarm)
    except (Missing, Failed):
        print(_tail(project), file=sys.stderr)
        raise
    finally:
        project.compose("down", "--volumes", "--remove-orphans")
    return {
        "up_s": up_s,
        "caught_up_s": caught_s,
        "rounds_at_bootstrap_restart": running,
        "faults": equal,
        "stop_s_worst": stopped_s,
    }


def _demo(compose: list[str], environment: dict[str, str], scratch: Path) -> dict[str, Any]:
    settings = {"ARTEL_OUT": str(scratch / "out"), "ARTEL_GATHER": str(NODES + 1)}
    project = Project("artel-demo", compose, environment | settings, *FILES)
    try:
        say("the same with a liar in place of a node, as `make demo` has it")
        project.compose("up", "-d", "--scale", f"node={NODES - 1}", timeout_s=300)
        honest = [*project.containers("bootstrap"), *project.containers("node")]
        _until(lambda: all(_state(each) == "done" for each in honest), "all are done", 180)
        equal = _compare(honest)
        refused = artel(honest[0], "status")["jobs"][0]["electors"]
        _check(refused == NODES + 1, f"{refused} electors")
    except (Missing, Failed):
        print(_tail(project), file=sys.stderr)
        raise
    finally:
        project.compose("down", "--volumes", "--remove-orphans")
    say("and `artel up` with the job, the nodes and the liar of `make demo`")
    words = ("up", "--nodes", str(NODES + 1), "--byzantine", "1", "--attack", "sign_flip:10")
    job, folder = str(ROOT / JOB[1:]), str(scratch / "demo")
    command = [sys.executable, "-m", "node", *words, "--job", job, "--dir", folder, "--json"]
    done = subprocess.run(command, capture_output=True, text=True, check=True, cwd=ROOT)
    demo_db = json.loads(done.stdout)["metrics"]["psnr_db"]
    difference = round(equal["psnr_db"] - demo_db, 2)
    say(f"{equal['psnr_db']:.2f} dB in containers, {demo_db:.2f} dB as processes")
    _check(abs(difference) <= DB_MAX, f"the PSNR differs by {difference} dB")
    return {"liar": equal, "demo_psnr_db": round(demo_db, 2), "difference_db": difference}


def _compare(containers: list[str]) -> dict[str, Any]:
    """What all have in common; Failed where they differ."""
    jobs = [artel(each, "status")["jobs"][0] for each in containers]
    roots = {job["state_root"] for job in jobs}
    psnr = {round(job["metrics"]["psnr_db"], 4) for job in jobs}
    _check(len(roots) == 1 and len(psnr) == 1, f"states differ: {roots}, PSNR {psnr}")
    say(f"{len(jobs)} nodes hold one state of round {jobs[0]['round']}: PSNR {psnr}")
    return {
        "nodes": len(jobs),
        "rounds": jobs[0]["round"],
        "state_root": roots.pop(),
        "psnr_db": psnr.pop(),
    }


def _hardened(container: str) -> None:
    """The promises of the compose file on what a node may do."""
    facts = json.loads(run("docker", "inspect", container))[0]
    host = facts["HostConfig"]
    _check(host["ReadonlyRootfs"] and not host["Privileged"], "the root can be written")
    _check(host["CapDrop"] == ["ALL"] and not host["CapAdd"], "capabilities are left")
    _check(host["Memory"] > 0 and host["NanoCpus"] > 0, "there are no limits")
    _check(facts["State"]["Health"]["Status"] == "healthy", "it is not healthy")
    user = run("docker", "exec", container, "id", "-u").strip()
    _check(user != "0", "it runs as root")


def _stop(containers: list[str]) -> float:
    """Seconds of the slowest clean stop."""
    slowest_s = 0.0
    for each in containers:
        start_s = time.monotonic()
        run("docker", "stop", "-t", "30", each)
        slowest_s = max(slowest_s, time.monotonic() - start_s)
        code = run("docker", "inspect", "-f", "{{.State.ExitCode}}", each).strip()
        _check(code == "0", f"SIGTERM ended a node with code {code}")
    _check(slowest_s < STOP_S_MAX, f"a node took {slowest_s:.1f} s to stop")
    return round(slowest_s, 2)


def _job(container: str) -> dict[str, Any]:
    status = artel(container, "status")
    jobs: list[dict[str, Any]] = status["jobs"] if status else []
    return jobs[0] if jobs else {"round": 0, "state": ""}


def _round(container: str) -> int:
    return int(_job(container)["round"])


def _state(container: str) -> str:
    return str(_job(container)["state"])


def _until_round(container: str, round_: int) -> None:
    _until(lambda: _round(container) > round_, f"round {round_} is certified", 120)


def _until(holds: Callable[[], Any], what: str, within_s: float) -> None:
    deadline_s = time.monotonic() + within_s
    while not holds():
        _check(time.monotonic() < deadline_s, f"not within {within_s:g} s: {what}")
        time.sleep(0.2)


def _check(holds: bool, otherwise: str) -> None:
    if not holds:
        raise Failed(otherwise)


def _tail(project: Project) -> str:
    try:
        return project.compose("logs", "--no-color", "--tail", "20")
    except Missing as error:
        return str(error)


if __name__ == "__main__":
    sys.exit(main())
