#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""consilium pause, resume and stop, while rounds run and over restarts. TAP."""

import json
import os
import sys
import time

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
from federation import Federation, main, run  # noqa: E402

STOPPED = 6
REFUSED = 3
# So many rounds that they don't end by themselves.
MANY = 100000


def status(f, name):
    return json.loads(run("status", f.kit(name), "--json"))


def start(f):
    f.start_coordinator()
    for name in f.names:
        f.start(name)
    f.wait(lambda: len(f.completed()) >= 2, "two rounds")


def wait_idle(f):
    """Until the running round, if there is one, is over."""
    f.wait(lambda: all(row["state"] != "running" for row in status(f, "coordinator")["rounds"]), "the round's end")


def check_quiet(f, since):
    """No round begins: seen over some ticks of the scheduler, and by what is on record."""
    before = status(f, "coordinator")["rounds"][-1]
    end = time.monotonic() + 1.5
    while time.monotonic() < end:
        assert " begins: " not in f.said(since), f.tails()
        time.sleep(0.1)
    assert status(f, "coordinator")["rounds"][-1] == before, (before, f.tails())


def test_pause_and_resume_while_rounds_run():
    with Federation(rounds=MANY) as f:
        start(f)
        before = f.said()
        said = run("pause", f.kit("coordinator"), "--reason", "the scanner is moved")
        assert "paused since" in said and "the scanner is moved" in said, said
        f.wait(lambda: "no round begins until" in f.said(before), "the word")
        wait_idle(f)
        for name in f.names:
            f.wait(lambda: "has the study paused since" in f.log(name), f"{name}'s word")
        since = f.said()
        check_quiet(f, since)
        for name in ("coordinator", "h3"):
            report = status(f, name)
            pause = report["pause" if name == "coordinator" else "coordinator_pause"]
            assert pause["state"] == "paused" and pause["reason"] == "the scanner is moved", report
            assert "paused since" in run("status", f.kit(name)), name
        again = run("pause", f.kit("coordinator"), "--reason", "another")
        assert "already; nothing was changed" in again and "scanner" in again, again

        # Killed and started again it is still paused, and says so to who dials.
        f.kill("coordinator")
        f.kill("h1")
        since = f.said()
        f.start_coordinator()
        f.start("h1")
        f.wait(lambda: "no round begins until" in f.said(since), "the word after the restart")
        for name in f.names:
            f.wait(lambda: f"hospital {name} is connected" in f.said(since), f"{name} again")
        check_quiet(f, since)

        done = len(f.completed())
        run("resume", f.kit("coordinator"))
        f.wait(lambda: len(f.completed()) >= done + 2, "rounds after the pause")
        f.wait(lambda: "isn't paused any more" in f.log("h2"), "the word of its end")
        assert "pause" not in status(f, "coordinator") and "coordinator_pause" not in status(f, "h2")
        assert "not paused already; nothing" in run("resume", f.kit("coordinator"))


def test_pause_while_nothing_runs():
    with Federation(rounds=2) as f:
        answer = json.loads(run("pause", f.kit("coordinator"), "--json"))
        assert answer["state"] == "paused" and answer["changed"], answer
        f.start_all()
        for name in f.names:
            f.wait(lambda: "has the study paused since" in f.log(name), f"{name}'s word")
        check_quiet_from_the_start(f)
        run("resume", f.kit("coordinator"))
        f.wait(lambda: len(f.completed()) == 2, "both rounds")
        assert [event["included"] for event in f.completed()] == [5, 5], f.completed()


def check_quiet_from_the_start(f):
    time.sleep(1)
    assert " begins: " not in f.said(0) and status(f, "coordinator")["rounds"] == [], f.tails()


def test_what_cant_be_read_holds_rounds_back():
    """A half of an order might be a stop."""
    with Federation(rounds=1) as f:
        os.makedirs(f.state("coordinator"), 0o700)
        path = os.path.join(f.state("coordinator"), "pause.json")
        with open(path, "w") as file:
            file.write('{"state": "stop')
        f.start_all()
        f.wait(lambda: "can't be told, and no round begins meanwhile" in f.said(0), "the word")
        check_quiet_from_the_start(f)
        assert "error" in status(f, "coordinator")["pause"]
        os.unlink(path)
        f.wait(lambda: f.completed(), "the round")


def test_stop_ends_the_study_for_good():
    with Federation(rounds=MANY) as f:
        start(f)
        f.kill("h5")
        run("stop", f.kit("h1"), "--yes", expect=REFUSED)
        done = run("stop", f.kit("coordinator"), expect=1)
        assert "--yes" in done, done
        assert len(f.completed()) >= 2 and f.processes["coordinator"].poll() is None
        said = run("stop", f.kit("coordinator"), "--yes", "--reason", "the question is answered")
        assert "stopped since" in said, said
        for name in f.names[:4]:
            f.wait_exit(name, STOPPED)
            assert "the question is answered" in f.log(name), f.log(name)
            assert status(f, name)["coordinator_pause"]["state"] == "stopped"
        # The coordinator stays, to tell those that come later and give them the model.
        completed = len(f.completed())
        assert completed >= 2
        f.start("h5")
        f.wait_exit("h5", STOPPED)
        assert status(f, "h5")["model_round"] == completed, status(f, "h5")
        assert "already; nothing was changed" in run("stop", f.kit("coordinator"), "--yes")
        assert "can't be taken back" in run("resume", f.kit("coordinator"), expect=REFUSED)
        run("pause", f.kit("coordinator"), expect=REFUSED)

        # The journal has it: without the file it is still over, also after a crash.
        os.unlink(os.path.join(f.state("coordinator"), "pause.json"))
        f.kill("coordinator")
        since = f.said()
        f.start_coordinator()
        f.wait(lambda: "the study ends after" in f.said(since), "the word after the restart")
        assert "the question is answered" in f.said(since), f.said(since)
        f.start("h1")
        f.wait_exit("h1", STOPPED)
        assert len(f.completed()) == completed
        assert status(f, "coordinator")["pause"]["state"] == "stopped"
        assert "can't be taken back" in run("resume", f.kit("coordinator"), expect=REFUSED)


def test_stop_before_the_first_round():
    with Federation(rounds=2) as f:
        run("stop", f.kit("coordinator"), "--yes")
        f.start_all()
        for name in f.names:
            f.wait_exit(name, STOPPED)
        f.wait_exit("coordinator", STOPPED)
        assert f.completed() == []


def test_a_hospital_pauses_itself():
    with Federation(rounds=MANY) as f:
        start(f)
        run("pause", f.kit("h5"), "--reason", "maintenance")
        f.wait(lambda: "has it paused since" in f.log("h5") and "maintenance" in f.log("h5"), "the word")
        done = len(f.completed())
        f.wait(lambda: len(f.completed()) >= done + 3, "rounds without it")
        assert all(event["included"] == 4 for event in f.completed()[-2:]), f.completed()[-2:]
        assert "maintenance" in run("status", f.kit("h5"))
        run("resume", f.kit("h5"))
        done = len(f.completed())
        f.wait(lambda: any(event["included"] == 5 for event in f.completed()[done:]), "rounds with it again")


def test_reasons_are_printable_and_short():
    with Federation(rounds=1) as f:
        for reason in ("two\nlines", "\x1b[31mred", "x" * 301, "  ", ""):
            said = run("pause", f.kit("coordinator"), "--reason", reason, expect=2)
            assert "printable" in said, said
        assert not os.path.exists(f.state("coordinator")), "a refused order changed something"


if __name__ == "__main__":
    chosen = sys.argv[1:]
    tests = [value for name, value in list(globals().items()) if name.startswith("test_")]
    if chosen:
        tests = [test for test in tests if any(word in test.__name__ for word in chosen)]
    sys.exit(main(tests))
