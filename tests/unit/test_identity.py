import os
import stat
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from hypothesis import given
from hypothesis import strategies as st

from node.adapters.keyfile import load_or_create_key
from node.errors import ConfigError, Malformed
from node.identity import Identity, peer_id_of, public_key_of, verify

US = Identity(bytes(32))
JOB = bytes(range(32))


def test_the_peer_id_is_that_of_libp2p() -> None:
    # libp2p specs, peer-ids: the Ed25519 test key and py-libp2p give these forms.
    assert US.public_key.hex().startswith("3b6a27bcceb6a42d62a3a8d02a6f0d73")
    assert US.peer_id == "12D3KooWDpJ7As7BWAwRMfu1VU2WCqNjvq387JEYKDBj4kx6nXTN"


@given(st.binary(min_size=32, max_size=32))
def test_peer_id_and_public_key_are_inverse(key: bytes) -> None:
    assert public_key_of(peer_id_of(key)) == key
    assert len(peer_id_of(key)) == 52


@pytest.mark.parametrize(
    "text",
    [
        "",
        "1",
        "12D3KooW",
        US.peer_id + "1",
        "1" + US.peer_id,
        US.peer_id[:-1],
        US.peer_id[:-1] + "0",
        US.peer_id[:-1] + "é",
        US.peer_id + "\n",
        "z" * 52,
        "QmYyQSo1c1Ym7orWxLYvCrM2EmxFTANf8wXmmE7DWjhx5N",
        "1" * 10_000,
    ],
)
def test_what_is_not_an_ed25519_peer_id_is_malformed(text: str) -> None:
    with pytest.raises(Malformed):
        public_key_of(text)


def test_a_public_key_of_another_length_is_malformed() -> None:
    with pytest.raises(Malformed):
        peer_id_of(bytes(31))


def test_a_signature_verifies_only_in_its_own_place() -> None:
    signature = US.sign("commit", JOB, 7, b"body")
    assert verify(US.public_key, "commit", JOB, 7, b"body", signature)
    other = Identity(bytes([1]) * 32)
    assert not verify(other.public_key, "commit", JOB, 7, b"body", signature)
    assert not verify(US.public_key, "vote", JOB, 7, b"body", signature)
    assert not verify(US.public_key, "commit", b"", 7, b"body", signature)
    assert not verify(US.public_key, "commit", JOB, 8, b"body", signature)
    assert not verify(US.public_key, "commit", JOB, 7, b"body ", signature)
    assert not verify(US.public_key, "commit", JOB, 7, b"body", signature[:-1] + b"\0")


def test_no_job_and_the_job_of_zeros_are_signed_alike() -> None:
    assert US.sign("record", b"", 0, b"x") == US.sign("record", bytes(32), 0, b"x")


@given(st.binary(max_size=80), st.binary(max_size=80), st.integers())
def test_verify_answers_false_to_whatever_a_peer_sends(
    key: bytes, signature: bytes, round_: int
) -> None:
    assert not verify(key, "commit", JOB, round_, b"body", signature)


def test_the_seed_is_not_shown() -> None:
    assert bytes(32).hex() not in repr(US)
    assert repr(bytes(32)) not in repr(US)


def test_a_key_is_made_once_private_and_loaded_after(tmp_path: Path) -> None:
    path = tmp_path / "new" / "key.pem"
    made = load_or_create_key(path)
    again = load_or_create_key(path)
    assert made.created
    assert not again.created
    assert made.identity.peer_id == again.identity.peer_id
    assert made.identity.peer_id != load_or_create_key(tmp_path / "other.pem").identity.peer_id
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert os.listdir(path.parent) == ["key.pem"]


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o660, 0o644])
def test_a_key_that_others_can_read_is_refused_with_the_remedy(tmp_path: Path, mode: int) -> None:
    path = tmp_path / "key.pem"
    load_or_create_key(path)
    path.chmod(mode)
    with pytest.raises(ConfigError, match=f"chmod 600 {path}"):
        load_or_create_key(path)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a file away")
def test_a_key_of_another_user_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "key.pem"
    load_or_create_key(path)
    os.chown(path, 12345, -1)
    with pytest.raises(ConfigError, match="belongs to user 12345"):
        load_or_create_key(path)


def _x25519() -> bytes:
    key = X25519PrivateKey.generate()
    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"", "damaged"),
        (b"-----BEGIN PRIVATE KEY-----\nMC4CAQAwBQY\n-----END PRIVATE KEY-----\n", "damaged"),
        (b"x" * 10_000, "damaged"),
        (_x25519(), "another kind"),
    ],
)
def test_a_damaged_key_is_refused_and_not_replaced(
    tmp_path: Path, content: bytes, said: str
) -> None:
    path = tmp_path / "key.pem"
    path.write_bytes(content)
    path.chmod(0o600)
    with pytest.raises(ConfigError, match=said):
        load_or_create_key(path)
    assert path.read_bytes() == content


def test_a_folder_in_place_of_a_key_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=str(tmp_path)):
        load_or_create_key(tmp_path)
