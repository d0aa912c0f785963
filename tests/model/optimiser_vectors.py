#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Writes optimiser_vectors.h: what the server optimisers make of a series of mean
updates, after Reddi et al. 2021 (arXiv 2003.00295), Algorithm 2, and Hsu, Qi, Brown 2019
(arXiv 1909.06335), section 4.3, written down from the papers and independent of the C code.
Once in decimal arithmetic of 60 digits, and once in double with model and state
rounded to float after each round."""
import decimal
import math
import random
import struct

decimal.getcontext().prec = 60
D = decimal.Decimal
rng = random.Random(20030295)
DIM, ROUNDS = 6, 12

# kind, server's learning rate (eta), beta1, beta2, tau
CASES = [("FEDAVG", 1, 0, 0, 0), ("FEDAVG", 0.7, 0, 0, 0), ("FEDAVGM", 1, 0.9, 0, 0), ("FEDAVGM", 0.1, 0.5, 0, 0),
         ("FEDADAM", 0.1, 0.9, 0.99, 1e-3), ("FEDADAM", 0.03, 0, 0.5, 1e-1), ("FEDYOGI", 0.1, 0.9, 0.99, 1e-3),
         ("FEDYOGI", 0.01, 0.8, 0.3, 1e-5), ("FEDADAGRAD", 0.1, 0, 0, 1e-2), ("FEDADAGRAD", 0.3, 0.9, 0, 1e-4)]


def f32(x):
    return struct.unpack("<f", struct.pack("<f", x))[0]


def sign(x):
    return (x > 0) - (x < 0)


def algorithm_2(kind, eta, beta1, beta2, tau, x, deltas, root, rounded):
    """One coordinate; the model after each round. All numbers of one type."""
    one = type(x)(1)
    m, v = type(x)(0), rounded(tau * tau)
    for delta in deltas:
        if kind == "FEDAVG":
            x = rounded(x + eta * delta)
        elif kind == "FEDAVGM":
            momentum = beta1 * m + delta
            x, m = rounded(x + eta * momentum), rounded(momentum)
        else:
            m_t = beta1 * m + (one - beta1) * delta
            square = delta * delta
            if kind == "FEDADAGRAD":
                v_t = v + square
            elif kind == "FEDYOGI":
                v_t = v - (one - beta2) * square * sign(v - square)
            else:
                v_t = beta2 * v + (one - beta2) * square
            x, m, v = rounded(x + eta * m_t / (root(v_t) + tau)), rounded(m_t), rounded(v_t)
        yield x


def main():
    start = [f32(rng.uniform(-1, 1)) for _ in range(DIM)]
    deltas = [[f32(rng.gauss(0, 10.0**-k)) for k in range(DIM)] for _ in range(ROUNDS)]
    deltas[3] = [0.0] * DIM  # Yogi's sign(v - D^2) of any size, and D = 0
    out = ["/* Written by optimiser_vectors.py; don't edit. */", "/* clang-format off */",
           f"enum {{ OPTIMISER_DIM = {DIM}, OPTIMISER_ROUNDS = {ROUNDS} }};",
           "static const float optimiser_start[OPTIMISER_DIM] = {%s};" % ", ".join(v.hex() + "f" for v in start),
           "static const float optimiser_updates[OPTIMISER_ROUNDS][OPTIMISER_DIM] = {"]
    out += ["  {%s}," % ", ".join(v.hex() + "f" for v in row) for row in deltas]
    out += ["};", "static const struct { enum cns_server_optimiser_kind kind; double learning_rate, beta1, beta2, tau;",
            "  double exact[OPTIMISER_ROUNDS][OPTIMISER_DIM]; float single[OPTIMISER_ROUNDS][OPTIMISER_DIM]; }",
            "  optimiser_vectors[] = {"]
    for kind, *numbers in CASES:
        exact, single = [], []
        for k in range(DIM):
            column = [row[k] for row in deltas]
            exact.append(list(algorithm_2(kind, *[D(n) for n in numbers], D(start[k]), [D(d) for d in column],
                                          lambda v: v.sqrt(), lambda v: v)))
            single.append(list(algorithm_2(kind, *[float(n) for n in numbers], start[k], column,
                                           math.sqrt, f32)))
        out.append("  {CNS_SERVER_%s, %s, {" % (kind, ", ".join(float(n).hex() for n in numbers)))
        out += ["   {%s}," % ", ".join(float(column[t]).hex() for column in exact) for t in range(ROUNDS)]
        out.append("  }, {")
        out += ["   {%s}," % ", ".join(column[t].hex() + "f" for column in single) for t in range(ROUNDS)]
        out.append("  }},")
    out += ["};", ""]
    open("optimiser_vectors.h", "w").write("\n".join(out))


main()
