"""The simulated DHT: its shape, its cost, and its lies."""

import pytest

from node.types import PeerId
from simulator.dht.kademlia import BUCKET_HOSTS_MAX, RoutingTable, place
from simulator.dht.lies import Kind
from simulator.wire.network import SimHost, SimNetwork

LASTING_S = 1e5


def peer(number: int) -> PeerId:
    return PeerId(f"12D3KooW{number}")


async def swarm(count: int) -> tuple[SimNetwork, list[SimHost]]:
    network = SimNetwork(1, framed=False)
    hosts = [network.start(peer(number)) for number in range(count)]
    for host in hosts[1:]:
        assert await host.discovery.meet(peer(0), [])
    return network, hosts


async def put(network: SimNetwork, host: SimHost, key: str, subkey: str, value: bytes) -> bool:
    expires = network.unix_s() + LASTING_S
    return await host.discovery.put(key, subkey, value, expires)


async def values(host: SimHost, key: str) -> dict[str, bytes]:
    return {record.subkey: record.value for record in await host.discovery.get(key)}


@pytest.mark.parametrize("count", [1, 7, 40, 300])
def test_the_nearest_of_a_table_are_those_of_a_plain_sort(count: int) -> None:
    table = RoutingTable(peer(0))
    for number in range(1, count + 1):
        table.add(peer(number), lambda old: True)
    known = list(table)
    assert len(known) == len(set(known))
    for number in range(30):
        target = place(f"key {number}")
        by_hand = sorted(known, key=lambda p: place(p) ^ target)
        for wanted in (1, 5, 8):
            assert table.nearest(target, wanted) == by_hand[:wanted]


def test_a_full_bucket_keeps_old_hosts_that_answer_and_replaces_one_that_does_not() -> None:
    table = RoutingTable(peer(0))
    numbers = range(1, 500)
    far = [p for p in map(peer, numbers) if (place(p) ^ place(peer(0))) >> 159]
    first, late, later = far[:BUCKET_HOSTS_MAX], *far[BUCKET_HOSTS_MAX : BUCKET_HOSTS_MAX + 2]
    for each in first:
        assert table.add(each, lambda old: True)
    assert not table.add(late, lambda old: True)
    assert late not in table
    dead = first[1]  # first[0] has just answered
    assert table.add(later, lambda old: old != dead)
    assert dead not in table
    assert sorted(table) == sorted([first[0], *first[2:], later])


async def test_lookups_ask_a_number_of_hosts_that_grows_with_the_logarithm() -> None:
    asked = {}
    for count in (32, 512):
        network, hosts = await swarm(count)
        for host in hosts:
            host.discovery.queries = host.discovery.lookups = 0
        for number, host in enumerate(hosts[:100]):
            await host.discovery.get(f"key {number}")
        lookups = sum(host.discovery.lookups for host in hosts)
        asked[count] = sum(host.discovery.queries for host in hosts) / lookups
        await network.close()
    assert asked[32] < asked[512] < asked[32] + 4
    assert asked[512] < 14


async def test_records_lie_at_the_five_nearest_hosts_and_everybody_finds_them() -> None:
    network, hosts = await swarm(300)
    for number in range(40):
        key = f"key {number}"
        assert await put(network, hosts[7 * number], key, "a", b"v")
        keepers = {host.peer for host in hosts if key in host.discovery.kept}
        by_hand = sorted((h.peer for h in hosts), key=lambda p: place(p) ^ place(key))
        assert keepers == set(by_hand[:5])
        assert await values(hosts[299 - 7 * number], key) == {"a": b"v"}
    await network.close()


async def test_a_nearer_host_that_comes_later_is_given_the_records() -> None:
    network, hosts = await swarm(40)
    await put(network, hosts[3], "key", "a", b"v")
    order = sorted((peer(n) for n in range(1000)), key=lambda p: place(p) ^ place("key"))
    nearest = next(p for p in order if p not in network.hosts)
    newcomer = network.start(nearest)
    assert await newcomer.discovery.meet(peer(0), [])
    assert newcomer.discovery.kept["key"]["a"].value == b"v"
    for host in hosts:
        if host.peer in network.hosts and "key" in host.discovery.kept:
            await network.crash(host.peer)
    left = next(h for h in hosts if h.peer in network.hosts)
    assert await values(left, "key") == {"a": b"v"}
    await network.close()


async def test_records_outlive_the_hosts_that_keep_them_as_long_as_one_is_left() -> None:
    network, hosts = await swarm(60)
    await put(network, hosts[3], "key", "a", b"v")
    keepers = [h for h in hosts if "key" in h.discovery.kept]
    reader = next(h for h in hosts if h not in keepers)
    for host in keepers[:-1]:
        await network.crash(host.peer)
    assert await values(reader, "key") == {"a": b"v"}
    await network.crash(keepers[-1].peer)
    assert await values(reader, "key") == {}
    await network.close()


async def lying(
    kind: Kind, rate: float = 1.0, liars: int = 7, **options: object
) -> dict[str, bytes]:
    """What the last host reads, after each of ``a`` and ``b`` was written twice."""
    network, hosts = await swarm(8)
    reader = hosts[-1]
    await put(network, hosts[0], "key", "a", b"old a")
    await put(network, hosts[0], "key", "b", b"old b")
    network.dht.set(kind, [h.peer for h in hosts if h is not reader][:liars], rate, **options)  # type: ignore[arg-type]
    expires = network.unix_s() + 2 * LASTING_S
    for subkey in ("a", "b"):
        await hosts[1].discovery.put("key", subkey, b"new " + subkey.encode(), expires)
    reader.discovery.kept.clear()
    found = await values(reader, "key")
    network.dht.clear()
    assert await values(reader, "key") == {"a": b"new a", "b": b"new b"}
    await network.close()
    return found


async def test_stale_hosts_answer_what_they_kept_before() -> None:
    assert await lying("stale") == {"a": b"old a", "b": b"old b"}


async def test_hosts_that_answer_nothing_hide_all() -> None:
    assert await lying("missing") == {}


async def test_withheld_records_are_those_of_the_named_authors() -> None:
    assert await lying("withheld", authors=["a"]) == {"b": b"new b"}


async def test_without_names_the_rate_is_the_share_of_withheld_authors() -> None:
    network, hosts = await swarm(8)
    for number in range(200):
        await put(network, hosts[0], "key", str(number), b"v")
    network.dht.set("withheld", [h.peer for h in hosts], 0.3)
    hosts[7].discovery.kept.clear()
    hosts[6].discovery.kept.clear()
    seen = await values(hosts[7], "key")
    assert 110 < len(seen) < 170
    assert await values(hosts[6], "key") == seen  # all liars hide the same
    await network.close()


async def test_one_host_that_rolls_back_wins_over_all_others() -> None:
    network, hosts = await swarm(8)
    for later_s, value in enumerate((b"first", b"second", b"third")):
        expires = network.unix_s() + LASTING_S + later_s
        assert await hosts[0].discovery.put("key", "a", value, expires)
    keeper = next(h for h in hosts if h.discovery.kept)
    reader = next(h for h in hosts if h is not keeper)
    assert await values(reader, "key") == {"a": b"third"}
    network.dht.set("rolled_back", [keeper.peer])
    assert await values(reader, "key") == {"a": b"second"}
    assert await values(keeper, "key") == {"a": b"third"}  # no host lies to itself
    await network.close()


async def test_conflicting_answers_are_other_values_under_the_same_keys() -> None:
    found = await lying("conflicting")
    assert sorted(found) == ["a", "b"]
    assert found["a"] not in (b"new a", b"old a")
    assert found["b"] == b"new a"


async def test_a_rate_is_the_chance_of_each_answer_and_the_same_for_the_same_seed() -> None:
    counts = []
    for _ in range(2):
        network, hosts = await swarm(2)
        await put(network, hosts[0], "key", "a", b"v")
        hosts[1].discovery.kept.clear()
        network.dht.set("missing", [hosts[0].peer], 0.25)
        empty = [not await hosts[1].discovery.get("key") for _ in range(400)]
        counts.append([index for index, gone in enumerate(empty) if gone])
        await network.close()
    assert counts[0] == counts[1]
    assert 70 < len(counts[0]) < 130
