#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""The privacy accountant beside Google's dp_accounting and the true epsilon.

    benchmarks/dp_compare.py build/consilium DP_ACCOUNTING_FOLDER [--few] [--repeat N] [--json FILE]

Runs `consilium dp epsilon ... --accountant pld --json` and dp_accounting's
privacy loss distribution on every case of tests/dp/vectors/pld.json in one
run, one after the other, and prints for each case both intervals, the ratio of
the upper bounds, the widths and the times.

Times: ours is what the program reports in "seconds", one call for one delta
and both bounds (the start of the process is listed beside it); theirs is the
pessimistic distribution alone, built, composed and asked for one delta, within
a running Python. Their optimistic bound costs extra time, which is given in a
column of its own and left out of the ratio.

DP_ACCOUNTING_FOLDER is python/dp_accounting of a checkout of
https://github.com/google/differential-privacy (needs numpy, scipy, attrs, absl).
Exit code 0 if the conditions at its end hold.
"""
import argparse
import json
import pathlib
import statistics
import subprocess
import sys
import time

VECTORS = pathlib.Path(__file__).resolve().parent.parent / "tests" / "dp" / "vectors" / "pld.json"
EXCESS_SAMPLED, EXCESS_WHOLE, SPEED = 0.01, 0.001, 10.0
# The library's own double arithmetic: an upper bound may print this much under a truth known to more digits.
ROUNDING = 1e-9
WIDE = 745.0


def load_theirs(folder):
    if not (pathlib.Path(folder) / "dp_accounting" / "pld" / "privacy_loss_distribution.py").is_file():
        sys.exit(f"dp_compare: {folder} has no dp_accounting/pld/privacy_loss_distribution.py; give the folder "
                 "python/dp_accounting of a checkout of https://github.com/google/differential-privacy")
    sys.path.insert(0, folder)
    try:
        from dp_accounting.pld import privacy_loss_distribution
    except ImportError as error:
        sys.exit(f"dp_compare: dp_accounting needs {error.name}: on Debian, apt install python3-numpy python3-scipy "
                 "python3-attr python3-absl and run this with /usr/bin/python3")
    return privacy_loss_distribution


def ours(program, case):
    """(lower, upper, seconds as the program says, seconds of the process)."""
    command = [program, "dp", "epsilon", "--noise-multiplier", repr(case["noise_multiplier"]), "--sampling-rate",
               repr(case["sampling_rate"]), "--rounds", str(case["rounds"]), "--delta", repr(case["delta"]),
               "--accountant", "pld", "--json"]
    start = time.perf_counter()
    done = subprocess.run(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    passed = time.perf_counter() - start
    if done.returncode != 0:
        sys.exit(f"dp_compare: {' '.join(command)} ended with {done.returncode}: {done.stderr.strip()}")
    answer = json.loads(done.stdout)
    return answer["epsilon_lower"], answer["epsilon"], answer["seconds"], passed


def theirs(module, case, pessimistic):
    """(epsilon, seconds) at its default value discretisation, 1e-4."""
    start = time.perf_counter()
    one = module.from_gaussian_mechanism(case["noise_multiplier"], sampling_prob=case["sampling_rate"],
                                         pessimistic_estimate=pessimistic, use_connect_dots=pessimistic)
    epsilon = one.self_compose(case["rounds"]).get_epsilon_for_delta(case["delta"])
    return epsilon, time.perf_counter() - start


def measure(program, module, case, repeat):
    """Our fastest and their fastest of `repeat` runs."""
    runs = [ours(program, case) for _ in range(repeat)]
    lower, upper, _, _ = runs[0]
    high = [theirs(module, case, True) for _ in range(repeat)]
    low = [theirs(module, case, False) for _ in range(repeat)]
    return {**case, "lower": lower, "upper": upper, "seconds": min(run[2] for run in runs),
            "process_seconds": min(run[3] for run in runs), "their_lower": low[0][0], "their_upper": high[0][0],
            "their_seconds": min(run[1] for run in high), "their_lower_seconds": min(run[1] for run in low)}


def excess(row):
    """How far our upper bound lies above theirs; above 745 theirs is wrong and the truth takes its place."""
    other = row["epsilon_true"] if row["epsilon_true"] > WIDE else row["their_upper"]
    return row["upper"] / other - 1 if other > 0 else (0.0 if row["upper"] <= 0 else float("inf"))


def slack(row):
    return row["epsilon_true_error"] + ROUNDING * max(row["epsilon_true"], 1e-3)


def speed(row):
    return row["their_seconds"] / max(row["seconds"], 1e-7)


def line(row):
    bad = "" if row["upper"] >= row["epsilon_true"] - slack(row) else "  BELOW"
    bad += "" if row["lower"] <= row["epsilon_true"] + slack(row) else "  LOWER ABOVE"
    return (f"{row['sampling_rate']:6g} {row['noise_multiplier']:4g} {row['rounds']:6} {row['delta']:6g}  "
            f"[{row['lower']:.7g}, {row['upper']:.7g}]  {row['epsilon_true']:.7g}  "
            f"[{row['their_lower']:.7g}, {row['their_upper']:.7g}]  {excess(row):+.1e}  "
            f"{row['upper'] - row['lower']:.1e} {row['their_upper'] - row['their_lower']:.1e}  "
            f"{row['seconds']:.4f} ({row['process_seconds']:.3f}) {row['their_seconds']:.3f} "
            f"(+{row['their_lower_seconds']:.2f})  {speed(row):.0f}x{bad}")


def conditions(rows):
    below = [row for row in rows if row["upper"] < row["epsilon_true"] - slack(row)]
    above = [row for row in rows if row["lower"] > row["epsilon_true"] + slack(row)]
    wider = [row for row in rows
             if row["upper"] - row["lower"] > row["their_upper"] - row["their_lower"] + slack(row)
             and row["epsilon_true"] <= WIDE]
    result = [(not below, f"{len(below)} upper bounds below the truth"),
              (not above, f"{len(above)} lower bounds above the truth"),
              (not wider, f"{len(wider)} intervals wider than theirs")]
    for name, most, part in (("with sampling", EXCESS_SAMPLED, [row for row in rows if row["sampling_rate"] < 1]),
                             ("without sampling", EXCESS_WHOLE, [row for row in rows if row["sampling_rate"] == 1])):
        if part:
            worst = max(excess(row) for row in part)
            result.append((worst <= most, f"{name} at most {worst:+.2e} above their upper bound (limit {most})"))
    whole = sum(row["their_seconds"] for row in rows) / sum(max(row["seconds"], 1e-7) for row in rows)
    result.append((whole >= SPEED, f"{whole:.0f} times faster over the whole grid (at least {SPEED:.0f}); median "
                   f"{statistics.median(map(speed, rows)):.0f}, least {min(map(speed, rows)):.1f}"))
    return result


def width(row, whose):
    return (row[whose + "upper"] - row[whose + "lower"]) / max(row["epsilon_true"], 1e-9)


def summary(rows):
    def median(key):
        return statistics.median(row[key] for row in rows)
    whole = sum(row["their_seconds"] for row in rows) / sum(row["process_seconds"] for row in rows)
    print(f"\n{len(rows)} cases; median seconds: ours {median('seconds'):.5f} (process "
          f"{median('process_seconds'):.4f}), theirs {median('their_seconds'):.3f} (optimistic bound "
          f"+{median('their_lower_seconds'):.3f}); the start of our process included {whole:.0f} times faster over "
          f"the grid\nmedian relative width: ours {statistics.median(width(row, '') for row in rows):.1e}, theirs "
          f"{statistics.median(width(row, 'their_') for row in rows):.1e}")
    checks = conditions(rows)
    for good, sentence in checks:
        print(f"{'holds' if good else 'FAILS'}: {sentence}")
    return all(good for good, _ in checks)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("program", help="the consilium program")
    parser.add_argument("folder", help="python/dp_accounting of the checkout")
    parser.add_argument("--few", action="store_true", help="every tenth case only")
    parser.add_argument("--repeat", type=int, default=1, help="runs of each, of which the fastest counts")
    parser.add_argument("--json", metavar="FILE", help="write the rows there too")
    options = parser.parse_args()
    module = load_theirs(options.folder)
    cases = json.loads(VECTORS.read_text())["cases"]
    print("  rate noise rounds  delta  ours [lower, upper]  truth  theirs [lower, upper]  excess  "
          "widths ours theirs  seconds ours (process) theirs (+ optimistic)  speed", flush=True)
    rows = []
    for case in cases[::10] if options.few else cases:
        rows.append(measure(options.program, module, case, max(options.repeat, 1)))
        print(line(rows[-1]), flush=True)
    if options.json:
        pathlib.Path(options.json).write_text(json.dumps(rows, indent=1) + "\n")
    return 0 if summary(rows) else 1


if __name__ == "__main__":
    sys.exit(main())
