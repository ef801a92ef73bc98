"""``artel node run``: from settings to a running node, and its clean end."""

import signal
import sys
from pathlib import Path
from types import FrameType

from node.cli.attacks import check_attack
from node.cli.environment import import_all
from node.cli.rendezvous import with_join_file
from node.cli.shared import read_text
from node.config import NodeConfig, is_job_id


def run_node(config: NodeConfig, log_format: str = "text") -> int:
    """Run a node until it is told to stop; the exit code.

    The caller has called ``set_environment`` before it imported this module.
    In a fork of the zygote all imports are there already; the forker is then just one more fork.

    Raises:
        ConfigError: a setting cannot work on this machine.
    """
    # The first process of a container would ignore a SIGTERM that it does not handle.
    signal.signal(signal.SIGTERM, _end_early)
    if config.attack:
        check_attack(config.attack)
    manifests = [read_text(Path(job), "the job") for job in config.jobs if not is_job_id(job)]
    import_all()
    from node.adapters.worker_forker import WorkerForker

    forker = WorkerForker.start()
    try:
        from node.cli.node_flow import run_flow

        return run_flow(with_join_file(config), manifests, forker, log_format)
    finally:
        forker.close()


def _end_early(number: int, frame: FrameType | None) -> None:
    """Stop before there is a node to be stopped."""
    sys.exit(0)
