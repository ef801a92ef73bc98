"""Shared results change nothing but time, and end with their world."""

import sys
from contextlib import suppress

import numpy as np
import pytest

import node.exchange.reducing
import node.exchange.voting
from node.errors import Malformed
from node.exchange.gram import integer_gram, quantise_row
from node.exchange.reduction import pack_gram
from node.state.outer import OuterState
from node.wire import convert
from node.wire.messages import Have
from simulator import memo
from simulator.memo import KEYED, SHARED, shared_results
from simulator.run import run_scenario
from simulator.scenario import Scenario

HAVE = convert.encode_have(Have(0, ((0, b"a" * 32), (2, b"b" * 32)), None))  # type: ignore[arg-type]


def _shared_names() -> list[tuple[str, str]]:
    return [(path, name) for path, names in SHARED.items() for name in names] + list(KEYED)


@pytest.mark.parametrize(
    "scenario",
    [
        Scenario(nodes=7, rounds=4, attacks=[{"name": "sign_flip", "scale": 10.0}]),
        Scenario(nodes=5, rounds=3, signer="ed25519", followers=2, link={"loss_rate": 0.02}),
    ],
    ids=["liars", "losses"],
)
def test_a_world_with_shared_results_has_the_same_trace(scenario: Scenario) -> None:
    shared = run_scenario(scenario.model_copy(update={"memo": True}), seed=5)
    alone = run_scenario(scenario.model_copy(update={"memo": False}), seed=5)
    assert shared.events == alone.events > 100
    assert shared.trace_digest == alone.trace_digest
    assert shared.violations == alone.violations
    assert shared.metrics == alone.metrics


def test_equal_bytes_are_decoded_once() -> None:
    with shared_results():
        first = convert.decode_have(bytes(bytearray(HAVE)))
        assert convert.decode_have(bytes(bytearray(HAVE))) is first
        assert node.exchange.voting.decode_proposal is convert.decode_proposal
    assert convert.decode_have(HAVE) == first
    assert convert.decode_have(HAVE) is not first


def test_a_refusal_is_shared_but_not_its_exception() -> None:
    caught = []
    with shared_results():
        for _ in range(2):
            with pytest.raises(Malformed, match="a vote has") as info:
                convert.decode_vote(b"short")
            caught.append(info.value)
    assert str(caught[0]) == str(caught[1])
    assert caught[0] is not caught[1]


def test_no_array_that_is_shared_can_be_written() -> None:
    rows = [quantise_row(np.arange(1, 9, dtype=np.float32) * k) for k in (1, 2, 3)]
    packed = pack_gram(integer_gram(rows))
    with shared_results():
        gram = sys.modules["node.exchange.reduction"].unpack_gram(packed, 3)
        with pytest.raises(ValueError, match="read-only"):
            gram[0, 0] = 1
    state = OuterState(np.ones(3, np.float32), np.zeros(3, np.float32))
    for array in (memo._frozen((state, b""))[0].params, state.momentum):
        assert array is not None
        assert not array.flags.writeable


def test_every_name_means_the_function_itself_again_after_the_context() -> None:
    def bound() -> dict[tuple[str, str], object]:
        return {
            (path, name): value
            for path, module in sorted(sys.modules.items())
            if path.startswith(memo.PACKAGES)
            for name, value in vars(module).items()
            if callable(value)
        }

    before = bound()
    with suppress(KeyError), shared_results(), shared_results():
        inside = bound()
        raise KeyError
    assert bound() == before
    changed = {key for key in before if inside[key] is not before[key]}
    assert set(_shared_names()) <= changed
    assert ("node.exchange.reducing", "packed_gram_fault") in changed


def test_worlds_share_nothing_with_each_other() -> None:
    with shared_results():
        outer = convert.decode_have(HAVE)
        with shared_results():
            inner = convert.decode_have(HAVE)
        assert inner == outer
        assert inner is not outer
        assert convert.decode_have(HAVE) is outer
    with shared_results():
        assert convert.decode_have(HAVE) is not outer


def test_a_planted_bug_is_what_is_shared(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(convert, "decode_ack", lambda data: "planted")
    with shared_results():
        assert convert.decode_ack(b"") == "planted"
    assert convert.decode_ack(b"") == "planted"
