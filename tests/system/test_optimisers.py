#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Server optimisers in federations of processes: what their state on the disk says is what
became of the models; the coordinator killed between rounds, in rounds and at each sync of
a result; a state that is missing or damaged. TAP."""

import glob
import json
import math
import os
import shutil
import signal
import struct
import subprocess
import sys
import tempfile
import time

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
from federation import EXAMPLE, PATIENCE_S, PROGRAM, Federation, main, run  # noqa: E402

# Looked on at from outside, perhaps slowly.
ENDLESS = 100000
ADAM = {"kind": "fedadam", "learning_rate": 0.05, "beta1": 0.9, "beta2": 0.95, "tau": 0.001}
HEADER, BLOCK, DIGEST = 4096, 65536, 32


def optimiser_files(kit):
    """By round."""
    files = {}
    for path in glob.glob(os.path.join(kit, "state", "optimiser", "*-*.optimiser")):
        files[int(os.path.basename(path).split("-")[0])] = path
    return files


def state_of(path, dim):
    """m and v: one block here."""
    assert dim <= BLOCK
    with open(path, "rb") as file:
        data = file.read()
    assert len(data) == HEADER + DIGEST + 8 * dim, len(data)
    numbers = struct.unpack(f"<{2 * dim}f", data[HEADER + DIGEST:])
    return numbers[:dim], numbers[dim:]


def model_of(kit, number):
    """Of a round; 0: of the parent of round 1."""
    folder = os.path.join(kit, "state", "models")
    (manifest,) = glob.glob(os.path.join(folder, "manifests", f"{number:020d}-*.manifest"))
    digest = os.path.basename(manifest).split("-")[1].split(".")[0]
    with open(os.path.join(folder, "models", digest + ".model"), "rb") as file:
        data = file.read()
    (header,) = struct.unpack("<Q", data[:8])
    body = data[8 + header:]
    return digest, struct.unpack(f"<{len(body) // 4}f", body)


def check_step(before, after, number):
    """Model, m and v of round `number` in kit `after` follow from those before by FedAdam
    (Reddi et al. 2021, Algorithm 2), with the mean update that m tells."""
    (_, x), (_, new_x) = model_of(before, number - 1), model_of(after, number)
    m, v = state_of(optimiser_files(before)[number - 1], len(x))
    new_m, new_v = state_of(optimiser_files(after)[number], len(x))
    moved = 0
    for k in range(len(x)):
        delta = (new_m[k] - ADAM["beta1"] * m[k]) / (1 - ADAM["beta1"])
        expected_v = ADAM["beta2"] * v[k] + (1 - ADAM["beta2"]) * delta * delta
        assert abs(new_v[k] - expected_v) <= 1e-5 * (expected_v + delta * delta) + 1e-12, (k, new_v[k], expected_v)
        step = ADAM["learning_rate"] * new_m[k] / (math.sqrt(new_v[k]) + ADAM["tau"])
        assert abs(new_x[k] - x[k] - step) <= 1e-6, (k, new_x[k] - x[k], step)
        moved = max(moved, abs(step))
    assert moved > 0.01, moved


class Branch:
    """A copy of the coordinator, alone, that goes on from where it was: its round needs nobody any more."""

    def __init__(self, f, base, name):
        self.f, self.kit, self.log = f, os.path.join(f.folder, name), os.path.join(f.folder, name + ".log")
        shutil.copytree(base, self.kit)

    def run(self, number, **faults):
        """Until the manifest of round `number` is there, or until it is killed; True in the first case."""
        environment = dict(os.environ, LD_PRELOAD=os.environ["CNS_FAULT"])
        environment["ASAN_OPTIONS"] = "verify_asan_link_order=0:" + environment.get("ASAN_OPTIONS", "")
        environment.update({"CNS_FAULT_" + key: str(value) for key, value in faults.items()})
        with open(self.log, "w") as log:
            process = subprocess.Popen([PROGRAM, "coordinator", self.kit, "--listen", "tls+tcp://127.0.0.1:0"],
                                       stdin=subprocess.DEVNULL, stdout=log, stderr=log, env=environment)
        try:
            return self.finish(process, number)
        finally:
            process.kill()
            process.wait()

    def finish(self, process, number):
        manifest = os.path.join(self.kit, "state", "models", "manifests", f"{number:020d}-*.manifest")
        end = time.monotonic() + PATIENCE_S
        while process.poll() is None and not (glob.glob(manifest) and self.listens()):
            assert time.monotonic() < end, "a branch doesn't end"
            time.sleep(0.01)
        process.terminate()
        code = process.wait(timeout=PATIENCE_S)
        with open(self.log) as log:
            assert code in (0, -signal.SIGKILL), (code, log.read()[-1500:])
        return code == 0

    def listens(self):
        with open(self.log) as log:
            return "listening on" in log.read()


def check_branches(f, base, number):
    """From the last answer to the manifest: the same bits, wherever it is killed."""
    first = Branch(f, base, "undisturbed")
    synced = os.path.join(f.folder, "synced")
    assert first.run(number, SYNCED=synced)
    with open(synced) as file:
        paths = [line.strip() for line in file]
    result = [k for k, path in enumerate(paths, 1) if path.endswith("new.optimiser")]
    assert result, paths
    # What is synced, in this order: model, optimiser's state, journal.
    folders = [os.path.basename(os.path.dirname(path)) for path in paths]
    assert folders.index("models") < result[0] <= len(paths) - 2, paths
    check_step(base, first.kit, number)
    expected = model_of(first.kit, number)
    with open(optimiser_files(first.kit)[number], "rb") as file:
        state = file.read()
    kills = 0
    near, later = range(max(1, result[0] - 2), result[-1] + 3), range(result[-1] + 3, len(paths) + 1, 2)
    for count in (*near, *later):
        for fault in ("KILL_SYNC", "KILL_AFTER_SYNC") if "optimiser" in paths[count - 1] else ("KILL_SYNC",):
            branch = Branch(f, base, f"branch-{fault}-{count}")
            if not branch.run(number, **{fault: count}):
                kills += 1
                assert branch.run(number), "killed without a fault"
            assert model_of(branch.kit, number)[0] == expected[0], (fault, count)
            files = optimiser_files(branch.kit)
            assert list(files) == [number], files
            with open(files[number], "rb") as file:
                assert file.read() == state, (fault, count)
            shutil.rmtree(branch.kit)
    assert kills >= 6, kills
    print(f"# {kills} kills around the result of round {number}", flush=True)


def test_fedadam_killed_between_rounds_and_in_them():
    with Federation(count=4, rounds=ENDLESS, server_optimiser=ADAM) as f:
        kit, flag = f.kit("coordinator"), os.path.join(f.folder, "full")
        faults = {"FULL": flag, "FOLDER": os.path.join(f.state("coordinator"), "optimiser")}
        f.start_coordinator(**faults)
        for name in f.names:
            f.start(name)
        f.wait(lambda: len(f.completed()) >= 2, "two rounds")
        f.kill("coordinator")
        f.start_coordinator(**faults)
        done = len(f.completed())
        f.wait(lambda: len(f.completed()) > done, "a round after the kill")
        # No room for the state: the coordinator ends in the round's last phase, and says why.
        open(flag, "w").close()
        f.wait_exit("coordinator", 4)
        assert "new.optimiser" in f.log("coordinator"), f.tails()
        number = len(f.completed()) + 1
        base = os.path.join(f.folder, "base")
        shutil.copytree(kit, base)
        check_branches(f, base, number)
        # And the federation itself goes on, here without faults.
        os.unlink(flag)
        f.start_coordinator()
        f.wait(lambda: len(f.completed()) >= number + 2, "the rounds after it")
        f.kill("coordinator")
        rounds = [event["round"] for event in f.completed()]
        assert rounds == list(range(1, len(rounds) + 1)), rounds
        assert all(event["included"] == 4 for event in f.completed()[:number]), f.completed()
        check_refusals(f)


def check_refusals(f):
    """A state that isn't there, or isn't whole, is said at the start, before anybody trains."""
    before = f.said()
    f.start_coordinator()  # one that was killed between manifest and sweep has two of them
    f.wait(lambda: "listening on" in f.said(before), "the coordinator")
    f.kill("coordinator", signal.SIGTERM)
    files = optimiser_files(f.kit("coordinator"))
    path = files[max(files)]
    with open(path, "rb") as file:
        state = file.read()
    for content, word in ((None, "is missing, what the server's optimiser remembers since round"),
                          (state[:-1] + bytes([state[-1] ^ 1]), "this state of the server's optimiser is damaged"),
                          (state[:5000], "this state of the server's optimiser is damaged")):
        if content is None:
            os.unlink(path)
        else:
            with open(path, "wb") as file:
                file.write(content)
        before = f.said()
        process = f.start_coordinator()
        assert process.wait(timeout=PATIENCE_S) not in (0, None), f.tails()
        said = f.said(before)
        assert word in said and "restore it from a backup" in said and "listening on" not in said, said
    with open(path, "wb") as file:
        file.write(state)
    done = len(f.completed())
    f.start_coordinator()
    f.wait(lambda: len(f.completed()) > done, "a round with the state restored")


def test_momentum_and_a_server_learning_rate():
    """FedAvgM: one array a parameter; x follows m."""
    optimiser = {"kind": "fedavgm", "learning_rate": 0.5, "momentum": 0.8}
    with Federation(count=4, rounds=2, server_optimiser=optimiser) as f:
        f.start_all()
        f.wait_exit("coordinator")
        kit = f.kit("coordinator")
        (_, x), (_, new_x) = model_of(kit, 1), model_of(kit, 2)
        files = optimiser_files(kit)
        assert list(files) == [2], files
        with open(files[2], "rb") as file:
            m = struct.unpack(f"<{len(x)}f", file.read()[HEADER + DIGEST:])
        assert max(abs(b - a - 0.5 * d) for a, b, d in zip(x, new_x, m)) < 1e-6
        with open(os.path.join(f.kit("h1"), "study.json")) as file:
            assert json.loads(file.read().split("\n-- ")[0])["training"]["server_optimiser"] == optimiser


def tensors_of(data):
    (header,) = struct.unpack("<Q", data[:8])
    names = json.loads(data[8:8 + header])
    return {name: struct.unpack(f"<{(at[1] - at[0]) // 4}f", data[8 + header + at[0]:8 + header + at[1]])
            for name, at in ((name, tensor["data_offsets"]) for name, tensor in names.items()
                             if name != "__metadata__")}, names.get("__metadata__", {})


def control_of(f, name, dim):
    """A hospital's variate."""
    with open(os.path.join(f.state(name), "control.current"), "rb") as file:
        data = file.read()
    return struct.unpack(f"<{dim}f", data[-4 * dim:])


def proposals(f, name):
    return glob.glob(os.path.join(f.state(name), "control.*.proposed*"))


def restart_in_a_round(f, name):
    """Killed while another hospital holds the round open, and back before its manifest."""
    f.processes["h1"].send_signal(signal.SIGSTOP)
    f.kill(name)
    before = len(f.log(name))
    f.start(name)
    f.wait(lambda: "connected to the coordinator" in f.log(name)[before:], f"{name} to be back")
    f.processes["h1"].send_signal(signal.SIGCONT)
    done = len(f.completed())
    f.wait(lambda: len(f.completed()) > done + 1, "the rounds after it")


def test_scaffold_with_a_hospital_that_misses_rounds():
    """The server's variate stays the mean of the hospitals', whoever misses a round, or dies in one."""
    rounds = 60
    with Federation(count=5, rounds=rounds, weighting="equal", momentum=0, clip_norm=1,
                    scaffold={"steps": 6, "hospitals": 5}) as f:
        f.start_coordinator()
        for name in f.names[:4]:
            f.start(name)
        f.wait(lambda: len(f.completed()) >= 1, "a round of four")
        f.start("h5")
        f.wait(lambda: any(e["included"] == 5 for e in f.completed()), "a round of five")
        assert "no control variate of an earlier round is here" in f.log("h5"), f.tails()
        for name in ("h5", "h4", "h5"):
            restart_in_a_round(f, name)
        assert len(f.completed()) < rounds, "the study was over too early for this test"
        f.wait(lambda: len(f.completed()) == rounds, "the end of the study")
        assert f.completed()[-1]["auc"] > 0.8
        for name in f.names:
            f.wait(lambda: f"study finished after round {rounds}" in f.log(name), f"{name} to have the last model")
            assert proposals(f, name) == [], proposals(f, name)
            assert os.stat(os.path.join(f.state(name), "control.current")).st_mode & 0o777 == 0o600
            f.kill(name, signal.SIGTERM)
        (manifest,) = glob.glob(os.path.join(f.state("coordinator"), "models", "manifests", f"{rounds:020d}-*.manifest"))
        digest = os.path.basename(manifest).split("-")[1].split(".")[0]
        with open(os.path.join(f.state("coordinator"), "models", "models", digest + ".model"), "rb") as file:
            tensors, _ = tensors_of(file.read())
        control = [x for name, values in tensors.items() if name.startswith("control.") for x in values]
        dim = len(control)
        assert 2 * dim == sum(len(values) for values in tensors.values())
        own = [control_of(f, name, dim) for name in f.names]
        missed = [name for name in f.names if "isn't known here" in f.log(name)]
        assert missed == [], missed
        worst = max(abs(c - sum(column) / 5) for c, column in zip(control, zip(*own)))
        largest = max(abs(c) for c in control)
        print(f"# server's variate up to {largest:.3g}, off the hospitals' mean by {worst:.2g}", flush=True)
        assert largest > 1e-3 and worst < 1e-4 * largest + 1e-6, (largest, worst)
        # What is published is the model alone.
        path = os.path.join(f.folder, "published.safetensors")
        run("model", "export", f.kit("coordinator"), "--out", path)
        with open(path, "rb") as file:
            published, metadata = tensors_of(file.read())
        assert published == {name: values for name, values in tensors.items() if not name.startswith("control.")}
        assert metadata["round_model_digest"] == digest and metadata["model_digest"] != digest, metadata
        run("model", "export", path, "--out", path + ".again")


def test_scaffold_is_refused_where_patients_are_the_unit():
    with open(os.path.join(EXAMPLE, "study.json")) as file:
        study = json.load(file)
    study["training"].update({"momentum": 0, "local_epochs": 1, "scaffold": {"steps": 6, "hospitals": 4}})
    study.update({"weighting": "equal", "validation_share": 0,
                  "privacy": {"noise_multiplier": 3, "sampling_rate": 0.2}})
    with tempfile.TemporaryDirectory() as folder:
        path = os.path.join(folder, "study.json")
        with open(path, "w") as file:
            json.dump(study, file)
        said = run("init", os.path.join(folder, "f"), "--study", path, "--hospitals", "a,b,c,d", "--epsilon", "8",
                   "--delta", "1e-5", expect=3)
        assert "the study must do without training.scaffold" in said, said


if __name__ == "__main__":
    sys.exit(
        main([test_fedadam_killed_between_rounds_and_in_them, test_momentum_and_a_server_learning_rate,
              test_scaffold_with_a_hospital_that_misses_rounds,
              test_scaffold_is_refused_where_patients_are_the_unit]))
