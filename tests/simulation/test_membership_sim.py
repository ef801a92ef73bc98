"""Membership services in virtual time, over the simulated network."""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Callable, Sequence

import pytest
import pytest_asyncio

from node.errors import Refused
from node.identity import NO_JOB, Identity
from node.jobs.manifest import decode_signed_manifest, parse_manifest, sign_manifest
from node.membership import gossip, shelves
from node.membership.config import MembershipConfig
from node.membership.record import encode_exchange, make_record
from node.membership.service import MembershipService
from node.ports import RECORD_BYTES_MAX
from node.types import JobId, PeerId
from node.wire import peer_pb2
from simulator.host.store import SimStore
from simulator.seeds import rng
from simulator.wire.network import SimHost, SimNetwork

PEERS_KEY = "artel/main/peers"
JOBS_KEY = "artel/main/jobs"
TEXT = '[job]\nname = "cat"\nworkload = "inr"\nrounds = 9\n'


class Swarm:
    """Nodes that are only their membership."""

    def __init__(self) -> None:
        self.network = SimNetwork(seed=1)
        self.stores: dict[int, SimStore] = {}
        self.nodes: dict[int, MembershipService] = {}
        self.tasks: dict[int, asyncio.Task[None]] = {}
        self.changes: dict[int, int] = {}

    def identity(self, index: int) -> Identity:
        return Identity(bytes([index + 1]) * 32)

    def peer(self, index: int) -> PeerId:
        return self.identity(index).peer_id

    def host(self, index: int) -> SimHost:
        return self.network.hosts[self.peer(index)]

    def full_address(self, index: int) -> str:
        return f"{self.network.address(self.peer(index))}/p2p/{self.peer(index)}"

    def start(self, index: int, join: Sequence[int] = ()) -> MembershipService:
        host = self.network.start(self.peer(index))

        def changed() -> None:
            self.changes[index] = self.changes.get(index, 0) + 1

        service = MembershipService(
            MembershipConfig("main", join=[self.full_address(other) for other in join]),
            signer=self.identity(index),
            transport=host.transport,
            discovery=host.discovery,
            store=self.stores.setdefault(index, SimStore()).open(self.peer(index)),
            clock=self.network,
            rng=rng(7, "membership", index),
            manifest_id=lambda encoded: decode_signed_manifest(encoded).job_id,
            on_change=changed,
        )
        self.nodes[index] = service
        self.tasks[index] = asyncio.get_running_loop().create_task(service.run())
        return service

    async def stop(self, index: int) -> None:
        task = self.tasks.pop(index)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        await self.network.crash(self.peer(index))
        del self.nodes[index]

    def seen_by(self, index: int) -> set[PeerId]:
        now = self.network.unix_s()
        return {record.peer for record in self.nodes[index].view.usable(now)}

    def all_see_all(self) -> bool:
        everybody = {self.peer(index) for index in self.nodes}
        return all(self.seen_by(i) == everybody - {self.peer(i)} for i in self.nodes)

    def one_dht(self) -> bool:
        """Does every node reach every other over the routing tables?"""
        return all(len(self._reached(self.peer(index))) == len(self.nodes) for index in self.nodes)

    def _reached(self, peer: PeerId) -> list[PeerId]:
        order = [peer]
        for at in order:  # grows while it is walked
            table = self.network.hosts[at].discovery.neighbours()
            order += [other for other in table if other not in order]
        return order

    def no_score_is_touched(self) -> bool:
        now = self.network.unix_s()
        peers = [self.peer(index) for index in self.nodes]
        return all(node.view.score(p, now) == 0.0 for node in self.nodes.values() for p in peers)

    async def until(self, claim: Callable[[], bool], within_s: float) -> float:
        """Wait for ``claim``; virtual seconds that it took."""
        loop = asyncio.get_running_loop()
        began = loop.time()
        while not claim():
            assert loop.time() - began < within_s, [
                n.status_sentence() for n in self.nodes.values()
            ]
            await asyncio.sleep(0.05)
        return loop.time() - began


@pytest_asyncio.fixture
async def swarm() -> AsyncIterator[Swarm]:
    made = Swarm()
    yield made
    for task in made.tasks.values():
        assert not task.done(), task
    for index in list(made.nodes):
        await made.stop(index)
    await made.network.close()


async def test_eight_nodes_see_one_another_within_two_seconds(swarm: Swarm) -> None:
    swarm.start(0)
    for index in range(1, 8):
        swarm.start(index, join=[0])
    await swarm.until(swarm.all_see_all, within_s=2.0)
    await swarm.until(swarm.one_dht, within_s=2.0)
    assert "7 peers known" in swarm.nodes[3].status_sentence()
    assert swarm.changes[3] > 0
    assert swarm.no_score_is_touched()


async def test_a_chain_of_joins_in_any_order_becomes_one_swarm(swarm: Swarm) -> None:
    swarm.network.start(swarm.peer(0))  # gives it an address; it runs nothing yet
    await swarm.network.crash(swarm.peer(0))
    swarm.network.start(swarm.peer(1))
    await swarm.network.crash(swarm.peer(1))
    swarm.start(2, join=[1])
    await asyncio.sleep(20)
    assert swarm.nodes[2].status_sentence() == "alone: none of 1 bootstrap peers answers"
    swarm.start(1, join=[0])
    swarm.start(0)
    await asyncio.sleep(0)
    assert swarm.nodes[0].status_sentence().startswith("alone: no bootstrap peer is configured")
    await swarm.until(swarm.all_see_all, within_s=70.0)


async def test_a_late_node_is_seen_by_all_soon(swarm: Swarm) -> None:
    for index in range(5):
        swarm.start(index, join=[0] if index else [])
    await asyncio.sleep(100)
    swarm.start(5, join=[0])
    await swarm.until(swarm.all_see_all, within_s=2.0)


async def test_a_crashed_node_expires_and_its_restart_is_known_by_a_higher_sequence(
    swarm: Swarm,
) -> None:
    for index in range(3):
        swarm.start(index, join=[0] if index else [])
    await swarm.until(swarm.all_see_all, within_s=2.0)
    entry = swarm.nodes[0].view.get(swarm.peer(2))
    assert entry is not None
    assert entry.record is not None
    before = entry.record.sequence
    await swarm.stop(2)
    await asyncio.sleep(150)
    assert swarm.peer(2) not in swarm.seen_by(0)
    assert "fell silent" in swarm.nodes[0].view.explain(
        swarm.network.unix_s(), [swarm.peer(1), swarm.peer(2)]
    )
    swarm.start(2, join=[0])
    await swarm.until(swarm.all_see_all, within_s=2.0)
    assert entry.record.sequence > before


async def test_a_sequence_rises_over_a_restart_even_if_the_clock_was_set_back(
    swarm: Swarm,
) -> None:
    swarm.stores[1] = SimStore()
    ahead = 2**60
    await swarm.stores[1].open(swarm.peer(1)).put({"membership/sequence": ahead.to_bytes(8, "big")})
    swarm.start(0)
    swarm.start(1, join=[0])
    await swarm.until(swarm.all_see_all, within_s=2.0)
    entry = swarm.nodes[0].view.get(swarm.peer(1))
    assert entry is not None
    assert entry.record is not None
    assert entry.record.sequence > ahead


def _halves(swarm: Swarm) -> tuple[list[PeerId], list[PeerId]]:
    """Two halves with a bootstrap peer each; the only link is that 3 joined 0."""
    swarm.start(0)
    for index, join in ((1, 0), (2, 0), (3, 0), (4, 3), (5, 3)):
        swarm.start(index, join=[join])
    peers = [swarm.peer(index) for index in range(6)]
    return peers[:3], peers[3:]


async def test_a_split_is_noticed_and_healed(swarm: Swarm) -> None:
    left, right = _halves(swarm)
    await swarm.until(swarm.all_see_all, within_s=2.0)
    swarm.network.partition(left, right)
    await asyncio.sleep(40)
    assert not swarm.one_dht()
    assert ", 0 do not answer now" not in swarm.nodes[1].status_sentence()
    swarm.network.heal()
    nodes = swarm.nodes.values()
    await swarm.until(lambda: any("split noticed" in n.status_sentence() for n in nodes), 30.0)
    await swarm.until(swarm.one_dht, within_s=30.0)
    await swarm.until(lambda: not any(n.split.absent for n in swarm.nodes.values()), within_s=30.0)
    assert any("a split was healed" in node.status_sentence() for node in swarm.nodes.values())
    assert swarm.all_see_all()
    assert swarm.no_score_is_touched()


async def test_a_split_that_outlives_all_records_is_healed_by_the_one_join_across_it(
    swarm: Swarm,
) -> None:
    left, right = _halves(swarm)
    await swarm.until(swarm.all_see_all, within_s=2.0)
    swarm.network.partition(left, right)
    await asyncio.sleep(400)
    assert swarm.seen_by(0) == {swarm.peer(1), swarm.peer(2)}
    assert swarm.seen_by(4) == {swarm.peer(3), swarm.peer(5)}
    swarm.network.heal()
    await swarm.until(swarm.all_see_all, within_s=30.0)
    await swarm.until(swarm.one_dht, within_s=30.0)


async def test_two_dhts_that_were_never_joined_are_noticed_by_exchange_alone(
    swarm: Swarm,
) -> None:
    for index, join in ((0, 0), (1, 0), (2, 2), (3, 2)):
        swarm.start(index, join=[join])
    await asyncio.sleep(10)
    assert swarm.seen_by(0) == {swarm.peer(1)}
    # One call crosses: its caller and its callee now know of another DHT.
    host, stranger = swarm.host(1), swarm.peer(2)
    host.transport.learn(stranger, [swarm.network.address(stranger)])
    entry = swarm.nodes[0].view.get(swarm.peer(1))
    assert entry is not None
    assert entry.record is not None
    await host.transport.call(
        stranger,
        "peers/1",
        encode_exchange([entry.record.signed]),
        timeout_s=5.0,
        reply_bytes_max=2**20,
    )
    await swarm.until(swarm.one_dht, within_s=60.0)
    await swarm.until(swarm.all_see_all, within_s=30.0)
    assert sum(node.split.noticed for node in swarm.nodes.values()) > 0


async def test_in_a_crowded_swarm_calls_and_reads_are_few_and_all_are_known_to_some(
    swarm: Swarm, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shelves, "CROWDED", 6)
    monkeypatch.setattr(shelves, "TAKEN_OF_CROWDED", 4)
    monkeypatch.setattr(gossip, "MET_WANTED", 5)
    counts: list[PeerId] = []
    monkeypatch.setattr(swarm.network.hub, "sent", lambda at, source, *rest: counts.append(source))
    for index in range(40):
        swarm.start(index, join=[0] if index else [])
    for node in swarm.nodes.values():
        node.view.peers_max = 12
    await asyncio.sleep(60)
    met = [len(node.view.met(swarm.network.unix_s())) for node in swarm.nodes.values()]
    assert min(met) >= 5
    counts.clear()
    await asyncio.sleep(50)
    assert max(Counter(counts).values()) <= 10 * 5 * 1.25  # a turn calls at most five
    seen = Counter(peer for index in swarm.nodes for peer in swarm.seen_by(index))
    assert all(seen[swarm.peer(index)] >= 2 for index in swarm.nodes)
    assert not any(node.split.noticed for node in swarm.nodes.values())
    # Whoever is needed is found, however little the others are known.
    swarm.nodes[7].view.keep(wanted := [swarm.peer(index) for index in range(20, 40)])
    await swarm.until(lambda: set(wanted) <= swarm.seen_by(7), within_s=60.0)
    swarm.start(40, join=[0])
    await asyncio.sleep(20)
    assert sum(swarm.peer(40) in swarm.seen_by(index) for index in range(40)) >= 2


def _forged(author: Identity, forger: Identity, now: float) -> bytes:
    made = make_record(author, sequence=2**50, now=now, ttl_s=100.0, addresses=[], swarm="main")
    record = peer_pb2.SignedRecord.FromString(made.signed).record
    signature = forger.sign("record", NO_JOB, 0, record)
    return peer_pb2.SignedRecord(record=record, signature=signature).SerializeToString()


async def test_garbage_in_the_dht_blames_nobody_and_breaks_nothing(swarm: Swarm) -> None:
    swarm.start(0)
    attacker = swarm.network.start(swarm.peer(9))
    for index in range(1, 5):
        swarm.start(index, join=[0])
    await asyncio.sleep(0.5)
    await attacker.discovery.meet(swarm.peer(0), [])
    now = swarm.network.unix_s()
    forged = _forged(swarm.identity(1), swarm.identity(9), now)
    # Entries of honest peers are overwritten by ones that live longer than theirs ever will.
    for subkey, value in [
        (swarm.peer(1), forged),
        (swarm.peer(2), b"garbage"),
        (swarm.peer(3), bytes(RECORD_BYTES_MAX)),
        ("nonsense", b"\xff"),
    ]:
        assert await attacker.discovery.put(PEERS_KEY, subkey, value, now + 1e6)
    swarm.start(5, join=[0])
    await swarm.until(swarm.all_see_all, within_s=3.0)
    await asyncio.sleep(300)
    assert swarm.all_see_all()
    assert swarm.no_score_is_touched()


async def test_who_passes_on_forged_records_is_shunned_and_their_named_author_is_not(
    swarm: Swarm,
) -> None:
    swarm.start(0)
    swarm.start(1, join=[0])
    await swarm.until(swarm.all_see_all, within_s=2.0)
    attacker = swarm.network.start(swarm.peer(9)).transport
    attacker.learn(swarm.peer(0), [swarm.network.address(swarm.peer(0))])
    forged = _forged(swarm.identity(1), swarm.identity(9), swarm.network.unix_s())

    async def send() -> str:
        with pytest.raises(Refused) as caught:
            await attacker.call(
                swarm.peer(0),
                "peers/1",
                encode_exchange([forged]),
                timeout_s=5.0,
                reply_bytes_max=2**20,
            )
        return str(caught.value)

    answers = [await send() for _ in range(4)]
    view, now = swarm.nodes[0].view, swarm.network.unix_s()
    assert view.is_shunned(swarm.peer(9), now)
    assert "bad_signature" in answers[0]
    assert "shunned" in answers[3]
    assert view.score(swarm.peer(1), now) == 0.0
    assert swarm.all_see_all()


async def test_a_copied_key_is_told(swarm: Swarm) -> None:
    swarm.start(0)
    swarm.start(1, join=[0])
    await swarm.until(swarm.all_see_all, within_s=2.0)
    now = swarm.network.unix_s()
    copy = make_record(
        swarm.identity(1), sequence=2**50, now=now, ttl_s=200.0, addresses=[], swarm="main"
    )
    assert await swarm.host(0).discovery.put(PEERS_KEY, swarm.peer(1), copy.signed, now + 200.0)
    await swarm.until(
        lambda: "another node runs with this key" in swarm.nodes[1].status_sentence(),
        within_s=10.0,
    )
    await asyncio.sleep(10)
    entry = swarm.nodes[0].view.get(swarm.peer(1))
    assert entry is not None
    assert entry.record is not None
    assert entry.record.sequence > 2**50


@pytest.mark.parametrize("pad_bytes", [0, 2 * RECORD_BYTES_MAX])
async def test_a_published_manifest_is_found_and_listed_whatever_its_size(
    swarm: Swarm, pad_bytes: int
) -> None:
    swarm.start(0)
    for index in (1, 2):
        swarm.start(index, join=[0])
    await swarm.until(swarm.all_see_all, within_s=2.0)
    manifest = parse_manifest(TEXT, {"workload.pad": "x" * pad_bytes})
    signed = sign_manifest(manifest, swarm.identity(1))
    assert await swarm.nodes[2].find_manifest(signed.job_id) is None
    assert await swarm.nodes[1].publish_manifest(signed.encode()) == signed.job_id
    await asyncio.sleep(12)
    assert await swarm.nodes[2].find_manifest(signed.job_id) == signed.encode()
    assert await swarm.nodes[2].list_manifests() == {signed.job_id: signed.encode()}
    assert await swarm.nodes[2].find_manifest(JobId(bytes(32))) is None


async def test_a_manifest_whose_dht_entry_was_overwritten_is_asked_from_who_serves_it(
    swarm: Swarm,
) -> None:
    swarm.start(0)
    for index in (1, 2):
        swarm.start(index, join=[0])
    await swarm.until(swarm.all_see_all, within_s=2.0)
    signed = sign_manifest(parse_manifest(TEXT, {}), swarm.identity(1))
    other = sign_manifest(parse_manifest(TEXT, {}), swarm.identity(2))
    lasting = swarm.network.unix_s() + 1e6
    subkey = signed.job_id.hex()
    assert await swarm.host(0).discovery.put(JOBS_KEY, subkey, other.encode(), lasting)
    assert await swarm.host(0).discovery.put(JOBS_KEY, "zz", b"garbage", lasting)
    await swarm.nodes[1].publish_manifest(signed.encode())
    await asyncio.sleep(12)
    assert await swarm.nodes[2].find_manifest(signed.job_id) == signed.encode()
    assert list(await swarm.nodes[2].list_manifests()) == [signed.job_id]
    swarm.nodes[1].withdraw_manifest(signed.job_id)
    await asyncio.sleep(12)
    assert await swarm.nodes[2].find_manifest(signed.job_id) is None
