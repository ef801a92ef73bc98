import contextlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from node.config import check_multiaddr, parse_node_config, split_peer_address
from node.errors import ConfigError

PEER = "12D3KooWDpJ7As7BWAwRMfu1VU2WCqNjvq387JEYKDBj4kx6nXTN"


def test_an_empty_file_gives_a_private_node_on_loopback() -> None:
    config = parse_node_config("", {})
    assert config.listen == ("/ip4/127.0.0.1/tcp/0",)
    assert config.join == ()
    assert config.serve == "listed"
    assert config.limits.peers_max == 256


def test_overrides_win_over_the_file_and_fall_back_to_text() -> None:
    text = 'swarm = "a"\nthreads = 4\n[limits]\npeers_max = 100\n'
    overrides = {
        "limits.peers_max": "200",
        "swarm": "lab-7",
        "data": "/srv/artel",
        "join": f'["/ip4/203.0.113.7/tcp/9/p2p/{PEER}"]',
        "relay": "true",
    }
    config = parse_node_config(text, overrides)
    assert (config.swarm, config.threads, config.limits.peers_max) == ("lab-7", 4, 200)
    assert str(config.data) == "/srv/artel"
    assert config.relay
    assert config.join == (f"/ip4/203.0.113.7/tcp/9/p2p/{PEER}",)


def test_all_problems_are_told_at_once_with_key_value_and_what_is_allowed() -> None:
    text = 'nope = 1\nthreads = 0\nrelay = "yes"\nlisten = ["here"]\n[limits]\npeers = 2\n'
    with pytest.raises(ConfigError) as caught:
        parse_node_config(text, {}, source="node.toml")
    problems = str(caught.value).split("; node.toml: ")
    assert len(problems) == 5
    said = str(caught.value)
    assert "node.toml: threads = 0 is refused: it should be greater than or equal to 1" in said
    assert "relay = 'yes' is refused: it should be a valid boolean" in said
    assert "listen.0 = 'here' is refused" in said
    assert "limits.peers is not a setting; known here: peers_max" in said
    assert "nope is not a setting; known here: address_file, announce" in said


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("swarm", "Upper"),
        ("swarm", "x" * 33),
        ("swarm", "a\\nb"),
        ("listen", "[]"),
        ("listen", f'["/ip4/127.0.0.1/tcp/0/p2p/{PEER}"]'),
        ("join", '["/ip4/127.0.0.1/tcp/9"]'),
        ("join", f'["{PEER}"]'),
        ("serve", "some"),
        ("device", "tpu"),
        ("threads", "1.5"),
        ("threads", "true"),
        ("failpoint", "commit"),
        ("failpoint", "commit@0"),
        ("attack", "sign_flip:"),
        ("attack", "sign_flip:nan"),
        ("attack", "sign_flip:1e999"),
        ("attack", "a b"),
        ("limits.peers_max", "63"),
        ("limits", "3"),
        ("threads.x", "1"),
        ("limits.", "1"),
    ],
)
def test_a_setting_out_of_range_is_refused(key: str, value: str) -> None:
    with pytest.raises(ConfigError, match=key.split(".")[0]):
        parse_node_config("threads = 1\n", {key: value})


@pytest.mark.parametrize("value", ["sign_flip", "sign_flip:3", "huge:-1.5e3"])
def test_an_attack_is_a_name_with_an_optional_scale(value: str) -> None:
    assert parse_node_config("", {"attack": value}).attack == value


def test_an_override_cannot_smuggle_in_another_key() -> None:
    with pytest.raises(ConfigError, match="threads"):
        parse_node_config("", {"threads": "1\nrelay = true"})


@pytest.mark.parametrize("key", ["", "limits.", ".x"])
def test_an_override_without_a_key_is_refused(key: str) -> None:
    with pytest.raises(ConfigError, match="is not a key"):
        parse_node_config("", {key: "1"})


def test_a_text_that_is_not_toml_is_refused_with_its_name() -> None:
    with pytest.raises(ConfigError, match=r"node\.toml is not TOML"):
        parse_node_config("a = ", {}, source="node.toml")
    with pytest.raises(ConfigError, match="is not TOML"):
        parse_node_config("a = " + "[" * 100_000, {})


@pytest.mark.parametrize(
    "address",
    [
        "/ip4/203.0.113.7/tcp/31330",
        "/ip6/::1/udp/4001/quic-v1",
        "/dns4/node.example.org/tcp/443/wss",
        f"/ip4/203.0.113.7/tcp/80/p2p/{PEER}/p2p-circuit",
        "/memory/7",
    ],
)
def test_an_address_that_nodes_can_dial_is_taken(address: str) -> None:
    assert check_multiaddr(address) == address
    assert split_peer_address(f"{address}/p2p/{PEER}") == (PEER, address)


@pytest.mark.parametrize(
    "address",
    [
        "",
        "/",
        "//",
        "127.0.0.1:80",
        "/tcp/80",
        "/ip4",
        "/ip4/",
        "/ip4/1.2.3/tcp/1",
        "/ip4/1.2.3.4/tcp",
        "/ip4/1.2.3.4/tcp/65536",
        "/ip4/1.2.3.4/tcp/-1",
        "/ip4/1.2.3.4/tcp/\uff11",
        "/ip4/1.2.3.4/tcp/80/",
        "/ip4/1.2.3.4/tcp/80\n",
        "/ip6/fe80::1%eth0/tcp/1",
        "/unix/tmp/socket",
        "/dns/a b/tcp/1",
        "/dns/-a/tcp/1",
        "/dns/" + "a" * 300 + "/tcp/1",
    ],
)
def test_any_other_address_is_refused(address: str) -> None:
    with pytest.raises(ValueError, match=r"multiaddr|characters"):
        check_multiaddr(address)


@given(st.text(alphabet="/ip4dns6.:tcpquic-0129ab%", max_size=300))
def test_no_address_raises_anything_but_value_error(text: str) -> None:
    with contextlib.suppress(ValueError):
        assert check_multiaddr(text) == text
