#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Federations whose hospitals train by commands of their own. TAP."""

import json
import os
import sys

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
from federation import Federation, main  # noqa: E402

EXAMPLES = os.path.join(os.environ["CNS_SOURCE_ROOT"], "examples")
# Debian's, which has Debian's NumPy.
PYTHON = "/usr/bin/python3" if os.path.exists("/usr/bin/python3") else sys.executable
NUMPY = [PYTHON, "-B", os.path.join(EXAMPLES, "trainer-numpy", "train.py")]


def set_config(f, name, **members):
    path = os.path.join(f.kit(name), "config.json")
    with open(path) as file:
        config = json.load(file)
    config.update(members)
    with open(path, "w") as file:
        json.dump(config, file, indent=2, sort_keys=True)


def run_study(trainer, change=None, **options):
    """The model after a study in which all hospitals were in each round, at the first attempt."""
    with Federation(rounds=3, **options) as f:
        for name in f.names:
            if trainer:
                set_config(f, name, trainer={"command": trainer})
        f.start_all()
        f.wait_exit("coordinator")
        for event in f.completed():
            assert event["included"] == 5 and event.get("attempt", 1) == 1, event
        for name in f.names:
            assert ("trained by the command" in f.log(name)) == bool(trainer), f.log(name)
        return f.model()


def test_numpy_trains_as_the_built_in_trainer_does():
    built_in, command = run_study(None, local_epochs=2), run_study(NUMPY, local_epochs=2)
    assert len(built_in) == len(command)
    worst = max(abs(a - b) for a, b in zip(built_in, command))
    print(f"# models of {len(built_in)} parameters differ by {worst:.2g} at the most", flush=True)
    assert worst <= 1e-6, worst


if __name__ == "__main__":
    sys.exit(main([
        test_numpy_trains_as_the_built_in_trainer_does,
    ]))
