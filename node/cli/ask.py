"""Commands that ask a running node and print the answer."""

import json
import time
from collections.abc import Sequence
from pathlib import Path

from node.cli.shared import (
    KEY_FILE,
    client_of,
    data_folder,
    parse_overrides,
    print_json,
    read_text,
    to_plain,
)
from node.control.client import ControlClient, NoNode
from node.errors import ConfigError

REFRESH_S = 1.0


def ask_id(data: Path | None, as_json: bool) -> None:
    """Print the peer id, from the node or else from its key file."""
    folder = data_folder(data)
    addresses: Sequence[str] = ()
    try:
        with ControlClient(folder) as client:
            peer, addresses, _ = client.identity()
    except NoNode:
        from node.adapters.keyfile import load_or_create_key

        if not (folder / KEY_FILE).exists():
            raise
        peer = load_or_create_key(folder / KEY_FILE).identity.peer_id
    if as_json:
        print_json({"peer": peer, "addresses": addresses})
    else:
        print("\n".join([peer, *addresses]))


def ask_status(data: Path | None, as_json: bool, watch: bool) -> None:
    """Print the node's status, once or again and again."""
    with client_of(data) as client:
        if as_json:
            print_json(client.status())
            while watch:
                time.sleep(REFRESH_S)
                print_json(client.status())
            return
        from rich.live import Live

        from node.cli.tables import console, status_view

        if not watch:
            console().print(status_view(client.status()))
            return
        with Live(status_view(client.status()), console=console(), auto_refresh=False) as live:
            while True:
                time.sleep(REFRESH_S)
                live.update(status_view(client.status()), refresh=True)


def ask_peers(data: Path | None, as_json: bool) -> None:
    """Print the known peers."""
    with client_of(data) as client:
        peers, membership = client.peers()
    if as_json:
        print_json(peers)
        return
    from node.cli.tables import console, peer_table

    out = console()
    out.print(membership)
    if peers:
        out.print(peer_table(peers))


def ask_health(data: Path | None) -> int:
    """Print what the node's health service says; the exit code."""
    with client_of(data) as client:
        serving = client.is_serving()
    print("serving" if serving else "not serving")
    return 0 if serving else 1


def submit_job(
    file: Path,
    set_: list[str] | None,
    data: Path | None,
    as_json: bool,
    *,
    gather: int | None,
    settle_s: float,
) -> None:
    """Send a manifest, the nodes that are here as founders if ``gather``; print the job's id."""
    text, overrides = read_text(file, "the job"), parse_overrides(set_)
    with client_of(data) as client:
        if gather is None:
            job = client.submit(text, overrides)
        else:
            from node.cli.gather import Gathering, submit_gathered

            job = submit_gathered(client, str(file), text, overrides, Gathering(gather, settle_s))
    if as_json:
        print_json({"job": job})
    else:
        print(job)


def list_jobs(data: Path | None, as_json: bool) -> None:
    """Print the node's jobs."""
    with client_of(data) as client:
        jobs = client.list_jobs()
    if as_json:
        print_json(jobs)
        return
    from node.cli.tables import console, job_table

    console().print(job_table(jobs) if jobs else "no jobs: give it one with `artel job submit`")


def show_job(job: str, data: Path | None, as_json: bool) -> None:
    """Print one job and its manifest."""
    with client_of(data) as client:
        status, manifest = client.show_job(_complete(client, job))
    if as_json:
        print_json({"status": to_plain(status), "manifest": json.loads(manifest)})
        return
    from node.cli.tables import console, job_details

    out = console()
    out.print(job_details(status))
    out.print_json(manifest)


def stop_job(job: str, data: Path | None, as_json: bool) -> None:
    """Stop one job here."""
    with client_of(data) as client:
        job = _complete(client, job)
        client.stop_job(job)
    if as_json:
        print_json({"job": job, "stopped": True})
    else:
        print(f"stopped {job} on this node")


def _complete(client: ControlClient, beginning: str) -> str:
    """The one job id that starts with ``beginning``.

    Raises:
        ConfigError: none does, or several do.
    """
    found = [job.job for job in client.list_jobs() if job.job.startswith(beginning.lower())]
    if len(found) != 1 or not beginning:
        several = f"{len(found)} jobs" if found else "no job"
        raise ConfigError(f"{several} on this node begin with {beginning!r}: see `artel job list`")
    return found[0]
