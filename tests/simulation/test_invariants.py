"""The invariants themselves: quiet on the true node, and their own arithmetic is right."""

import numpy as np
import pytest

from node.exchange.codecs import codec
from node.exchange.core import RoundRules
from node.exchange.rules import rule
from node.jobs.courier import ROUND_METHOD
from node.jobs.geometry import Geometry
from node.state.outer import OuterState, outer_step
from node.state.snapshot import state_root
from node.types import Digest, JobId
from node.wire.convert import encode_round, encode_vote
from node.wire.messages import RoundMessage, Signed, Vote, VoteSignature
from simulator.host.signer import KeyedSigner
from simulator.invariants import Invariants
from simulator.invariants.agreement import holds
from simulator.invariants.base import Facts, Heard, Violation
from simulator.invariants.robustness import KAPPA, kappa_of
from simulator.invariants.state import root_of, step
from simulator.run import run_scenario
from simulator.scenario import AttackSection, ExpectSection, FaultSection, LinkSection, Scenario
from simulator.world import World

JOB = {"workload": {"dimensions": 300}, "round": {"steps": 5}}
LOSSY = LinkSection(latency_s=0.03, jitter_s=0.03, loss_rate=0.01, duplicate_rate=0.1)


@pytest.mark.parametrize("momentum", [0.0, 0.9])
@pytest.mark.parametrize("name", ["fp32", "int8"])
def test_the_true_node_keeps_them_through_loss_a_liar_and_a_crash(
    name: str, momentum: float
) -> None:
    crash = FaultSection(kind="crash", nodes=(1,), round=3, phase="prepare", for_s=1.0)
    scenario = Scenario(
        nodes=5,
        rounds=8,
        link=LOSSY,
        faults=(crash,),
        attacks=(AttackSection(name="sign_flip", scale=10.0),),
        expect=ExpectSection(recovery_s_max=100.0, rounds_min=5),
        job=JOB | {"exchange": {"codec": name}, "outer": {"lr": 0.7, "momentum": momentum}},
    )
    outcome = run_scenario(scenario, 3)
    assert outcome.violations == []
    assert outcome.recovery_virtual_s is not None


KINDS = (
    "commit", "have", "list", "screen", "plan", "result", "seal", "reveal", "beacon", "sketch",
    "propose", "prepare", "vote",
)  # fmt: skip


@pytest.mark.parametrize("kind", KINDS)
async def test_a_liars_words_that_do_not_parse_break_no_check(kind: str) -> None:
    world = World(Scenario(nodes=4, attacks=(AttackSection(name="malformed"),)), 1)
    invariants, liar, job = Invariants(world), world.nodes[3], JobId(bytes(32))
    body = b"\xff" * 40
    signed = Signed(
        kind, job, 1, liar.signer.public_key, body, liar.signer.sign(kind, job, 1, body)
    )
    data = encode_round(RoundMessage(job, 1, Digest(bytes(32)), signed))
    invariants.sent(0.0, liar.peer, world.nodes[0].peer, ROUND_METHOD, data)
    assert invariants.violations == []


def test_what_a_scenario_expects_is_checked() -> None:
    expect = ExpectSection(loss_max=1e-9, rounds_min=4)
    outcome = run_scenario(Scenario(nodes=4, rounds=3, expect=expect, job=JOB), 1)
    assert {v.invariant for v in outcome.violations} == {"loss", "rounds_min"}


def test_a_job_that_does_not_end_is_a_violation() -> None:
    outcome = run_scenario(Scenario(nodes=4, rounds=50, limit_s=2.0, job=JOB), 1)
    assert {v.invariant for v in outcome.violations} == {"finish"}


def test_a_certificate_needs_a_quorum_of_distinct_founders() -> None:
    world = World(Scenario(nodes=4), seed=1)
    found: list[Violation] = []
    facts = Facts(world, found.append)
    job, id_ = JobId(bytes(32)), Digest(bytes(range(32)))
    heard = Heard(0.0, 0, job, 7)
    body = encode_vote(Vote(2, id_))
    votes = [
        VoteSignature(e, node.signer.sign("vote", job, 7, body))
        for e, node in enumerate(facts.founders.electors)
    ]
    assert holds(facts, heard, "vote", 2, id_, tuple(votes[:3]))
    assert not holds(facts, heard, "vote", 2, id_, tuple(votes[:2]))
    assert not holds(facts, heard, "vote", 2, id_, (votes[0], votes[0], votes[1]))
    assert not holds(facts, heard, "vote", 3, id_, tuple(votes[:3]))
    assert not holds(facts, heard, "prepare", 2, id_, tuple(votes[:3]))
    stranger = VoteSignature(2, KeyedSigner(bytes(32)).sign("vote", job, 7, body))
    assert not holds(facts, heard, "vote", 2, id_, (votes[0], votes[1], stranger))


def _geometry(d: int) -> Geometry:
    rules = RoundRules((4 * d,), (4 * d,), 1, 1, "mean", 1, "mean")
    shapes = [("weights", (d - 3, 1)), ("bias", (3,))]
    fp32 = codec("fp32")
    return Geometry(
        JobId(bytes(32)), d, shapes, (slice(0, d),), fp32, fp32, rules, 0, 1.0, 0.0, True, 0.0
    )


@pytest.mark.parametrize("momentum", [0.0, 0.9])
@pytest.mark.parametrize("nesterov", [True, False])
def test_root_and_step_agree_with_the_node(momentum: float, nesterov: bool) -> None:
    d = 70_000  # more than one chunk
    draws = np.random.default_rng(0)
    params, velocity, update = draws.standard_normal((3, d)).astype(np.float32)
    state = OuterState(params, velocity if momentum else None)
    assert root_of(state, _geometry(d)) == state_root(state, _geometry(d).shapes)
    after = outer_step(state, update, 0.7, momentum, nesterov)
    mine = step(state, update.astype(np.float64), 0.7, momentum, nesterov)
    np.testing.assert_allclose(after.params, mine.params, rtol=1e-5, atol=1e-5)
    other = OuterState(params, (2 * velocity).astype(np.float32))
    assert root_of(other, _geometry(d)) != root_of(state, _geometry(d))


@pytest.mark.parametrize("name", [*sorted(KAPPA.keys() - {"mean"}), "nnm | caf", "nnm | median"])
@pytest.mark.parametrize("f", [1, 2, 4])
def test_rules_stay_within_their_kappa_on_hard_rows(name: str, f: int) -> None:
    """Liars far away, at the edge of the honest rows, and hidden among them."""
    m, d = 3 * f + 1, 40
    each, kappa = rule(name), kappa_of(name)
    assert kappa is not None
    if m < each.m_min(f):
        pytest.skip("not defined for so few rows")
    draws = np.random.default_rng(f)
    worst = 0.0
    for trial in range(30 if name == "smea" else 150):
        honest = draws.standard_normal((m - f, d)) * draws.exponential(1.0, (m - f, 1))
        mean, deviation = honest.mean(axis=0), honest.std(axis=0)
        direction = draws.standard_normal(d)
        lies = (
            mean - deviation * draws.uniform(0.2, 3.0),
            mean + direction * 10.0 ** draws.uniform(-1, 4),
            honest[0],
            -mean * 10.0 ** draws.uniform(-1, 2),
        )
        rows = np.vstack([honest, np.tile(lies[trial % 4], (f, 1))]).astype(np.float32)
        wide = rows.astype(np.float64)
        mixture = None if each.kind == "coordinates" else each.mixture(wide @ wide.T, f)
        found = each.combine(list(rows), f, mixture)
        spread = ((honest - mean) ** 2).sum(axis=1).mean()
        worst = max(worst, float(((found - mean) ** 2).sum() / spread))
    assert 0.01 < worst <= kappa(f, m)
