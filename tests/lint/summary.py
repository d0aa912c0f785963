#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Counts the results of several Meson test runs and of single steps.

  summary.py [--run LOGS_FOLDER]... [--passed STEP]... [--failed STEP]...

LOGS_FOLDER holds testlog.junit.xml (every TAP subtest a case) and
testlog.json. A program that dies, times out or leaves with an error after its
last subtest shows only in the second: it counts as one more failure. The last
line is "N passed, N failed" (", N skipped"); the exit code is 1 when anything
failed or nothing passed.
"""
import argparse
import json
import sys
import xml.etree.ElementTree as ElementTree
from pathlib import Path

GOOD = {"OK", "SKIP", "EXPECTEDFAIL"}


class Counts:
    def __init__(self):
        self.passed = self.failed = self.skipped = 0
        self.failures = []

    def fail(self, name):
        self.failed += 1
        self.failures.append(name)


def case_state(case):
    if case.find("failure") is not None or case.find("error") is not None:
        return "failed"
    return "skipped" if case.find("skipped") is not None else "passed"


def short_name(name):
    """Meson writes "project:suite / name", or the name alone without a suite."""
    return name.rsplit(" / ", 1)[-1]


def read_programs(path):
    """{test: result} of whole programs."""
    programs = {}
    for line in path.read_text(encoding="utf-8", errors="replace").splitlines():
        if line.strip():
            entry = json.loads(line)
            programs[short_name(entry["name"])] = entry["result"]
    return programs


def add_run(folder, counts):
    label = folder.parent.name
    try:
        programs = read_programs(folder / "testlog.json")
        suites = ElementTree.parse(folder / "testlog.junit.xml").getroot()
    except (OSError, ValueError, ElementTree.ParseError) as error:
        counts.fail(f"{label}: no readable results ({error})")
        return
    blamed = set()
    for suite in suites.iter("testsuite"):
        for case in suite.iter("testcase"):
            single = suite.get("name") == case.get("classname") and "." not in suite.get("name", "")
            program = short_name(case.get("name") if single else suite.get("name", "").split(".", 1)[-1])
            if single and programs.get(program, "OK") not in GOOD:
                continue  # counted with the programs below
            state = case_state(case)
            if state == "failed":
                blamed.add(program)
                counts.fail(f"{label}: {program}: {case.get('name')}")
            else:
                setattr(counts, state, getattr(counts, state) + 1)
    for program, result in sorted(programs.items()):
        if result not in GOOD and program not in blamed:
            counts.fail(f"{label}: {program}: {result}")
    if not programs:
        counts.fail(f"{label}: no test ran")


def main(arguments):
    parser = argparse.ArgumentParser()
    parser.add_argument("--run", action="append", default=[], type=Path)
    parser.add_argument("--passed", action="append", default=[])
    parser.add_argument("--failed", action="append", default=[])
    options = parser.parse_args(arguments)
    counts = Counts()
    for folder in options.run:
        add_run(folder, counts)
    counts.passed += len(options.passed)
    for step in options.failed:
        counts.fail(step)
    for name in counts.failures:
        print(f"failed: {name}")
    skipped = f", {counts.skipped} skipped" if counts.skipped else ""
    print(f"{counts.passed} passed, {counts.failed} failed{skipped}")
    return 1 if counts.failed or not counts.passed else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
