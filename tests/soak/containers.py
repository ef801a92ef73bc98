"""What a container engine needs on this machine: commands, a base image, packages to build from.

Where no registry answers, the base image is made of Debian's packages by ``debootstrap``, and what
pip installs is brought as wheels: see docs/deploy.md, "Without a registry".
"""

import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[2]
BASE_IMAGE = "python:3.11-slim-bookworm"
OWN_BASE_IMAGE = "artel-base:bookworm"
INSTALL = "on Debian: apt-get install docker.io docker-compose debootstrap iptables"
BUILD_TOOLS = ("editables", "hatchling")


class Missing(Exception):
    """Something that this machine lacks; the text says what to do."""


def run(*command: str, timeout_s: float = 60.0, **environment: str) -> str:
    """Stdout of a command that succeeds.

    Raises:
        Missing: it failed, or took too long; the text ends with what it said.
    """
    try:
        done = subprocess.run(
            command,
            cwd=ROOT,
            env=os.environ | environment,
            capture_output=True,
            text=True,
            timeout=timeout_s,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise Missing(f"{' '.join(command)}: {error}") from error
    if done.returncode:
        said = (done.stderr or done.stdout).strip()[-800:]
        raise Missing(f"{' '.join(command)} failed: {said}")
    return done.stdout


def find_compose() -> list[str]:
    """``docker compose`` (v2), else ``docker-compose``; ARTEL_COMPOSE chooses.

    Raises:
        Missing: no engine answers, or there is neither.
    """
    if shutil.which("docker") is None:
        raise Missing(f"there is no docker command ({INSTALL})")
    try:
        run("docker", "version")
    except Missing as error:
        raise Missing(
            f"no engine answers: start one (`systemctl start docker`, or `dockerd &` as root), or"
            f" set DOCKER_HOST. {error}"
        ) from error
    chosen = os.environ.get("ARTEL_COMPOSE")
    for command in [chosen.split()] if chosen else [["docker", "compose"], ["docker-compose"]]:
        try:
            run(*command, "version")
        except Missing:
            continue
        return command
    raise Missing(f"there is neither `docker compose` nor docker-compose ({INSTALL})")


def prepare_base() -> str:
    """The base image to build on, pulled or made; fills ``wheels/`` where it had to be made.

    Raises:
        Missing: it can be neither had nor made here.
    """
    wanted = os.environ.get("BASE_IMAGE", BASE_IMAGE)
    if _has(wanted) and wanted != OWN_BASE_IMAGE:
        return wanted
    try:
        if wanted != OWN_BASE_IMAGE:
            say(f"pulling {wanted}")
            run("docker", "pull", wanted, timeout_s=600)
            return wanted
    except Missing as error:
        say(f"no registry gives {wanted} ({str(error)[-120:]}): making {OWN_BASE_IMAGE}")
    if not _has(OWN_BASE_IMAGE):
        _make_base()
    _make_wheels()
    return OWN_BASE_IMAGE


def _has(image: str) -> bool:
    try:
        run("docker", "image", "inspect", image)
    except Missing:
        return False
    return True


def _make_base() -> None:
    if os.geteuid() or shutil.which("debootstrap") is None:
        raise Missing(f"making a base image needs root and debootstrap ({INSTALL})")
    start_s = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="artel-base-") as folder:
        packages = "--include=python3,python3-venv"
        run("debootstrap", "--variant=minbase", packages, "bookworm", folder, timeout_s=900)
        for waste in ("var/cache/apt", "var/lib/apt/lists"):
            shutil.rmtree(Path(folder) / waste, ignore_errors=True)
        pack = f"tar -C {folder} -c . | docker import - {OWN_BASE_IMAGE}"
        run("sh", "-c", pack, timeout_s=300)
    say(f"{OWN_BASE_IMAGE} made in {time.monotonic() - start_s:.0f} s")


def _make_wheels() -> None:
    """Everything that the image installs, as wheels, by this machine's pip and its settings."""
    if sys.version_info[:2] != (3, 11):
        raise Missing("bookworm has Python 3.11: build the wheels with `make PYTHON=python3.11`")
    start_s = time.monotonic()
    pip = (sys.executable, "-m", "pip", "wheel", "--quiet", "-w", "wheels")
    run(*pip, "-c", "constraints.txt", ".", *BUILD_TOOLS, timeout_s=900)
    count = len(list((ROOT / "wheels").glob("*.whl")))
    say(f"{count} wheels made in {time.monotonic() - start_s:.0f} s")


class Project:
    """One compose project: its files, and the environment that they read."""

    def __init__(
        self, name: str, compose: Sequence[str], environment: Mapping[str, str], *files: str
    ) -> None:
        self.environment = dict(environment)
        self._command = [*compose, "-p", name]
        for file in files:
            self._command += ["-f", file]

    def compose(self, *words: str, timeout_s: float = 120.0) -> str:
        """Stdout of a compose command."""
        return run(*self._command, *words, timeout_s=timeout_s, **self.environment)

    def containers(self, service: str) -> list[str]:
        """Ids of the containers of a service, in the order of their numbers, stopped ones too."""
        ids = run("docker", "ps", "-aq", *self._filters(service), **self.environment).split()
        number = '{{index .Config.Labels "com.docker.compose.container-number"}}'
        return sorted(ids, key=lambda each: int(run("docker", "inspect", "-f", number, each)))

    def _filters(self, service: str) -> list[str]:
        project = self._command[self._command.index("-p") + 1]
        labels = (f"project={project}", f"service={service}")
        return [word for label in labels for word in ("-f", f"label=com.docker.compose.{label}")]


def artel(container: str, *words: str, timeout_s: float = 60.0) -> Any:
    """What an ``artel`` command in a container prints, parsed; None while it cannot answer."""
    command = ("docker", "exec", container, "artel", *words, "--json")
    try:
        return json.loads(run(*command, timeout_s=timeout_s))
    except Missing:
        return None


def say(text: str) -> None:
    """A line for whoever waits."""
    print(f"{time.strftime('%H:%M:%S')} {text}", file=sys.stderr, flush=True)
