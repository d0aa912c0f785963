#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""The library by itself: the example of consilium_robust(3), compiled against the headers as they
are installed and linked with nothing but libconsilium-robust. Speaks TAP.

    test_library.py COMPILER... LIBRARY
"""
import os
import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(os.environ["CNS_SOURCE_ROOT"])
PAGE = ROOT / "docs/man/consilium_robust.3"


def example():
    text = PAGE.read_text(encoding="utf-8")
    code = re.search(r"\.Bd -literal\n(.*?)\.Ed", text, re.DOTALL).group(1).replace("\\en", "\\n")
    prints = re.search(r"^This prints\n\.Ql (.*) \.$", text, re.MULTILINE).group(1)
    return code, prints


def headers(folder):
    (folder / "consilium/crypto").mkdir(parents=True)
    shutil.copy(ROOT / "robust/robust.h", folder / "consilium/robust.h")
    shutil.copy(ROOT / "crypto/base.h", folder / "consilium/crypto/base.h")


def main():
    compiler, library = sys.argv[1:-1], Path(sys.argv[-1])
    print("1..1")
    code, prints = example()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        headers(folder)
        (folder / "example.c").write_text(code, encoding="utf-8")
        flags = os.environ.get("CNS_SANITIZE", "")
        flags = [f"-fsanitize={flags}"] if flags and flags != "none" else []
        subprocess.run([*compiler, *flags, "-Wall", "-Wextra", "-Werror", "-I", str(folder), "-o", str(folder / "example"),
                        str(folder / "example.c"), str(library), f"-Wl,-rpath,{library.parent}"], check=True)
        done = subprocess.run([str(folder / "example")], capture_output=True, text=True, check=False)
    good = done.returncode == 0 and done.stdout == prints + "\n"
    print("ok 1" if good else "not ok 1", "- the manual's example")
    if not good:
        print(f"# {done.returncode} {done.stdout!r} {done.stderr!r} instead of {prints!r}")
    return 0 if good else 1


if __name__ == "__main__":
    sys.exit(main())
