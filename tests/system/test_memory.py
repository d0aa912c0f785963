#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""A model of 256 MiB: what a round costs in private memory, and how long its messages
are. In the optimised build only: sanitizers need memory of their own. TAP; a number of
parameters as argument takes the place of 2^26."""

import os
import sys

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
import federation  # noqa: E402
from big import CHUNK, Big, need_room  # noqa: E402

PARAMETERS = int(sys.argv[1]) if len(sys.argv) > 1 else 1 << 26
federation.PATIENCE_S = 600


def test_memory_and_messages_of_a_large_model():
    with Big(PARAMETERS) as f:
        watch, ear = f.run_round(plain=True)
        (event,) = f.completed()
        assert event["included"] == 4, event
        for name, most in sorted(watch.most.items()):
            times = most / f.model_bytes
            print(f"# {name}: {most >> 20} MiB of private memory, {times:.2f} times the model")
            assert times < (2.5 if name == "coordinator" else 3), (name, most, f.model_bytes)
            assert most > (f.model_bytes if name != "coordinator" else f.model_bytes // 2), "nothing was measured"
        print(f"# largest message: {ear.largest()} bytes; round {event['seconds']} s")
        assert 65536 < ear.largest() <= CHUNK, ear.largest()
        limit = 1.01 * 4 * f.model_bytes
        assert event["bytes_up"] < limit, (event["bytes_up"], limit)


if __name__ == "__main__":
    need_room(PARAMETERS)
    sys.exit(federation.main([test_memory_and_messages_of_a_large_model]))
