#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""The verbs that set a federation up, as processes: init, kit show, policy."""

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time

sys.dont_write_bytecode = True
from program import (FAILED, IO, OK, PROGRAM, REFUSED, STUDY, USAGE, authority_key, init, main, mode, read, run,
                     run_json, write)


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
            (["--hospitals", "a,b,c"], USAGE, "too few"),
            (["--hospitals", "a,b,c,a"], USAGE, "two hospitals have the name a"),
            (["--hospitals", ""], USAGE, "names no hospital"),
            (["--hospitals", "a,b,c,"], USAGE, "can't be a hospital's name"),
            (["--hospitals", "a,b,c,D"], USAGE, "can't be a hospital's name"),
            (["--hospitals", "a,b,c,../d"], USAGE, "can't be a hospital's name"),
            (["--count", "5", "--address", "http://x"], USAGE, "not an address"),
            (["--count", "5", "--address", "tcp://10.0.0.1:1"], USAGE, "only allowed on loopback"),
            (["--count", "5", "--listen", "x"], USAGE, "not an address"),
            (["--count", "5", "--consortium", ""], USAGE, "--consortium: the name")):
        init(*arguments, expect=code, says=says)
        assert not os.path.exists("f"), arguments
    run("init", "f", "--count", "5", expect=USAGE, says="--study FILE is missing")
    run("init", expect=USAGE, says="an argument is missing")
    run("init", "f", "--study", "none.json", "--count", "5", expect=IO, says="none.json")
    run("init", "no/f", "--study", STUDY, "--count", "5", expect=IO, says="no/f: the folder that it is to be made in")
    run("init", "", "--study", STUDY, "--count", "5", expect=IO, says="an empty path")
    run("init", "f", "--study", "", "--count", "5", expect=IO, says="an empty path")
    run("init", "f", "--study", "a\x1b[2J\nb", "--count", "5", expect=IO, says="a?[2J?b: can't be read")
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
    os.rename(f"{kit}/tls.key", "spare")
    os.mkdir(f"{kit}/tls.key")
    run("kit", "show", kit, expect=IO, says="tls.key: is a folder")
    os.rmdir(f"{kit}/tls.key")
    os.rename("spare", f"{kit}/tls.key")
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


def test_a_file_to_write_may_be_the_output_or_behind_a_link():
    init("--count", "5")
    os.symlink("/proc/self/fd/1", "output")
    for into_file in (False, True):
        with open("got", "w") as got:
            done = subprocess.run([PROGRAM, "policy", "new", "--federation", "f", "--out", "output"], text=True,
                                  stdout=got if into_file else subprocess.PIPE, stderr=subprocess.PIPE, timeout=60)
        assert done.returncode == OK and "An unsigned policy" in done.stderr, done
        assert json.loads(read("got") if into_file else done.stdout)["version"] == 2
    assert os.path.islink("output")
    os.symlink("f/signed.json", "link")
    run("policy", "sign", "f/authority/policy.json", "--as", "f/officer", "--out", "link")
    assert os.path.islink("link") and b"-- consilium signature" in read("f/signed.json")


def test_pipes_are_not_read():
    init("--count", "4")
    os.mkfifo("pipe")
    run("init", "g", "--study", "pipe", "--count", "4", expect=IO, says="pipe: is not a plain file")
    os.mkfifo("f/hospitals/hospital-1/data.csv")
    run("consent", "f/hospitals/hospital-1", "--yes", expect=IO, says="data.csv: is not a plain file")


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
            ({"audit": {"level": "norm", "sketch": 0}}, FAILED, "reserved"),
            ({"audit": {"level": "open", "sketch": 0}}, FAILED, "audit"),
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


def test_init_with_an_audit():
    for options, says in (
            (("--audit", "norm"), "reserved"), (("--audit", "all"), "none or open"), (("--sketch", "256"), "need --audit open"),
            (("--audit", "none", "--on-flag", "report"), "need --audit open"),
            (("--audit", "open", "--sketch", "200"), "128, 256, 512 or 1024"),
            (("--audit", "open", "--on-flag", "shout"), "report, exclude or quarantine"),
            (("--audit", "open", "--sketch-budget", "nan"), "--sketch-budget")):
        init("--count", "4", *options, expect=USAGE, says=says)
    init("--count", "4", "--audit", "open", "--sketch", "1024", expect=REFUSED, says="would say too much of the study's")
    init("--count", "4", "--audit", "open", "--sketch-budget", "0.001", expect=REFUSED, says="isn't enough for one audit")
    init("--count", "4", "--audit", "open", "--on-flag", "quarantine")
    text = run("policy", "show", "f/authority", says="left out until an officer lets it in again")
    assert "256 numbers" in text and "0.0625 numbers for each parameter" in text, text
    run("policy", "new", "--federation", "f", "--out", "p.json", "--audit", "open", "--on-flag", "exclude")
    run("policy", "show", "p.json", says="left out of that round's sum")
    run("quarantine", "list", "f/coordinator", expect=IO, says="has not been started")
    run("quarantine", "list", "f/hospitals/hospital-1", expect=REFUSED, says="is not the coordinator's kit")
    release = ("quarantine", "release", "hospital-1", "--as", "f/officer")
    run(*release, expect=USAGE, says="--reason TEXT is missing")
    run(*release, "--reason", "r", expect=USAGE, says="give --kit KIT")
    run(*release, "--reason", "r", "--kit", "f/coordinator", "--round", "3", expect=USAGE, says="where the coordinator's kit isn't")
    elsewhere = ("--reason", "r", "--roster", "f/authority", "--study", "s", "--round", "3", "--out", "r.release")
    assert "r.release goes into the folder releases/" in run(*release, *elsewhere)
    assert b"-- consilium signature 1 release officer" in read("r.release")
    run("quarantine", "release", "nobody", "--as", "f/officer", *elsewhere, expect=IO, says="no hospital nobody")


def test_kit_show_names_what_is_missing():
    run("kit", "show", "none", expect=IO, says="none/config.json")
    run("kit", "show", expect=USAGE, says="an argument is missing")
    init("--count", "4")
    run("kit", "show", "f/authority", expect=IO, says="config.json")
    write("f/coordinator/config.json", '{"role":"coordinator","listen":"tls+tcp://x:1","state":"s","more":1}')
    run("kit", "show", "f/coordinator", expect=FAILED, says="more is not a known field")


def test_init_refuses_addresses_that_nobody_can_dial():
    for option, address in (("--address", "tls+tcp://h"), ("--address", "tls+tcp://h:0"),
                            ("--address", "tls+tcp://h:99999"), ("--listen", "tls+tcp://h:x")):
        run("init", "f", "--study", STUDY, "--count", "4", option, address, expect=USAGE, says=address)
        assert not os.path.exists("f")
    init("--count", "4")
    for address in ("tcp://0.0.0.0:1", "foo", "tls+tcp://h"):
        run("init", "g", "--study", STUDY, "--count", "4", "--listen", address, expect=USAGE, says="--listen")
        run("coordinator", "f/coordinator", "--listen", address, expect=USAGE, says="--listen")
        run("hospital", "f/hospitals/hospital-1", "--address", address, expect=USAGE, says="--address")


def test_ctrl_c_leaves_a_whole_federation_or_none():
    for delay in (0.02, 0.05, 0.1, 0.2):
        with subprocess.Popen([PROGRAM, "init", "f", "--study", STUDY, "--count", "40"],
                              stdout=subprocess.DEVNULL) as program:
            time.sleep(delay)
            program.send_signal(signal.SIGINT)
        assert program.returncode in (0, -signal.SIGINT), program.returncode
        if os.path.exists("f"):
            run("kit", "show", "f/hospitals/hospital-40", says="complete and sound")
            shutil.rmtree("f")


def test_closed_standard_streams_hold_nothing_else():
    init("--count", "4")
    done = subprocess.run(["sh", "-c", '"$0" kit show f/coordinator <&- >&-', PROGRAM], capture_output=True, timeout=60)
    assert done.returncode == IO and b"can't be written" in done.stderr, done
    # The daemon's loop and its journal must not get the numbers of the streams.
    with subprocess.Popen(["sh", "-c", 'exec "$0" coordinator f/coordinator --listen tls+tcp://127.0.0.1:0 '
                           '--url-file url <&- >&- 2>&-', PROGRAM]) as program:
        for _ in range(400):
            if os.path.exists("url") or program.poll() is not None:
                break
            time.sleep(0.05)
        program.terminate()
    assert os.path.exists("url") and program.returncode == OK, program.returncode


if __name__ == "__main__":
    sys.exit(main(globals()))
