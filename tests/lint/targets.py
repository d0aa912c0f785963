#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""What has to be built for the tests of some suites: names for ninja, one a line.

    targets.py BUILD_FOLDER SUITE...
"""
import json
import os
import subprocess
import sys


def introspect(folder, what):
    return json.loads(subprocess.check_output(["meson", "introspect", folder, what]))


def main(folder, suites):
    wanted = {f"consilium:{suite}" for suite in suites}
    needed = {d for test in introspect(folder, "--tests") if wanted & set(test["suite"]) for d in test["depends"]}
    found = [t["filename"][0] for t in introspect(folder, "--targets") if t["id"] in needed]
    if not found:
        sys.exit(f"targets.py: no test of {', '.join(suites)} in {folder}")
    for path in sorted(found):
        print(os.path.relpath(path, os.path.abspath(folder)))


if __name__ == "__main__":
    if len(sys.argv) < 3:
        sys.exit(__doc__)
    main(sys.argv[1], sys.argv[2:])
