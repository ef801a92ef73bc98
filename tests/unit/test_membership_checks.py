"""What a node keeps in the DHT for others."""

from node.daemon import manifest_id
from node.identity import Identity
from node.jobs.manifest import parse_manifest, sign_manifest
from node.membership.checks import record_validator
from node.membership.record import make_record
from node.membership.shelves import SHELVES, shelf_key

NOW = 1_800_000_000.0
ALICE, BOB = Identity(bytes(32)), Identity(bytes([1]) * 32)
JOB = '[job]\nname = "j"\nworkload = "inr"\nrounds = 1\n'


def test_only_own_signed_records_and_named_manifests_are_kept() -> None:
    check = record_validator("s", lambda: NOW, manifest_id)
    record = make_record(
        ALICE, sequence=1, now=NOW, ttl_s=60.0, addresses=["/ip4/127.0.0.1/tcp/1"], swarm="s"
    ).signed
    assert check("artel/s/peers", ALICE.peer_id, record)
    assert not check("artel/s/peers", BOB.peer_id, record)
    shelf = shelf_key("s", ALICE.peer_id)
    assert check(shelf, ALICE.peer_id, record)
    others = [f"artel/s/peers/{i:x}" for i in range(SHELVES)] + ["artel/s/peers/", "artel/s/peersx"]
    assert [key for key in others if check(key, ALICE.peer_id, record)] == [shelf]
    assert not check("artel/t/peers", ALICE.peer_id, record)
    assert not check("artel/s/peers", ALICE.peer_id, record[:-1])
    assert not check("artel/s/other", ALICE.peer_id, record)
    signed = sign_manifest(parse_manifest(JOB, {}), ALICE)
    assert check("artel/s/jobs", signed.job_id.hex(), signed.encode())
    assert not check("artel/s/jobs", bytes(32).hex(), signed.encode())
    assert not check("artel/s/jobs", signed.job_id.hex(), b"garbage")
