#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""consilium preflight against real coordinators, networks and disks; each problem made to happen. TAP."""

import csv
import hashlib
import json
import os
import shutil
import socket
import subprocess
import sys
import threading

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
from federation import PATIENCE_S, PROGRAM, Federation, main, run  # noqa: E402
from test_ways_out import PASSWORD, USER, WRONG, Proxy, edit, tool  # noqa: E402


def preflight(kit, *options, expect=0, limits=None, **faults):
    """The findings, by check, after a look at the exit code and at the folder: nothing has changed in it."""
    environment = dict(os.environ)
    if faults:
        environment["LD_PRELOAD"] = os.environ["CNS_FAULT"]
        environment["ASAN_OPTIONS"] = "verify_asan_link_order=0:" + environment.get("ASAN_OPTIONS", "")
        environment.update({"CNS_FAULT_" + key: str(value) for key, value in faults.items()})
    command = [PROGRAM, "preflight", kit, "--json", *options]
    if limits:
        command = ["sh", "-c", f'ulimit {limits} && exec "$@"', "sh", *command]
    done = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=PATIENCE_S,
                          env=environment)
    assert done.returncode == expect, f"exit {done.returncode}, expected {expect}: {done.stdout}{done.stderr}"
    assert not done.stderr, done.stderr
    report = json.loads(done.stdout)
    assert report["passed"] == (expect == 0), report
    states = [one["state"] for one in report["checks"]]
    assert report["problems"] == states.count("problem") and report["warnings"] == states.count("warning"), report
    for one in report["checks"]:
        assert one["state"] != "problem" or one.get("mend"), f"no mend: {one}"
    return report["checks"]


def problems(checks):
    return [(one["check"], one["what"]) for one in checks if one["state"] == "problem"]


def only(checks, check, word):
    """That this is the one problem."""
    found = problems(checks)
    assert len(found) == 1 and found[0][0] == check and word in found[0][1], found


def find(checks, check, word, state="ok"):
    assert any(one["check"] == check and one["state"] == state and word in one["what"] for one in checks), checks


def tree(folder):
    """Every name, mode, time of change and byte."""
    found = []
    for place, folders, files in sorted(os.walk(folder)):
        for name in sorted(folders + files):
            path = os.path.join(place, name)
            info = os.lstat(path)
            digest = ""
            if name in files:
                with open(path, "rb") as file:
                    digest = hashlib.sha256(file.read()).hexdigest()
            found.append((path, info.st_mode, info.st_mtime_ns, digest))
    return found


def url(f):
    with open(os.path.join(f.folder, "url")) as file:
        return file.read()


def test_a_sound_hospital_passes():
    with Federation(rounds=3) as f:
        before = tree(f.kit("coordinator"))
        only_checks = preflight(f.kit("coordinator"), "--address", "tls+tcp://127.0.0.1:0")
        assert problems(only_checks) == []
        assert tree(f.kit("coordinator")) == before

        f.start_coordinator()
        before = tree(f.root + "/hospitals")
        checks = preflight(f.kit("h1"))
        assert tree(f.root + "/hospitals") == before, "preflight changed something"
        find(checks, "link", "has proven that it is the roster's")
        find(checks, "consent", "given, for about")
        find(checks, "tcp", "is reached")
        find(checks, "clock", "within 5 minutes of the coordinator's")
        text = run("preflight", f.kit("h1"))
        assert text.splitlines()[-1].startswith("PASSED"), text
        # To the coordinator a hospital came and went, without a word.
        f.wait(lambda: f.said(0).count("hospital h1 is gone") == 2, "the end of both visits")
        assert f.said(0).count("hospital h1 is connected") == 2, f.said(0)
        assert "refused" not in f.said(0) and "error" not in f.said(0), f.said(0)
        find(preflight(f.kit("coordinator")), "listen", "a coordinator runs on this kit")

        # It counts with nobody who only looked: the rounds are those of the agents.
        for name in f.names:
            f.start(name)
        f.wait(lambda: len(f.completed()) == 3, "the rounds")
        assert [event["included"] for event in f.completed()] == [5, 5, 5], f.completed()


def test_a_running_agent_is_left_alone():
    with Federation(rounds=100000) as f:
        f.start_coordinator()
        for name in f.names:
            f.start(name)
        f.wait(lambda: len(f.completed()) >= 1, "a round")
        for _ in range(3):
            checks = preflight(f.kit("h2"))
            find(checks, "link", f"an agent runs on this kit (process {f.processes['h2'].pid})")
        done = len(f.completed())
        f.wait(lambda: len(f.completed()) >= done + 2, "rounds beside it")
        assert "is gone" not in f.said(0), f.tails()
        assert all(event["included"] == 5 for event in f.completed()), f.completed()
        # A pause is worth a word, not a problem.
        run("pause", f.kit("h2"), "--reason", "maintenance")
        find(preflight(f.kit("h2")), "pause", "maintenance", "warning")


def test_a_wrong_clock():
    with Federation(rounds=1) as f:
        f.start_coordinator()
        find(preflight(f.kit("h1"), CLOCK=7200), "clock", "120 minutes ahead of the coordinator's", "warning")
        find(preflight(f.kit("h1"), CLOCK=-1800), "clock", "30 minutes behind the coordinator's", "warning")
        checks = preflight(f.kit("h1"), CLOCK=-400 * 86400, expect=1)
        assert [check for check, _ in problems(checks)] == ["clock", "link"], problems(checks)
        find(checks, "clock", "before the roster was issued", "problem")
        find(checks, "link", "not valid yet: compare the clocks", "problem")
        checks = preflight(f.kit("h1"), CLOCK=800 * 86400, expect=1)
        assert {"certificate", "roster", "policy"} <= {check for check, _ in problems(checks)}, problems(checks)
        find(checks, "clock", "is that the time?", "warning")
        # The agent says it too, and goes on: nothing is out of date for that.
        for name in f.names[1:]:
            f.start(name)
        f.start("h1", CLOCK=7200)
        f.wait(lambda: "120 minutes ahead of the coordinator's" in f.log("h1"), "the agent's word")
        f.wait(lambda: f.completed(), "a round")
        assert f.completed()[0]["included"] == 5, f.completed()


def serve(answer):
    """Somebody else at an address: what it does with each connection."""
    listener = socket.create_server(("127.0.0.1", 0))

    def loop():
        while True:
            try:
                connection, _ = listener.accept()
            except OSError:
                return
            threading.Thread(target=answer, args=(connection,), daemon=True).start()

    threading.Thread(target=loop, daemon=True).start()
    return listener, f"tls+tcp://127.0.0.1:{listener.getsockname()[1]}"


def talk(connection):
    connection.sendall(b"220 mail.example ESMTP ready\r\n")
    keep_silent(connection)
    connection.close()


def keep_silent(connection):
    try:
        while connection.recv(4096):
            pass
    except OSError:
        pass


def test_each_step_of_the_way_has_its_word():
    with Federation(rounds=1) as f:
        f.start_coordinator()
        sound = url(f)
        with Federation(rounds=1) as other:
            other.start_coordinator()
            # The roster pins another certificate there: one of both sides finds it out.
            checks = preflight(f.kit("h1"), "--address", url(other), expect=1)
            find(checks, "tcp", "is reached")
            assert [check for check, _ in problems(checks)] == ["link"], problems(checks)
        for answer in (talk, keep_silent):
            listener, address = serve(answer)
            checks = preflight(f.kit("h1"), "--address", address, "--timeout", "2", expect=1)
            find(checks, "tcp", "is reached")
            assert [check for check, _ in problems(checks)] == ["link"], problems(checks)
            listener.close()
        only(preflight(f.kit("h1"), "--address", "tls+tcp://nowhere.invalid:7443", "--timeout", "5", expect=1),
             "name", "can't be looked up")
        f.kill("coordinator")
        checks = preflight(f.kit("h1"), expect=1)
        only(checks, "tcp", "can't be reached")
        find(checks, "link", "not checked", "skipped")
        assert sound.rsplit(":", 1)[1] in problems(checks)[0][1]
        # What doesn't need the network is still all looked at.
        find(checks, "data", "rows to train on")
        assert problems(preflight(f.kit("h1"), "--offline")) == []


def test_behind_a_proxy_with_a_password():
    assert tool("tinyproxy"), "tinyproxy isn't installed"
    with Federation(rounds=1) as f:
        f.start_coordinator()
        proxy = Proxy(f.folder, PASSWORD).start()
        secret = os.path.join(f.kit("h1"), "proxy.password")
        edit(f, "h1", proxy={"url": proxy.url, "user": USER, "password_file": "proxy.password"})
        try:
            for password, mode in ((PASSWORD, 0o600), (WRONG, 0o600), (PASSWORD, 0o644)):
                with open(secret, "w") as file:
                    file.write(password + "\n")
                os.chmod(secret, mode)
                if mode != 0o600:
                    only(preflight(f.kit("h1"), expect=1), "proxy", "proxy.password")
                elif password == PASSWORD:
                    checks = preflight(f.kit("h1"))
                    find(checks, "proxy", f"port {proxy.port}, with a password")
                    find(checks, "link", "has proven that it is the roster's")
                else:
                    checks = preflight(f.kit("h1"), expect=1)
                    only(checks, "link", "doesn't accept the password of user")
                    assert WRONG not in json.dumps(checks)
        finally:
            proxy.process.kill()
            proxy.process.wait()
        os.chmod(secret, 0o600)
        only(preflight(f.kit("h1"), "--timeout", "5", expect=1), "link", f"{proxy.port}")


def rewrite(path, change):
    with open(path, newline="") as file:
        rows = list(csv.reader(file))
    change(rows)
    with open(path, "w", newline="") as file:
        csv.writer(file).writerows(rows)


def drop_column(rows):
    at = rows[0].index("radius_mean")
    for row in rows:
        del row[at]


def spoil_cell(rows):
    rows[7][rows[0].index("radius_mean")] = "a-secret-word"


def test_tables_consents_and_disks():
    with Federation(rounds=1) as f:
        def offline(name="h1", expect=1, **options):
            return preflight(f.kit(name), "--offline", expect=expect, **options)

        table = os.path.join(f.kit("h1"), "data.csv")
        shutil.copy(table, os.path.join(f.folder, "sound.csv"))
        rewrite(table, drop_column)
        only(offline(), "data", "radius_mean")
        shutil.copy(os.path.join(f.folder, "sound.csv"), table)
        rewrite(table, spoil_cell)
        checks = offline()
        only(checks, "data", "row 7")
        assert "a-secret-word" not in json.dumps(checks)
        shutil.copy(os.path.join(f.folder, "sound.csv"), table)
        rewrite(table, lambda rows: rows.__delitem__(slice(10, 60)))
        only(offline(), "consent", "another number of patients")
        os.unlink(table)
        only(offline(), "data", "data.csv")
        os.mkdir(table)
        only(offline(), "data", "data.csv")
        os.rmdir(table)
        shutil.copy(os.path.join(f.folder, "sound.csv"), table)
        assert problems(offline(expect=0)) == []

        run("consent", f.kit("h2"), "--withdraw")
        only(offline("h2"), "consent", "nobody has consented")

        room = os.path.join(f.folder, "room")
        with open(room, "w") as file:
            file.write(str(1 << 20))
        only(offline(ROOM=room), "disk", "a round needs")
        only(offline("coordinator", ROOM=room), "disk", "a round needs")
        only(offline("coordinator", limits="-n 60"), "limits", "files and streams")
        os.unlink(room)

        # A record that isn't this hospital's, and one that is damaged.
        shutil.copy(os.path.join(f.state("h4"), "hospital.db"), os.path.join(f.state("h3"), "hospital.db"))
        only(offline("h3"), "record", "another key")
        with open(os.path.join(f.state("h3"), "hospital.db"), "w") as file:
            file.write("not a database")
        only(offline("h3"), "record", "hospital.db")


def test_commands_that_train():
    with Federation(rounds=1) as f:
        path = os.path.join(f.kit("h1"), "config.json")
        with open(path) as file:
            config = json.load(file)
        for command, word in (("/nowhere/train", "is not there or can't be run"), ("/bin/true", None)):
            with open(path, "w") as file:
                json.dump({**config, "trainer": {"command": [command], "free_mib": 1}}, file)
            checks = preflight(f.kit("h1"), "--offline", expect=1 if word else 0)
            if word:
                only(checks, "trainer", word)
            else:
                find(checks, "trainer", "/bin/true can be run")
            find(checks, "data", "rows to train on")
        # What must stay free beside what it writes is counted.
        room = os.path.join(f.folder, "room")
        with open(room, "w") as file:
            file.write(str(70 << 20))
        assert problems(preflight(f.kit("h2"), "--offline", ROOM=room)) == []
        with open(path, "w") as file:
            json.dump({**config, "trainer": {"command": ["/bin/true"], "free_mib": 512}}, file)
        only(preflight(f.kit("h1"), "--offline", expect=1, ROOM=room), "disk", "a round needs")


def epsilon_of(rounds):
    text = run("dp", "epsilon", "--noise-multiplier", "2", "--sampling-rate", "0.25", "--rounds", str(rounds),
               "--delta", "1e-4", "--json")
    return json.loads(text)["epsilon"]


def test_budgets():
    """Two rounds of four are affordable: a warning before, a problem after them, and one for a lost ledger."""
    budget = (epsilon_of(2) + epsilon_of(3)) / 2
    with Federation(rounds=4, privacy={"noise_multiplier": 2, "sampling_rate": 0.25},
                    init=["--epsilon", str(budget), "--delta", "1e-4", "--smallest-sum", "4"]) as f:
        for name in ("h1", "coordinator"):
            find(preflight(f.kit(name), "--offline"), "budget", "2 of the 4 rounds", "warning")
        f.start_coordinator("--until-finished")
        for name in f.names:
            f.start(name, "--until-finished")
        for name in [*f.names, "coordinator"]:
            f.wait_exit(name, 5)
        before = tree(f.root)
        for name in ("h1", "coordinator"):
            only(preflight(f.kit(name), "--offline", expect=1), "budget", "allows none of the 2 rounds to come")
        assert tree(f.root) == before, "reading the ledgers changed something"
        os.unlink(os.path.join(f.kit("h2"), "data.csv.ledger"))
        only(preflight(f.kit("h2"), "--offline", expect=1), "budget", "it was lost or taken away")


def test_a_coordinators_kit():
    with Federation(rounds=1, count=5) as f:
        taken = socket.create_server(("127.0.0.1", 0))
        address = f"tls+tcp://127.0.0.1:{taken.getsockname()[1]}"
        checks = preflight(f.kit("coordinator"), "--address", address, expect=1)
        only(checks, "listen", "can't be listened on")
        taken.close()
        assert problems(preflight(f.kit("coordinator"), "--address", address)) == []
        only(preflight(f.kit("coordinator"), "--address", "tls+tcp://192.0.2.1:7443", expect=1), "listen",
             "can't be listened on")

        # With one hospital revoked all others are needed, with two the roster is too small for its policy.
        run("kit", "revoke", "h5", "--federation", f.root)
        run("kit", "issue", "--federation", f.root)
        find(preflight(f.kit("coordinator"), "--offline"), "cohort", "a round needs all 4", "warning")
        shutil.copy(os.path.join(f.kit("coordinator"), "roster.json"), os.path.join(f.kit("h5"), "roster.json"))
        checks = preflight(f.kit("h5"), "--offline", expect=1)
        assert ("member", f"{f.kit('h5')}/roster.json: hospital h5 has been revoked") in problems(checks), checks

        run("kit", "revoke", "h4", "--federation", f.root)
        shutil.copy(os.path.join(f.root, "authority", "roster.json"), f.kit("coordinator"))
        only(preflight(f.kit("coordinator"), "--offline", expect=1), "cohort", "none can begin")

        run("stop", f.kit("coordinator"), "--yes")
        checks = preflight(f.kit("coordinator"), "--offline", expect=1)
        assert "pause" in [check for check, _ in problems(checks)], checks


if __name__ == "__main__":
    chosen = sys.argv[1:]
    tests = [value for name, value in list(globals().items()) if name.startswith("test_")]
    if chosen:
        tests = [test for test in tests if any(word in test.__name__ for word in chosen)]
    sys.exit(main(tests))
