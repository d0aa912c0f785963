#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""ByzFL's rules (its numpy path) beside robust_bench, in one run.

    robust_compare.py BYZFL_DIR [--bench build/benchmarks/robust_bench] [--rows 20] [--columns 1000000]
                      [--byzantine 4] [--runs 3] [--only NAME ...] [--limit SECONDS] [--json]

BYZFL_DIR is a checkout of https://github.com/LPD-EPFL/byzfl. Needs numpy and scipy. An
empty module stands in for torch, which the numpy path doesn't use. Each rule of
theirs runs in a process of its own, so that its peak memory is known and that one
which takes longer than the limit can be ended; ours runs right before it, on as many
random rows of float32. Times are the median of the runs; theirs that change their input
get a copy outside the time.
"""
import argparse
import json
import os
import resource
import subprocess
import sys
import time
import types
from pathlib import Path

# Ours -> how theirs is made, given f. Parameters are those of robust_bench.
THEIRS = {
    "mean": ("aggregators", lambda m, f: m.Average()),
    "median": ("aggregators", lambda m, f: m.Median()),
    "trimmed-mean": ("aggregators", lambda m, f: m.TrMean(f)),
    "meamed": ("aggregators", lambda m, f: m.Meamed(f)),
    "geometric-median": ("aggregators", lambda m, f: m.GeometricMedian()),
    "krum": ("aggregators", lambda m, f: m.Krum(f)),
    "multi-krum": ("aggregators", lambda m, f: m.MultiKrum(f)),
    "centered-clipping": ("aggregators", lambda m, f: m.CenteredClipping(tau=2.0)),
    "mda": ("aggregators", lambda m, f: m.MDA(f)),
    "smea": ("aggregators", lambda m, f: m.SMEA(f)),
    "caf": ("aggregators", lambda m, f: m.CAF(f)),
    "monna": ("aggregators", lambda m, f: m.MoNNA(f)),
    "nnm": ("preaggregators", lambda m, f: m.NNM(f)),
    "bucketing": ("preaggregators", lambda m, f: m.Bucketing(2)),
    "clipping": ("preaggregators", lambda m, f: m.Clipping(2.0)),
    "arc": ("preaggregators", lambda m, f: m.ARC(f)),
}


def parse(arguments):
    parser = argparse.ArgumentParser(description=__doc__.split("\n", maxsplit=1)[0])
    parser.add_argument("directory")
    parser.add_argument("--bench", default="build/benchmarks/robust_bench")
    parser.add_argument("--rows", type=int, default=20)
    parser.add_argument("--columns", type=int, default=1000000)
    parser.add_argument("--byzantine", type=int, default=4)
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--limit", type=float, default=300)
    parser.add_argument("--only", nargs="*")
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--theirs", help=argparse.SUPPRESS)
    return parser.parse_args(arguments)


def run_theirs(options):
    """In the child: times and peak memory of one rule, as JSON."""
    import importlib

    import numpy

    torch = types.ModuleType("torch")
    torch.Tensor = type("Tensor", (), {})
    torch.linalg = types.ModuleType("torch.linalg")
    package = types.ModuleType("byzfl")
    package.__path__ = [str(Path(options.directory) / "byzfl")]
    sys.modules.update({"torch": torch, "torch.linalg": torch.linalg, "byzfl": package})
    module, make = THEIRS[options.theirs]
    module = importlib.import_module("byzfl.aggregators." + module)
    rows = numpy.random.default_rng(1).uniform(-1, 1, (options.rows, options.columns)).astype(numpy.float32)
    seconds, work, before = [], [], resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    for _ in range(options.runs):
        given = rows.copy() if options.theirs in ("clipping", "arc", "bucketing") else rows
        rule, begin, cpu = make(module, options.byzantine), time.perf_counter(), time.process_time()
        rule(given)
        seconds.append(time.perf_counter() - begin)
        work.append(time.process_time() - cpu)
        if seconds[-1] > options.limit / 4:
            break
    middle = len(seconds) // 2
    print(json.dumps({"ms": 1e3 * sorted(seconds)[middle], "cpu_ms": 1e3 * sorted(work)[middle],
                      "mib": (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024}))


def ours(options, name):
    done = subprocess.run([options.bench, "--rows", str(options.rows), "--columns", str(options.columns),
                           "--byzantine", str(options.byzantine), "--runs", str(max(options.runs, 5)),
                           "--only", name, "--json"], capture_output=True, text=True, check=True)
    return json.loads(done.stdout)


def theirs(options, name):
    command = [sys.executable, "-B", __file__, *sys.argv[1:], "--theirs", name]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=options.limit, check=False)
    except subprocess.TimeoutExpired:
        return {"ms": 1e3 * options.limit, "cpu_ms": 1e3 * options.limit, "mib": 0, "ended": True}
    if done.returncode != 0:
        return {"error": done.stderr.strip().splitlines()[-1]}
    return json.loads(done.stdout)


def line(name, mine, other):
    if "error" in mine or "error" in other:
        return f"{name:18} {mine.get('error', '')} {other.get('error', '')}"
    more = ">" if other.get("ended") else " "
    return (f"{name:18} {mine['ms']:10.1f} {more}{other['ms']:10.1f} {more}{other['ms'] / mine['ms']:8.1f}"
            f" {mine['cpu_ms']:10.1f} {more}{other['cpu_ms']:10.1f} {more}{other['cpu_ms'] / mine['cpu_ms']:8.1f}"
            f" {mine['mib']:8.0f} {other['mib']:8.0f}")


def main():
    options = parse(sys.argv[1:])
    if options.theirs:
        run_theirs(options)
        return
    if not options.json:
        print(f"n = {options.rows}, d = {options.columns}, f = {options.byzantine}, float32; "
              f"{os.cpu_count()} processors, load {os.getloadavg()[0]:.1f}; ms, processors' ms, and MiB that a "
              "rule needs besides its input")
        print(f"{'rule':18} {'ours':>10}  {'ByzFL':>10}  {'ratio':>8} {'ours CPU':>10}  {'ByzFL CPU':>10}"
              f"  {'ratio':>8} {'ours MiB':>8} {'ByzFL MiB':>8}")
    for name in THEIRS:
        if options.only and name not in options.only:
            continue
        mine, other = ours(options, name), theirs(options, name)
        if options.json:
            print(json.dumps({"name": name, "ours": mine, "byzfl": other}))
        else:
            print(line(name, mine, other), flush=True)


if __name__ == "__main__":
    main()
