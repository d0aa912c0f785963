#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""The coordinator's daemon among hospitals that lie at the level of frames, keep
silent, flap; and on machines that lose files, fill up, change documents. TAP."""

import glob
import json
import os
import shutil
import signal
import subprocess
import sys
import time

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
from federation import PATIENCE_S, Federation, main, run  # noqa: E402

ROGUE = os.environ["CNS_ROGUE"]
PROGRAM = os.environ["CNS_PROGRAM"]
# Three chunks of an upload.
HIDDEN = (256, 128)


def start_rogue(f, mode, *more, name="h5"):
    with open(f.log_path(name), "a") as log:
        f.processes[name] = subprocess.Popen([ROGUE, f.kit(name), mode, *more], stdin=subprocess.DEVNULL, stdout=log,
                                             stderr=log)


def four_honest(f):
    f.start_coordinator()
    for name in f.names[:4]:
        f.start(name)
    f.wait(lambda: len(f.completed()) >= 1, "a round of four")


def evidence(f):
    return sorted(os.path.basename(path) for path in glob.glob(os.path.join(f.state("coordinator"), "evidence-*")))


def play(f, mode, word, included, *more):
    """With this rogue as the fifth hospital: what the coordinator says, and that the
    rounds go on, each of them soon."""
    before, done, began = f.said(), len(f.completed()), time.monotonic()
    start_rogue(f, mode, *more)
    if word:
        f.wait(lambda: word in f.said(before), f"\"{word}\" in mode {mode}")
    if included:
        f.wait(lambda: any(e["included"] == 5 for e in f.completed()[done:]), f"h5 included in mode {mode}")
    seen = len(f.completed())
    f.wait(lambda: len(f.completed()) >= seen + 2, f"rounds in mode {mode}")
    f.kill("h5")
    for event in f.completed()[done:]:
        assert event["included"] == 5 or not included or event["missing"], (mode, event)
        assert event["included"] >= 4, (mode, event)
        if included is False:
            assert event["included"] == 4, (mode, event)
    assert len(f.said(before)) < 200000, mode
    assert f.processes["coordinator"].poll() is None, f.tails()
    return time.monotonic() - began


def test_lies_in_frames():
    with Federation(rounds=5000, hidden=HIDDEN) as f:
        four_honest(f)
        other = f.kit("h4")
        for mode, word, included, *more in (
                ("honest", None, True),
                ("frame-first", "JOIN must come first", False),
                ("malformed-join", "a malformed JOIN", False),
                ("join-twice", "JOIN comes once", None),
                ("other-consent", "the consent is another hospital's", False, other),
                ("forged-consent", "turned away", False, other),
                ("consent-of-another-study", "another version of the study", False),
                ("coordinators-frame", "a type that this coordinator doesn't know", None),
                ("coordinators-bulk", "a type that this coordinator doesn't know", None),
                ("unknown-frame", "a type that this coordinator doesn't know", None),
                ("malformed-frames", "a malformed request for a model", None),
                ("garbage-answers", "sent a malformed answer", False),
                ("other-hospitals-answer", "in the name of hospital 4", None),
                ("chunk-misordered", "a chunk out of order", None),
                ("chunk-oversized", "a chunk out of order or of the wrong length", None),
                ("chunk-beyond", "a chunk out of order", None),
                ("answer-too-early", "upload is not complete", False),
                ("wrong-digest", "signed another digest", False),
                ("odd-uploads", None, True),
                ("model-offsets", None, True),
                ("unasked", None, True),
                ("replays", None, True),
                ("answer-flood", "it goes on without it", None),
                ("decline-flood", "again and again", None),
                ("decline", "takes no part in this round any more", None),
                ("flapping", "is gone", None)):
            took = play(f, mode, word, included, *more)
            print(f"# {mode}: {took:.1f} s", flush=True)
        assert evidence(f) == [], evidence(f)
        play(f, "honest", None, True)


def test_liars_are_named_once():
    """Evidence is written once a verdict, and stays what it is over a restart in
    the same round."""
    with Federation(rounds=5000, hidden=HIDDEN) as f:
        four_honest(f)
        for mode, blame, word in (("bad-keys", 1, "keys without valid proofs"),
                                  ("equivocation", 7, "two different answers")):
            play(f, mode, word, None)
            found = [name for name in evidence(f) if name.endswith(f"hospital-5-{blame}.bin")]
            assert found, evidence(f)
            said = [e["text"] for e in f.events() if e["event"] == "verdict"]
            assert len(said) == len(set(said)) == len(evidence(f)), (said, evidence(f))
        # Named in a round that a stopped hospital holds open, then a restart.
        f.processes["h1"].send_signal(signal.SIGSTOP)
        count, before = len(evidence(f)), f.said()
        start_rogue(f, "bad-keys")
        f.wait(lambda: len(evidence(f)) > count, "evidence")
        f.kill("coordinator")
        f.kill("h5")
        files = {name: os.stat(os.path.join(f.state("coordinator"), name)).st_mtime_ns for name in evidence(f)}
        f.start_coordinator()
        f.wait(lambda: "going on with round" in f.said(before), "the restart")
        f.processes["h1"].send_signal(signal.SIGCONT)
        done = len(f.completed())
        f.wait(lambda: len(f.completed()) >= done + 2, "rounds after the restart")
        again = {name: os.stat(os.path.join(f.state("coordinator"), name)).st_mtime_ns for name in evidence(f)}
        assert files == again, (files, again)


def test_silent_hospital_costs_a_deadline_and_no_more():
    """Connected, and says nothing: each round waits for its deadline, which mustn't
    grow with the waiting."""
    with Federation(rounds=5000) as f:
        four_honest(f)
        f.wait(lambda: len(f.completed()) >= 3, "three rounds")
        start_rogue(f, "silent")
        f.wait(lambda: "h5 is connected" in f.said(0), "h5")
        done = len(f.completed())

        def waited():
            return [event["seconds"] for event in f.completed()[done:] for one in event["missing"]
                    if one["hospital"] == "h5" and "not connected" not in one["reason"]]

        f.wait(lambda: len(waited()) >= 5, "rounds with a silent hospital", 5 * PATIENCE_S)
        assert max(waited()) <= 2 * waited()[0], waited()


def uploads(f):
    return glob.glob(os.path.join(f.state("coordinator"), "uploads", "*.vector"))


def kill_in_upload(f):
    """The coordinator is killed in a round that has all uploads but that of h5."""
    f.start_coordinator()
    honest = [name for name in f.names if name != "h5"]
    for name in honest:
        f.start(name)
    start_rogue(f, "stall-upload")
    for name in honest:
        f.wait(lambda: "has the whole masked update" in f.log(name), f"the upload of {name}")
    assert len(uploads(f)) == len(f.names), uploads(f)
    f.kill("coordinator")
    f.kill("h5")


def test_lost_uploads_end_the_attempt():
    """Files of the running round gone or damaged at the start: the next attempt
    begins, whose hospitals may send again since the lost one is abandoned."""
    with Federation(rounds=5000, hidden=HIDDEN) as f:
        kill_in_upload(f)
        before = f.said()
        paths = uploads(f)
        for path in paths[:2]:
            os.unlink(path)
        for path in paths[2:]:
            with open(path, "r+b") as file:
                file.seek(5000)
                file.write(b"damage")
        f.start_coordinator()
        start_rogue(f, "honest")
        done = len(f.completed())
        f.wait(lambda: len(f.completed()) >= done + 2, "rounds after the loss")
        assert "is lost" in f.said(before), f.said(before)
        f.wait(lambda: "is abandoned by" in f.said(before), "the abandons")
        assert f.completed()[done]["attempt"] == 2 and f.completed()[done]["included"] == 5, f.completed()[done]


def test_other_studys_state_is_refused():
    with Federation(rounds=2) as f:
        f.start_all()
        f.wait_exit("coordinator")
        with Federation(rounds=2) as other:
            shutil.copytree(f.state("coordinator"), other.state("coordinator"))
            done = subprocess.run([PROGRAM, "coordinator", other.kit("coordinator"), "--listen",
                                   "tls+tcp://127.0.0.1:0"], capture_output=True, text=True, timeout=60)
            assert done.returncode not in (0, -6, -11), done
            assert "key" in done.stderr, done.stderr


def full_at_start(f, flag):
    done = subprocess.run([PROGRAM, "coordinator", f.kit("coordinator"), "--listen", "tls+tcp://127.0.0.1:0"],
                          capture_output=True, text=True, timeout=60,
                          env={**os.environ, "LD_PRELOAD": os.environ["CNS_FAULT"],
                               "ASAN_OPTIONS": "verify_asan_link_order=0:" + os.environ.get("ASAN_OPTIONS", ""),
                               "CNS_FAULT_FULL": flag, "CNS_FAULT_FOLDER": f.state("coordinator")})
    assert done.returncode not in (0, -6, -11), done
    return done.stderr


def test_disk_full_at_a_restart_in_a_round():
    """Also where going on has to write at once: a lost upload ends the attempt."""
    with Federation(rounds=5000, hidden=HIDDEN) as f:
        kill_in_upload(f)
        for path in uploads(f):
            os.unlink(path)
        flag = os.path.join(f.folder, "full")
        open(flag, "w").close()
        said = full_at_start(f, flag)
        assert "space" in said, said
        os.unlink(flag)
        f.start_coordinator()
        start_rogue(f, "honest")
        done = len(f.completed())
        f.wait(lambda: len(f.completed()) >= done + 2, "rounds when there is room")


def test_stopped_coordinator_doesnt_count_its_own_absence():
    """A hospital's link breaks and comes back while the coordinator is stopped for
    longer than the grace: it isn't missing for that."""
    with Federation(rounds=1, hidden=HIDDEN) as f:
        process = f.start_coordinator("--until-finished")
        for name in f.names[:4]:
            f.start(name)
        start_rogue(f, "cut", str(process.pid))
        f.wait(lambda: "rogue: cut off" in f.log("h5"), "the cut")
        time.sleep(6)
        process.send_signal(signal.SIGCONT)
        f.wait_exit("coordinator")
        assert f.completed()[0]["included"] == 5 and f.completed()[0]["attempt"] == 1, f.completed()


def test_updates_used_up_are_said_and_given_back():
    """Two hospitals that leave once the others have uploaded, and sign no abandon:
    after two such attempts the policy allows the others no third update of this
    model. The coordinator says so instead of asking for ever; over a restart too.
    When the two sign after all, the updates are given back and the study goes on."""
    with Federation(rounds=3, hidden=HIDDEN) as f:
        f.start_coordinator("--until-finished")
        for name in f.names[:3]:
            f.start(name)
        for name in f.names[3:]:
            start_rogue(f, "decline-upload", name=name)
        f.wait(lambda: "have an update of the present model left" in f.log("coordinator"), "the word")
        ended = [event for event in f.events() if event.get("reason")]
        assert [event["attempt"] for event in ended] == [1, 2], ended
        f.kill("coordinator")
        before = f.said()
        f.start_coordinator("--until-finished")
        f.wait(lambda: "have an update of the present model left" in f.said(before), "the word after the restart")
        start_rogue_again(f, "false-abandon")
        f.wait(lambda: "without a valid signature" in f.said(before), "the false abandon's refusal")
        start_rogue_again(f, "honest")
        f.wait(lambda: "is abandoned by 4 hospitals" in f.said(before), "the abandons")
        f.wait_exit("coordinator")
        assert [event["round"] for event in f.completed()] == [1, 2, 3], f.completed()
        assert f.completed()[0]["attempt"] == 3 and f.completed()[0]["included"] == 5, f.completed()
        assert "no longer charged" in f.log("h1"), f.tails()


def start_rogue_again(f, mode):
    for name in f.names[3:]:
        f.kill(name)
        start_rogue(f, mode, name=name)


def revoke(f, name):
    run("kit", "revoke", name, "--federation", f.root)
    run("kit", "issue", "--federation", f.root)
    with open(os.path.join(f.kit("h1"), "authority.pub")) as file:
        key = file.read().strip()
    for other in f.names:
        if other != name:
            run("kit", "accept", f.kit(other), os.path.join(f.root, "responses", other + ".kit.json"),
                "--authority-key", key)


def test_changed_roster_ends_the_running_attempt():
    """A hospital revoked while the coordinator is down in the middle of a round."""
    with Federation(rounds=5000, hidden=HIDDEN, count=6) as f:
        kill_in_upload(f)
        before = f.said()
        for name in f.names:
            f.kill(name)
        revoke(f, "h6")
        for name in f.names[:5]:
            f.start(name)
        f.start_coordinator()
        done = len(f.completed())
        f.wait(lambda: len(f.completed()) >= done + 2, "rounds under the new roster")
        assert "changed while" in f.said(before), f.said(before)
        assert f.completed()[-1]["included"] == 5


def test_upload_without_room_costs_one_hospital_one_round():
    """No room can be reserved for h3's upload: the round goes on without it, said on
    both sides; the next one has it again."""
    with Federation(rounds=2, hidden=HIDDEN) as f:
        flag = os.path.join(f.folder, "full")
        open(flag, "w").close()
        f.start_coordinator("--until-finished", FULL=flag,
                            FOLDER=os.path.join(f.state("coordinator"), "uploads", "round-1-1-hospital-3"))
        for name in f.names:
            f.start(name)
        f.wait_exit("coordinator")
        first, second = f.completed()
        assert first["attempt"] == 1 and first["included"] == 4, first
        assert [one["hospital"] for one in first["missing"]] == ["h3"], first
        assert second["included"] == 5, second
        said = [e["text"] for e in f.events() if "upload of hospital h3 is given up" in e["text"]]
        assert len(said) == 1 and "no space left" in said[0], said
        assert "can't be taken in this round" in f.log("h3"), f.tails()


def room_for_uploads(f, bytes_free):
    with open(os.path.join(f.folder, "room.new"), "w") as file:
        file.write(str(bytes_free))
    os.rename(os.path.join(f.folder, "room.new"), os.path.join(f.folder, "room"))


def test_no_round_begins_without_room_for_it():
    """Below what uploads and the journal's margin need it waits with a word, and
    begins by itself."""
    with Federation(rounds=2) as f:
        room_for_uploads(f, 32 << 20)
        f.start_coordinator("--until-finished", ROOM=os.path.join(f.folder, "room"))
        for name in f.names:
            f.start(name)
        f.wait(lambda: "make room, the next round begins by itself" in f.said(0), "the word")
        for name in f.names:
            f.wait(lambda: f"{name} is connected" in f.said(0), name)
        time.sleep(1)
        assert " begins: " not in f.said(0), f.tails()
        room_for_uploads(f, (32 << 20) + (1 << 20))
        f.wait_exit("coordinator")
        assert [event["included"] for event in f.completed()] == [5, 5], f.completed()


def test_new_folders_are_synced():
    """The name of the state folder, too, is there after a crash of the machine."""
    with Federation(rounds=1) as f:
        synced = os.path.join(f.folder, "synced")
        f.start_coordinator(SYNCED=synced)
        with open(synced) as file:
            paths = set(file.read().splitlines())
        assert {os.path.realpath(f.kit("coordinator")), os.path.realpath(f.state("coordinator"))} <= paths, paths


def limited_to(f, files):
    """What the coordinator says at its start under this limit of open files."""
    before = f.said()
    command = ["sh", "-c", f'ulimit {files} && exec "$@"', "sh", PROGRAM, "coordinator", f.kit("coordinator"),
               "--listen", "tls+tcp://127.0.0.1:0"]
    with open(f.log_path("coordinator"), "a") as log:
        f.processes["coordinator"] = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=log, stderr=log)
    f.wait(lambda: "listening on" in f.said(before), "the coordinator")
    with open(f"/proc/{f.processes['coordinator'].pid}/limits") as file:
        soft, hard = [line for line in file if line.startswith("Max open files")][0].split()[3:5]
    f.kill("coordinator", signal.SIGTERM)
    return f.said(before), soft, hard


def test_limit_of_open_files_is_raised():
    with Federation(rounds=1) as f:
        said, soft, hard = limited_to(f, "-Sn 100")
        assert soft == hard != "100", (soft, hard)
        assert "may open" not in said, said
        said, soft, hard = limited_to(f, "-n 100")
        assert soft == hard == "100", (soft, hard)
        assert "may open 100 files and streams" in said and "LimitNOFILE" in said, said


def hang_up(f, word):
    before = f.said()
    f.processes["coordinator"].send_signal(signal.SIGHUP)
    f.wait(lambda: word in f.said(before), f"\"{word}\" after SIGHUP")


def test_roster_is_reloaded_while_it_runs():
    """SIGHUP: refused without a newer roster that the authority signed; with one, the
    revoked hospital is cut off at once and doesn't get in again, the running round
    ends under its own roster, and the next ones are under the new."""
    with Federation(rounds=100000, count=6) as f:
        coordinator = f.start_coordinator()
        for name in f.names:
            f.start(name)
        f.wait(lambda: len(f.completed()) >= 2, "two rounds")
        hang_up(f, "version 1 is known already")
        path = os.path.join(f.kit("coordinator"), "roster.json")
        with open(path) as file:
            text = file.read()
        with open(path, "w") as file:
            file.write(text.replace('"h1"', '"x1"', 1))
        hang_up(f, "the roster is not taken over: ")
        with open(path, "w") as file:
            file.write(text)
        done = len(f.completed())
        f.wait(lambda: any(event["included"] == 6 for event in f.completed()[done:]), "rounds all the same")

        # A hospital that is stopped holds a round open.
        f.processes["h1"].send_signal(signal.SIGSTOP)
        before = f.said()
        time.sleep(0.5)
        revoke(f, "h6")
        hang_up(f, "the running round ends under the one before")
        f.wait(lambda: "hospital h6 is gone: the roster has revoked hospital 6" in f.said(before), "h6's end")
        f.wait(lambda: "the roster has revoked hospital 6" in f.log("h6") or "is revoked" in f.log("h6"), "h6's word")
        done = len(f.completed())
        f.processes["h1"].send_signal(signal.SIGCONT)
        f.wait(lambda: len(f.completed()) > done, "the running round's result")
        assert f.completed()[done]["attempt"] == 1, f.completed()[done]
        for name in f.names[:5]:
            f.kill(name, signal.SIGTERM)
            f.start(name)
        f.wait(lambda: any(event["included"] == event["expected"] == 5 and event["missing"] == []
                           for event in f.completed()[done:]), "rounds of five under the new roster")
        assert coordinator.poll() is None, f.tails()
        assert all(event["included"] <= 5 for event in f.completed()[done + 1:]), f.completed()[done:]
        f.kill("coordinator")
        f.start_coordinator()
        done = len(f.completed())
        f.wait(lambda: len(f.completed()) >= done + 2, "rounds after a restart")


if __name__ == "__main__":
    chosen = sys.argv[1:]
    tests = [value for name, value in sorted(globals().items(), key=lambda item: getattr(
        item[1], "__code__", None) and item[1].__code__.co_firstlineno or 0) if name.startswith("test_")]
    if chosen:
        tests = [test for test in tests if any(word in test.__name__ for word in chosen)]
    sys.exit(main(tests))
