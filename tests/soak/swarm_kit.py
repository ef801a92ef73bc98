"""A local swarm whose nodes can be killed and started again: processes, logs, chains."""

import contextlib
import os
import re
import sqlite3
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any

from node.cli.home import open_home
from node.cli.shared import parse_overrides
from node.cli.swarm.plan import to_toml
from node.cli.swarm.spawn import Exit, Zygote
from node.control.client import ControlClient
from node.errors import Unavailable
from node.identity import public_key_of
from node.jobs.manifest import parse_manifest, with_founders
from node.ledger.votes import decision_id
from node.observe.status import NodeStatus
from node.types import Digest, PeerId
from node.wire.convert_ledger import decode_certificate, decode_decision
from node.wire.messages import Decision

_LINE = re.compile(r"(\S+Z) (?:debug|info|warning|error) +(\w+)(.*)")
"""Time, event and the rest of a log line (``node.observe.log.render_text``)."""
_FIELD = re.compile(r"(\w+)=('(?:[^'\\]|\\.)*'|\"(?:[^\"\\]|\\.)*\"|\S+)")


@dataclass(frozen=True)
class Event:
    """One line of a node's log."""

    node: int
    unix_s: float
    name: str
    fields: Mapping[str, str]
    line: str


@dataclass
class Node:
    """One member of the swarm, over all its lives."""

    index: int
    data: Path
    peer: PeerId
    elector: int = -1
    """Among the founders."""
    pid: int = 0
    read: int = 0
    """Bytes of the log that were read."""

    @property
    def key(self) -> bytes:
        """Its public key."""
        return public_key_of(self.peer)


@dataclass
class Swarm:
    """Nodes ``0..n-1`` on one job; everybody is honest."""

    folder: Path
    nodes: list[Node]
    zygote: Zygote | None
    """None where every node is a process of its own."""
    alone: list[subprocess.Popen[bytes]] = field(default_factory=list)
    events: list[Event] = field(default_factory=list)
    chain: dict[int, tuple[Digest, Decision]] = field(default_factory=dict)
    """Round -> (id, decision) of what is certified."""

    @classmethod
    def create(
        cls, folder: Path, count: int, job: Path, overrides: Sequence[str], *, forks: bool = True
    ) -> "Swarm":
        """Make the folders, the manifest and, for ``forks``, the zygote; no node runs yet."""
        manifest = parse_manifest(job.read_text(), parse_overrides(overrides), str(job))
        nodes = []
        for index in range(count):
            home = open_home(folder / f"node-{index:02d}")
            home.store.close()
            nodes.append(Node(index, folder / f"node-{index:02d}", home.identity.peer_id))
        for elector, node in enumerate(sorted(nodes, key=lambda node: node.peer)):
            node.elector = elector
        named = with_founders(manifest, [node.peer for node in nodes])
        (folder / "job.toml").write_text(to_toml(named.model_dump()))
        zygote = Zygote(folder / "zygote.log") if forks else None
        if zygote is not None:
            zygote.wait_ready()
        return cls(folder, nodes, zygote)

    def electors(self, round_: int) -> tuple[tuple[bytes, int], ...]:
        """(public key, incarnation) of the electors of a round whose predecessor is known."""
        if round_ > 1:
            return self.chain[round_ - 1][1].electors
        return tuple((node.key, 0) for node in sorted(self.nodes, key=lambda node: node.elector))

    def spawn(self, node: Node, **flags: Any) -> None:
        """Start a node, or start it again on its folder, as a fork of the zygote."""
        jobs = [str(self.folder / "job.toml")]
        assert self.zygote is not None
        node.pid = self.zygote.spawn(
            node.data, {"jobs": jobs, "join": self._addresses(node), **flags}
        )

    def spawn_alone(self, node: Node, environment: Mapping[str, str], *options: str) -> None:
        """Start a node as a process of its own, ``artel node run``, with its own environment."""
        join = [part for address in self._addresses(node) for part in ("--join", address)]
        where = ["--data", str(node.data), "--job", str(self.folder / "job.toml")]
        with open(node.data / "node.log", "ab") as log:
            process = subprocess.Popen(
                [sys.executable, "-m", "node", "node", "run", *where, *join, *options],
                env={**os.environ, **environment},
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
            )
        node.pid = process.pid
        self.alone.append(process)

    def stop(self) -> None:
        """End all nodes: told to stop first, killed if they do not."""
        for process in self.alone:
            process.terminate()
        if self.zygote is not None:
            self.zygote.stop()
        for process in self.alone:
            try:
                process.wait(timeout=6)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()

    def status(self, node: Node) -> NodeStatus | None:
        """What a node says, or None while it says nothing."""
        with contextlib.suppress(Unavailable), ControlClient(node.data) as client:
            return client.status()
        return None

    def _addresses(self, but: Node) -> list[str]:
        found = []
        for node in self.nodes:
            if node.pid and node is not but:
                status = self.status(node)
                found += list(status.addresses)[:1] if status else []
        return found

    def wait_until_up(self, node: Node, seconds: float = 60.0) -> None:
        """Wait until a node can be joined.

        Raises:
            TimeoutError: it cannot after so long.
        """
        deadline_s = time.monotonic() + seconds
        while time.monotonic() < deadline_s:
            status = self.status(node)
            if status is not None and status.addresses:
                return
            time.sleep(0.05)
        raise TimeoutError(f"{node.data.name} is not up in {seconds:g} s: see its node.log")

    def ends(self) -> list[tuple[Node, Exit]]:
        """Forks that have ended since the last call."""
        assert self.zygote is not None
        by_pid = {node.pid: node for node in self.nodes}
        ended = [(by_pid[end.pid], end) for end in self.zygote.exits()]
        for node, _ in ended:
            node.pid = 0
        return ended

    # What is known ---------------------------------------------------------------------------

    def refresh(self) -> None:
        """Read what the logs and the stores of the nodes tell since the last call."""
        for node in self.nodes:
            log = node.data / "node.log"
            if not log.exists():
                continue
            with open(log, "rb") as file:
                file.seek(node.read)
                data = file.read()
            whole = data[: data.rfind(b"\n") + 1]
            node.read += len(whole)
            self.events += map_events(node.index, whole.decode(errors="replace"))
        for node in self.nodes:
            for round_, id_, decision in certificates(node.data, len(self.chain) + 1):
                self.chain.setdefault(round_, (id_, decision))

    @property
    def round(self) -> int:
        """Last certified round."""
        return len(self.chain)

    def certified(self, round_: int) -> list[Event]:
        """What the nodes logged when they closed a round."""
        return [
            event
            for event in self.events
            if event.name == "round_certified" and event.fields["round"] == str(round_)
        ]


def map_events(node: int, text: str) -> Iterator[Event]:
    """The events in a piece of a log; other lines come under the name ``?``."""
    for line in text.splitlines():
        match = _LINE.match(line)
        if match:
            stamp, name, rest = match.groups()
            fields = {key: value.strip("'\"") for key, value in _FIELD.findall(rest)}
            yield Event(node, datetime.fromisoformat(stamp).timestamp(), name, fields, line)
        elif line.strip():
            yield Event(node, 0.0, "?", {}, line)


def certificates(data: Path, first: int) -> Iterator[tuple[int, Digest, Decision]]:
    """(round, id, decision) of the certificates from round ``first`` in a node's folder."""
    file = data / "store.sqlite"
    try:
        with contextlib.closing(sqlite3.connect(f"{file.as_uri()}?mode=ro", uri=True)) as database:
            rows = database.execute(
                "SELECT key, CAST(value AS BLOB) FROM slots"
                " WHERE key >= 'cert/' AND key < 'cert0' ORDER BY key DESC LIMIT ?",
                (-1 if first == 1 else 64,),
            ).fetchall()
    except sqlite3.Error:
        return
    for key, value in reversed(rows):
        round_ = int(key.rpartition("/")[2])
        if round_ >= first:
            certificate = decode_certificate(value)
            id_ = decision_id(certificate.decision)
            yield round_, id_, decode_decision(certificate.decision)


def slots(data: Path, kind: str) -> set[tuple[int, str]]:
    """(round, slot) of what a node has signed of late and keeps, for slots that begin so."""
    file = data / "store.sqlite"
    try:
        with contextlib.closing(sqlite3.connect(f"{file.as_uri()}?mode=ro", uri=True)) as database:
            query = "SELECT key FROM slots WHERE key >= 'slot/' AND key < 'slot0'"
            keys = [key.split("/") for (key,) in database.execute(query)]
    except sqlite3.Error:
        return set()
    return {(int(round_), slot) for _, _, round_, slot in keys if slot.startswith(kind)}
