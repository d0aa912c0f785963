#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Writes quantize_vectors.h: theta, ranges and quotients in exact rational
arithmetic (fractions.Fraction), independent of the C code."""
import math
import random
import struct
from fractions import Fraction

rng = random.Random(20170903)


def theta(clip, weight, e):
    return math.ceil(Fraction(101, 100) * Fraction(clip) * weight * Fraction(2) ** e)


def ceil_sqrt(n):
    root = math.isqrt(n)
    return root if root * root == n else root + 1


def second(thetas, colluders):
    return sum(thetas) + ceil_sqrt(32 * (colluders * max(thetas)) ** 2)


def fits(thetas, colluders):
    return 8 * max(thetas) ** 2 < 2**60 and second(thetas, colluders) < 2**31


def choose(clip, weights, colluders):
    for e in range(127, -129, -1):
        if fits([theta(clip, w, e) for w in weights], colluders):
            return e
    raise ValueError


def main():
    out = ["/* Written by quantize_vectors.py; don't edit. */", "/* clang-format off */",
           "static const struct { double clip; uint32_t weight; int scale; uint64_t theta; } theta_vectors[] = {"]
    for clip, weight, e in [(1.0, 1, 0), (1.0, 100, 0), (0.1, 1, 20), (1e-6, 1, 40), (1e-30, 1, -128), (3.0, 20000, 10)]:
        out.append(f"  {{{clip.hex()}, {weight}u, {e}, {theta(clip, weight, e)}u}},")
    while len(out) < 50:
        clip, weight = rng.lognormvariate(0, 3), rng.randint(1, 10**6)
        e = rng.randint(-60, 40)
        t = theta(clip, weight, e)
        if t < 2**62:
            out.append(f"  {{{clip.hex()}, {weight}u, {e}, {t}u}},")
    out += ["};", "static const struct { double clip; uint32_t weights[6]; size_t count; uint16_t colluders; int scale;",
            "  uint64_t honest, second; } scale_vectors[] = {"]
    for _ in range(40):
        n = rng.randint(1, 6)
        clip = rng.lognormvariate(0, 3)
        weights = [rng.randint(1, 10 ** rng.randint(1, 6)) for _ in range(n)]
        c = rng.randint(0, 300)
        e = choose(clip, weights, c)
        thetas = [theta(clip, w, e) for w in weights]
        out.append("  {%s, {%s}, %d, %d, %d, %du, %du}," % (
            clip.hex(), ", ".join(map(str, weights)), n, c, e, sum(thetas), second(thetas, c)))
    out += ["};", "static const struct { int32_t sum; uint32_t weight; int scale; float mean; } mean_vectors[] = {"]
    for _ in range(200):
        weight = rng.randint(1, 10**6)
        e = rng.randint(-20, 20)
        value = rng.randint(-(2**28), 2**28) if rng.random() < 0.8 else rng.randint(-9, 9)
        # float() rounds a Fraction correctly, struct rounds that to binary32
        mean = struct.unpack("<f", struct.pack("<f", float(Fraction(value, weight) / Fraction(2) ** e)))[0]
        out.append(f"  {{{value}, {weight}u, {e}, {mean.hex()}f}},")
    out += ["};", ""]
    open("quantize_vectors.h", "w").write("\n".join(out))


main()
