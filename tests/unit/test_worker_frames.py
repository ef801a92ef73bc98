"""Entries survive the way to a worker and back, and no length is believed."""

import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from node.adapters.worker_frames import (
    BLOBS_BYTES_MAX,
    FRAME_BYTES_MAX,
    HEAD_BYTES,
    blob_sizes,
    encode_frame,
    entries_from,
    entries_message,
    head_size,
    split_blobs,
)
from workloads.api import Entries, MemoryForm


@given(st.integers(0, 5), st.integers(1, 4), st.integers(0, 3), st.sampled_from(["int8", "fp16"]))
def test_entries_come_back_as_they_went(n: int, d: int, p: int, kind: str) -> None:
    form = MemoryForm(d, kind, p)  # type: ignore[arg-type]
    rng = np.random.default_rng(n + 8 * d + 64 * p)
    keys = rng.integers(-128, 128, (n, d)).astype(np.int8 if kind == "int8" else np.float16)
    payload = rng.integers(0, 256, (n, p)).astype(np.uint8)
    entries = Entries(keys, rng.normal(size=n).astype(np.float32), payload, 0.5)
    message, blob = entries_message(entries)
    back = entries_from(json.loads(json.dumps(message)), blob, form)
    assert (back.keys == keys).all()
    assert (back.values == entries.values).all()
    assert (back.payload == payload).all()
    assert (back.keys.shape, back.payload.shape, back.key_scale) == ((n, d), (n, p), 0.5)
    with pytest.raises(ValueError, match="entries in"):
        entries_from(message, blob + b"\0", form)


@given(st.lists(st.binary(max_size=40), max_size=5))
def test_blobs_follow_the_message_that_tells_their_lengths(blobs: list[bytes]) -> None:
    frame = encode_frame({"op": "advance"}, blobs)
    end = HEAD_BYTES + head_size(frame[:HEAD_BYTES])
    message = json.loads(frame[HEAD_BYTES:end])
    sizes = blob_sizes(message)
    assert split_blobs(frame[end:], sizes) == blobs
    assert end + sum(sizes) == len(frame)


def test_lengths_above_the_limits_are_refused() -> None:
    with pytest.raises(ValueError, match="above the limit"):
        encode_frame({"text": "x" * FRAME_BYTES_MAX})
    with pytest.raises(ValueError, match="bytes"):
        head_size((FRAME_BYTES_MAX + 1).to_bytes(HEAD_BYTES, "big"))
    for sizes in ([BLOBS_BYTES_MAX, 1], [-1]):
        with pytest.raises(ValueError, match="blobs"):
            blob_sizes({"blobs": sizes})
