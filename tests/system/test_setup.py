#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""The verbs that set a federation up, as processes: init, kit, policy.

Prints TAP. Needs CNS_PROGRAM (the program) and CNS_SOURCE_ROOT (for the example
study)."""

import json
import os
import pty
import re
import shutil
import stat
import subprocess
import sys
import tempfile
import traceback

PROGRAM = os.environ["CNS_PROGRAM"]
STUDY = os.path.join(os.environ["CNS_SOURCE_ROOT"], "examples", "breast-cancer", "study.json")
OK, FAILED, USAGE, REFUSED, IO = range(5)


def run(*arguments, expect=OK, says="", **options):
    """Runs a verb; checks the exit code and that the sentence was printed."""
    done = subprocess.run([PROGRAM, *arguments], stdin=subprocess.DEVNULL, capture_output=True, timeout=60,
                          text=True, **options)
    text = done.stdout + done.stderr
    assert done.returncode == expect, f"{arguments}: exit {done.returncode}, expected {expect}: {text}"
    assert says in text, f"{arguments}: '{says}' is not in: {text}"
    if expect != OK:
        assert done.stderr, f"{arguments}: failed without a word on stderr"
    assert "AddressSanitizer" not in text and "runtime error" not in text, text
    return done.stdout


def run_json(*arguments):
    return json.loads(run(*arguments))


def read(path, mode="rb"):
    with open(path, mode) as file:
        return file.read()


def write(path, data):
    with open(path, "wb" if isinstance(data, bytes) else "w") as file:
        file.write(data)


def mode(path):
    return stat.S_IMODE(os.stat(path).st_mode)


def init(*arguments, **options):
    return run("init", "f", "--study", STUDY, *arguments, **options)


def authority_key(folder="f"):
    return read(f"{folder}/authority/authority.pub", "r").strip()


def test_the_program_explains_itself():
    assert re.fullmatch(r"consilium \d+\.\d+\.\d+\n", run("--version"))
    for arguments in (["--help"], ["help"]):
        text = run(*arguments)
        for verb in ("init", "kit", "policy"):
            assert f"\n  {verb} " in text
    run(expect=USAGE, says="Usage: consilium VERB")
    run("fly", expect=USAGE, says='unknown verb "fly"')
    for verb in (["init"], ["kit", "request"], ["kit", "approve"], ["kit", "issue"], ["kit", "revoke"],
                 ["kit", "accept"], ["kit", "show"], ["policy", "show"], ["policy", "new"], ["policy", "sign"]):
        text = run(*verb, "--help")
        assert text.startswith("Usage: consilium " + " ".join(verb)), text
        assert run("help", *verb) == text
        run(*verb, "--nonsense", expect=USAGE, says="unknown option --nonsense")
        run(*verb, "a", "b", "c", expect=USAGE)
    for verb in ("kit", "policy"):
        run(verb, expect=USAGE, says=f"Usage: consilium {verb} VERB")
        run(verb, "fly", expect=USAGE, says='unknown verb "fly"')


def test_a_full_disk_behind_stdout_is_said():
    with open("/dev/full", "w") as full:
        done = subprocess.run([PROGRAM, "--help"], stdout=full, stderr=subprocess.PIPE, text=True, timeout=60)
    assert done.returncode == IO and "can't be written" in done.stderr, done


def test_init_makes_every_kit():
    text = init("--hospitals", "north,south,st-mary,coast.2")
    assert authority_key() in text
    assert sorted(os.listdir("f")) == ["authority", "coordinator", "hospitals", "officer"]
    assert sorted(os.listdir("f/hospitals")) == ["coast.2", "north", "south", "st-mary"]
    kit = ["authority.pub", "config.json", "identity.key", "policy.json", "roster.json", "study.json", "tls.crt",
           "tls.key"]
    for folder in ["f/coordinator"] + [f"f/hospitals/{name}" for name in os.listdir("f/hospitals")]:
        assert sorted(os.listdir(folder)) == kit, folder
        assert mode(folder) == 0o700
        assert mode(f"{folder}/identity.key") == mode(f"{folder}/tls.key") == 0o600
        assert "sound" in run("kit", "show", folder)
    assert mode("f") == mode("f/authority") == mode("f/officer") == 0o700
    assert mode("f/authority/identity.key") == mode("f/officer/identity.key") == 0o600
    assert json.loads(read("f/coordinator/config.json")) == {
        "role": "coordinator", "listen": "tls+tcp://127.0.0.1:7443", "state": "state"}
    assert json.loads(read("f/hospitals/st-mary/config.json")) == {
        "role": "hospital", "name": "st-mary", "index": 3, "address": "tls+tcp://127.0.0.1:7443",
        "data": "data.csv", "state": "state", "floor": {"cohort": 4, "included": 3, "threshold": 3}}
    # No key was used twice.
    keys = [read(os.path.join(top, name)) for top, _, names in os.walk("f") for name in names if name.endswith(".key")]
    assert len(keys) == len(set(keys)) == 2 + 2 * 5


def test_init_counts_and_speaks_json():
    made = run_json("init", "f", "--study", STUDY, "--count", "16", "--address", "tls+tcp://c.example:7443",
                    "--listen", "tls+tcp://0.0.0.0:7443", "--consortium", "Heart Ring", "--json")
    assert made["authority_key"] == authority_key()
    assert [h["name"] for h in made["hospitals"]] == [f"hospital-{i}" for i in range(1, 17)]
    shown = run_json("kit", "show", made["hospitals"][15]["folder"], "--json")
    assert shown["index"] == 16 and shown["consortium"] == "Heart Ring" and shown["hospitals"] == 16
    assert shown["address"] == "tls+tcp://c.example:7443" and shown["authority_key"] == authority_key()
    assert run_json("kit", "show", "f/coordinator", "--json")["address"] == "tls+tcp://0.0.0.0:7443"
    assert json.loads(read("f/hospitals/hospital-1/config.json"))["floor"] == {
        "cohort": 10, "included": 5, "threshold": 7}


def test_init_refuses_and_leaves_nothing():
    for arguments, code, says in (
            ([], USAGE, "exactly one of"),
            (["--count", "5", "--enrol"], USAGE, "exactly one of"),
            (["--count", "3"], USAGE, "from 4 to 1000"),
            (["--count", "1001"], USAGE, "from 4 to 1000"),
            (["--count"], USAGE, "needs a value"),
            (["--hospitals", "a,b,c"], FAILED, "too few"),
            (["--hospitals", "a,b,c,a"], IO, "two hospitals have the name a"),
            (["--hospitals", "a,b,c,"], FAILED, "can't be a hospital's name"),
            (["--hospitals", "a,b,c,D"], FAILED, "can't be a hospital's name"),
            (["--hospitals", "a,b,c,../d"], FAILED, "can't be a hospital's name"),
            (["--count", "5", "--address", "http://x"], FAILED, "not an address"),
            (["--count", "5", "--address", "tcp://10.0.0.1:1"], FAILED, "only allowed on loopback"),
            (["--count", "5", "--listen", "x"], FAILED, "not an address"),
            (["--count", "5", "--consortium", ""], FAILED, "consortium's name")):
        init(*arguments, expect=code, says=says)
        assert not os.path.exists("f"), arguments
    run("init", "f", "--count", "5", expect=USAGE, says="--study FILE is missing")
    run("init", expect=USAGE, says="an argument is missing")
    run("init", "f", "--study", "none.json", "--count", "5", expect=IO, says="none.json")
    run("init", "no/f", "--study", STUDY, "--count", "5", expect=IO, says="no/f")
    for text, says in (("", "empty"), ("{", "line 1"), ("{}", "missing"), ('{"a":1,"a":2}', "twice")):
        write("bad.json", text)
        run("init", "f", "--study", "bad.json", "--count", "5", expect=FAILED, says=says)
        assert not os.path.exists("f")


def test_init_does_not_touch_what_is_there():
    os.mkdir("f")
    write("f/mine", "x")
    init("--count", "5", expect=IO, says="not empty")
    assert os.listdir("f") == ["mine"]
    os.remove("f/mine")
    init("--count", "5")
    before = read("f/authority/identity.key")
    init("--count", "5", expect=IO, says="not empty")
    assert read("f/authority/identity.key") == before
    write("file", "x")
    run("init", "file", "--study", STUDY, "--count", "5", expect=IO, says="not a folder")


def test_init_leaves_nothing_on_a_full_disk():
    def limit():
        import resource
        import signal
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (1500, 1500))
    init("--count", "5", expect=IO, says="can't be written", preexec_fn=limit)
    assert not os.path.exists("f")


def test_a_signed_study_is_taken_too():
    init("--count", "5")
    run("init", "g", "--study", "f/authority/study.json", "--count", "5")
    study = read("g/coordinator/study.json", "r")
    assert study.count("-- consilium signature 1 study authority ") == 2
    assert "sound" in run("kit", "show", "g/coordinator")


def test_every_altered_file_is_noticed():
    init("--count", "4")
    kit = "f/hospitals/hospital-1"
    for name in sorted(os.listdir(kit)):
        if name == "config.json":
            continue
        path, data = f"{kit}/{name}", read(f"{kit}/{name}")
        for at in (0, len(data) // 3, len(data) // 2, len(data) - 2):
            write(path, data[:at] + bytes([data[at] ^ 1]) + data[at + 1:])
            done = subprocess.run([PROGRAM, "kit", "show", kit], capture_output=True, text=True, timeout=60)
            # The text around a PEM block is no part of it.
            if name == "tls.crt" and done.returncode == 0:
                continue
            assert done.returncode in (FAILED, REFUSED) and kit in done.stderr, (name, at, done)
        write(path, data[:-1])
        if not name.startswith("tls"):
            run("kit", "show", kit, expect=FAILED, says=name)
        write(path, "")
        run("kit", "show", kit, expect=FAILED, says=name)
        os.rename(path, "spare")
        run("kit", "show", kit, expect=IO, says=name)
        os.rename("spare", path)
        write(path, data)
    run("kit", "show", kit, says="sound")


def test_key_modes_are_checked():
    init("--count", "4")
    kit = "f/hospitals/hospital-1"
    for name in ("identity.key", "tls.key"):
        for wrong in (0o640, 0o604, 0o644):
            os.chmod(f"{kit}/{name}", wrong)
            run("kit", "show", kit, expect=IO, says="chmod 600")
        os.chmod(f"{kit}/{name}", 0o600)
    os.chmod(f"{kit}/authority.pub", 0o666)
    run("kit", "show", kit, expect=IO, says="chmod 644")
    os.chmod("f/officer/identity.key", 0o644)
    run("policy", "sign", "f/authority/policy.json", "--as", "f/officer", expect=IO, says="chmod 600")


def test_policy_is_shown_in_sentences():
    init("--count", "16")
    for what in ("f/coordinator", "f/hospitals/hospital-3", "f/authority"):
        text = run("policy", "show", what)
        assert "at most 3 hospitals secretly work together" in text and "Signed by officer" in text, text
        assert "(the roster has 16)" in text
    assert "can't be said by whom" in run("policy", "show", "f/authority/policy.json")
    shown = run_json("policy", "show", "f/coordinator", "--json")
    assert shown["verified"] is True and shown["signed_by"] == "officer" and shown["policy"]["colluders"] == 3
    assert run_json("policy", "show", "f/authority/policy.json", "--json")["verified"] is False
    run("policy", "show", "none", expect=IO, says="none")
    run("policy", "show", expect=USAGE, says="an argument is missing")
    run("policy", "show", "f/authority/roster.json", expect=FAILED)
    data = read("f/coordinator/policy.json")
    write("f/coordinator/policy.json", data.replace(b'"minimum_included": 5', b'"minimum_included": 6'))
    run("policy", "show", "f/coordinator", expect=REFUSED, says="altered after it was signed")


def edited(path, **changes):
    """The payload of a policy with changes, as an officer writes it: plain JSON."""
    policy = json.loads(read(path, "r").split("\n-- consilium")[0])
    policy.update(changes)
    return json.dumps(policy)


def test_policy_is_signed_after_checks():
    init("--count", "5")
    place = "f/authority/policy.json"
    write("new.json", edited(place, version=2, minimum_included=4))
    assert "Not signed" in run("policy", "show", "new.json")
    text = run("policy", "sign", "new.json", "--as", "f/officer", "--out", place)
    assert "holds at least 4 hospitals" in text and "Signed: " in text
    run("policy", "show", "f/authority", says="version 2")
    run("policy", "sign", "new.json", "--as", "f/officer", "--out", place)  # once more changes nothing
    write("old.json", edited(place, version=1))
    run("policy", "sign", "old.json", "--as", "f/officer", "--out", place, expect=REFUSED, says="has version 2")
    write("twin.json", edited(place, minimum_included=3))
    run("policy", "sign", "twin.json", "--as", "f/officer", "--out", place, expect=REFUSED,
        says="another policy with the same version")
    run("policy", "show", "f/authority", says="holds at least 4 hospitals")
    for changes, code, says in (
            ({"minimum_cohort": 6}, REFUSED, "the roster has only 5"),
            ({"consortium": "other"}, REFUSED, "another consortium"),
            ({"minimum_cohort": 3}, FAILED, "minimum_cohort is 3"),
            ({"colluders": 2}, FAILED, "minimum_cohort is 4, but with 2"),
            ({"audit": {"level": "open", "sketch": 0}}, FAILED, "reserved"),
            ({"valid_until": "2001-01-01T00:00:00Z"}, REFUSED, "was valid until"),
            ({"extra": 1}, FAILED, "extra is not a known field")):
        write("new.json", edited(place, version=3, **changes))
        run("policy", "sign", "new.json", "--as", "f/officer", "--out", place, expect=code, says=says)
    run("policy", "show", "f/authority", says="version 2")
    write("new.json", edited(place, version=3))
    run("policy", "sign", "new.json", "--as", "f/authority", "--out", place, expect=REFUSED, says="privacy officers")
    run("policy", "sign", "new.json", "--as", "f/none", expect=IO, says="identity.key")
    run("policy", "sign", "new.json", expect=USAGE, says="--as DIR is missing")
    run("policy", "sign", "none.json", "--as", "f/officer", expect=IO, says="none.json")
    run("policy", "sign", "new.json", "--as", "f/officer")  # in place
    assert b"-- consilium signature 1 policy officer" in read("new.json")


def enrol(names):
    run("init", "f", "--study", STUDY, "--enrol")
    for index, name in enumerate(names, 1):
        made = run_json("kit", "request", f"at-{name}", "--name", name, "--json")
        assert re.fullmatch("([0-9a-f]{4} ){7}[0-9a-f]{4}", made["spoken"])
        assert made["digest"].startswith(made["spoken"].replace(" ", ""))
        approved = run_json("kit", "approve", f"at-{name}/request.json", "--federation", "f", "--yes", "--json")
        assert approved == {"name": name, "index": index, "known": False, "roster_version": index + 1,
                            "hospitals": index}


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
    assert len(run_json("kit", "issue", "--federation", "f", "--json")["responses"]) == 4


def test_requests_are_checked():
    run("init", "f", "--study", STUDY, "--enrol")
    run("kit", "request", "h", expect=USAGE, says="--name NAME is missing")
    run("kit", "request", "--name", "x", expect=USAGE, says="an argument is missing")
    run("kit", "request", "h", "--name", "No Name", expect=FAILED, says="can't be a hospital's name")
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
    run("kit", "approve", "h/request.json", "--federation", "f", "--index", "8", "--yes", expect=IO,
        says="index 7 for life")
    run("kit", "request", "i", "--name", "north")
    run("kit", "approve", "i/request.json", "--federation", "f", "--yes", expect=IO, says="name north")
    run("kit", "request", "j", "--name", "south")
    run("kit", "approve", "j/request.json", "--federation", "f", "--index", "7", "--yes", expect=IO,
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
    run("kit", "accept", "at-a", response, "--authority-key", "xyz", expect=FAILED, says="64 hex digits")
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
    run("kit", "revoke", "z", "--federation", "f", expect=IO, says="no hospital named z")
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
    assert revoked == {"name": "d", "roster_version": 8, "hospitals": 3}
    run("kit", "issue", "--federation", "f", expect=FAILED, says="the roster has only 3")


def test_kit_show_names_what_is_missing():
    run("kit", "show", "none", expect=IO, says="none/config.json")
    run("kit", "show", expect=USAGE, says="an argument is missing")
    init("--count", "4")
    run("kit", "show", "f/authority", expect=IO, says="config.json")
    write("f/coordinator/config.json", '{"role":"coordinator","listen":"tls+tcp://x:1","state":"s","more":1}')
    run("kit", "show", "f/coordinator", expect=FAILED, says="more is not a known field")


def main():
    tests = [(name, test) for name, test in globals().items() if name.startswith("test_")]
    failed = 0
    print(f"1..{len(tests)}", flush=True)
    for number, (name, test) in enumerate(tests, 1):
        with tempfile.TemporaryDirectory(prefix="cns-setup-") as folder:
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
