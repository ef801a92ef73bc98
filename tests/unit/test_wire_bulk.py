"""Bulk messages are encoded to the bytes that protobuf's own classes give."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from node.types import DIGEST_BYTES, PUBLIC_KEY_BYTES, SIGNATURE_BYTES, Digest, JobId
from node.wire import convert
from node.wire import exchange_pb2 as pb
from node.wire.fields import UNCOUNTED_BYTES
from node.wire.limits import PARTS_MAX, ROUND_MAX
from node.wire.messages import FetchReply, RoundMessage, Scatter, Signed, Spread

JOB = JobId(bytes(range(DIGEST_BYTES)))
LENGTHS = (0, 1, 127, 128, 16_383, 16_384, UNCOUNTED_BYTES + 1)
"""Around the steps of a varint, and beyond what is parsed without counting fields."""

digests = st.binary(min_size=DIGEST_BYTES, max_size=DIGEST_BYTES).map(Digest)
rounds = st.integers(1, ROUND_MAX)
datas = st.binary(max_size=40) | st.builds(
    lambda fill, size: bytes([fill]) * size, st.integers(0, 255), st.sampled_from(LENGTHS)
)
all_parts = st.dictionaries(st.integers(0, PARTS_MAX - 1), datas, max_size=6).map(
    lambda parts: tuple(sorted(parts.items()))
)


def signed_of(round_: int) -> st.SearchStrategy[Signed]:
    return st.builds(
        Signed,
        kind=st.sampled_from(sorted(convert.KINDS)),
        job=st.just(JOB),
        round=st.just(round_),
        signer=st.binary(min_size=PUBLIC_KEY_BYTES, max_size=PUBLIC_KEY_BYTES),
        body=datas,
        signature=st.binary(min_size=SIGNATURE_BYTES, max_size=SIGNATURE_BYTES),
    )


def plain(signed: Signed) -> pb.Signed:
    return pb.Signed(
        kind=signed.kind, signer=signed.signer, body=signed.body, signature=signed.signature
    )


def plain_parts(parts: tuple[tuple[int, bytes], ...]) -> list[pb.PartBytes]:
    return [pb.PartBytes(part=part, data=data) for part, data in parts]


@given(rounds.flatmap(lambda r: st.tuples(st.just(r), signed_of(r))), digests, all_parts)
@settings(deadline=None)
def test_a_scatter_has_the_bytes_of_protobuf(
    sent: tuple[int, Signed], prev: Digest, parts: tuple[tuple[int, bytes], ...]
) -> None:
    round_, commitment = sent
    message = RoundMessage(JOB, round_, prev, Scatter(commitment, parts))
    body = pb.Scatter(commitment=plain(commitment), parts=plain_parts(parts))
    data = convert.encode_round(message)
    expected = pb.RoundMessage(job=JOB, round=round_, prev=prev, scatter=body)
    assert data == expected.SerializeToString()
    assert convert.decode_round(data) == message


@given(
    rounds.flatmap(lambda r: st.tuples(st.just(r), st.none() | signed_of(r))),
    digests,
    all_parts,
)
@settings(deadline=None)
def test_a_spread_has_the_bytes_of_protobuf(
    sent: tuple[int, Signed | None], prev: Digest, parts: tuple[tuple[int, bytes], ...]
) -> None:
    round_, result = sent
    message = RoundMessage(JOB, round_, prev, Spread(prev, parts, result))
    body = pb.Spread(
        plan_id=prev, parts=plain_parts(parts), result=plain(result) if result else None
    )
    data = convert.encode_round(message)
    expected = pb.RoundMessage(job=JOB, round=round_, prev=prev, spread=body)
    assert data == expected.SerializeToString()
    assert convert.decode_round(data) == message


@given(st.lists(signed_of(1), max_size=3), all_parts)
@settings(deadline=None)
def test_a_fetched_reply_has_the_bytes_of_protobuf(
    signed: list[Signed], parts: tuple[tuple[int, bytes], ...]
) -> None:
    reply = FetchReply(tuple(signed), parts)
    data = convert.encode_fetched(reply)
    expected = pb.FetchReply(signed=map(plain, signed), parts=plain_parts(parts))
    assert data == expected.SerializeToString()
    assert convert.decode_fetched(data, JOB, 1) == reply


def test_a_part_index_that_does_not_fit_is_our_own_error() -> None:
    for part in (-1, 2**32):
        with pytest.raises(ValueError, match="range"):
            convert.encode_fetched(FetchReply((), ((part, b"x"),)))
