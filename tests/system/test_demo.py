#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""The demo, and the verbs that look at what a federation has made: model, status.

Prints TAP. Needs CNS_PROGRAM and CNS_SOURCE_ROOT."""

import csv
import json
import os
import random
import re
import shutil
import signal
import stat
import subprocess
import sys
import tempfile
import time
import traceback

PROGRAM = os.environ["CNS_PROGRAM"]
ROOT = os.environ["CNS_SOURCE_ROOT"]
EXAMPLE = os.path.join(ROOT, "examples", "breast-cancer")
OK, FAILED, USAGE, REFUSED, IO = range(5)
PATIENCE_S = 240
SEED = int(os.environ.get("CNS_TEST_SEED", time.time_ns() % 1_000_000))


def environment():
    """Temporary folders are made in the test's own, where what is left behind is seen."""
    os.makedirs("tmp", exist_ok=True)
    return dict(os.environ, TMPDIR=os.path.abspath("tmp"))


def run(*arguments, expect=OK, says=""):
    done = subprocess.run([PROGRAM, *arguments], stdin=subprocess.DEVNULL, capture_output=True, text=True,
                          timeout=PATIENCE_S, env=environment())
    text = done.stdout + done.stderr
    assert done.returncode == expect, f"{arguments}: exit {done.returncode}, expected {expect}: {text}"
    assert says in text, f"{arguments}: '{says}' is not in: {text}"
    assert "AddressSanitizer" not in text and "runtime error" not in text, text
    if expect != OK:
        assert done.stderr, f"{arguments}: failed without a word on stderr"
    return done.stdout


def run_json(*arguments):
    return json.loads(run(*arguments))


def read(path, how="rb"):
    with open(path, how) as file:
        return file.read()


def write(path, data):
    with open(path, "wb" if isinstance(data, bytes) else "w") as file:
        file.write(data)


def processes():
    """Pids of the program's processes that have our folder in their arguments."""
    here, found = os.getcwd().encode(), {}
    for pid in filter(str.isdigit, os.listdir("/proc")):
        try:
            arguments = read(f"/proc/{pid}/cmdline").split(b"\0")
        except OSError:
            continue
        kit = arguments[3 if arguments[1:3] == [b"demo", b"--poisoned-hospital"] else 2] if len(arguments) > 3 else b""
        if here in kit:
            found[int(pid)] = os.path.basename(kit.decode())
    return found


def nothing_is_left():
    assert processes() == {}, processes()
    assert os.listdir("tmp") == [], os.listdir("tmp")


class Demo:
    """A demo in the background, in a process group of its own."""

    def __init__(self, *options):
        self.process = subprocess.Popen([PROGRAM, "demo", *options], stdin=subprocess.DEVNULL,
                                        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
                                        start_new_session=True, env=environment())
        self.text = ""

    def wait_for(self, what):
        while what not in self.text:
            line = self.process.stdout.readline()
            assert line, f"the demo ended before '{what}': {self.text}"
            self.text += line

    def end(self, expect):
        self.text += self.process.communicate(timeout=PATIENCE_S)[0]
        assert self.process.returncode == expect, f"exit {self.process.returncode}, not {expect}: {self.text}"
        assert "AddressSanitizer" not in self.text and "runtime error" not in self.text, self.text


def test_the_demo_over_seeds():
    done = subprocess.run([sys.executable, "-B", os.path.join(ROOT, "benchmarks", "demo_study.py"), "2"],
                          stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=2 * PATIENCE_S,
                          env=environment())
    print("# " + done.stdout.replace("\n", "\n# "))
    assert done.returncode == OK, done.stdout + done.stderr
    assert done.stdout.count("holds:") == 3 and "hospital-2 6-" in done.stdout
    nothing_is_left()


def test_what_a_person_sees():
    text = run("demo", "--rounds", "6", "--seed", "4")
    for number in range(1, 7):
        assert re.search(rf"^round {number}/6: [345] of 5 hospitals.*% of the weight, loss \d\.\d+, AUC \d\.\d+, "
                         r"[\d.]+ [kM]B up, [\d.]+ [kM]B down, \d+\.\d\d s$", text, re.M), (number, text)
    killed = int(re.search(r"-- hospital-2 is killed \(SIGKILL\) as round (\d) begins", text)[1])
    assert "-- hospital-2 is started again" in text
    assert re.search(rf"^round {killed}/6: 4 of 5 hospitals \(hospital-2: [^)]+\), \d\d\.\d % of the weight", text, re.M)
    # In the next round, unless this machine took seconds to start a process.
    back = int(re.search(r"-- hospital-2 is back in round (\d), nobody had to do anything", text)[1])
    assert f"hospital-2 was killed in round {killed} and took part again in round {back}." in text and back > killed
    for line in (r"hospital-5 +alone +\d+ +\d\.\d{4}", r"the federation +\d+ +\d\.\d{4}", r"all data pooled +\d+ +\d\.\d{4}",
                 r"The federation is .*the pooled data", r"\d+\.\d seconds in all"):
        assert re.search(line, text), (line, text)
    assert "What was protected" in text and "no\nnoise" in text
    nothing_is_left()
    assert "From round 5 on hospital-1 is poisoned" in text and "raises the sketch budget" in text
    assert len(re.findall(r"^  !! round 5: hospital-1: the update is \d(?:\.\d+)? times as long as clipping allows .limit 1.22."
                          r".* It is left out of this round's sum\.$", text, re.M)) == 1, text
    assert len(re.findall(r"^round [56]/6: .*hospital-1: left out because of a flag", text, re.M)) == 2, text
    assert "hospital-1 was poisoned in 2 rounds: flagged in 2, left out of 2 sums." in text


def test_json_has_all_figures():
    result = run_json("demo", "--rounds", "4", "--hospitals", "4", "--no-kill", "--json")
    assert [row["round"] for row in result["rounds"]] == [1, 2, 3, 4]
    assert all(row["included"] == row["expected"] == 4 and row["weight_share"] == 1 for row in result["rounds"])
    assert len(result["hospitals"]) == 4 and "killed" not in result
    patients = sum(hospital["patients"] for hospital in result["hospitals"])
    assert patients + result["test_patients"] == 569
    alone = [hospital["alone_auc"] for hospital in result["hospitals"]]
    assert abs(result["alone_auc_mean"] - sum(alone) / 4) < 1e-9 and result["alone_auc_best"] == max(alone)
    assert result["parameters"] >= 8192 and result["epochs"] == 12
    for key in ("federated_auc", "pooled_auc"):
        assert 0.5 < result[key] <= 1
    nothing_is_left()


def test_signals_leave_nothing_behind():
    for number, code, group in ((signal.SIGINT, 130, False), (signal.SIGINT, 130, True), (signal.SIGTERM, 143, False),
                                (signal.SIGQUIT, 131, False)):
        demo = Demo("--rounds", "1000", "--no-kill")
        demo.wait_for("round 3/")
        assert len(processes()) == 6, processes()
        if group:
            os.killpg(demo.process.pid, number)
        else:
            os.kill(demo.process.pid, number)
        demo.end(code)
        assert "stopped by" in demo.text
        nothing_is_left()


def test_a_signal_at_any_moment_leaves_nothing_behind():
    rng = random.Random(SEED)
    for _ in range(6):
        demo, pause = Demo("--rounds", "1000"), rng.uniform(0.05, 2)
        time.sleep(pause)
        demo.process.send_signal(signal.SIGINT)
        demo.process.communicate(timeout=PATIENCE_S)
        # Before the program has come to its own signals, the signal itself ends it.
        assert demo.process.returncode in (130, -signal.SIGINT), f"seed {SEED}, after {pause} s: {demo.process.returncode}"
        nothing_is_left()


def test_killed_itself_it_takes_its_processes_along():
    demo = Demo("--rounds", "1000")
    demo.wait_for("round 2/")
    demo.process.kill()
    demo.process.wait()
    for _ in range(100):
        if not processes():
            break
        time.sleep(0.05)
    assert processes() == {}, processes()


def test_a_process_that_dies_ends_the_demo():
    for name in ("coordinator", "hospital-3"):
        demo = Demo("--rounds", "1000")
        demo.wait_for("round 2/")
        os.kill({found: pid for pid, found in processes().items()}[name], signal.SIGKILL)
        demo.end(FAILED)
        assert f"{name} ended unexpectedly: signal 9" in demo.text, demo.text
        assert f"The last lines of {name}:" in demo.text and "round" in demo.text.split("The last lines")[1], demo.text
        nothing_is_left()


def test_a_reader_that_goes_ends_the_demo():
    demo = Demo("--rounds", "1000")
    demo.wait_for("round 1/")
    demo.process.stdout.close()
    assert demo.process.wait(timeout=PATIENCE_S) == IO
    nothing_is_left()


def small_disk(megabytes, *command):
    """A command whose TMPDIR is a disk of that size; None where nothing can be mounted."""
    os.makedirs("tmp", exist_ok=True)
    mount = ["unshare", "-rm", "sh", "-c", 'mount -t tmpfs -o size="$1" none tmp || exit 99; shift; exec "$@"', "sh"]
    done = subprocess.run([*mount, f"{megabytes}m", *command], stdin=subprocess.DEVNULL, capture_output=True,
                          text=True, timeout=PATIENCE_S, env=environment())
    if "unshare" in done.stderr or done.returncode == 99:
        print("# no disk can be mounted here:", done.stderr.strip())
        return None
    return done


def test_a_disk_too_small_is_said_before_it_begins():
    done = small_disk(20, PROGRAM, "demo")
    if done:
        assert done.returncode == IO and "20 MiB of room, and this demo needs about" in done.stderr, done
        assert "round" not in done.stdout, done
    done = small_disk(200, PROGRAM, "demo", "--rounds", "1")
    assert done is None or done.returncode == OK, done


FILL_WHILE_IT_RUNS = r"""
"$0" demo --rounds 12 --no-kill >log 2>&1 &
until grep -q '^round 2/' log; do sleep 0.05; kill -0 $! || exit 98; done
room=$(df --output=avail -k tmp | tail -1)
head -c $(( (room - 20 * 1024) * 1024 )) /dev/zero >tmp/fill
until grep -q 'coordinator: waiting: .*no space left' log; do sleep 0.05; kill -0 $! || exit 97; done
rm tmp/fill
wait $!
"""


def test_what_the_coordinator_waits_for_is_shown():
    done = small_disk(150, "sh", "-c", FILL_WHILE_IT_RUNS, PROGRAM)
    assert done is None or done.returncode == OK, (done, read("log", "r"))
    assert done is None or "round 12/12" in read("log", "r")


def own_data(**changes):
    os.makedirs("data", exist_ok=True)
    study = json.loads(read(f"{EXAMPLE}/study.json"))
    study["model"]["hidden"] = [8]
    study.update(changes)
    write("data/study.json", json.dumps(study))
    shutil.copy(f"{EXAMPLE}/wdbc.csv", "data/table.csv")


def test_own_data():
    own_data(name="mine")
    result = run_json("demo", "--data", "data", "--rounds", "3", "--json")
    assert result["study"] == "mine" and result["parameters"] == 30 * 8 + 8 + 8 * 2 + 2
    shutil.copy("data/table.csv", "data/more.csv")
    run("demo", "--data", "data", expect=IO, says="holds 2 files")
    os.remove("data/more.csv")
    os.remove("data/table.csv")
    run("demo", "--data", "data", expect=IO, says="holds 0 files")
    write("data/table.csv", read(f"{EXAMPLE}/wdbc.csv").replace(b"radius_mean", b"radius_median", 1))
    run("demo", "--data", "data", expect=FAILED, says="radius_mean")
    write("data/study.json", "{")
    run("demo", "--data", "data", expect=FAILED, says="data/study.json")
    run("demo", "--data", "none", expect=IO, says="none/study.json")
    nothing_is_left()


def test_a_table_of_one_class_has_no_auc():
    own_data()
    rows = read("data/table.csv", "r").splitlines()
    write("data/table.csv", "\n".join([rows[0]] + [row for row in rows[1:] if ",B," in row]) + "\n")
    text = run("demo", "--data", "data", "--rounds", "1", "--hospitals", "4")
    assert text.count("no AUC") == 7 and "there is no AUC to compare" in text and "nan" not in text.lower(), text
    result = run_json("demo", "--data", "data", "--rounds", "1", "--hospitals", "4", "--json")
    assert not any("auc" in key for key in result) and "alone_auc" not in result["hospitals"][0], result
    write("data/table.csv", "\n".join(rows[:8]) + "\n")
    run("demo", "--data", "data", expect=FAILED, says="or fewer hospitals (at least 4)")
    nothing_is_left()


def test_wrong_calls():
    run("demo", "--hospitals", "3", expect=USAGE, says="--hospitals must be from 4 to 50")
    run("demo", "--rounds", "0", expect=USAGE, says="--rounds must be")
    run("demo", "now", expect=USAGE, says="one argument too many")
    write("file", "")
    run("demo", "--keep", "file", expect=IO, says="is not a folder")
    run("demo", "--keep", ".", expect=IO, says="is not empty")
    for arguments in (["demo"], ["status"], ["model"], ["model", "export"], ["model", "predict"], ["model", "show"]):
        assert run(*arguments, "--help").startswith("Usage: consilium " + " ".join(arguments))
    run("model", "fly", expect=USAGE, says='unknown verb "fly"')
    run("model", "export", "x", expect=USAGE, says="--out FILE is missing")
    run("model", "predict", "--study", "x", "--data", "x", expect=USAGE, says="--model FILE is missing")
    run("model", "predict", "--model", "x", "--data", "x", expect=USAGE, says="--study FILE is missing")
    run("model", "predict", "--model", "x", "--study", "x", expect=USAGE, says="--data FILE is missing")
    run("status", expect=USAGE, says="an argument is missing")


def kept(rounds):
    """A kept demo, of which status is asked while it runs."""
    demo = Demo("--keep", "k", "--no-poison", "--rounds", str(rounds))
    demo.wait_for("round 3/")
    running = run_json("status", "k/federation/coordinator", "--json")
    hospital = run_json("status", "k/federation/hospitals/hospital-1", "--json")
    demo.end(OK)
    return running, hospital


def check_status(rounds, running, hospital):
    assert 3 <= running["rounds_done"] <= rounds and running["rounds_planned"] == rounds
    assert hospital["consented"] is True and hospital["model_round"] >= 2 and hospital["signed_round"] >= 3
    status = run_json("status", "k/federation/coordinator", "--last", "1000", "--json")
    assert status["rounds_done"] == rounds and len(status["rounds"]) == rounds
    missed = [row for row in status["rounds"] if row["included"] == 4]
    assert missed and missed[0]["missing"][0]["hospital"] == "hospital-2", status
    assert missed[0]["missing"][0]["reason"] and missed[0]["weight_share"] < 1
    assert all(row["state"] == "completed" and 0 <= row["auc"] <= 1 for row in status["rounds"])
    text = run("status", "k/federation/coordinator", "--last", "2", says=f"{rounds} of {rounds} rounds done")
    assert status["model"] in text and text.count("  round ") == 2
    for number in range(1, 6):
        kit = f"k/federation/hospitals/hospital-{number}"
        one = run_json("status", kit, "--json")
        assert one["model"] == status["model"] and one["model_round"] == rounds
        assert one["updates_spent"] == 0 and one["signed_round"] == rounds
        assert "consent  given, with" in run("status", kit)
    return status


def check_export(rounds, status):
    for kit in ("k/federation/coordinator", "k/federation/hospitals/hospital-2"):
        out = os.path.basename(kit) + ".safetensors"
        exported = run_json("model", "export", kit, "--out", out, "--json")
        assert exported["round"] == rounds and exported["verified"] and exported["model_digest"] == status["model"]
    assert read("coordinator.safetensors") == read("hospital-2.safetensors")
    shown = run_json("model", "show", "coordinator.safetensors", "--json")
    assert [tensor["shape"] for tensor in shown["tensors"]] == [[128, 30], [128], [64, 128], [64], [2, 64], [2]]
    assert shown["metadata"]["study"] == "wdbc-mlp" and shown["metadata"]["round"] == str(rounds)
    assert shown["metadata"]["model_digest"] == status["model"]
    assert "12354 parameters" in run("model", "show", "coordinator.safetensors")
    run("model", "export", "k/federation/coordinator", "--round", "0", "--out", "zero.safetensors", says="round 0")
    run("model", "export", "k/federation/coordinator", "--round", str(rounds - 1), "--out", "before.safetensors")
    assert read("before.safetensors") != read("coordinator.safetensors")
    run("model", "export", "k/federation/coordinator", "--round", "1", "--out", "x", expect=IO,
        says=f"models of rounds {rounds - 9} to {rounds}")
    assert "nobody's signature" in run("model", "export", "k/federation/coordinator/state", "--out", "state.safetensors")
    assert not os.path.exists("x")


def check_predict():
    table, study = f"{EXAMPLE}/wdbc.csv", "k/federation/coordinator/study.json"
    ask = ["model", "predict", "--model", "coordinator.safetensors", "--study", study, "--data"]
    lines = run(*ask, table).splitlines()
    with open(table, newline="") as file:
        truth = [row["diagnosis"] for row in csv.DictReader(file)]
    assert lines[0] == "row,B,M" and len(lines) == 570 and not any("P0" in line for line in lines)
    rows = [line.split(",") for line in lines[1:]]
    assert [int(row[0]) for row in rows] == list(range(1, 570))
    assert all(abs(float(row[1]) + float(row[2]) - 1) < 1e-5 for row in rows)
    right = sum((float(row[2]) > 0.5) == (label == "M") for row, label in zip(rows, truth))
    assert right > 0.93 * 569, right
    # AUC, counted here by its definition.
    scores = {label: [float(row[2]) for row, is_label in zip(rows, truth) if is_label == label] for label in "BM"}
    wins = sum((m > b) + (m == b) / 2 for m in scores["M"] for b in scores["B"])
    found = run_json(*ask, table, "--evaluate", "--json")["evaluation"]
    assert found["rows"] == 569 and abs(found["auc"] - wins / len(scores["M"]) / len(scores["B"])) < 1e-3
    run(*ask, table, "--out", "p.csv", "--evaluate", says="AUC")
    assert stat.S_IMODE(os.stat("p.csv").st_mode) == 0o600
    assert read("p.csv", "r").splitlines() == lines
    assert len(run_json(*ask, table, "--json")["rows"]) == 569
    return ask


def check_bad_tables(ask):
    text = read(f"{EXAMPLE}/wdbc.csv", "r").splitlines()
    write("few.csv", "\n".join([text[0].replace(",area_se,", ",area_xx,")] + text[1:]))
    run(*ask, "few.csv", expect=FAILED, says="area_se")
    cells = text[2].split(",")
    write("gap.csv", "\n".join([text[0], text[1], ",".join(cells[:4] + [""] + cells[5:])]) + "\n")
    run(*ask, "gap.csv", says="1 of 2 rows lack a value")
    write("plain.csv", "\n".join(",".join(line.split(",")[2:]) for line in text))  # neither patient nor label
    assert len(run(*ask, "plain.csv").splitlines()) == 570
    run(*ask, "plain.csv", "--evaluate", expect=FAILED, says="diagnosis")
    write("empty.csv", "")
    run(*ask, "empty.csv", expect=FAILED, says="empty.csv")
    run(*ask, "none.csv", expect=IO, says="none.csv")


def check_bad_models(ask):
    study, table = ask[5], f"{EXAMPLE}/wdbc.csv"

    def predict(model, study, **expected):
        run("model", "predict", "--model", model, "--study", study, "--data", table, **expected)

    data, rng = read("coordinator.safetensors"), random.Random(SEED)
    for length in (0, 7, 100, len(data) // 2, len(data) - 1):
        write("bad.safetensors", data[:length])
        run("model", "show", "bad.safetensors", expect=FAILED, says="bad.safetensors")
        predict("bad.safetensors", study, expect=FAILED, says="bad.safetensors")
    begin = 8 + int.from_bytes(data[:8], "little")
    for at in [begin, len(data) - 1] + [rng.randrange(begin, len(data)) for _ in range(10)]:  # in the weights
        write("bad.safetensors", data[:at] + bytes([data[at] ^ 1 << rng.randrange(8)]) + data[at + 1:])
        for verb in (["model", "show", "bad.safetensors"], [*ask[:3], "bad.safetensors", *ask[4:], table]):
            done = subprocess.run([PROGRAM, *verb], capture_output=True, text=True, timeout=60)
            assert done.returncode == FAILED, f"seed {SEED}: byte {at}: {done}"
            assert "model_digest" in done.stderr or "not finite" in done.stderr, f"seed {SEED}: byte {at}: {done}"
    write("bad.safetensors", read("zero.safetensors").replace(b"model_digest", b"model-digest")[:-4] + b"\0\0\xc0\x7f")
    run("model", "show", "bad.safetensors", expect=FAILED, says="not finite")
    for _ in range(20):  # flipped bits in the header: refused, or of no consequence, and never a crash
        at = rng.randrange(600)
        write("bad.safetensors", data[:at] + bytes([data[at] ^ 1 << rng.randrange(8)]) + data[at + 1:])
        done = subprocess.run([PROGRAM, *ask[:3], "bad.safetensors", *ask[4:], table], capture_output=True, timeout=60)
        assert done.returncode in (OK, FAILED), f"seed {SEED}: byte {at}: {done}"
    predict("coordinator.safetensors", f"{EXAMPLE}/study.json", expect=FAILED, says="another version of the study file")
    own_data(name="other")
    predict("coordinator.safetensors", "data/study.json", expect=FAILED, says='is a model of the study "wdbc-mlp"')
    own_data()
    predict("state.safetensors", "data/study.json", expect=FAILED, says="layer0.weight")
    predict("none.safetensors", study, expect=IO, says="none.safetensors")
    predict("coordinator.safetensors", "none.json", expect=IO, says="none.json")


def check_bad_kits():
    for verb in (["status"], ["model", "export", "--out", "x"]):
        run(*verb, "none", expect=IO, says="none")
        run(*verb, "k/federation/authority", expect=IO, says="k/federation/authority")
    run("status", "k/federation/hospitals/hospital-1/state", expect=IO, says="config.json")
    journal = "k/federation/coordinator/state/journal.sqlite"
    write(journal, b"no journal")
    run("status", "k/federation/coordinator", expect=FAILED, says="journal.sqlite")
    database = "k/federation/hospitals/hospital-1/state/hospital.db"
    write(database, b"")
    run("status", "k/federation/hospitals/hospital-1", expect=FAILED, says="hospital.db")
    digest = run_json("model", "export", "k/federation/coordinator", "--out", "y", "--json")["model_digest"]
    path = f"k/federation/coordinator/state/models/models/{digest}.model"
    data = read(path)
    os.chmod(path, 0o600)
    write(path, data[:-1] + bytes([data[-1] ^ 1]))
    run("model", "export", "k/federation/coordinator", "--out", "x", expect=FAILED, says=digest[:16])
    manifests = "k/federation/coordinator/state/models/manifests"
    last = os.path.join(manifests, sorted(os.listdir(manifests))[-1])
    os.chmod(last, 0o600)
    write(last, read(last).replace(b'"clipped": 0', b'"clipped": 1'))
    run("model", "export", "k/federation/coordinator", "--out", "x", expect=REFUSED, says="manifest")
    assert not os.path.exists("x")


def test_looking_at_what_a_federation_has_made():
    rounds = 12
    running, hospital = kept(rounds)
    assert stat.S_IMODE(os.stat("k").st_mode) == 0o700 and processes() == {}
    status = check_status(rounds, running, hospital)
    check_export(rounds, status)
    ask = check_predict()
    check_bad_tables(ask)
    check_bad_models(ask)
    check_bad_kits()


def test_kits_that_nothing_was_done_with():
    run("init", "f", "--study", f"{EXAMPLE}/study.json", "--count", "4")
    status = run_json("status", "f/coordinator", "--json")
    assert status["started"] is False and status["rounds_done"] == 0 and status["rounds"] == []
    assert "has not been started" in run("status", "f/coordinator")
    hospital = run_json("status", "f/hospitals/hospital-4", "--json")
    assert hospital["consented"] is False and hospital["model_round"] == 0
    text = run("status", "f/hospitals/hospital-4")
    assert "not given; run: consilium consent f/hospitals/hospital-4" in text and "signed   nothing yet" in text
    assert not os.path.exists("f/coordinator/state") and not os.path.exists("f/hospitals/hospital-4/state")
    run("model", "export", "f/coordinator", "--out", "x", expect=IO, says="holds no models")
    write("f/coordinator/study.json", read("f/coordinator/study.json").replace(b'"rounds": 15', b'"rounds": 16'))
    run("status", "f/coordinator", expect=REFUSED, says="study.json")


def main():
    tests = [(name, test) for name, test in globals().items() if name.startswith("test_")]
    chosen = sys.argv[1:]
    tests = [(name, test) for name, test in tests if not chosen or any(part in name for part in chosen)]
    failed = 0
    print(f"1..{len(tests)}", flush=True)
    for number, (name, test) in enumerate(tests, 1):
        with tempfile.TemporaryDirectory(prefix="cns-demo-") as folder:
            os.chdir(folder)
            try:
                test()
                print(f"ok {number} - {name[5:]}", flush=True)
            except Exception:  # a failed test must not stop the others
                failed += 1
                for line in traceback.format_exc().splitlines():
                    print(f"# {line}")
                print(f"not ok {number} - {name[5:]}", flush=True)
            os.chdir("/")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
