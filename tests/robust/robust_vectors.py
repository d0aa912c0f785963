#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Writes robust_vectors.h: what robust/ must compute, by other means (mpmath,
scipy, numpy, plain enumeration). Needs python3-mpmath and python3-scipy."""
from fractions import Fraction
from itertools import product

import mpmath
import numpy as np
from scipy.optimize import minimize
from scipy.stats import norm

rng = np.random.default_rng(20240229)
N, K = 7, 6


def numbers(values):
    return "{" + ", ".join(repr(float(v)) for v in np.ravel(values)) + "}"


def partitions(entries):
    """All ways to put numbered entries into unnumbered buckets."""
    if not entries:
        yield []
        return
    for rest in partitions(entries[1:]):
        yield [[entries[0]]] + rest
        for i in range(len(rest)):
            yield rest[:i] + [[entries[0]] + rest[i]] + rest[i + 1:]


def block(m, buckets):
    """{squared norm: probability} of one block, m entries of size 1, as fractions."""
    result = {}
    for parts in partitions(list(range(m))):
        if len(parts) > buckets:
            continue
        ways = Fraction(1)
        for used in range(len(parts)):
            ways *= Fraction(buckets - used, 1)
        ways /= Fraction(buckets) ** m
        for signs in product((1, -1), repeat=m):
            q = sum(sum(signs[e] for e in part) ** 2 for part in parts)
            result[q] = result.get(q, 0) + ways / 2 ** m
    return result


def sparse_rate(m, k, factor):
    one, total = block(m, k // 8), {0: Fraction(1)}
    for _ in range(8):
        step = {}
        for q, p in total.items():
            for r, s in one.items():
                step[q + r] = step.get(q + r, 0) + p * s
        total = step
    limit = Fraction(str(factor)) ** 2 * 8 * m
    return float(sum(p for q, p in total.items() if q > limit))


def geometric_median(rows):
    def cost(point):
        return np.linalg.norm(rows - point, axis=1).sum()

    best = minimize(cost, np.median(rows, axis=0), method="Nelder-Mead",
                    options={"xatol": 1e-11, "fatol": 1e-14, "maxiter": 200000, "maxfev": 200000})
    for _ in range(3):
        best = minimize(cost, best.x, method="Nelder-Mead",
                        options={"xatol": 1e-12, "fatol": 1e-15, "maxiter": 200000, "maxfev": 200000})
    return best.x


def min_attack(rows, sums):
    mean, deviation = rows.mean(0), rows.std(0)
    distances = ((rows[:, None] - rows[None]) ** 2).sum(2)
    limit = distances.sum(1).max() if sums else distances.max()
    low, high = 0.0, 1e6
    for _ in range(200):
        gamma = (low + high) / 2
        d = ((mean - gamma * deviation - rows) ** 2).sum(1)
        low, high = (gamma, high) if (d.sum() if sums else d.max()) <= limit else (low, gamma)
    return mean - low * deviation


def main():
    rows = rng.normal(size=(N, K)) + rng.normal(size=K)
    centred = rows - rows.mean(0)
    u, s, _ = np.linalg.svd(centred, full_matrices=False)
    updates = np.float32(rows)
    honest = np.float64(updates[2:])
    out = ["/* Written by robust_vectors.py; don't edit. */", "/* clang-format off */",
           f"enum {{ VECTOR_ROWS = {N}, VECTOR_COLUMNS = {K} }};",
           "static const double vector_rows[] = " + numbers(rows) + ";",
           "static const double vector_median[] = " + numbers(geometric_median(rows)) + ";",
           "static const double vector_projection[] = " + numbers(u[:, 0] * s[0]) + ";",
           "/* mpmath: a, x, Q(a, x) */", "static const double gamma_vectors[][3] = {"]
    mpmath.mp.dps = 40
    for a, x in [(0.5, 0.1), (1, 3), (64, 40), (64, 90), (64, 300), (128, 130), (128, 166), (128, 181.27), (256, 330),
                 (512, 512), (512, 640), (512, 900)]:
        out.append("  {%r, %r, %s}," % (a, x, mpmath.nstr(mpmath.gammainc(a, x, regularized=True), 17)))
    out += ["};", "/* enumeration: k, equal entries, factor, rate */", "static const double sparse_vectors[][4] = {"]
    for k, m, factor in [(256, 1, 1.0), (256, 2, 1.19), (256, 3, 1.19), (256, 3, 1.22), (256, 4, 1.14), (128, 2, 1.3),
                         (128, 5, 1.25), (512, 3, 1.1), (1024, 4, 1.08)]:
        out.append("  {%d, %d, %r, %r}," % (k, m, factor, sparse_rate(m, k, factor)))
    out += ["};", "/* simulation: level, P(EWMA > level), standard error; P(CUSUM > level), standard error */",
            "static const double round_vectors[][5] = {"]
    paths, share, drift = 400000, 0.3, 1.3
    ewma, cusum = np.full(paths, 0.4342944819), np.zeros(paths)
    for _ in range(80):
        surprise = rng.exponential(0.4342944819, paths)
        ewma += share * (surprise - ewma)
        cusum = np.maximum(0, cusum + surprise - drift)
    for level in (0.6, 0.9, 1.1):
        p, q = (ewma > level).mean(), (cusum > level).mean()
        out.append("  {%r, %r, %r, %r, %r}," % (level, p, (p / paths) ** 0.5, q, (q / paths) ** 0.5))
    out += ["};", "/* scipy: n, attackers, z_max */", "static const double alie_vectors[][3] = {"]
    for n, f in [(20, 4), (50, 12), (10, 3), (20, 1)]:
        supporters = n // 2 + 1 - f
        out.append("  {%d, %d, %r}," % (n, f, max(0.0, float(norm.ppf((n - f - supporters) / (n - f))))))
    out += ["};", "/* numpy, from the rows above as floats, rows 0 and 1 attacking */",
            "static const double attack_mean[] = " + numbers(honest.mean(0)) + ";",
            "static const double attack_deviation[] = " + numbers(honest.std(0)) + ";",
            "static const double attack_min_max[] = " + numbers(min_attack(honest, False)) + ";",
            "static const double attack_min_sum[] = " + numbers(min_attack(honest, True)) + ";", ""]
    open("robust_vectors.h", "w").write("\n".join(out))


main()
