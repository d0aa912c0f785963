#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""consilium robust aggregate and list from outside: against plain Python, and what is refused. Speaks TAP.

Needs CNS_PROGRAM, CNS_SOURCE_ROOT and CNS_FAULT (the preloaded fault.c)."""

import itertools
import math
import os
import subprocess
import sys

import npy
import program
from program import IO, OK, PROGRAM, read
from robust_plain import (INF, NAN, RULES, SEED, clipping, distance, matrix, mean, median, near, nnm, refused, robust,
                          robust_json, trimmed_mean)


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
            (["--rule", "krun"], "did you mean 'krum'"),
            (["--rule", "trimed"], "did you mean 'trimmed-mean'"),
            (["--rule", "mean", "--pre", "bucket"], "did you mean 'bucketing'"),
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


if __name__ == "__main__":
    print(f"# seed {SEED}")
    sys.exit(program.main(globals()))
