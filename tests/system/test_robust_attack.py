#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""consilium robust attack and flag from outside: against plain Python, and what is refused. Speaks TAP.

Needs CNS_PROGRAM and CNS_SOURCE_ROOT."""

import itertools
import json
import math
import os
import statistics
import subprocess
import sys

import npy
import program
from program import FAILED, IO, PROGRAM, USAGE, read
from robust_plain import (INF, NAN, SEED, columns, distance, krum, matrix, mean, multi_krum, near, refused, robust,
                          robust_json, trimmed_mean)


# ---- attack ----

def deviations(rows):
    return [statistics.pstdev(column) for column in columns(rows)]


def attack(name, rows, f, *arguments, kind="<f8"):
    npy.save("honest.npy", rows, kind)
    done = robust_json("attack", "--attack", name, "--byzantine", f, *arguments, "honest.npy", "all.npy")
    found, found_kind = npy.load("all.npy")
    assert found_kind == kind and len(found) == len(rows) + f == done["rows"]
    if kind == "<f8":
        assert found[:len(rows)] == rows
    robust("attack", "--attack", name, "--byzantine", f, "--only", *arguments, "honest.npy", "only.npy")
    assert json.dumps(npy.load("only.npy")[0]) == json.dumps(found[len(rows):])
    return found[len(rows):], done


def test_attacks_are_their_formulas():
    rows, f = matrix(10, 6), 3
    middle, spread = mean(rows), deviations(rows)
    for kind, tolerance in ("<f8", 1e-12), ("<f4", 1e-6):
        sent, done = attack("ipm", rows, f, "--param", "epsilon=0.25", kind=kind)
        assert done["epsilon"] == 0.25
        for row in sent:
            near(row, [-0.25 * m for m in middle], tolerance)
        sent, _ = attack("alie", rows, f, "--param", "z=1.5", kind=kind)
        near(sent[0], [m - 1.5 * s for m, s in zip(middle, spread)], tolerance)
    sent, done = attack("alie", rows, f)
    z = statistics.NormalDist().inv_cdf((10 - (13 // 2 + 1 - f)) / 10)
    assert abs(done["z"] - z) < 1e-9
    near(attack("mean-flip", rows, f, "--param", "scale=2")[0][0], [-2 * m for m in middle], 1e-12)
    near(attack("sign-flip", rows, f)[0][0], [-m for m in middle], 1e-12)
    assert attack("mimic", rows, f, "--param", "victim=4")[0] == [rows[4]] * f
    assert all(x == INF for row in attack("infinity", rows, f)[0] for x in row)
    assert all(math.isnan(x) for row in attack("nan", rows, f)[0] for x in row)
    sent, done = attack("min-max", rows, f)
    near(sent[0], [m - done["gamma"] * s for m, s in zip(middle, spread)], 1e-12)
    farthest = max(distance(a, b) for a, b in itertools.combinations(rows, 2))
    assert abs(max(distance(sent[0], row) for row in rows) / farthest - 1) < 1e-9


def test_own_updates():
    rows, own, f = matrix(8, 5), matrix(2, 5, seed=3), 2
    npy.save("own.npy", own, "<f8")
    for name, sign in ("sign-flip", -1), ("label-flip", 1):
        sent, _ = attack(name, rows, f, "--own", "own.npy", "--param", "scale=3")
        for row, mine in zip(sent, own):
            near(row, [sign * 3 * x for x in mine], 1e-12)
    npy.save("w.npy", [1.0] * 8 + [3.0, 5.0])
    sent, _ = attack("model-replacement", rows, f, "--own", "own.npy", "--weights", "w.npy")
    near(sent[1], [2 * x for x in own[1]], 1e-12)  # 16 over 8
    sent, _ = attack("gaussian", rows, f, "--own", "own.npy")
    near([math.hypot(*row) for row in sent], [math.hypot(*row) for row in own], 1e-9)
    again, _ = attack("gaussian", rows, f, "--own", "own.npy", "--seed", "1")
    other, _ = attack("gaussian", rows, f, "--own", "own.npy", "--seed", "2")
    assert sent == again != other
    refused("attack", "--attack", "label-flip", "--byzantine", 2, "honest.npy", "x.npy", says="--own FILE.npy")
    refused("attack", "--attack", "alie", "--own", "own.npy", "--byzantine", 2, "honest.npy", "x.npy", says="no use")
    refused("attack", "--attack", "label-flip", "--own", "own.npy", "--byzantine", 3, "honest.npy", "x.npy",
            says="3 x 5 is needed")


def test_backdoor_stays_within_honest_distances():
    rows, f, target = matrix(8, 5), 2, [9.0, -9.0, 0.0, 1.0, 2.0]
    npy.save("t.npy", target, "<f8")
    sent, done = attack("backdoor", rows, f, "--param", "target=t.npy")
    middle, gamma = mean(rows), done["gamma"]
    assert 0 < gamma < 1
    near(sent[0], [m + gamma * (5 * t - m) for m, t in zip(middle, target)], 1e-12)
    farthest = max(distance(a, b) for a, b in itertools.combinations(rows, 2))
    assert abs(max(distance(sent[0], row) for row in rows) / farthest - 1) < 1e-9
    refused("attack", "--attack", "backdoor", "--byzantine", 2, "honest.npy", "x.npy", says="target=FILE.npy")


def test_optimised_attacks_do_most_harm():
    rows, f = matrix(9, 5), 2
    middle, spread = mean(rows), deviations(rows)
    for name, rule in ("trimmed-mean", trimmed_mean), ("krum", krum), ("multi-krum", multi_krum):
        for kind in "alie-optimised", "ipm-optimised":
            def send(factor):
                if kind[0] == "a":
                    return [m - factor * s for m, s in zip(middle, spread)]
                return [-factor * m for m in middle]
            best = max(distance(rule(rows + [send(t / 50)] * f, f), middle) for t in range(251))
            sent, done = attack(kind, rows, f, "--rule", name, "--param", "limit=5")
            near(sent[0], send(done["z" if kind[0] == "a" else "epsilon"]), 1e-12)
            assert abs(done["harm"] - distance(rule(rows + sent, f), middle)) < 1e-9
            assert done["harm"] > 0.995 * best, (name, kind, done, best)
    _, mixed = attack("alie-optimised", rows, f, "--rule", "krum", "--pre", "nnm")
    robust("aggregate", "--rule", "krum", "--pre", "nnm", "--byzantine", f, "all.npy", "out.npy")
    assert abs(distance(npy.load("out.npy")[0], middle) - mixed["harm"]) < 1e-9
    says = robust("attack", "--attack", "ipm-optimised", "--rule", "median", "--byzantine", f, "honest.npy", "x.npy")
    assert "away from the honest mean" in says


def test_wrong_calls_of_attack():
    npy.save("in.npy", matrix(6, 4))
    npy.save("nan.npy", [[NAN, 1.0]] * 4)
    npy.save("w.npy", [1.0] * 6)
    for arguments, says in [
            (["--attack", "alei", "--byzantine", "1"], "did you mean alie"),
            (["--byzantine", "1"], "--attack NAME is missing"),
            (["--attack", "alie"], "--byzantine F is missing"),
            (["--attack", "alie", "--byzantine", "995"], "1000 in all"),
            (["--attack", "alie", "--byzantine", "1", "--param", "epsilon=1"], "not a parameter of alie"),
            (["--attack", "alie", "--byzantine", "1", "--param", "norm=1"], "not a parameter of alie"),
            (["--attack", "alie", "--byzantine", "1", "--param", "target=t.npy"], "not a parameter of alie"),
            (["--attack", "nan", "--byzantine", "1", "--param", "jitter=1"], "no parameters"),
            (["--attack", "alie", "--byzantine", "1", "--param", "jitter=11"], "from 0 to 10"),
            (["--attack", "alie", "--byzantine", "1", "--rule", "krum"], "no rule in particular"),
            (["--attack", "alie-optimised", "--byzantine", "1"], "--rule NAME"),
            (["--attack", "alie-optimised", "--byzantine", "1", "--rule", "none"], "no rule 'none'"),
            (["--attack", "alie-optimised", "--byzantine", "4", "--rule", "krum"], "at least 11 rows"),
            (["--attack", "ipm-optimised", "--byzantine", "1", "--rule", "krum", "--param", "limit=0"], "above 0"),
            (["--attack", "ipm-optimised", "--byzantine", "1", "--rule", "krum", "--param", "tau=1"], "parameter of krum"),
            (["--attack", "mimic", "--byzantine", "1", "--param", "victim=6"], "only 6 honest"),
            (["--attack", "mimic", "--byzantine", "1", "--param", "victim=1.5"], "whole number"),
            (["--attack", "alie", "--byzantine", "1", "--weights", "w.npy"], "there are 7 rows")]:
        refused("attack", *arguments, "in.npy", "out.npy", says=says)
    refused("attack", "--attack", "alie", "--byzantine", 1, "nan.npy", "out.npy", says="NaN or infinite")
    refused("attack", "--attack", "alie", "--byzantine", 1, "no.npy", "out.npy", says="no.npy", expect=IO)
    assert not os.path.exists("out.npy")
    for name, says in ("nan", "integers under a mask"), ("backdoor", "robust attack"), ("ipm-optimised", "a rule"):
        program.run("simulate", "--hospitals", "8", "--dim", "10", "--attack", f"{name}:2", expect=USAGE, says=says)


# ---- flag ----

def test_outliers_are_flagged():
    rows = matrix(12, 60)
    rows[5] = [-4 * x for x in rows[5]]
    npy.save("in.npy", rows, "<f8")
    found = robust_json("flag", "in.npy")
    assert [entry["row"] for entry in found["flagged"]] == [5] and found["flagged"][0]["hospital"] == 6, found
    assert found["rows"] == 12 and found["claim"] == "" and "round" not in found
    assert found["flagged"][0]["reason"] == found["flagged"][0]["statistics"][0]
    npy.save("narrow.npy", rows)
    assert [entry["row"] for entry in robust_json("flag", "narrow.npy")["flagged"]] == [5]
    robust("flag", "in.npy", says="1 of 12 rows stand out")
    program.write("names", "".join(f"Klinik {chr(65 + i)}\n" for i in range(12)))
    named = robust_json("flag", "--names", "names", "in.npy")["flagged"][0]
    assert named["name"] == "Klinik F" and "Klinik F" in named["text"]
    # Rows are per unit of weight: the weights alone make nobody stand out.
    npy.save("w.npy", [1, 100, 3, 50, 7, 9, 200, 11, 30, 60, 5, 80], "<i8")
    weighted = robust_json("flag", "--weights", "w.npy", "in.npy")
    assert [entry["row"] for entry in weighted["flagged"]] == [5], weighted
    rows[2] = [NAN] * 60
    npy.save("in.npy", rows, "<f8")
    refused("flag", "in.npy", says="row 2 (from 0)")
    left = robust_json("flag", "--nonfinite", "drop", "in.npy")
    assert left["nonfinite_rows"] == [2] and [entry["row"] for entry in left["flagged"]] == [5], left
    npy.save("few.npy", matrix(5, 60))
    assert "5 hospitals" in robust_json("flag", "few.npy")["claim"]


def drifting(seed):
    """Hospital 3 sends more than the others, in every round."""
    rows = matrix(12, 60, seed)
    rows[2] = [1.6 * x for x in rows[2]]
    npy.save(f"{seed}.npy", rows, "<f8")
    return f"{seed}.npy"


def test_a_history_counts_each_input_once():
    answers = []
    for number in range(1, 11):
        path = drifting(number)
        answers.append(robust_json("flag", "--history", "rounds", path))
        assert answers[-1]["round"] == number and not answers[-1]["counted_before"]
    reasons = [set(reason for entry in answer["flagged"] if entry["row"] == 2 for reason in entry["statistics"])
               for answer in answers]
    assert not reasons[0] & {"ewma", "cusum"} and reasons[-1] & {"ewma", "cusum"}, reasons
    # Again, in any order: the same answers, and nothing is counted.
    files = {name: read(f"rounds/{name}") for name in os.listdir("rounds")}
    assert len(files) == 10
    for number in 10, 3:
        again = robust_json("flag", "--history", "rounds", f"{number}.npy")
        assert again.pop("counted_before") is True
        first = dict(answers[number - 1])
        first.pop("counted_before")
        assert again == first, (again, first)
    robust("flag", "--history", "rounds", "10.npy", says="counted before")
    assert files == {name: read(f"rounds/{name}") for name in os.listdir("rounds")}
    # Without a history there is nothing of the kind.
    alone = robust_json("flag", "10.npy")
    assert not any({"ewma", "cusum"} & set(entry["statistics"]) for entry in alone["flagged"])


def test_two_calls_at_once_are_two_rounds():
    paths = [drifting(number) for number in range(6)]
    calls = [subprocess.Popen([PROGRAM, "robust", "flag", "--history", "h", "--json", path], stdout=subprocess.PIPE)
             for path in paths]
    rounds = sorted(json.loads(call.communicate(timeout=60)[0])["round"] for call in calls)
    assert rounds == [1, 2, 3, 4, 5, 6] and len(os.listdir("h")) == 6


def test_wrong_calls_of_flag():
    npy.save("in.npy", matrix(6, 4))
    npy.save("few.npy", matrix(3, 4))
    refused("flag", "few.npy", says="3 rows to compare; there must be 4")
    refused("flag", "--rate", 0.5, "in.npy", says="--rate must be")
    refused("flag", "--nonfinite", "zero", "in.npy", says="must be drop")
    refused("flag", says="missing")
    refused("flag", "no.npy", says="no.npy", expect=IO)
    refused("flag", "--history", "no/such", "in.npy", says="no/such", expect=IO)
    refused("flag", "--history", "in.npy", "in.npy", says="folder", expect=IO)
    program.write("names", "a\nb\n")
    refused("flag", "--names", "names", "in.npy", says="2 lines; there are 6 rows")
    program.write("names", "a\n\nc\nd\ne\nf\n")
    refused("flag", "--names", "names", "in.npy", says="line 2")
    program.write("names", b"a\nb\nc\nd\ne\n\xff\n")
    refused("flag", "--names", "names", "in.npy", says="UTF-8")
    robust("flag", "--history", "h", "in.npy")
    whole = read("h/000001.round")
    for damaged in whole[:-1], whole + b"0", b"something else", whole[:8]:
        program.write("h/000001.round", damaged)
        refused("flag", "--history", "h", "in.npy", says="000001.round: is no file of this history", expect=FAILED)
    assert len(os.listdir("h")) == 1


if __name__ == "__main__":
    print(f"# seed {SEED}")
    sys.exit(program.main(globals()))
