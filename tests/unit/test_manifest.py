import json
import math
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from node.errors import BadSignature, ConfigError, Malformed, PeerError, TooLarge
from node.identity import Identity
from node.jobs.manifest import (
    MANIFEST_BYTES_MAX,
    SIGNED_MANIFEST_BYTES_MAX,
    SignedManifest,
    canonical_bytes,
    decode_signed_manifest,
    job_id,
    manifest_from_canonical,
    parse_manifest,
    sign_manifest,
    with_founders,
)
from node.wire import peer_pb2

US, OTHER = Identity(bytes(32)), Identity(bytes([1]) * 32)
TEXT = """
[job]
name = "cat"
workload = "inr"
rounds = 100
[workload]
activation = "sinc"
omega = 30
layers = [256, 256.5, "x"]
nested = { deep = { on = true } }
[outer]
lr = 1
"""
BASE = parse_manifest(TEXT, {})


def test_defaults_are_those_of_the_documentation() -> None:
    assert (BASE.round.steps, BASE.round.group_min, BASE.round.evaluate_every) == (20, 1, 1)
    assert (BASE.exchange.codec, BASE.exchange.result_codec) == ("int8", "")
    assert (BASE.exchange.rule, BASE.exchange.rule_small) == ("caf", "trimmed_mean")
    assert (BASE.outer.lr, BASE.outer.nesterov) == (1.0, True)
    assert BASE.electorate.founders == ()


def test_overrides_reach_every_table() -> None:
    changed = {"round.steps": "5", "workload.activation": "sine", "workload.new.deep": "[1]"}
    manifest = parse_manifest(TEXT, changed)
    assert manifest.round.steps == 5
    assert manifest.workload["activation"] == "sine"
    assert manifest.workload["new"] == {"deep": [1]}


def test_a_chain_of_rules_has_one_spelling() -> None:
    spelled = parse_manifest(TEXT, {"exchange.rule": "' nnm|caf '"})
    assert spelled.exchange.rule == "nnm | caf"
    raw = canonical_bytes(spelled)
    assert manifest_from_canonical(raw) == spelled
    with pytest.raises(Malformed, match="canonical form"):
        manifest_from_canonical(raw.replace(b"nnm | caf", b"nnm|caf"))


@pytest.mark.parametrize("text", ["", "nnm |", "| caf", "NNM | caf", "a|b|c|d|e", "a b", "x" * 33])
def test_what_is_no_rule_is_refused_with_what_to_write(text: str) -> None:
    with pytest.raises(ConfigError, match="write a name such as caf"):
        parse_manifest(TEXT, {"exchange.rule": json.dumps(text)})


def test_canonical_bytes_are_sorted_compact_ascii_and_say_every_default() -> None:
    raw = canonical_bytes(BASE)
    tables = json.loads(raw)
    assert raw == json.dumps(tables, sort_keys=True, separators=(",", ":")).encode()
    assert tables["outer"] == {"lr": 1.0, "momentum": 0.0, "nesterov": True}
    assert b'"lr":1.0' in raw


def test_the_job_id_is_frozen() -> None:
    # It may change only with the manifest's fields or defaults; then every job gets a new id.
    expected = "afd2f06f7ad5ed4e83ae7c1465de56250fd108b128a5dd3a70938b81f9f7f0b6"
    assert job_id(canonical_bytes(BASE)).hex() == expected


scalars = (
    st.booleans()
    | st.integers(-(2**63) + 1, 2**63 - 1)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(max_size=20)
)
values = scalars | st.lists(scalars, max_size=3) | st.dictionaries(st.just("k"), scalars)
names = st.sampled_from(["a", "B", "a b", "x.y", "_-9"])
tables = st.dictionaries(names, values, max_size=3)


def test_open_admission_rests_on_audits() -> None:
    said = {"admission.mode": "open", "admission.audits": "3"}
    assert parse_manifest(TEXT, said).admission.audits == 3
    with pytest.raises(ConfigError, match=r"give audit\.rate above 0"):
        parse_manifest(TEXT, {**said, "audit.rate": "0.0"})


@given(tables)
def test_canonical_bytes_round_trip_whatever_the_workload_says(workload: dict[str, Any]) -> None:
    manifest = BASE.model_validate({**BASE.model_dump(), "workload": workload})
    raw = canonical_bytes(manifest)
    again = manifest_from_canonical(raw)
    assert again == manifest
    assert canonical_bytes(again) == raw


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("job.name", "Cat"),
        ("job.rounds", "0"),
        ("job.rounds", "true"),
        ("job.rounds", "10000001"),
        ("job.seed", "-1"),
        ("job.seed", "9223372036854775808"),
        ("round.steps", "0"),
        ("round.train_s_max", "nan"),
        ("round.train_s_max", "inf"),
        ("round.commit_s_min", "40.0"),
        ("round.view_s_max", "0.5"),
        ("round.group_min", "65"),
        ("exchange.codec", ""),
        ("exchange.codec", "../x"),
        ("exchange.replicas", "65"),
        ("outer.lr", "0.0"),
        ("outer.momentum", "1.0"),
        ("admission.mode", "closed"),
        ("admission.audits", "0"),
        ("electorate.founders", '["me"]'),
        ("electorate.founders", f'["{US.peer_id}", "{US.peer_id}"]'),
        ("workload.x", "nan"),
        ("workload.x", "1979-05-27"),
        ("workload.x", "9223372036854775808"),
        ("workload.x", "[[[[[[[[[[1]]]]]]]]]]"),
        ("workload.x", "y" * MANIFEST_BYTES_MAX),
        ("lease.rounds", "3"),
    ],
)
def test_a_manifest_out_of_bounds_is_refused_with_its_key(key: str, value: str) -> None:
    with pytest.raises(ConfigError, match=r"job\.toml: "):
        parse_manifest(TEXT, {key: value}, source="job.toml")


def test_a_missing_table_is_named() -> None:
    with pytest.raises(ConfigError, match="job is missing"):
        parse_manifest("", {})


RAW = canonical_bytes(BASE)


@pytest.mark.parametrize(
    "raw",
    [
        b"",
        b"null",
        b"[]",
        b"{}",
        b"\xff",
        RAW + b" ",
        b" " + RAW,
        RAW.replace(b'"lr":1.0', b'"lr":1'),
        RAW.replace(b'"lr":1.0', b'"lr":1.00'),
        RAW.replace(b'"lr":1.0', b'"lr":NaN'),
        RAW.replace(b'"lr":1.0', b'"lr":1e999'),
        RAW.replace(b'"lr":1.0', b'"lr":2.0,"lr":1.0'),
        RAW.replace(b'"omega":30', b'"omega":' + b"9" * 5000),
        RAW.replace(b'"sinc"', b'"\\ud800"'),
        RAW.replace(b'"sinc"', b'"sin\\u0063"'),
        RAW.replace(b'"seed":0,', b""),
        b"[" * MANIFEST_BYTES_MAX,
    ],
)
def test_another_spelling_of_a_manifest_is_malformed(raw: bytes) -> None:
    assert raw != RAW
    with pytest.raises(Malformed):
        manifest_from_canonical(raw)


def test_a_manifest_above_the_limit_is_too_large() -> None:
    with pytest.raises(TooLarge):
        manifest_from_canonical(b" " * (MANIFEST_BYTES_MAX + 1))
    with pytest.raises(TooLarge):
        decode_signed_manifest(b" " * (SIGNED_MANIFEST_BYTES_MAX + 1))


def test_the_largest_manifest_fits_when_it_is_signed() -> None:
    used = len(
        canonical_bytes(with_founders(parse_manifest(TEXT, {"workload.x": ""}), [US.peer_id]))
    )
    manifest = parse_manifest(TEXT, {"workload.x": "y" * (MANIFEST_BYTES_MAX - used)})
    encoded = sign_manifest(manifest, US).encode()
    assert len(decode_signed_manifest(encoded).raw) == MANIFEST_BYTES_MAX


def test_the_proposer_founds_what_names_no_founder_so_the_id_fixes_who_votes() -> None:
    ours, theirs = sign_manifest(BASE, US), sign_manifest(BASE, OTHER)
    assert ours.founders == (US.peer_id,)
    assert ours.job_id != theirs.job_id


def test_named_founders_stay_whoever_proposes() -> None:
    manifest = with_founders(BASE, [US.peer_id, OTHER.peer_id])
    ours, theirs = sign_manifest(manifest, US), sign_manifest(manifest, OTHER)
    assert ours.job_id == theirs.job_id
    assert ours.founders == theirs.founders == tuple(sorted([US.peer_id, OTHER.peer_id]))


def test_a_signed_manifest_survives_its_encoding() -> None:
    signed = sign_manifest(BASE, US)
    assert decode_signed_manifest(signed.encode()) == signed


def test_a_proposal_that_others_altered_or_unfounded_is_refused() -> None:
    signed = sign_manifest(BASE, US)
    altered = SignedManifest(
        signed.raw.replace(b"cat", b"dog"), signed.proposer, signed.signature, signed.manifest
    )
    with pytest.raises(BadSignature) as caught:
        decode_signed_manifest(altered.encode())
    assert caught.value.peer is None  # the named proposer may be innocent
    signature = US.sign("manifest", job_id(RAW), 0, RAW)
    unfounded = SignedManifest(RAW, US.public_key, signature, BASE)
    with pytest.raises(Malformed, match="founders"):
        decode_signed_manifest(unfounded.encode())


def test_a_proposal_with_a_short_key_is_malformed() -> None:
    wire = peer_pb2.SignedManifest(manifest=RAW, proposer=bytes(31), signature=bytes(64))
    with pytest.raises(Malformed):
        decode_signed_manifest(wire.SerializeToString())


@given(st.binary(max_size=200))
def test_garbage_raises_nothing_but_a_peer_error(raw: bytes) -> None:
    for decode in (manifest_from_canonical, decode_signed_manifest):
        with pytest.raises(PeerError):
            decode(raw)


def test_a_float_that_looks_like_an_integer_stays_a_float() -> None:
    manifest = parse_manifest(TEXT, {"workload.x": "1e22"})
    again = manifest_from_canonical(canonical_bytes(manifest))
    assert isinstance(again.workload["x"], float)
    assert math.isclose(again.workload["x"], 1e22)
