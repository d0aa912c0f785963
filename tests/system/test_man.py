#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""That the manual is that of the program: a page for each verb, with the options that the verb has and
no other; and that pages are sound mdoc. TAP."""

import os
import re
import shutil
import subprocess
import sys

sys.dont_write_bytecode = True
from program import read, run

ROOT = os.environ["CNS_SOURCE_ROOT"]
PAGES = os.path.join(ROOT, "docs", "man")


def main(tests):
    print(f"1..{len(tests)}", flush=True)
    bad = 0
    for number, test in enumerate(tests, 1):
        complaints = test()
        skip = " # SKIP groff is not here" if complaints is None else ""
        bad += bool(complaints)
        for line in complaints or []:
            print(f"# {line}")
        print(f"{'not ok' if complaints else 'ok'} {number} - {test.__name__[5:].replace('_', ' ')}{skip}", flush=True)
    return 1 if bad else 0


def verbs_of(*verb):
    """The verbs that a list of verbs names; none if the verb has none below it."""
    text = run(*verb, "--help")
    if f"Usage: consilium {' '.join([*verb, 'VERB'])}" not in text:
        return re.findall(rf"^  consilium {' '.join(verb)} ([a-z]+) ", text, re.MULTILINE)
    return re.findall(r"^  ([a-z-]+) {2,}\S", text.split("\nVerbs:\n")[1], re.MULTILINE)


def options_of(*verb):
    """Of the verb and of all below it, without --help and what a verb has for itself only."""
    text = run(*verb, "--help")
    found = set().union(*(options_of(*verb, one) for one in verbs_of(*verb)))
    if "\nOptions:\n" in text:
        lines = re.findall(r"^  --([a-z0-9-]+)(.*)$", text.split("\nOptions:\n")[1], re.MULTILINE)
        found |= {name for name, says in lines if "the demo's own" not in says}
    return found - {"help"}


def page(verb):
    return os.path.join(PAGES, f"consilium-{verb}.1")


def flags(text):
    return set(re.findall(r"\bFl -([a-z0-9-]+)", text)) - {"help"}


def described(text):
    """All options that a page has anywhere; and those that its synopsis or an item of a list gives as its own."""
    synopsis = text.split(".Sh SYNOPSIS\n")[1].split("\n.Sh ")[0]
    items = "\n".join(re.findall(r"^\.It (.*)$", text, re.MULTILINE))
    return flags(text), flags(synopsis) | flags(items)


def test_every_verb_has_a_page():
    return [f"consilium {verb} has no page docs/man/consilium-{verb}.1" for verb in verbs_of()
            if not os.path.exists(page(verb))]


def test_every_page_has_a_verb():
    found = {name[len("consilium-"):-2] for name in os.listdir(PAGES) if re.fullmatch(r"consilium-.*\.1", name)}
    return [f"consilium-{verb}.1: there is no such verb" for verb in sorted(found - set(verbs_of()))]


def test_options_are_those_of_the_program():
    complaints = []
    for verb in verbs_of():
        if not os.path.exists(page(verb)):
            continue
        shown, own = described(read(page(verb), "r"))
        options = options_of(verb)
        complaints += [f"consilium-{verb}.1 doesn't have --{name}" for name in sorted(options - shown)]
        complaints += [f"consilium-{verb}.1 has --{name}, which the verb doesn't have"
                       for name in sorted(own - options)]
    return complaints


def test_pages_have_their_sections():
    complaints = []
    for name in sorted(os.listdir(PAGES)):
        text = read(os.path.join(PAGES, name), "r")
        wanted = ["NAME", "SYNOPSIS", "DESCRIPTION"]
        if name.endswith(".1"):
            wanted += ["EXIT STATUS", "EXAMPLES", "SEE ALSO"]
        complaints += [f"{name} has no section {section}" for section in wanted if f".Sh {section}\n" not in text]
    return complaints


def test_each_page_is_installed_and_listed():
    complaints = []
    build = read(os.path.join(ROOT, "meson.build"), "r")
    front = read(os.path.join(PAGES, "consilium.1"), "r")
    for name in sorted(os.listdir(PAGES)):
        if f"'{name[:-2]}'" not in build and f"'docs/man/{name}'" not in build:
            complaints.append(f"{name} is not in meson.build's list of pages")
    for verb in verbs_of():
        for form in (f".It Cm {verb}\n", f".Xr consilium-{verb} 1"):
            if form not in front:
                complaints.append(f"consilium.1 lacks \"{form.strip()}\"")
    return complaints


def test_references_lead_somewhere():
    complaints = []
    for name in sorted(os.listdir(PAGES)):
        for target, section in re.findall(r"\.Xr (consilium\S*) (\d)", read(os.path.join(PAGES, name), "r")):
            if not os.path.exists(os.path.join(PAGES, f"{target}.{section}")):
                complaints.append(f"{name} refers to {target}({section}), which is not there")
    return complaints


def test_pages_render_without_a_warning():
    if not shutil.which("groff"):
        return None
    complaints = []
    for name in sorted(os.listdir(PAGES)):
        done = subprocess.run(["groff", "-ww", "-mandoc", "-Tutf8", "-P-c", os.path.join(PAGES, name)],
                              capture_output=True, text=True, timeout=60, check=False)
        complaints += done.stderr.splitlines()
        if done.returncode or len(done.stdout.splitlines()) < 20:
            complaints.append(f"{name} doesn't render")
    return complaints


if __name__ == "__main__":
    sys.exit(main([value for name, value in list(globals().items()) if name.startswith("test_")]))
