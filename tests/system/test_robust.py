#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""consilium robust from outside: every verb against plain Python, and what is refused. Speaks TAP.

Needs CNS_PROGRAM, CNS_SOURCE_ROOT and CNS_FAULT (the preloaded fault.c)."""

import itertools
import json
import math
import os
import random
import statistics
import subprocess
import sys

import npy
import program
from program import FAILED, IO, OK, PROGRAM, USAGE, read

SEED = 7
NAN, INF = math.nan, math.inf


def robust(*arguments, **options):
    return program.run("robust", *map(str, arguments), **options)


def robust_json(*arguments):
    return json.loads(robust(*arguments, "--json"))


def refused(*arguments, says, expect=USAGE):
    robust(*arguments, expect=expect, says=says)


def matrix(n, d, seed=SEED):
    draw = random.Random(seed)
    return [[draw.gauss(k % 3, 1) for k in range(d)] for _ in range(n)]


def columns(rows):
    return [list(column) for column in zip(*rows)]


def mean(rows, weights=None):
    weights = weights or [1] * len(rows)
    return [sum(w * x for w, x in zip(weights, column)) / sum(weights) for column in columns(rows)]


def distance(a, b):
    return math.dist(a, b)


def near(found, wanted, tolerance=1e-5):
    assert len(found) == len(wanted), (len(found), len(wanted))
    for a, b in zip(found, wanted):
        assert abs(a - b) <= tolerance * (1 + abs(b)), (a, b)


# ---- plain rules ----

def median(rows, f):
    return [statistics.median(column) for column in columns(rows)]


def trimmed_mean(rows, f):
    return [statistics.fmean(sorted(column)[f:len(rows) - f]) for column in columns(rows)]


def krum_scores(rows, f):
    scores = []
    for a in rows:
        gaps = sorted(distance(a, b) ** 2 for b in rows)
        scores.append(sum(gaps[1:len(rows) - f - 1]))  # its own, 0, is the first
    return scores


def krum(rows, f):
    scores = krum_scores(rows, f)
    return rows[scores.index(min(scores))]


def multi_krum(rows, f):
    scores = krum_scores(rows, f)
    return mean([rows[i] for i in sorted(range(len(rows)), key=scores.__getitem__)[:len(rows) - f]])


def mda(rows, f):
    def diameter(chosen):
        return max(distance(a, b) for a, b in itertools.combinations(chosen, 2))
    return mean(min(itertools.combinations(rows, len(rows) - f), key=diameter))


def nnm(rows, f):
    return [mean(sorted(rows, key=lambda other: distance(row, other))[:len(rows) - f]) for row in rows]


def clipping(rows, norm):
    return [[x * min(1, norm / math.hypot(*row)) for x in row] for row in rows]


RULES = {"mean": lambda rows, f: mean(rows), "median": median, "trimmed-mean": trimmed_mean, "krum": krum,
         "multi-krum": multi_krum, "mda": mda}


# ---- aggregate ----

def test_rules_are_what_plain_python_computes():
    rows = matrix(11, 17)
    rows[2] = [50.0] * 17
    rows[9] = [-40.0] * 17
    for kind, tolerance in ("<f4", 1e-5), ("<f8", 1e-12):
        npy.save("in.npy", rows, kind)
        stored, _ = npy.load("in.npy")
        for name, rule in RULES.items():
            robust("aggregate", "--rule", name, "--byzantine", 2, "in.npy", "out.npy", says=name)
            found, found_kind = npy.load("out.npy")
            assert found_kind == kind
            near(found, rule(stored, 2), tolerance)


def test_pre_aggregations_come_in_their_order():
    rows = matrix(9, 6)
    npy.save("in.npy", rows, "<f8")
    chain = ["--pre", "nnm", "--pre", "clipping", "--param", "norm=2", "--byzantine", 2]
    done = robust_json("aggregate", "--rule", "trimmed-mean", *chain, "in.npy", "out.npy")
    assert done["pre"] == ["nnm", "clipping"] and done["rule"] == "trimmed-mean" and done["byzantine"] == 2
    near(npy.load("out.npy")[0], trimmed_mean(clipping(nnm(rows, 2), 2), 2), 1e-12)
    turned = ["--pre", "clipping", "--pre", "nnm", "--param=norm=2", "--byzantine=2"]
    robust("aggregate", "--rule", "trimmed-mean", *turned, "in.npy", "other.npy")
    near(npy.load("other.npy")[0], trimmed_mean(nnm(clipping(rows, 2), 2), 2), 1e-12)
    done = robust_json("aggregate", "--rule", "none", *chain, "in.npy", "rows.npy")
    found, _ = npy.load("rows.npy")
    assert done["result_rows"] == 9 == len(found)
    for row, wanted in zip(found, clipping(nnm(rows, 2), 2)):
        near(row, wanted, 1e-12)


def test_buckets_hold_every_row_once_and_their_weights():
    rows = [[float(2 ** i)] for i in range(10)]
    npy.save("in.npy", rows, "<f8")
    npy.save("w.npy", list(range(1, 11)), "<i8")
    call = ["aggregate", "--rule", "none", "--pre", "bucketing", "--param", "size=3"]
    robust(*call, "in.npy", "out.npy")
    found, _ = npy.load("out.npy")
    assert len(found) == 4
    members = [round(found[b][0] * min(3, 10 - 3 * b)) for b in range(4)]
    assert sum(members) == 2 ** 10 - 1 and [bin(m).count("1") for m in members] == [3, 3, 3, 1]
    done = robust_json(*call, "--weights", "w.npy", "in.npy", "weighted.npy")
    weighted, _ = npy.load("weighted.npy")
    for bucket, member in enumerate(members):
        inside = [i for i in range(10) if member >> i & 1]
        assert done["weights"][bucket] == sum(i + 1 for i in inside)
        near(weighted[bucket], [sum((i + 1) * 2.0 ** i for i in inside) / done["weights"][bucket]], 1e-12)
    robust(*call, "--param", "seed=2", "in.npy", "other.npy")
    assert npy.load("other.npy")[0] != found
    robust(*call, "--param", "seed=0", "in.npy", "again.npy")
    assert read("again.npy") == read("out.npy")


def test_weights_of_any_type():
    rows, weights = matrix(6, 5), [3, 1, 4, 1, 5, 9]
    npy.save("in.npy", rows, "<f8")
    for kind in "<f4", "<f8", "<i4", "<i8":
        npy.save("w.npy", weights, kind)
        robust("aggregate", "--rule", "mean", "--weights", "w.npy", "in.npy", "out.npy")
        near(npy.load("out.npy")[0], mean(rows, weights), 1e-12)
    npy.save("w.npy", [[w] for w in weights], "<f8")
    robust("aggregate", "--rule", "mean", "--weights", "w.npy", "in.npy", "out.npy")


def test_parameters_reach_their_rule():
    rows = matrix(7, 4)
    npy.save("in.npy", rows, "<f8")
    robust("aggregate", "--rule", "clipped-mean", "--param", "norm=1.5", "in.npy", "out.npy")
    near(npy.load("out.npy")[0], mean(clipping(rows, 1.5)), 1e-12)
    robust("aggregate", "--rule", "centered-clipping", "--param", "tau=0.5", "--param", "iterations=1",
           "--byzantine", 1, "in.npy", "out.npy")
    near(npy.load("out.npy")[0], mean(clipping(rows, 0.5)), 1e-12)
    robust("aggregate", "--rule", "monna", "--param", "pivot=3", "--byzantine", 2, "in.npy", "out.npy")
    near(npy.load("out.npy")[0], nnm(rows, 2)[3], 1e-12)
    robust("aggregate", "--rule", "geometric-median", "--param", "nu=1e-6", "in.npy", "out.npy")
    found = npy.load("out.npy")[0]
    least = sum(distance(found, row) for row in rows)
    for k, step in itertools.product(range(4), (-1e-3, 1e-3)):
        moved = found[:k] + [found[k] + step] + found[k + 1:]
        assert sum(distance(moved, row) for row in rows) > least
    reference = [1.0, 0.0, 2.0, 1.0]
    length = math.hypot(*reference)
    trust = [max(0, sum(a * b for a, b in zip(row, reference)) / math.hypot(*row) / length) for row in rows]
    wanted = mean([[x * length / math.hypot(*row) for x in row] for row in rows], trust)
    for kind in "<f4", "<f8":
        npy.save("r.npy", reference, kind)
        robust("aggregate", "--rule", "fltrust", "--param", "reference=r.npy", "in.npy", "out.npy")
        near(npy.load("out.npy")[0], wanted, 1e-12)


def test_every_rule_of_the_list_runs():
    npy.save("in.npy", matrix(13, 8))
    npy.save("r.npy", [1.0] * 8)
    values = {"tau": "1", "norm": "1", "size": "2", "reference": "r.npy", "nu": "0.1", "iterations": "1", "pivot": "1",
              "seed": "3"}
    listed = robust_json("list")
    assert len(listed["rules"]) >= 16 and len(listed["pre"]) == 4 and len(listed["attacks"]) == 15
    for entry in listed["rules"]:
        assert all(entry[key] for key in ("name", "formula", "breakdown", "cost", "source")), entry
        for variant in [None, *entry["variants"]]:
            call = ["aggregate", "--rule", entry["name"], "--byzantine", "2"]
            call += [a for p in entry["params"] for a in ("--param", f"{p}={values[p]}")]
            robust(*call, *(["--variant", variant] if variant else []), "in.npy", "out.npy")
            assert len(npy.load("out.npy")[0]) == 8
    for entry in listed["pre"]:
        call = [a for p in entry["params"] for a in ("--param", f"{p}={values[p]}")]
        robust("aggregate", "--rule", "median", "--pre", entry["name"], "--byzantine", 2, *call, "in.npy", "out.npy")
    text = robust("list")
    for entry in listed["rules"] + listed["pre"] + listed["attacks"]:
        assert f"\n  {entry['name']}\n" in text and entry["source"] in text


def test_either_order_of_storage():
    rows = matrix(5, 7)
    for version, fortran in itertools.product((1, 2), (False, True)):
        npy.save("in.npy", rows, "<f8", fortran=fortran, version=version)
        robust("aggregate", "--rule", "median", "in.npy", "out.npy")
        near(npy.load("out.npy")[0], median(rows, 0), 1e-15)


def test_rows_that_are_not_finite():
    rows = matrix(8, 5)
    kept = rows[:1] + rows[2:4] + rows[5:]
    rows[1] = [0.0, NAN, 0.0, 0.0, 0.0]
    rows[4] = [INF] * 5
    npy.save("in.npy", rows, "<f8")
    npy.save("w.npy", [1.0, 2, 3, 4, 5, 6, 7, 8], "<f8")
    refused("aggregate", "--rule", "mean", "in.npy", "out.npy", says="rows 1 and 4 (from 0)")
    assert not os.path.exists("out.npy")
    robust("aggregate", "--rule", "mean", "--nonfinite", "drop", "in.npy", "out.npy", says="left out")
    near(npy.load("out.npy")[0], mean(kept), 1e-12)
    done = robust_json("aggregate", "--rule", "mean", "--nonfinite", "drop", "--weights", "w.npy", "in.npy", "out.npy")
    assert done["nonfinite_rows"] == [1, 4] and done["rows"] == 8 and done["nonfinite"] == "drop"
    near(npy.load("out.npy")[0], mean(kept, [1, 3, 4, 6, 7, 8]), 1e-12)
    robust("aggregate", "--rule", "mean", "--nonfinite", "zero", "in.npy", "out.npy", says="made zero")
    near(npy.load("out.npy")[0], [x * 6 / 8 for x in mean(kept)], 1e-12)
    # The pivot is a row of the file, whichever are left out.
    robust("aggregate", "--rule", "monna", "--param", "pivot=5", "--byzantine", 1, "--nonfinite", "drop", "in.npy",
           "out.npy")
    near(npy.load("out.npy")[0], nnm(kept, 1)[3], 1e-12)
    refused("aggregate", "--rule", "monna", "--param", "pivot=4", "--nonfinite", "drop", "in.npy", "out.npy",
            says="the pivot, row 4")
    # f stays, of fewer rows.
    refused("aggregate", "--rule", "krum", "--byzantine", 2, "--nonfinite", "drop", "in.npy", "out.npy",
            says="there are 6")
    refused("aggregate", "--rule", "mean", "--nonfinite", "keep", "in.npy", "out.npy", says="drop or zero")
    npy.save("none.npy", [[NAN, 1.0], [INF, 1.0]])
    refused("aggregate", "--rule", "mean", "--nonfinite", "drop", "none.npy", "out.npy", says="none is left")
    npy.save("one.npy", [[NAN, 1.0], [2.0, 1.0]])
    refused("aggregate", "--rule", "mean", "--nonfinite", "drop", "one.npy", "out.npy", says="one row that is finite")


def test_wrong_calls_of_aggregate():
    npy.save("in.npy", matrix(9, 4))
    ends = ("in.npy", "out.npy")
    for arguments, says in [
            (["--rule", "krun"], "did you mean"),
            (["--rule", "mean", "--pre", "bucket"], "did you mean"),
            ([], "--rule NAME is missing"),
            (["--rule", "none"], "--pre NAME is missing"),
            (["--rule", "krum", "--byzantine", "4"], "at least 11 rows"),
            (["--rule", "trimmed-mean", "--byzantine", "5"], "f = 5"),
            (["--rule", "mean", "--byzantine", "-1"], "--byzantine"),
            (["--rule", "krum", "--byzantine", "2", "--pre", "bucketing", "--param", "size=3"], "3 are left"),
            (["--rule", "mean", "--pre", "bucketing"], "size"),
            (["--rule", "mean", "--param", "nu=1"], "not a parameter of mean"),
            (["--rule", "mean", "--param", "seed=0"], "not a parameter of mean"),
            (["--rule", "dnc", "--param", "iteration=1"], "did you mean iterations"),
            (["--rule", "dnc", "--param", "zzzzz=1"], "there are nu, iterations"),
            (["--rule", "dnc", "--param", "iterations"], "iterations=VALUE"),
            (["--rule", "dnc", "--param", "iterations="], "must be a whole number"),
            (["--rule", "dnc", "--param", "iterations=1.5"], "must be a whole number"),
            (["--rule", "dnc", "--param", "iterations=0"], "must be from 1"),
            (["--rule", "dnc", "--param", "iterations=1", "--param", "iterations=1"], "twice"),
            (["--rule", "centered-clipping"], "tau"),
            (["--rule", "centered-clipping", "--param", "tau=nan"], "must be a number"),
            (["--rule", "centered-clipping", "--param", "tau=-1"], "must be from"),
            (["--rule", "centered-clipping", "--param", "tau=1e400"], "must be a number"),
            (["--rule", "fltrust"], "reference"),
            (["--rule", "fltrust", "--param", "reference="], "missing"),
            (["--rule", "monna", "--param", "pivot=9"], "pivot"),
            (["--rule", "krum", "--variant", "best"], "no variant 'best'"),
            (["--rule", "mean", "--variant", "byzfl"], "variant"),
            (["--rule", "mean", "--rule", "mean"], "twice"),
            (["--rule", "mean", "--weights", "--json"], "needs a value"),
            (["--rule", "mean", "--fast"], "unknown option --fast"),
            (["--rule", "mean", *["--pre=arc"] * 9], "8 times")]:
        refused("aggregate", *arguments, *ends, says=says)
    refused("aggregate", "--rule", "mean", "in.npy", says="missing")
    refused("aggregate", "--rule", "mean", "in.npy", "out.npy", "more.npy", says="too many")
    assert not os.path.exists("out.npy")
    refused("agregate", says="unknown verb")
    refused(says="aggregate")
    assert "--nonfinite" in robust("aggregate", "--help")


def test_wrong_files():
    rows = matrix(9, 4)
    npy.save("in.npy", rows)
    mean_of = ("aggregate", "--rule", "mean")
    refused(*mean_of, "no/such.npy", "out.npy", says="no/such.npy", expect=IO)
    refused(*mean_of, ".", "out.npy", says="folder", expect=IO)
    refused(*mean_of, "in.npy", "no/out.npy", says="no/out.npy", expect=IO)
    for data, says in [
            (npy.encode([1.0, 2.0]), "one dimension"),
            (npy.encode([[1.0, 2.0]]), "one row"),
            (npy.encode([1.0] * 8, shape=(2, 2, 2)), "3 dimensions"),
            (npy.encode(rows, ">f8"), "big-endian"),
            (npy.encode([[1, 2], [3, 4]], "|O"), "pickled"),
            (npy.encode([[1, 2], [3, 4]], "<i8"), "'<i8'"),
            (npy.encode(rows)[:-1], "143 bytes follow"),
            (npy.encode(rows) + b"0", "145 bytes follow"),
            (npy.encode(rows, shape=(9, 5)), "9 x 5"),
            (npy.encode(rows, shape=(0, 4)), "is empty"),
            (npy.encode(rows, shape=(2 ** 40, 2 ** 40)), "at most"),
            (npy.encode([[0.0]] * 1001), "1001 rows"),
            (b"\x93NUMPY\x01\x00\xff\xff", "ends within its header"),
            (b"PK\x03\x04", "no .npy file"),
            (b"", "is empty")]:
        program.write("bad.npy", data)
        refused(*mean_of, "bad.npy", "out.npy", says=says)
    for weights, says in [([1.0] * 8, "holds 8 numbers; there are 9 rows"), ([1.0] * 8 + [0.0], "is 0"),
                          ([1.0] * 8 + [-2.0], "is -2"), ([1.0] * 8 + [NAN], "not finite"),
                          ([[1.0] * 3] * 3, "a vector is needed"), ([1.0] * 1001, "at most 1000")]:
        npy.save("w.npy", weights)
        refused(*mean_of, "--weights", "w.npy", "in.npy", "out.npy", says=says)
    npy.save("w.npy", [1.0] * 9)
    refused("aggregate", "--rule", "krum", "--weights", "w.npy", "in.npy", "out.npy", says="krum takes no weights")
    for reference, says in [([1.0] * 5, "a vector of 4"), ([1.0, 1.0, 1.0, INF], "not finite")]:
        npy.save("r.npy", reference)
        refused("aggregate", "--rule", "fltrust", "--param", "reference=r.npy", "in.npy", "out.npy", says=says)
    assert not os.path.exists("out.npy")


def test_the_output_is_whole_or_as_it_was():
    npy.save("in.npy", matrix(9, 40000))
    program.write("out.npy", "what was here")
    program.write("full", "")
    arguments = [PROGRAM, "robust", "aggregate", "--rule", "median", "in.npy", "out.npy"]
    faults = {"LD_PRELOAD": os.environ["CNS_FAULT"], "CNS_FAULT_FULL": "full", "CNS_FAULT_FOLDER": os.getcwd(),
              "ASAN_OPTIONS": "verify_asan_link_order=0:" + os.environ.get("ASAN_OPTIONS", "")}
    done = subprocess.run(arguments, capture_output=True, text=True, timeout=60, env={**os.environ, **faults})
    assert done.returncode == IO and "out.npy: can't be written: No space left" in done.stderr, done
    assert read("out.npy") == b"what was here"
    assert sorted(os.listdir(".")) == ["full", "in.npy", "out.npy"]
    os.unlink("full")
    subprocess.run(arguments, check=True, capture_output=True, timeout=60, env={**os.environ, **faults})
    first = read("out.npy")
    robust("aggregate", "--rule", "median", "in.npy", "out.npy")
    assert read("out.npy") == first
    robust("aggregate", "--rule", "median", "in.npy", "in.npy")  # in its own place
    assert read("in.npy") == first
    npy.save("in.npy", matrix(9, 3))
    with open("/dev/full", "w") as full:
        done = subprocess.run([*arguments, "--json"], stdout=full, stderr=subprocess.PIPE, text=True, timeout=60)
    assert done.returncode == IO and "output" in done.stderr, done
    done = subprocess.run([*arguments[:-1], "/dev/stdout"], capture_output=True, timeout=60)
    assert done.returncode == OK and done.stdout[:6] == b"\x93NUMPY" and b"by median" in done.stderr, done


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
