#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""The demo over several seeds: whole federations of processes against each
hospital alone and against the pooled data.

    CNS_PROGRAM=build/consilium benchmarks/demo_study.py [SEEDS [FIRST_SEED [demo options...]]]

Exit code 0 if the three conditions at its end hold."""

import json
import os
import subprocess
import sys

CLOSE = 0.01


def one(program, seed, options):
    command = [program, "demo", "--seed", str(seed), "--json", *options]
    done = subprocess.run(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, text=True, check=True)
    return json.loads(done.stdout)


def line(result):
    alone = " ".join(f"{hospital['alone_auc']:.4f}" for hospital in result["hospitals"])
    killed = result.get("killed", {})
    missed = f"{killed['hospital']} {killed['round']}-{killed.get('back_round', '?')}" if killed else "nobody"
    return (f"{result['seed']:4}  {result['pooled_auc']:.4f}  {result['federated_auc']:.4f}     "
            f"{result['alone_auc_mean']:.4f}  {result['alone_auc_best']:.4f}  {result['seconds']:7.1f}  {alone}  {missed}")


def conditions(results):
    mean = {key: sum(result[key] for result in results) / len(results)
            for key in ("pooled_auc", "federated_auc", "alone_auc_mean", "alone_auc_best", "seconds")}
    gap = max(result["alone_auc_best"] - result["federated_auc"] for result in results)
    print(f"mean  {mean['pooled_auc']:.4f}  {mean['federated_auc']:.4f}     {mean['alone_auc_mean']:.4f}  "
          f"{mean['alone_auc_best']:.4f}  {mean['seconds']:7.1f}\n")
    difference = mean["federated_auc"] - mean["pooled_auc"]
    return [
        (abs(difference) <= CLOSE, f"federated and pooled differ by {abs(difference):.4f} on average (at most {CLOSE})"),
        (mean["federated_auc"] >= mean["alone_auc_mean"],
         f"federated is {mean['federated_auc'] - mean['alone_auc_mean']:+.4f} against the hospitals alone, on average"),
        (gap <= CLOSE, f"federated is at most {gap:.4f} under the best hospital alone (at most {CLOSE})"),
    ]


def main():
    program = os.environ.get("CNS_PROGRAM", "build/consilium")
    seeds = int(sys.argv[1]) if len(sys.argv) > 1 else 10
    first = int(sys.argv[2]) if len(sys.argv) > 2 else 1
    print("seed  pooled  federated  alone: mean  best  seconds  each hospital alone, killed and back in rounds",
          flush=True)
    results = []
    for seed in range(first, first + seeds):
        results.append(one(program, seed, sys.argv[3:]))
        print(line(results[-1]), flush=True)
    checks = conditions(results)
    for good, sentence in checks:
        print(f"{'holds' if good else 'FAILS'}: {sentence}")
    return 0 if all(good for good, _ in checks) else 1


if __name__ == "__main__":
    sys.exit(main())
