#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Writes discrete_gaussian_vectors.h with mpmath at 120 digits:

    mass(m) = round(2^127 * P(|X| = m)),  P(X = x) = e^(-x^2/(2 sigma^2)) / sum over all integers y of e^(-y^2/(2 sigma^2))

for m = 0, 1, .. as far as it isn't 0, where sigma is the double that is written, taken as it
is; and the variances sum x^2 P(X = x)."""
from mpmath import exp, mp, mpf, nint

mp.dps = 120
SIGMAS = [0.25, 0.5, 1.0, 3.0, 7.3, 15.9, 18.0]


def weights(sigma):
    s = mpf(sigma)
    return [exp(-mpf(m) ** 2 / (2 * s * s)) for m in range(int(40 * sigma) + 20)]


def main():
    out = ["/* Written by discrete_gaussian_vectors.py, which has the formula; don't edit. */", "/* clang-format off */",
           "static const struct { double sigma, variance; size_t count; uint64_t masses[256][2]; } table_vectors[] = {"]
    for sigma in SIGMAS:
        w = weights(sigma)
        total = w[0] + 2 * sum(w[1:])
        variance = 2 * sum(m * m * x for m, x in enumerate(w)) / total
        masses = [int(nint(2**127 * x * (2 if m else 1) / total)) for m, x in enumerate(w)]
        masses = [m for m in masses if m > 0]
        out.append(f"  {{{sigma.hex()}, {float(variance)!r}, {len(masses)}, {{")
        out += [f"    {{0x{m >> 64:x}u, 0x{m & (2**64 - 1):x}u}}," for m in masses]
        out.append("  }},")
    out.append("};")
    print("\n".join(out))


if __name__ == "__main__":
    main()
