# SPDX-License-Identifier: Apache-2.0
"""What the tests of `consilium robust` share: calls, and rules in the plainest Python."""

import itertools
import json
import math
import random
import statistics

import program
from program import USAGE

SEED = 7
NAN, INF = math.nan, math.inf


def robust(*arguments, **options):
    return program.run("robust", *map(str, arguments), **options)


def robust_json(*arguments):
    return json.loads(robust(*arguments, "--json"))


def refused(*arguments, says, expect=USAGE):
    robust(*arguments, expect=expect, says=says)


def matrix(n, d, seed=SEED):
    draw = random.Random(seed)
    return [[draw.gauss(k % 3, 1) for k in range(d)] for _ in range(n)]


def columns(rows):
    return [list(column) for column in zip(*rows)]


def mean(rows, weights=None):
    weights = weights or [1] * len(rows)
    return [sum(w * x for w, x in zip(weights, column)) / sum(weights) for column in columns(rows)]


def distance(a, b):
    return math.dist(a, b)


def near(found, wanted, tolerance=1e-5):
    assert len(found) == len(wanted), (len(found), len(wanted))
    for a, b in zip(found, wanted):
        assert abs(a - b) <= tolerance * (1 + abs(b)), (a, b)


# ---- plain rules ----

def median(rows, f):
    return [statistics.median(column) for column in columns(rows)]


def trimmed_mean(rows, f):
    return [statistics.fmean(sorted(column)[f:len(rows) - f]) for column in columns(rows)]


def krum_scores(rows, f):
    scores = []
    for a in rows:
        gaps = sorted(distance(a, b) ** 2 for b in rows)
        scores.append(sum(gaps[1:len(rows) - f - 1]))  # its own, 0, is the first
    return scores


def krum(rows, f):
    scores = krum_scores(rows, f)
    return rows[scores.index(min(scores))]


def multi_krum(rows, f):
    scores = krum_scores(rows, f)
    return mean([rows[i] for i in sorted(range(len(rows)), key=scores.__getitem__)[:len(rows) - f]])


def mda(rows, f):
    def diameter(chosen):
        return max(distance(a, b) for a, b in itertools.combinations(chosen, 2))
    return mean(min(itertools.combinations(rows, len(rows) - f), key=diameter))


def nnm(rows, f):
    return [mean(sorted(rows, key=lambda other: distance(row, other))[:len(rows) - f]) for row in rows]


def clipping(rows, norm):
    return [[x * min(1, norm / math.hypot(*row)) for x in row] for row in rows]


RULES = {"mean": lambda rows, f: mean(rows), "median": median, "trimmed-mean": trimmed_mean, "krum": krum,
         "multi-krum": multi_krum, "mda": mda}
