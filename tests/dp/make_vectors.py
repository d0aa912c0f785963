#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""Writes vectors/{gdp,rdp,single,pld}.json: reference values for the privacy accountant.

    make_vectors.py gdp              exact Gaussian mechanism, mpmath, 60 digits
    make_vectors.py rdp              Renyi divergences of the sampled Gaussian, mpmath, 40 digits
    make_vectors.py single           delta of one sampled round by quadrature, mpmath, 40 digits
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


# --- One sampled round -------------------------------------------------------
# delta = integral of (P - e^eps Q)+ itself, from where the loss is eps upwards.

def single_mixture(q, sigma, sign, u):
    """Density of (1-q) N(0,1) + q N(sign/sigma,1) at u; sign 0: N(0,1)."""
    return (1 - q) * mp.npdf(u) + q * mp.npdf(u - sign / sigma)


def single_delta(q, sigma, epsilon, signs):
    """Of the pair with these two signs; the loss rises with u or, for the pair (0, 1), falls."""
    def excess(u):
        return single_mixture(q, sigma, signs[0], u) - mp.exp(epsilon) * single_mixture(q, sigma, signs[1], u)
    upwards = signs[0] > signs[1]
    low, high = mp.mpf(-60) - 2 / sigma, mp.mpf(60) + 2 / sigma
    if (excess(high) <= 0) if upwards else (excess(low) <= 0):
        return mp.mpf(0)
    for _ in range(200):
        middle = (low + high) / 2
        if (excess(middle) > 0) == upwards:
            high = middle
        else:
            low = middle
    inside = 1 if upwards else -1
    ends = [low + inside * step for step in (0, 0.05, 0.1, 0.2, 0.4, 0.7, 1, 1.5, 2, 3, 4, 6, 8, 11, 14, 18, 24, 30)]
    for centre in (0, 1 / sigma, -1 / sigma):
        ends += [centre + step for step in (-20, -14, -8, -4, 0, 4, 8, 14, 20) if (centre + step - low) * inside > 0]
    scale = single_mixture(q, sigma, signs[0], low)  # the rule's own errors are absolute
    return abs(mp.quad(lambda u: excess(u) / scale, sorted(ends), method="gauss-legendre")) * scale


def make_single():
    mp.mp.dps = 40
    cases = []
    for q in (0.0001, 0.01, 0.3, 0.95):
        for sigma in (0.3, 1.0, 5.0):
            for epsilon in (0, 1e-4, 0.02, 0.3, 2, 9, 40):
                numbers = mp.mpf(q), mp.mpf(sigma), mp.mpf(epsilon)
                removal, addition = single_delta(*numbers, (1, 0)), single_delta(*numbers, (0, 1))
                replacing = single_delta(*numbers, (1, -1))
                if removal > mp.mpf(10) ** -250:
                    cases.append({"sampling_rate": q, "noise_multiplier": sigma, "epsilon": epsilon,
                                  "delta": float(max(removal, addition)), "delta_replace": float(replacing)})
    write("single.json", "integral of (P - e^eps Q)+ by Gauss-Legendre quadrature in 40 digits of mpmath", {
        "delta": "one round, Poisson sampling, the larger of the two directions of add/remove",
        "delta_replace": "the same for replacing one unit's vector by its opposite"}, cases)


# --- The true epsilon under sampling -----------------------------------------
# No grid of losses. With K(s) = log E[exp(s L)] of one round's privacy loss L,
# (1 - e^-x)+ being the inverse Laplace transform of 1/(s (s+1)),
#   delta(eps) = 1/(2 pi i) * integral over Re s = c > 0 of exp(T K(s) - s eps) / (s (s+1)) ds.
# c is the saddle point; both integrals (over z inside K, over Im s) use the
# trapezoid rule, whose error falls exponentially with 1/step.

class Loss:
    """One round; direction +1 removes a record: mixture against N(0), -1 adds one."""

    def __init__(self, q, sigma, direction):
        self.q, self.sigma, self.direction = q, sigma, direction
        self.cache = {}

    def ratio_log(self, z):
        x = (2 * z - 1) / (2 * self.sigma**2)
        return np.logaddexp(np.log1p(-self.q), np.log(self.q) + x) if self.q < 1 else x

    def nodes(self, c, t):
        """z, loss and log weight such that E exp(s L) = sum exp(log weight + s loss) for Re s = c, |Im s| <= t."""
        power = 1 if self.direction > 0 else 0
        exponent = c + 1 if self.direction > 0 else -c

        def height(z):
            return exponent * self.ratio_log(z) - z**2 / (2 * self.sigma**2)

        turn = self.sigma**2 * (np.log(1 / self.q - 1) if self.q < 1 else 0)
        coarse = np.sort(np.concatenate([
            np.linspace(0, exponent, 2001), *(middle + reach * np.linspace(-1, 1, 801) for middle, reach in (
                (0, 20 * self.sigma), (exponent, 20 * self.sigma), (turn, 10 * self.sigma**2)))]))
        heights = height(coarse)
        kept = coarse[heights > heights.max() - 46]
        angle = min(2.0, np.sqrt(80 / (abs(c) + 1)))
        step = 2 * np.pi * self.sigma**2 / (t + 55 / angle + 10 * self.sigma)
        z = np.arange(np.floor(kept[0] / step) - 1, np.ceil(kept[-1] / step) + 2) * step
        log = self.ratio_log(z)
        weight = power * log - z**2 / (2 * self.sigma**2) + np.log(step / (self.sigma * np.sqrt(2 * np.pi)))
        return self.direction * log, weight

    def cumulants(self, c):
        """K, K', K'' at real c."""
        if c not in self.cache:
            loss, weight = self.nodes(c, 0.0)
            log = weight + c * loss
            total = special.logsumexp(log)
            p = np.exp(log - total)
            mean = p @ loss
            self.cache[c] = total, mean, p @ (loss - mean) ** 2
        return self.cache[c]

    def transform(self, c, step, count):
        """E exp(s L) / E exp(c L) at s = c + i k step, k < count; count * nodes is the work."""
        loss, weight = self.nodes(c, step * count)
        tilted = np.exp(weight + c * loss - self.cumulants(c)[0])
        spin, result = np.exp(1j * step * loss), np.empty(count, complex)
        for first in range(0, count, 64):
            turned = tilted * np.exp(1j * (step * first) * loss)
            for k in range(first, min(first + 64, count)):
                result[k] = turned.sum()
                turned *= spin
        return result


class Composition:
    """delta(epsilon) of `rounds` rounds, for deltas near the given one. `shift` moves the line of integration off
    the saddle point and `smooth` (in units of 1/c) the smoothing: two settings that agree check each other.

    If the transform falls too slowly, epsilon is blurred by N(0, w^2), which multiplies it by exp(w^2 s^2 / 2); the
    errors in w^2, w^4 and w^6 are then removed with w^2, w^2/2, w^2/4 and w^2/8 (Richardson)."""

    DIGITS = 36.0

    def __init__(self, loss, rounds, delta, shift=1.0, smooth=0.1, work=3e8):
        self.loss, self.rounds, self.work = loss, rounds, work
        c = self.saddle(np.log(delta))
        self.centre = rounds * loss.cumulants(c)[1] - 1 / c - 1 / (c + 1)
        c = self.c = shift * c
        self.total = rounds * loss.cumulants(c)[0]
        self.blurs, step = [0.0], 2 * np.pi / self.period(np.log(delta))
        count = self.count(step, 0.0)
        if count is None:
            blur = (smooth / c) ** 2
            self.blurs = [blur, blur / 2, blur / 4, blur / 8]
            count = self.count(step, blur / 8)
        if count is None:
            raise ArithmeticError("too slow a fall of the transform")
        self.s = c + 1j * step * np.arange(count)
        factor = loss.transform(c, step, count)
        with np.errstate(divide="ignore"):
            self.kernel = rounds * np.log(factor) - np.log(self.s * (self.s + 1))
        self.kernel[0] -= np.log(2)
        self.scale = step / np.pi

    def saddle(self, log_delta):
        """c at which the saddle-point estimate of log delta meets the target."""
        def excess(log_c):
            c = np.exp(log_c)
            total, mean, variance = self.loss.cumulants(c)
            epsilon = self.rounds * mean - 1 / c - 1 / (c + 1)
            curve = self.rounds * variance + 1 / c**2 + 1 / (c + 1) ** 2
            return self.rounds * total - c * epsilon - np.log(c * (c + 1)) - np.log(2 * np.pi * curve) / 2 - log_delta
        high = np.log(1e-3)
        while excess(high) > 0:
            high += 0.7
        return float(np.exp(optimize.brentq(excess, high - 0.7, high, xtol=1e-2)))

    def period(self, log_delta):
        """The trapezoid rule repeats exp(c eps) delta(eps) at this distance; the neighbours must not be seen."""
        left = (self.DIGITS - log_delta) / self.c
        right = min((self.rounds * self.loss.cumulants(c)[0] - c * self.centre - log_delta + self.DIGITS) / (c - self.c)
                    for c in self.c * np.geomspace(1.05, 50, 40))
        return max(left, right)

    def count(self, step, blur):
        """Nodes until the integrand is below exp(-DIGITS) of its start, None if that is too much work."""
        end, t = 0.0, 0.3 * self.c
        while t < 1e9:
            z, weight = self.loss.nodes(self.c, t)
            if len(z) * t / step > self.work:
                return None
            tilted = np.exp(weight + self.c * z - self.loss.cumulants(self.c)[0])
            size = abs(np.sum(tilted * np.exp(1j * t * z))) + 1e-300
            log = self.rounds * np.log(size) - 2 * np.log(t / self.c) - blur * t * t / 2 + np.log(t / step)
            if log > -self.DIGITS + 3:
                end = t
            elif t > 2 * end and t > 3 * self.c:
                return int(1.5 * end / step) + 2
            if blur * t * t / 2 > self.DIGITS + 5:
                return int(t / step) + 2
            t *= 1.15
        return None

    def log_delta(self, epsilon):
        values = []
        for blur in self.blurs:
            terms = np.exp(self.kernel + self.s**2 * blur / 2 - 1j * self.s.imag * epsilon)
            values.append(terms.real.sum() * self.scale)
        while len(values) > 1:
            power = 2.0 ** (len(self.blurs) - len(values) + 1)
            values = [(power * b - a) / (power - 1) for a, b in zip(values, values[1:])]
        return self.total - self.c * epsilon + np.log(max(values[0], 1e-300))

    def epsilon(self, delta):
        """0 if delta is met there already."""
        target = np.log(delta)
        if self.log_delta(0.0) <= target:
            return 0.0
        high = max(self.centre, 1e-9)
        while self.log_delta(high) > target:
            high *= 1.5
        return float(optimize.brentq(lambda e: self.log_delta(e) - target, 0.0, high, xtol=1e-14, rtol=1e-13))


def epsilon_most(loss, rounds, delta):
    """Chernoff's bound: (1 - e^-x)+ <= max over x of (1 - e^-x) e^-cx, times e^cx."""
    best = np.inf
    for c in np.geomspace(0.05, 1e5, 60):
        bound = rounds * loss.cumulants(c)[0] + c * np.log(c) - (c + 1) * np.log1p(c) - np.log(delta)
        best = min(best, bound / c)
        if bound / c > 2 * best + 1:
            break
    return best


def twice(loss, rounds, delta):
    """(epsilon, difference) of two settings, with less smoothing while they differ by more than 1e-9 of it."""
    best = np.inf, np.inf
    for smooth, work in ((0.1, 3e8), (0.03, 1e9), (0.01, 4e9)):
        found = []
        for shift, part in ((1.0, 1.0), (0.9, 0.7), (0.8, 0.8), (0.7, 1.0), (0.6, 1.0)):
            try:
                found.append(Composition(loss, rounds, delta, shift, part * smooth, work).epsilon(delta))
            except ArithmeticError:
                continue
            if len(found) == 2:
                break
        if len(found) == 2 and abs(found[0] - found[1]) < best[1]:
            best = found[0], abs(found[0] - found[1])
        if best[1] < 1e-9 * best[0]:
            break
    if best[1] > 1e-3 * best[0]:
        raise ArithmeticError(f"no epsilon for q {loss.q}, sigma {loss.sigma}, rounds {rounds}, delta {delta}")
    return best


def one_round_epsilon(q, sigma, delta):
    """Closed form: removing, delta = q d_G(log(1 + (e^eps - 1)/q)); adding must not ask for more:
    delta = c d_G(log(e^eps q/c)) with c = 1 - e^eps (1 - q), d_G the Gaussian's own delta."""
    mu, rate = 1 / mp.mpf(sigma), mp.mpf(q)
    if delta >= rate * gaussian_delta(mu, mp.mpf(0)):
        return 0.0
    epsilon = mp.log1p(rate * mp.expm1(gaussian_epsilon(mu, mp.mpf(delta) / rate)))
    part = 1 - mp.exp(epsilon) * (1 - rate)
    if part > 0 and part * gaussian_delta(mu, epsilon + mp.log(rate / part)) > delta:
        raise ArithmeticError(f"adding costs more at q {q}, sigma {sigma}, delta {delta}")
    return float(epsilon)


def true_epsilon(q, sigma, rounds, delta, losses):
    """(epsilon, error) of add/remove, the larger of both directions."""
    if q == 1:
        epsilon = float(gaussian_epsilon(gaussian_mu([[sigma, rounds]]), mp.mpf(delta)))
        return epsilon, 1e-15 * epsilon
    if rounds == 1:
        epsilon = one_round_epsilon(q, sigma, delta)
        return epsilon, 1e-15 * epsilon
    remove, add = losses
    epsilon, error = twice(remove, rounds, delta)
    if epsilon_most(add, rounds, delta) > epsilon:
        other, other_error = twice(add, rounds, delta)
        epsilon, error = max(epsilon, other), max(error, other_error)
    return epsilon, error


# --- dp_accounting beside it -------------------------------------------------

RATES = (0.001, 0.01, 0.1, 0.5, 1.0)
NOISES = (0.5, 0.8, 1.0, 2.0, 4.0, 8.0)
ROUNDS = (1, 10, 100, 1000, 10000)
DELTAS = (1e-5, 1e-6, 1e-8)
# Beyond EPSILON_MOST; the last three are above 745, where e^-loss underflows.
LARGE = ((0.1, 1.0, 10000), (0.5, 2.0, 10000), (1.0, 0.5, 100), (1.0, 4.0, 10000), (0.1, 0.5, 10000), (0.5, 0.5, 1000),
         (1.0, 0.8, 1000))


def their_interval(module, q, sigma, rounds, deltas):
    """[lower], [upper] at dp_accounting's own value discretisation (1e-4)."""
    both = []
    for pessimistic in (False, True):
        one = module.from_gaussian_mechanism(sigma, sampling_prob=q, pessimistic_estimate=pessimistic,
                                             use_connect_dots=pessimistic)
        composed = one.self_compose(rounds)
        both.append([composed.get_epsilon_for_delta(delta) for delta in deltas])
    return both


def rounded(number, digits):
    return float(f"{number:.{digits}g}")


def pld_cases(module, q, sigma, losses):
    for rounds in ROUNDS:
        truths = {delta: true_epsilon(q, sigma, rounds, delta, losses) for delta in DELTAS}
        wanted = [d for d in DELTAS if truths[d][0] <= EPSILON_MOST or (q, sigma, rounds) in LARGE]
        if not wanted:
            continue
        lower, upper = their_interval(module, q, sigma, rounds, wanted)
        for delta, low, high in zip(wanted, lower, upper):
            epsilon, error = truths[delta]
            note = "" if low <= epsilon <= high else "  outside theirs"
            print(f"{q:6} {sigma:4} {rounds:6} {delta:6}  {low:.9g} {epsilon:.9g} {high:.9g}{note}", flush=True)
            yield {"sampling_rate": q, "noise_multiplier": sigma, "rounds": rounds, "delta": delta,
                   "relation": "add-remove", "epsilon_true": rounded(epsilon, 15),
                   "epsilon_true_error": rounded(max(error, 1e-13 * epsilon), 2),
                   "epsilon_lower": rounded(low, 12), "epsilon_upper": rounded(high, 12)}


def make_pld():
    from dp_accounting.pld import privacy_loss_distribution as module
    mp.mp.dps = 40
    cases = []
    for q in RATES:
        for sigma in NOISES:
            cases += pld_cases(module, q, sigma, (Loss(q, sigma, 1), Loss(q, sigma, -1)))
    write("pld.json", "epsilon_true: closed forms for sampling rate 1 and for one round; otherwise the contour "
          "integral of the privacy curve (Alghamdi et al. 2022, arXiv 2208.09595), without a grid of losses. "
          "epsilon_lower, epsilon_upper: Google's dp_accounting 0.6.0, privacy loss distribution", {
              "relation": "add-remove: one record more or less; Poisson sampling, sensitivity 1",
              "epsilon_true": "the epsilon of the exact privacy curve, the larger of the two directions",
              "epsilon_true_error": "its absolute error: the difference of two computations",
              "epsilon_lower": "dp_accounting, optimistic, value discretisation 1e-4",
              "epsilon_upper": "dp_accounting, pessimistic (connect the dots), value discretisation 1e-4; up to 1 too "
                               "large above 745, where its sum of e^-loss underflows, and up to 6e-6 under the truth "
                               "in a few cases of delta 1e-8, from the rounding of its Fourier transform"}, cases)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("which", choices=["gdp", "rdp", "single", "pld"])
    parser.add_argument("--dp-accounting", metavar="FOLDER", help="python/dp_accounting of the checkout, for pld")
    options = parser.parse_args()
    OUT.mkdir(exist_ok=True)
    if options.which == "pld":
        if not options.dp_accounting:
            parser.error("pld needs --dp-accounting FOLDER")
        sys.path.insert(0, options.dp_accounting)
        make_pld()
    else:
        {"gdp": make_gdp, "rdp": make_rdp, "single": make_single}[options.which]()


if __name__ == "__main__":
    main()
