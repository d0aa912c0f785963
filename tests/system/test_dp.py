#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""consilium dp from outside: the JSON, the sentences, wrong calls, the plot. Speaks TAP;
CNS_PROGRAM is the program."""
import json
import os
import stat
import subprocess
import sys
import tempfile
import traceback

PROGRAM = os.environ["CNS_PROGRAM"]
ROUNDS = ["--noise-multiplier", "1.1", "--sampling-rate", "0.01", "--rounds", "1000"]


def call(*arguments, **options):
    return subprocess.run([PROGRAM, "dp", *map(str, arguments)], capture_output=True, text=True, timeout=280,
                          check=False, **options)


def answer(*arguments):
    done = call(*arguments, "--json")
    assert done.returncode == 0, (arguments, done.returncode, done.stderr)
    assert done.stderr == "", done.stderr
    return json.loads(done.stdout)


def refused(arguments, *words, code=2):
    done = call(*arguments)
    assert done.returncode == code, (arguments, done.returncode, done.stdout, done.stderr)
    assert done.stdout == "", done.stdout
    for word in words:
        assert word in done.stderr, (word, done.stderr)


def test_epsilon_is_an_interval():
    found = answer("epsilon", *ROUNDS, "--delta", "1e-5")
    assert set(found) >= {"epsilon", "epsilon_lower", "delta", "accountant", "seconds"}, found
    assert found["accountant"] == "pld" and found["delta"] == 1e-5
    assert 0 < found["epsilon_lower"] < found["epsilon"] < found["epsilon_lower"] * 1.005, found
    rdp = answer("epsilon", *ROUNDS, "--delta", "1e-5", "--accountant", "rdp")
    assert rdp["epsilon"] > found["epsilon"] and rdp["epsilon_lower"] is None, rdp
    text = call("epsilon", *ROUNDS, "--delta", "1e-5")
    assert text.returncode == 0 and "epsilon 1." in text.stdout and "Never below" in text.stdout, text
    printed = float(text.stdout.split()[1])
    assert printed >= found["epsilon"], (printed, found)


def test_segments_compose():
    both = answer("epsilon", "--segment", "1.1,0.01,1000", "--segment", "4,1,5", "--delta", "1e-5")
    mixed = answer("epsilon", *ROUNDS, "--segment", "4,1,5", "--delta", "1e-5")
    alone = answer("epsilon", "--segment=4,1,5", "--delta", "1e-5", "--accountant", "gdp")
    assert abs(both["epsilon"] - mixed["epsilon"]) < 1e-9, (both, mixed)
    assert both["epsilon_lower"] > alone["epsilon"]
    assert len(both["segments"]) == 2


def test_delta_is_the_other_direction():
    epsilon = answer("epsilon", *ROUNDS, "--delta", "1e-6")
    delta = answer("delta", *ROUNDS, "--epsilon", repr(epsilon["epsilon"]))
    assert delta["delta_lower"] <= 1e-6 <= delta["delta"] * 1.02, delta


def test_replacing_costs_more():
    one = answer("epsilon", *ROUNDS, "--delta", "1e-5")
    other = answer("epsilon", *ROUNDS, "--delta", "1e-5", "--relation", "replace-one")
    assert other["epsilon_lower"] > one["epsilon"] and other["relation"] == "replace-one"


def test_calibration_closes_the_circle():
    wanted = ["--delta", "1e-6", "--rounds", "300", "--sampling-rate", "0.05"]
    found = answer("calibrate", "--epsilon", "2", *wanted)
    back = answer("epsilon", "--noise-multiplier", repr(found["noise_multiplier"]), *wanted)
    assert back["epsilon"] <= 2.002 and back["epsilon"] > 1.99, (found, back)
    assert found["epsilon"] <= 2
    gdp = answer("calibrate", "--epsilon", "2", "--delta", "1e-6", "--rounds", "300", "--accountant", "gdp")
    pld = answer("calibrate", "--epsilon", "2", "--delta", "1e-6", "--rounds", "300")
    assert abs(gdp["noise_multiplier"] / pld["noise_multiplier"] - 1) < 1e-4


def test_absurd_values_are_refused():
    good = {"--noise-multiplier": "1", "--sampling-rate": "0.1", "--rounds": "10", "--delta": "1e-5"}
    absurd = {
        "--noise-multiplier": ["0", "-1", "nan", "inf", "1e9", "x", ""],
        "--sampling-rate": ["0", "-0.1", "1.01", "64", "nan"],
        "--rounds": ["0", "-5", "1.5", "1e3", "100000001", "99999999999999999999"],
        "--delta": ["0", "1", "2", "-1e-5", "nan", "1e-400"],
    }
    for name, values in absurd.items():
        for value in values:
            options = dict(good, **{name: value})
            refused(["epsilon", "--json", *(f"{k}={v}" for k, v in options.items())], name)
    rest = ["--noise-multiplier", "1", "--rounds", "3"]
    refused(["delta", *rest, "--epsilon=-1"], "--epsilon")
    refused(["delta", *rest, "--epsilon=nan"], "--epsilon")
    for text in ["1,0.1", "1,0.1,10,5", "1;0.1;10", "nan,0.1,10", "1,0.1,0", "1,0.1,2.5", ",,", "1,0.1,1e99"]:
        refused(["epsilon", "--delta", "1e-5", "--segment", text], "--segment")
    for text in ["0,0.1,10", "1,2,10", "-1,0.1,10", "1,0,10"]:
        refused(["epsilon", "--delta", "1e-5", "--segment", text], "must be from")
    refused(["epsilon", "--delta", "1e-5", "--segment", "1,1,100000000", "--segment", "1,1,1"], "rounds")


def test_wrong_calls():
    refused(["epsilon"], "--delta D is missing")
    refused(["epsilon", "--delta", "1e-5"], "--segment")
    refused(["epsilon", "--delta", "1e-5", "--rounds", "3"], "--noise-multiplier S is missing")
    refused(["epsilon", "--delta", "1e-5", "--noise-multiplier", "1"], "--rounds T is missing")
    refused(["epsilon", "--delta", "1e-5", "--segment", "1,1,1", "--sampling-rate", "0.1"], "--sampling-rate")
    refused(["epsilon", *ROUNDS, "--delta", "1e-5", "--accountant", "moments"], "pld, rdp or gdp")
    refused(["epsilon", *ROUNDS, "--delta", "1e-5", "--accountant", "gdp"], "without sampling")
    refused(["epsilon", *ROUNDS, "--delta", "1e-5", "--relation", "swap"], "add-remove or replace-one")
    refused(["calibrate", "--epsilon", "1", "--delta", "1e-5"], "--rounds T is missing")
    refused(["calibrate", "--epsilon", "0", "--delta", "1e-5", "--rounds", "1"], "--epsilon")
    refused(["plan", "--noise-multiplier", "loud"], "--noise-multiplier")
    done = call("epsilon", "--help")
    assert done.returncode == 0 and "--segment" in done.stdout
    assert call().returncode == 2 or "calibrate" in call().stdout + call().stderr


def test_plan_prints_a_table():
    arguments = ["plan", "--noise-multiplier", "1", "--noise-multiplier", "3", "--rounds", "70", "--delta", "1e-6",
                 "--units", "400", "--dim", "25", "--clip", "2"]
    found = answer(*arguments)
    assert found["rounds"] == [1, 2, 5, 10, 20, 50, 70]
    assert [level["noise_multiplier"] for level in found["levels"]] == [1, 3]
    assert abs(found["levels"][0]["mean_error"] - 2 * 5 / 400) < 1e-12
    for level in found["levels"]:
        assert level["epsilon"] == sorted(level["epsilon"]) and len(level["epsilon"]) == 7
    assert all(b < a for a, b in zip(*(level["epsilon"] for level in found["levels"])))
    text = call(*arguments).stdout
    assert "error of the mean" in text and "70 rounds" in text, text


def fake_gnuplot(folder, body):
    path = os.path.join(folder, "gnuplot")
    with open(path, "w", encoding="utf-8") as script:
        script.write(f"#!/bin/sh\n{body}\n")
    os.chmod(path, stat.S_IRWXU)


def test_plot_needs_gnuplot_and_says_so():
    with tempfile.TemporaryDirectory() as folder:
        plot = os.path.join(folder, "plan.svg")
        arguments = ["plan", "--noise-multiplier", "2", "--rounds", "5", "--plot", plot]
        done = call(*arguments, env=dict(os.environ, PATH=folder))
        assert done.returncode == 4 and "gnuplot is not installed" in done.stderr, (done.returncode, done.stderr)
        assert "5 rounds" in done.stdout and not os.path.exists(plot)
        fake_gnuplot(folder, "exit 3")
        done = call(*arguments, env=dict(os.environ, PATH=folder))
        assert done.returncode == 1 and "gnuplot failed" in done.stderr, (done.returncode, done.stderr)
        assert not os.path.exists(plot)
        fake_gnuplot(folder, "echo '<svg/>'; exec /bin/cat")
        done = call(*arguments, env=dict(os.environ, PATH=folder))
        assert done.returncode == 0, done.stderr
        with open(plot, encoding="utf-8") as file:
            drawn = file.read()
        assert drawn.startswith("<svg/>") and "set terminal svg" in drawn and "noise multiplier 2" in drawn, drawn
        done = call(*arguments[:-1], os.path.join(folder, "no", "plan.svg"), env=dict(os.environ, PATH=folder))
        assert done.returncode == 4 and "can't be written" in done.stderr, done.stderr


def test_a_full_pipe_is_told():
    with open("/dev/full", "w", encoding="utf-8") as full:
        done = subprocess.run([PROGRAM, "dp", "epsilon", *ROUNDS, "--delta", "1e-5", "--json"], stdout=full,
                              stderr=subprocess.PIPE, text=True, timeout=60, check=False)
    assert done.returncode == 4 and "output" in done.stderr, (done.returncode, done.stderr)


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
