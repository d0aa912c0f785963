#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""A hospital's process killed right after each sync of its record in a round: what
the round says of it, what its record says, and what had left by then. TAP."""

import glob
import os
import shutil
import signal
import sqlite3
import sys
import tempfile
import time

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
from federation import PATIENCE_S, Federation, main  # noqa: E402

VICTIM, INDEX = "h2", 2
# By what the record has of the round: protocol/descriptor.h.
READY, UPLOAD, AGREE = 3, 4, 6
OUTCOMES = {"included"} | {f"missing in phase {phase}" for phase in ("keys", "shares", "ready", "upload")}
# Three chunks of an upload.
HIDDEN = (256, 128)


def record(f):
    """Of the newest round that it signed: number, phases answered, update spent?"""
    with tempfile.TemporaryDirectory() as folder:
        for path in glob.glob(os.path.join(f.state(VICTIM), "hospital.db*")):
            shutil.copy(path, folder)
        path = os.path.join(folder, "hospital.db")
        database = sqlite3.connect(path)
        rows = database.execute("SELECT round, descriptor FROM signed_round").fetchall()
        if not rows:
            return 0, set(), False
        ((number, descriptor),) = rows
        phases = {phase for (phase,) in database.execute("SELECT phase FROM message WHERE descriptor = ?",
                                                         (descriptor,))}
        spent = database.execute("SELECT count(*) FROM spent WHERE descriptor = ? AND uploaded", (descriptor,))
        ((count,),) = spent.fetchall()
        database.close()
        return number, phases, count == 1


def outcome_of(phases, spent):
    """What was recorded last was not sent any more."""
    last = max(phases, default=0)
    if last >= AGREE:
        return "included"
    if spent or last == UPLOAD:
        return "missing in phase upload"
    return "missing in phase " + {2: "shares", READY: "ready"}.get(last, "keys")


def outcome_said(event):
    reasons = [one["reason"] for one in event["missing"] if one["hospital"] == VICTIM]
    return reasons[0] if reasons else "included"


def upload_there(f, number):
    """Has the coordinator heard of this upload? It makes the file before it asks for a byte."""
    return bool(glob.glob(os.path.join(f.state("coordinator"), "uploads", f"round-{number}-*hospital-{INDEX}.*")))


def syncs_of_a_start(f):
    count = os.path.join(f.folder, "syncs")
    f.start(VICTIM, COUNT=count)
    f.wait(lambda: "no connection" in f.log(VICTIM), "the agent")
    f.kill(VICTIM, signal.SIGTERM)
    with open(count) as file:
        return int(file.read())


def test_killed_at_each_sync_of_its_record():
    """In the round of the kill it is missing, in that phase, or included if its update
    was whole; the others go on; it is back in the next. An update that the
    coordinator heard of is always on record as spent."""
    expected, unsent, sent = {}, 0, 0
    with Federation(rounds=100000, hidden=HIDDEN) as f:
        syncs_of_a_start(f)  # makes the state folder
        start = syncs_of_a_start(f)
        f.start_coordinator()
        for name in f.names:
            if name != VICTIM:
                f.start(name)
        f.wait(lambda: len(f.completed()) >= 1, "a round of four")
        for later in range(1, 60):
            f.start(VICTIM, KILL_AFTER_SYNC=start + later)
            code = f.processes[VICTIM].wait(timeout=PATIENCE_S)
            assert code == -signal.SIGKILL, f"exit {code}\n{f.tails()}"
            number, phases, spent = record(f)
            time.sleep(0.2)  # the round waits for it longer; what has left arrives
            if upload_there(f, number):
                sent += 1
                assert spent, (number, phases, f.tails())
            elif spent and max(phases) == READY:
                unsent += 1
            if number > 0:
                expected[number] = outcome_of(phases, spent)
            if set(expected.values()) == OUTCOMES and sent and unsent:
                break
        f.start(VICTIM)
        done = len(f.completed())
        f.wait(lambda: any(event["included"] == 5 for event in f.completed()[done:]), f"{VICTIM} back")
        said = {event["round"]: outcome_said(event) for event in f.completed()}
        assert said == {**said, **expected}, {number: (said.get(number), word) for number, word in expected.items()
                                              if said.get(number) != word}
        assert [event["round"] for event in f.completed()] == list(range(1, len(f.completed()) + 1))
        assert not [event for event in f.events() if "reason" in event], f.tails()
    assert set(expected.values()) == OUTCOMES, expected
    assert unsent >= 1, "never killed between the record of an update and its first byte"
    assert sent >= 1, "never killed with an update on its way"
    print(f"# {later} kills; {sent} with an update on its way, {unsent} with one on record that nobody heard of")


if __name__ == "__main__":
    sys.exit(main([test_killed_at_each_sync_of_its_record]))
