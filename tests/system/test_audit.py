#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Audited studies with real processes over TLS: honest ones, poison, hospitals that
lie about their masks, quarantine and its end, budgets, and a coordinator killed in
the phases that only audits have. TAP."""

import glob
import itertools
import json
import os
import signal
import subprocess
import sys

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
from federation import PATIENCE_S, Federation, main, run  # noqa: E402

ROGUE = os.environ["CNS_ROGUE"]
HIDDEN = (136,)  # 4,489 parameters: enough for sketches of 128 numbers
SKETCH = 128
OPEN = ("--audit", "open", "--sketch", str(SKETCH), "--sketch-budget", "10")
ENDLESS = 1000


def start_rogue(f, mode, name="h5"):
    with open(f.log_path(name), "a") as log:
        f.processes[name] = subprocess.Popen([ROGUE, f.kit(name), mode], stdin=subprocess.DEVNULL, stdout=log,
                                             stderr=log)


def evidence(f):
    return sorted(glob.glob(os.path.join(f.state("coordinator"), "evidence-*")))


def of_kind(f, kind, since=0):
    return [event for event in f.events()[since:] if event.get("event") == kind]


def reasons(event):
    return {one["hospital"]: one["reason"] for one in event["missing"]}


def revealed(f, name):
    return json.loads(run("status", f.kit(name), "--json"))


def test_an_audited_study_gives_the_same_model():
    models = []
    for init in ((), OPEN):
        with Federation(rounds=3, hidden=HIDDEN, init=init) as f:
            f.start_all().wait(timeout=PATIENCE_S)
            assert "finished after 3 rounds" in f.log("coordinator"), f.tails()
            assert [event["included"] for event in f.completed()] == [5, 5, 5], f.tails()
            assert not evidence(f)
            models.append(f.model())
            if init:
                assert len(of_kind(f, "audit")) == 1, "what one unseen liar can move is said once"
                for name in f.names:
                    assert f"{3 * SKETCH}" in run("status", f.kit(name)), run("status", f.kit(name))
    # Local training adds up floating-point numbers in its own order, the sums are exact.
    assert max(abs(a - b) for a, b in zip(*models)) < 1e-6


def play(mode, reason, verdict, flag, on_flag="exclude"):
    """Two rounds with this liar as the fifth hospital. flag: None, it may be flagged or not."""
    with Federation(rounds=ENDLESS, hidden=HIDDEN, init=OPEN + ("--on-flag", on_flag)) as f:
        f.start_coordinator()
        for name in f.names[:4]:
            f.start(name)
        start_rogue(f, mode)
        f.wait(lambda: len([e for e in f.completed() if e["included"] == 4 and "h5" in reasons(e)]) >= 2,
               f"rounds without the liar in mode {mode}")
        for event in f.completed():
            assert set(reasons(event)) <= {"h5"}, (mode, event)
            # Before the liar was here, the others may have begun without it.
            if reasons(event)["h5"] != "not connected when the round began":
                assert reason in reasons(event)["h5"], (mode, event)
        flags = {event["hospital"] for event in of_kind(f, "flag")}
        assert flag in (None, "h5" in flags) and flags <= {"h5"}, (mode, flags)
        f.kill("coordinator", signal.SIGTERM)
        files = evidence(f)
        assert bool(files) == verdict, (mode, files)
        for path in files:
            assert "hospital-5" in path, path
            said = run("evidence", "verify", path, "--roster", os.path.join(f.kit("h1"), "roster.json"))
            assert "h5" in said, said
        return "\n".join(event["text"] for event in of_kind(f, "verdict"))


def test_poison_is_flagged_and_not_blamed():
    play("huge", "left out because of a flag", verdict=False, flag=True)


def test_a_false_pair_sketch_is_convicted():
    said = play("false-pair", "convicted", verdict=True, flag=False)
    assert "in phase dispute: false pair sketch" in said, said


def test_a_false_self_sketch_forfeits():
    """Found out after the unmasking; what it hides is far beyond the bound."""
    said = play("false-self", "forfeited", verdict=True, flag=None, on_flag="report")
    assert "false self sketch" in said and "faulty machine" not in said, said


def test_refusing_to_open_a_false_pair_doesnt_help():
    """The honest partner opens it."""
    said = play("refuse-opening", "convicted", verdict=True, flag=False)
    assert "in phase dispute: false pair sketch" in said, said


def test_gone_after_the_upload_is_missing():
    play("gone-after-upload", "missing", verdict=False, flag=False)


def test_quarantine_lasts_until_an_officer_ends_it():
    with Federation(rounds=ENDLESS, hidden=HIDDEN, init=OPEN + ("--on-flag", "quarantine")) as f:
        coordinator, officer = f.kit("coordinator"), os.path.join(f.root, "officer")
        f.start_coordinator()
        for name in f.names[:4]:
            f.start(name)
        start_rogue(f, "huge")
        f.wait(lambda: of_kind(f, "flag"), "a flag")
        f.wait(lambda: len([e for e in f.completed() if "quarantine" in reasons(e).get("h5", "")]) >= 3, "quarantine")
        assert "h5: since round" in run("quarantine", "list", coordinator)
        since = json.loads(run("quarantine", "list", coordinator, "--json"))["quarantine"][0]["round"]
        assert f"Hospital h5 is in quarantine since round {since}." in run("status", coordinator)
        f.kill("h5")
        f.kill("coordinator")
        f.start_coordinator()
        f.start("h5")  # an honest one
        before = len(f.completed())
        f.wait(lambda: len(f.completed()) >= before + 2, "rounds after a restart")
        assert all("quarantine" in reasons(event)["h5"] for event in f.completed()[before:]), f.completed()[before:]
        run("quarantine", "release", "h5", "--reason", "x", "--as", os.path.join(f.root, "authority"), "--kit",
            coordinator, expect=3)
        run("quarantine", "release", "h4", "--reason", "x", "--as", officer, "--kit", coordinator, expect=4)
        said = run("quarantine", "release", "h5", "--reason", "the software was replaced", "--as", officer, "--kit",
                   coordinator)
        assert f"since round {since}" in said
        f.wait(lambda: of_kind(f, "released"), "the release")
        assert "the software was replaced" in of_kind(f, "released")[0]["text"]
        f.wait(lambda: any(event["included"] == 5 for event in f.completed()[before:]), "h5 in a sum again")
        assert "No hospital is in quarantine" in run("quarantine", "list", coordinator)


def sign_policy(f, **audit):
    """A changed audit, in every kit, before anything is started."""
    place = os.path.join(f.root, "authority", "policy.json")
    with open(place) as file:
        policy = json.loads(file.read().split("\n-- consilium")[0])
    policy["audit"].update(audit)
    policy["version"] += 1
    path = os.path.join(f.folder, "policy.json")
    for kit in [place] + [os.path.join(f.kit(name), "policy.json") for name in f.names + ["coordinator"]]:
        with open(path, "w") as file:
            json.dump(policy, file)
        run("policy", "sign", path, "--as", os.path.join(f.root, "officer"), "--out", kit)
        run("policy", "sign", kit, "--as", os.path.join(f.root, "authority"), "--authority")
    for name in f.names:
        run("consent", f.kit(name), "--yes")


def test_budgets_end_audits_as_the_policy_says():
    two = 2.5 * SKETCH / 4489
    with Federation(rounds=4, hidden=HIDDEN, init=OPEN[:4] + ("--sketch-budget", str(two))) as f:
        f.start_coordinator()
        for name in f.names:
            f.start(name)
        f.wait(lambda: any("sketch budget" in event["text"] for event in of_kind(f, "waiting")), "the budget's end")
        assert len(f.completed()) == 2, f.completed()
    with Federation(rounds=4, hidden=HIDDEN, init=OPEN[:4] + ("--sketch-budget", str(two))) as f:
        sign_policy(f, when_spent="unaudited")
        f.start_all().wait(timeout=PATIENCE_S)
        begun = [event["text"].endswith("audited") for event in of_kind(f, "begin")]
        assert begun == [True, True, False, False], f.tails()
        assert len(f.completed()) == 4, f.completed()
    with Federation(rounds=6, hidden=HIDDEN, init=OPEN[:4] + ("--sketch-budget", str(two))) as f:
        sign_policy(f, when_spent="random")
        f.start_all().wait(timeout=PATIENCE_S)
        begun = [event["text"].endswith("audited") for event in of_kind(f, "begin")]
        assert sum(begun) == 2 and len(f.completed()) == 6, (begun, f.tails())


def killed_at_syncs(mode, kills_min):
    """The coordinator in an audited round with this fifth hospital, killed at its
    syncs, each time a little later. Returns the phases that were gone on in."""
    with Federation(rounds=2, hidden=HIDDEN, init=OPEN + ("--on-flag", "exclude")) as f:
        f.start_coordinator()  # makes the state folder
        f.kill("coordinator")
        for name in f.names[:4]:
            f.start(name)
        if mode:
            start_rogue(f, mode)
        else:
            f.start("h5")
        kills = 0
        for later in itertools.count(2):
            fault = "KILL_SYNC" if later % 2 else "KILL_AFTER_SYNC"
            code = f.start_coordinator("--until-finished", **{fault: 3 + later % 23}).wait(timeout=PATIENCE_S)
            if code == 0:
                break
            assert code == -signal.SIGKILL and later < 300, f"exit {code}\n{f.tails()}"
            kills += 1
        assert kills >= kills_min, kills
        assert "finished after 2 rounds" in f.log("coordinator"), f.tails()
        phases = {line.rsplit("phase ", 1)[1].split('"')[0] for line in f.log("coordinator").splitlines()
                  if "going on with round" in line}
        for path in evidence(f):
            assert "hospital-5" in path
        return phases


def test_coordinator_killed_in_audited_rounds():
    phases = set()
    for mode, kills in ((None, 3), ("false-pair", 3), ("false-self", 3)):
        phases |= killed_at_syncs(mode, kills)
    assert {"audit", "agree"} <= phases, phases
    print(f"# gone on in: {', '.join(sorted(phases))}")


def test_without_an_audit_poison_goes_unseen():
    results = [json.loads(run("demo", "--no-kill", "--json", *more)) for more in ((), ("--no-audit",), ("--no-poison",))]
    audited, damaged, honest = results
    assert audited["poisoned"] == {"hospital": "hospital-1", "from_round": 5, "rounds": 11, "flagged": 11,
                                   "left_out": 11}, audited["poisoned"]
    assert damaged["poisoned"]["flagged"] == damaged["poisoned"]["left_out"] == 0 and "sketch" not in damaged
    assert "poisoned" not in honest and honest["sketch"] == audited["sketch"] == 256
    # The same seed, so the same patients; only the poison and the audit differ.
    assert damaged["federated_auc"] < 0.9 and damaged["federated_auc"] < audited["federated_auc"] - 0.1, results
    assert abs(audited["federated_auc"] - honest["federated_auc"]) < 0.01, results


if __name__ == "__main__":
    chosen = sys.argv[1:]
    tests = [value for name, value in list(globals().items()) if name.startswith("test_")]
    if chosen:
        tests = [test for test in tests if any(word in test.__name__ for word in chosen)]
    sys.exit(main(tests))
