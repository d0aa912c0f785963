#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""consilium evidence verify: what rounds of the real program leave behind convicts,
offline; altered, cut off, of another roster or no evidence at all, it convicts
nobody else. Speaks TAP; CNS_PROGRAM is the program, CNS_ROGUE a lying hospital."""

import glob
import json
import os
import random
import shutil
import subprocess
import sys

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
from federation import Federation  # noqa: E402
from program import FAILED, IO, OK, PROGRAM, REFUSED, USAGE, main, read, run, run_json, write  # noqa: E402

SEED = int(os.environ.get("CNS_SEED", "7"))
REGIONS = 40
FACTS = ("hospital", "index", "round", "attempt", "phase", "kind")


def simulate(folder, *attacks, seed=SEED):
    """Each blame with its file."""
    arguments = [word for attack in attacks for word in ("--attack", attack)]
    result = run_json("simulate", "--hospitals", "10", "--dim", "4096", "--audit", "open", "--sketch", "128",
                      "--seed", str(seed), *arguments, "--evidence", folder, "--json")
    assert len(result["blamed"]) == len(attacks), result["blamed"]
    return [(os.path.join(folder, entry["evidence_file"]), entry) for entry in result["blamed"]]


def judge(path, roster="e"):
    """Exit code and JSON, if there is any."""
    done = subprocess.run([PROGRAM, "evidence", "verify", path, "--roster", roster, "--json"], timeout=60,
                          stdin=subprocess.DEVNULL, capture_output=True, text=True)
    assert "AddressSanitizer" not in done.stderr and "runtime error" not in done.stderr, done.stderr
    assert (done.stderr == "") == (done.returncode == OK), done
    return done.returncode, json.loads(done.stdout) if done.stdout else None


def proves_nothing(path, code, word, roster="e"):
    found, verdict = judge(path, roster)
    assert found == code, (found, verdict)
    assert verdict["valid"] is False and word in verdict["reason"], verdict
    assert all(verdict[fact] is None for fact in FACTS), verdict
    run("evidence", "verify", path, "--roster", roster, expect=code, says=word)


def test_every_kind_convicts():
    for number, attacks in enumerate((("false-pair:1", "equivocate:1"), ("false-self:1",), ("wrong-share:1",))):
        folder = f"e{number}"
        for path, entry in simulate(folder, *attacks):
            code, verdict = judge(path, folder)
            assert code == OK and verdict["valid"] is True, verdict
            assert verdict["index"] == entry["hospital"] and verdict["kind"] == entry["reason"], (verdict, entry)
            assert verdict["hospital"] == f"hospital-{entry['hospital']}"
            assert (verdict["round"], verdict["attempt"], verdict["consortium"]) == (1, 1, "simulation")
            phases = {"false pair sketch": ("audit",), "false self sketch": ("audit",),
                      "wrong share": ("unmask", "forfeit")}
            assert verdict["phase"] in phases.get(verdict["kind"], (entry["phase"],)), verdict
            assert verdict["roster_on_trust"] is False and "journal" in verdict["not_checked"]
            assert (verdict["other"] is None) == (verdict["kind"] in ("equivocation", "false self sketch")), verdict
            text = " ".join(run("evidence", "verify", path, "--roster", folder).split())
            for words in (f"Proven: hospital {entry['hospital']} (hospital-{entry['hospital']})", "round 1, attempt 1",
                          entry["reason"], "This proves that", "Not checked", "authority's key that"):
                assert words in text, (words, text)
        assert sorted(os.listdir(folder))[:1] == ["authority.pub"] and os.path.exists(f"{folder}/roster.json")


def test_altered_it_convicts_nobody_else():
    rng = random.Random(SEED)
    files = simulate("e", "false-pair:1", "equivocate:1") + simulate("f", "wrong-share:1")
    for path, entry in files:
        good, folder = read(path), os.path.dirname(path)
        _, honest = judge(path, folder)
        refused = 0
        for region in range(REGIONS):
            at = rng.randrange(region * len(good) // REGIONS, (region + 1) * len(good) // REGIONS)
            flipped = bytes([good[at] ^ 1 << rng.randrange(8)])
            write("altered", good[:at] + flipped + good[at + 1:])
            code, verdict = judge("altered", folder)
            if code == OK:
                assert all(verdict[fact] == honest[fact] for fact in FACTS), (SEED, path, at, verdict)
            else:
                refused += 1
                assert code in (REFUSED, FAILED) and verdict["valid"] is False, (SEED, path, at, verdict)
        assert refused >= REGIONS * 9 // 10, (SEED, path, refused)
        for other in range(1, 11):
            if other == entry["hospital"]:
                continue
            write("altered", good[:2] + bytes([other]) + good[3:])
            assert judge("altered", folder)[0] == REFUSED, other
        for kind in range(256):
            if kind == good[1] or kind > 10 and kind % 50:
                continue
            write("altered", good[:1] + bytes([kind]) + good[2:])
            assert judge("altered", folder)[0] in (REFUSED, FAILED), kind
        for length in [1, 2, 3, 4, len(good) - 1] + [rng.randrange(4, len(good)) for _ in range(10)]:
            write("altered", good[:length])
            proves_nothing("altered", FAILED, "malformed", folder)
        write("altered", good + b"\0")
        proves_nothing("altered", FAILED, "malformed", folder)


def test_messages_of_another_round():
    """The lists of one round with what was signed in another one."""
    (one, _), = simulate("e", "equivocate:1")
    result = run_json("simulate", "--hospitals", "10", "--dim", "4096", "--audit", "open", "--sketch", "128",
                      "--seed", str(SEED), "--rounds", "2", "--attack", "equivocate:1", "--evidence", "two", "--json")
    two = os.path.join("two", result["blamed"][0]["evidence_file"])
    assert result["round"] == 2 and judge(two, "two")[1]["round"] == 2
    assert read("e/roster.json") == read("two/roster.json"), "the same seed gives the same roster"
    a, b = read(one), read(two)
    assert len(a) == len(b)
    head = 8 + int.from_bytes(a[4:8], "little")
    assert a[:head] != b[:head] and a[head:] != b[head:]
    write("mixed", a[:head] + b[head:])
    proves_nothing("mixed", REFUSED, "another round")


def test_another_roster():
    (path, _), = simulate("e", "false-pair:1")
    simulate("other", "false-pair:1", seed=SEED + 1)
    proves_nothing(path, REFUSED, "another roster", "other")
    code, verdict = judge(path, "other")
    assert code == REFUSED and verdict["claims"]["round"] == 1 and verdict["claims"]["roster_digest"]
    # The kit's key isn't the one that signed: not looked at any further.
    shutil.copytree("e", "mixed")
    shutil.copy("other/authority.pub", "mixed/authority.pub")
    for roster in (["mixed"], ["e/roster.json", "--authority", "other/authority.pub"]):
        assert run("evidence", "verify", path, "--json", "--roster", *roster, expect=REFUSED, says="roster.json") == ""
    # A roster with a name changed isn't signed any more; nor is a shorter one a roster.
    text = read("e/roster.json", "r")
    write("changed.json", text.replace("hospital-3", "hospital-x"))
    run("evidence", "verify", path, "--roster", "changed.json", expect=REFUSED, says="changed.json")
    write("changed.json", text[:1000])
    run("evidence", "verify", path, "--roster", "changed.json", expect=FAILED, says="changed.json")
    # Without a key the roster's own word is taken, and that is said.
    alone = run("evidence", "verify", path, "--roster", "e/roster.json", says="TAKEN ON TRUST")
    assert read("e/authority.pub", "r").strip() in alone
    trusted = run("evidence", "verify", path, "--roster", "e/roster.json", "--authority", "e/authority.pub")
    assert "TRUST" not in trusted and "e/authority.pub" in trusted
    assert run_json("evidence", "verify", path, "--roster", "e/roster.json", "--json")["roster_on_trust"] is True


def test_no_evidence():
    (path, _), = simulate("e", "equivocate:1")
    run("evidence", "verify", "nowhere", "--roster", "e", expect=IO, says="nowhere")
    run("evidence", "verify", "e", "--roster", "e", expect=IO, says="folder")
    run("evidence", "verify", path, "--roster", "nowhere", expect=IO, says="nowhere")
    run("evidence", "verify", path, "--roster", "e/roster.json", "--authority", "nowhere", expect=IO, says="nowhere")
    run("evidence", "verify", path, "--roster", "e/roster.json", "--authority", path, expect=FAILED)
    write("empty", b"")
    run("evidence", "verify", "empty", "--roster", "e", expect=FAILED, says="empty")
    write("large", b"\1" * ((4 << 20) + 1))
    run("evidence", "verify", "large", "--roster", "e", expect=FAILED, says="larger than")
    write("nonsense", random.Random(SEED).randbytes(5000))
    assert judge("nonsense")[1]["claims"] is None
    proves_nothing("e/roster.json", FAILED, "not evidence")
    write("newer", b"\2" + read(path)[1:])
    proves_nothing("newer", FAILED, "another version")
    for arguments in ([], ["verify"], ["verify", path], ["verify", path, path, "--roster", "e"], ["judge", path],
                      ["verify", path, "--roster", "e", "--nonsense"]):
        run("evidence", *arguments, expect=USAGE)
    run("evidence", "verify", "--help", says="--roster ROSTER")
    run("simulate", "--hospitals", "10", "--dim", "100", "--evidence", "e", expect=IO, says="is not empty")
    run("simulate", "--hospitals", "10", "--dim", "100", "--threshold", "1", "--evidence", "refused", expect=REFUSED)
    assert not os.path.exists("refused")


def test_evidence_of_the_daemon():
    """A real coordinator over TLS, and a hospital that lies to it."""
    with Federation(rounds=5000) as f:
        f.start_coordinator()
        for name in f.names[:4]:
            f.start(name)
        f.wait(lambda: len(f.completed()) >= 1, "a round of four")
        with open(f.log_path("h5"), "a") as log:
            f.processes["h5"] = subprocess.Popen([os.environ["CNS_ROGUE"], f.kit("h5"), "bad-keys"],
                                                 stdin=subprocess.DEVNULL, stdout=log, stderr=log)
        pattern = os.path.join(f.state("coordinator"), "evidence-*-hospital-5-1.bin")
        f.wait(lambda: glob.glob(pattern), "evidence")
        f.wait(lambda: glob.glob(os.path.join(f.state("coordinator"), "roster-*.json")), "its roster")
        path = glob.glob(pattern)[0]
        for kit in (f.kit("coordinator"), f.kit("h1")):
            code, verdict = judge(path, kit)
            assert code == OK, verdict
            assert (verdict["index"], verdict["hospital"], verdict["kind"]) == (5, "h5", "bad keys"), verdict
            assert verdict["phase"] == "keys" and verdict["study"], verdict
        kept = os.path.join(f.state("coordinator"), "roster-1.json")
        assert read(kept) == read(os.path.join(f.kit("h1"), "roster.json"))
        run("evidence", "verify", path, "--roster", kept, "--authority", os.path.join(f.kit("h1"), "authority.pub"),
            says="h5")


if __name__ == "__main__":
    sys.exit(main(globals()))
