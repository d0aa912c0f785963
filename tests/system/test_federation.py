#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Whole federations of processes: undisturbed; the coordinator killed at every
sync of its journal; hospitals killed, stopped, lying, out of disk. TAP."""

import csv
import itertools
import json
import os
import re
import signal
import socket
import ssl
import subprocess
import sys
import time

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
from federation import PATIENCE_S, PROGRAM, Federation, main, run  # noqa: E402

# More rounds than a test takes part in: it looks on from outside, perhaps slowly,
# and waits for what follows from what it did.
ENDLESS = 100000
PHASES = ("keys", "shares", "ready", "upload", "agree", "unmask")


def undisturbed_model(rounds):
    with Federation(rounds=rounds) as f:
        f.start_all()
        f.wait_exit("coordinator")
        return f.model()


def assert_same(one, other):
    """Training is the same, so models differ by the grid's rounding only."""
    assert len(one) == len(other)
    worst = max(abs(a - b) for a, b in zip(one, other))
    assert worst < 1e-4, f"models differ by {worst}"


def check_each_round_once(f):
    done = [event["round"] for event in f.completed()]
    assert done == list(range(1, len(done) + 1)), done


def test_five_hospitals_finish_a_study():
    with Federation(rounds=3) as f:
        f.start_all()
        f.wait_exit("coordinator")
        rounds = f.completed()
        assert [event["round"] for event in rounds] == [1, 2, 3]
        for event in rounds:
            assert event["included"] == event["expected"] == 5 and event["missing"] == []
            assert abs(event["weight_share"] - 1) < 1e-9
            assert event["bytes_up"] > 0 and event["bytes_down"] > 0 and event["seconds"] > 0
        assert rounds[2]["auc"] > 0.8 and rounds[2]["loss"] < rounds[0]["loss"]
        for name in f.names:
            f.kill(name, signal.SIGTERM)
            assert f.processes[name].returncode == 0, f.tails()


def syncs_of_a_start(f):
    """How often the daemon syncs before it does anything."""
    count = os.path.join(f.folder, "syncs")
    before = f.said()
    f.start_coordinator(COUNT=count)
    f.wait(lambda: "listening on" in f.said(before), "the coordinator")
    f.kill("coordinator", signal.SIGTERM)
    with open(count) as file:
        return int(file.read())


def json_lines(path):
    with open(path) as file:
        lines = [json.loads(line) for line in file]
    for line in lines:
        assert list(line)[:3] == ["time", "event", "text"], line
        assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ", line["time"]), line
        assert re.fullmatch("[a-z_]+", line["event"]) and line["text"] and "\n" not in line["text"], line
    return lines


def test_rounds_go_to_stdout_and_events_to_stderr():
    """As objects of one form in both daemons; and the end of a study is said by a
    coordinator that stays."""
    with Federation(rounds=2) as f:
        f.start_coordinator()
        f.kill("coordinator")
        os.remove(f.log_path("coordinator"))
        with open(os.path.join(f.folder, "url")) as file:
            url = file.read()
        rounds = os.path.join(f.folder, "rounds")
        with open(rounds, "w") as out, open(f.log_path("coordinator"), "w") as log:
            f.processes["coordinator"] = subprocess.Popen(
                [PROGRAM, "coordinator", f.kit("coordinator"), "--json", "--listen", url], stdout=out, stderr=log)
        for name in f.names:
            f.start(name, "--json", "--until-finished")
        f.wait(lambda: '"finished"' in f.log("coordinator"), "the end of the study")
        for name in f.names:
            f.wait_exit(name)
        assert f.processes["coordinator"].poll() is None
        f.processes["coordinator"].terminate()
        f.wait_exit("coordinator")
        lines = json_lines(rounds)
        assert [line["round"] for line in lines] == [1, 2] and {line["event"] for line in lines} == {"round"}, lines
        assert lines[1]["text"].startswith("round 2/2: 5 of 5 hospitals, 100.0 % of the weight"), lines
        events = json_lines(f.log_path("coordinator"))
        kinds = [line["event"] for line in events]
        assert {"start", "connected", "begin", "finished", "stop"} <= set(kinds) and "round" not in kinds, kinds
        assert kinds.count("finished") == 1 and kinds.count("begin") == 2, kinds
        assert "finished after 2 rounds; its last model" in events[kinds.index("finished")]["text"]
        for name in f.names:
            assert "result" in [line["event"] for line in json_lines(f.log_path(name))]


def phases_gone_on_in(f):
    return {event["text"].split()[-1] for event in f.events() if event["event"] == "resumed"}


def test_coordinator_killed_at_its_syncs():
    """In place of a sync and right after it, each time a little later in the round;
    every round must complete, with the same models."""
    rounds, kills = 2, 0
    with Federation(rounds=rounds) as f:
        syncs_of_a_start(f)  # makes the state folder
        start = syncs_of_a_start(f)
        for name in f.names:
            f.start(name)
        for later in itertools.cycle((2, 4, 7, 11, 16)):
            fault = "KILL_SYNC" if kills % 2 else "KILL_AFTER_SYNC"
            f.start_coordinator("--until-finished", **{fault: start + later})
            code = f.processes["coordinator"].wait(timeout=PATIENCE_S)
            if code == 0:
                break
            assert code == -signal.SIGKILL, f"exit {code}\n{f.tails()}"
            kills += 1
            assert kills < 200, f.tails()
        assert f"finished after {rounds} rounds" in f.log("coordinator"), f.tails()
        phases = phases_gone_on_in(f)
        model = f.model()
    assert_same(model, undisturbed_model(rounds))
    assert kills >= 3, kills
    print(f"# {kills} kills; gone on in phases: {', '.join(sorted(phases))}")


def lines_of(path):
    if not os.path.exists(path):
        return 0
    with open(path) as file:
        return len(file.readlines())


def is_stopped(process):
    with open(f"/proc/{process.pid}/stat") as file:
        return file.read().rsplit(")", 1)[1].split()[0] == "T"


def killed_while_held(f, name):
    """A hospital that stops itself before each sync of its record, which comes before
    each of its answers, so holds each phase open: the coordinator is killed there."""
    flag, synced, kills = os.path.join(f.folder, "stop"), os.path.join(f.folder, "synced"), 0
    open(flag, "w").close()
    f.start_coordinator("--until-finished")
    for other in f.names:
        f.start(other, **({"STOP_SYNC": flag, "SYNCED": synced} if other == name else {}))
    while "unmask" not in phases_gone_on_in(f):
        f.wait(lambda: is_stopped(f.processes[name]), f"{name} to hold a phase")
        if " begins: " in f.log("coordinator"):
            f.kill("coordinator")
            before, kills = f.said(), kills + 1
            f.start_coordinator("--until-finished")
            f.wait(lambda: "going on with round" in f.said(before), "the restart")
        before = lines_of(synced)
        f.processes[name].send_signal(signal.SIGCONT)
        f.wait(lambda: lines_of(synced) > before, f"{name} to go on")
        assert kills < 40, f.tails()
    os.unlink(flag)
    f.processes[name].send_signal(signal.SIGCONT)
    f.kill("coordinator")
    return kills


def test_coordinator_killed_in_each_phase():
    """Once in each phase at least, and from phase unmask on at each sync of its own
    until the result is out: the same model as without."""
    with Federation(rounds=1) as f:
        held = killed_while_held(f, "h3")
        for number in itertools.count(1):
            fault = "KILL_SYNC" if number % 2 else "KILL_AFTER_SYNC"
            code = f.start_coordinator("--until-finished", **{fault: number}).wait(timeout=PATIENCE_S)
            if code == 0:
                break
            assert code == -signal.SIGKILL and number < 200, f"exit {code}\n{f.tails()}"
        assert "finished after 1 rounds" in f.log("coordinator"), f.tails()
        phases = phases_gone_on_in(f)
        assert phases == {*PHASES, "result"}, phases
        manifests = os.listdir(os.path.join(f.state("coordinator"), "models", "manifests"))
        assert sum(name.endswith(".manifest") for name in manifests) == 1, manifests
        model = f.model()
    assert_same(model, undisturbed_model(1))
    print(f"# {held} kills in phases that were held, {number - 1} at syncs; gone on in: {', '.join(sorted(phases))}")


def test_hospital_killed_comes_back():
    with Federation(rounds=ENDLESS) as f:
        f.start_all()
        f.wait(lambda: len(f.completed()) >= 3, "three rounds")
        f.kill("h2")
        done = len(f.completed())
        f.wait(lambda: len([event for event in f.completed()[done:] if event["included"] == 4]) >= 2,
               "rounds without h2")
        f.start("h2")
        back = len(f.completed())
        f.wait(lambda: any(event["included"] == 5 for event in f.completed()[back:]), "h2 back")
        without = [event for event in f.completed()[done:back] if event["included"] == 4]
        assert all(event["missing"][0]["hospital"] == "h2" for event in without)
        check_each_round_once(f)


def test_two_hospitals_lost_is_one_too_many():
    """n = 5 survives one loss; with two there is no sum, a clear reason, and the
    study goes on when they are back."""
    with Federation(rounds=ENDLESS) as f:
        f.start_all()
        f.wait(lambda: len(f.completed()) >= 1, "a round")
        f.kill("h4")
        before = len(f.events())
        f.kill("h5")
        f.wait(lambda: any(e["event"] == "waiting" or "reason" in e for e in f.events()[before:]),
               "a word of waiting")
        done = len(f.completed())
        f.start("h4")
        f.start("h5")
        f.wait(lambda: len(f.completed()) >= done + 3, "rounds when both are back")
        f.wait(lambda: any(event["included"] == 5 for event in f.completed()[done:]), "a round of all")
        check_each_round_once(f)


def test_hospital_out_of_disk_and_back():
    with Federation(rounds=ENDLESS) as f:
        flag = os.path.join(f.folder, "full")
        f.start_coordinator()
        for name in f.names:
            if name == "h1":
                f.start(name, FULL=flag, FOLDER=f.state(name))
            else:
                f.start(name)
        f.wait(lambda: len(f.completed()) >= 2, "two rounds")
        done = len(f.completed())
        open(flag, "w").close()
        f.wait(lambda: any(e["included"] == 4 for e in f.completed()[done:]), "a round without h1")
        os.unlink(flag)
        done = len(f.completed())
        f.wait(lambda: any(e["included"] == 5 for e in f.completed()[done:]), "h1 back")
        check_each_round_once(f)
        assert "no space" in f.log("h1").lower() or "full" in f.log("h1").lower(), f.tails()


def test_coordinator_out_of_disk():
    """It ends with a clear word, and goes on from its journal when there is room."""
    with Federation(rounds=ENDLESS) as f:
        flag = os.path.join(f.folder, "full")
        f.start_coordinator(FULL=flag, FOLDER=f.state("coordinator"))
        for name in f.names:
            f.start(name)
        f.wait(lambda: len(f.completed()) >= 1, "a round")
        open(flag, "w").close()
        f.wait(lambda: f.processes["coordinator"].poll() is not None, "the coordinator's end")
        assert f.processes["coordinator"].returncode not in (0, -signal.SIGKILL)
        assert "make room" in f.log("coordinator") or "no space" in f.log("coordinator").lower(), f.tails()
        os.unlink(flag)
        done = len(f.completed())
        f.start_coordinator()
        f.wait(lambda: len(f.completed()) >= done + 3, "rounds when there is room")
        check_each_round_once(f)


def tls_of(f, name):
    with open(os.path.join(f.folder, "url")) as file:
        host, port = file.read().split("//")[1].rsplit(":", 1)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    context.load_cert_chain(os.path.join(f.kit(name), "tls.crt"), os.path.join(f.kit(name), "tls.key"))
    return context.wrap_socket(socket.create_connection((host, int(port)), timeout=30))


def test_garbage_after_the_handshake():
    """With a hospital's certificate, but not its protocol: cut off with a word, and
    the others' rounds go on."""
    with Federation(rounds=1000) as f:
        f.start_coordinator()
        for name in f.names[:4]:
            f.start(name)
        f.wait(lambda: len(f.completed()) >= 1, "a round")
        for garbage in (b"\xff" * 64, b"GET / HTTP/1.0\r\n\r\n", b"\x00" * 8, os.urandom(4096)):
            with tls_of(f, "h5") as stream:
                try:
                    stream.sendall(garbage)
                    while stream.recv(4096):
                        pass
                except OSError:
                    pass
        done = len(f.completed())
        f.wait(lambda: len(f.completed()) >= done + 3, "rounds after the garbage")
        assert "refused a connection" in f.log("coordinator"), f.tails()


def test_twice_the_same_daemon():
    with Federation(rounds=2) as f:
        f.start_coordinator()
        done = subprocess.run([os.environ["CNS_PROGRAM"], "coordinator", f.kit("coordinator"), "--listen",
                               "tls+tcp://127.0.0.1:0"], capture_output=True, text=True, timeout=60)
        assert done.returncode not in (0, -6, -11), done
        assert "another" in done.stderr or "already" in done.stderr, done.stderr
        f.start("h1")
        f.wait(lambda: os.path.exists(f.log_path("h1")) and f.log("h1"), "h1")
        f.wait(lambda: "h1 is connected" in f.log("coordinator"), "h1's link")
        done = subprocess.run([os.environ["CNS_PROGRAM"], "hospital", f.kit("h1")], capture_output=True, text=True,
                              timeout=60)
        assert done.returncode not in (0, -6, -11), done
        assert "another" in done.stderr or "already" in done.stderr, done.stderr


def test_without_consent_nobody_trains():
    with Federation(rounds=2) as f:
        run("consent", f.kit("h1"), "--withdraw")
        f.start_coordinator()
        process = f.start("h1")
        code = process.wait(timeout=60)
        assert code == 3, (code, f.log("h1"))
        assert "consilium consent" in f.log("h1")


def test_bad_tables_are_named():
    with Federation(rounds=2) as f:
        data = os.path.join(f.kit("h1"), "data.csv")
        with open(data) as file:
            lines = file.read().splitlines()
        cases = {
            "radius_mean": [lines[0].replace("radius_mean", "radius")] + lines[1:],
            "row 2": [lines[0], lines[1], lines[2].replace(",", ",x", 2)] + lines[3:],
            "empty": [],
        }
        f.start_coordinator()
        for word, text in cases.items():
            with open(data, "w") as file:
                file.write("\n".join(text))
            done = subprocess.run([os.environ["CNS_PROGRAM"], "hospital", f.kit("h1")], capture_output=True, text=True,
                                  timeout=60)
            assert done.returncode not in (0, -6, -11), done
            assert word in done.stderr or word == "empty", done.stderr


def rewrite_data(f, name, change):
    """change: rows of the table without its header, to other rows."""
    path = os.path.join(f.kit(name), "data.csv")
    with open(path, newline="") as file:
        rows = list(csv.reader(file))
    with open(path, "w", newline="") as file:
        csv.writer(file).writerows([rows[0]] + change(rows[0], rows[1:]))
    run("consent", f.kit(name), "--yes")


def test_one_class_and_unequal_sizes():
    """A hospital whose patients all have one diagnosis, one of 5 patients and one of
    20,000: all take part, with the public weights that follow."""
    def only_benign(header, rows):
        return [row for row in rows if row[header.index("diagnosis")] == "B"]

    def twenty_thousand(header, rows):
        patient = header.index("id")
        more = []
        for k in range(20000):
            row = list(rows[k % len(rows)])
            row[patient] = f"Q{k}"
            more.append(row)
        return more

    with Federation(rounds=2) as f:
        rewrite_data(f, "h1", only_benign)
        rewrite_data(f, "h2", lambda header, rows: rows[:5])
        rewrite_data(f, "h3", twenty_thousand)
        f.start_all()
        f.wait_exit("coordinator")
        assert [event["included"] for event in f.completed()] == [5, 5], f.tails()
        text = f.log("h1")
        assert "class" in text, text
        with open(os.path.join(f.state("coordinator"), "models", "manifests", sorted(os.listdir(os.path.join(
                f.state("coordinator"), "models", "manifests")))[-1])) as file:
            manifest = json.loads(file.read().split("\n-- consilium signature")[0])
        weights = {one["hospital"]: one["weight"] for one in manifest["hospitals"]}
        assert weights[2] == 5 and weights[3] == 20000 and 60 <= weights[1] <= 80, weights


def test_diverging_training_is_refused_at_the_hospital():
    """A learning rate that blows up: NaN never leaves; each hospital says so."""
    with Federation(rounds=2, hidden=(32, 32, 32), learning_rate=100, momentum=0.99, local_epochs=60) as f:
        f.start_coordinator()
        for name in f.names:
            f.start(name)
        f.wait(lambda: "takes no part" in f.log("coordinator"), "a hospital that declines")
        assert not f.completed()
        assert "finite" in f.log("coordinator").lower() or "nan" in f.log("coordinator").lower(), f.tails()


if __name__ == "__main__":
    chosen = sys.argv[1:]
    tests = [value for name, value in sorted(globals().items(), key=lambda item: getattr(
        item[1], "__code__", None) and item[1].__code__.co_firstlineno or 0) if name.startswith("test_")]
    if chosen:
        tests = [test for test in tests if any(word in test.__name__ for word in chosen)]
    sys.exit(main(tests))
