# SPDX-License-Identifier: MIT
"""The experts' half of the benchmark: both sides on the same work in turn, and one table with what is asked of each row.

run.py runs it (`--part experts`: nothing else); hivemind_experts.py and bench_experts.c do the work and say what each figure is.
"""
import json
import os
import re
import signal
import statistics
import subprocess
import sys

# text, hivemind's figure, skep's figure, how many times faster it is to be
ROWS = [
    ("nop, batch 1", "nop_forward_1", "nop_forward_1", 30),
    ("nop, batch 64", "nop_forward_64", "nop_forward_64", None),
    ("nop, batch 2048", "nop_forward_2048", "nop_forward_2048", 6),
    ("ffn forward, batch 1", "ffn_forward_1", "ffn_forward_1", 6),
    ("ffn forward, batch 64", "ffn_forward_64", "ffn_forward_64", 2.5),
    ("ffn forward, batch 2048", "ffn_forward_2048", "ffn_forward_2048", 3),
    ("ffn backward with Adam, batch 1", "ffn_backward_1", "ffn_backward_1", 4),
    ("ffn backward with Adam, batch 64", "ffn_backward_64", "ffn_backward_64", 2.5),
    ("ffn backward with Adam, batch 2048", "ffn_backward_2048", "ffn_backward_2048", 3),
    ("64 clients (hivemind: callers), nop, batch 1 each", "nop_callers_per_s", "nop_nodes_per_s", 10),
    ("64 clients (hivemind: callers), ffn, batch 1 each", "ffn_callers_per_s", "ffn_nodes_per_s", 10),
    ("one client, 64 calls in flight, nop", "nop_callers_per_s", "nop_callers_per_s", None),
    ("one client, 64 calls in flight, ffn", "ffn_callers_per_s", "ffn_callers_per_s", None),
    ("mixture of nop: 256 samples, k 4, 64 experts on 4 servers", "mixture_nop", "mixture_nop", 20),
    ("mixture of ffn: 256 samples, k 4, 64 experts on 4 servers", "mixture_ffn", "mixture_ffn", 20),
    ("server start to first answered forward", "start", "start", None),
]
BATCHES = (1, 64, 2048)
START_MS, STREAMS_EXTRA = 150, 64 << 20  # beside the budget: code, buffers of sockets, one answer at a time
MIB = 2**20


def environment():
    """Without what was set for another processor: these two variables slow OpenBLAS down."""
    return {k: v for k, v in os.environ.items() if k not in ("OPENBLAS_CORETYPE", "OPENBLAS_L2_SIZE")} | {"OMP_NUM_THREADS": "1"}


def run_hivemind(root, folder, log, child_class, mixture_batch, tries=3):
    """hivemind hangs by itself now and then: what passes its time limit is ended and made again."""
    for attempt in range(tries):
        result_file = folder / "hivemind_experts.json"
        result_file.unlink(missing_ok=True)
        argv = [sys.executable, str(root / "bench" / "hivemind_experts.py"), "--mixture-batch", str(mixture_batch), str(result_file)]
        child = child_class(argv, env=environment())
        try:
            child.line(900)
            return json.loads(result_file.read_text())
        except (TimeoutError, RuntimeError, OSError) as error:
            log(f"hivemind run {attempt + 1} ended: {error}")
        finally:
            child.end()
    raise SystemExit("bench: hivemind's experts did not finish in three tries; see build/bench.log")


def run_skep(build, parts=()):
    child = subprocess.Popen([str(build / "bench" / "bench_experts"), "run", *parts], stdout=subprocess.PIPE, text=True, env=environment(), start_new_session=True)
    try:
        out, _ = child.communicate(timeout=300)
        return json.loads(out)
    except (subprocess.TimeoutExpired, ValueError):
        raise SystemExit("bench: bench_experts did not finish") from None
    finally:
        try:
            os.killpg(child.pid, signal.SIGKILL)
        except ProcessLookupError:
            pass
        child.wait()


def stream_limit(build):
    """@return MiB a second each way of an echo through the encrypted stream, nothing else."""
    done = subprocess.run([str(build / "bench" / "bench_stream"), "256"], capture_output=True, text=True, timeout=120)
    found = re.search(r"([\d.]+) MiB/s each way", done.stdout)
    return float(found.group(1)) if found else float("nan")


# ---- the table ----


def figures(runs, side, name):
    """Of each run the median of its calls; and the least and the most of all."""
    parts = [run[side][name] for run in runs if run[side][name]]
    if not parts:
        return None
    # A smaller batch of a mixture counts as so much a sample.
    parts = [{k: v * 256 / part["batch"] for k, v in part["forward"].items()} if "forward" in part else part for part in parts]
    return statistics.median(p["median"] for p in parts), min(p["min"] for p in parts), max(p["max"] for p in parts)


def quantity(value, rate):
    if rate:
        return f"{value:,.0f}/s"
    return f"{value:.2f} s" if value >= 1 else f"{value * 1e3:.3g} ms" if value >= 1e-3 else f"{value * 1e6:.3g} µs"


def spread(figure, rate):
    if figure is None:
        return "died"
    return f"{quantity(figure[0], rate)} ({quantity(figure[1], rate)} … {quantity(figure[2], rate)})"


def print_rows(runs):
    print("| work | hivemind 1.1.12: median (min … max) | skep | ratio | goal | reached |\n|---|---|---|---|---|---|")
    for text, theirs_name, ours_name, goal in ROWS:
        theirs, ours = figures(runs, "hivemind", theirs_name), figures(runs, "skep", ours_name)
        rate = ours_name.endswith("_per_s")
        ratio = (ours[0] / theirs[0] if rate else theirs[0] / ours[0]) if theirs else float("nan")
        if theirs_name.startswith("mixture"):
            batches = {run["hivemind"][theirs_name]["batch"] for run in runs if run["hivemind"][theirs_name]}
            text += "" if batches == {256} else f" (hivemind's largest batch that lives: {max(batches, default=0)}; scaled)"
        asked, reached = ("", "") if goal is None else (f"{goal:g}", "yes" if ratio >= goal else "**no**")
        if ours_name == "start":
            asked, reached = f"< {START_MS} ms", "yes" if ours[0] * 1e3 < START_MS else "**no**"
        print(f"| {text} | {spread(theirs, rate)} | {spread(ours, rate)} | {ratio:.1f} | {asked} | {reached} |")


def print_overhead(runs):
    """What of an ffn's call is neither arithmetic nor what a nop costs."""
    print("\n| everything that is not arithmetic | whole | in experts | the rest | nop, same batch | reached |\n|---|---|---|---|---|---|")
    for direction in ("forward", "backward"):
        for batch in BATCHES:
            whole = [run["skep"][f"ffn_{direction}_{batch}"]["median"] for run in runs]
            compute = [run["skep"][f"ffn_{direction}_{batch}_compute"] for run in runs]
            nop = figures(runs, "skep", f"nop_forward_{batch}")[0]
            rest = statistics.median(w - c for w, c in zip(whole, compute))
            # The time in experts is a mean of many calls, the whole a median: what is between is noise of the machine.
            asked = "yes" if rest <= nop else "**no**"
            if direction == "backward":
                asked = f"{rest / nop:.1f} times: two tensors there, one back"
            cells = [quantity(v, False) for v in (statistics.median(whole), statistics.median(compute), max(rest, 0), nop)]
            print(f"| ffn {direction}, batch {batch} | {' | '.join(cells)} | {asked} |")


def print_rest(runs, limit):
    nop, copy = (statistics.median(run["skep"][name]["median"] for run in runs) for name in ("nop_forward_2048", "memcpy_2048"))
    print(f"\nnop at batch 2048 moves {8 / nop:.0f} MiB/s each way; an echo through the encrypted stream {limit:.0f} MiB/s each way, memcpy {8 / copy:.0f} MiB/s.")
    streams = [run["skep"]["streams"] for run in runs]
    most, peak = max(s["memory_most"] for s in streams), max(s["peak_rss"] for s in streams)
    reached = most <= streams[0]["budget"] and peak <= streams[0]["budget"] + STREAMS_EXTRA
    print(f"64 streams of 8 MiB in flight, a budget of {streams[0]['budget'] // MIB} MiB: {most / MIB:.0f} MiB of requests at most, "
          f"the server's memory {min(s['idle_rss'] for s in streams) / MIB:.0f} MiB before and {peak / MIB:.0f} MiB at its peak; all answered in "
          f"{statistics.median(s['seconds'] for s in streams):.2f} s. Bounded: {'yes' if reached else '**no**'}.")
    local = [(b, *(statistics.median(run["hivemind"][f"local_{what}_{b}"]["median"] for run in runs) for what in ("forward", "product"))) for b in BATCHES]
    print("torch alone, one thread, without the network: " + "; ".join(
        f"batch {b}: ffn forward {quantity(f, False)}, one product of 1024 x 4096 {quantity(p, False)}" for b, f, p in local) + ".")
    print(f"hivemind's server from the start of its process (its imports with it): {spread(figures(runs, 'hivemind', 'start_process'), False)}; "
          "its row of the table begins after the imports, skep's with the process.")
    print(f"skep's mixture, backward: nop {spread(figures(runs, 'skep', 'mixture_nop_backward'), False)}, "
          f"ffn {spread(figures(runs, 'skep', 'mixture_ffn_backward'), False)}.")


def main(options, root, build, folder, log, child_class):
    runs, batch = [], 256
    for number in range(options.runs):
        log(f"experts, run {number + 1} of {options.runs}: skep")
        ours = run_skep(build)
        if options.skep_only:
            print(json.dumps(ours, indent=1))
            continue
        log(f"experts, run {number + 1} of {options.runs}: hivemind (some minutes)")
        theirs = run_hivemind(root, folder, log, child_class, batch)
        batch = max((m["batch"] for m in (theirs["mixture_nop"], theirs["mixture_ffn"]) if m), default=batch)
        runs.append({"skep": ours, "hivemind": theirs})
    if runs:
        print(f"\nExperts of hidden 1024, one thread, loopback, {options.runs} runs of each side in turn; OPENBLAS_CORETYPE and OPENBLAS_L2_SIZE unset for both.\n")
        print_rows(runs)
        print_overhead(runs)
        print_rest(runs, stream_limit(build))
    return runs
