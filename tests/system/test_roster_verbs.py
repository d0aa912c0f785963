#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""`consilium roster` and `kit renew`, offline: what makes a newer roster, and what is refused."""

import json
import os
import shutil
import sys

sys.dont_write_bytecode = True
from program import FAILED, IO, REFUSED, STUDY, USAGE, main, mode, read, run, run_json, write


def shown(folder="f/authority"):
    return run_json("roster", "show", folder, "--json")


def begin():
    run("init", "f", "--study", STUDY, "--hospitals", "a,b,c,d,e")


def test_each_change_is_a_newer_version():
    begin()
    first = shown()
    assert first["version"] == 1 and first["active"] == 5 and first["verified"] and 729 <= first["days_left"] <= 730
    assert all(729 <= one["tls_days_left"] <= 730 for one in first["hospitals"])
    kits = {name: read(f"f/hospitals/{name}/roster.json") for name in "abcde"}

    run("kit", "request", "g", "--name", "g")
    assert run_json("roster", "add", "g/request.json", "--federation", "f", "--yes", "--json")["index"] == 6
    run("roster", "add", "g/request.json", "--federation", "f", "--yes", says="hospital 6 of the roster already")
    assert shown()["version"] == 2

    made = run_json("kit", "renew", "f/hospitals/b", "--json")
    assert made["folder"] == "f/hospitals/b" and mode("f/hospitals/b/tls.next.key") == 0o600
    run("kit", "show", "f/hospitals/b", says="sound")
    done = run_json("roster", "renew", "f/hospitals/b/renewal.json", "--federation", "f", "--json")
    assert done["roster_version"] == 3 and done["name"] == "b" and done["coordinator_updated"]
    run("roster", "renew", "f/hospitals/b/renewal.json", "--federation", "f", expect=FAILED, says="already")
    assert shown()["hospitals"][1]["tls"] != first["hospitals"][1]["tls"]
    assert shown()["hospitals"][1]["identity"] == first["hospitals"][1]["identity"]

    done = run_json("roster", "revoke", "c", "--reason", "left the consortium", "--federation", "f", "--json")
    assert done["roster_version"] == 4
    run("roster", "revoke", "c", "--federation", "f", expect=FAILED, says="c is revoked already")
    gone = shown()["hospitals"][2]
    assert gone["revoked"] and gone["reason"] == "left the consortium" and gone["revoked_at"]
    assert "REVOKED" in run("roster", "show", "f/authority") and "left the consortium" in run("roster", "show", "f/authority")

    run("roster", "renew", "--federation", "f", expect=FAILED, says="valid for two years from today already")
    assert shown()["version"] == 4
    assert kits == {name: read(f"f/hospitals/{name}/roster.json") for name in "abcde"}, "no other kit is touched"
    assert read("f/coordinator/roster.json") == read("f/authority/roster.json")


def test_both_pairs_take_turns():
    begin()
    pins = set()
    for turn in range(3):
        run("kit", "renew", "f/hospitals/a")
        run("roster", "renew", "f/hospitals/a/renewal.json", "--federation", "f")
        shutil.copy("f/authority/roster.json", "f/hospitals/a/roster.json")
        run("kit", "show", "f/hospitals/a", says="sound")
        pins.add(shown()["hospitals"][0]["tls"])
    assert len(pins) == 3
    # A renewal that was never used is replaced by the next; the kit in use stays sound.
    run("kit", "renew", "f/hospitals/a")
    run("kit", "renew", "f/hospitals/a")
    run("kit", "show", "f/hospitals/a", says="sound")
    run("kit", "renew", "f/coordinator", expect=REFUSED, says="is the kit of a coordinator")


def test_what_is_refused():
    begin()
    run("roster", "revoke", "c", "--federation", "f")
    before = read("f/authority/roster.json")
    federation = ("--federation", "f")
    run("kit", "request", "c2", "--name", "c")
    run("roster", "add", "c2/request.json", *federation, "--yes", expect=REFUSED, says="another hospital with the name c")
    run("roster", "replace", "c2/request.json", *federation, "--yes", expect=REFUSED, says="revoked, for good")
    run("kit", "request", "x", "--name", "x")
    run("roster", "add", "x/request.json", *federation, "--yes", "--index", "3", expect=REFUSED, says="index 3 is taken by c")
    run("roster", "replace", "x/request.json", *federation, "--yes", expect=REFUSED, says="no hospital named x")
    # Another key can't renew a certificate, nor is a replacement one without it.
    run("kit", "request", "b2", "--name", "b")
    run("roster", "renew", "b2/request.json", *federation, expect=REFUSED, says="isn't signed with the identity key")
    run("kit", "renew", "f/hospitals/b")
    run("roster", "replace", "f/hospitals/b/renewal.json", *federation, "--yes", expect=REFUSED, says="roster renew")
    run("roster", "replace", "b2/request.json", *federation, expect=USAGE, says="not a terminal")
    run("roster", "revoke", "nobody", *federation, expect=FAILED, says="no hospital named nobody")
    run("roster", "revoke", "a", *federation, "--reason", "x" * 121, expect=USAGE, says="--reason")
    run("roster", "revoke", "a", *federation, "--reason", "two\nlines", expect=USAGE, says="--reason")
    run("roster", "revoke", "a", expect=USAGE, says="--federation")
    run("roster", "renew", "none", *federation, expect=IO)
    assert read("f/authority/roster.json") == before
    run("roster", "replace", "b2/request.json", *federation, "--yes", says="the old ones count no more")
    assert shown()["hospitals"][1]["index"] == 2


def test_show_checks_what_it_shows():
    begin()
    text = read("f/authority/roster.json")
    write("copy.json", text)
    assert not run_json("roster", "show", "copy.json", "--json")["verified"]
    assert run_json("roster", "show", "copy.json", "--authority-key-file", "f/authority/authority.pub", "--json")["verified"]
    write("copy.json", text.replace(b'"name": "a"', b'"name": "z"', 1))
    run("roster", "show", "copy.json", expect=REFUSED)
    run("init", "other", "--study", STUDY, "--hospitals", "a,b,c,d")
    write("copy.json", text)
    run("roster", "show", "copy.json", "--authority-key-file", "other/authority/authority.pub", expect=REFUSED)
    run("roster", "show", "nowhere", expect=IO)
    status = json.loads(run("status", "f/coordinator", "--json"))
    assert status["roster_version"] == 1 and status["certificates_expiring"] == [] and status["roster_days_left"] >= 729
    assert json.loads(run("status", "f/hospitals/a", "--json"))["certificate_days_left"] >= 729
    assert os.path.exists("f/hospitals/a/config.json")


if __name__ == "__main__":
    sys.exit(main(globals()))
