# SPDX-License-Identifier: MIT
"""hivemind's half of the benchmark: eight DHT peers (a process and a daemon each) and a ninth that searches.

Prints one JSON object with every figure in seconds (or bytes). run.py gives it the same experts and scores as skep's half.
usage: hivemind_side.py WORK_FOLDER RESULT_FILE
"""
import json
import os
import random
import signal
import subprocess
import sys
import time

os.environ["OMP_NUM_THREADS"] = "1"

import hivemind  # noqa: E402
import numpy as np  # noqa: E402
from hivemind.dht.storage import DHTLocalStorage  # noqa: E402
from hivemind.moe.client.beam_search import MoEBeamSearcher  # noqa: E402
from hivemind.moe.server import declare_experts  # noqa: E402
from hivemind.utils.timed_storage import get_dht_time  # noqa: E402

PORTION = 64
START = """
import time, sys
t = time.perf_counter()
import hivemind
imported = time.perf_counter() - t
t = time.perf_counter()
dht = hivemind.DHT(initial_peers=sys.argv[1:], start=True, client_mode=True)
dht.get("nobody has this key")
print(time.perf_counter() - t, imported)
dht.shutdown()
"""


def percentile(values, share):
    return sorted(values)[min(len(values) - 1, int(len(values) * share))]


def spread(values):
    return {"median": percentile(values, 0.5), "p95": percentile(values, 0.95), "count": len(values)}


def note(text):
    print(f"hivemind: {text}", file=sys.stderr, flush=True)


def timed(function, *args, **kwargs):
    started = time.perf_counter()
    function(*args, **kwargs)
    return time.perf_counter() - started


def private_bytes(pid):
    total = {"private": 0, "resident": 0}
    with open(f"/proc/{pid}/smaps_rollup") as rollup:
        for line in rollup:
            if line.startswith("Private_"):
                total["private"] += int(line.split()[1]) * 1024
            elif line.startswith("Rss:"):
                total["resident"] += int(line.split()[1]) * 1024
    return total


def children(pid):
    out = subprocess.run(["ps", "-o", "pid=", "--ppid", str(pid)], capture_output=True, text=True)
    return [int(p) for p in out.stdout.split()]


async def empty_caches(_dht, node):
    node.protocol.cache = DHTLocalStorage()
    node.cache_refresh_queue.clear()


def batch(folder, maddrs):
    """A fresh searcher's first batch of four."""
    examples = np.load(f"{folder}/batch.npy")[:4]
    dht = hivemind.DHT(initial_peers=maddrs, start=True, client_mode=True, startup_timeout=60)
    searcher = MoEBeamSearcher(dht, "expert.", [examples.shape[2]] * examples.shape[1])
    searcher.find_best_experts([row.tolist() for row in examples[0]], beam_size=4)
    dht.run_coroutine(empty_caches)
    rows = [[example[d].tolist() for example in examples] for d in range(examples.shape[1])]
    print(timed(searcher.batch_find_best_experts, rows, beam_size=4) / len(examples), flush=True)
    dht.shutdown()


def batch_in_a_child(folder, maddrs, tries=5):
    """Even four examples kill the DHT process now and then; then the child hangs and is ended."""
    for _ in range(tries):
        child = subprocess.Popen([sys.executable, __file__, "batch", folder, *maddrs], stdout=subprocess.PIPE, text=True, start_new_session=True)
        try:
            out, _ = child.communicate(timeout=40)
            return float(out.split()[0])
        except (subprocess.TimeoutExpired, IndexError, ValueError):
            note("the batch of four hung")
            os.killpg(child.pid, signal.SIGKILL)
            child.wait()
    return None


def main():
    if sys.argv[1] == "batch":
        return batch(sys.argv[2], sys.argv[3:])
    folder, result_file = sys.argv[1:3]
    uids = open(f"{folder}/experts.txt").read().split()
    scores = np.load(f"{folder}/scores.npy")  # [searches, dims, size]
    grid = [scores.shape[2]] * scores.shape[1]
    result = {}

    peers = [hivemind.DHT(start=True, startup_timeout=60)]
    maddrs = [str(m) for m in peers[0].get_visible_maddrs()]
    for _ in range(7):
        peers.append(hivemind.DHT(initial_peers=maddrs, start=True, startup_timeout=60))
    peer_pids = [p.pid for p in peers]
    python = [private_bytes(pid) for pid in peer_pids]
    daemons = [private_bytes(child) for pid in peer_pids for child in children(pid)]
    # A daemon that is not its DHT process's child is the starter's.
    daemons = daemons or [private_bytes(c) for c in children(os.getpid()) if c not in peer_pids]
    for kind in ("private", "resident"):
        result[f"peer_{kind}"] = (sum(p[kind] for p in python) + sum(d[kind] for d in daemons)) / len(peers)

    dht = hivemind.DHT(initial_peers=maddrs, start=True, client_mode=True, startup_timeout=60)
    note("declaring")
    searcher = MoEBeamSearcher(dht, "expert.", grid)
    # In portions: one call with all of them kills the DHT process, and its caller waits for ever.
    portions = [uids[i : i + PORTION] for i in range(0, len(uids), PORTION)]
    result["declare_per_s"] = len(uids) / sum(timed(declare_experts, peers[0], part, get_dht_time() + 3600) for part in portions)

    def search(rows):
        return searcher.find_best_experts([row.tolist() for row in rows], beam_size=4)

    note("searching")
    search(scores[0])
    cold = []
    for rows in scores:
        dht.run_coroutine(empty_caches)
        cold.append(timed(search, rows))
    result["search_cold"] = spread(cold)
    dht.run_coroutine(empty_caches)
    result["search_warming"] = spread([timed(search, rows) for rows in scores])
    search(scores[0])
    result["search_again"] = spread([timed(search, scores[0]) for _ in range(len(scores))])

    note("batch")
    result["batch_per_example"] = batch_in_a_child(folder, maddrs)

    note("storing")
    rng = random.Random(1)
    keys = [f"bench {rng.random()}" for _ in range(100)]
    stores = [timed(peers[0].store, key, i, get_dht_time() + 3600) for i, key in enumerate(keys)]
    result["store"] = spread([timed(dht.store, f"s {key}", i, get_dht_time() + 3600) for i, key in enumerate(keys)])
    del stores
    dht.run_coroutine(empty_caches)
    result["get_remote"] = spread([timed(dht.get, key) for key in keys])
    result["get_held"] = spread([timed(dht.get, keys[0]) for _ in range(100)])
    result["get_missing"] = spread([timed(dht.get, f"missing {key}") for key in keys])

    note("starting")
    starts = []
    for _ in range(3):
        out = subprocess.run([sys.executable, "-c", START, *maddrs], capture_output=True, text=True, timeout=120)
        starts.append(float(out.stdout.split()[0]))
    result["start"] = spread(starts)

    result["maddrs"] = maddrs
    with open(result_file, "w") as file:
        json.dump(result, file)
    print("ready", flush=True)
    sys.stdin.read()  # the swarm stays for skep's client until run.py has measured it
    for peer in [dht, *peers]:
        peer.shutdown()


if __name__ == "__main__":
    main()
