#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Enrolling hospitals whose keys never leave them, as processes."""

import json
import os
import pty
import re
import shutil
import subprocess
import sys

sys.dont_write_bytecode = True
from program import (FAILED, IO, OK, PROGRAM, REFUSED, STUDY, USAGE, authority_key, main, mode, read, run, run_json,
                     write)


def enrol(names):
    run("init", "f", "--study", STUDY, "--enrol")
    for index, name in enumerate(names, 1):
        made = run_json("kit", "request", f"at-{name}", "--name", name, "--json")
        assert re.fullmatch("([0-9a-f]{4} ){7}[0-9a-f]{4}", made["spoken"])
        assert made["digest"].startswith(made["spoken"].replace(" ", ""))
        approved = run_json("kit", "approve", f"at-{name}/request.json", "--federation", "f", "--yes", "--json")
        assert approved == {"name": name, "index": index, "known": False, "roster_version": index + 1,
                            "hospitals": index, "coordinator_updated": os.path.exists("f/coordinator")}


def sign_policy():
    assert run_json("policy", "new", "--federation", "f", "--json") == {"file": "f/policy.json", "version": 1}
    made = run_json("policy", "sign", "f/policy.json", "--as", "f/officer", "--out", "f/authority/policy.json",
                    "--json")
    assert made["file"] == "f/authority/policy.json" and made["version"] == 1 and len(made["digest"]) == 64


def test_hospitals_enrol_with_their_own_keys():
    names = ["north", "south", "east", "west"]
    run("init", "f", "--study", STUDY, "--enrol")
    assert sorted(os.listdir("f")) == ["authority", "coordinator", "officer"]
    run("policy", "show", "f/coordinator", expect=IO, says="policy.json")
    run("kit", "issue", "--federation", "f", expect=FAILED, says="no hospital yet")
    run("policy", "new", "--federation", "f", expect=REFUSED, says="the roster has only 0")
    shutil.rmtree("f")
    enrol(names)
    assert "waiting" in run("kit", "show", "at-north")
    assert run_json("kit", "show", "at-north", "--json")["state"] == "requested"
    sign_policy()
    run("policy", "new", "--federation", "f", expect=IO, says="exists already")
    text = run("kit", "issue", "--federation", "f")
    assert "f/coordinator is up to date" in text, text
    for name in names:
        assert f"f/responses/{name}.kit.json" in text
        run("kit", "accept", f"at-{name}", f"f/responses/{name}.kit.json", "--authority-key", authority_key())
        shown = run_json("kit", "show", f"at-{name}", "--json")
        assert shown["name"] == name and shown["index"] == names.index(name) + 1 and shown["roster_version"] == 5
    run("kit", "show", "f/coordinator", says="sound")
    # No secret left the hospital.
    secrets = []
    for name in names:
        secrets.append(read(f"at-{name}/identity.key", "r").split()[1])
        secrets.append(read(f"at-{name}/tls.key", "r").split("\n")[1])
    for top, _, files in os.walk("f"):
        for file in files:
            text = read(os.path.join(top, file), "r")
            assert not any(secret in text for secret in secrets), file
    # Approving and accepting once more changes nothing.
    before = read("f/authority/roster.json")
    run("kit", "approve", "at-north/request.json", "--federation", "f", says="hospital 1 of the roster already")
    assert read("f/authority/roster.json") == before
    again = run_json("kit", "accept", "at-north", "f/responses/north.kit.json", "--authority-key", authority_key(),
                     "--json")
    assert again == {"folder": "at-north"}
    issued = run_json("kit", "issue", "--federation", "f", "--json")
    assert issued == {"responses": [f"f/responses/{name}.kit.json" for name in names], "coordinator_updated": True,
                      "coordinator_response": "f/responses/coordinator.kit.json"}


def test_coordinator_and_officer_are_elsewhere():
    names = ["north", "south", "east", "west"]
    run("init", "f", "--study", STUDY, "--enrol")
    os.rename("f/coordinator", "at-coordinator")
    os.rename("f/officer", "at-officer")
    for name in names:
        run("kit", "request", f"at-{name}", "--name", name)
        run("kit", "approve", f"at-{name}/request.json", "--federation", "f", "--yes", says="kit is not in f")
    assert not os.path.exists("f/responses")
    for verb in (["coordinator"], ["kit", "show"], ["status"]):
        run(*verb, "at-coordinator", expect=IO,
            says="policy.json: is not there yet; it comes with the authority's response")
    # The policy goes to the officer and comes back as a file.
    run("policy", "new", "--federation", "f")
    shutil.copy("f/policy.json", "sent.json")
    run("policy", "sign", "sent.json", "--as", "at-officer", "--out", "signed.json")
    shutil.copy("signed.json", "f/authority/policy.json")
    run("policy", "show", "f/authority", says="Signed by officer")
    text = run("kit", "issue", "--federation", "f")
    assert "Response for the coordinator: f/responses/coordinator.kit.json" in text, text
    assert "coordinator's kit is not in f: its owner takes the response" in text, text
    key, response = authority_key(), "f/responses/coordinator.kit.json"
    accept = ["kit", "accept", "at-coordinator"]
    run(*accept, response, "--authority-key", "ab" * 32, expect=REFUSED, says="another authority")
    run(*accept, "f/responses/north.kit.json", "--authority-key", key, expect=REFUSED, says="the response is for north")
    run("kit", "accept", "at-north", response, "--authority-key", key, expect=REFUSED,
        says="the response is for coordinator")
    run(*accept, "at-north/request.json", "--authority-key", key, expect=FAILED, says="is a signed request, not")
    data = read(response)
    for at in range(0, len(data), 997):
        write("bad.json", data[:at] + bytes([data[at] ^ 1]) + data[at + 1:])
        done = subprocess.run([PROGRAM, *accept, "bad.json", "--authority-key", key], capture_output=True, text=True,
                              timeout=60)
        assert done.returncode in (FAILED, REFUSED) or json.loads(read("bad.json")) == json.loads(data), (at, done)
    run(*accept, response, "--authority-key", key, says="complete")
    shown = run_json("kit", "show", "at-coordinator", "--json")
    assert shown["role"] == "coordinator" and shown["roster_version"] == 5 and shown["hospitals"] == 4
    assert json.loads(read("at-coordinator/config.json"))["listen"] == "tls+tcp://127.0.0.1:7443"
    for name in names:
        run("kit", "accept", f"at-{name}", f"f/responses/{name}.kit.json", "--authority-key", key)
        run("kit", "show", f"at-{name}", says="sound")
    # What changes later comes the same way, and what is older is refused.
    shutil.copy(response, "first.json")
    run("kit", "request", "at-isle", "--name", "isle")
    approved = run_json("kit", "approve", "at-isle/request.json", "--federation", "f", "--yes", "--json")
    assert approved["coordinator_response"] == response and approved["coordinator_updated"] is False
    run(*accept, response, "--authority-key", key)
    assert run_json("kit", "show", "at-coordinator", "--json")["hospitals"] == 5
    run(*accept, "first.json", "--authority-key", key, expect=REFUSED, says="older (5)")


def test_nobody_takes_the_coordinators_name():
    run("kit", "request", "h", "--name", "coordinator", expect=USAGE, says="the coordinator's name")
    run("init", "f", "--study", STUDY, "--hospitals", "a,b,c,coordinator", expect=USAGE, says="the coordinator's name")
    assert not os.path.exists("f") and not os.path.exists("h")


def snapshot(folder):
    return {name: read(os.path.join(folder, name)) for name in os.listdir(folder)}


def test_a_damaged_authority_issues_nothing():
    enrol(["a", "b", "c", "d"])
    sign_policy()
    run("kit", "issue", "--federation", "f")
    run("kit", "request", "at-e", "--name", "e")
    before, responses = snapshot("f/coordinator"), snapshot("f/responses")
    verbs = (["issue"], ["approve", "at-e/request.json", "--yes"], ["revoke", "a"])
    for name in ("study.json", "roster.json", "authority.pub", "policy.json"):
        path, data = f"f/authority/{name}", read(f"f/authority/{name}")
        damaged = [b"", data[:len(data) // 2], data[:-2]]
        for at in (0, len(data) // 3, len(data) // 2, len(data) - 4):
            damaged.append(data[:at] + bytes([data[at] ^ 1]) + data[at + 1:])
        for bad in damaged + [None]:
            os.remove(path)
            if bad is not None:
                write(path, bad)
            # A policy that doesn't hold keeps nobody from joining or leaving.
            for verb in verbs if name != "policy.json" else verbs[:1]:
                done = subprocess.run([PROGRAM, "kit", *verb, "--federation", "f"], capture_output=True, text=True,
                                      timeout=60)
                assert done.returncode in (FAILED, REFUSED, IO) and done.stderr, (name, verb, bad, done)
                assert name in done.stderr or bad is None, (name, verb, done)
            assert snapshot("f/coordinator") == before and snapshot("f/responses") == responses, (name, bad)
        if name == "policy.json":
            write(path, data.replace(b'"minimum_cohort": 4', b'"minimum_cohort": 5'))
            run("kit", "approve", "at-e/request.json", "--federation", "f", "--yes", says="No response written yet")
            after = snapshot("f/coordinator")
            assert after.pop("roster.json") != before["roster.json"] and after.items() <= before.items()
            assert after["policy.json"] == before["policy.json"]
        write(path, data)
    run("kit", "issue", "--federation", "f", says="Response for e")
    run("kit", "show", "f/coordinator", says="sound")


def test_requests_are_checked():
    run("init", "f", "--study", STUDY, "--enrol")
    run("kit", "request", "h", expect=USAGE, says="--name NAME is missing")
    run("kit", "request", "--name", "x", expect=USAGE, says="an argument is missing")
    run("kit", "request", "h", "--name", "No Name", expect=USAGE, says="can't be a hospital's name")
    assert not os.path.exists("h")
    run("kit", "request", "h", "--name", "north")
    assert sorted(os.listdir("h")) == ["identity.key", "request.json", "tls.crt", "tls.key"]
    assert mode("h") == 0o700 and mode("h/identity.key") == mode("h/tls.key") == 0o600
    run("kit", "request", "h", "--name", "north", expect=IO, says="not empty")
    data = read("h/request.json")
    for at in range(0, len(data), 41):
        write("bad.json", data[:at] + bytes([data[at] ^ 1]) + data[at + 1:])
        done = subprocess.run([PROGRAM, "kit", "approve", "bad.json", "--federation", "f", "--yes"],
                              capture_output=True, text=True, timeout=60)
        assert done.returncode in (FAILED, REFUSED) and "bad.json" in done.stderr, (at, done)
    run("kit", "approve", "h/tls.crt", "--federation", "f", "--yes", expect=FAILED)
    run("kit", "approve", "none", "--federation", "f", "--yes", expect=IO, says="none")
    run("kit", "approve", "h/request.json", "--yes", expect=USAGE, says="--federation DIR is missing")
    run("kit", "approve", "h/request.json", "--federation", "none", "--yes", expect=IO, says="none/authority")
    run("kit", "approve", "h/request.json", "--federation", "f", expect=USAGE, says="--yes")
    assert b'"hospitals": []' in read("f/authority/roster.json")
    run("kit", "approve", "h/request.json", "--federation", "f", "--json", expect=USAGE, says="--yes")
    run("kit", "approve", "h/request.json", "--federation", "f", "--index", "7", "--yes", says="hospital 7")
    run("kit", "approve", "h/request.json", "--federation", "f", "--yes", says="No response written yet")
    run("kit", "approve", "h/request.json", "--federation", "f", "--index", "8", "--yes", expect=REFUSED,
        says="index 7 for life")
    run("kit", "request", "i", "--name", "north")
    run("kit", "approve", "i/request.json", "--federation", "f", "--yes", expect=REFUSED, says="name north")
    run("kit", "request", "j", "--name", "south")
    run("kit", "approve", "j/request.json", "--federation", "f", "--index", "7", "--yes", expect=REFUSED,
        says="index 7 is taken by north")
    run("kit", "approve", "j/request.json", "--federation", "f", "--yes", says="hospital 8")


def answer(arguments, line):
    """Runs a verb on a terminal and answers its question."""
    child, terminal = pty.fork()
    if child == 0:
        os.execv(PROGRAM, [PROGRAM, *arguments])
    os.write(terminal, line.encode())
    text = b""
    try:
        while part := os.read(terminal, 4096):
            text += part
    except OSError:
        pass  # the terminal closes with the child
    _, status = os.waitpid(child, 0)
    os.close(terminal)
    return os.waitstatus_to_exitcode(status), text.decode()


def test_a_person_confirms_on_the_terminal():
    try:
        for descriptor in pty.openpty():
            os.close(descriptor)
    except OSError:
        print("# this machine has no terminals to give")
        return
    enrol(["a", "b", "c"])
    run("kit", "request", "h", "--name", "north")
    approve = ["kit", "approve", "h/request.json", "--federation", "f"]
    code, text = answer(approve, "no\n")
    assert code == REFUSED and "nothing was changed" in text, text
    assert run_json("kit", "show", "h", "--json")["spoken"] in text
    code, text = answer(approve, "yes\n")
    assert code == OK and "hospital 4" in text, text
    sign_policy()
    run("kit", "issue", "--federation", "f")
    accept = ["kit", "accept", "h", "f/responses/north.kit.json"]
    run(*accept, expect=USAGE, says="--authority-key")
    run(*accept, "--json", expect=USAGE, says="--authority-key")
    code, text = answer(accept, "\n")
    assert code == REFUSED and not os.path.exists("h/authority.pub"), text
    key = authority_key()
    code, text = answer(accept, "yes\n")
    assert code == OK and " ".join(key[i:i + 4] for i in range(0, 32, 4)) in text, text
    run("kit", "show", "h", says="sound")


def test_responses_are_checked():
    enrol(["a", "b", "c", "d"])
    sign_policy()
    run("kit", "issue", "--federation", "f")
    key, response = authority_key(), "f/responses/a.kit.json"
    run("kit", "accept", "at-a", response, "--authority-key", "ab" * 32, expect=REFUSED, says="another authority")
    run("kit", "accept", "at-a", response, "--authority-key", "xyz", expect=USAGE, says="64 hex digits")
    run("kit", "accept", "at-b", response, "--authority-key", key, expect=REFUSED, says="the response is for a")
    run("kit", "accept", "at-a", "none", "--authority-key", key, expect=IO, says="none")
    run("kit", "accept", "none", response, "--authority-key", key, expect=IO, says="none")
    run("kit", "accept", "at-a", expect=USAGE, says="an argument is missing")
    data = read(response)
    for at in range(0, len(data), 97):
        write("bad.json", data[:at] + bytes([data[at] ^ 1]) + data[at + 1:])
        done = subprocess.run([PROGRAM, "kit", "accept", "at-a", "bad.json", "--authority-key", key],
                              capture_output=True, text=True, timeout=60)
        # Space between the fields is all that may change.
        if done.returncode == OK:
            assert json.loads(read("bad.json")) == json.loads(data), at
            continue
        assert done.returncode in (FAILED, REFUSED) and "bad.json" in done.stderr, (at, done)
    assert sorted(os.listdir("at-a")) == ["identity.key", "request.json", "tls.crt", "tls.key"]
    run("kit", "accept", "at-a", response, "--authority-key", key)
    # Another authority can't take the kit over, even with the same hospital in its roster.
    os.rename("f", "mine")
    run("init", "f", "--study", STUDY, "--enrol")
    for name in "abcd":
        run("kit", "approve", f"at-{name}/request.json", "--federation", "f", "--yes")
    sign_policy()
    run("kit", "issue", "--federation", "f")
    run("kit", "accept", "at-a", response, "--authority-key", authority_key(), expect=REFUSED,
        says="belongs to another authority")


def test_old_rosters_and_policies_do_not_come_back():
    enrol(["a", "b", "c", "d", "e"])
    sign_policy()
    run("kit", "issue", "--federation", "f")
    key, response = authority_key(), "f/responses/a.kit.json"
    shutil.copy(response, "first.json")
    run("kit", "accept", "at-a", response, "--authority-key", key)
    config = json.loads(read("at-a/config.json"))
    config["data"] = "/srv/patients.csv"
    write("at-a/config.json", json.dumps(config))
    run("kit", "revoke", "e", "--federation", "f", says="e is revoked")
    run("kit", "revoke", "e", "--federation", "f", expect=FAILED, says="already")
    run("kit", "revoke", "z", "--federation", "f", expect=FAILED, says="no hospital named z")
    run("kit", "revoke", expect=USAGE, says="an argument is missing")
    os.remove("f/responses/e.kit.json")
    run("kit", "issue", "--federation", "f")
    assert not os.path.exists("f/responses/e.kit.json")
    run("kit", "approve", "at-e/request.json", "--federation", "f", "--yes", expect=REFUSED, says="revoked")
    run("kit", "accept", "at-a", response, "--authority-key", key)
    shown = run_json("kit", "show", "at-a", "--json")
    assert shown["roster_version"] == 7 and shown["hospitals"] == 4
    assert shown["data"] == "/srv/patients.csv"  # the hospital's own settings stay
    run("kit", "accept", "at-a", "first.json", "--authority-key", key, expect=REFUSED, says="older (6)")
    assert run_json("kit", "show", "at-a", "--json")["roster_version"] == 7
    # With one more gone, the policy no longer fits, and no response is written.
    revoked = run_json("kit", "revoke", "d", "--federation", "f", "--json")
    assert revoked == {"name": "d", "roster_version": 8, "hospitals": 3, "coordinator_updated": True}
    run("kit", "issue", "--federation", "f", expect=REFUSED, says="the roster has only 3")


if __name__ == "__main__":
    sys.exit(main(globals()))
