# SPDX-License-Identifier: Apache-2.0
"""NumPy's files without NumPy: matrices as lists of rows, vectors as lists."""

import ast
import struct

CODES = {"<f4": "f", "<f8": "d", "<i4": "i", "<i8": "q", ">f8": "d", "|O": "q"}


def encode(values, kind="<f4", fortran=False, shape=None, version=1):
    matrix = isinstance(values[0], (list, tuple))
    flat = [x for row in values for x in row] if matrix else list(values)
    if shape is None:
        shape = (len(values), len(values[0])) if matrix else (len(values),)
    if fortran and matrix:
        flat = [row[k] for k in range(len(values[0])) for row in values]
    header = repr({"descr": kind, "fortran_order": fortran, "shape": shape})
    begin = 8 + (2 if version == 1 else 4)
    header += " " * (-(begin + len(header) + 1) % 64) + "\n"
    length = struct.pack("<H" if version == 1 else "<I", len(header))
    order = ">" if kind[0] == ">" else "<"
    return (b"\x93NUMPY" + bytes([version, 0]) + length + header.encode()
            + struct.pack(f"{order}{len(flat)}{CODES[kind]}", *flat))


def save(path, values, *arguments, **options):
    with open(path, "wb") as file:
        file.write(encode(values, *arguments, **options))


def load(path):
    """Rows or a vector, and the type."""
    with open(path, "rb") as file:
        data = file.read()
    assert data[:8] == b"\x93NUMPY\x01\x00", data[:8]
    length, = struct.unpack("<H", data[8:10])
    assert (10 + length) % 64 == 0 and data[9 + length:10 + length] == b"\n"
    header = ast.literal_eval(data[10:10 + length].decode())
    assert set(header) == {"descr", "fortran_order", "shape"} and not header["fortran_order"], header
    kind, shape = header["descr"], header["shape"]
    count = 1
    for size in shape:
        count *= size
    flat = list(struct.unpack(f"<{count}{CODES[kind]}", data[10 + length:]))
    if len(shape) == 1:
        return flat, kind
    return [flat[i * shape[1]:(i + 1) * shape[1]] for i in range(shape[0])], kind
