"""Evidence that peers lied: asked of a running node, or checked alone from a file."""

from functools import partial
from pathlib import Path
from typing import Any

from node.cli.shared import client_of, print_json
from node.control.client import ControlClient
from node.errors import ConfigError, Malformed, PeerError
from node.identity import peer_id_of, verify
from node.jobs.verify_folder import electors_in
from node.ledger.evidence import Electors, accused_peer, describe, nobody, offender, slot_of
from node.wire.convert import decode_evidence
from node.wire.limits import EVIDENCE_BYTES_MAX
from node.wire.memory_messages import ForkEvidence, SignedHeader
from node.wire.messages import Evidence, Judgement, Signed


def list_evidence(data: Path | None, as_json: bool) -> None:
    """Print the convicted peers."""
    with client_of(data) as client:
        convicted = client.convicted()
    if as_json:
        print_json([{"peer": peer, "reason": why} for peer, why in convicted.items()])
    else:
        lines = [f"{peer} {why}" for peer, why in convicted.items()]
        print("\n".join(lines or ["no evidence is held"]))


def show_evidence(peer: str, data: Path | None, as_json: bool) -> None:
    """Print what the evidence against a peer says."""
    with client_of(data) as client:
        encoded = client.evidence(_complete(client, peer))
    evidence = decode_evidence(encoded)
    found = _facts(evidence)  # the node checked it, with the electors of its round
    _print({"peer": accused_peer(evidence), **found, "bytes": len(encoded)}, as_json)


def export_evidence(peer: str, file: Path, data: Path | None, as_json: bool) -> None:
    """Write the evidence against a peer to a file."""
    with client_of(data) as client:
        peer = _complete(client, peer)
        encoded = client.evidence(peer)
    try:
        file.write_bytes(encoded)
    except OSError as error:
        raise ConfigError(f"cannot write {file}: {error.strerror}") from error
    if as_json:
        print_json({"peer": peer, "file": str(file), "bytes": len(encoded)})
    else:
        print(f"wrote {file}: check it with `artel evidence verify {file}`")


def verify_evidence(file: Path, folder: Path | None, as_json: bool) -> int:
    """Check a file of evidence; the exit code: 0 where it convicts somebody.

    Args:
        file: as ``export_evidence`` wrote it.
        folder: data folder of a stopped node, whose chain says who voted when.
        as_json: for programs.
    """
    try:
        with file.open("rb") as opened:
            encoded = opened.read(EVIDENCE_BYTES_MAX + 1)
    except OSError as error:
        raise ConfigError(f"cannot read {file}: {error.strerror}") from error
    try:
        found = _opened(encoded, nobody if folder is None else partial(electors_in, folder))
    except PeerError as error:
        if as_json:
            print_json({"valid": False, "reason": str(error)})
        else:
            print(f"NOT VALID, it convicts nobody: {error}")
        return 1
    _print({"valid": True, **found}, as_json)
    return 0


def _opened(encoded: bytes, electors: Electors) -> dict[str, Any]:
    """What evidence proves, after every check.

    Raises:
        PeerError: it proves nothing.
        ConfigError: the folder that ``electors`` reads has no such chain.
    """
    evidence = decode_evidence(encoded)
    if isinstance(evidence, Judgement) and electors is nobody:
        on = evidence.first
        raise Malformed(
            f"it is a judgement, which is worth what its electors are: give --folder, the data "
            f"folder of a stopped node that holds the chain of job {on.job.hex()}"
        )
    peer = peer_id_of(offender(evidence, verify, electors))
    return {"peer": peer, **_facts(evidence), "bytes": len(encoded)}


def _facts(evidence: Evidence) -> dict[str, Any]:
    found: dict[str, Any] = {"reason": describe(evidence)}
    if isinstance(evidence, ForkEvidence):
        headers = [_header(evidence.one), _header(evidence.other)]
        return found | {"job": evidence.one.header.job.hex(), "kind": "fork", "signed": headers}
    if isinstance(evidence, Judgement):
        on = evidence.first
        signed = [_message(s) | {"signer": peer_id_of(s.signer)} for s in (on, *evidence.findings)]
        return found | {
            "job": on.job.hex(),
            "kind": "judgement",
            "on": on.kind,
            "round": on.round,
            "signed": signed,
        }
    first = evidence.first
    return found | {
        "job": first.job.hex(),
        "kind": first.kind,
        "round": first.round,
        "slot": [part.hex() if isinstance(part, bytes) else part for part in slot_of(first)],
        "signed": [_message(first), _message(evidence.second)],
    }


def _message(signed: Signed) -> dict[str, Any]:
    return {"id": signed.id.hex(), "bytes": len(signed.body), "signature": signed.signature.hex()}


def _header(signed: SignedHeader) -> dict[str, Any]:
    header = signed.header
    return {"id": signed.id.hex(), "seq": header.seq, "first_entry": header.first_entry}


def _print(found: dict[str, Any], as_json: bool) -> None:
    if as_json:
        print_json(found)
        return
    verdict = "VALID: " if found.pop("valid", False) else ""
    print(f"{verdict}{found['peer']} {found['reason']}")
    for key in ("job", "kind", "on", "round", "slot"):
        if key in found:
            print(f"  {key}: {found[key]}")
    for message in found["signed"]:
        print("  signed: " + ", ".join(f"{name} {value}" for name, value in message.items()))


def _complete(client: ControlClient, end: str) -> str:
    """The one convicted peer whose id ends with ``end``.

    Raises:
        ConfigError: none does, or several do.
    """
    found = [peer for peer in client.convicted() if peer.endswith(end)]
    if len(found) != 1 or not end:
        several = f"{len(found)} convicted peers" if found else "no convicted peer"
        raise ConfigError(f"{several} of this node end with {end!r}: see `artel evidence list`")
    return found[0]
