# SPDX-License-Identifier: MIT
"""A real hivemind peer in a process of its own, driven by one JSON object a line on stdin; one answer a line on stdout.

Its own process, because hivemind hangs now and then: whoever drives it puts a time limit on every answer and can kill it.
Values cross as skep's JSON forms: {"$tuple": [...]}, {"$bytes": base64}, {"$uint": "..."}, {"$float": "inf"}.
"""
import base64
import json
import math
import os
import sys
import time
import traceback
from functools import partial

os.environ.setdefault("OMP_NUM_THREADS", "1")
answers = os.fdopen(os.dup(1), "w", buffering=1)  # libraries print to stdout
os.dup2(2, 1)

import hivemind  # noqa: E402
from expert_commands import ExpertCommands  # noqa: E402
from hivemind.dht.node import DHTNode  # noqa: E402
from hivemind.moe.client.beam_search import MoEBeamSearcher  # noqa: E402
from hivemind.moe.server import declare_experts, get_experts  # noqa: E402
from hivemind.p2p import PeerID  # noqa: E402
from hivemind.proto import dht_pb2  # noqa: E402
from hivemind.utils.timed_storage import ValueWithExpiration, get_dht_time  # noqa: E402


def decode(value):
    if isinstance(value, dict):
        if "$tuple" in value:
            return tuple(decode(v) for v in value["$tuple"])
        if "$bytes" in value:
            return base64.b64decode(value["$bytes"])
        if "$uint" in value:
            return int(value["$uint"])
        if "$float" in value:
            return float(value["$float"])
        return {k: decode(v) for k, v in value.items()}
    if isinstance(value, list):
        return [decode(v) for v in value]
    return value


def encode(value):
    if isinstance(value, tuple):
        return {"$tuple": [encode(v) for v in value]}
    if isinstance(value, bytes):
        return {"$bytes": base64.b64encode(value).decode()}
    if isinstance(value, bool) or value is None:
        return value
    if isinstance(value, int) and abs(value) > 2**53:
        return {"$uint": str(value)}
    if isinstance(value, float) and not math.isfinite(value):
        return {"$float": repr(value)}
    if isinstance(value, dict):
        return {str(k): encode(v) for k, v in value.items()}
    if isinstance(value, list):
        return [encode(v) for v in value]
    return value


async def ping_by_id(_dht, node: DHTNode, peer_id):
    """Call a peer known by nothing but its id: only p2pd's routing can find it."""
    request = dht_pb2.PingRequest(validate=False)
    answer = await node.protocol.get_stub(PeerID.from_base58(peer_id)).rpc_ping(request, timeout=20)
    return answer.peer.node_id.hex()


async def table(_dht, node: DHTNode):
    return [peer.to_base58() for peer in node.protocol.routing_table.peer_id_to_uid]


async def store_long(_dht, node: DHTNode, key, length, ttl):
    return await node.store(key, "z" * length, get_dht_time() + ttl)


async def get_long(_dht, node: DHTNode, key):
    found = await node.get(key)
    return found and [len(found.value), set(found.value) == {"z"}]


class Peer(ExpertCommands):
    def start(self, initial_peers=(), **options):
        self.dht = hivemind.DHT(initial_peers=list(initial_peers), start=True, startup_timeout=30, **options)
        return {"maddrs": [str(m) for m in self.dht.get_visible_maddrs()], "peer_id": self.dht.peer_id.to_base58()}

    def store(self, key, value, ttl, subkey=None):
        return bool(self.dht.store(key, decode(value), get_dht_time() + ttl, subkey=decode(subkey)))

    def get(self, key, latest=False):
        found = self.dht.get(key, latest=latest)
        if found is None:
            return None
        if isinstance(found.value, dict) and found.value and all(isinstance(v, ValueWithExpiration) for v in found.value.values()):
            rows = [[encode(k), encode(v.value), v.expiration_time] for k, v in found.value.items()]
            return {"dictionary": rows, "expiration": found.expiration_time}
        return {"value": encode(found.value), "expiration": found.expiration_time}

    def declare(self, uids, ttl):
        done = declare_experts(self.dht, uids, get_dht_time() + ttl)
        return sum(map(bool, done.values()))

    def experts(self, uids):
        return [e and e.peer_id.to_base58() for e in get_experts(self.dht, uids)]

    def find(self, prefix, grid, scores, beam, negative_caching=True):
        searcher = MoEBeamSearcher(self.dht, prefix, grid, negative_caching=negative_caching)
        scores = [[float(s) for s in row] for row in scores]
        return [[e.uid, e.peer_id.to_base58()] for e in searcher.find_best_experts(scores, beam)]

    def ping_by_id(self, peer_id):
        return self.dht.run_coroutine(partial(ping_by_id, peer_id=peer_id))

    # hivemind's own pipe to its DHT process breaks on messages above some 64 KiB, so long values are made and looked at inside.
    def store_long(self, key, length, ttl):
        return bool(self.dht.run_coroutine(partial(store_long, key=key, length=length, ttl=ttl)))

    def get_long(self, key):
        return self.dht.run_coroutine(partial(get_long, key=key))

    def table(self):
        return self.dht.run_coroutine(table)

    def shutdown(self):
        self.dht.shutdown()
        return True


def main():
    peer = Peer()
    for line in sys.stdin:
        command = json.loads(line)
        started = time.perf_counter()
        try:
            answer = {"ok": getattr(peer, command.pop("do"))(**command)}
        except Exception as error:  # noqa: BLE001 (the driver decides what it means)
            traceback.print_exc()
            answer = {"error": repr(error)}
        answer["seconds"] = time.perf_counter() - started
        print(json.dumps(answer), file=answers)


if __name__ == "__main__":
    main()
