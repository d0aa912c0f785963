#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Masks of Flower's SecAgg+ beside round_bench, in one run.

    secagg_compare.py FLOWER_DIR [--bench build/benchmarks/round_bench] [--hospitals 16]
                      [--columns 1000000] [--dropped 2] [--runs 5] [--json]

FLOWER_DIR is a checkout of https://github.com/adap/flower. Needs numpy. Timed are, as both
sides do them in a complete graph of neighbours: a client's masks over one vector (its own and
one for each other client), and the server's from the last answer to the unmasked vector (the own
masks of all who uploaded, the pair masks of all who left, both with all that stayed). On their side
only generation, addition and the final modulus count, not the secret sharing and key agreements,
which ours include at the server. The vectors are 64 bit wide there, and 32 bit here.

The two aren't equally hard to undo: theirs seeds a Mersenne Twister with 32 bits
(pseudo_rand_gen), so that a mask can be found by trying 2^32 seeds; ours is AES-256 in counter mode.
"""
import argparse
import importlib
import json
import statistics
import subprocess
import sys
import time
import types
from pathlib import Path

PACKAGE = "flwr.common.secure_aggregation"


def parse():
    parser = argparse.ArgumentParser(description=__doc__.split("\n", maxsplit=1)[0])
    parser.add_argument("directory")
    parser.add_argument("--bench", default="build/benchmarks/round_bench")
    parser.add_argument("--hospitals", type=int, default=16)
    parser.add_argument("--columns", type=int, default=1000000)
    parser.add_argument("--dropped", type=int, default=2)
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--json", action="store_true")
    return parser.parse_args()


def theirs(directory):
    """Their two modules, without what the rest of the package needs."""
    root = Path(directory) / "framework/py/flwr/common"
    if not (root / "secure_aggregation").is_dir():
        sys.exit(f"secagg_compare: {directory} is no checkout of Flower: there is no {root}/secure_aggregation")
    for name in ("flwr", "flwr.common", PACKAGE):
        package = types.ModuleType(name)
        package.__path__ = [str(root / "secure_aggregation")] if name == PACKAGE else []
        sys.modules[name] = package
    typing = types.ModuleType("flwr.common.typing")
    typing.NDArrayInt = object
    sys.modules["flwr.common.typing"] = typing
    return (importlib.import_module(PACKAGE + ".secaggplus_utils"),
            importlib.import_module(PACKAGE + ".ndarrays_arithmetic"))


def mask(modules, vector, terms):
    utilities, arithmetic = modules
    shape, modulus = [a.shape for a in vector], 1 << 32
    for seed, positive in terms:
        stream = utilities.pseudo_rand_gen(seed, modulus, shape)
        add = arithmetic.parameters_addition if positive else arithmetic.parameters_subtraction
        vector = add(vector, stream)
    return arithmetic.parameters_mod(vector, modulus)


def time_theirs(options, modules, count):
    import numpy

    rng = numpy.random.default_rng(1)
    vector = [rng.integers(0, 1 << 22, options.columns, dtype=numpy.int64)]
    terms = [(rng.bytes(32), bool(k % 2)) for k in range(count)]
    times = []
    for _ in range(options.runs):
        begin = time.perf_counter()
        mask(modules, vector, terms)
        times.append(1e3 * (time.perf_counter() - begin))
    return statistics.median(times)


def main():
    options = parse()
    if not 0 <= options.dropped < options.hospitals:
        sys.exit("secagg_compare: --dropped must be from 0 to the number of hospitals less one")
    stayed = options.hospitals - options.dropped
    command = [options.bench, "--json", "--runs", str(options.runs), "--only", f"{options.hospitals},{options.columns}"]
    ours = json.loads(subprocess.run(command, check=True, stdout=subprocess.PIPE).stdout)
    row = ours["rounds"][0]
    if row["dropped"] != options.dropped:
        sys.exit(f"secagg_compare: round_bench leaves {row['dropped']} hospitals out there, not {options.dropped}")
    modules = theirs(options.directory)
    result = {"hospitals": options.hospitals, "columns": options.columns, "dropped": options.dropped,
              "threads": ours["threads"], "runs": options.runs, "ours_client_ms": row["client_mask_ms"],
              "theirs_client_ms": time_theirs(options, modules, options.hospitals),
              "ours_server_ms": row["server_unmask_ms"],
              "theirs_server_ms": time_theirs(options, modules, stayed + options.dropped * stayed)}
    if options.json:
        print(json.dumps(result))
        return
    print(f"{options.hospitals} hospitals, {options.dropped} gone, {options.columns} parameters, median of "
          f"{options.runs} runs; ours on {ours['threads']} threads at the server, one at the client")
    for side in ("client", "server"):
        mine, other = result[f"ours_{side}_ms"], result[f"theirs_{side}_ms"]
        print(f"{side}: {mine:.1f} ms, Flower {other:.0f} ms: {other / mine:.0f} times")


if __name__ == "__main__":
    main()
