# SPDX-License-Identifier: Apache-2.0
"""Model files of other programs, in and out: safetensors and NumPy's .npy as Python's own
struct and json write and read them, and what is refused."""

import bz2
import gzip
import hashlib
import io
import json
import lzma
import math
import os
import pickle
import random
import resource
import signal
import struct
import subprocess
import sys
import zipfile

import npy
from program import FAILED, IO, OK, PROGRAM, REFUSED, STUDY, USAGE, main, read, run, run_json, write

SEED = 20261127
SIZES = {"F32": 4, "F16": 2, "BF16": 2, "F64": 8, "I64": 8}


def encode(tensors, metadata=None, pad=8):
    """tensors: name -> (dtype, shape, bytes)"""
    header, data = {}, b""
    if metadata is not None:
        header["__metadata__"] = metadata
    for name, (dtype, shape, values) in tensors.items():
        header[name] = {"dtype": dtype, "shape": shape, "data_offsets": [len(data), len(data) + len(values)]}
        data += values
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % pad)
    return struct.pack("<Q", len(text)) + text + data


def decode(path):
    """As strictly as the format's description has it. Tensors as (dtype, shape, bytes), and metadata."""
    data = read(path)
    length, = struct.unpack("<Q", data[:8])
    assert length % 8 == 0 and data[8:9] == b"{", data[:16]
    header = json.loads(data[8:8 + length].decode())
    metadata, at, tensors = header.pop("__metadata__", {}), 0, {}
    assert all(isinstance(value, str) for value in metadata.values())
    for name, one in sorted(header.items(), key=lambda item: item[1]["data_offsets"]):
        begin, end = one["data_offsets"]
        assert begin == at and end - begin == math.prod(one["shape"]) * SIZES[one["dtype"]], (name, one)
        tensors[name] = one["dtype"], one["shape"], data[8 + length + begin:8 + length + end]
        at = end
    assert 8 + length + at == len(data)
    return tensors, metadata


def floats(values):
    return struct.pack(f"<{len(values)}f", *values)


def halves(values):
    return struct.pack(f"<{len(values)}e", *values)


def digest(path):
    return hashlib.blake2b(read(path), digest_size=32).hexdigest()


def test_every_half_is_imported_exactly():
    f16 = [p for p in range(65536) if p & 0x7C00 != 0x7C00]
    bf16 = [p for p in range(65536) if p & 0x7F80 != 0x7F80]
    write("m", encode({"h": ("F16", [len(f16)], struct.pack(f"<{len(f16)}H", *f16)),
                       "b": ("BF16", [2, len(bf16) // 2], struct.pack(f"<{len(bf16)}H", *bf16))}))
    run("model", "import", "m", "--out", "o")
    tensors, metadata = decode("o")
    expected = struct.unpack(f"<{len(f16)}e", struct.pack(f"<{len(f16)}H", *f16))
    assert tensors["h"] == ("F32", [len(f16)], floats(expected)) and metadata == {}
    assert tensors["b"] == ("F32", [2, len(bf16) // 2], struct.pack(f"<{len(bf16)}I", *(p << 16 for p in bf16)))
    for dtype, name in ("f16", "h"), ("bf16", "b"):  # and back
        write("one", encode({name: tensors[name]}))
        run("model", "export", "one", "--out", "back", "--dtype", dtype)
        patterns = f16 if dtype == "f16" else bf16
        assert decode("back")[0][name][2] == struct.pack(f"<{len(patterns)}H", *patterns)


def test_rounding_is_pythons():
    rng = random.Random(SEED)
    values = [rng.uniform(-70, 70) * 2.0 ** rng.randint(-30, 9) for _ in range(50000)]
    values = list(struct.unpack(f"<{len(values)}f", floats(values)))
    write("m", encode({"w": ("F32", [len(values)], floats(values))}))
    run("model", "export", "m", "--out", "h", "--dtype", "f16")
    assert decode("h")[0]["w"] == ("F16", [len(values)], halves(values)), f"seed {SEED}"
    run("model", "export", "m", "--out", "b", "--dtype", "bf16")
    bits = struct.unpack(f"<{len(values)}I", floats(values))
    expected = [(b + 0x7FFF + (b >> 16 & 1)) >> 16 for b in bits]
    assert decode("b")[0]["w"][2] == struct.pack(f"<{len(values)}H", *expected), f"seed {SEED}"
    run("model", "export", "m", "--out", "h.npy", "--dtype", "f16", "--format", "npy")
    assert read("h.npy")[-2 * len(values):] == halves(values) and b"'<f2'" in read("h.npy")[:128]


def test_overflow_is_an_error_unless_asked_for():
    write("m", encode({"ok": ("F32", [1], floats([65519])), "big": ("F32", [2], floats([1, -65520]))}))
    write("out", "old")
    run("model", "export", "m", "--out", "out", "--dtype", "f16", expect=FAILED,
        says='number 1 of tensor "big" is too large for F16')
    assert read("out") == b"old"
    run("model", "export", "m", "--out", "out", "--dtype", "f16", "--clamp")
    assert decode("out")[0]["big"][2] == halves([1, -65504])
    run("model", "export", "m", "--out", "out", "--dtype", "bf16")
    run("model", "export", "m", "--out", "out", "--clamp", expect=USAGE, says="--clamp needs")
    run("model", "export", "m", "--out", "out", "--dtype", "f64", expect=USAGE, says="f32, f16 or bf16")
    run("model", "export", "m", "--out", "out", "--dtype", "bf16", "--format", "npy", expect=USAGE, says="NumPy has no bf16")
    run("model", "export", "m", "--out", "out", "--format", "pt", expect=USAGE, says="safetensors or npy")
    run("model", "export", "m", "--out", "out", "--round", "1", expect=FAILED, says="--round")
    run("model", "export", "m", "--out", "out", "--tensor", "ok", expect=USAGE, says="--format npy")


def mixed():
    """Three dtypes, in a header that isn't padded, in no order."""
    header = {"z": {"dtype": "F32", "shape": [3], "data_offsets": [6, 18]},
              "__metadata__": {"format": "pt", "note": "\u001b[31m"},
              "a.b": {"dtype": "BF16", "shape": [], "data_offsets": [18, 20]},
              "h": {"dtype": "F16", "shape": [3, 1], "data_offsets": [0, 6]}}
    text = json.dumps(header).encode()
    text += b" " * ((1 - len(text)) % 8)  # the tensors begin at an odd place
    return struct.pack("<Q", len(text)) + text + halves([1, 2, -3]) + floats([4, 5, 6.5]) + b"\x80\x3f"


def test_import_says_what_the_study_file_needs():
    write("m", mixed())
    said = run("model", "import", "m", "--out", "o.safetensors")
    assert f'"initial_model": {{"file": "o.safetensors", "digest": "{digest("o.safetensors")}"}}' in said, said
    tensors, metadata = decode("o.safetensors")
    assert list(tensors) == ["h", "z", "a.b"] and metadata == {}
    assert tensors["z"] == ("F32", [3], floats([4, 5, 6.5])) and tensors["a.b"] == ("F32", [], floats([1]))
    before = read("o.safetensors")
    as_json = run_json("model", "import", "m", "--out", "o.safetensors", "--json")  # the same again: the same bytes
    assert read("o.safetensors") == before and as_json["digest"] == digest("o.safetensors")
    assert as_json["from"] == "F32, F16, BF16" and as_json["parameters"] == 7 and as_json["tensors"] == 3
    run("model", "import", "o.safetensors", "--out", "again")  # already what it would make
    assert read("again") == before
    piped = subprocess.run([PROGRAM, "model", "import", "m", "--out", "/dev/stdout"], capture_output=True, check=True)
    assert piped.stdout == before
    shown = run_json("model", "show", "m", "--json")
    assert [(t["name"], t["dtype"], t["shape"]) for t in shown["tensors"]] == [
        ("z", "F32", [3]), ("a.b", "BF16", []), ("h", "F16", [3, 1])], shown
    assert shown["digest"] == digest("m") and shown["metadata"]["format"] == "pt" and shown["parameters"] == 7
    text = run("model", "show", "m")
    assert "h F16 [3, 1]" in text and digest("m") in text and "\x1b" not in text


def test_counters_are_left_out_if_asked_for():
    tensors = {"bn.num": ("I64", [], bytes(8)), "w": ("F32", [2], floats([1, 2])), "mask": ("BOOL", [3], bytes(3)),
               "h": ("F16", [1], halves([3]))}
    write("m", encode(tensors))
    run("model", "import", "m", "--out", "o", expect=FAILED, says='"bn.num" is of type I64')
    assert "2 tensors of whole numbers are left out" in run("model", "import", "m", "--out", "o", "--floats-only")
    assert decode("o")[0] == {"w": ("F32", [2], floats([1, 2])), "h": ("F32", [1], floats([3]))}
    for wrong, word in (({"bn.num": ("F64", [], bytes(8))}, '"bn.num" is of type F64'),
                        ({"mask": ("BOOL", [4], bytes(3))}, 'tensor "mask" has another size')):
        write("m", encode({**tensors, **wrong}))
        run("model", "import", "m", "--out", "o", "--floats-only", expect=FAILED, says=word)
    data = encode(tensors)  # what is passed over must have its place all the same
    write("m", data.replace(b'"data_offsets":[16,19]', b'"data_offsets":[15,18]'))
    run("model", "import", "m", "--out", "o", "--floats-only", expect=FAILED, says='tensor "mask" overlaps')
    write("m", encode({"n": ("I64", [1], bytes(8))}))
    run("model", "import", "m", "--out", "o", "--floats-only", expect=FAILED, says="no tensors")


def study_tensors(study):
    sizes = [len(study["features"]), *study["model"].get("hidden", []), len(study["label"]["classes"])]
    for layer, (inputs, outputs) in enumerate(zip(sizes, sizes[1:])):
        yield f"layer{layer}.weight", [outputs, inputs]
        yield f"layer{layer}.bias", [outputs]


def test_a_study_begins_with_what_was_imported():
    study = json.loads(read(STUDY, "r"))
    shapes = dict(study_tensors(study))
    count = sum(math.prod(shape) for shape in shapes.values())
    values = [i / 1024 for i in range(count)]
    write("m", encode({name: ("F16", shapes[name], halves([0.5] * math.prod(shapes[name])))
                       for name in reversed(shapes)}))  # another order than the study's
    study["initial_model"] = {"file": "start.safetensors", "digest": "00" * 32}
    write("study.json", json.dumps(study))
    said = run_json("model", "import", "m", "--study", "study.json", "--out", "start.safetensors", "--json")
    assert list(decode("start.safetensors")[0]) == list(shapes)
    run("init", "f", "--study", "study.json", "--count", "5", expect=FAILED, says="digest differs")
    study["initial_model"]["digest"] = said["digest"]
    write("study.json", json.dumps(study))
    run("init", "f", "--study", "study.json", "--count", "5")
    # a rounded file serves too, with a table
    run("model", "export", "start.safetensors", "--out", "half", "--dtype", "bf16")
    table = os.path.join(os.path.dirname(STUDY), "wdbc.csv")
    risks = [run("model", "predict", "--model", model, "--study", "study.json", "--data", table)
             for model in ("start.safetensors", "half")]
    assert risks[0] == risks[1] and len(risks[0].splitlines()) == 570
    # the same model as NumPy's vector
    npy.save("v.npy", values)
    run("model", "import", "v.npy", "--study", "study.json", "--out", "o")
    tensors, _ = decode("o")
    assert b"".join(value for _, _, value in tensors.values()) == floats(values)
    assert {name: shape for name, (_, shape, _) in tensors.items()} == shapes
    npy.save("short.npy", values[:-1])
    run("model", "import", "short.npy", "--study", "study.json", "--out", "o", expect=FAILED, says=f"the model has {count} parameters")
    last = list(shapes)[-1]
    for wrong, word in (({last: None}, f'has a tensor "{last}", the file has not'),
                        ({last: ("F32", [1], floats([1]))}, "another shape than the model's: [1]"),
                        ({"more": ("F32", [1], floats([1]))}, 'has a tensor "more", the model has not')):
        tensors = {name: ("F32", shapes[name], bytes(4 * math.prod(shapes[name]))) for name in shapes}
        tensors.update(wrong)
        write("m", encode({name: tensor for name, tensor in tensors.items() if tensor}))
        run("model", "import", "m", "--study", "study.json", "--out", "o", expect=FAILED, says=word)


def test_numpy_arrays():
    for kind, pack in ("<f2", halves), ("<f4", floats), ("<f8", floats):
        for shape in (4,), (2, 2), (1, 2, 2), ():
            values = [1.5, -2, 0.25, 4][:max(1, math.prod(shape))]
            header = repr({"descr": kind, "fortran_order": False, "shape": shape})
            header += " " * (-(len(header) + 11) % 64) + "\n"
            body = pack(values) if kind != "<f8" else struct.pack(f"<{len(values)}d", *values)
            write("a", b"\x93NUMPY\x01\x00" + struct.pack("<H", len(header)) + header.encode() + body)
            run("model", "import", "a", "--out", "o", "--tensor", "w")
            assert decode("o")[0] == {"w": ("F32", list(shape), floats(values))}, (kind, shape)
    write("like", encode({"x": ("F16", [1, 2], halves([0, 0])), "y": ("F32", [2], floats([0, 0]))}))
    npy.save("a", [1, 2, 3, 4])
    run("model", "import", "a", "--out", "o", "--like", "like")
    assert decode("o")[0] == {"x": ("F32", [1, 2], floats([1, 2])), "y": ("F32", [2], floats([3, 4]))}
    run("model", "export", "o", "--out", "flat.npy", "--format", "npy")
    assert npy.load("flat.npy") == ([1, 2, 3, 4], "<f4")
    run("model", "export", "o", "--out", "x.npy", "--format", "npy", "--tensor", "x")
    assert npy.load("x.npy") == ([[1, 2]], "<f4")
    run("model", "export", "o", "--out", "x.npy", "--format", "npy", "--tensor", "q", expect=IO, says='no tensor "q"')
    npy.save("o.npy", [1, 2, 3, 4], kind="|O")
    run("model", "import", "o.npy", "--out", "o", expect=FAILED, says="pickled Python objects")
    npy.save("nan.npy", [1, math.nan])
    run("model", "import", "nan.npy", "--out", "o", expect=FAILED, says='nan.npy: number 1 of tensor "model" is not finite')
    npy.save("big.npy", [1, 1e39], kind="<f8")
    run("model", "import", "big.npy", "--out", "o", expect=FAILED, says="too large for a 32-bit float")
    run("model", "show", "a", expect=FAILED, says="consilium model import")
    run("model", "import", "a", "--out", "o", "--like", "like", "--tensor", "w", expect=USAGE, says="only one of")
    run("model", "import", "like", "--out", "o", "--tensor", "w", expect=FAILED, says="is no NumPy array")


class Canary:
    """Whoever loads its pickle makes a file."""

    def __reduce__(self):
        return open, ("canary", "w")


def zipped(name, data):
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as file:
        file.writestr(name, data)
    return out.getvalue()


def test_pickles_are_refused_by_content():
    runs_code = "loading a pickle runs code"
    for protocol in range(6):
        data = pickle.dumps({"weights": Canary()}, protocol)
        for content, word in ((data, runs_code), (zipped("archive/data.pkl", data), "is a PyTorch file"),
                              (gzip.compress(data), runs_code), (bz2.compress(data), "(bzip2)"),
                              (lzma.compress(data), "(xz)")):
            for name in "model.safetensors", "model.npy":  # whatever it is called
                write(name, content)
                run("model", "import", name, "--out", "o", expect=FAILED, says=word)
                run("model", "show", name, expect=FAILED, says=word)
    write("model", pickle.dumps({"w": 1}))
    run("model", "show", "model", expect=FAILED, says="safetensors.torch.save_file(model.state_dict()")
    for content, word in ((b"\x89HDF\r\n\x1a\n" + bytes(100), "HDF5"), (b"GGUF\3\0\0\0" + bytes(100), "GGUF"),
                          (b"\x08\x08\x12\x07pytorch" + bytes(100), "ONNX"), (b"<html><body>404", "web page"),
                          (b"version https://git-lfs.example/spec/v1\noid", "git lfs pull")):
        write("model.safetensors", content)
        run("model", "import", "model.safetensors", "--out", "o", expect=FAILED, says=word)
    assert not os.path.exists("canary") and not os.path.exists("o")
    write("model.pt", encode({"w": ("F32", [1], floats([1]))}))  # and what is safetensors is read by any name
    run("model", "import", "model.pt", "--out", "o")


def test_hostile_headers_are_refused():
    good = {"dtype": "F32", "shape": [2], "data_offsets": [0, 8]}

    def header(text, data=8):
        text = text if isinstance(text, (bytes, str)) else json.dumps(text)
        text = text if isinstance(text, bytes) else text.encode()
        return struct.pack("<Q", len(text)) + text + bytes(data)

    cases = [
        (header({"a": good, "b": {**good, "data_offsets": [4, 12]}}, 12), "overlaps"),
        (header({"a": {**good, "data_offsets": [0, 8000000]}}), "another size|beyond the end"),
        (header({"a": {**good, "data_offsets": [8, 16]}}, 16), "unused bytes before"),
        (header({"a": good}, 12), "unused bytes after"),
        (header({"a": good}, 4), "beyond the end"),
        (header('{"a":%s,"a":%s}' % (json.dumps(good), json.dumps(good))), "occurs twice"),
        (header({"a": {**good, "dtype": "I64", "shape": [1]}}), "of type I64; F32, F16 and BF16 are read"),
        (header({"a": {**good, "shape": [2 ** 40, 2 ** 40]}}), "more numbers than any file"),
        (header({"a": {**good, "shape": [-2]}}), "whole numbers"),
        (header({"a": {**good, "shape": [0]}, "b": good}), "is empty"),
        (header({"a": good, "__metadata__": {"k": 1}}), "strings"),
        (header(b'{"\xff":1}'), "UTF-8"),
        (header("{"), "line 1"),
        (struct.pack("<Q", 2 ** 40) + b"{}", "more than 8 MiB"),
        (struct.pack("<Q", 2 ** 63) + b"{}", "more than 8 MiB"),
        (struct.pack("<Q", 9) + b"{}", "ends within its header"),
        (b"", "empty"), (b"abc", "too short"),
    ]
    write("out", "old")
    for content, words in cases:
        write("h", content)
        for verb in ["import", "h", "--out", "out"], ["show", "h"], ["export", "h", "--out", "out"]:
            done = subprocess.run([PROGRAM, "model", *verb], capture_output=True, text=True, timeout=60)
            assert done.returncode == FAILED and done.stderr.startswith("consilium: h: "), done
            assert any(word in done.stderr for word in words.split("|")), (words, done.stderr)
            assert "Sanitizer" not in done.stderr
    assert read("out") == b"old" and sorted(os.listdir(".")) == ["h", "out"]
    write("h", encode({"w": ("F16", [2], struct.pack("<2H", 0x3C00, 0x7C00))}))
    run("model", "import", "h", "--out", "out", expect=FAILED, says='h: number 1 of tensor "w" is not finite')


def test_outputs_that_cannot_be_written():
    write("m", mixed())
    os.mkdir("folder")
    for out, code, word in (("/dev/full", IO, "No space left"), ("none/o", IO, "its folder, none, is not there"),
                            ("folder", IO, "directory"), ("m", REFUSED, "is the file that is imported"),
                            ("./folder/../m", REFUSED, "is the file that is imported"), ("", IO, "empty path")):
        run("model", "import", "m", "--out", out, expect=code, says=word)
    for source, code, word in (("none", IO, "none"), ("folder", IO, "folder"), ("/dev/null", FAILED, "not a plain file")):
        run("model", "import", source, "--out", "o", expect=code, says=word)
    run("model", "import", "m", expect=USAGE, says="--out FILE is missing")
    run("model", "import", expect=USAGE)
    run("model", "export", "m", "--out", "/dev/full", "--dtype", "bf16", expect=IO, says="No space left")
    assert sorted(os.listdir(".")) == ["folder", "m"] and os.listdir("folder") == []
    os.symlink("target", "link")
    run("model", "import", "m", "--out", "link")
    assert os.path.islink("link") and decode("target")


def test_a_disk_that_fills_meanwhile_leaves_the_old_file():
    def limit():
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (300000, 300000))
    write("m", encode({"w": ("F32", [100000], bytes(400000))}))
    write("out", "old")
    for verb in ["import", "m"], ["export", "m"], ["export", "m", "--format", "npy"]:
        run("model", *verb, "--out", "out", expect=IO, says="out: can't be written: File too large", preexec_fn=limit)
        assert read("out") == b"old" and sorted(os.listdir(".")) == ["m", "out"]


def test_exported_numbers_are_checked_when_they_are_read_again():
    write("m", encode({"w": ("F32", [3], floats([1 / 3, 2, 3]))}, {"study": "x", "model_digest": ""}))
    run("model", "show", "m", expect=FAILED, says="model_digest")
    write("m", encode({"w": ("F32", [3], floats([1 / 3, 2, 3]))}, {"study": "x"}))
    run("model", "export", "m", "--out", "h", "--dtype", "f16")
    _, metadata = decode("h")
    run("model", "export", "m", "--out", "f")
    _, original = decode("f")
    assert metadata["study"] == "x" and metadata["rounded_from"] == original["model_digest"] and "rounded_from" not in original
    run("model", "show", "h")
    data = read("h")
    write("h", data[:-1] + bytes([data[-1] ^ 1]))
    run("model", "show", "h", expect=FAILED, says="the file is damaged")


def test_a_large_file_needs_no_memory_of_its_size():
    count = 32 << 20
    text = json.dumps({"w": {"dtype": "F16", "shape": [count], "data_offsets": [0, 2 * count]}}).encode()
    write("m", struct.pack("<Q", len(text)) + text)
    os.truncate("m", 8 + len(text) + 2 * count)  # zeros that take no room
    child = subprocess.Popen([PROGRAM, "model", "import", "m", "--out", "/dev/stdout"], stdout=subprocess.PIPE,
                             stderr=subprocess.DEVNULL)
    left = 3 * count  # three quarters of it; then it waits for its reader
    while left > 0:
        left -= len(child.stdout.read(min(left, 1 << 20))) or left
    peak = next(int(line.split()[1]) for line in read(f"/proc/{child.pid}/status", "r").splitlines()
                if line.startswith("VmHWM:"))
    while child.stdout.read(1 << 20):
        pass
    assert child.wait() == OK
    assert peak < 100 << 10, f"{peak} KiB for a model of {4 * count >> 10}"


if __name__ == "__main__":
    sys.exit(main(globals()))
