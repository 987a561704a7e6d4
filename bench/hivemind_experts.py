# SPDX-License-Identifier: MIT
"""hivemind's half of the experts' benchmark: a server process, a client process, loopback, one thread each.

Prints one JSON object: every figure is {"min", "median", "max", "count"} in seconds, but for those that say otherwise.
usage: hivemind_experts.py [--mixture-batch 256] [--quick] [--only NAME …] RESULT_FILE
(What the others are called with: "server CLASS COUNT MADDR…", "mixture CLASS BATCH MADDR…".)

hivemind gets its best: run.py takes OpenBLAS's own variables out of the environment, torch runs one thread, no search repeats.
"""
import argparse
import json
import os
import signal
import subprocess
import sys
import threading
import time

os.environ["OMP_NUM_THREADS"] = "1"
for name in ("OPENBLAS_CORETYPE", "OPENBLAS_L2_SIZE"):  # read by OpenBLAS as it is loaded; made for another processor, they slow it down
    os.environ.pop(name, None)

import hivemind  # noqa: E402
import torch  # noqa: E402
from hivemind.moe.client.expert import RemoteExpert, create_remote_experts  # noqa: E402
from hivemind.moe.client.moe import RemoteMixtureOfExperts  # noqa: E402
from hivemind.moe.expert_uid import ExpertInfo  # noqa: E402
from hivemind.moe.server import Server  # noqa: E402
from hivemind.moe.server.layers import name_to_block  # noqa: E402
from hivemind.p2p import PeerID  # noqa: E402

HIDDEN = 1024
BATCHES = (1, 64, 2048)
CALLERS = 64
GRID = (8, 8)  # 64 experts on 4 servers
SERVERS = 4
HANDLERS = 8  # a server's default for one expert
REPEATS = {("nop", 1): 200, ("nop", 64): 100, ("nop", 2048): 15, ("ffn", 1): 60, ("ffn", 64): 40, ("ffn", 2048): 5}

torch.set_num_threads(1)


def note(text):
    print(f"hivemind: {text}", file=sys.stderr, flush=True)


def spread(seconds):
    seconds = sorted(seconds)
    return {"min": seconds[0], "median": seconds[len(seconds) // 2], "max": seconds[-1], "count": len(seconds)}


def repeat(count, function, *args):
    """@return what `count` calls took, after one that does not count."""
    function(*args)
    return spread([timed(function, *args) for _ in range(count)])


def timed(function, *args):
    started = time.perf_counter()
    function(*args)
    return time.perf_counter() - started


# ---- servers ----


def serve(kind, uids, handlers, maddrs):
    """One line when it has started, then until stdin ends."""
    answers = os.fdopen(os.dup(1), "w", buffering=1)
    os.dup2(2, 1)  # libraries print to stdout
    started = time.perf_counter()  # CLOCK_MONOTONIC: the client compares with it
    server = Server.create(
        expert_uids=uids, expert_cls=kind, hidden_dim=HIDDEN, optim_cls=torch.optim.Adam, num_handlers=handlers,
        initial_peers=maddrs, device="cpu", max_batch_size=16384, start=True, startup_timeout=60,
    )  # fmt: skip
    ready = {"peer_id": server.dht.peer_id.to_base58(), "maddrs": [str(m) for m in server.dht.get_visible_maddrs()], "started": started}
    print(json.dumps(ready), file=answers)
    sys.stdin.read()
    os.killpg(0, signal.SIGKILL)  # a shutdown of hivemind takes seconds, or for ever


class Served:
    """A server in a process group of its own."""

    def __init__(self, kind, uids, maddrs, handlers=HANDLERS):
        self.spawned = time.perf_counter()
        argv = [sys.executable, __file__, "server", kind, ",".join(uids), str(handlers), *maddrs]
        self.child = subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, start_new_session=True)
        self.uids = uids

    def wait(self, seconds=120):
        timer = threading.Timer(seconds, self.end)
        timer.start()
        line = self.child.stdout.readline()
        timer.cancel()
        if not line:
            raise RuntimeError("the server did not start")
        for name, value in json.loads(line).items():
            setattr(self, name, value)
        return self

    def experts(self, dht):
        peer = PeerID.from_base58(self.peer_id)
        return create_remote_experts([ExpertInfo(uid, peer) for uid in self.uids], dht)

    def end(self):
        try:
            os.killpg(self.child.pid, signal.SIGKILL)
        except ProcessLookupError:
            pass
        self.child.wait()


# ---- one expert ----


def forward(expert, x):
    with torch.no_grad():
        return expert(x)


def backward_times(expert, batch, count):
    """Of the backward alone; the server computes the forward again, and takes a step."""
    grad = torch.randn(batch, HIDDEN)
    took = []
    for _ in range(count + 1):
        x = torch.randn(batch, HIDDEN, requires_grad=True)
        y = expert(x)
        took.append(timed(y.backward, grad))
    return spread(took[1:])


def local_forward(batch, count):
    block, x = name_to_block["ffn"](HIDDEN), torch.randn(batch, HIDDEN)
    return repeat(count, forward, block, x)


def local_product(batch, count):
    """One product of the ffn: [batch, 1024] x [1024, 4096]."""
    x, w = torch.randn(batch, HIDDEN), torch.randn(4 * HIDDEN, HIDDEN)
    return repeat(count, lambda: torch.mm(x, w.T))


def callers(expert, rounds):
    """@return samples a second of 64 threads with a batch of 1 each, several times."""
    x = [torch.randn(1, HIDDEN) for _ in range(CALLERS)]
    barrier = threading.Barrier(CALLERS + 1)

    def call(i):
        forward(expert, x[i])
        barrier.wait()
        for _ in range(rounds):
            forward(expert, x[i])
        barrier.wait()

    threads = [threading.Thread(target=call, args=(i,), daemon=True) for i in range(CALLERS)]
    for thread in threads:
        thread.start()
    barrier.wait(60)
    started = time.perf_counter()
    barrier.wait(120)
    rate = CALLERS * rounds / (time.perf_counter() - started)
    for thread in threads:
        thread.join()
    return rate


def measure_class(kind, dht, maddrs, result, scale):
    served = Served(kind, [f"{kind}.0"], maddrs)
    try:
        (expert,) = served.wait().experts(dht)
        assert isinstance(expert, RemoteExpert)
        for batch in BATCHES:
            count = max(3, REPEATS[kind, batch] // scale)
            result[f"{kind}_forward_{batch}"] = repeat(count, forward, expert, torch.randn(batch, HIDDEN))
            note(f"{kind} forward {batch}: {result[f'{kind}_forward_{batch}']}")
            if kind == "ffn":
                result[f"ffn_backward_{batch}"] = backward_times(expert, batch, max(3, count * 2 // 3))
                note(f"ffn backward {batch}: {result[f'ffn_backward_{batch}']}")
        result[f"{kind}_callers_per_s"] = spread([callers(expert, 10 if kind == "nop" else 4) for _ in range(3)])
        note(f"{kind} {CALLERS} callers: {result[f'{kind}_callers_per_s']}")
    finally:
        served.end()


def measure_start(dht, maddrs, result, count):
    """From the call that makes a server (its Python is imported already) to the first answer; and from the process's start."""
    from_call, from_process, x = [], [], torch.randn(1, HIDDEN)
    for i in range(count):
        served = Served("ffn", [f"start{i}.0"], maddrs)
        try:
            (expert,) = served.wait().experts(dht)
            forward(expert, x)
            now = time.perf_counter()
            from_call.append(now - served.started)
            from_process.append(now - served.spawned)
        finally:
            served.end()
    result["start"], result["start_process"] = spread(from_call), spread(from_process)
    note(f"start: {result['start']}, of a process {result['start_process']}")


# ---- mixture ----


def mixture(kind, batch, maddrs):
    """In a process of its own: it dies, or waits for ever, on batches that are too large for it."""
    dht = hivemind.DHT(initial_peers=maddrs, start=True, client_mode=True, startup_timeout=60)
    moe = RemoteMixtureOfExperts(in_features=HIDDEN, grid_size=GRID, dht=dht, uid_prefix=f"{kind}.", k_best=4)
    x = torch.randn(batch, HIDDEN)
    with torch.no_grad():
        moe(x[:2])
        took = [timed(moe, x) for _ in range(3)]
    print(json.dumps({"forward": spread(took)}), flush=True)
    os.killpg(0, signal.SIGKILL)


def mixture_in_a_child(kind, batch, maddrs, seconds):
    argv = [sys.executable, __file__, "mixture", kind, str(batch), *maddrs]
    child = subprocess.Popen(argv, stdout=subprocess.PIPE, text=True, start_new_session=True)
    try:
        out, _ = child.communicate(timeout=seconds)
        return json.loads(out.splitlines()[-1])
    except (subprocess.TimeoutExpired, IndexError, ValueError):
        note(f"a mixture of {kind} with a batch of {batch} did not come back within {seconds} s")
        return None
    finally:
        try:
            os.killpg(child.pid, signal.SIGKILL)
        except ProcessLookupError:
            pass
        child.wait()


def measure_mixture(kind, dht, maddrs, result, batch, seconds):
    """The largest power of two, not above `batch`, that comes back; three tries each: now and then the DHT process dies of one more message in its pipe."""
    uids = [f"{kind}.{i}.{j}" for i in range(GRID[0]) for j in range(GRID[1])]
    servers = []
    try:
        for i in range(SERVERS):
            servers.append(Served(kind, uids[i::SERVERS], maddrs).wait())
        deadline = time.monotonic() + 60
        while len([uid for uid in uids if dht.get(uid, latest=True)]) < len(uids) and time.monotonic() < deadline:
            time.sleep(1)
        while batch > 0:
            found = next(filter(None, (mixture_in_a_child(kind, batch, maddrs, seconds) for _ in range(3))), None)
            if found:
                result[f"mixture_{kind}"] = {"batch": batch, **found}
                note(f"mixture of {kind}: {result[f'mixture_{kind}']}")
                return
            batch //= 2
        result[f"mixture_{kind}"] = None
    finally:
        for served in servers:
            served.end()


def main():
    options = argparse.ArgumentParser()
    options.add_argument("--mixture-batch", type=int, default=256)
    options.add_argument("--mixture-seconds", type=int, default=45)
    options.add_argument("--quick", action="store_true", help="a fifth of the calls")
    options.add_argument("--only", nargs="*", default=["local", "nop", "ffn", "start", "mixture_nop", "mixture_ffn"])
    options.add_argument("result_file")
    options = options.parse_args()
    scale, result = (5 if options.quick else 1), {}

    if "local" in options.only:
        for batch in BATCHES:
            result[f"local_forward_{batch}"] = local_forward(batch, 100 if batch < 2048 else 3)
            result[f"local_product_{batch}"] = local_product(batch, 100 if batch < 2048 else 3)
            note(f"local {batch}: {result[f'local_forward_{batch}']}, product {result[f'local_product_{batch}']}")
    dht = hivemind.DHT(start=True, startup_timeout=60)
    maddrs = [str(m) for m in dht.get_visible_maddrs()]
    for kind in ("nop", "ffn"):
        if kind in options.only:
            measure_class(kind, dht, maddrs, result, scale)
    if "start" in options.only:
        measure_start(dht, maddrs, result, 2 if options.quick else 3)
    for kind in ("nop", "ffn"):
        if f"mixture_{kind}" in options.only:
            measure_mixture(kind, dht, maddrs, result, options.mixture_batch, options.mixture_seconds)
    with open(options.result_file, "w") as file:
        json.dump(result, file)
    print("ready", flush=True)
    if os.getpgrp() == os.getpid():
        os.killpg(0, signal.SIGKILL)  # a shutdown of hivemind takes seconds, or for ever
    os._exit(0)


if __name__ == "__main__":
    if len(sys.argv) > 1 and sys.argv[1] == "server":
        serve(sys.argv[2], sys.argv[3].split(","), int(sys.argv[4]), sys.argv[5:])
    elif len(sys.argv) > 1 and sys.argv[1] == "mixture":
        mixture(sys.argv[2], int(sys.argv[3]), sys.argv[4:])
    else:
        main()
