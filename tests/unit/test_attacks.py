"""What each attack of ``--attack NAME[:SCALE]`` does to an honest node, against naive versions."""

import asyncio
import itertools
import math
from collections.abc import AsyncIterator, Coroutine, Mapping
from dataclasses import replace
from importlib.metadata import entry_points
from types import SimpleNamespace
from typing import Any, cast

import numpy as np
import pytest

from node.cli.attacks import load_attack
from node.errors import ConfigError, Malformed
from node.exchange.codecs import CODECS
from node.exchange.gram import gram_fault
from node.exchange.reduction import pack_gram, unpack_gram
from node.identity import Identity, verify
from node.jobs.sync import CHAIN_METHOD, CHUNKS_METHOD, STATE_METHOD
from node.ports import WHOLE, FloatVector, Ports, Shard, TrainReply, TrainRequest, Worker
from node.types import Digest, JobId, PeerId
from node.wire.convert import (
    decode_commitment,
    decode_have,
    decode_list,
    decode_round,
    decode_screens,
    encode_commitment,
    encode_have,
    encode_list,
    encode_round,
    encode_screens,
    encode_vote,
)
from node.wire.convert_ledger import decode_chain, decode_decision, encode_chain, encode_decision
from node.wire.messages import (
    Certificate,
    Commitment,
    Decision,
    Have,
    ListMessage,
    PartCommitment,
    PartScreen,
    RoundMessage,
    Scatter,
    Screens,
    Signed,
    Vote,
    VoteSignature,
)
from simulator.attacks import ATTACKS, FEW_ATTACKS, MEMORY_ATTACKS, Attack, make_attack
from simulator.attacks.board import Board, Crowd, Observed
from simulator.attacks.formulas import (
    aggregate,
    alie_z,
    damage,
    line_search,
    min_max_gamma,
    min_sum_gamma,
)
from simulator.attacks.shells import ComputeShell, TransportShell, WorkerShell

NAMES = sorted(ATTACKS)
IDENTITIES = sorted((Identity(bytes([i]) * 32) for i in range(7)), key=lambda i: i.peer_id)
PEERS = [identity.peer_id for identity in IDENTITIES]
LIARS = (2, 5)
JOB = JobId(bytes(range(32)))
DIGEST = Digest(bytes(32))


def run(work: Coroutine[Any, Any, Any]) -> Any:
    return asyncio.run(work)


def make(name: str, scale: float = 1.0, seed: int = 7, me: int = LIARS[0]) -> Attack:
    """An attack as one of two liars among seven electors."""
    attack = make_attack(name, scale=scale, seed=seed)
    attack.own = PEERS[me]
    attack._sign = IDENTITIES[me].sign
    attack.met = set(PEERS) - {PEERS[me]}
    return attack


def among(attack: Attack, rows: np.ndarray, round_: int = 1) -> Attack:
    """The attack, on a board where the others show ``rows``."""
    honest = [peer for i, peer in enumerate(PEERS) if i not in LIARS]
    attack.board = Board(honest=honest, liars=frozenset(PEERS[i] for i in LIARS))
    for peer, row in zip(honest, rows, strict=True):
        run(Observed(attack.board, peer).update(round_, row.astype(np.float32)))
    return attack


def honest(round_: int = 1, d: int = 1000) -> FloatVector:
    return np.random.default_rng(round_).normal(0, 0.01, d).astype(np.float32)


def crowd_rows(d: int = 50) -> np.ndarray:
    rng = np.random.default_rng(3)
    return (rng.normal(0.1, 0.05, d) + rng.normal(0, 0.02, (5, d))).astype(np.float32)


def sent(name: str, rows: np.ndarray, scale: float = 1.0) -> np.ndarray:
    """What the attack sends when the others show ``rows``."""
    update = run(among(make(name, scale), rows).update(1, rows[0]))
    return update.astype(np.float64)


# The registry ----------------------------------------------------------------------------------


def test_the_installed_attacks_are_those_of_this_package() -> None:
    points = {p.name: p.value for p in entry_points(group="artel.attacks")}
    mine = {n for n, value in points.items() if value.startswith("simulator.")}
    known = {**ATTACKS, **MEMORY_ATTACKS, **FEW_ATTACKS}
    assert mine == set(known)
    for name, kind in known.items():
        assert isinstance(load_attack(f"{name}:2", PEERS[0]), kind)


def test_an_unknown_attack_is_refused_with_a_list() -> None:
    with pytest.raises(ConfigError, match=r"'frobnicate'; there are: accuse, .*zero"):
        make_attack("frobnicate")


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("scale", [-1.0, math.nan, math.inf])
def test_a_scale_that_means_nothing_is_refused(name: str, scale: float) -> None:
    with pytest.raises(ConfigError, match=r"attack \w+ is .*at least 0"):
        make(name, scale)


@pytest.mark.parametrize("name", NAMES)
def test_every_attack_says_what_it_does(name: str) -> None:
    assert len((ATTACKS[name].__doc__ or "").split()) >= 6


# Values ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", NAMES)
def test_an_attack_works_alone_and_changes_no_honest_value_in_place(name: str) -> None:
    behaviour = make(name)
    for round_ in (1, 2, 3):
        update = honest(round_)
        changed = run(behaviour.update(round_, update))
        np.testing.assert_array_equal(update, honest(round_))
        assert (changed.shape, changed.dtype) == (update.shape, update.dtype)
        assert changed.flags.c_contiguous


@pytest.mark.parametrize("name", NAMES)
def test_an_attack_repeats_from_its_seed(name: str) -> None:
    one, two = make(name), make(name)
    for round_ in (3, 4):
        np.testing.assert_array_equal(
            run(one.update(round_, honest(round_))), run(two.update(round_, honest(round_)))
        )


def test_gaussian_differs_between_seeds_and_between_rounds() -> None:
    noise = {
        run(make("gaussian", seed=seed).update(round_, honest())).tobytes()
        for seed, round_ in ((1, 1), (2, 1), (1, 2))
    }
    assert len(noise) == 3


def test_sign_flip_reverses_and_scales() -> None:
    flipped = run(make("sign_flip", 10).update(1, honest()))
    np.testing.assert_array_equal(flipped, honest() * np.float32(-10))


def test_gaussian_is_noise_of_the_scaled_length_of_the_update() -> None:
    update = honest(d=100_000)
    noise = run(make("gaussian", 5).update(1, update)).astype(np.float64)
    rms = math.sqrt(np.mean(update.astype(np.float64) ** 2))
    assert noise.std() == pytest.approx(5 * rms, rel=0.02)
    assert abs(noise.mean()) < 0.1 * rms
    assert abs(np.corrcoef(noise, update)[0, 1]) < 0.02


def test_the_broken_values_are_that_everywhere() -> None:
    assert not run(make("zero").update(1, honest())).any()
    assert np.isnan(run(make("nan").update(1, honest()))).all()
    assert np.isinf(run(make("inf").update(1, honest()))).all()
    tiny = run(make("denormal").update(1, honest()))
    assert (np.abs(tiny) < np.finfo(np.float32).tiny).all()
    assert tiny.all()


def test_huge_is_finite_but_the_sum_of_two_is_not() -> None:
    update = run(make("huge").update(1, honest()))
    assert np.isfinite(update).all()
    np.testing.assert_array_equal(np.sign(update), -np.sign(honest()))
    with np.errstate(over="ignore"):
        assert np.isinf(update + update).all()


def test_below_tolerance_lies_by_a_thousandth_and_always_the_same_way() -> None:
    lies = []
    for round_ in (1, 2):
        update = honest(round_)
        lie = run(make("below_tolerance").update(round_, update)).astype(np.float64) - update
        assert np.linalg.norm(lie) / np.linalg.norm(update) == pytest.approx(2**-10, rel=0.01)
        lies.append(lie / np.linalg.norm(lie))
    assert lies[0] @ lies[1] > 0.99


@pytest.mark.parametrize("codec", sorted(CODECS))
@pytest.mark.parametrize("name", ["nan", "inf"])
def test_no_codec_lets_what_is_not_finite_through(codec: str, name: str) -> None:
    encoded = CODECS[codec].encode(run(make(name).update(1, honest())))
    with pytest.raises(Malformed):
        CODECS[codec].decode(encoded, 1000)


@pytest.mark.parametrize("codec", sorted(CODECS))
@pytest.mark.parametrize("name", ["huge", "denormal"])
def test_every_codec_decodes_extremes_to_finite_values(codec: str, name: str) -> None:
    update = run(make(name).update(1, honest()))
    decoded = CODECS[codec].decode(CODECS[codec].encode(update), 1000)
    assert np.isfinite(decoded).all()
    np.testing.assert_allclose(decoded, update, rtol=0.01, atol=1e-37)


# Free riders -----------------------------------------------------------------------------------


def test_stale_replays_its_first_update_even_if_its_replay_is_changed() -> None:
    behaviour = make("stale")
    first = run(behaviour.update(5, honest(5)))
    first[:] = 0
    for round_ in (6, 7):
        np.testing.assert_array_equal(run(behaviour.update(round_, honest(round_))), honest(5))


def test_free_ride_copy_sends_a_neighbours_update_of_the_same_round() -> None:
    rows = crowd_rows()
    np.testing.assert_array_equal(sent("free_ride_copy", rows), rows[0])


class Lazy(WorkerShell):
    """A worker that must not be asked to train."""

    def __init__(self) -> None:
        """It has no worker inside."""

    async def train(self, request: TrainRequest) -> TrainReply:
        raise AssertionError("it trained")


class Strict(ComputeShell):
    """Starts lazy workers; knows no setting."""

    def __init__(self) -> None:
        """It has no compute inside."""

    async def start_worker(
        self, workload: str, config: Mapping[str, Any], seed: int, shard: Shard = WHOLE
    ) -> Worker:
        if config:
            raise ConfigError(f"unknown settings {sorted(config)}")
        return Lazy()


def ports_of(attack: Attack) -> Ports:
    """What the attack makes of ports of which only the compute is used."""
    transport: Any = SimpleNamespace(peer_id=PEERS[0])
    unused: Any = None
    ports = Ports(transport, unused, unused, Strict(), unused)
    return attack.ports(ports, IDENTITIES[0].sign)


def test_a_free_rider_never_trains_and_repeats_the_last_global_update() -> None:
    async def ride() -> tuple[FloatVector, FloatVector]:
        worker = await ports_of(make("free_ride_noise")).compute.start_worker("any", {}, 0)
        told = [
            (await worker.train(TrainRequest(params, round_, 9, bytes(32), 4, 1.0))).update
            for round_, params in ((1, honest(1)), (2, honest(2)))
        ]
        return told[0], told[1]

    first, second = run(ride())
    np.testing.assert_allclose(np.sqrt(np.mean(first**2)), 1e-3, rtol=0.1)
    step = honest(1) - honest(2)
    assert 0 < np.linalg.norm(second - step) < 0.15 * np.linalg.norm(step)


def test_label_flip_says_which_workloads_it_can_flip() -> None:
    compute = ports_of(make("label_flip")).compute
    with pytest.raises(ConfigError, match=r"needs a workload with the setting 'flip', .*quadratic"):
        run(compute.start_worker("inr", {}, 0))


# Adaptive --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("n", "f", "z"),
    [(16, 3, 0.097), (16, 5, 0.349), (16, 7, 0.765), (25, 5, 0.253), (25, 11, 1.068), (5, 1, 0.0)],
)
def test_alie_z_is_that_of_the_paper(n: int, f: int, z: float) -> None:
    assert alie_z(n, f) == pytest.approx(z, abs=5e-4)


def test_ipm_reverses_the_honest_mean() -> None:
    rows = crowd_rows()
    np.testing.assert_allclose(
        sent("ipm", rows, 2.0), -2 * rows.mean(axis=0, dtype=np.float64), rtol=1e-5
    )


def test_alie_is_z_standard_deviations_from_the_honest_mean() -> None:
    rows = crowd_rows().astype(np.float64)
    away = (rows.mean(axis=0) - sent("alie", rows)) / rows.std(axis=0)
    np.testing.assert_allclose(away, alie_z(7, 2), rtol=1e-3)


def test_min_max_is_as_far_from_the_honest_as_they_are_from_one_another() -> None:
    rows = crowd_rows().astype(np.float64)
    diameter = max(np.linalg.norm(a - b) for a, b in itertools.combinations(rows, 2))
    reached = max(np.linalg.norm(sent("min_max", rows) - row) for row in rows)
    assert reached == pytest.approx(diameter, rel=1e-5)


def test_min_sum_reaches_the_largest_honest_sum_of_squares() -> None:
    rows = crowd_rows().astype(np.float64)
    most = max(np.sum((rows - row) ** 2) for row in rows)
    assert np.sum((rows - sent("min_sum", rows)) ** 2) == pytest.approx(most, rel=1e-5)


@pytest.mark.parametrize("gamma", [min_max_gamma, min_sum_gamma])
def test_a_crowd_that_agrees_leaves_no_room(gamma: Any) -> None:
    rows = np.tile(np.arange(4.0), (3, 1))
    assert gamma(rows, np.zeros(4)) == 0.0
    assert gamma(rows, np.ones(4)) == 0.0


def test_the_line_search_comes_near_the_worst_of_a_fine_grid() -> None:
    crowd = Crowd(crowd_rows().astype(np.float64), 2)

    def harm(z: float) -> float:
        return damage(crowd, "centered_clip", crowd.mean - z * crowd.std)

    worst = max(harm(z) for z in np.linspace(0, 50, 2001))
    assert harm(line_search(harm)) > 0.95 * worst


def test_alie_opt_harms_at_least_as_much_as_alie() -> None:
    rows = crowd_rows()
    crowd = Crowd(rows.astype(np.float64), 2)
    optimal, plain = (
        damage(crowd, "centered_clip", sent(name, rows)) for name in ("alie_opt", "alie")
    )
    assert optimal > 2 * plain > 0


@pytest.mark.parametrize("rule", ["mean", "centered_clip", "median", "trimmed_mean"])
def test_the_attackers_aggregate_is_the_rules_own(rule: str) -> None:
    rows = crowd_rows().astype(np.float64)
    middle = {"mean": rows.mean(axis=0), "median": np.median(rows, axis=0)}
    found = aggregate(rule, rows, 1)
    if rule in middle:
        np.testing.assert_allclose(found, middle[rule], rtol=1e-5)
    assert np.linalg.norm(found - rows.mean(axis=0)) < np.linalg.norm(rows.std(axis=0))


def test_mimic_copies_who_stands_out_along_the_largest_variance_and_stays_with_it() -> None:
    rng = np.random.default_rng(5)
    direction = np.eye(50)[0]
    attack = make("mimic")
    copied = []
    for round_ in range(1, 9):
        rows = rng.normal(0, 0.01, (5, 50)) + np.outer([0.1, -0.1, 0.0, 0.5, -0.2], direction)
        among(attack, rows, round_)
        lie = run(attack.update(round_, rows[0].astype(np.float32)))
        copied.append(int(np.argmin(np.linalg.norm(rows - lie, axis=1))))
    assert set(copied[2:]) == {3}


def test_drift_goes_the_same_way_every_round_by_half_the_honest_spread() -> None:
    rows = crowd_rows().astype(np.float64)
    spread = Crowd(rows, 2).spread
    lie = sent("drift", rows) - rows[0]
    assert np.linalg.norm(lie) == pytest.approx(spread / 2, rel=1e-4)
    other = sent("drift", rows[::-1]) - rows[::-1][0]
    assert lie @ other / np.linalg.norm(lie) / np.linalg.norm(other) > 0.999


def test_attackers_wait_for_the_honest_but_not_for_ever() -> None:
    async def late() -> tuple[int, int]:
        board = Board(honest=PEERS[:2], liars=frozenset(PEERS[5:]))
        board.show(1, PEERS[0], honest())
        board.show(1, PEERS[1], honest())
        board.show(2, PEERS[0], honest())
        whole, part = await board.crowd(1), await board.crowd(2)
        assert whole is not None
        assert part is not None
        return len(whole.rows), len(part.rows)

    assert run(late()) == (2, 1)


# Signed bodies ---------------------------------------------------------------------------------


def commitment() -> Commitment:
    return Commitment(DIGEST, DIGEST, (PartCommitment(DIGEST, 9, 0),), 10, 5)


@pytest.mark.parametrize(("name", "steps"), [("inflate_steps", 10_000), ("inflate_weight", 100)])
def test_inflated_claims_change_the_steps_alone(name: str, steps: int) -> None:
    body = make(name).signs(1, "commit", encode_commitment(commitment()))
    claimed = decode_commitment(body)
    assert claimed.steps == steps
    assert claimed.parts == commitment().parts
    assert make(name).signs(1, "have", b"other") == b"other"


def screens() -> tuple[bytes, list[int]]:
    rows = np.random.default_rng(1).integers(-9, 10, (5, 40))
    gram = rows @ rows.T
    screen = PartScreen(0, (0, 2, 3, 5, 6), pack_gram(gram), ((1, "missing"),))
    return encode_screens(Screens(DIGEST, (screen,))), gram.diagonal().tolist()


def lied(name: str, me: int = LIARS[0]) -> np.ndarray:
    attack = make(name, me=me)
    attack.board = Board(liars=frozenset(PEERS[i] for i in LIARS))
    body, norms = screens()
    (screen,) = decode_screens(attack.signs(1, "screen", body)).screens
    gram = unpack_gram(screen.gram, 5)
    assert gram_fault(gram, norms) is None, "a lie that everybody sees"
    return np.asarray(gram)


def test_wrong_gram_alters_one_element_and_each_liar_another_way() -> None:
    true = unpack_gram(decode_screens(screens()[0]).screens[0].gram, 5)
    assert np.count_nonzero(np.triu(lied("wrong_gram") != true)) == 1
    assert (lied("wrong_gram", 2) != lied("wrong_gram", 5)).any()


def test_favouring_liars_tell_one_lie_that_aligns_them_with_all() -> None:
    gram = lied("wrong_gram_favour", 2)
    np.testing.assert_array_equal(gram, lied("wrong_gram_favour", 5))
    norm = np.sqrt(gram.diagonal())
    cosine = gram / np.outer(norm, norm)
    assert (cosine[[1, 3]] > 0.99).all()  # rows of the electors 2 and 5
    assert cosine[0, 2] < 0.9


def rows_of(parts: int = 2) -> dict[tuple[int, int], FloatVector]:
    return {(e, p): honest(10 * e + p, 8) for e in (0, 2, 3, 5) for p in range(parts)}


def test_wrong_slice_combines_the_other_part() -> None:
    false, weights = make("wrong_slice").reduces(1, rows_of(), [0.25] * 4)
    assert list(weights) == [0.25] * 4
    np.testing.assert_array_equal(np.sort(false[3, 0]), np.sort(rows_of()[3, 1]))


def test_drop_contributor_takes_one_honest_row_out_and_keeps_the_sum() -> None:
    attack = make("drop_contributor")
    attack.board = Board(liars=frozenset(PEERS[i] for i in LIARS))
    _, weights = attack.reduces(1, rows_of(), [0.1, 0.2, 0.3, 0.4])
    assert weights[2] == 0.0
    assert sum(weights) == pytest.approx(1.0)
    assert min(weights[0], weights[1], weights[3]) > 0.0


def test_wrong_weights_leave_the_accomplice_alone() -> None:
    false, weights = make("wrong_weights").reduces(1, rows_of(), [0.25] * 4)
    assert weights == [0.0, 1.0, 0.0, 0.0]
    np.testing.assert_array_equal(false[0, 1], rows_of()[2, 1])


# Messages --------------------------------------------------------------------------------------


def message(kind: str, body: bytes, me: int = LIARS[0]) -> bytes:
    identity = IDENTITIES[me]
    signature = identity.sign(kind, JOB, 3, body)
    signed = Signed(kind, JOB, 3, identity.public_key, body, signature)
    return encode_round(RoundMessage(JOB, 3, DIGEST, signed))


def body_of(data: bytes) -> Signed:
    signed = decode_round(data).body
    assert isinstance(signed, Signed)
    assert verify(signed.signer, signed.kind, JOB, 3, signed.body, signed.signature)
    return signed


@pytest.mark.parametrize(
    ("kind", "body"),
    [
        ("commit", encode_commitment(commitment())),
        ("have", encode_have(Have(0, ((0, DIGEST), (1, DIGEST)), None))),
        ("list", encode_list(ListMessage(0, False, (), ((0, DIGEST),)))),
        ("screen", screens()[0]),
        ("prepare", encode_vote(Vote(0, DIGEST))),
        ("vote", encode_vote(Vote(1, DIGEST))),
    ],
)
def test_an_equivocator_signs_two_values_and_shows_each_to_half(kind: str, body: bytes) -> None:
    attack, data = make("equivocate"), message(kind, body)
    heard = {i: body_of(attack.sends(3, PEERS[i], kind, data) or b"") for i in range(7) if i != 2}
    assert {i for i, signed in heard.items() if signed.body == body} == {0, 4, 6}
    assert len({signed.body for signed in heard.values()}) == 2


def scatter() -> bytes:
    commit = body_of(message("commit", encode_commitment(commitment())))
    parts = ((0, bytes(100)), (1, bytes(7)))
    return encode_round(RoundMessage(JOB, 3, DIGEST, Scatter(commit, parts)))


def test_garbage_is_other_bytes_of_the_same_length_and_the_same_for_every_peer() -> None:
    attack = make("garbage")
    one, two = (attack.sends(3, PEERS[i], "scatter", scatter()) for i in (0, 1))
    assert one == two != scatter()
    body = decode_round(one or b"").body
    assert isinstance(body, Scatter)
    assert [len(data) for _, data in body.parts] == [100, 7]
    assert attack.sends(3, PEERS[0], "vote", b"vote") == b"vote"


@pytest.mark.parametrize("kind", ["commit", "prepare", "vote"])
def test_bad_signatures_are_on_the_true_words(kind: str) -> None:
    data = message(kind, encode_commitment(commitment()))
    signed = decode_round(make("bad_signatures").sends(3, PEERS[0], kind, data) or b"").body
    assert isinstance(signed, Signed)
    assert signed.body == body_of(data).body
    assert not verify(signed.signer, kind, JOB, 3, signed.body, signed.signature)
    assert make("bad_signatures").sends(3, PEERS[0], "have", data) == data


def test_old_parts_are_those_of_the_round_before_under_the_new_commitment() -> None:
    def of_round(round_: int, fill: int) -> bytes:
        commit = body_of(message("commit", encode_commitment(commitment())))
        parts = ((0, bytes([fill]) * 100), (1, bytes([fill]) * 7))
        return encode_round(RoundMessage(JOB, round_, DIGEST, Scatter(commit, parts)))

    attack = make("old_parts")
    assert attack.sends(3, PEERS[0], "scatter", of_round(3, 3)) == of_round(3, 3)
    for round_ in (4, 5):
        for peer in PEERS[:2]:
            new, old = of_round(round_, round_), of_round(round_, round_ - 1)
            assert attack.sends(round_, peer, "scatter", new) == old


class Served(TransportShell):
    """Keeps the handlers that are served."""

    def __init__(self) -> None:
        self.handlers: dict[str, Any] = {}

    @property
    def peer_id(self) -> PeerId:
        return PEERS[0]

    def serve(self, method: str, handler: Any, **limits: int) -> None:
        self.handlers[method] = handler

    def serve_stream(self, method: str, handler: Any, **limits: int) -> None:
        self.handlers[method] = handler


def test_a_false_shelf_pays_twice_under_the_true_votes_and_alters_chunks() -> None:
    decision = Decision(
        JOB, 3, DIGEST, False, "", "mean", 1, (), (), (DIGEST,), DIGEST, ((0, 5), (2, 7)), (),
        ((IDENTITIES[0].public_key, 0),), 9, False,
    )  # fmt: skip
    true = Certificate(encode_decision(decision), 0, (VoteSignature(0, bytes(64)),))

    async def chain(caller: PeerId, request: bytes) -> bytes:
        return encode_chain([true])

    async def chunks(caller: PeerId, request: bytes) -> AsyncIterator[bytes]:
        yield b"abc"

    async def hashes(caller: PeerId, request: bytes) -> bytes:
        return request

    async def asked() -> tuple[bytes, list[bytes], bytes]:
        served, unused = Served(), cast("Any", None)
        ports = make("false_shelf").ports(
            Ports(served, unused, unused, unused, unused), IDENTITIES[0].sign
        )
        ports.transport.serve(CHAIN_METHOD, chain, request_bytes_max=9)
        ports.transport.serve(STATE_METHOD, hashes, request_bytes_max=9)
        ports.transport.serve_stream(CHUNKS_METHOD, chunks, request_bytes_max=9)
        got = [chunk async for chunk in served.handlers[CHUNKS_METHOD](PEERS[1], b"")]
        return (
            await served.handlers[CHAIN_METHOD](PEERS[1], b""),
            got,
            await served.handlers[STATE_METHOD](PEERS[1], b"same"),
        )

    forged, got, same = run(asked())
    (certificate,) = decode_chain(forged)
    assert certificate.votes == true.votes
    assert decode_decision(certificate.decision) == replace(decision, credits=((0, 10), (2, 14)))
    assert (got, same) == ([b"abb"], b"same")


@pytest.mark.parametrize(
    ("name", "kinds"),
    [
        ("silent", {"commit", "have", "scatter", "screen", "result", "spread", "vote"}),
        ("silent_reducer", {"screen", "result", "spread"}),
        ("withhold", {"scatter"}),
    ],
)
def test_what_is_not_said(name: str, kinds: set[str]) -> None:
    attack = make(name)
    everything = ("commit", "have", "scatter", "screen", "result", "spread", "vote")
    assert {k for k in everything if attack.sends(1, PEERS[0], k, b"word") is None} == kinds


def test_withhold_some_gives_parts_to_every_other_elector() -> None:
    attack = make("withhold_some")
    given = [i for i in range(7) if i != 2 and attack.sends(1, PEERS[i], "scatter", b"x")]
    assert given == [0, 4, 6]


def leading(haves: int, named: int) -> bytes:
    """A list of seven contributions; elector 0 is named by ``named`` of its HAVEs alone."""
    signed = []
    for i in range(haves):
        held = tuple((e, DIGEST) for e in range(7) if e or i < named)
        signed.append(body_of(message("have", encode_have(Have(0, held, None)), i)))
    return encode_list(ListMessage(0, False, tuple(signed), tuple((e, DIGEST) for e in range(7))))


@pytest.mark.parametrize(("haves", "named", "left"), [(5, 2, 6), (5, 3, 7), (7, 4, 6), (7, 5, 7)])
def test_an_unfair_leader_leaves_out_what_few_of_a_quorum_name(
    haves: int, named: int, left: int
) -> None:
    body = make("unfair_leader").signs(3, "list", leading(haves, named))
    value = decode_list(body, JOB, 3)
    assert len(value.haves) >= 5
    assert len(value.commitments) == left
    counts = [sum((e, DIGEST) in decode_have(h.body).held for h in value.haves) for e in range(7)]
    assert all(counts[e] <= 2 for e in range(7) if (e, DIGEST) not in value.commitments)


def test_a_censor_leaves_its_victim_out_whatever_the_haves_say() -> None:
    value = decode_list(make("censor").signs(3, "list", leading(5, 5)), JOB, 3)
    assert [e for e, _ in value.commitments] == [1, 2, 3, 4, 5, 6]
