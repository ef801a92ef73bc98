"""The gate of a transport: few peers of one address range may open streams to a node."""

import asyncio
from collections.abc import Mapping

import pytest

from node.adapters.mux_transport import CROWDED, HELLO, MuxTransport, Streams
from node.config import Limits
from node.errors import Malformed, PeerError
from node.identity import Identity, peer_id_of
from node.ranges import Ranges
from node.types import PeerId
from simulator.hub import Watcher
from simulator.run import run_scenario
from simulator.scenario import Scenario
from simulator.world import World

US = Identity(b"\1" * 32).peer_id


class _Wire(asyncio.Transport):
    """One end of a stream: what was written."""

    def __init__(self) -> None:
        super().__init__()
        self.written = b""
        self.closed = False

    def write(self, data: bytes | bytearray | memoryview) -> None:
        self.written += bytes(data)

    def close(self) -> None:
        self.closed = True

    abort = close

    def is_closing(self) -> bool:
        return self.closed

    def set_protocol(self, protocol: asyncio.BaseProtocol) -> None: ...

    def pause_reading(self) -> None: ...

    def resume_reading(self) -> None: ...

    def set_write_buffer_limits(self, high: int | None = None, low: int | None = None) -> None: ...

    def get_write_buffer_size(self) -> int:
        return 0


def stream(*, says: bytes) -> tuple[_Wire, asyncio.StreamReader, asyncio.StreamWriter]:
    wire, loop = _Wire(), asyncio.get_running_loop()
    reader = asyncio.StreamReader()
    reader.feed_data(says)
    protocol = asyncio.StreamReaderProtocol(reader)
    return wire, reader, asyncio.StreamWriter(wire, protocol, reader, loop)


def peer(number: int) -> PeerId:
    return Identity(bytes([number, 2]) * 16).peer_id


async def comes(transport: MuxTransport, number: int, address: str) -> bytes:
    """What a peer hears that opens a stream from an address."""
    wire, reader, writer = stream(says=HELLO)
    await transport.accept(peer(number), reader, writer, address)
    return wire.written[: len(HELLO)]


def transport_of(**spared: PeerId) -> MuxTransport:
    async def dial(to: PeerId, addresses: object) -> Streams:
        _, reader, writer = stream(says=HELLO)
        return Streams(reader, writer, "/ip4/8.8.4.200/tcp/1")

    return MuxTransport(
        US, [], dial, ranges=Ranges(2), is_spared=lambda peer: peer in spared.values()
    )


async def test_a_third_peer_of_one_range_is_told_that_there_are_too_many() -> None:
    transport = transport_of(elector=peer(9))
    heard = [await comes(transport, k, f"/ip4/8.8.4.{k}/tcp/1") for k in (1, 2, 3)]
    assert heard == [HELLO, HELLO, CROWDED]
    assert transport.connected() == sorted([peer(1), peer(2)])
    assert transport.seen_at(peer(2)) == "/ip4/8.8.4.2/tcp/1"
    # An elector, who was here before, who is of another range, or on this machine or network.
    assert await comes(transport, 9, "/ip4/8.8.4.9/tcp/1") == HELLO
    assert await comes(transport, 1, "/ip4/8.8.4.1/tcp/9") == HELLO
    assert await comes(transport, 4, "/ip4/9.9.9.9/tcp/1") == HELLO
    for k in range(10, 16):
        assert await comes(transport, k, "/ip4/127.0.0.1/tcp/1") == HELLO
        assert await comes(transport, k + 10, "/ip4/10.0.0.7/tcp/1") == HELLO
    await transport.close()


async def test_streams_that_we_opened_take_no_place() -> None:
    transport = transport_of()
    for k in range(30, 35):
        link = await transport._connect(peer(k))
        assert link.dialled
    heard = [await comes(transport, k, f"/ip4/8.8.4.{k}/tcp/1") for k in (1, 2, 3)]
    assert heard == [HELLO, HELLO, CROWDED]
    assert transport.seen_at(peer(30)) == "/ip4/8.8.4.200/tcp/1"
    await transport.close()


async def test_who_is_turned_away_learns_why_and_blames_nobody() -> None:
    blamed: list[PeerError] = []

    async def dial(to: PeerId, addresses: object) -> Streams:
        _, reader, writer = stream(says=CROWDED if to == peer(1) else b"artel/9\n")
        return Streams(reader, writer)

    transport = MuxTransport(US, [], dial, on_peer_error=lambda _, error: blamed.append(error))
    state = transport._peers.of(peer(1))
    failure = await transport._try_dial(peer(1), state)
    assert "as many peers of our address range" in str(failure)
    assert blamed == []
    await transport._try_dial(peer(2), transport._peers.of(peer(2)))
    assert [type(error) for error in blamed] == [Malformed]
    await transport.close()


# Whole swarms -----------------------------------------------------------------------------------

SYBILS, HONEST = range(5, 15), 15


class Street(Watcher):
    """Ten followers live in one /24, one elsewhere; what the first node holds of them."""

    def __init__(self, world: World) -> None:
        world.limits = Limits(range_peers=3)
        self._world = world
        for k in SYBILS:
            world.network.public[world.nodes[k].peer] = f"8.8.4.{k}"
        world.network.public[world.nodes[HONEST].peer] = "9.9.9.9"
        self.known: set[int] = set()
        self.most = 0
        self.applied: set[int] = set()

    def event(self, at_s: float, node: int, event: str, fields: Mapping[str, object]) -> None:
        """Look at the first node after each of its rounds."""
        daemon = self._world.nodes[0].daemon
        if node != 0 or event != "round_certified" or daemon is None:
            return
        names = {n.peer: n.index for n in self._world.nodes}
        known = {names[peer.peer] for peer in daemon.status().peers}
        self.known |= known
        self.most = max(self.most, len(known & {*SYBILS}))
        keys = daemon.runners[0].newcomers._applicants._held
        self.applied |= {names[peer_id_of(key)] for key in keys}


@pytest.mark.parametrize("framed", [False, pytest.param(True, marks=pytest.mark.sim)])
def test_a_street_of_identities_gets_its_share_and_the_swarm_goes_on(framed: bool) -> None:
    seen: list[Street] = []

    def make(world: World) -> Street:
        seen.append(Street(world))
        return seen[0]

    job = {"admission": {"mode": "open", "audits": 2}}
    scenario = Scenario(nodes=5, followers=11, rounds=14, job=job, framed=framed)
    outcome = run_scenario(scenario, 1, watchers=[make])
    assert outcome.violations == []
    assert outcome.rounds == 14
    street = seen[0]
    assert street.most <= 3
    assert {0, 1, 2, 3, 4, HONEST} - {0} <= street.known
    assert HONEST in street.applied
