#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""consilium bench robust: resuming, threads, pictures, wrong configurations."""

import json
import os
import signal
import stat
import subprocess
import sys
import tempfile
import time

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
from federation import main  # noqa: E402

PROGRAM = os.environ["CNS_PROGRAM"]
TABLES = ["cells.csv", "rounds.csv", "summary.csv", "worst.csv", "comparisons.csv", "skipped.csv", "report.json"]
TINY = {
    "name": "tiny", "hospitals": 8, "rounds": 6, "seeds": [1, 2, 3], "byzantine": [2],
    "splits": ["iid", {"split": "dirichlet", "alpha": 0.3}],
    "rules": ["mean", "median", "bulyan", {"rule": "median", "weights": "patients", "label": "median by patients"}],
    "pres": ["none", "nnm"], "attacks": ["none", "sign-flip", "alie:z=1.5"],
    "comparisons": [{"title": "the median withstands what the mean doesn't",
                     "where": {"attack": "sign-flip", "pre": "none", "split": "iid"},
                     "a": {"rule": "median"}, "b": {"rule": "mean"}}],
}


def call(*arguments, expect=0, says="", env=None):
    done = subprocess.run([PROGRAM, "bench", "robust", *arguments], stdin=subprocess.DEVNULL, capture_output=True,
                          text=True, timeout=120, check=False, env=env)
    text = done.stdout + done.stderr
    assert done.returncode == expect, f"{arguments}: exit {done.returncode}, expected {expect}: {text}"
    assert says in text, f"{arguments}: '{says}' is not in: {text}"
    assert "AddressSanitizer" not in text and "runtime error" not in text, text
    return done


def write_config(folder, config=None, **changes):
    path = os.path.join(folder, "config.json")
    with open(path, "w", encoding="utf-8") as file:
        json.dump(dict(TINY if config is None else config, **changes), file)
    return path


def tables(out):
    found = {}
    for name in TABLES:
        with open(os.path.join(out, name), "rb") as file:
            found[name] = file.read()
    return found


def lines(out):
    with open(os.path.join(out, "results.jsonl"), "rb") as file:
        return file.read().splitlines(keepends=True)


def whole_run(folder, config, name, *options):
    out = os.path.join(folder, name)
    done = call("--config", config, "--out", out, "--pictures", "none", *options)
    return out, done


def test_a_grid_is_run_and_told():
    with tempfile.TemporaryDirectory() as folder:
        out, done = whole_run(folder, write_config(folder), "out")
        # 8 hospitals of which 2 attack are too few for Bulyan's 4f + 3: told, and not run
        cells = 2 * 2 * 3 * 3 * 2 + 2 * 1 * 3 * 3
        assert "bulyan" not in open(os.path.join(out, "cells.csv"), encoding="utf-8").read()
        skipped = open(os.path.join(out, "skipped.csv"), encoding="utf-8").read()
        assert skipped.count("bulyan") >= 12, skipped
        assert len(lines(out)) in (cells, cells + 18), (len(lines(out)), cells)
        assert "worst-case accuracy" in done.stdout and "95 %" in done.stdout, done.stdout
        assert "the median withstands" in done.stdout and "3 seeds" in done.stdout
        report = json.loads(open(os.path.join(out, "report.json"), encoding="utf-8").read())
        assert report["cells"] == report["cells_done"] == len(lines(out))
        rules = report["groups"][0]["rules"]
        means = [rule["accuracy"]["mean"] for rule in rules]
        assert means == sorted(means, reverse=True) and rules[0]["behind_best"]["mean"] == 0
        # The same once more changes nothing and computes nothing.
        before = tables(out)
        count = len(lines(out))
        _, again = whole_run(folder, write_config(folder), "out")
        assert f"{count} of {count} cells are done already" in again.stderr, again.stderr
        assert tables(out) == before and len(lines(out)) == count


def test_results_do_not_depend_on_threads():
    with tempfile.TemporaryDirectory() as folder:
        config = write_config(folder)
        one, _ = whole_run(folder, config, "one", "--jobs", "1")
        two, _ = whole_run(folder, config, "two", "--jobs", "2")
        assert tables(one) == tables(two)


def kill_in_the_middle(config, out):
    """Kills a run when some lines, but not all, are there. False: it was too fast."""
    child = subprocess.Popen([PROGRAM, "bench", "robust", "--config", config, "--out", out, "--pictures", "none",
                              "--jobs", "2"], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    path = os.path.join(out, "results.jsonl")
    limit = time.monotonic() + 60
    while child.poll() is None and time.monotonic() < limit:
        if os.path.exists(path) and os.path.getsize(path) > 3000:
            break
        time.sleep(0.002)
    child.send_signal(signal.SIGKILL)
    child.wait()
    return not os.path.exists(os.path.join(out, "report.json"))


def test_a_killed_run_goes_on():
    with tempfile.TemporaryDirectory() as folder:
        config = write_config(folder, rounds=30)
        whole, _ = whole_run(folder, config, "whole")
        out = os.path.join(folder, "killed")
        assert kill_in_the_middle(config, out), "the run ended before it could be killed"
        there = len(lines(out))
        assert 0 < there < len(lines(whole)), there
        # What a power cut may leave besides: a line without its end.
        torn = lines(whole)[-1][:40]
        with open(os.path.join(out, "results.jsonl"), "ab") as file:
            file.write(torn)
        partial = call("--config", config, "--out", out, "--pictures", "none", "--report")
        assert "So far" in partial.stdout and "not written to the end" in partial.stderr, partial.stderr
        _, done = whole_run(folder, config, "killed")
        assert "are done already" in done.stderr, done.stderr
        assert tables(out) == tables(whole)


def test_a_model_that_diverges_is_told_and_read_again():
    with tempfile.TemporaryDirectory() as folder:
        config = write_config(folder, rounds=40, rules=["mean"], attacks=["mean-flip:scale=1000"], comparisons=[],
                              model={"kind": "mlp", "hidden": [8]}, training={"learning_rate": 0.5})
        out, _ = whole_run(folder, config, "out")
        losses = [json.loads(line)["loss"] for line in lines(out)]
        assert any(loss > 1e15 for series in losses for loss in series), losses
        diverged = [json.loads(line)["diverged"] for line in lines(out)]
        assert any(diverged), diverged
        before = tables(out)
        call("--config", config, "--out", out, "--pictures", "none")
        assert tables(out) == before


def test_other_folders_are_refused():
    with tempfile.TemporaryDirectory() as folder:
        out, _ = whole_run(folder, write_config(folder), "out")
        other = write_config(folder, rounds=7)
        call("--config", other, "--out", out, expect=4, says="another configuration")
        call("--config", other, "--out", os.path.join(folder, "none"), "--report", expect=4, says="no results")
        full = os.path.join(folder, "full")
        os.mkdir(full)
        with open(os.path.join(full, "letter.txt"), "w", encoding="utf-8") as file:
            file.write("dear")
        call("--config", other, "--out", full, expect=4, says="not empty")
        config = write_config(folder)
        with open(os.path.join(out, "results.jsonl"), "ab") as file:
            file.write(b'{"cell": 1}\n')
        call("--config", config, "--out", out, expect=1, says="was not written by this program")


def refused(folder, says, exit_code=2, **changes):
    call("--config", write_config(folder, **changes), "--out", os.path.join(folder, "out"), expect=exit_code,
         says=says)
    assert not os.path.exists(os.path.join(folder, "out"))


def test_wrong_configurations_are_told():
    with tempfile.TemporaryDirectory() as folder:
        refused(folder, 'did you mean "rounds"', round=5)
        refused(folder, "rules[1]", rules=["mean", "medain"])
        refused(folder, "trimmed-mean", rules=["mean", "trimed-mean"])
        refused(folder, "must be from", rounds=0)
        refused(folder, "must be a number", rounds="five")
        refused(folder, "whole number", rounds=2.5)
        refused(folder, "is there twice", rules=["mean", "mean"])
        refused(folder, "needs attackers", byzantine=[0])
        refused(folder, "there is no attack", attacks=["alei"])
        refused(folder, 'needs "alpha"', splits=["dirichlet"])
        refused(folder, 'did you mean "dirichlet"', splits=["dirichet"])
        refused(folder, "tau", rules=["centered-clipping"], comparisons=[])
        refused(folder, 'did you mean "tau"', rules=[{"rule": "centered-clipping", "taw": 1}])
        refused(folder, "training.clip", audits=[{"audit": "open", "k": 128}])
        refused(folder, "128, 256, 512 or 1024", audits=[{"audit": "open", "k": 200}])
        refused(folder, 'did you mean "median"', comparisons=[{"title": "t", "a": {"rule": "meddian"}, "b": {}}])
        refused(folder, "one of the keys", data={"csv": "a.csv", "npz": "b.npz"})
        refused(folder, "missing.csv", exit_code=4, data={"csv": "missing.csv", "label": "y"})
        call(expect=2, says="--config FILE is missing")
        call("--config", os.path.join(folder, "missing.json"), expect=4, says="missing.json")
        call("--config", write_config(folder), "--pictures", "gif", expect=2, says="svg, png or none")
        path = os.path.join(folder, "broken.json")
        with open(path, "w", encoding="utf-8") as file:
            file.write('{"rounds": 5')
        call("--config", path, expect=2, says="broken.json")


def test_too_many_hospitals_for_the_patients():
    with tempfile.TemporaryDirectory() as folder:
        config = write_config(folder, hospitals=900)
        call("--config", config, "--out", os.path.join(folder, "out"), expect=2, says="can't be dealt to 900")


def test_a_table_of_ones_own():
    with tempfile.TemporaryDirectory() as folder:
        path = os.path.join(folder, "own.csv")
        with open(path, "w", encoding="utf-8") as file:
            file.write("id,a,b,sick\n")
            for i in range(200):
                file.write(f"p{i},{(i * 37) % 101},{(i * 17) % 89},{'yes' if (i * 37) % 101 > 50 else 'no'}\n")
        data = {"csv": path, "label": "sick", "ignore": ["id"]}
        out, _ = whole_run(folder, write_config(folder, data=data), "out")
        assert len(lines(out)) > 0
        call("--config", write_config(folder, data={"csv": path, "label": "sick"}), expect=2, says="data.ignore")
        call("--config", write_config(folder, data={"csv": path, "label": "ill"}), expect=2, says='no column "ill"')


def fake_gnuplot(folder, body):
    path = os.path.join(folder, "gnuplot")
    with open(path, "w", encoding="utf-8") as script:
        script.write(f"#!/bin/sh\n{body}\n")
    os.chmod(path, stat.S_IRWXU)


def test_pictures():
    with tempfile.TemporaryDirectory() as folder:
        config = write_config(folder)
        out = os.path.join(folder, "out")
        tools = os.path.join(folder, "tools")
        os.mkdir(tools)
        env = dict(os.environ, PATH=tools)
        done = call("--config", config, "--out", out, expect=4, says="gnuplot is not installed", env=env)
        assert "worst-case accuracy" in done.stdout
        assert tables(out)["cells.csv"].count(b"\n") == len(lines(out)) + 1
        fake_gnuplot(tools, "exit 3")
        call("--config", config, "--out", out, "--report", expect=1, says="gnuplot failed", env=env)
        fake_gnuplot(tools, "exec /bin/cat")
        call("--config", config, "--out", out, "--report", env=env)
        names = sorted(name for name in os.listdir(out) if name.endswith(".svg"))
        assert names == ["heat-main-dirichlet-alpha-0.3-f2.svg", "heat-main-iid-f2.svg",
                         "rounds-main-dirichlet-alpha-0.3-f2-nnm.svg", "rounds-main-dirichlet-alpha-0.3-f2-none.svg",
                         "rounds-main-iid-f2-nnm.svg", "rounds-main-iid-f2-none.svg"], names
        with open(os.path.join(out, names[0]), encoding="utf-8") as file:
            drawn = file.read()
        assert "set terminal svg" in drawn and "worst case" in drawn and "alie:z=1.5" in drawn, drawn


if __name__ == "__main__":
    sys.exit(main([test for name, test in list(globals().items()) if name.startswith("test_")]))
