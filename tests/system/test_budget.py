#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Budgets as people see them: budget, its statement and ledger, status, policy diff and sign."""

import json
import math
import os
import shutil
import sys
from html.parser import HTMLParser

sys.dont_write_bytecode = True
from program import FAILED, IO, REFUSED, STUDY, USAGE, init, main, read, run, run_json, write

COORDINATOR, HOSPITAL = "f/coordinator", "f/hospitals/hospital-2"
NAME = "<script>alert(1)</script> & [x](y) | *z*"


def private_study(**training):
    """One that a policy with noise for patients allows."""
    study = json.loads(read(STUDY))
    study["training"].update({"local_epochs": 1, "momentum": 0, "clip_norm": 1, "rounds": 40, **training})
    study["validation_share"] = 0
    study["privacy"] = {"noise_multiplier": 2, "sampling_rate": 0.25}
    write("study.json", json.dumps(study))


def private(*options, **training):
    private_study(**training)
    run("init", "f", "--study", "study.json", "--count", "5", "--epsilon", "2", "--delta", "1e-6", *options)


class Page(HTMLParser):
    """Whatever would load or run something."""

    def __init__(self, text):
        super().__init__()
        self.tags, self.open, self.text = set(), [], []
        self.feed(text)
        assert self.open == [], self.open

    def handle_starttag(self, tag, attributes):
        self.tags.add(tag)
        if tag != "meta":
            self.open.append(tag)
        for name, value in attributes:
            assert name in ("lang", "charset", "http-equiv", "content"), (tag, name, value)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.text.append(data)


def test_the_verbs_explain_themselves():
    for verb in (["budget"], ["budget", "statement"], ["budget", "ledger"], ["policy", "diff"]):
        text = run(*verb, "--help")
        assert text.startswith("Usage: consilium " + " ".join(verb)), text
        assert run("help", *verb) == text
        run(*verb, "--nonsense", expect=USAGE, says="unknown option --nonsense")
        run(*verb, expect=USAGE, says="an argument is missing")
        run(*verb, "a", "b", "c", expect=USAGE)
    run("budget", "none", expect=IO, says="none/config.json")


def test_without_noise_nothing_is_counted():
    init("--count", "5")
    for kit in (COORDINATOR, HOSPITAL):
        text = run("budget", kit)
        assert "No noise is added" in text and "no guarantee" in text, text
        shown = run_json("budget", kit, "--json")
        assert shown["counted"] is False and shown["noise"] == "none" and "limits" not in shown
        run("budget", "statement", kit, expect=REFUSED, says="no guarantee of differential privacy")
        assert "there is no ledger" in run("budget", "ledger", kit)
        assert run_json("budget", "ledger", kit, "--json") == []
        assert "budget" not in run_json("status", kit, "--json")
        assert "udget" not in run("status", kit)
    run("budget", "f/authority", expect=IO, says="config.json")


def test_before_the_first_round():
    private()
    for kit, role in ((COORDINATOR, "coordinator"), (HOSPITAL, "hospital")):
        text = run("budget", kit)
        assert "There is no ledger yet" in text and "epsilon 0 of 2 spent in 0 rounds, 2 left" in text, text
        shown = run_json("budget", kit, "--json")
        assert shown["role"] == role and not shown["ledger_there"] and shown["entries"] == 0
        assert shown["rounds_planned"] == 40 and shown["rounds_done"] == 0 and shown["is_spent"] is False
        first = shown["limits"][0]
        assert (first["observer"], first["scope"], first["of"]) == ("readers", "study", "total")
        assert first["spent"] == 0 and first["limit"] == 2 and first["left"] == 2 and first["alert"] is None
        last = shown["limits"][-1]
        assert last["observer"] == "coordinator" and last["limit"] is None and "unprotected" not in last
        # The accountant that `dp` asks says the same.
        ask = ["dp", "epsilon", "--delta", "1e-6", "--noise-multiplier", "2", "--sampling-rate", "0.25", "--json"]
        left = int(first["rounds_left"])
        assert 0 < left <= 40, first
        assert run_json(*ask, "--rounds", str(left))["epsilon"] <= 2
        if left < 40:
            assert run_json(*ask, "--rounds", str(left + 1))["epsilon"] > 2
            assert f"The budget is enough for only {left} rounds to come" in text
        sentence = run("status", kit)
        assert "epsilon 0 of 2 spent at delta 1e-06, enough for" in sentence, sentence
        assert run_json("status", kit, "--json")["budget"]["limits"] == shown["limits"]


def test_central_noise():
    private("--noise", "central")
    text = run("budget", COORDINATOR)
    assert "Towards the coordinator, all rounds together: epsilon is infinite" in text, text
    row = run_json("budget", HOSPITAL, "--json")["limits"][-1]
    assert row["observer"] == "coordinator" and row["unprotected"] is True and row["spent"] is None, row
    page = run("budget", "statement", COORDINATOR)
    assert "central: the coordinator adds it" in page and "its epsilon is infinite" in page, page
    assert "| infinite |" in page


def test_the_statement():
    private("--consortium", NAME, "--smallest-sum", "4")
    shutil.copytree("f/coordinator", "statement")
    for kit in (COORDINATOR, HOSPITAL):
        text = run("budget", "statement", kit)
        assert text.startswith("# Differential privacy of the study wdbc-mlp\n"), text
        assert "<script>" not in text and "\\<script\\>alert(1)\\</script\\> \\& \\[x\\](y) \\| \\*z\\*" in text
        policy = run_json("policy", "show", kit, "--json")
        for fact in ("| Clip norm | 1 (L2; the policy allows 1) |", "| Noise multiplier | 2:", "| Sampling rate | 0.25:",
                     "4 hospitals: no sum of fewer is opened", "1; with them 3 shares of the noise remain",
                     "epsilon 2 at delta 1e-06 towards readers", policy["digest"], "no entry yet", "2^-104",
                     "A patient known in two hospitals counts as two", "Consilium 0.1.0"):
            assert fact in text, (fact, text)
        columns = text.split("\n| Delta | ")[1].split("\n")
        assert len(columns[0].split("|")) - 1 == (4 if kit == COORDINATOR else 5)
        rows = [[float(cell) for cell in line.split("|")[1:-1]] for line in columns[2:7]]
        assert [row[0] for row in rows] == [1e-4, 1e-5, 1e-6, 1e-7, 1e-8], rows
        for row in rows:  # nothing spent so far; as `dp` has it for the whole study
            whole = run_json("dp", "epsilon", "--delta", str(row[0]), "--noise-multiplier", "2", "--sampling-rate",
                             "0.25", "--rounds", "40", "--json")
            assert row[1] == row[3] == 0 and row[2] == row[4]
            assert whole["epsilon_lower"] <= row[2] <= whole["epsilon"] * 1.002, (row, whole)
        run("budget", "statement", kit, "--html", "--out", "page.html")
        html = read("page.html", "r")
        page = Page(html)
        assert "script" not in page.tags and "link" not in page.tags and "img" not in page.tags, page.tags
        assert NAME in "".join(page.text) and "url(" not in html and "@import" not in html
        assert "default-src 'none'" in html and "@media print" in html
    run("budget", "statement", COORDINATOR, "--out", "none/page.html", expect=IO, says="none/page.html")
    # A folder with a sub-verb's name is a kit if it is said so.
    assert "Privacy budget" in run("budget", "./statement")


def damage(path, what):
    data = bytearray(read(path))
    at = data.find(what)
    assert at > 0
    data[at] ^= 1
    write(path, bytes(data))


def test_after_a_study():
    run("demo", "--epsilon", "2", "--rounds", "3", "--keep", "d", "--hospitals", "4", "--no-kill")
    coordinator, hospital = "d/federation/coordinator", "d/federation/hospitals/hospital-1"
    for kit, kinds in ((coordinator, ["reserved", "charged", "released"]), (hospital, ["reserved", "charged"])):
        shown = run_json("budget", kit, "--json")
        assert shown["rounds_done"] == 3 and shown["rounds_left"] == 0 and shown["is_spent"] is False
        assert shown["attempts"]["charged"] == 3 and shown["attempts"]["refunded"] == 0
        for row in shown["limits"]:
            assert 1.99 < row["spent"] <= 2 and row["rounds"] == 3, row
        assert shown["limits"][0]["alert"] == 0.95 and math.isclose(
            shown["limits"][0]["left"], 2 - shown["limits"][0]["spent"], abs_tol=1e-12)
        assert "epsilon 2 of 2 spent in 3 rounds" in run("budget", kit)  # and exit code 0, though it is spent
        entries = run_json("budget", "ledger", kit, "--json")
        assert [entry["kind"] for entry in entries] == kinds * 3, entries
        assert entries[-1]["digest"] == shown["ledger_digest"] and len(entries) == shown["entries"]
        assert [entry["sequence"] for entry in entries] == list(range(1, len(entries) + 1))
        lines = run("budget", "ledger", kit).splitlines()
        assert len(lines) == len(entries) and "round 1 attempt 1: reserved, noise multiplier" in lines[0], lines
        page = run("budget", "statement", kit)
        assert "| Rounds with a model | 3 of 3 |" in page and shown["ledger_digest"] in page
        assert "| 0.0001 | 2 | 2 |" in page
    run("status", coordinator, says="Privacy budget: epsilon 2 of 2 spent at delta 0.0001, all rounds done.")
    run("status", hospital, says="budget   epsilon 2 of 2 spent at delta 0.0001, all rounds done")
    # A ledger that was changed, and one that is gone.
    ledger = f"{hospital}/data.csv.ledger"
    damage(ledger, b"wdbc-mlp")
    for verb in (["budget"], ["budget", "statement"], ["budget", "ledger"]):
        run(*verb, hospital, expect=FAILED, says="the privacy ledger: ")
    assert "can't be told" in run("status", hospital)
    assert "error" in run_json("status", hospital, "--json")["budget"]
    os.remove(ledger)
    run("budget", hospital, says="it was lost")
    assert run_json("budget", hospital, "--json")["ledger_lost"] is True


def edited(path, noise=(), **changes):
    policy = json.loads(read(path, "r").split("\n-- consilium")[0])
    policy.update(changes)
    policy["noise"].update(noise)
    return json.dumps(policy)


def test_policy_diff():
    private()
    place = "f/authority/policy.json"
    run("policy", "diff", place, COORDINATOR, says="Both allow the same")
    write("loose.json", edited(place, {"epsilon": 3, "multiplier_min": 5, "alerts": [0.9]}, version=2))
    text = run("policy", "diff", place, "loose.json")
    assert "loosening   epsilon that all rounds together may cost: 3 instead of 2." in text, text
    assert "tightening  the least noise multiplier: 5 instead of 2." in text, text
    assert "neutral     the version: 2 instead of 1." in text and "authority" in text.splitlines()[-1] + text.splitlines()[-2]
    shown = run_json("policy", "diff", place, "loose.json", "--json")
    assert shown["loosens"] is True and shown["old_version"] == 1 and shown["new_version"] == 2
    assert {change["field"]: change["direction"] for change in shown["changes"]} == {
        "version": "neutral", "noise.epsilon": "loosening", "noise.multiplier_min": "tightening",
        "noise.alerts": "neutral"}
    back = run_json("policy", "diff", "loose.json", place, "--json")
    assert back["loosens"] is True  # the noise's floor
    write("tight.json", edited(place, {"epsilon": 1}))
    assert "Nothing is loosened" in run("policy", "diff", place, "tight.json")
    run("policy", "diff", place, "none.json", expect=IO, says="none.json")
    run("policy", "diff", place, "f/authority/roster.json", expect=FAILED)


def test_a_looser_policy_needs_the_authority():
    private()
    place = "f/authority/policy.json"
    shutil.copy(os.path.join(os.path.dirname(STUDY), "wdbc.csv"), f"{HOSPITAL}/data.csv")
    run("consent", HOSPITAL, "--yes")
    write("loose.json", edited(place, {"epsilon": 3}, version=2))
    text = run("policy", "sign", "loose.json", "--as", "f/officer", "--out", place)
    assert "it loosens version 1 (epsilon that all rounds together may cost: 3 instead of 2)" in text, text
    assert f"consilium policy sign {place} --as AUTHORITY --authority" in text
    shutil.copy(place, f"{HOSPITAL}/policy.json")
    for verb in (["consent", HOSPITAL, "--yes"], ["hospital", HOSPITAL]):
        run(*verb, expect=REFUSED, says="policy version 2 needs the authority's signature beside an officer's")
    run("policy", "sign", place, "--as", "f/officer", "--authority", expect=REFUSED, says="roster's authority")
    # Signed from the file without signatures into the place: the officer's stays.
    made = run_json("policy", "sign", "loose.json", "--as", "f/authority", "--authority", "--out", place, "--json")
    assert made["role"] == "authority"
    run("policy", "show", "f/authority", says="Signed by officer, a privacy officer of the roster, and by the authority")
    assert run_json("policy", "show", "f/authority", "--json")["signed_by_authority"] is True
    shutil.copy(place, f"{HOSPITAL}/policy.json")
    run("consent", HOSPITAL, "--yes")
    # The authority alone is not enough, anywhere.
    write("alone.json", edited(place, version=3))
    assert "A privacy officer has to sign it too" in run("policy", "sign", "alone.json", "--as", "f/authority", "--authority")
    shutil.copy("alone.json", f"{HOSPITAL}/policy.json")
    run("consent", HOSPITAL, "--yes", expect=REFUSED, says="not signed by any privacy officer")
    # And a tighter one needs no authority.
    write("tight.json", edited(place, {"epsilon": 1}, version=3))
    assert "AUTHORITY" not in run("policy", "sign", "tight.json", "--as", "f/officer", "--out", place)
    shutil.copy(place, f"{HOSPITAL}/policy.json")
    run("consent", HOSPITAL, "--yes")


if __name__ == "__main__":
    sys.exit(main(dict(globals())))
