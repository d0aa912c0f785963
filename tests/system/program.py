# SPDX-License-Identifier: Apache-2.0
"""What the tests of verbs share: running the program, files, TAP.

Needs CNS_PROGRAM (the program) and CNS_SOURCE_ROOT (for the example study)."""

import json
import os
import stat
import subprocess
import tempfile
import traceback

PROGRAM = os.environ["CNS_PROGRAM"]
STUDY = os.path.join(os.environ["CNS_SOURCE_ROOT"], "examples", "breast-cancer", "study.json")
OK, FAILED, USAGE, REFUSED, IO = range(5)


def run(*arguments, expect=OK, says="", **options):
    """Runs a verb; checks the exit code and that the sentence was printed."""
    done = subprocess.run([PROGRAM, *arguments], stdin=subprocess.DEVNULL, capture_output=True, timeout=60,
                          text=True, **options)
    text = done.stdout + done.stderr
    assert done.returncode == expect, f"{arguments}: exit {done.returncode}, expected {expect}: {text}"
    assert says in text, f"{arguments}: '{says}' is not in: {text}"
    if expect != OK:
        assert done.stderr, f"{arguments}: failed without a word on stderr"
    assert "AddressSanitizer" not in text and "runtime error" not in text, text
    return done.stdout


def run_json(*arguments):
    return json.loads(run(*arguments))


def read(path, mode="rb"):
    with open(path, mode) as file:
        return file.read()


def write(path, data):
    with open(path, "wb" if isinstance(data, bytes) else "w") as file:
        file.write(data)


def mode(path):
    return stat.S_IMODE(os.stat(path).st_mode)


def init(*arguments, **options):
    return run("init", "f", "--study", STUDY, *arguments, **options)


def authority_key(folder="f"):
    return read(f"{folder}/authority/authority.pub", "r").strip()


def main(names):
    """Runs every test_* of a module's globals() in a folder of its own; prints TAP."""
    tests = [(name, test) for name, test in names.items() if name.startswith("test_")]
    failed = 0
    print(f"1..{len(tests)}", flush=True)
    for number, (name, test) in enumerate(tests, 1):
        with tempfile.TemporaryDirectory(prefix="cns-setup-") as folder:
            os.chdir(folder)
            try:
                test()
                print(f"ok {number} - {name[5:]}", flush=True)
            except Exception:  # a failed test must not stop the others
                failed += 1
                for line in traceback.format_exc().splitlines():
                    print(f"# {line}")
                print(f"not ok {number} - {name[5:]}", flush=True)
            os.chdir("/")
    return 1 if failed else 0
