"""What only a real p2pd shows: identity, processes, files, and a peer that breaks the framing."""

import asyncio
import os
import signal
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from typing import Any

import base58
import psutil
import pytest
import pytest_asyncio
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from node.adapters.framing import HEADER, Kind
from node.errors import ConfigError, PeerError, TooLarge, Unavailable
from node.types import PeerId

pytestmark = [
    pytest.mark.network,
    # hivemind itself, and the part of torch that it imports, use what is deprecated
    pytest.mark.filterwarnings("ignore:path is deprecated:DeprecationWarning"),
    pytest.mark.filterwarnings("ignore:`torch.jit:DeprecationWarning"),
]

OWNER_SCRIPT = """
import asyncio, sys
from pathlib import Path
import uvloop
from node.adapters.hivemind_host import HivemindHost

async def main():
    host = await HivemindHost.create(bytes([9]) * 32, data_folder=Path(sys.argv[1]))
    print(host.p2pd_pid, flush=True)
    await asyncio.sleep(60)

uvloop.run(main())
"""


def seed(number: int) -> bytes:
    return bytes([number]) * 32


def names(folder: Path, pattern: str) -> set[str]:
    return {path.name for path in folder.glob(pattern)}


def full_addresses(host: Any) -> list[str]:
    return [f"{a}/p2p/{host.transport.peer_id}" for a in host.transport.addresses]


@pytest_asyncio.fixture
async def start(tmp_path: Path) -> AsyncIterator[Callable[..., Any]]:
    from node.adapters.hivemind_host import HivemindHost

    hosts = []

    async def start_one(number: int, **options: Any) -> Any:
        host = await HivemindHost.create(seed(number), data_folder=tmp_path, **options)
        hosts.append(host)
        return host

    yield start_one
    await asyncio.gather(*(host.close() for host in hosts))


@pytest.fixture
def owner(tmp_path: Path) -> Iterator[subprocess.Popen[str]]:
    command = [sys.executable, "-c", OWNER_SCRIPT, str(tmp_path)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        yield process
        process.kill()


async def test_the_peer_id_holds_our_public_key(start: Any, tmp_path: Path) -> None:
    host = await start(7)
    public = Ed25519PrivateKey.from_private_bytes(seed(7)).public_key().public_bytes_raw()
    # libp2p specs, peer-ids: an identity multihash of the protobuf {Ed25519, 32 bytes}
    expected = base58.b58encode(b"\x00\x24\x08\x01\x12\x20" + public).decode()
    assert host.transport.peer_id == expected
    assert expected.startswith("12D3KooW")
    assert names(tmp_path, "*") == set()  # no key is left behind


async def test_close_leaves_no_process_and_no_socket_within_two_seconds(start: Any) -> None:
    host = await start(1)
    pid = host.p2pd_pid
    # hivemind gives both sockets, p2pd's and ours, one random name
    listen = next(a for a in psutil.Process(pid).cmdline() if a.startswith("-listen="))
    sockets = "hivemind-p2p*-" + listen.removesuffix(".sock").rpartition("p2pd-")[2] + ".sock"
    assert len(names(Path("/tmp"), sockets)) == 2
    async with asyncio.timeout(2):
        await host.close()
    assert not psutil.pid_exists(pid)
    assert names(Path("/tmp"), sockets) == set()
    await host.close()


def test_p2pd_ends_with_an_owner_that_is_killed(owner: subprocess.Popen[str]) -> None:
    assert owner.stdout is not None
    p2pd = psutil.Process(int(owner.stdout.readline()))
    assert "p2pd" in p2pd.name()
    os.kill(owner.pid, signal.SIGKILL)
    _, alive = psutil.wait_procs([p2pd], timeout=3)
    assert alive == []


async def test_joining_meets_those_who_answer_and_starts_without_the_others(start: Any) -> None:
    first = await start(1)
    gone = "/ip4/127.0.0.1/tcp/1/p2p/12D3KooWDpJ7As7BWAwRMfu1VU2WCqNjvq387JEYKDBj4kx6nXTN"
    second = await start(2, join=[*full_addresses(first), gone])
    assert second.discovery.neighbours() == [first.transport.peer_id]
    assert first.discovery.neighbours() == [second.transport.peer_id]
    alone = await start(3, join=[gone])
    assert alone.discovery.neighbours() == []


async def test_a_join_address_without_a_peer_id_is_the_operators_error(start: Any) -> None:
    with pytest.raises(ConfigError, match="p2p"):
        await start(1, join=["/ip4/127.0.0.1/tcp/4001"])


async def test_foreign_records_are_neither_kept_nor_shown(start: Any) -> None:
    def honest(key: str, subkey: str, value: bytes) -> bool:
        return key == "jobs" and value == subkey.encode()

    a = await start(1, validator=honest)
    b = await start(2, join=full_addresses(a))  # b keeps and sends anything
    expires = time.time() + 60
    await b.discovery.put("jobs", "good", b"good", expires)
    await b.discovery.put("jobs", "bad", b"evil", expires)
    kept = a.discovery._node.protocol.storage.data.values()
    assert [sorted(dictionary.data) for dictionary, _ in kept] == [["good"]]
    assert {r.subkey for r in await b.discovery.get("jobs")} == {"good", "bad"}
    assert {r.subkey for r in await a.discovery.get("jobs")} <= {"good"}


async def test_a_peer_that_breaks_the_framing_is_cut_off_and_reported(start: Any) -> None:
    from node.adapters.mux_transport import HELLO

    reported: asyncio.Future[tuple[PeerId, PeerError]] = asyncio.get_running_loop().create_future()
    a = await start(1, on_peer_error=lambda peer, error: reported.set_result((peer, error)))
    b = await start(2)
    b.transport.learn(a.transport.peer_id, a.transport.addresses)
    reader, writer, at = await b.transport._dial(a.transport.peer_id, a.transport.addresses)
    assert at.startswith("/ip4/127.0.0.1/")  # where the stream really goes
    writer.write(HELLO)
    assert await reader.readexactly(len(HELLO)) == HELLO
    writer.write(HEADER.pack(0xFFFF_FFFF, Kind.CALL, 1))
    async with asyncio.timeout(5):
        peer, error = await reported
        assert await reader.read() == b""  # closed
    writer.close()
    assert peer == b.transport.peer_id
    assert isinstance(error, TooLarge)
    assert a.transport.connected() == []


async def test_calls_after_p2pd_died_are_unavailable(start: Any) -> None:
    a, b = await start(1), await start(2)
    a.transport.learn(b.transport.peer_id, b.transport.addresses)
    os.kill(a.p2pd_pid, signal.SIGKILL)
    with pytest.raises(Unavailable):
        await a.transport.call(b.transport.peer_id, "x", b"", timeout_s=5, reply_bytes_max=1)
