#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""consilium simulate from outside: exactness with and without losses, the JSON,
the seed, wrong calls, and an interrupt. Speaks TAP; CNS_PROGRAM is the program."""
import json
import os
import resource
import signal
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
