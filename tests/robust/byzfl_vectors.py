#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Writes byzfl_vectors.h: what ByzFL's numpy path makes of three small matrices.

    byzfl_vectors.py BYZFL_DIR COMMIT > byzfl_vectors.h

BYZFL_DIR is a checkout of https://github.com/LPD-EPFL/byzfl. Needs numpy and
scipy; an empty module stands in for torch, which the numpy path doesn't use.
CAF and SMEA take one random power step there; here the number of steps is
raised until it converges. CAF isn't run on the attacked matrix, where it doesn't
end.
"""
import sys
import types
from pathlib import Path

import numpy as np

ROWS, COLUMNS, F = 11, 7, 2
POWER_STEPS = 3000


def load(directory):
    torch = types.ModuleType("torch")
    torch.Tensor = type("Tensor", (), {})
    torch.linalg = types.ModuleType("torch.linalg")
    package = types.ModuleType("byzfl")
    package.__path__ = [str(Path(directory) / "byzfl")]
    sys.modules.update({"torch": torch, "torch.linalg": torch.linalg, "byzfl": package})
    from byzfl.aggregators import aggregators, preaggregators
    text = Path(aggregators.__file__).read_text()
    exact = {}
    exec(compile(text.replace("max_iters=1)", f"max_iters={POWER_STEPS})"), "exact", "exec"), exact)
    return aggregators, preaggregators, exact


def matrix(kind):
    """iid, shifted, attacked; all numbers are exact in float32."""
    k = np.arange(ROWS * COLUMNS)
    x = ((k * k * 7919 + k * 104729 + 17) % 2003 - 1001) / 512
    x = x.reshape(ROWS, COLUMNS)
    if kind == 1:
        x = x + 100
    if kind == 2:
        x[:F] = -20 * np.abs(x[:F]) - 3
    return x


def number(value):
    return repr(float(value))


def main():
    a, p, exact = load(sys.argv[1])
    cases = [
        ("mean", "", lambda: a.Average()),
        ("median", "", lambda: a.Median()),
        ("trimmed-mean", f".byzantine = {F}", lambda: a.TrMean(F)),
        ("meamed", f".byzantine = {F}", lambda: a.Meamed(F)),
        ("geometric-median", ".nu = 0.1, .iterations = 3", lambda: a.GeometricMedian(0.1, 3)),
        ("geometric-median", ".nu = 1.5, .iterations = 9", lambda: a.GeometricMedian(1.5, 9)),
        ("krum", f'.byzantine = {F}, .variant = "byzfl"', lambda: a.Krum(F)),
        ("multi-krum", f'.byzantine = {F}, .variant = "byzfl"', lambda: a.MultiKrum(F)),
        ("centered-clipping", ".tau = 2, .iterations = 1", lambda: a.CenteredClipping(None, 1, 2.0)),
        ("centered-clipping", ".tau = 2, .iterations = 6", lambda: a.CenteredClipping(None, 6, 2.0)),
        ("mda", f".byzantine = {F}", lambda: a.MDA(F)),
        ("monna", f".byzantine = {F}, .pivot = 4", lambda: a.MoNNA(F, 4)),
        ("smea", f".byzantine = {F}", lambda: exact["SMEA"](F)),
        ("caf", f'.byzantine = {F}, .variant = "byzfl"', lambda: exact["CAF"](F)),
        ("nnm", f".byzantine = {F}", lambda: p.NNM(F)),
        ("clipping", ".norm = 2", lambda: p.Clipping(2.0)),
        ("arc", f".byzantine = {F}", lambda: p.ARC(F)),
    ]
    print("/* SPDX-License-Identifier: Apache-2.0 */")
    print(f"/* Written by byzfl_vectors.py with ByzFL at commit {sys.argv[2]}\n"
          f" * and numpy {np.__version__}. Kinds: iid, shifted, attacked. */")
    print('#pragma once\n\n#include "robust/robust.h"\n')
    print(f"#define BYZFL_ROWS {ROWS}\n#define BYZFL_COLUMNS {COLUMNS}\n")
    print("static const double byzfl_rows[3][BYZFL_ROWS * BYZFL_COLUMNS] = {")
    for kind in range(3):
        print("{" + ", ".join(number(v) for v in matrix(kind).ravel()) + "},")
    print("};\n\nstruct byzfl_rule {\n  const char *name;\n  int kind;\n"
          "  struct cns_robust_params params;\n  double result[BYZFL_ROWS * BYZFL_COLUMNS];\n};\n")
    print("static const struct byzfl_rule byzfl_rules[] = {")
    for kind in range(3):
        for name, params, make in cases:
            if name == "caf" and kind == 2:
                continue
            result = np.asarray(make()(matrix(kind))).ravel()
            print(f'{{"{name}", {kind}, {{{params or "0"}}}, {{' + ", ".join(number(v) for v in result) + "}},")
    print("};")


if __name__ == "__main__":
    main()
