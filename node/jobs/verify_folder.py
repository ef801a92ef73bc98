"""What the data folder of a stopped node proves by itself: its chain, and the state on its disk.

Reads the files directly, since a stopped node has no ports; docs/runbook.md, "Data folder", tells
their layout. Trusts nothing but the job id, and changes nothing.
"""

import fcntl
import os
import sqlite3
from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from node.errors import ConfigError, PeerError
from node.identity import peer_id_of, verify
from node.jobs.manifest import SignedManifest, decode_signed_manifest
from node.jobs.records import MANIFEST_PREFIX
from node.ledger.chain import Head, verify_next
from node.ledger.electorate import Electorate
from node.ledger.succession import electorate_of
from node.state.snapshot import from_safetensors, state_root
from node.types import JobId, PeerId
from node.wire.convert_ledger import decode_certificate


@dataclass(frozen=True)
class FolderReport:
    """What a folder proves by itself."""

    round: int = 0
    """Last round up to which the chain of certificates verifies."""
    state_root: str = ""
    """Root recomputed from the newest stored state, hex; empty: there is none, or it is torn."""
    agreement: bool = False
    """The chain verifies from the founders on, and its last root is ``state_root``."""
    reason: str = ""
    """What failed, in one sentence; empty where all agrees."""
    refusals: Mapping[str, int] = field(default_factory=dict)
    """Reason -> refused contributions over the verified rounds."""
    skips: int = 0
    """Verified rounds that were skipped."""
    credits: Mapping[PeerId, int] = field(default_factory=dict)
    """Micro-credits that the verified rounds minted."""


def verify_node_folder(path: Path, job: str | None = None) -> FolderReport:
    """Verify the manifest, every certificate and the newest state of one job.

    Args:
        path: Data folder of a node that does not run.
        job: Job id, hex; None: the only one in the folder.

    Raises:
        ConfigError: not the folder of a stopped node, no such job, or several to choose from.
    """
    with _stopped(path), closing(_open(path)) as database:
        try:
            chosen, encoded = _choose(database, path, job)
            signed, fault = _manifest(chosen, encoded)
            if signed is None:
                return FolderReport(reason=fault)
            head, fault = _chain(database, signed)
        except sqlite3.Error as error:
            return FolderReport(reason=f"The slot log cannot be read: {error}.")
    round_, root, state_fault = _state(path / "blobs", chosen)
    fault = fault or state_fault or _compare(head, round_, root)
    return FolderReport(
        round=head.round,
        state_root=root,
        agreement=not fault,
        reason=fault,
        refusals=dict(head.refusals),
        skips=head.skips,
        credits={peer_id_of(key): micro for key, micro in head.credits.items()},
    )


def electors_in(path: Path, job: JobId, round_: int) -> Electorate | None:
    """The electors of a round, as the chain in a folder proves; None: it does not reach so far.

    Args:
        path: Data folder of a node that does not run.
        job: of the chain.
        round_: its round.

    Raises:
        ConfigError: not the folder of a stopped node, or it does not hold the job.
    """
    with _stopped(path), closing(_open(path)) as database:
        try:
            _, encoded = _choose(database, path, job.hex())
            signed, _ = _manifest(job.hex(), encoded)
            head, _ = _chain(database, signed) if signed else (None, "")
        except sqlite3.Error as error:
            raise ConfigError(f"the slot log in {path} cannot be read: {error}") from error
    if head is None or round_ > head.round + 1:
        return None
    return electorate_of(head.terms, round_)


@contextmanager
def _stopped(path: Path) -> Iterator[None]:
    """Keep nodes from starting on the folder; one that runs may write while we read."""
    try:
        descriptor = os.open(path / "lock", os.O_RDONLY | os.O_CLOEXEC)
    except OSError as error:
        raise ConfigError(f"{path} is not the data folder of a node: {error}") from error
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise ConfigError(f"a node runs on {path}: stop it first") from error
        yield
    finally:
        os.close(descriptor)


def _open(path: Path) -> sqlite3.Connection:
    """The slot log, for reading alone."""
    file = path.absolute() / "store.sqlite"
    # A node that was killed leaves a log beside the database, and reading that needs its locks.
    # Without one, SQLite would make empty files in a folder that may not be ours to write.
    log = file.with_name(file.name + "-wal")
    mode = "mode=ro" if log.exists() else "mode=ro&immutable=1"
    try:
        return sqlite3.connect(f"{file.as_uri()}?{mode}", uri=True)
    except sqlite3.Error as error:
        raise ConfigError(f"{file} cannot be opened: {error}") from error


def _scan(database: sqlite3.Connection, prefix: str) -> Iterator[tuple[str, bytes]]:
    """Rest of the key and value of all slots under ``prefix``, in order."""
    query = "SELECT key, CAST(value AS BLOB) FROM slots WHERE key >= ? AND key < ? ORDER BY key"
    for key, value in database.execute(query, (prefix, prefix + "\x7f")):
        yield key.removeprefix(prefix), value


def _choose(database: sqlite3.Connection, path: Path, job: str | None) -> tuple[str, bytes]:
    """Id and signed manifest of the job to verify."""
    manifests = dict(_scan(database, MANIFEST_PREFIX))
    listed = ", ".join(manifests) or "none"
    if job is None and len(manifests) != 1:
        raise ConfigError(f"{path} holds {len(manifests)} jobs ({listed}): say which one")
    chosen = next(iter(manifests)) if job is None else job
    if chosen not in manifests:
        raise ConfigError(f"{path} does not hold the job {chosen} (jobs: {listed})")
    return chosen, manifests[chosen]


def _manifest(job: str, encoded: bytes) -> tuple[SignedManifest | None, str]:
    try:
        signed = decode_signed_manifest(encoded)
    except PeerError as error:
        return None, f"The manifest does not verify: {error}."
    if signed.job_id.hex() != job:
        return None, f"The manifest is that of the job {signed.job_id.hex()}."
    return signed, ""


def _chain(database: sqlite3.Connection, signed: SignedManifest) -> tuple[Head, str]:
    """The head of what verifies, and what is wrong after it."""
    head = signed.genesis
    for key, data in _scan(database, f"cert/{signed.job_id.hex()}/"):
        due = head.round + 1
        if key != f"{due:012d}":
            return head, f"The certificate of round {due} is missing: the next one is {key[:12]}."
        try:
            head, _ = verify_next(head, decode_certificate(data), verify)
        except PeerError as error:
            return head, f"The certificate of round {due} does not verify: {error}."
    return head, "" if head.round else "No round is certified."


def _state(blobs: Path, job: str) -> tuple[int, str, str]:
    """Round and root of the newest state, and what is wrong with it."""
    prefix = f"{job}~state-"
    # Rounds are padded with zeros, so that names sort as they do.
    names = sorted(p.name for p in blobs.glob(prefix + "[0-9]" * 12))
    if not names:
        return 0, "", "No state is stored."
    round_ = int(names[-1].removeprefix(prefix))
    try:
        state, shapes, _ = from_safetensors((blobs / names[-1]).read_bytes())
        return round_, state_root(state, shapes).hex(), ""
    except (PeerError, ValueError, OSError) as error:
        return round_, "", f"The state of round {round_} cannot be read: {error}."


def _compare(head: Head, round_: int, root: str) -> str:
    certified = head.state_root.hex() if head.state_root else ""
    if root == certified:
        return ""
    if round_ < head.round:
        return f"The newest stored state is that of round {round_}; {head.round} are certified."
    return f"The stored state has the root {root}, but round {head.round} certified {certified}."
