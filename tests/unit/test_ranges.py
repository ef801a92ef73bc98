"""Address ranges: which an address lies in, and how many of one range get a place.

Source: docs/protocol.md, "Address ranges".
"""

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from node.config import parse_node_config
from node.errors import ConfigError, Refused
from node.identity import Identity, verify
from node.jobs.seats import RANGE_APPLICANTS, Applicants
from node.ledger.admission import AdmissionRules
from node.ledger.chain import genesis
from node.ledger.electorate import Electorate
from node.membership.record import PeerRecord
from node.membership.view import View
from node.ranges import UNSHOWN, WIDE_TIMES, Range, Ranges
from node.types import JobId, PeerId
from node.wire.admission import KIND, Application, encode_application
from node.wire.messages import Signed

NOW = 1_000_000.0
US = Identity(b"\1" * 32).peer_id


def of(*addresses: str, ranges: Ranges | None = None) -> list[str]:
    return [range_.name for range_ in (ranges or Ranges()).of(addresses)]


@pytest.mark.parametrize(
    ("address", "names"),
    [
        ("/ip4/8.8.4.4/tcp/1", ["8.8.4.0/24", "8.8.0.0/16"]),
        ("/ip4/8.8.4.4/udp/1/quic-v1", ["8.8.4.0/24", "8.8.0.0/16"]),
        ("/ip6/2607:f8b0:4001:c2f::1/tcp/1", ["2607:f8b0:4001::/48", "2607:f8b0::/32"]),
        ("/ip6/::ffff:8.8.4.4/tcp/1", ["8.8.4.0/24", "8.8.0.0/16"]),
        ("/ip6/2002:808:404::1/tcp/1", ["8.8.4.0/24", "8.8.0.0/16"]),
        ("/dns4/a.example/tcp/1", [UNSHOWN]),
        (f"/ip4/8.8.4.4/tcp/1/p2p/{US}/p2p-circuit", [UNSHOWN]),
        ("/ip4/127.0.0.1/tcp/1", []),
        ("/ip4/10.1.2.3/tcp/1", []),
        ("/ip4/192.168.1.1/tcp/1", []),
        ("/ip4/100.64.0.1/tcp/1", []),
        ("/ip6/::1/tcp/1", []),
        ("/ip6/fd00::1/tcp/1", []),
        ("/memory/7", []),
    ],
)
def test_an_address_of_the_internet_lies_in_a_narrow_and_a_wide_range(
    address: str, names: list[str]
) -> None:
    assert of(address) == names
    assert of() == []


def test_the_first_public_address_counts_and_a_trusted_one_has_no_limit() -> None:
    assert of("/ip4/10.0.0.1/tcp/1", "/ip4/8.8.4.4/tcp/1", "/ip4/9.9.9.9/tcp/1") == [
        "8.8.4.0/24", "8.8.0.0/16",
    ]  # fmt: skip
    assert of("/ip4/8.8.4.4/tcp/1", ranges=Ranges(trusted=("8.8.0.0/16",))) == []
    assert of("/ip4/9.9.9.9/tcp/1", ranges=Ranges(trusted=("8.8.0.0/16",)))


@given(st.text(max_size=60), st.lists(st.text(max_size=20), max_size=3))
def test_whatever_a_peer_claims_is_no_error(text: str, more: list[str]) -> None:
    Ranges().of([text, *more, f"/ip4/{text}/tcp/1", f"/ip6/{text}"])


def test_a_narrow_range_takes_its_share_and_a_wide_one_four_times_as_many() -> None:
    ranges = Ranges(3)
    here = [ranges.of((f"/ip4/8.8.4.{k}/tcp/1",)) for k in range(3)]
    assert ranges.full(here[0], here[:2]) is None
    assert ranges.full(here[0], here) == Range("8.8.4.0/24", False)
    spread = [ranges.of((f"/ip4/8.8.{k}.1/tcp/1",)) for k in range(3 * WIDE_TIMES)]
    assert ranges.full(here[0], spread) == Range("8.8.0.0/16", True)
    assert ranges.full(here[0], spread[1:]) is None
    assert ranges.full((), here) is None
    assert ranges.full(here[0], here[:1], share=1) == Range("8.8.4.0/24", False)


# The peer table ---------------------------------------------------------------------------------


def record(index: int, address: str, sequence: int = 1) -> PeerRecord:
    peer = Identity(index.to_bytes(32, "big")).peer_id
    return PeerRecord(
        peer=peer, sequence=sequence, issued_unix_s=NOW,
        expires_unix_s=NOW + 100, addresses=(address,), swarm="main", jobs=(), version="",
        incarnation=0, serves_any=False, signed=b"%d/%d" % (index, sequence),
    )  # fmt: skip


def flood(view: View, count: int, first: int = 1000) -> int:
    """Sybils of one /24 enter the table; how many are in it."""
    records = [record(first + k, f"/ip4/8.8.4.{k % 256}/tcp/{k + 1}") for k in range(count)]
    for each in records:
        view.learn(each, NOW)
    return sum(view.get(each.peer) is not None for each in records)


def test_five_hundred_identities_of_one_range_get_its_share_of_the_table() -> None:
    view = View(US, 256, ranges=Ranges(32))
    assert flood(view, 500) == 32
    honest = [record(k, f"/ip4/{k}.9.9.9/tcp/1") for k in range(11, 100) if k != 10]
    assert all(view.learn(each, NOW).ok for each in honest)
    # Whoever is met stays, of the same range too, and the table is still open to others.
    met = record(5, "/ip4/8.8.4.77/tcp/1")
    view.called(met.peer, True, NOW)
    assert view.learn(met, NOW).ok
    assert flood(view, 500, first=3000) + flood(view, 500) <= 31


def test_claims_shut_nobody_out_and_what_is_seen_counts_for_more() -> None:
    view = View(US, 256, ranges=Ranges(2))
    # Two hearsay peers claim the range of an honest one: it takes the place of one once it is met.
    for k in (1, 2):
        assert view.learn(record(k, f"/ip4/8.8.4.{k}/tcp/1"), NOW).ok
    honest = record(3, "/ip4/8.8.4.3/tcp/1")
    view.called(honest.peer, True, NOW, "/ip4/8.8.4.3/tcp/1")
    assert view.learn(honest, NOW).ok
    assert sum(view.get(record(k, "/x").peer) is not None for k in (1, 2)) == 1
    # Sybils that claim a range each are counted where their streams come from.
    sybils = [record(10 + k, f"/ip4/{20 + k}.1.1.1/tcp/1") for k in range(9)]
    for each in sybils:
        assert view.learn(each, NOW).ok
        view.called(each.peer, True, NOW, "/ip4/9.9.9.9/tcp/5")
    assert sum(view.get(each.peer) is not None for each in sybils) == 2


def test_electors_and_bootstrap_peers_have_no_limit_and_take_no_room() -> None:
    view = View(US, 256, ranges=Ranges(2))
    electors = [record(k, f"/ip4/8.8.4.{k}/tcp/1") for k in range(1, 9)]
    view.keep([each.peer for each in electors])
    assert all(view.learn(each, NOW).ok for each in electors)
    others = [record(k, f"/ip4/8.8.4.{k}/tcp/1") for k in range(20, 22)]
    assert all(view.learn(each, NOW).ok for each in others)
    assert len(view) == 10


def test_a_peer_that_moves_into_a_full_range_keeps_its_old_record() -> None:
    view = View(US, 256, ranges=Ranges(1))
    first = record(1, "/ip4/8.8.4.1/tcp/1")
    view.called(first.peer, True, NOW)
    assert view.learn(first, NOW).ok
    assert view.learn(record(2, "/ip4/9.9.9.1/tcp/1"), NOW).ok
    moved = view.learn(record(2, "/ip4/8.8.4.2/tcp/1", sequence=2), NOW)
    assert (moved.ok, moved.reason) == (False, "crowded")
    assert view.learn(record(3, "/ip4/9.9.9.2/tcp/1"), NOW).reason in ("new", "crowded")


# Applications -----------------------------------------------------------------------------------

JOB = JobId(bytes(32))
SEATED = [Identity(bytes([k, 1]) * 16) for k in range(1, 9)]
RULES = AdmissionRules("open", frozenset(p.public_key for p in SEATED), audits=2)
HEAD = replace(genesis(JOB, Electorate.of(p.public_key for p in SEATED), 100, RULES), round=19)


def apply(applicants: Applicants, who: Identity, seen_at: str) -> bool:
    body = encode_application(Application(19, 0))
    signed = Signed(KIND, JOB, 0, who.public_key, body, who.sign(KIND, JOB, 0, body))
    try:
        applicants.take(PeerId(who.peer_id), signed, HEAD, seen_at)
    except Refused as error:
        return "too many apply from 8.8" not in str(error)
    return True


def test_a_flood_of_applications_from_one_range_takes_few_of_the_places() -> None:
    applicants = Applicants(verify)
    sybils = [Identity(bytes([k, 5]) * 16) for k in range(60)]
    taken = [apply(applicants, s, f"/ip4/8.8.4.{k}/tcp/1") for k, s in enumerate(sybils)]
    assert not all(taken)
    assert len(applicants._held) == RANGE_APPLICANTS
    turns = sorted((s.public_key for s in sybils), key=HEAD.door.turn)
    assert applicants._held.keys() == {*turns[:RANGE_APPLICANTS]}
    stranger = Identity(bytes([1, 6]) * 16)
    assert apply(applicants, stranger, "/ip4/9.9.9.9/tcp/1")
    assert stranger.public_key in applicants._held
    local = [Identity(bytes([k, 7]) * 16) for k in range(10)]
    assert all(apply(applicants, each, "/ip4/127.0.0.1/tcp/1") for each in local)
    spread = [apply(applicants, Identity(bytes([k, 8]) * 16), f"/ip4/8.8.{k}.1/tcp/1")
              for k in range(5, 60)]  # fmt: skip
    assert not all(spread)
    wide = [key for key, ranges in applicants._from.items() if Range("8.8.0.0/16", True) in ranges]
    assert len(wide) == WIDE_TIMES * RANGE_APPLICANTS


# Settings ---------------------------------------------------------------------------------------


def test_the_limits_are_set_in_peers_and_networks() -> None:
    text = '[limits]\nrange_peers = 8\ntrusted_ranges = ["203.0.113.0/24", "2001:db8::/32"]\n'
    limits = parse_node_config(text, {}).limits
    assert (limits.range_peers, limits.trusted_ranges[0]) == (8, "203.0.113.0/24")
    for wrong, says in (
        ("range_peers = 0", "limits.range_peers = 0 is refused"),
        ("range_peers = 4097", "less than or equal to 4096"),
        ('trusted_ranges = ["203.0.113.1/24"]', "is not a network such as 203.0.113.0/24"),
        ('trusted_ranges = ["example"]', "is not a network such as 203.0.113.0/24"),
    ):
        with pytest.raises(ConfigError, match=says):
            parse_node_config(f"[limits]\n{wrong}\n", {})
