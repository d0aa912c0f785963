# SPDX-License-Identifier: Apache-2.0
"""Writes the corpus of fuzz_model: model_corpus.py FOLDER. The first byte chooses the target."""

import gzip
import io
import json
import os
import pickle
import struct
import sys
import zipfile


def safetensors(tensors, metadata=None, pad=True):
    header, data = {}, b""
    if metadata is not None:
        header["__metadata__"] = metadata
    for name, (dtype, shape, values) in tensors.items():
        header[name] = {"dtype": dtype, "shape": shape, "data_offsets": [len(data), len(data) + len(values)]}
        data += values
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8 if pad else 0)
    return struct.pack("<Q", len(text)) + text + data


def npy(kind, shape, data, version=1):
    text = repr({"descr": kind, "fortran_order": False, "shape": shape}).encode()
    text += b" " * (-(len(text) + 11) % 64) + b"\n"
    return b"\x93NUMPY" + bytes([version, 0]) + struct.pack("<H" if version == 1 else "<I", len(text)) + text + data


def archive(name):
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as file:
        file.writestr(zipfile.ZipInfo(name), b"\x80\x02}q\x00.")
    return out.getvalue()


FLOATS = struct.pack("<6f", 1, -2.5, 3e-30, 4, 5, 6)
HALVES = struct.pack("<4e", 1, -2, 65504, 2 ** -24)
INPUTS = {
    "0-two": safetensors({"w": ("F32", [2, 3], FLOATS), "b": ("F32", [2], FLOATS[:8])}, {"round": "3"}),
    "0-mixed": safetensors({"a": ("F16", [4], HALVES), "b": ("BF16", [2, 2], HALVES), "c": ("F32", [], FLOATS[:4])}),
    "0-unaligned": safetensors({"h": ("F16", [1], HALVES[:2]), "w": ("F32", [6], FLOATS)}, pad=False),
    "0-escaped": safetensors({'b "\u00e9\n\U0001f600': ("F32", [1, 1, 1], FLOATS[:4])}, {}),
    "0-integer": safetensors({"n": ("I64", [], FLOATS[:8])}),
    "0-none": safetensors({}),
    "3-counters": safetensors({"n": ("I64", [], bytes(8)), "w": ("F32", [2], bytes(8)),
                               "mask": ("BOOL", [3], bytes(3))})[8:-19],
    "1-vector": npy("<f4", (6,), FLOATS),
    "1-matrix": npy("<f8", (1, 3), FLOATS, 2),
    "1-number": npy("<i4", (), FLOATS[:4]),
    "1-object": npy("|O", (3,), FLOATS),
    **{f"2-pickle-{p}": pickle.dumps({"w": [1.5, "x"]}, p) for p in range(6)},
    "2-torch": archive("archive/data.pkl"),
    "2-npz": archive("w.npy"),
    "2-gzip": gzip.compress(pickle.dumps([1, 2], 4), mtime=0),
    "2-hdf5": bytes(512) + b"\x89HDF\r\n\x1a\n" + bytes(8),
    "2-onnx": b"\x08\x07\x12\x07pytorch\x1a\x051.0.0",
}

for name, data in INPUTS.items():
    with open(os.path.join(sys.argv[1], name), "wb") as file:
        file.write(bytes([int(name[0])]) + data)
