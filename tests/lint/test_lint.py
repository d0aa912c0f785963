#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""The tree keeps to its rules, and the checks find what breaks them. Speaks TAP."""
import contextlib
import io
import json
import os
import sys
import tempfile
from pathlib import Path

import includes
import style
import summary

ROOT = Path(os.environ.get("CNS_SOURCE_ROOT", Path(__file__).resolve().parents[2]))


def table():
    return includes.read_table((ROOT / "docs/architecture.md").read_text())


def includes_of_the_tree():
    return includes.check_tree(ROOT)


def style_of_the_tree():
    return style.check_tree(ROOT)


def caught(path, text, expected):
    found = list(includes.check_file(path, text, *table()))
    return [] if len(found) == expected else [f"{path}: {expected} expected of {text!r}, found {found}"]


def forbidden_includes_are_caught():
    return (
        caught("coordinator/x.c", '#include "client/agent.h"\n', 1)
        + caught("client/x.c", '#include "coordinator/daemon.h"\n', 1)
        + caught("crypto/x.c", '#include "protocol/round.h"\n', 1)
        + caught("protocol/x.c", '#include "net/link.h"\n', 1)
        + caught("dp/x.c", '#include "model/table.h"\n', 1)
        + caught("protocol/x.c", "#include <nng/nng.h>\n#include <sqlite3.h>\n#include <uv.h>\n", 3)
        + caught("coordinator/x.c", "  #  include <nng/nng.h>\n#include <sqlite3.h>\n", 2)
        + caught("store/x.c", '#include "journal.h"\n', 1)
        + caught("store/x.c", '#include "elsewhere/journal.h"\n', 1)
        + caught("model/x.c", '#include "crypto/shamir.h"\n', 1)
    )


def allowed_includes_pass():
    return (
        caught("crypto/x.c", "#include <sodium.h>\n#include <openssl/evp.h>\n#include <cjson/cJSON.h>\n", 0)
        + caught("model/x.c", '#include "crypto/base.h"\n#include "dp/clip.h"\n', 0)
        + caught("store/x.c", '#include <sqlite3.h>\n#include "protocol/roster.h"\n#include "crypto/seal.h"\n', 0)
        + caught("net/x.c", "#include <nng/nng.h>\n#include <uv.h>\n#include <openssl/ssl.h>\n", 0)
        + caught("coordinator/x.c", '#include "store/journal.h"\n#include "model/fedavg.h"\n#include <uv.h>\n', 0)
        + caught("cli/x.c", '#include "coordinator/daemon.h"\n#include "client/agent.h"\n', 0)
    )


def expect_style(path, text, expected):
    found = list(style.check_text(path, text))
    return [] if len(found) == expected else [f"{path}: {expected} expected, found {found}"]


def style_mistakes_are_caught():
    spdx = "/* SPDX-License-Identifier: Apache-2.0 */\n"
    body = "static int f(int a,\n             int b) {\n" + "  a++;\n" * 67 + "%s  return a;\n}\n"
    table_text = "static const int t[] = {\n" + "    1,\n" * 90 + "};\n"
    return (
        expect_style("a/x.c", spdx + body % "", 1)
        + expect_style("a/x.c", spdx + (body % "").replace("  a++;\n", "", 2), 0)
        + expect_style("a/x.c", spdx + table_text, 0)
        + expect_style("a/x.c", spdx + "int a;\n" * 500, 1)
        + expect_style("a/x.c", "int a;\n", 1)
        + expect_style("a/x.c", spdx + "  if (!root) skip();\n", 1)
        + expect_style("a/x.c", spdx + "/* " + style.WORDS[0] + ": later */\n", 1)
        + expect_style("README.md", "See /home/" + "somebody/notes.\n", 1)
        + expect_style("README.md", "See `DIR/hospitals/a`, http://x/root/y, prefix/home/a.\n", 0)
        + expect_style("a/x.py", "#!/usr/bin/env python3\n# SPDX-License-Identifier: Apache-2.0\nx = 1 \n", 1)
    )


def run_summary(programs, suites, *arguments):
    with tempfile.TemporaryDirectory() as folder:
        logs = Path(folder) / "build" / "meson-logs"
        logs.mkdir(parents=True)
        (logs / "testlog.json").write_text(
            "".join(json.dumps({"name": f"consilium:x / {name}", "result": result}) + "\n" for name, result in programs))
        (logs / "testlog.junit.xml").write_text(f"<testsuites>{suites}</testsuites>")
        with contextlib.redirect_stdout(io.StringIO()) as printed:
            code = summary.main(["--run", str(logs), *arguments])
    return code, printed.getvalue().strip().splitlines()[-1]


def expect_summary(expected, *arguments):
    found = run_summary(*arguments)
    return [] if found == expected else [f"expected {expected}, found {found}"]


def results_are_counted():
    case = '<testcase name="{}" classname="{}">{}</testcase>'
    tap = '<testsuite name="consilium.consilium:x / a">' + case.format("1", "consilium.a", "") + "{}</testsuite>"
    bad = case.format("2", "consilium.a", "<failure/>")
    skip = case.format("2", "consilium.a", "<skipped/>")
    single = '<testsuite name="consilium">' + case.format("b", "consilium", "") + "</testsuite>"
    return (
        expect_summary((0, "1 passed, 0 failed"), [("a", "OK")], tap.format(""))
        + expect_summary((1, "1 passed, 1 failed"), [("a", "FAIL")], tap.format(bad))
        + expect_summary((0, "1 passed, 0 failed, 1 skipped"), [("a", "OK")], tap.format(skip))
        + expect_summary((1, "1 passed, 1 failed"), [("a", "ERROR")], tap.format(""))  # died after its last subtest
        + expect_summary((1, "1 passed, 1 failed"), [("a", "OK"), ("b", "TIMEOUT")], tap.format("") + single)
        + expect_summary((0, "3 passed, 0 failed"), [("a", "OK"), ("b", "OK")], tap.format("") + single, "--passed", "x")
        + expect_summary((1, "1 passed, 1 failed"), [("a", "OK")], tap.format(""), "--failed", "clang build")
        + expect_summary((1, "0 passed, 1 failed"), [], "")
    )


TESTS = [
    includes_of_the_tree,
    style_of_the_tree,
    forbidden_includes_are_caught,
    allowed_includes_pass,
    style_mistakes_are_caught,
    results_are_counted,
]


def main():
    print(f"1..{len(TESTS)}")
    failed = False
    for number, test in enumerate(TESTS, 1):
        problems = test()
        for problem in problems:
            print(f"# {problem}")
        print(f"{'not ok' if problems else 'ok'} {number} - {test.__name__}")
        failed = failed or bool(problems)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
