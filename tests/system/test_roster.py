#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""The life of a roster: hospitals are added, renewed, replaced and revoked while rounds run."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time

sys.dont_write_bytecode = True
from federation import PROGRAM, Federation, main, run

# An idle machine takes a few milliseconds; a loaded one under sanitizers is given more.
CLOSED_WITHIN_S = 1.0


def roster(f, *arguments, expect=0):
    return run("roster", *arguments, "--federation", f.root, expect=expect)


def shown(folder):
    done = subprocess.run([PROGRAM, "roster", "show", folder, "--json"], capture_output=True, text=True, check=True)
    return json.loads(done.stdout)


def hang_up(f, word="the roster has version"):
    before = f.said()
    f.processes["coordinator"].send_signal(signal.SIGHUP)
    f.wait(lambda: word in f.said(before), f"\"{word}\" after SIGHUP")


def wait_rounds(f, condition, what, more=2):
    done = len(f.completed())
    f.wait(lambda: sum(1 for event in f.completed()[done:] if condition(event)) >= more, what)


def full(count):
    return lambda event: event["included"] == event["expected"] == count


def enrol(f, name, verb="add"):
    """A hospital with keys of its own, ready to be started."""
    kit = f.kit(name)
    run("kit", "request", kit, "--name", name)
    roster(f, verb, os.path.join(kit, "request.json"), "--yes")
    run("kit", "issue", "--federation", f.root)
    return kit


def accept(f, name, data_from):
    kit = f.kit(name)
    with open(os.path.join(f.root, "authority", "authority.pub")) as file:
        key = file.read().strip()
    run("kit", "accept", kit, os.path.join(f.root, "responses", f"{name}.kit.json"), "--authority-key", key)
    with open(os.path.join(f.folder, "url")) as file:
        url = file.read()
    path = os.path.join(kit, "config.json")
    with open(path) as file:
        config = json.load(file)
    config["address"] = url
    with open(path, "w") as file:
        json.dump(config, file)
    with open(os.path.join(f.kit(data_from), "data.csv")) as file:
        text = file.read()
    with open(os.path.join(kit, "data.csv"), "w") as file:
        file.write(text)
    run("consent", kit, "--yes")


def connections(f, name):
    return f.log(name).count("connected to the coordinator at")


def test_added_renewed_and_revoked_while_rounds_run():
    with Federation(rounds=100000, count=6) as f:
        f.start_coordinator()
        for name in f.names:
            f.start(name)
        wait_rounds(f, full(6), "rounds of six")
        quiet = ["h1", "h3", "h4", "h5"]
        begin = len(f.completed())

        # Added.
        enrol(f, "h7")
        accept(f, "h7", "h1")
        hang_up(f)
        f.names.append("h7")
        f.start("h7")
        wait_rounds(f, full(7), "rounds of seven")
        for name in quiet:
            assert "the roster has version 2 from the next round on: 1 added" in f.log(name), f.tails()
            assert shown(f.kit(name))["version"] == 2

        # Renewed: the agent changes over by itself.
        before = shown(f.kit("h2"))["hospitals"][1]
        run("kit", "renew", f.kit("h2"))
        renewal = os.path.join(f.kit("h2"), "renewal.json")
        roster(f, "renew", renewal)
        roster(f, "renew", renewal, expect=1)
        hang_up(f)
        f.wait(lambda: "this hospital's renewed certificate is in use" in f.log("h2"), "h2's new certificate")
        f.wait(lambda: connections(f, "h2") == 2, "h2's second connection")
        wait_rounds(f, full(7), "rounds of seven again")
        after = shown(f.kit("h2"))["hospitals"][1]
        assert after["tls"] != before["tls"] and after["identity"] == before["identity"]
        run("kit", "show", f.kit("h2"))

        # Revoked: its stream closes within a second of the new roster, with a round in flight.
        roster(f, "revoke", "h6", "--reason", "the machine was sold")
        roster(f, "revoke", "h6", expect=1)
        start = time.monotonic()
        hang_up(f)
        f.wait(lambda: "the roster has revoked hospital 6" in f.log("h6"), "h6's end")
        took = time.monotonic() - start
        print(f"# the revoked hospital's stream was closed after {took:.3f} s", flush=True)
        slow = 5 if any(word in os.environ for word in ("ASAN_OPTIONS", "UBSAN_OPTIONS", "CI")) else 1
        assert took < CLOSED_WITHIN_S * slow, took
        wait_rounds(f, full(6), "rounds of six without h6")
        one = shown(f.kit("h1"))["hospitals"][5]
        assert one["revoked"] and one["reason"] == "the machine was sold" and "revoked_at" in one

        # Nobody else noticed but in the log.
        for name in quiet:
            assert connections(f, name) == 1, f.tails()
            assert "disconnected" not in f.log(name) and "takes no part" not in f.log(name), f.tails()
        for event in f.completed()[begin:]:
            missing = {one["hospital"] if isinstance(one, dict) else one for one in event["missing"]}
            assert missing <= {"h2", "h6", "h7"}, event
        assert not [e for e in f.events() if e.get("event") == "declined"], f.tails()

        # One that was away during several versions gets the newest, and a restart keeps it.
        f.kill("h3", signal.SIGTERM)
        run("kit", "renew", f.kit("h4"))
        roster(f, "renew", os.path.join(f.kit("h4"), "renewal.json"))
        hang_up(f)
        run("kit", "request", os.path.join(f.folder, "h8"), "--name", "h8")
        roster(f, "add", os.path.join(f.folder, "h8", "request.json"), "--yes")
        hang_up(f)
        f.start("h3")
        wait_rounds(f, lambda event: event["included"] == 6, "rounds with h3 again")
        assert shown(f.kit("h3"))["version"] == 6
        f.kill("h3", signal.SIGTERM)
        f.start("h3")
        wait_rounds(f, lambda event: event["included"] == 6, "rounds with h3 after a restart")


def test_replaced_machine_and_what_is_refused():
    with Federation(rounds=100000, count=5) as f:
        f.start_coordinator()
        for name in f.names:
            f.start(name)
        wait_rounds(f, full(5), "rounds of five")
        path = os.path.join(f.kit("coordinator"), "roster.json")
        with open(path) as file:
            first = file.read()

        # The machine is lost: new keys, the old index; the stolen ones don't get in.
        f.kill("h5")
        os.rename(f.kit("h5"), f.kit("h5") + "-stolen")
        kit = enrol(f, "h5", "replace")
        roster(f, "replace", os.path.join(kit, "request.json"), "--yes", expect=1)
        f_data = f.kit("h5") + "-stolen"
        os.symlink(f_data, f.kit("stolen"))
        accept(f, "h5", "stolen")
        hang_up(f)
        f.start("h5")
        wait_rounds(f, full(5), "rounds of five with the new machine")
        assert [one["index"] for one in shown(f.kit("h1"))["hospitals"]] == [1, 2, 3, 4, 5]
        before = f.said()
        f.start("stolen")
        f.wait(lambda: "refused a connection" in f.said(before), "the stolen keys' refusal")
        f.kill("stolen")

        # An older roster, one of another authority, and another one of the same version.
        with open(path) as file:
            second = file.read()
        with open(path, "w") as file:
            file.write(first)
        hang_up(f, "version 1 is older than version 2")
        other = os.path.join(f.folder, "other")
        run("init", other, "--study", os.path.join(f.folder, "study.json"), "--hospitals", "h1,h2,h3,h4,h5")
        with open(os.path.join(other, "coordinator", "roster.json")) as file:
            foreign = file.read()
        with open(path, "w") as file:
            file.write(foreign)
        hang_up(f, "the roster is not taken over")
        with open(os.path.join(f.root, "authority", "roster.json"), "w") as file:
            file.write(first)
        roster(f, "revoke", "h4")
        hang_up(f, "there are two different rosters of version 2")
        with open(path, "w") as file:
            file.write(second)
        hang_up(f, "version 2 is known already")
        wait_rounds(f, full(5), "rounds of five all the same")


def epsilon_of(rounds):
    done = run("dp", "epsilon", "--noise-multiplier", "2", "--sampling-rate", "0.25", "--rounds", str(rounds), "--delta",
               "1e-4", "--json")
    return json.loads(done)["epsilon"]


def charged(f, name):
    """Rounds in a ledger that count, by its own word."""
    done = json.loads(run("budget", "ledger", f.kit(name), "--json"))
    last = {}
    for entry in done["entries"] if isinstance(done, dict) else done:
        last[(entry["round"], entry["attempt"])] = entry["kind"]
    return sum(kind not in ("cancelled", "refunded") for kind in last.values())


def test_a_lost_ledger_does_not_begin_anew():
    budget = (epsilon_of(40) + epsilon_of(41)) / 2
    with Federation(rounds=100, privacy={"noise_multiplier": 2.0, "sampling_rate": 0.25},
                    init=["--epsilon", str(budget), "--delta", "1e-4", "--smallest-sum", "4"]) as f:
        f.start_coordinator("--until-finished")
        for name in f.names:
            f.start(name)
        wait_rounds(f, full(5), "rounds of five")
        f.wait(lambda: os.path.exists(os.path.join(f.state("coordinator"), "ledgers", "5.head")), "h5's head")

        # One that loses its ledger on purpose takes no part: the coordinator has its head. A round or two it misses;
        # then the others wait, or they might use up the budget before it is back.
        f.kill("h5", signal.SIGTERM)
        wait_rounds(f, lambda event: event["included"] == 4, "a round of four", more=1)
        run("pause", f.kit("coordinator"))
        f.wait(lambda: "the study is paused" in f.said(0), "the pause")
        kept = os.path.join(f.folder, "kept.head")
        with open(os.path.join(f.state("coordinator"), "ledgers", "5.head"), "rb") as file:
            head = file.read()
        with open(kept, "wb") as file:
            file.write(head)
        os.rename(f.kit("h5"), f.kit("h5") + "-lost")
        os.symlink(f.kit("h5") + "-lost", f.kit("lost"))
        kit = enrol(f, "h5", "replace")
        accept(f, "h5", "lost")
        hang_up(f)
        f.start("h5")
        f.wait(lambda: "its privacy ledger is another than the one shown before" in f.said(0), "the refusal")
        assert "if there is none: consilium budget carry" in f.said(0), f.said(0)
        f.kill("h5", signal.SIGTERM)

        # Nor does it with a statement that wasn't taken in; nor by one for somebody else.
        statement = os.path.join(f.folder, "h5.charges")
        run("budget", "carry", f.kit("coordinator"), "--hospital", "h5", "--out", statement)
        f.start("h5")
        f.wait(lambda: "there, consilium budget take" in f.said(0), "the refusal of an empty ledger")
        f.kill("h5", signal.SIGTERM)
        f.kill("h4", signal.SIGTERM)
        assert "for another hospital" in run("budget", "take", f.kit("h4"), statement, expect=3)
        with open(statement) as file:
            text = file.read()
        forged = os.path.join(f.folder, "forged.charges")
        with open(forged, "w") as file:
            file.write(text.replace('"attempt": 1', '"attempt": 2', 1))
        run("budget", "take", kit, forged, expect=3)
        f.start("h4")

        # Taken in, it takes part, and has no more left than the others.
        before = charged(f, "coordinator")
        backup = os.path.join(f.kit("lost"), "data.csv.ledger")
        said = run("budget", "take", kit, statement, "--backup", backup, "--head", kept)
        assert "of all studies, are taken from" in said, said
        assert "attempts of study" in said, said
        assert "0 of them were missing" in run("budget", "take", kit, statement)
        f.start("h5")
        f.wait(lambda: "hospital h5 goes on with a new privacy ledger" in f.said(0), "the new ledger")
        run("resume", f.kit("coordinator"))
        wait_rounds(f, full(5), "rounds of five again")
        assert charged(f, "h5") >= min(before, 3)
        f.wait_exit("coordinator", 5)
        assert charged(f, "coordinator") == 40 and len(f.completed()) <= 40, f.tails()
        assert charged(f, "h5") <= 40
        assert os.path.exists(os.path.join(f.state("coordinator"), "ledgers", "5.carried.used"))


def lose_ledger(f, name):
    """With its key, and the record of rounds."""
    for entry in os.listdir(f.kit(name)):
        if entry.startswith("data.csv.ledger"):
            os.remove(os.path.join(f.kit(name), entry))
    shutil.rmtree(f.state(name))


def test_a_ledger_that_goes_on_is_not_lost():
    with Federation(rounds=1000, privacy={"noise_multiplier": 2.0, "sampling_rate": 0.25},
                    init=["--epsilon", str(epsilon_of(400)), "--delta", "1e-4", "--smallest-sum", "4"]) as f:
        f.start_coordinator()
        for name in f.names:
            f.start(name)
        wait_rounds(f, full(5), "rounds of five")
        f.kill("h5", signal.SIGTERM)
        kit, old, statement = f.kit("h5"), os.path.join(f.folder, "old"), os.path.join(f.folder, "h5.charges")
        os.mkdir(old)
        for entry in os.listdir(kit):
            if entry.startswith("data.csv.ledger"):
                shutil.copy(os.path.join(kit, entry), old)

        # A statement is made, and then more rounds are charged in the "lost" ledger.
        run("budget", "carry", f.kit("coordinator"), "--hospital", "h5", "--out", statement)
        before = f.said()
        f.start("h5")
        wait_rounds(f, full(5), "more rounds")
        f.kill("h5", signal.SIGTERM)
        spent = charged(f, "h5")

        # The old copy of it, under its own key, isn't let in by the statement, and is no ledger to take it into.
        lose_ledger(f, "h5")
        for entry in os.listdir(old):
            shutil.copy(os.path.join(old, entry), kit)
        run("consent", kit, "--yes")
        f.start("h5")
        f.wait(lambda: "restored from an old copy" in f.said(before), "the refusal of an old copy")
        f.kill("h5", signal.SIGTERM)
        assert "has the key of the ledger" in run("budget", "take", kit, statement, expect=3)

        # Nor is a new one, with fewer charges in it than the lost one had; under a statement of now it is.
        lose_ledger(f, "h5")
        run("budget", "take", kit, statement)
        assert charged(f, "h5") < spent
        run("consent", kit, "--yes")
        f.start("h5")
        f.wait(lambda: "was shown again since" in f.said(before), "the refusal of an old statement")
        f.kill("h5", signal.SIGTERM)
        assert "goes on with a new privacy ledger" not in f.said(before)
        run("budget", "carry", f.kit("coordinator"), "--hospital", "h5", "--out", statement)
        run("budget", "take", kit, statement)
        assert charged(f, "h5") >= spent
        f.start("h5")
        f.wait(lambda: "goes on with a new privacy ledger" in f.said(before), "the new ledger")
        wait_rounds(f, full(5), "rounds of five again")


def test_a_revocation_that_leaves_too_few():
    with Federation(rounds=100000, count=4) as f:
        f.start_coordinator()
        for name in f.names:
            f.start(name)
        wait_rounds(f, full(4), "rounds of four")
        roster(f, "revoke", "h4")
        hang_up(f)
        f.wait(lambda: "the roster has revoked hospital 4" in f.log("h4"), "h4's end")
        waiting = "3 hospitals are connected, a round needs 4"
        f.wait(lambda: waiting in f.said(0), "the coordinator's waiting")
        f.kill("coordinator", signal.SIGTERM)
        before = f.said()
        f.start_coordinator()
        f.wait(lambda: waiting in f.said(before), "the same after a restart")
        assert shown(f.root)["version"] == 2


if __name__ == "__main__":
    sys.exit(main([test_added_renewed_and_revoked_while_rounds_run, test_replaced_machine_and_what_is_refused,
                   test_a_revocation_that_leaves_too_few, test_a_lost_ledger_does_not_begin_anew,
                   test_a_ledger_that_goes_on_is_not_lost]))
