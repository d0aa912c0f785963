#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""The demo over several seeds: whole federations of processes against each
hospital alone and against the pooled data.

    CNS_PROGRAM=build/consilium benchmarks/demo_study.py [SEEDS [FIRST_SEED [demo options...]]]

With the demo's option --epsilon E the federation has a privacy budget, and it is
against one party that has all the data and against noise at each hospital, with the
same guarantee, paired over the seeds.

Exit code 0 if the conditions at its end hold."""

import json
import math
import os
import subprocess
import sys

CLOSE = 0.01
PRIVATE_CLOSE = 0.005


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


def student(freedom):
    """97.5 % quantile of Student's t: its density integrated (Simpson), and halving."""
    scale = math.exp(math.lgamma((freedom + 1) / 2) - math.lgamma(freedom / 2)) / math.sqrt(freedom * math.pi)

    def below(t, steps=2000):
        def density(x):
            return scale * (1 + x * x / freedom) ** (-(freedom + 1) / 2)
        inner = sum((4 if k % 2 else 2) * density(t * k / steps) for k in range(1, steps))
        return 0.5 + (density(0) + inner + density(t)) * t / steps / 3

    low, high = 0.0, 20.0
    for _ in range(50):
        middle = (low + high) / 2
        low, high = (middle, high) if below(middle) < 0.975 else (low, middle)
    return high


def interval(values):
    """Mean and 95 % interval."""
    mean, count = sum(values) / len(values), len(values)
    if count < 2:
        return mean, -math.inf, math.inf
    deviation = math.sqrt(sum((value - mean) ** 2 for value in values) / (count - 1))
    reach = student(count - 1) * deviation / math.sqrt(count)
    return mean, mean - reach, mean + reach


def private_line(result):
    return (f"{result['seed']:4}  {result['federated_auc']:.4f}     {result['pooled_auc']:.4f}  "
            f"{result['own_noise_auc']:.4f}     {result['alone_auc_mean']:.4f}       {result['epsilon_spent']:.4f}         "
            f"{result['seconds']:7.1f}")


def private_conditions(results):
    """Federated against the others, and what was spent."""
    difference = {}
    print("\nfederated less ...     mean difference (95 %)")
    for key, name in (("pooled_auc", "pooled"), ("own_noise_auc", "own noise"), ("alone_auc_mean", "alone")):
        difference[key] = interval([result["federated_auc"] - result[key] for result in results])
        mean, low, high = difference[key]
        print(f"{name:21}  {mean:+.4f} ({low:+.4f} to {high:+.4f})")
    print()
    mean, low, high = difference["pooled_auc"]
    most = max(result["epsilon_spent"] / result["epsilon"] for result in results)
    return [
        (low <= 0 <= high or abs(mean) < PRIVATE_CLOSE,
         f"federated and pooled: the interval holds 0, or the difference is below {PRIVATE_CLOSE}"),
        (difference["own_noise_auc"][1] > 0, "federated and own noise: the interval is above 0"),
        (most <= 1, f"no federation spent more than its budget: at most {most:.4f} of it"),
    ]


def main():
    program = os.environ.get("CNS_PROGRAM", "build/consilium")
    seeds = int(sys.argv[1]) if len(sys.argv) > 1 else 10
    first = int(sys.argv[2]) if len(sys.argv) > 2 else 1
    private = any(option.split("=")[0] == "--epsilon" for option in sys.argv[3:])
    if private:
        print("seed  federated  pooled  own noise  alone: mean  epsilon spent  seconds", flush=True)
    else:
        print("seed  pooled  federated  alone: mean  best  seconds  each hospital alone, killed and back in rounds",
              flush=True)
    results = []
    for seed in range(first, first + seeds):
        results.append(one(program, seed, sys.argv[3:]))
        print(private_line(results[-1]) if private else line(results[-1]), flush=True)
    checks = private_conditions(results) if private else conditions(results)
    for good, sentence in checks:
        print(f"{'holds' if good else 'FAILS'}: {sentence}")
    return 0 if all(good for good, _ in checks) else 1


if __name__ == "__main__":
    sys.exit(main())
