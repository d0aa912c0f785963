#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Writes files as arrays of bytes into one C file: embed.py OUT.c NAME=FILE..."""

import sys


def array(name, data):
    lines = [",".join(str(byte) for byte in data[at:at + 32]) for at in range(0, len(data), 32)]
    return f"const unsigned char {name}[] = {{\n" + ",\n".join(lines) + f"}};\nconst size_t {name}_bytes = {len(data)};\n"


def main():
    out, *pairs = sys.argv[1:]
    text = '/* SPDX-License-Identifier: Apache-2.0 */\n#include "cli/demo_data.h"\n\n'
    for pair in pairs:
        name, path = pair.split("=", 1)
        with open(path, "rb") as file:
            text += array(name, file.read())
    with open(out, "w", encoding="ascii") as file:
        file.write(text)


if __name__ == "__main__":
    main()
