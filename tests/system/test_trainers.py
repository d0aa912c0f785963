#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Federations whose hospitals train by commands of their own. TAP."""

import hashlib
import json
import math
import os
import random
import struct
import sys
import tempfile

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
from federation import Federation, main, run  # noqa: E402

EXAMPLES = os.path.join(os.environ["CNS_SOURCE_ROOT"], "examples")
# Debian's, which has Debian's NumPy.
PYTHON = "/usr/bin/python3" if os.path.exists("/usr/bin/python3") else sys.executable
SHELL = ["/bin/sh", os.path.join(EXAMPLES, "trainer-shell", "train.sh")]
NUMPY = [PYTHON, "-B", os.path.join(EXAMPLES, "trainer-numpy", "train.py")]


def set_config(f, name, **members):
    path = os.path.join(f.kit(name), "config.json")
    with open(path) as file:
        config = json.load(file)
    config.update(members)
    with open(path, "w") as file:
        json.dump(config, file, indent=2, sort_keys=True)


def run_all(f):
    f.start_coordinator("--until-finished")
    for name in f.names:
        f.start(name, "--until-finished")
    for name in ["coordinator"] + f.names:
        f.wait_exit(name)


def run_study(trainer, **options):
    """The model after a study in which all hospitals were in each round, at the first attempt."""
    with Federation(rounds=3, **options) as f:
        for name in f.names:
            if trainer:
                set_config(f, name, trainer={"command": trainer})
        run_all(f)
        for event in f.completed():
            assert event["included"] == 5 and event.get("attempt", 1) == 1, event
        for name in f.names:
            assert ("trained by the command" in f.log(name)) == bool(trainer), f.log(name)
        return f.model()


def compare_with_numpy(**study):
    built_in, command = run_study(None, **study), run_study(NUMPY, **study)
    assert len(built_in) == len(command)
    worst = max(abs(a - b) for a, b in zip(built_in, command))
    print(f"# models of {len(built_in)} parameters differ by {worst:.2g} at the most", flush=True)
    assert worst <= 1e-6, worst


def test_numpy_trains_as_the_built_in_trainer_does():
    compare_with_numpy(local_epochs=2)  # ReLU


def test_numpy_trains_a_logistic_regression():
    compare_with_numpy(model={"kind": "logistic"}, batch=7)


def test_numpy_trains_a_network_of_several_layers_with_fedprox():
    compare_with_numpy(model={"kind": "mlp", "hidden": [8, 5], "activation": "tanh"}, proximal=0.5)


# ---- a study that Consilium knows nothing of but its tensors ----

FEATURES = 3


def write_model(path, values):
    """Of the tensors "bias" and "weight"."""
    header = json.dumps({"bias": {"dtype": "F32", "shape": [1], "data_offsets": [0, 4]},
                         "weight": {"dtype": "F32", "shape": [FEATURES], "data_offsets": [4, 4 + 4 * FEATURES]}})
    data = struct.pack("<Q", len(header)) + header.encode() + struct.pack(f"<{len(values)}f", *values)
    with open(path, "wb") as file:
        file.write(data)
    return hashlib.blake2b(data, digest_size=32).hexdigest()


class Clinics(Federation):
    """Five hospitals with a folder of text files each, one a patient."""

    def __init__(self, rounds, seed=7, command=SHELL, **trainer):
        self.folder = tempfile.mkdtemp(prefix="consilium-test-")
        self.names = [f"h{k + 1}" for k in range(5)]
        self.processes, self.starts, self.rounds = {}, 0, rounds
        self.initial = [0.25, -0.5, 0, 1]
        study = {
            "name": "clinics", "version": 1, "task": "other",
            "training": {"rounds": rounds, "local_epochs": 4, "learning_rate": 0.5, "momentum": 0, "batch": 1,
                         "seed": 1, "clip_norm": 5},
            "weighting": "patients", "validation_share": 0,
        }
        start = os.path.join(self.folder, "start.safetensors")
        digest = write_model(start, self.initial)
        study.update(json.loads(run("model", "show", start, "--study")))
        assert study["model"] == {"kind": "external", "tensors": {"bias": [1], "weight": [FEATURES]}}, study
        assert study["initial_model"] == {"file": "start.safetensors", "digest": digest}, study
        study_path = os.path.join(self.folder, "study.json")
        with open(study_path, "w") as file:
            json.dump(study, file)
        self.root = os.path.join(self.folder, "f")
        run("init", self.root, "--study", study_path, "--hospitals", ",".join(self.names))
        self.write_patients(random.Random(seed))
        for name in self.names:
            refused = run("consent", self.kit(name), "--yes", expect=3)
            assert '"trainer"' in refused, refused
            set_config(self, name, data="patients", patients=len(self.rows[name]),
                       trainer={"command": command, "free_mib": 1, **trainer})
            consented = run("consent", self.kit(name), "--yes")
            assert "a model of its own kind" in consented and "only the trainer's command" in consented, consented

    def write_patients(self, source):
        self.rows = {}
        for k, name in enumerate(self.names):
            folder = os.path.join(self.kit(name), "patients")
            os.mkdir(folder)
            self.rows[name] = []
            for patient in range(20 + 5 * k):
                x = [round(source.uniform(-2, 2), 3) for _ in range(FEATURES)]
                row = [int(x[0] + 0.5 * x[1] + source.gauss(0, 1) > 0)] + x
                self.rows[name].append(row)
                with open(os.path.join(folder, f"{patient:03}.txt"), "w") as file:
                    print(*row, file=file)

    def expected(self):
        """The model that FedAvg with gradient descent gives, in double precision."""
        model = list(self.initial)
        for _ in range(self.rounds):
            total = sum(len(rows) for rows in self.rows.values())
            change = [0.0] * len(model)
            for rows in self.rows.values():
                w = list(model)
                for _ in range(4):
                    gradient = [0.0] * len(w)
                    for y, *x in rows:
                        error = 1 / (1 + math.exp(-sum(a * b for a, b in zip(w, [1, *x])))) - y
                        for k, value in enumerate([1, *x]):
                            gradient[k] += error * value
                    w = [a - 0.5 * g / len(rows) for a, g in zip(w, gradient)]
                change = [c + len(rows) / total * (a - b) for c, a, b in zip(change, w, model)]
            model = [a + c for a, c in zip(model, change)]
        return model


def test_a_shell_script_trains_a_model_of_its_own():
    with Clinics(rounds=3) as f:
        run_all(f)
        for event in f.completed():
            assert event["included"] == 5, event
        worst = max(abs(a - b) for a, b in zip(f.model(), f.expected()))
        print(f"# differs from the model computed here by {worst:.2g}", flush=True)
        assert worst < 1e-5, worst


BAD = 'echo \'{"examples": 1}\' >"$CONSILIUM_FOLDER/metrics.json"; '
# A round each: whose command it is (h3 has a short time limit), what it does, what is said.
MISBEHAVIOURS = [
    ("h1", "exit 7", "exit status 7"),
    ("h2", "kill -SEGV $$", "crashed: signal 11"),
    ("h3", "sleep 100000", "longer than its 8 s and was ended"),
    ("h1", BAD + 'echo garbage >"$CONSILIUM_FOLDER/update.safetensors"', "doesn't hold the tensors"),
    ("h2", BAD + 'cd "$CONSILIUM_FOLDER"; n=$(od -An -tu8 -N8 global.safetensors); '
     '{ head -c $((8 + n)) global.safetensors; printf "\\000\\000\\300\\177%012d" 0; } >update.safetensors',
     "not finite"),
    ("h1", 'exec head -c 3000000 /dev/zero >"$CONSILIUM_FOLDER/big"', "a file of more than 1 MiB"),
]


def misbehave(f, name):
    """A command that does as the list says in its rounds, and trains in all others."""
    path = os.path.join(f.folder, name + ".sh")
    with open(path, "w") as file:
        print('round=$(sed -n \'s/^  "round": \\([0-9]*\\).*/\\1/p\' "$CONSILIUM_TASK")\necho "Mary has 3"', file=file)
        print("case $round in", file=file)
        for number, (who, what, _) in enumerate(MISBEHAVIOURS, 1):
            if who == name:
                print(f"{number}) {what}; exit ;;", file=file)
        print("esac\nexec", *SHELL, file=file)
    trainer = {"command": ["/bin/sh", path], "file_mib": 1, "free_mib": 1}
    if name == "h3":
        trainer["time_limit_s"] = 8
    set_config(f, name, trainer=trainer)


def check_misbehaved(f):
    rounds = {event["round"]: event for event in f.completed()}
    for number, (who, _, said) in enumerate(MISBEHAVIOURS, 1):
        missing = [entry["hospital"] for entry in rounds[number]["missing"]]
        assert rounds[number]["included"] == 4 and missing == [who], rounds[number]
        sentence = f"round {number} goes on without us: the trainer"
        lines = [line for line in f.log(who).splitlines() if sentence in line]
        assert len(lines) == 1 and said in lines[0], (said, f.log(who))
        others = [name for name in f.names if name != who]
        for name in others:
            assert f"round {number}: trained by the command" in f.log(name), f.log(name)
    assert rounds[len(rounds)]["included"] == 5, rounds[len(rounds)]


def test_commands_go_wrong_and_rounds_go_on():
    with Clinics(rounds=len(MISBEHAVIOURS) + 1) as f:
        for name in ("h1", "h2", "h3"):
            misbehave(f, name)
        run_all(f)
        check_misbehaved(f)
        for name in f.names:
            assert not [entry for entry in os.listdir(f.state(name)) if entry.startswith("training-")]
            assert "Mary" not in f.log(name)
        with open(os.path.join(f.state("h1"), "trainer.log")) as file:
            assert "Mary has 3" in file.read()
        assert "Mary" not in f.log("coordinator")


if __name__ == "__main__":
    sys.exit(main([
        test_numpy_trains_as_the_built_in_trainer_does,
        test_numpy_trains_a_logistic_regression,
        test_numpy_trains_a_network_of_several_layers_with_fedprox,
        test_a_shell_script_trains_a_model_of_its_own,
        test_commands_go_wrong_and_rounds_go_on,
    ]))
