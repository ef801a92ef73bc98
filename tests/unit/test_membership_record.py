from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from node.errors import BadSignature, Malformed, PeerError, TooLarge
from node.identity import NO_JOB, Identity
from node.membership.record import (
    ADDRESSES_MAX,
    EXCHANGE_BYTES_MAX,
    EXCHANGE_RECORDS_MAX,
    JOBS_MAX,
    SIGNED_RECORD_BYTES_MAX,
    Expired,
    WrongSwarm,
    decode_exchange,
    decode_record,
    encode_exchange,
    make_record,
)
from node.ports import RECORD_BYTES_MAX
from node.types import JobId
from node.wire import peer_pb2

US, OTHER = Identity(bytes(32)), Identity(bytes([1]) * 32)
NOW = 1_800_000_000.0
ADDRESS = "/ip4/203.0.113.7/tcp/31330"


def _wire(**changes: Any) -> peer_pb2.PeerRecord:
    fields: dict[str, Any] = {
        "public_key": US.public_key,
        "sequence": 5,
        "issued_unix_ms": int(NOW * 1000),
        "expires_unix_ms": int(NOW * 1000) + 60_000,
        "addresses": [ADDRESS],
        "swarm": "main",
    }
    return peer_pb2.PeerRecord(**{**fields, **changes})


def _signed(record: bytes, signer: Identity = US) -> bytes:
    signature = signer.sign("record", NO_JOB, 0, record)
    return peer_pb2.SignedRecord(record=record, signature=signature).SerializeToString()


def _decode(signed: bytes) -> object:
    return decode_record(signed, swarm="main", now=NOW)


def test_a_record_comes_back_as_it_was_made() -> None:
    job = JobId(bytes(range(32)))
    made = make_record(
        US,
        sequence=5,
        now=NOW,
        ttl_s=60.0,
        addresses=[ADDRESS],
        swarm="main",
        jobs=[job],
        version="0.1.0",
        incarnation=2,
        serves_any=True,
    )
    read = decode_record(made.signed, swarm="main", now=NOW)
    assert read == made
    assert (read.peer, read.sequence, read.addresses) == (US.peer_id, 5, (ADDRESS,))
    assert (read.jobs, read.version, read.incarnation) == ((job,), "0.1.0", 2)
    assert read.serves_any
    assert (read.issued_unix_s, read.expires_unix_s) == (NOW, NOW + 60.0)


def test_a_record_that_another_key_signed_is_refused_and_blames_no_author() -> None:
    with pytest.raises(BadSignature) as caught:
        _decode(_signed(_wire().SerializeToString(), signer=OTHER))
    assert caught.value.peer is None


def test_a_record_signed_as_another_kind_is_refused() -> None:
    record = _wire().SerializeToString()
    signature = US.sign("manifest", NO_JOB, 0, record)
    forged = peer_pb2.SignedRecord(record=record, signature=signature).SerializeToString()
    with pytest.raises(BadSignature):
        _decode(forged)


@pytest.mark.parametrize(
    ("changes", "error"),
    [
        ({"expires_unix_ms": int(NOW * 1000)}, Malformed),
        ({"issued_unix_ms": int(NOW * 1000) - 9000, "expires_unix_ms": int(NOW * 1000)}, Expired),
        ({"expires_unix_ms": int(NOW * 1000) + 3_600_001}, Malformed),
        (
            {
                "issued_unix_ms": int(NOW * 1000) + 400_000,
                "expires_unix_ms": int(NOW * 1000) + 3_900_001,
            },
            Malformed,
        ),
        ({"issued_unix_ms": 2**64 - 2, "expires_unix_ms": 2**64 - 1}, Malformed),
        ({"sequence": 0}, Malformed),
        ({"sequence": 2**63}, Malformed),
        ({"incarnation": 2**32}, Malformed),
        ({"swarm": "other"}, WrongSwarm),
        ({"swarm": ""}, WrongSwarm),
        ({"public_key": bytes(31)}, Malformed),
        ({"addresses": ["nonsense"]}, Malformed),
        ({"addresses": [""]}, Malformed),
        ({"addresses": [ADDRESS] * (ADDRESSES_MAX + 1)}, TooLarge),
        ({"addresses": ["/dns/" + "a." * 130 + "/tcp/1"]}, TooLarge),
        ({"jobs": [bytes(31)]}, Malformed),
        ({"jobs": [bytes(32)] * (JOBS_MAX + 1)}, TooLarge),
        ({"version": "x" * 33}, Malformed),
        ({"version": "a\nb"}, Malformed),
        ({"version": "é"}, Malformed),
    ],
)
def test_a_field_out_of_range_is_refused(changes: dict[str, Any], error: type[PeerError]) -> None:
    with pytest.raises(error):
        _decode(_signed(_wire(**changes).SerializeToString()))


def test_a_record_above_the_limit_is_not_parsed() -> None:
    with pytest.raises(TooLarge):
        _decode(bytes(SIGNED_RECORD_BYTES_MAX + 1))


def test_the_largest_record_fits_into_the_dht() -> None:
    host = ".".join(["a" * 60] * 4)
    made = make_record(
        US,
        sequence=2**63 - 1,
        now=NOW,
        ttl_s=3600.0,
        addresses=[f"/dns4/{host}/tcp/1"] * 99,
        swarm="s" * 32,
        jobs=[JobId(bytes(32))] * 99,
        version="v" * 99,
        incarnation=2**32 - 1,
    )
    assert len(made.addresses) == ADDRESSES_MAX
    assert len(made.signed) <= SIGNED_RECORD_BYTES_MAX <= RECORD_BYTES_MAX
    assert decode_record(made.signed, swarm="s" * 32, now=NOW) == made


@given(st.binary(max_size=300))
def test_garbage_raises_nothing_but_a_peer_error(raw: bytes) -> None:
    with pytest.raises(PeerError):
        _decode(raw)
    with pytest.raises(PeerError):
        _decode(_signed(raw))


@given(st.data())
def test_a_changed_byte_never_passes(data: st.DataObject) -> None:
    signed = bytearray(_signed(_wire().SerializeToString()))
    index = data.draw(st.integers(0, len(signed) - 1))
    signed[index] ^= data.draw(st.integers(1, 255))
    with pytest.raises(PeerError):
        _decode(bytes(signed))


def test_an_exchange_carries_as_many_records_as_fit_from_the_first_on() -> None:
    assert decode_exchange(encode_exchange([])) == []
    assert decode_exchange(encode_exchange([b"a", b"b"])) == [b"a", b"b"]
    many = [bytes([i]) for i in range(100)]
    assert decode_exchange(encode_exchange(many)) == many[:EXCHANGE_RECORDS_MAX]
    large = [bytes(SIGNED_RECORD_BYTES_MAX)] * 60
    encoded = encode_exchange(large)
    assert len(encoded) <= EXCHANGE_BYTES_MAX
    assert len(decode_exchange(encoded)) == EXCHANGE_BYTES_MAX // (SIGNED_RECORD_BYTES_MAX + 8)


def test_an_exchange_above_its_limits_is_refused() -> None:
    with pytest.raises(TooLarge):
        decode_exchange(bytes(EXCHANGE_BYTES_MAX + 1))
    message = peer_pb2.PeerExchangeReply(records=[b"x"] * (EXCHANGE_RECORDS_MAX + 1))
    with pytest.raises(TooLarge):
        decode_exchange(message.SerializeToString())
    with pytest.raises(Malformed):
        decode_exchange(b"\xff")
