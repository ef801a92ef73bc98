"""Who contradicts itself is out within two rounds, for good; nobody else is, and the rest go on."""

import asyncio

import pytest

from node.errors import Refused
from node.identity import peer_id_of
from node.jobs.proofs import PREFIX
from node.ledger.evidence import offender
from node.types import PeerId
from node.wire.convert import decode_evidence
from simulator.faults import FaultPlayer, is_done
from simulator.host.signer import verify
from simulator.hub import Hub
from simulator.invariants import Invariants
from simulator.run import run_scenario
from simulator.scenario import AttackSection, FaultSection, Scenario, load_scenario
from simulator.world import World

ROUNDS = 8


def lying(nodes: int, attack: str, *faults: FaultSection, rounds: int = ROUNDS) -> Scenario:
    attacks = (AttackSection(name=attack),)
    return Scenario(nodes=nodes, rounds=rounds, attacks=attacks, faults=faults, framed=False)


def check_bans(attack: str, nodes: int, f: int, seed: int) -> None:
    outcome = run_scenario(lying(nodes, attack), seed)
    assert outcome.violations == []
    rounds = {name: int(why.rsplit(" ", 1)[1]) for name, why in outcome.bans.items()}
    assert rounds.keys() == {f"node-{n}" for n in range(nodes - f, nodes)}
    assert max(rounds.values()) <= 3  # it lied in round 1


@pytest.mark.parametrize("attack", ["equivocate", "double_vote"])
def test_who_signs_twice_is_banned_within_two_rounds(attack: str) -> None:
    check_bans(attack, 4, 1, 1)


@pytest.mark.sim
@pytest.mark.parametrize(("nodes", "f"), [(4, 1), (7, 2), (10, 3)])
@pytest.mark.parametrize("attack", ["equivocate", "double_vote"])
def test_many_who_sign_twice_are_banned_within_two_rounds(attack: str, nodes: int, f: int) -> None:
    for seed in range(2, 6):
        check_bans(attack, nodes, f, seed)


def test_a_second_proposal_bans_in_the_round_after_its_leader_at_the_latest() -> None:
    outcome = run_scenario(lying(4, "double_propose"), 1)
    assert outcome.violations == []
    assert list(outcome.bans) == ["node-3"]


FAULTS = [
    FaultSection(kind="crash", nodes="all", round=1, phase="vote", for_s=1.0),
    FaultSection(kind="crash", nodes="all", round=2, phase="commit", at_once=True, for_s=1.0),
    FaultSection(kind="crash", nodes="leader", round=1, phase="list", for_s=2.0),
    FaultSection(kind="partition", nodes=(0,), round=1, phase="commit", for_s=3.0),
    FaultSection(kind="late", nodes=(0,), for_s=4.0),
]


@pytest.mark.sim
@pytest.mark.parametrize("fault", FAULTS, ids=["voting", "all at once", "leader", "apart", "late"])
def test_faults_and_restarts_ban_liars_and_nobody_else(fault: FaultSection) -> None:
    for seed in (1, 2, 3):
        outcome = run_scenario(lying(7, "equivocate", fault), seed)
        assert outcome.violations == []
        assert outcome.bans.keys() == {"node-5", "node-6"}


@pytest.mark.sim
@pytest.mark.parametrize("name", ["restart_all", "restart_voting", "churn"])
def test_no_crash_of_honest_nodes_makes_evidence(name: str) -> None:
    outcome = run_scenario(load_scenario(name), 5)
    assert outcome.violations == []  # among them: evidence against an honest node is held
    assert outcome.bans == {}


async def play(world: World, hub: Hub) -> None:
    invariants = Invariants(world)
    hub.watchers.append(invariants)
    player = FaultPlayer(world)
    for index in range(world.scenario.nodes):
        await world.start(index)
    await world.submit()
    async with asyncio.timeout(600):
        await player.run()
        while not all(is_done(node) for node in world.honest):
            await asyncio.sleep(0.1)
    assert invariants.violations == []


async def test_the_swarm_goes_on_smaller_and_evidence_outlives_restarts() -> None:
    hub = Hub()
    world = World(lying(4, "equivocate"), 1, hub)
    liar = world.nodes[3]
    async with world:
        await play(world, hub)
        for node in world.honest:
            assert node.daemon is not None
            (runner,) = node.daemon.runners
            assert (runner.head.electorate.n, runner.head.electorate.quorum) == (3, 2)
            assert runner.head.bans.keys() == {liar.signer.public_key}
            (peer,) = [p for p in node.daemon.status().peers if p.peer == liar.peer]
            assert "signed two messages" in peer.banned
            assert "by the certificate of round" in peer.banned
            ((_, data),) = await node.store.open(node.peer).scan(PREFIX)
            assert peer_id_of(offender(decode_evidence(data), verify)) == liar.peer
        assert liar.daemon is not None
        (shown,) = liar.daemon.list_jobs()
        assert shown.reason.startswith("banned by the certificate of round")
        await world.crash(0)
        daemon = await world.start(0)
        while not daemon.runners:
            await asyncio.sleep(0.1)
        assert list(daemon.convicted()) == [liar.peer]
        refusal = await refused(world, liar.peer, world.nodes[0].peer)
        assert "banned" in refusal


async def refused(world: World, caller: PeerId, target: PeerId) -> str:
    """What a peer is told that asks another for the chain."""
    transport = world.network.hosts[caller].transport
    try:
        await transport.call(target, "chain/1", b"", timeout_s=5.0, reply_bytes_max=1 << 20)
    except Refused as error:
        return str(error)
    return ""
