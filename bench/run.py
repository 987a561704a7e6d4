# SPDX-License-Identifier: MIT
"""hivemind and skep on the same work, in one go: each figure for both, the spread over the runs, and the ratio.

usage: build/venv/bin/python bench/run.py [--part swarm|experts] [--runs 3] [--searches 200] [--json FILE]

Two parts: the swarm, here, and the experts in it, in experts.py. The swarm: 8 peers, each a process of its own (hivemind: with its daemon), 4,096 random experts on 256x256x256; a ninth, a client, searches with
beam 4. Runs of the two sides alternate. hivemind hangs by itself now and then: a run that passes its time limit is ended and made again.
"""
import argparse
import datetime
import json
import os
import pathlib
import platform
import signal
import statistics
import subprocess
import sys
import tempfile
import time

import experts
import numpy as np

ROOT = pathlib.Path(__file__).resolve().parents[1]
BUILD = ROOT / "build"
GRID = (256, 256, 256)

# figure, its text, what is asked of it, unit: factor and name
ROWS = [
    ("search_cold", "median", "search, fresh scores, caches emptied: median", 30),
    ("search_cold", "p95", "search, fresh scores, caches emptied: 95th percentile", 30),
    ("search_warming", "median", "search, fresh scores, caches warming: median", 30),
    ("search_warming", "p95", "search, fresh scores, caches warming: 95th percentile", 30),
    ("search_again", "median", "the same search again", 200),
    ("batch", None, "batch of 256 (hivemind: 4), per example", 100),
    ("get_remote", "median", "get of a key the node does not hold", 12),
    ("get_held", "median", "get of a key it holds", 50),
    ("store", "median", "store", 15),
    ("get_missing", "median", "get of a missing key", 15),
    ("declare", None, "declare one expert, on all replicas", 100),
    ("start", "median", "start to first answered call", None),
]


def log(text):
    if sys.stderr.isatty() or os.environ.get("BENCH_VERBOSE"):
        print(text, file=sys.stderr, flush=True)


def make_work(folder, experts, searches):
    rng = np.random.default_rng(1)
    coordinates = set()
    while len(coordinates) < experts:
        coordinates.add(tuple(int(c) for c in rng.integers(0, GRID)))
    (folder / "experts.txt").write_text("".join(f"expert.{a}.{b}.{c}\n" for a, b, c in sorted(coordinates)))
    for name, count in (("scores", searches), ("batch", 4096)):
        scores = rng.standard_normal((count, *[len(GRID), GRID[0]])).astype(np.float32)
        np.save(folder / f"{name}.npy", scores)
        scores.tofile(folder / f"{name}.f32")


class Child:
    def __init__(self, argv, **kwargs):
        self.log = open(BUILD / "bench.log", "a")
        self.popen = subprocess.Popen(
            argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=self.log, text=True, start_new_session=True, **kwargs
        )

    def line(self, seconds):
        signal.alarm(seconds)
        try:
            line = self.popen.stdout.readline()
        finally:
            signal.alarm(0)
        if not line:
            raise RuntimeError(f"{self.popen.args[0]} ended with {self.popen.wait()}; see build/bench.log")
        return line.strip()

    def end(self):
        try:
            os.killpg(self.popen.pid, signal.SIGKILL)
        except ProcessLookupError:
            pass
        self.popen.wait()
        self.log.close()


def on_alarm(_signal, _frame):
    raise TimeoutError("no answer in time")


def memory(pid):
    total = {"private": 0, "resident": 0}
    for line in pathlib.Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
        if line.startswith("Private_"):
            total["private"] += int(line.split()[1]) * 1024
        elif line.startswith("Rss:"):
            total["resident"] += int(line.split()[1]) * 1024
    return total


def run_hivemind(folder, tries=3):
    """@return its figures, and those of a skep client in its swarm."""
    for attempt in range(tries):
        result_file = folder / "hivemind.json"
        result_file.unlink(missing_ok=True)
        child = Child([sys.executable, str(ROOT / "bench" / "hivemind_side.py"), str(folder), str(result_file)],
                      env=dict(os.environ, OMP_NUM_THREADS="1"))
        try:
            child.line(420)
            result = json.loads(result_file.read_text())
            if result["batch_per_example"] is None:
                raise RuntimeError("its batch of four never came back")
            client = skep_search(folder, result["maddrs"])
            return result, client
        except (TimeoutError, RuntimeError) as error:
            log(f"hivemind run {attempt + 1} ended: {error}")
        finally:
            child.end()
    raise SystemExit("bench: hivemind did not finish in three tries; see build/bench.log")


def skep_search(folder, maddrs, **env):
    argv = [str(BUILD / "bench" / "bench_swarm"), "search", str(folder), *maddrs]
    done = subprocess.run(argv, capture_output=True, text=True, timeout=300, env=dict(os.environ, **env))
    if done.returncode != 0:
        raise RuntimeError(done.stderr)
    return json.loads(done.stdout)


def run_skep(folder):
    peers = []
    try:
        for _ in range(7):
            join = [part for peer in peers[:1] for part in ("--join", peer.maddr)]
            peer = Child([str(BUILD / "skep"), "node", "--listen", "/ip4/127.0.0.1/tcp/0", *join])
            peers.append(peer)
            peer.maddr = peer.line(20)
        idle = [memory(peer.popen.pid) for peer in peers]  # before any record
        declarer = Child([str(BUILD / "bench" / "bench_swarm"), "declare", str(folder), peers[0].maddr])
        peers.append(declarer)
        declared = json.loads(declarer.line(120))
        time.sleep(1)
        idle = [memory(peer.popen.pid) for peer in peers[:7]] if os.environ.get("BENCH_LOADED") else idle
        maddrs = [peer.maddr for peer in peers[:7]]
        result = skep_search(folder, maddrs, BENCH_PEER=declared["peer"])
        result["threaded"] = skep_search(folder, maddrs, BENCH_PEER=declared["peer"], BENCH_THREAD="1")
        start = subprocess.run([str(BUILD / "bench" / "bench_swarm"), "start", maddrs[0]], capture_output=True, text=True, timeout=60, check=True)
        result["start"] = json.loads(start.stdout)["start"]
        result["declare_per_s"] = declared["declare_per_s"]
        for kind in ("private", "resident"):
            result[f"peer_{kind}"] = statistics.mean(m[kind] for m in idle)
        return result
    finally:
        for peer in peers:
            peer.end()


def stream_figures():
    done = subprocess.run([str(BUILD / "bench" / "bench_stream")], capture_output=True, text=True, timeout=120)
    return done.stdout.strip() if done.returncode == 0 else f"failed: {done.stderr.strip()}"


def value(result, figure, part, side):
    if figure == "batch":
        return result["batch_per_example"] if side == "hivemind" else result["batch_256_per_example"]["median"]
    if figure == "declare":
        return 1 / result["declare_per_s"]
    return result[figure][part]


def duration(seconds):
    if seconds >= 1:
        return f"{seconds:.2f} s"
    return f"{seconds * 1e3:.3g} ms" if seconds >= 1e-3 else f"{seconds * 1e6:.3g} µs"


def spread(values):
    return f"{duration(statistics.median(values))} ({duration(min(values))} … {duration(max(values))})"


def print_table(runs, threaded_row):
    print(f"| work | hivemind 1.1.12: median (min … max) | skep | ratio | goal |\n|---|---|---|---|---|")
    for figure, part, text, asked in ROWS:
        theirs = [value(h, figure, part, "hivemind") for h, _, _ in runs]
        ours = [value(s, figure, part, "skep") for _, s, _ in runs]
        ratio = statistics.median(theirs) / statistics.median(ours)
        print(f"| {text} | {spread(theirs)} | {spread(ours)} | {ratio:.0f} | {asked or '< 10 ms'} |")
    for kind, asked in (("private", "< 6 MiB"), ("resident", "")):
        theirs = [h[f"peer_{kind}"] / 2**20 for h, _, _ in runs]
        ours = [s[f"peer_{kind}"] / 2**20 for _, s, _ in runs]
        print(f"| an idle peer in a swarm of 8, {kind} memory | {statistics.median(theirs):.0f} MiB | {statistics.median(ours):.2f} MiB "
              f"({min(ours):.2f} … {max(ours):.2f}) | {statistics.median(theirs) / statistics.median(ours):.0f} | {asked} |")
    if threaded_row:
        print("\nskep with its loop on a background thread:\n\n| work | skep, background thread |\n|---|---|")
        for figure, part, text, _ in ROWS:
            if figure not in ("declare", "start"):
                print(f"| {text} | {spread([value(s['threaded'], figure, part, 'skep') for _, s, _ in runs])} |")


def model_name():
    return next((line.split(":")[1].strip() for line in open("/proc/cpuinfo") if line.startswith("model name")), platform.processor())


def run_swarm(options, folder):
    make_work(folder, options.experts, options.searches)
    runs = []
    for number in range(options.runs):
        log(f"run {number + 1} of {options.runs}: skep")
        ours = run_skep(folder)
        if options.skep_only:
            print(json.dumps(ours, indent=1))
            continue
        log(f"run {number + 1} of {options.runs}: hivemind (some minutes)")
        theirs, client = run_hivemind(folder)
        runs.append((theirs, ours, client))
    if runs:
        print_swarm(options, runs)
    return [{"hivemind": h, "skep": s, "skep_in_hivemind": c} for h, s, c in runs]


def print_swarm(options, runs):
    print(f"A swarm of 8, {options.runs} runs of each side in turn, {options.searches} searches a run\n")
    print_table(runs, True)
    floors = [s["floor"]["median"] for _, s, _ in runs]
    cold = [s["search_cold"]["median"] for _, s, _ in runs]
    sample = runs[0][1]
    print(f"\nThe floor, an empty unary call between two skep nodes: {spread(floors)}; a cold search is "
          f"{statistics.median(cold) / statistics.median(floors):.1f} floors ({sample['rounds']} rounds, {sample['keys']} keys, {sample['calls']} calls).")
    print(f"A batch of 4,096 examples completes: {spread([s['batch_4096_per_example']['median'] for _, s, _ in runs])} an example.")
    print(f"A skep client in the hivemind swarm: cold search {spread([c['search_cold']['median'] for _, _, c in runs])}, skep's CPU time "
          f"{100 * statistics.median(c['cpu_share'] for _, _, c in runs):.1f} % of the wall time.")
    print(f"One connection: {stream_figures()}")


def main():
    options = argparse.ArgumentParser()
    options.add_argument("--part", choices=["swarm", "experts", "both"], default="both")
    options.add_argument("--runs", type=int, default=3)
    options.add_argument("--searches", type=int, default=200)
    options.add_argument("--experts", type=int, default=4096)
    options.add_argument("--skep-only", action="store_true", help="for work on skep: no hivemind, no ratios")
    options.add_argument("--json", help="also write every figure to this file")
    options = options.parse_args()
    signal.signal(signal.SIGALRM, on_alarm)
    figures = {}

    if not options.skep_only:
        print(f"{datetime.date.today()}, {os.cpu_count()} cores of {model_name()}")
    with tempfile.TemporaryDirectory() as folder:
        folder = pathlib.Path(folder)
        if options.part != "experts":
            figures["swarm"] = run_swarm(options, folder)
        if options.part != "swarm":
            figures["experts"] = experts.main(options, ROOT, BUILD, folder, log, Child)
    if options.json:
        with open(options.json, "w") as file:
            json.dump(figures, file, indent=1)


if __name__ == "__main__":
    main()
