#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""One round of a federation with a large model on this machine: how long each part
takes, the private memory of each process, the bytes and the largest message.

  benchmarks/big_model.py [--mib N] [--hospitals N] [--momentum M] [--tls]

N MiB is the model's size (1024), 4 the smallest cohort that the protocol allows. Needs
./dev build; for 1 GiB and 4 hospitals about 15 GB of disk under TMPDIR (each party keeps two
models, the coordinator also the uploads) and 10 GB of memory. Over plain TCP, so that messages
can be counted, or over TLS."""

import argparse
import os
import sys

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
os.environ.setdefault("CNS_PROGRAM", os.path.join(ROOT, "build", "consilium"))
os.environ.setdefault("CNS_SOURCE_ROOT", ROOT)
os.environ.setdefault("CNS_FAULT", os.path.join(ROOT, "build", "tests", "system", "fault.so"))
sys.path.insert(0, os.path.join(ROOT, "tests", "system"))
import federation  # noqa: E402
from big import CHUNK, Big  # noqa: E402

MIB = 1 << 20


def parse():
    parser = argparse.ArgumentParser(description="one round with a large model")
    parser.add_argument("--mib", type=int, default=1024)
    parser.add_argument("--hospitals", type=int, default=4)
    parser.add_argument("--momentum", type=float, default=0.9)
    parser.add_argument("--tls", action="store_true")
    return parser.parse_args()


def report(f, watch, ear):
    (event,) = f.completed()
    size, count = f.model_bytes, len(f.names)
    joined = watch.last("connected", f.names)
    trained, uploaded = watch.last("trained", f.names), watch.last("uploaded", f.names)
    done = watch.seen.get(("result", "coordinator"), uploaded)
    print(f"model {size / MIB:.1f} MiB ({size // 4} parameters), {count} hospitals, {os.cpu_count()} processors, "
          f"{'TLS' if not ear else 'plain TCP'}")
    print(f"  initial model made by all   {joined:8.1f} s from the start of the processes")
    print(f"  trained, clipped, rounded   {trained - joined:8.1f} s")
    print(f"  masked and uploaded         {uploaded - trained:8.1f} s")
    print(f"  agreed, unmasked, summed    {done - uploaded:8.1f} s")
    print(f"  new model fetched by all    {watch.ended_s - done:8.1f} s")
    print(f"  the round, as the coordinator says: {event['seconds']:.1f} s")
    print(f"  up {event['bytes_up'] / count / size:.4f} times the model for each hospital in the round, "
          f"down {event['bytes_down'] / count / size:.4f}")
    if ear:
        print(f"  largest message {ear.largest()} bytes (a chunk: up to {CHUNK})")
    for name, most in sorted(watch.most.items()):
        print(f"  {name:12} at most {most / MIB:8.1f} MiB of private memory (RssAnon), {most / size:.2f} times the model")
    limits = all(most < (2.5 if name == "coordinator" else 3) * size for name, most in watch.most.items())
    return limits and event["included"] == count and (not ear or ear.largest() <= CHUNK)


def main():
    options = parse()
    federation.PATIENCE_S = 3600
    with Big(options.mib * MIB // 4, options.hospitals, momentum=options.momentum) as f:
        watch, ear = f.run_round(plain=not options.tls)
        return 0 if report(f, watch, ear) else 1


if __name__ == "__main__":
    sys.exit(main())
