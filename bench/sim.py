# SPDX-License-Identifier: MIT
"""Figures of simulated swarms, one table: make bench-sim. Each line is one `skep sim` run; results go to bench/sim.json.

Times of searches are virtual, and the same on every machine; wall times and memory are this machine's.
`bench/sim.py --quick` leaves out the two large runs."""
import json
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
SKEP = ROOT / "build" / "skep"
LARGE = "--nodes 10000 --experts 65536 --grid 256x256x256 --queries 1000 --searchers 100 --seed 7"
rows = []
results = {}


def sim(name, options):
    print(f"  … {name}", file=sys.stderr)
    done = subprocess.run([SKEP, "sim", "--json", *options.split()], capture_output=True, text=True, timeout=3600)
    if done.returncode != 0:
        sys.exit(f"skep sim {options}: {done.stderr}")
    results[name] = {"command": f"skep sim {options}", **json.loads(done.stdout)}
    return results[name]


def row(what, figure, goal, reached=None):
    rows.append((what, figure, goal, "" if reached is None else "reached" if reached else "NOT reached"))


def latency(run):
    return run["searches"]["latency_ms"]


def size():
    run = sim("10,000 nodes", LARGE)
    costs = run["costs"]
    row("10,000 nodes, 65,536 experts, 1,000 searches: time, memory",
        f"{costs['wall_s']:.1f} s, {costs['memory_bytes'] / 2**30:.2f} GiB", "60 s, 1.5 GiB",
        costs["wall_s"] < 60 and costs["memory_bytes"] < 1.5 * 2**30)
    real = sim("1,000 nodes, real", "--nodes 1000 --experts 4096 --queries 1000 --searchers 100 --seed 7 --warm --real")
    placed = sim("1,000 nodes, placed", "--nodes 1000 --experts 4096 --queries 1000 --searchers 100 --seed 7 --warm")
    row("1,000 nodes, joined and declared | placed by rule: median, 95 % of a search",
        " | ".join(f"{latency(r)['median']:.0f}, {latency(r)['p95']:.0f} ms" for r in (real, placed)), "the same")
    row("  calls of a search; nodes in a table", " | ".join(
        f"{r['searches']['calls']['median']:.0f}; {r['network']['table_nodes']['median']:.0f}" for r in (real, placed)), "")


def time_of_searches():
    for table, goal in ((" --one-hop", 1.3), ("", 3.0)):
        name = "one-hop" if table else "Kademlia"
        calm = sim(f"{name}, calm", f"{LARGE} --warm{table}")
        rtt = calm["network"]["rtt_ms"]["median"]
        ratio = latency(calm)["median"] / rtt
        row(f"cold search, warm connections, {name} tables: median",
            f"{latency(calm)['median']:.0f} ms = {ratio:.2f} median round trips", f"{goal} round trips", ratio <= goal)
        storm = sim(f"{name}, 10 % dead, 1 % lost", f"{LARGE} --warm{table} --dead 10% --loss 1%")
        ratio = latency(storm)["p95"] / latency(storm)["median"]
        row("  with 10 % dead nodes and 1 % loss: median, 95 %",
            f"{latency(storm)['median']:.0f}, {latency(storm)['p95']:.0f} ms = {ratio:.2f} medians", "2 medians", ratio <= 2)
        if table:
            row("  memory of a searcher's table", f"{calm['network']['one_hop_bytes'] / 1024:.0f} KiB", "")


def picture():
    for table in (" --one-hop", ""):
        medians = [latency(sim(f"top 4, {nodes} nodes{table}",
                               f"--nodes {nodes} --experts 4096 --queries 1000 --searchers 100 --seed 7 --warm{table}"))["median"]
                   for nodes in (100, 1000, 10000)]
        row(f"top-4 search at 100, 1,000, 10,000 nodes, {'one-hop' if table else 'Kademlia'} tables: median",
            ", ".join(f"{m:.0f}" for m in medians) + f" ms; growth {medians[-1] / medians[0]:.2f}", "growth below 1.5",
            medians[-1] < 1.5 * medians[0])


def recall():
    for experts in (1024, 4096, 16384, 65536):
        shares = [sim(f"recall, {experts} experts, beam {beam}",
                      f"--nodes 200 --experts {experts} --queries 300 --seed 7 --warm --beam {beam}")["searches"]["recall"]
                  for beam in (1, 2, 4, 8, 16, 32, 64)]
        row(f"of the true best, a beam of 1, 2, 4 … 64 finds, {experts:,} experts of 256^3",
            " ".join(f"{100 * s:.0f}" for s in shares) + " %", "")
    for scores in ("uniform", "normal"):
        common = f"--nodes 200 --experts 4096 --queries 300 --seed 7 --warm --scores {scores}"
        beam, exact, guess = (sim(f"keys, {scores}, {kind}", f"{common} {more}")["searches"]["keys"]["mean"]
                              for kind, more in (("beam", "--guess 0"), ("exact", "--guess 0 --mode exact"), ("beam in one round", "--guess 256")))
        row(f"keys of a search, beam 4, 4,096 experts, {scores} scores: beam | in one round | exact",
            f"{beam:.0f} | {guess:.0f} | {exact:.0f}: {exact / beam:.1f} times", "5 times", exact <= 5 * beam)


def weather():
    run = sim("churn", "--nodes 1000 --experts 1000 --queries 20000 --searchers 50 --churn 3600s --duration 30m --declare-every 30s --seed 7")
    values = run["values"]
    share = values["found"] / (values["found"] + values["missed"])
    row(f"values found, sessions of 1 h, declared every 30 s ({values['deaths']} deaths)",
        f"{100 * share:.3f} % of {values['found'] + values['missed']:,}", "99.9 %", share >= 0.999)
    half = sim("half silent", f"{LARGE} --dead 50% --budget 300ms")["searches"]
    row("searches that answer within their budget of 300 ms, half of the nodes silent",
        f"{half['count'] - half['late']} of {half['count']}", "all", half["late"] == 0)
    honest = sim("honest", "--nodes 300 --experts 4096 --queries 1000 --searchers 50 --seed 7 --mode exact")["searches"]
    liars = sim("20 % malicious", "--nodes 300 --experts 4096 --queries 1000 --searchers 50 --seed 7 --mode exact --malicious 20%")["searches"]
    row("of the best experts, exact searches find, 0 | 20 % malicious nodes",
        f"{100 * honest['recall']:.2f} | {100 * liars['recall']:.2f} %", "99 %", liars["recall"] >= 0.99)


def large():
    run = sim("100,000 nodes", "--nodes 100000 --experts 1000000 --grid 256x256x256 --queries 1000 --searchers 100 --seed 7 --warm")
    row("100,000 nodes, 10^6 experts, 1,000 searches: time, memory",
        f"{run['costs']['wall_s']:.0f} s, {run['costs']['memory_bytes'] / 2**30:.1f} GiB", "16 GiB",
        run["costs"]["memory_bytes"] < 16 * 2**30)
    row("  median of a search", f"{latency(run)['median']:.0f} ms", "")


def main():
    size()
    time_of_searches()
    picture()
    recall()
    weather()
    if "--quick" not in sys.argv:
        large()
    (ROOT / "bench" / "sim.json").write_text(json.dumps(results, indent=1) + "\n")
    widths = [max(len(r[i]) for r in rows) for i in range(4)]
    for r in rows:
        print("  ".join(cell.ljust(width) for cell, width in zip(r, widths)).rstrip())


main()
