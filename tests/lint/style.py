#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Lengths, licence lines and words, as docs/conventions.md has them."""
import re
import sys
from pathlib import Path

FILE_LINES_MAX = 500
FUNCTION_LINES_MAX = 70
CODE = {".c", ".h", ".py", ".sh", ".js", ".css", ".html"}
TEXT = CODE | {".md", ".build", ".json"}
# Written apart, so that this file does not hold them.
WORDS = ["TO" + "DO", "FIX" + "ME", "XX" + "X", "HA" + "CK", "not " + "implemented", "for " + "now"]
FORBIDDEN = re.compile(r"\b(" + "|".join(WORDS) + r")\b")
MACHINE_PATH = re.compile(r"(?<![\w.])/(?:home|root|work|Users)/[\w.-]+")
CMOCKA_SKIP = re.compile(r"\bskip\(\)")
SKIPPED_FOLDERS = ("build", ".git", "__pycache__", ".cache")


def functions(lines):
    """(first line number, length) of each function in clang-formatted C."""
    start = None
    inside = False
    for number, line in enumerate(lines, 1):
        if inside:
            if line.startswith("}"):
                if line.rstrip() == "}":
                    yield start, number - start + 1
                inside, start = False, None
            continue
        if not line.strip() or line[0] in "#/*}" or line.startswith(" *"):
            start = None
            continue
        if start is None and not line[0].isspace():
            start = number
        if line.rstrip().endswith("{"):
            inside = True
        elif line.rstrip().endswith((";", "}", "\\")):
            start = None


def check_text(path, text):
    suffix = Path(path).suffix
    lines = text.splitlines()
    data = "/vectors/" in path or "/corpus/" in path or path.endswith(("_vectors.h", ".json"))
    if suffix in CODE and not data and len(lines) > FILE_LINES_MAX:
        yield f"{path}: {len(lines)} lines, {FILE_LINES_MAX} at the most: which idea is missing?"
    if suffix in CODE and suffix != ".html" and not data and not any("SPDX-License-Identifier: Apache-2.0" in line for line in lines[:3]):
        yield f"{path}: no SPDX line on top"
    for number, line in enumerate(lines, 1):
        if not data and (match := FORBIDDEN.search(line)):
            yield f'{path}:{number}: "{match.group(1)}": finish it, or say plainly what is not offered'
        if match := MACHINE_PATH.search(line):
            yield f"{path}:{number}: a path of one machine ({match.group(0)})"
        if suffix == ".c" and CMOCKA_SKIP.search(line):
            yield f"{path}:{number}: cmocka reports skip() as a failure in TAP: print a plan of '1..0 # SKIP why'"
        if line.rstrip() != line and suffix in CODE:
            yield f"{path}:{number}: trailing blanks"
    if suffix in {".c", ".h"}:
        for first, length in functions(lines):
            if length > FUNCTION_LINES_MAX:
                yield f"{path}:{first}: a function of {length} lines, {FUNCTION_LINES_MAX} at the most"


def files(root):
    for path in sorted(root.rglob("*")):
        parts = path.relative_to(root).parts
        if any(part.startswith(SKIPPED_FOLDERS) for part in parts[:-1]) or not path.is_file():
            continue
        if path.suffix in TEXT or path.name in ("dev", "meson.build"):
            yield path


def check_tree(root):
    problems, count = [], 0
    for path in files(root):
        count += 1
        relative = path.relative_to(root).as_posix()
        try:
            problems += check_text(relative, path.read_text(encoding="utf-8"))
        except UnicodeDecodeError:
            problems.append(f"{relative}: not UTF-8")
    if count == 0:
        problems.append(f"{root}: no files found")
    return problems


if __name__ == "__main__":
    found = check_tree(Path(sys.argv[1] if len(sys.argv) > 1 else "."))
    print("\n".join(found) if found else "style: all within docs/conventions.md")
    sys.exit(1 if found else 0)
