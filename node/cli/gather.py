"""``artel job submit --gather``: the nodes that are here become the founders of a job."""

import json
import sys
import time
from dataclasses import dataclass, field
from typing import TextIO

from node.control.client import ControlClient
from node.errors import ConfigError
from node.jobs.manifest import JobManifest, parse_manifest
from node.observe.status import NodeStatus
from node.types import ELECTORS_MAX, PeerId

ASK_EVERY_S = 0.5
FOUNDERS_KEY = "electorate.founders"
ENDED = ("stopped", "failed")


@dataclass
class Gathering:
    """Decides who founds a job: at least ``least`` nodes, once nobody has come or gone for a while.

    Pure: ``observe`` is told the time.
    """

    least: int
    """Nodes needed, this one included."""
    settle_s: float
    """How long they must stay the same, in seconds."""
    present: frozenset[str] = frozenset()
    """As last observed."""
    _since_s: float = field(default=0.0, repr=False)

    def observe(self, present: frozenset[str], now_s: float) -> bool:
        """Take who is here now; True once they are the founders."""
        if present != self.present:
            self.present, self._since_s = present, now_s
        return len(present) >= self.least and now_s - self._since_s >= self.settle_s


def submit_gathered(
    client: ControlClient,
    source: str,
    text: str,
    overrides: dict[str, str],
    gathering: Gathering,
    progress: TextIO = sys.stderr,
) -> str:
    """Wait for nodes that serve any job, and submit ``text`` with them as founders; the job's id.

    A job of the same manifest that this node already has, and that has not ended without being
    done, is left to go on: a command that is repeated does no harm.

    Raises:
        ConfigError: the manifest cannot work, or names founders.
        Unavailable: the node went away.
    """
    manifest = parse_manifest(text, overrides, source)
    if manifest.electorate.founders:
        raise ConfigError(f"{source}: {FOUNDERS_KEY} must be empty: --gather fills it in")
    known = _find_known(client, manifest)
    if known is not None:
        print(f"artel: this node has the job already: {known}", file=progress, flush=True)
        return known
    shown = -1
    while not gathering.observe(_present(client.status()), time.monotonic()):
        if len(gathering.present) != shown:
            shown = len(gathering.present)
            line = f"artel: {shown} nodes are here, at least {gathering.least} are needed"
            print(line, file=progress, flush=True)
        time.sleep(ASK_EVERY_S)
    founders = sorted(gathering.present)
    if len(founders) > ELECTORS_MAX:
        raise ConfigError(f"{len(founders)} nodes are here, and a job has {ELECTORS_MAX} founders")
    print(f"artel: {len(founders)} founders", file=progress, flush=True)
    return client.submit(text, overrides | {FOUNDERS_KEY: json.dumps(founders)})


def _present(status: NodeStatus) -> frozenset[PeerId]:
    """This node, and the peers that are connected and would take the job."""
    here = {peer.peer for peer in status.peers if peer.connected and peer.serves_any}
    return frozenset(here | {status.peer})


def _find_known(client: ControlClient, manifest: JobManifest) -> str | None:
    """The node's job that differs from ``manifest`` in nothing but its founders."""
    wanted = manifest.model_dump(mode="json")
    for job in client.list_jobs():
        if job.state in ENDED:
            continue
        tables = json.loads(client.show_job(job.job)[1])
        tables["electorate"]["founders"] = []
        if tables == wanted:
            return job.job
    return None
