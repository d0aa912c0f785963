#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Who includes whom, checked against the table in docs/architecture.md.

The table's rows are `| room/ | what lives there | may include | libraries |`.
A room may include itself, the rooms named in the third column, the libraries
named in the fourth, and the common headers named in the line that begins with
"Common headers:". "all above" means every room in the rows before.
"""
import re
import sys
from pathlib import Path

# A library's name in the table -> how its headers begin.
LIBRARIES = {
    "libsodium": ("sodium.h",),
    "OpenSSL": ("openssl/",),
    "cJSON": ("cjson/",),
    "OpenBLAS": ("cblas.h", "lapacke.h"),
    "nng": ("nng/",),
    "libuv": ("uv.h",),
    "SQLite": ("sqlite3.h",),
    "zlib": ("zlib.h",),
}
# Rooms where only the libraries matter.
UNCHECKED = {"tests"}

INCLUDE = re.compile(r'^\s*#\s*include\s*([<"])([^>"]+)[>"]', re.MULTILINE)


def read_table(text):
    """{room: (rooms, libraries)} in order, and the set of common headers."""
    rooms, common = {}, set()
    for line in text.splitlines():
        if line.startswith("Common headers:"):
            common = set(re.findall(r"`([a-z]+/[a-z_0-9]+\.h)`", line))
        cells = [cell.strip() for cell in line.strip().strip("|").split("|")]
        match = re.fullmatch(r"`([a-z]+)/`", cells[0])
        if not line.startswith("|") or not match or len(cells) != 4:
            continue
        named = set(re.findall(r"`([a-z]+)/`", cells[2]))
        if "all above" in cells[2]:
            named = set(rooms) - named if " but " in cells[2] else set(rooms) | named
        libraries = {name for name in LIBRARIES if name in cells[3]}
        if cells[3] == "any":
            libraries = set(LIBRARIES)
        rooms[match.group(1)] = (named, libraries)
    if not rooms or not common:
        raise ValueError("docs/architecture.md has no table of rooms or no line of common headers")
    return rooms, common


def library_of(header):
    for name, prefixes in LIBRARIES.items():
        if header.startswith(prefixes):
            return name
    return None


def check_file(path, text, rooms, common):
    """Sentences about the includes of one file; path is relative to the root."""
    room = path.split("/")[0]
    allowed, libraries = rooms[room]
    for number, line in enumerate(text.splitlines(), 1):
        match = INCLUDE.match(line)
        if not match:
            continue
        header = match.group(2)
        target = header.split("/")[0] if match.group(1) == '"' else None
        library = library_of(header)
        if library and library not in libraries:
            yield f"{path}:{number}: {room}/ may not use {library} (<{header}>)"
        if target is None or library:
            continue
        if "/" not in header:
            yield f'{path}:{number}: write "{room}/{header}", not "{header}"'
        elif target not in rooms:
            yield f'{path}:{number}: "{header}" is in no room'
        elif target != room and target not in allowed and header not in common:
            yield f"{path}:{number}: {room}/ may not include {target}/ ({header})"


def check_tree(root):
    rooms, common = read_table((root / "docs/architecture.md").read_text())
    problems, count = [], 0
    for room in rooms:
        if room in UNCHECKED:
            continue
        for path in sorted((root / room).rglob("*.[ch]")):
            count += 1
            relative = path.relative_to(root).as_posix()
            problems += check_file(relative, path.read_text(), rooms, common)
    if count == 0:
        problems.append(f"{root}: no C files found")
    return problems


if __name__ == "__main__":
    found = check_tree(Path(sys.argv[1] if len(sys.argv) > 1 else "."))
    print("\n".join(found) if found else "includes: all within docs/architecture.md")
    sys.exit(1 if found else 0)
