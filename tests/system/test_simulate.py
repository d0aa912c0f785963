#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""consilium simulate from outside: exactness with and without losses, the JSON,
the seed, audits and attackers, wrong calls, and an interrupt. Speaks TAP; CNS_PROGRAM is the program."""
import json
import os
import random
import resource
import signal
import struct
import subprocess
import sys
import tempfile
import time
import traceback

PROGRAM = os.environ["CNS_PROGRAM"]
PHASES = ["keys", "shares", "ready", "upload", "agree", "unmask"]
# Sanitizers and busy machines are slow; what is promised is measured apart.
TIMEOUT_SECONDS = 280


def call(*arguments, timeout=TIMEOUT_SECONDS, **options):
    return subprocess.run([PROGRAM, "simulate", *map(str, arguments)], capture_output=True, text=True,
                          timeout=timeout, check=False, **options)


def simulate(*arguments):
    done = call(*arguments, "--json")
    assert done.returncode == 0, (arguments, done.returncode, done.stderr)
    assert done.stderr == "", done.stderr
    return json.loads(done.stdout)


def refused(code, *words_and_arguments):
    """The arguments before None, then words that the sentence must have."""
    at = words_and_arguments.index(None)
    arguments, words = words_and_arguments[:at], words_and_arguments[at + 1:]
    done = call(*arguments)
    assert done.returncode == code, (arguments, done.returncode, done.stderr)
    assert done.stdout == "", done.stdout
    for word in words:
        assert word in done.stderr, (word, done.stderr)


def check_lists(result, n, drops):
    """Every dropped hospital is missing in its phase, nobody else is."""
    missing = result["missing"]
    assert {p: len(v) for p, v in missing.items()} == {p: c for p, c in drops.items() if c}, missing
    gone = [k for v in missing.values() for k in v]
    assert len(gone) == len(set(gone)) and all(1 <= k <= n for k in gone)
    before = {k for p, v in missing.items() if PHASES.index(p) <= PHASES.index("upload") for k in v}
    assert result["included"] == [k for k in range(1, n + 1) if k not in before], result["included"]


def drop_arguments(drops):
    return [a for phase, count in drops.items() for a in ("--drop", f"{phase}:{count}")]


def exact(n, dim, drops, *more):
    result = simulate("--hospitals", n, "--dim", dim, *drop_arguments(drops), *more)
    assert result["completed"] is True and result["exact"] is True, result["reason"]
    assert result["reason"] == ""
    check_lists(result, n, drops)
    return result


def test_no_drop_is_exact():
    for n, dim in ((4, 1), (5, 17), (6, 16384), (7, 16385), (16, 100000)):
        exact(n, dim, {})


def test_json_has_every_field():
    result = exact(6, 1000, {})
    number = (int, float)
    types = {"hospitals": int, "dim": int, "included": list, "missing": dict, "exact": bool, "completed": bool,
             "reason": str, "phase_ms": dict, "client_mask_ms_median": number, "server_unmask_ms": number,
             "bytes_up_per_hospital": number, "bytes_down_per_hospital": number, "peak_rss_mib": number}
    for field, kind in types.items():
        assert isinstance(result[field], kind), field
    assert result["hospitals"] == 6 and result["dim"] == 1000 and result["missing"] == {}
    assert set(result["phase_ms"]) == set(PHASES) | {"result"}
    assert all(ms > 0 for ms in result["phase_ms"].values())
    assert result["client_mask_ms_median"] > 0 and result["server_unmask_ms"] > 0
    assert result["bytes_up_per_hospital"] > 4000 and result["model_bytes"] == 4000
    assert 1000 < result["bytes_down_per_hospital"] < 50000
    assert 1 < result["peak_rss_mib"] < 2000
    assert 0 < result["max_error"] < 1e-4


def test_losses_up_to_the_threshold():
    for phase in PHASES:
        for count in (1, 6):
            exact(16, 200, {phase: count})


def test_one_loss_too_many_ends_cleanly():
    for phase in PHASES:
        result = simulate("--hospitals", 16, "--dim", 200, "--drop", f"{phase}:7")
        assert result["completed"] is False and result["exact"] is False
        assert result["included"] == []
        assert len(result["missing"][phase]) == 7
        for word in (phase, "9 of 16", "10 are needed"):
            assert word in result["reason"], result["reason"]


def test_nobody_there():
    result = simulate("--hospitals", 5, "--dim", 10, "--drop", "keys:5")
    assert result["completed"] is False and "0 of 5" in result["reason"]


def test_losses_in_several_phases():
    exact(16, 300, {"keys": 1, "shares": 1, "ready": 1, "upload": 1, "agree": 1, "unmask": 1})
    exact(16, 20000, {"upload": 3, "unmask": 3})
    exact(33, 100, {"shares": 4, "agree": 5, "unmask": 3})


def test_repeated_drops_add():
    result = simulate("--hospitals", 16, "--dim", 10, "--drop", "upload:2", "--drop", "upload:1",
                      "--drop=upload:0")
    assert len(result["missing"]["upload"]) == 3 and result["exact"] is True


def test_rounds():
    result = exact(5, 50, {}, "--rounds", 3)
    assert result["round"] == 3
    result = simulate("--hospitals", 5, "--dim", 50, "--rounds", 2, "--drop", "agree:2")
    assert (result["round"], result["attempt"], result["completed"]) == (1, 2, False)


def without_times(result):
    timed = {"phase_ms", "client_mask_ms_median", "server_unmask_ms", "peak_rss_mib"}
    return {k: v for k, v in result.items() if k not in timed}


def test_the_seed_decides():
    arguments = ("--hospitals", 20, "--dim", 5000, "--drop", "upload:3", "--drop", "unmask:2")
    first = simulate(*arguments, "--seed", 7)
    assert without_times(first) == without_times(simulate(*arguments, "--seed", 7))
    other = simulate(*arguments, "--seed", 8)
    assert first["missing"] != other["missing"] and first["max_error"] != other["max_error"]


def test_thresholds():
    result = exact(16, 10, {"upload": 5}, "--threshold", 11)
    assert result["threshold"] == 11 and result["colluders"] == 5
    result = simulate("--hospitals", 16, "--dim", 10, "--threshold", 11, "--drop", "upload:6")
    assert result["completed"] is False and "11 are needed" in result["reason"]
    assert exact(16, 10, {}, "--threshold", 10)["colluders"] == 3
    refused(3, "--hospitals", 16, "--dim", 10, "--threshold", 9, None, "hospital", "threshold is 9",
            "must be 10")
    refused(2, "--hospitals", 16, "--dim", 10, "--threshold", 12, None, "from 10 to 11", "3c+1")
    refused(2, "--hospitals", 4, "--dim", 10, "--threshold", 4, None, "3 only")


def test_wrong_calls():
    ok = ("--hospitals", 16, "--dim", 10)
    audited = ("--hospitals", 16, "--dim", 10000, "--audit", "open")
    refused(2, None, "--hospitals")
    refused(2, "--hospitals", 16, None, "--dim")
    refused(2, "--hospitals", 3, "--dim", 10, None, "n >= 4")
    refused(2, "--hospitals", 1001, "--dim", 10, None, "1000")
    refused(2, "--hospitals", -5, "--dim", 10, None, "--hospitals")
    refused(2, "--hospitals", 16, "--dim", 0, None, "--dim")
    refused(2, "--hospitals", 16, "--dim", 10 ** 12, None, "from 1 to 268435456")
    refused(2, "--hospitals", 16, "--dim", "1e6", None, "whole number")
    refused(2, *ok, "--drop", "upload", None, "PHASE:COUNT")
    refused(2, *ok, "--drop", "audit:1", None, "keys, shares, ready, upload, agree or unmask")
    refused(2, *ok, "--drop", "upload:x", None, "whole number")
    refused(2, *ok, "--drop", "upload:-1", None, "whole number")
    refused(2, *ok, "--drop", "upload:", None, "whole number")
    refused(2, *ok, "--drop", "upload:99999999999999999999", None, "whole number")
    refused(2, *ok, "--drop", "upload:10", "--drop", "keys:7", None, "16")
    refused(2, *ok, "--rounds", 0, None, "--rounds")
    refused(2, *ok, "--seed", "x", None, "--seed")
    refused(2, *ok, "--threshold", 10 ** 8, None, "threshold")
    refused(2, *ok, "--audit", "norm", None, "reserved", "open")
    refused(2, *ok, "--audit", "distances", None, "reserved", "open")
    refused(2, *ok, "--audit", "full", None, "none or open")
    refused(2, *ok, "--on-flag", "shout", None, "report, exclude or quarantine")
    refused(2, *ok, "--attack", "magic:2", None, "magic", "alie", "min-max", "false-pair-agreed", "equivocate")
    refused(2, *ok, "--attack", "alie", None, "COUNT")
    refused(2, *ok, "--attack", "alie:0", None, "1 to 1000")
    refused(2, *ok, "--attack", "equivocate:x", None, "1 to 1000")
    refused(2, *ok, "--attack", "alie:2:scale=3", None, "z=NUMBER")
    refused(2, *ok, "--attack", "wrong-share:1:jitter=0.1", None, "no parameters")
    refused(2, *ok, "--attack", "alie:9", "--attack", "mimic:8", None, "16", "two must be honest")
    refused(2, *ok, "--attack", "alie:17", None, "16")
    refused(2, *ok, "--attack", "false-pair:1", None, "--audit open")
    refused(2, *audited, "--attack", "false-self:1:scale=0", None, "above 0")
    refused(2, *audited, "--attack", "false-pair-agreed:3", None, "even")
    refused(2, *ok, "--audit", "open", None, "at least 8192")
    refused(2, *audited, "--sketch", 200, None, "128, 256, 512 or 1024")
    refused(2, *audited, "--sketch-budget", 0.001, None, "needs 256")
    refused(2, *audited, "--drop", "forfeit:1", None, "audit or dispute")
    refused(2, *audited, "--alpha", 0, None, "--alpha")
    refused(2, "--hospitals", 700, "--dim", 10000, "--audit", "open", None, "700 hospitals", "--updates")
    refused(4, *ok, "--updates", "no/such.npy", None, "no/such.npy")
    refused(2, *ok, "--colour", None, "--colour")
    refused(2, *ok, "more", None, "more")


def test_too_much_memory():
    limit = 6 << 30

    def less_memory():
        resource.setrlimit(resource.RLIMIT_AS, (limit, limit))

    if call("--help", preexec_fn=less_memory).returncode != 0:
        return  # a sanitizer's shadow memory doesn't fit below the limit
    done = call("--hospitals", 16, "--dim", 1 << 28, preexec_fn=less_memory)
    assert done.returncode == 2, (done.returncode, done.stderr)
    assert "MiB" in done.stderr and "fewer" in done.stderr, done.stderr


def test_table_for_people():
    done = call("--hospitals", 8, "--dim", 100, "--drop", "upload:2")
    assert done.returncode == 0, done.stderr
    for word in PHASES + ["missing", "threshold", "yes, all coordinates", "MiB", "6 of 8 included"]:
        assert word in done.stdout, word
    done = call("--hospitals", 8, "--dim", 100, "--drop", "upload:4")
    assert done.returncode == 0 and "ends without a result" in done.stdout
    assert call("--help").returncode == 0


def hospitals_of(entries):
    return sorted({entry["hospital"] for entry in entries})


def audited(*more, hospitals=10, dim=4096, sketch=128):
    result = simulate("--hospitals", hospitals, "--dim", dim, "--audit", "open", "--sketch", sketch, *more)
    assert abs(result["dim"] - dim) <= 2 and result["audit"] == "open" and result["sketch"] == sketch
    assert set(hospitals_of(result["blamed"])) <= set(result["attackers"]), result["blamed"]
    assert all(entry["evidence_verifies"] is True for entry in result["blamed"])
    assert result["exact"] == result["completed"]
    assert result["sketches_exact"] is True or not result["completed"]
    return result


def test_an_audited_round():
    result = audited("--rounds", 2)
    assert set(result["phase_ms"]) == set(PHASES) | {"audit", "dispute", "forfeit", "result"}
    for field in ("client_audit_ms_median", "server_sketch_ms", "clip_norm", "influence"):
        assert result[field] > 0, field
    assert 10 * 512 <= result["audit_bytes_up_per_hospital"] <= 9 * 640 + 4096
    assert result["attackers"] == [] and result["blamed"] == [] and result["excluded"] == []
    assert len(result["rounds"]) == 2 and result["rounds"][1]["round"] == 2
    assert result["model"]["auc"] > 0.9 and len(result["model"]["hidden"]) == 2
    assert "limits" in result["effective"] and result["claim"] == ""
    assert "5 hospitals" in audited(hospitals=5)["claim"]


def test_who_breaks_the_protocol():
    for attack, reason, left_out in (("false-pair:1", "false pair sketch", "convicted"),
                                     ("false-self:1", "false self sketch", "forfeited"),
                                     ("wrong-share:2", "wrong share", None),
                                     ("equivocate:1", "equivocation", None)):
        result = audited("--attack", attack, "--rounds", 2)
        assert result["completed"] is True, result["reason"]
        assert len(result["attackers"]) == int(attack[-1])
        assert hospitals_of(result["blamed"]) == result["attackers"]
        assert all(entry["reason"] == reason for entry in result["blamed"]), result["blamed"]
        assert hospitals_of(result["excluded"]) == (result["attackers"] if left_out else [])
        assert all(entry["reason"] == left_out for entry in result["excluded"])
        assert result["included"] == [k for k in range(1, 11) if k not in hospitals_of(result["excluded"])]


def test_who_is_silent_is_missing():
    for attack, phase in (("drop-after-upload:2", "audit"), ("refuse-opening:2", "dispute"),
                          ("refuse-opening:1", "audit")):
        result = audited("--attack", attack)
        assert result["completed"] is True and result["blamed"] == [], result
        assert result["missing"] == {phase: result["attackers"]}, result["missing"]
    result = audited("--drop", "audit:1", "--drop", "dispute:1", hospitals=12)
    assert {p: len(v) for p, v in result["missing"].items()} == {"audit": 1, "agree": 1}
    assert len(result["included"]) == 11
    result = audited("--drop", "audit:8")
    assert result["completed"] is False and "audit" in result["reason"]


def test_what_is_flagged():
    result = audited("--attack", "other-masks:1", "--on-flag", "exclude")
    assert result["attackers"] == hospitals_of(result["flagged"]) == hospitals_of(result["excluded"])
    assert result["flagged"][0]["reason"] == "norm-bound" and result["blamed"] == []
    assert f"hospital-{result['attackers'][0]}:" in result["flagged"][0]["text"]
    assert result["flagged"][0]["value"] > result["flagged"][0]["threshold"]
    result = audited("--attack", "other-masks:1")
    assert result["completed"] is False and "void" in result["reason"] and result["excluded"] == []
    result = audited("--attack", "sign-flip:2:scale=10", "--on-flag", "quarantine", "--rounds", 3)
    assert [r["included_count"] for r in result["rounds"]] == [8, 8, 8]
    assert result["cohort"] == 8 and hospitals_of(result["excluded"]) == result["attackers"]
    assert result["excluded"][0]["reason"] == "in quarantine" and result["excluded"][0]["since_round"] == 1
    result = audited("--attack", "false-pair-agreed:2")
    assert result["blamed"] == [] and result["excluded"] == [] and 0 < result["attack_influence"] <= 1


def test_a_spent_sketch_budget():
    result = audited("--rounds", 5, "--sketch-budget", 0.0625)
    assert [r["completed"] for r in result["rounds"]] == [True, True, False]
    assert "256 of the 256" in result["reason"]


def test_attacks_without_an_audit():
    result = simulate("--hospitals", 10, "--dim", 3000, "--attack", "model-replacement:2", "--rounds", 3)
    clean = simulate("--hospitals", 10, "--dim", 3000, "--attack", "drop-after-upload:2", "--rounds", 3)
    assert result["exact"] and clean["exact"] and len(result["attackers"]) == 2
    assert result["model"]["loss"] > 1.5 * clean["model"]["loss"]


def npy(rows, columns, kind, values):
    header = f"{{'descr': '<f{kind}', 'fortran_order': False, 'shape': ({rows}, {columns}), }}"
    header += " " * (-(11 + len(header)) % 64) + "\n"
    return (b"\x93NUMPY\x01\x00" + struct.pack("<H", len(header)) + header.encode()
            + struct.pack(f"<{rows * columns}{'f' if kind == 4 else 'd'}", *values))


def test_updates_from_a_file():
    draw = random.Random(7)
    direction = [draw.gauss(0, 1) for _ in range(4096)]
    values = [v + draw.gauss(0, 1) for _ in range(8) for v in direction]
    with tempfile.TemporaryDirectory() as folder:
        path = os.path.join(folder, "u.npy")
        for kind in (4, 8):
            with open(path, "wb") as file:
                file.write(npy(8, 4096, kind, values))
            result = simulate("--hospitals", 8, "--updates", path, "--audit", "open", "--sketch", 128,
                              "--attack", "mean-flip:1:scale=3")
            assert result["dim"] == 4096 and result["exact"] is True and result["sketches_exact"] is True
            assert 80 < result["clip_norm"] < 100, result["clip_norm"]
            assert hospitals_of(result["flagged"]) == result["attackers"], result["flagged"]
        exact(8, 4096, {"upload": 1}, "--updates", path)
        refused(2, "--hospitals", 9, "--updates", path, None, "8 rows")
        refused(2, "--hospitals", 8, "--dim", 5000, "--updates", path, None, "4096 columns")
        with open(path, "ab") as file:
            file.write(b"x")
        refused(2, "--hospitals", 8, "--updates", path, None, "bytes follow")


def test_the_cost_of_an_audit():
    """n = 16, k = 256: what is sent is bounded; what it takes is measured, and told."""
    result = audited(hospitals=16, dim=100000, sketch=256)
    assert result["audit_bytes_up_per_hospital"] <= 15 * 1280 + 4096, result["audit_bytes_up_per_hospital"]
    ratio = 1 + result["client_audit_ms_median"] / result["client_mask_ms_median"]
    print(f"# masking and audit over masking alone: {ratio:.2f}")
    assert ratio > 1


def test_flags_for_people():
    done = call("--hospitals", 10, "--dim", 4096, "--audit", "open", "--sketch", 128, "--attack", "false-self:1",
                "--attack", "sign-flip:1:scale=10", "--on-flag", "exclude")
    assert done.returncode == 0, done.stderr
    for words in ("flagged   hospital", "as long as clipping allows", "left out because of a flag",
                  "forfeited its place", "false self sketch", "verifies", "attackers", "bit for bit",
                  "hidden layers of", "limits one unseen liar"):
        assert words in done.stdout, (words, done.stdout)


def test_interrupt_leaves_nothing():
    with tempfile.TemporaryDirectory() as folder:
        environment = dict(os.environ, TMPDIR=folder)
        with subprocess.Popen([PROGRAM, "simulate", "--hospitals", "300", "--dim", "1000"], cwd=folder,
                              env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
            time.sleep(1)
            process.send_signal(signal.SIGINT)
            process.communicate(timeout=20)
        assert process.returncode == -signal.SIGINT, process.returncode
        assert os.listdir(folder) == []


def test_a_full_pipe_is_told():
    with open("/dev/full", "w", encoding="utf-8") as full:
        done = subprocess.run([PROGRAM, "simulate", "--hospitals", "4", "--dim", "4", "--json"], stdout=full,
                              stderr=subprocess.PIPE, text=True, timeout=60, check=False)
    assert done.returncode == 4 and "output" in done.stderr, (done.returncode, done.stderr)


def test_two_hundred_hospitals():
    exact(200, 10000, {"upload": 20, "unmask": 10})


def main():
    tests = [(name, f) for name, f in globals().items() if name.startswith("test_")]
    print(f"1..{len(tests)}", flush=True)
    failed = False
    for number, (name, function) in enumerate(tests, 1):
        try:
            function()
            print(f"ok {number} - {name[5:].replace('_', ' ')}", flush=True)
        except Exception:
            failed = True
            for line in traceback.format_exc().splitlines():
                print(f"# {line}")
            print(f"not ok {number} - {name[5:].replace('_', ' ')}", flush=True)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
