"""What the data folder of a stopped node proves by itself: chain, state and memory on its disk.

Trusts nothing but the job id, and changes nothing.
"""

import sqlite3
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from node.errors import ConfigError, PeerError
from node.identity import peer_id_of, verify
from node.jobs.manifest import SignedManifest, decode_signed_manifest
from node.jobs.records import MANIFEST_PREFIX
from node.jobs.stopped_folder import StoppedFolder, open_stopped
from node.jobs.verify_memory import verify_memory
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
    entries: int = 0
    """Entries of shared memory on the disk, signed by their authors."""
    entries_behind: int = 0
    """Certified entries that had not come here yet."""


def verify_node_folder(path: Path, job: str | None = None) -> FolderReport:
    """Verify the manifest, every certificate, the newest state and the shared memory of one job.

    Args:
        path: Data folder of a node that does not run.
        job: Job id, hex; None: the only one in the folder.

    Raises:
        ConfigError: not the folder of a stopped node, no such job, or several to choose from.
    """
    with open_stopped(path) as folder:
        try:
            chosen, encoded = _choose(folder, job)
            signed, fault = _manifest(chosen, encoded)
            if signed is None:
                return FolderReport(reason=fault)
            head, fault = _chain(folder, signed)
            memory = verify_memory(folder, signed.job_id, head.memory, verify)
        except sqlite3.Error as error:
            return FolderReport(reason=f"The slot log cannot be read: {error}.")
        round_, root, state_fault = _state(folder, chosen)
    fault = fault or state_fault or _compare(head, round_, root) or memory.reason
    return FolderReport(
        round=head.round,
        state_root=root,
        agreement=not fault,
        reason=fault,
        refusals=dict(head.refusals),
        skips=head.skips,
        credits={peer_id_of(key): micro for key, micro in head.credits.items()},
        entries=memory.entries,
        entries_behind=memory.entries_behind,
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
    with open_stopped(path) as folder:
        try:
            _, encoded = _choose(folder, job.hex())
            signed, fault = _manifest(job.hex(), encoded)
            if signed is None:
                raise ConfigError(f"{path}: {fault}")
            head, _ = _chain(folder, signed)
        except sqlite3.Error as error:
            raise ConfigError(f"the slot log in {path} cannot be read: {error}") from error
    return None if round_ > head.round + 1 else electorate_of(head.terms, round_)


def _choose(folder: StoppedFolder, job: str | None) -> tuple[str, bytes]:
    """Id and signed manifest of the job to verify."""
    manifests = dict(folder.scan(MANIFEST_PREFIX))
    listed = ", ".join(manifests) or "none"
    if job is None and len(manifests) != 1:
        raise ConfigError(f"{folder.path} holds {len(manifests)} jobs ({listed}): say which one")
    chosen = next(iter(manifests)) if job is None else job
    if chosen not in manifests:
        raise ConfigError(f"{folder.path} does not hold the job {chosen} (jobs: {listed})")
    return chosen, manifests[chosen]


def _manifest(job: str, encoded: bytes) -> tuple[SignedManifest | None, str]:
    try:
        signed = decode_signed_manifest(encoded)
    except PeerError as error:
        return None, f"The manifest does not verify: {error}."
    if signed.job_id.hex() != job:
        return None, f"The manifest is that of the job {signed.job_id.hex()}."
    return signed, ""


def _chain(folder: StoppedFolder, signed: SignedManifest) -> tuple[Head, str]:
    """The head of what verifies, and what is wrong after it."""
    head = signed.genesis
    for key, data in folder.scan(f"cert/{signed.job_id.hex()}/"):
        due = head.round + 1
        if key != f"{due:012d}":
            return head, f"The certificate of round {due} is missing: the next one is {key[:12]}."
        try:
            head, _ = verify_next(head, decode_certificate(data), verify)
        except PeerError as error:
            return head, f"The certificate of round {due} does not verify: {error}."
    return head, "" if head.round else "No round is certified."


def _state(folder: StoppedFolder, job: str) -> tuple[int, str, str]:
    """Round and root of the newest state, and what is wrong with it."""
    prefix = f"{job}/state-"
    # Rounds are padded with zeros, so that names sort as they do.
    names = [n for n in folder.blobs(prefix) if n.removeprefix(prefix).isdecimal()]
    if not names:
        return 0, "", "No state is stored."
    round_ = int(names[-1].removeprefix(prefix))
    try:
        state, shapes, _ = from_safetensors(folder.blob(names[-1]))
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
