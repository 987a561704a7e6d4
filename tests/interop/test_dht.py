# SPDX-License-Identifier: MIT
"""skep and hivemind in one DHT: joining either way, values of every type, dictionaries, expirations, deaths."""
import json
import time

import pytest

# Every msgpack type that hivemind writes, in the JSON forms of both command lines.
VALUES = [
    None, True, False, 0, 127, 128, 65536, 2**32, 2**53, -1, -32, -33, -2**31,
    {"$uint": "18446744073709551615"}, 1.5, -0.25, {"$float": "inf"}, {"$float": "-inf"},
    "", "text", "größe", "x" * 40, "y" * 300,
    {"$bytes": ""}, {"$bytes": "AAEC/w=="}, [], [1, "two", [3.5, None]], list(range(20)),
    {"$tuple": []}, {"$tuple": [1, {"$tuple": ["a", 2.5]}]}, {}, {"a": 1, "b": {"c": [1, 2]}},
]


@pytest.fixture(scope="module")
def pair(module_swarm):
    first = module_swarm.hivemind()
    node = module_swarm.node(join=[first])
    second = module_swarm.hivemind(join=[node])
    return module_swarm, first, node, second


def test_a_node_joins_through_hivemind_and_hivemind_through_the_node(pair):
    _, first, node, second = pair
    assert node.peer_id in first.do("table")
    assert node.peer_id in second.do("table")
    assert first.peer_id in second.do("table")


@pytest.mark.parametrize("value", VALUES, ids=lambda v: json.dumps(v)[:24])
def test_a_value_stored_by_hivemind_is_read_by_skep(pair, value):
    swarm, first, node, _ = pair
    key = "h " + json.dumps(value)[:40]
    assert first.do("store", key=key, value=value, ttl=60)
    got = swarm.skep("get", key, "--typed", join=[node])
    assert got["found"] and got["value"] == value
    assert got["expiration"] == pytest.approx(time.time() + 60, abs=15)


@pytest.mark.parametrize("value", VALUES, ids=lambda v: json.dumps(v)[:24])
def test_a_value_stored_by_skep_is_read_by_hivemind(pair, value):
    swarm, first, node, second = pair
    key = "s " + json.dumps(value)[:40]
    swarm.skep("store", key, "--ttl", "60", "--", json.dumps(value), join=[node])
    got = second.do("get", key=key)
    assert got["value"] == value
    assert got["expiration"] == pytest.approx(time.time() + 60, abs=15)


@pytest.mark.parametrize("length", [65535, 65536, 3 << 20])
def test_long_values_cross_both_ways(pair, length):
    swarm, first, node, second = pair
    assert first.do("store_long", key=f"long h {length}", length=length, ttl=60)
    assert swarm.skep("get", f"long h {length}", join=[node])["value"] == "z" * length
    if length < 100000:  # what fits on a command line
        swarm.skep("store", f"long s {length}", json.dumps("z" * length), "--ttl", "60", join=[node])
        assert second.do("get_long", key=f"long s {length}") == [length, True]


def test_dictionaries_gather_subkeys_from_both_sides(pair):
    swarm, first, node, second = pair
    assert first.do("store", key="both", subkey="from hivemind", value=[1], ttl=60)
    swarm.skep("store", "both", "2.5", "--subkey", "from skep", "--ttl", "50", join=[node])
    assert second.do("store", key="both", subkey=7, value="seven", ttl=40)
    swarm.skep("store", "both", '{"$tuple": ["a", 1]}', "--subkey-json", "-3", "--ttl", "30", join=[first])
    want = {'"from hivemind"': [1], '"from skep"': 2.5, "7": "seven", "-3": {"$tuple": ["a", 1]}}
    theirs = second.do("get", key="both", latest=True)["dictionary"]
    ours = swarm.skep("get", "both", "--latest", "--typed", join=[first])["dictionary"]
    assert {json.dumps(k): v for k, v, _ in theirs} == want
    assert {json.dumps(row["subkey"]): row["value"] for row in ours} == want


def test_expirations_are_honoured_by_both(pair):
    swarm, first, node, second = pair
    assert first.do("store", key="short h", value=1, ttl=3)
    swarm.skep("store", "short s", "1", "--ttl", "3", join=[node])
    assert swarm.skep("get", "short h", join=[node])["found"]
    assert second.do("get", key="short s")["value"] == 1
    time.sleep(3.5)
    assert not swarm.skep("get", "short h", join=[node], code=1)["found"]
    assert first.do("get", key="short s") is None


def test_a_later_value_wins_over_an_earlier_one(pair):
    swarm, first, node, second = pair
    assert first.do("store", key="race", value="old", ttl=30)
    swarm.skep("store", "race", '"new"', "--ttl", "60", join=[node])
    assert second.do("get", key="race", latest=True)["value"] == "new"
    assert swarm.skep("get", "race", "--latest", join=[node])["value"] == "new"


def test_a_missing_key_is_not_found(pair):
    swarm, _, node, _ = pair
    assert swarm.skep("get", "nobody has this", join=[node], code=1)["found"] is False


def test_ping_reaches_hivemind_and_skep(pair):
    swarm, first, node, _ = pair
    for peer in (first, node):
        assert swarm.skep("ping", peer.maddrs[0], "--count", "3")


def test_hivemind_calls_a_node_it_knows_by_id_only(swarm):
    hub = swarm.hivemind()
    node = swarm.node(join=[hub])
    stranger = swarm.hivemind(join=[hub])
    assert len(stranger.do("ping_by_id", peer_id=node.peer_id)) == 40


def test_skep_calls_a_hivemind_peer_it_knows_by_id_only(swarm):
    hub = swarm.node()
    peer = swarm.hivemind(join=[hub])
    hub_id = hub.maddrs[0].rsplit("/p2p/", 1)[1]
    assert hub_id != peer.peer_id
    assert swarm.skep("ping", f"/p2p/{peer.peer_id}", join=[hub])
    assert swarm.skep("ping", f"/p2p/{hub.peer_id}", join=[peer])


def test_hivemind_keeps_its_identity_when_its_machine_changes_to_skep(swarm, tmp_path):
    path = tmp_path / "identity"
    peer = swarm.hivemind(identity_path=str(path))
    path.chmod(0o600)
    assert swarm.skep("id", "--identity", path)["peer_id"] == peer.peer_id
    peer.do("shutdown")
    node = swarm.node("--identity", str(path))
    assert node.peer_id == peer.peer_id
    other = swarm.hivemind(join=[node])
    assert node.peer_id in other.do("table")


def test_bad_initial_peers_among_good_ones_do_not_stop_a_node(swarm):
    good = swarm.hivemind()
    bad = type(good).__new__(type(good))
    bad.maddrs = ["/ip4/127.0.0.1/tcp/1/p2p/12D3KooWA4Xop1JaT3MHxwYMkCepYsv4iPVopMXwCz5iHYdBfeSB"]
    node = swarm.node(join=[bad, good])
    assert node.peer_id in good.do("table")


def test_a_mixed_swarm_survives_the_death_of_half_its_peers(swarm):
    peers = [swarm.hivemind()]
    for i in range(1, 8):
        peers.append((swarm.node if i % 2 else swarm.hivemind)(join=[peers[0]]))
    keys = [f"kept {i}" for i in range(24)]
    for i, key in enumerate(keys):
        if i % 2:
            swarm.skep("store", key, str(i), "--ttl", "300", join=[peers[1]])
        else:
            assert peers[2].do("store", key=key, value=i, ttl=300)
    for dead in (peers[4], peers[5], peers[6], peers[7]):
        dead.kill()
    found = swarm.skep("get", *keys, join=[peers[3], peers[1]], timeout=120)
    assert {row["key"]: row.get("value") for row in found} == {key: i for i, key in enumerate(keys)}
    assert [peers[2].do("get", key=key)["value"] for key in keys] == list(range(24))
