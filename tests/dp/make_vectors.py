#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""Writes vectors/{gdp,rdp,pld}.json: reference values for the privacy accountant.

    make_vectors.py gdp              exact Gaussian mechanism, mpmath, 60 digits
    make_vectors.py rdp              Renyi divergences of the sampled Gaussian, mpmath, 40 digits
    make_vectors.py pld --dp-accounting FOLDER
                                     Google's dp_accounting beside the true epsilon

Nothing is random and nothing comes from the C code. Needs numpy, scipy and
mpmath; `pld` also a checkout of https://github.com/google/differential-privacy,
of which FOLDER is python/dp_accounting (with attrs and absl installed).
vectors/published.json is written by hand.
"""
import argparse
import json
import pathlib
import sys

import mpmath as mp
import numpy as np
from scipy import optimize, special

OUT = pathlib.Path(__file__).resolve().parent / "vectors"
EPSILON_MOST = 50.0


def write(name, source, fields, cases, **more):
    """One case a line, so that a difference can be read."""
    head = json.dumps({"source": source, "fields": fields, **more}, indent=1)[:-2]
    lines = ",\n".join("  " + json.dumps(case) for case in cases)
    path = OUT / name
    path.write_text(f'{head},\n "cases": [\n{lines}\n ]\n}}\n')
    print(f"{path.name}: {len(cases)} cases, {path.stat().st_size} bytes")


# --- The Gaussian mechanism without sampling ---------------------------------
# Balle and Wang 2018 (arXiv 1805.06530), equation 6, with mu = Delta/sigma.

def gaussian_mu(segments):
    return mp.sqrt(mp.fsum(mp.mpf(rounds) / mp.mpf(sigma) ** 2 for sigma, rounds in segments))


def gaussian_delta(mu, epsilon):
    return mp.ncdf(mu / 2 - epsilon / mu) - mp.exp(epsilon) * mp.ncdf(-mu / 2 - epsilon / mu)


def gaussian_epsilon(mu, delta):
    """By bisection in log delta, which falls with epsilon."""
    if gaussian_delta(mu, mp.mpf(0)) <= delta:
        return mp.mpf(0)
    low, high = mp.mpf(0), mp.mpf(1)
    while gaussian_delta(mu, high) > delta:
        low, high = high, 2 * high
    while high - low > mp.mpf(10) ** -30 * high:
        middle = (low + high) / 2
        low, high = (middle, high) if gaussian_delta(mu, middle) > delta else (low, middle)
    return high


def make_gdp():
    mp.mp.dps = 60
    compositions = [[[sigma, 1]] for sigma in (0.02, 0.1, 0.3, 0.5, 0.8, 1.0, 2.0, 4.0, 8.0, 50.0, 1e4)]
    compositions += [[[0.5, 100]], [[1.0, 10]], [[1.0, 1000]], [[2.0, 500]], [[8.0, 10000]], [[100.0, 100000]],
                     [[1.0, 3], [2.0, 5]], [[0.7, 1], [1.3, 10], [5.0, 100]], [[10.0, 1], [0.4, 2]],
                     [[30.0, 1000], [20.0, 400], [3.0, 1]], [[0.1, 1], [1000.0, 1000]]]
    epsilons = (0.0, 0.001, 0.1, 1.0, 5.0, 20.0, 100.0, 400.0, 1500.0)
    cases = []
    for segments in compositions:
        mu = gaussian_mu(segments)
        base = {"segments": segments, "mu": float(mu)}
        for delta in (0.3, 1e-2, 1e-5, 1e-6, 1e-8, 1e-10):
            cases.append({**base, "direction": "epsilon", "delta": delta,
                          "epsilon": float(gaussian_epsilon(mu, mp.mpf(delta)))})
        for epsilon in epsilons:
            delta = gaussian_delta(mu, mp.mpf(epsilon))
            if delta > mp.mpf(10) ** -300:
                cases.append({**base, "direction": "delta", "epsilon": epsilon, "delta": float(delta),
                              "log_delta": float(mp.log(delta))})
    write("gdp.json", "Balle and Wang 2018 (arXiv 1805.06530), equation 6, in 60 digits of mpmath", {
        "segments": "pairs [noise multiplier, rounds]; sensitivity 1, no sampling",
        "mu": "sqrt of the sum of rounds / noise multiplier^2",
        "direction": "epsilon: the epsilon for this delta (0 if delta is reached at 0); delta: the other way round",
        "log_delta": "natural logarithm of delta"}, cases)


# --- Renyi divergence of the Poisson-sampled Gaussian ------------------------
# Mironov, Talwar and Zhang 2019 (arXiv 1908.10530), section 3:
# A_a = E over z of N(0, s^2) of (1 - q + q exp((2z-1)/(2s^2)))^a, rdp = log A_a / (a-1).

def renyi_moment(q, sigma, order, shrink):
    """The trapezoid rule over the whole line: the integrand is analytic up to
    Im z = pi s^2, so that the error falls exponentially with 1/step."""
    step = min(sigma / 5, mp.mpf("0.16") * sigma**2) / shrink
    reach = 15 * sigma
    first, last = int(mp.floor(-reach / step)), int(mp.ceil((order + reach) / step))
    total = mp.mpf(0)
    for k in range(first, last + 1):
        z = k * step
        ratio = 1 - q + q * mp.exp((2 * z - 1) / (2 * sigma**2))
        total += mp.exp(order * mp.log(ratio) - z**2 / (2 * sigma**2))
    return total * step / (sigma * mp.sqrt(2 * mp.pi))


def renyi_moment_whole(q, sigma, order):
    """The binomial sum, for whole orders."""
    return mp.fsum(mp.binomial(order, k) * q**k * (1 - q) ** (order - k) * mp.exp((k * k - k) / (2 * sigma**2))
                   for k in range(order + 1))


def renyi(q, sigma, order):
    """Two ways that must agree to 25 digits."""
    q, sigma, exact = mp.mpf(q), mp.mpf(sigma), mp.mpf(order)
    if q == 1:
        return float(exact / (2 * sigma**2))
    moment = renyi_moment(q, sigma, exact, 1)
    other = (renyi_moment_whole(q, sigma, int(order)) if order == int(order)
             else renyi_moment(q, sigma, exact, mp.mpf("1.3")))
    if abs(moment / other - 1) > mp.mpf(10) ** -25:
        raise ArithmeticError(f"quadrature at q {q}, sigma {sigma}, order {order}: {mp.nstr(moment / other - 1)}")
    return float(mp.log(moment) / (exact - 1))


def make_rdp():
    mp.mp.dps = 40
    orders = [1.01, 1.1, 1.25, 1.5, 1.9, 2, 2.5, 3, 3.7, 5, 7.3, 10.5, 16, 32.3, 64, 100.7, 128, 200.5, 256]
    cases = []
    for q in (0.001, 0.01, 0.1, 0.5, 0.9, 1.0):
        for sigma in (0.5, 0.8, 1.0, 2.0, 4.0, 8.0):
            cases.append({"sampling_rate": q, "noise_multiplier": sigma,
                          "rdp": [renyi(q, sigma, order) for order in orders]})
    write("rdp.json", "Mironov, Talwar and Zhang 2019 (arXiv 1908.10530), section 3: the integral by the trapezoid "
          "rule in 40 digits of mpmath, checked against the binomial sum (whole orders) or another step", {
              "orders": "the Renyi orders that every case is given at",
              "rdp": "Renyi divergence of one round at those orders, Poisson sampling, sensitivity 1; the larger of "
                     "the two directions of add/remove, which is mixture against N(0)"}, cases, orders=orders)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("which", choices=["gdp", "rdp", "pld"])
    parser.add_argument("--dp-accounting", metavar="FOLDER", help="python/dp_accounting of the checkout, for pld")
    options = parser.parse_args()
    OUT.mkdir(exist_ok=True)
    if options.which == "pld":
        if not options.dp_accounting:
            parser.error("pld needs --dp-accounting FOLDER")
        sys.path.insert(0, options.dp_accounting)
        make_pld()
    else:
        {"gdp": make_gdp, "rdp": make_rdp}[options.which]()


if __name__ == "__main__":
    main()
