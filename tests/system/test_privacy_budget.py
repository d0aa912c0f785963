#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Federations with noise and a privacy budget: who stops when, what is charged over
crashes, and ledgers that were lost, cut or restored from an old copy. TAP."""

import json
import math
import os
import shutil
import signal
import sqlite3
import sys

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
from federation import Federation, main, run  # noqa: E402

NOISE, RATE, DELTA = 2.0, 0.25, 1e-4
EXIT_BUDGET = 5
RESERVED, CHARGED, CANCELLED, REFUNDED, RELEASED = range(1, 6)


def epsilon_of(rounds, noise=NOISE, rate=RATE):
    text = run("dp", "epsilon", "--noise-multiplier", str(noise), "--sampling-rate", str(rate), "--rounds",
               str(rounds), "--delta", str(DELTA), "--json")
    return json.loads(text)["epsilon"]


def federation(affords, rounds=20, *init, **more):
    """With a budget for so many rounds, and not one more."""
    budget = (epsilon_of(affords) + epsilon_of(affords + 1)) / 2
    return Federation(rounds=rounds, privacy={"noise_multiplier": NOISE, "sampling_rate": RATE},
                      init=["--epsilon", str(budget), "--delta", str(DELTA), "--smallest-sum", "4", *init], **more)


def ledger_path(f, name):
    return os.path.join(f.state(name), "ledger.sqlite") if name == "coordinator" else os.path.join(
        f.kit(name), "data.csv.ledger")


def parse(body):
    name = int.from_bytes(body[115:119], "little")
    return body[81], body[131 + name:163 + name]


def entries(f, name):
    """(kind, descriptor) of each, oldest first. The body's layout is store/ledger_entry.c's."""
    database = sqlite3.connect(f"file:{ledger_path(f, name)}?mode=ro", uri=True)
    rows = [row[0] for row in database.execute("SELECT body FROM entry ORDER BY sequence")]
    database.close()
    return [parse(body) for body in rows]


def counted(f, name):
    """Rounds that count: the last word of each is neither cancelled nor refunded."""
    last = {}
    for kind, descriptor in entries(f, name):
        last[descriptor] = kind
    return sum(kind not in (CANCELLED, REFUNDED) for kind in last.values()), list(last.values())


def start_all(f):
    f.start_coordinator("--until-finished")
    for name in f.names:
        f.start(name, "--until-finished")


def released(f):
    return len([name for name in os.listdir(os.path.join(f.state("coordinator"), "models", "manifests"))])


def test_the_study_stops_at_the_last_affordable_round():
    with federation(4) as f:
        start_all(f)
        f.wait_exit("coordinator", EXIT_BUDGET)
        for name in f.names:
            f.wait_exit(name, EXIT_BUDGET)
        assert len(f.completed()) == 4, f.completed()
        assert f.completed()[-1]["epsilon"] <= epsilon_of(4) * 1.001, f.completed()[-1]
        said = f.said(0)
        assert "the study ends after 4 of 20 rounds: the privacy budget of the study is spent" in said, f.tails()
        for name in f.names:
            assert "the privacy budget of the study is spent" in f.log(name), f.log(name)
            assert "one more round isn't within it" in f.log(name)
            missed = sum(name == who["hospital"] for event in f.completed() for who in event["missing"])
            assert 4 - missed <= counted(f, name)[0] <= 4, (name, counted(f, name))
        assert counted(f, "coordinator") == (4, [RELEASED] * 4), counted(f, "coordinator")
        # Started again, nobody begins another one.
        start_all(f)
        f.wait_exit("coordinator", EXIT_BUDGET)
        for name in f.names:
            f.wait_exit(name, EXIT_BUDGET)
        assert counted(f, "coordinator")[0] == 4 and len(f.completed()) == 4


def test_who_missed_rounds_ends_with_the_study():
    with federation(8) as f:
        start_all(f)
        f.wait(lambda: len(f.completed()) >= 1, "a round")
        f.kill("h5")
        done = len(f.completed())
        f.wait(lambda: any(e["included"] == 4 for e in f.completed()[done:]), "a round without h5")
        f.start("h5", "--until-finished")
        f.wait_exit("coordinator", EXIT_BUDGET)
        for name in f.names:
            f.wait_exit(name, EXIT_BUDGET)
        assert counted(f, "h5")[0] < counted(f, "h1")[0] == 8, (counted(f, "h5"), counted(f, "h1"))
        assert "begins no further round: the privacy budget of the study is spent" in f.log("h5"), f.log("h5")


def test_central_noise_and_unit_hospital():
    with federation(3, 20, "--noise", "central") as f:
        start_all(f)
        f.wait_exit("coordinator", EXIT_BUDGET)
        assert len(f.completed()) == 3
    budget = (epsilon_of(2, 8, 1) + epsilon_of(3, 8, 1)) / 2
    with Federation(rounds=9, privacy={"noise_multiplier": 8, "sampling_rate": 1}, local_epochs=2,
                    init=["--epsilon", str(budget), "--delta", str(DELTA), "--unit", "hospital"]) as f:
        start_all(f)
        f.wait_exit("coordinator", EXIT_BUDGET)
        for name in f.names:
            f.wait_exit(name, EXIT_BUDGET)
        assert len(f.completed()) == 2


def manifests(f):
    """By round, as the coordinator signed them."""
    folder = os.path.join(f.state("coordinator"), "models", "manifests")
    found = {}
    for name in os.listdir(folder):
        with open(os.path.join(folder, name)) as file:
            manifest = json.loads(file.read().split("\n-- consilium")[0])
        found[manifest["round"]] = manifest
    return [found[number] for number in sorted(found)]


def follows(manifest, adaptive):
    """The next clip norm, computed again from what was published."""
    clip = manifest["clip"]
    patients = sum(one["weight"] for one in manifest["hospitals"] if one["outcome"] == "included")
    within = 0.5 + clip["released"] / (2 * clip["unit"] * RATE * patients)
    step = math.exp(-adaptive["rate"] * (min(max(within, 0), 1) - adaptive["quantile"]))
    return min(max(clip["norm"] * step, adaptive["min"]), adaptive["max"])


def estimates(manifest, metrics):
    """Loss, accuracy and their standard errors, computed again from what was published."""
    released = manifest["metrics"]["released"]
    patients = sum(one["weight"] for one in manifest["hospitals"] if one["outcome"] == "included")
    steps = released["unit"] * RATE * patients
    return {"loss": metrics["loss_max"] / 2 * (1 + released["loss"] / steps),
            "loss_error": metrics["loss_max"] / 2 * released["sigma"] / steps,
            "accuracy": (1 + released["right"] / steps) / 2, "accuracy_error": released["sigma"] / steps / 2}


def test_an_adaptive_clip_norm_and_noised_metrics():
    """They follow from what is published, over a restart of everybody and a missed round,
    and cost no more rounds than without."""
    adaptive = {"quantile": 0.5, "rate": 0.4, "share": 0.05, "min": 0.02, "max": 8}
    metrics = {"share": 0.2, "loss_max": 2}
    study = {"noise_multiplier": NOISE, "sampling_rate": RATE, "adaptive_clip": adaptive, "metrics": metrics}
    budget = (epsilon_of(8) + epsilon_of(9)) / 2
    with Federation(rounds=20, privacy=study, clip_norm=4,
                    init=["--epsilon", str(budget), "--delta", str(DELTA), "--smallest-sum", "4"]) as f:
        shown = run("policy", "show", os.path.join(f.kit("h1"), "policy.json"))
        assert "at most 8 before" in shown and "published with noise" in shown, shown
        assert "enters the sums of all hospitals with noise" in run("consent", f.kit("h1"), "--yes")
        statement = run("budget", "statement", f.kit("h1"))
        assert "follows the gradients" in statement and "A share of 0.2 of what a round gives away is theirs" in statement
        start_all(f)
        f.wait(lambda: f.completed(), "a round")
        f.kill("h5")
        f.wait(lambda: any(event["included"] == 4 for event in f.completed()), "a round without h5")
        f.start("h5", "--until-finished")
        f.kill("h1")
        f.kill("coordinator")
        f.start_coordinator()
        f.start("h1", "--until-finished")
        f.wait(lambda: "the study ends after" in f.said(0), "the end")
        chain = manifests(f)
        # A kill may leave a round charged without a result.
        assert [one["round"] for one in chain] == list(range(1, len(chain) + 1)) and 5 <= len(chain) <= 8, chain
        norm = 4
        for one in chain:
            assert one["clip"]["norm"] == norm, (one, norm)
            norm = one["clip"]["next"]
            assert abs(norm / follows(one, adaptive) - 1) < 1e-11, one
            for name, value in estimates(one, metrics).items():
                assert abs(one["metrics"][name] - value) < 1e-11 * (1 + abs(value)), (name, value, one)
        for event in f.completed():
            assert event["noised_loss_error"] > 0 and "loss" not in event, event
            assert abs(event["noised_accuracy"] - 0.5) < 0.7 + 6 * event["noised_accuracy_error"], event
        assert "received model: noised loss" in f.log("h2"), f.log("h2")
        assert norm < 2, norm  # hardly a patient's gradient was beyond 4
        for name in f.names:
            assert "refused" not in f.log(name), f.log(name)
            assert counted(f, name)[0] <= 8, (name, counted(f, name))


def test_the_demo_with_an_adaptive_clip_norm():
    done = json.loads(run("demo", "--epsilon", "3", "--adaptive-clip", "--metrics", "--rounds", "4", "--hospitals", "4", "--no-kill",
                          "--json"))
    rounds = done["rounds"]
    assert [one["round"] for one in rounds] == [1, 2, 3, 4] and rounds[0]["clip_norm"] == 1, rounds
    for before, after in zip(rounds, rounds[1:]):
        assert after["clip_norm"] == before["next_clip_norm"] != before["clip_norm"], (before, after)
    assert 2.9 < done["epsilon_spent"] <= 3, done
    assert all(0 < one["noised_accuracy_error"] for one in rounds), rounds
    assert "--metrics is for --epsilon" in run("demo", "--metrics", expect=2)
    assert "--adaptive-clip is for --epsilon" in run("demo", "--adaptive-clip", expect=2)


def test_public_metrics():
    """On the coordinator's own test set; without one it says what is missing."""
    with federation(3) as f:
        path = os.path.join(f.folder, "policy.json")
        with open(os.path.join(f.kit("coordinator"), "policy.json")) as file:
            policy = json.loads(file.read().split("\n-- consilium")[0])
        policy["metrics"] = "public"
        policy["version"] += 1
        with open(path, "w") as file:
            json.dump(policy, file)
        for name in ["coordinator"] + f.names:
            run("policy", "sign", path, "--as", os.path.join(f.root, "officer"), "--out",
                os.path.join(f.kit(name), "policy.json"))
        assert "names no test set" in run("coordinator", f.kit("coordinator"), expect=3)
        shutil.copy(os.path.join(f.kit("h1"), "data.csv"), os.path.join(f.kit("coordinator"), "test.csv"))
        path = os.path.join(f.kit("coordinator"), "config.json")
        with open(path) as file:
            config = json.load(file)
        config["test"] = "test.csv"
        with open(path, "w") as file:
            json.dump(config, file, indent=2, sort_keys=True)
        start_all(f)
        f.wait_exit("coordinator", EXIT_BUDGET)
        assert all(0.3 < event["auc"] <= 1 for event in f.completed()), f.completed()
        f.wait_exit("h1", EXIT_BUDGET)
        assert "new model on the public test set: loss" in f.log("h1"), f.log("h1")


def test_a_hospital_refuses_by_its_own_limit():
    """Whatever coordinator and policy say: what all studies on these data may cost."""
    with federation(6) as f:
        path = os.path.join(f.kit("h5"), "config.json")
        with open(path) as file:
            config = json.load(file)
        config["budget"] = {"epsilon": (epsilon_of(2) + epsilon_of(3)) / 2, "delta": DELTA}
        with open(path, "w") as file:
            json.dump(config, file, indent=2, sort_keys=True)
        start_all(f)
        f.wait_exit("h5", EXIT_BUDGET)
        f.wait_exit("coordinator", EXIT_BUDGET)
        assert "the privacy budget of the data set is spent" in f.log("h5"), f.log("h5")
        assert counted(f, "h5")[0] == 2 and counted(f, "h1")[0] == 6
        assert [event["included"] for event in f.completed()] == [5, 5, 4, 4, 4, 4]


def test_two_studies_on_the_same_data_add_up():
    """By a ledger that the second kit names (h1), or a table that it links to (h2)."""
    with federation(3) as f, federation(5) as g:
        path = os.path.join(g.kit("h1"), "config.json")
        with open(path) as file:
            config = json.load(file)
        config["ledger"] = ledger_path(f, "h1")
        with open(path, "w") as file:
            json.dump(config, file, indent=2, sort_keys=True)
        for name in os.listdir(g.kit("h2")):
            if name.startswith("data.csv"):
                os.remove(os.path.join(g.kit("h2"), name))
        os.symlink(os.path.join(f.kit("h2"), "data.csv"), os.path.join(g.kit("h2"), "data.csv"))
        start_all(f)
        f.wait_exit("coordinator", EXIT_BUDGET)
        start_all(g)
        for name in ("h1", "h2"):
            g.wait_exit(name, EXIT_BUDGET)
            assert counted(f, name)[0] == 5, (name, counted(f, name))
        # Each was in two rounds, not always in the same ones; three hospitals are too few for another.
        g.wait(lambda: "3 hospitals" in g.said(0), "the coordinator's word")
        for name in ("h1", "h2"):
            here = [event for event in g.completed() if all(name != who["hospital"] for who in event["missing"])]
            assert len(here) <= 2, (name, g.completed())
        assert 2 <= len(g.completed()) <= 4, g.completed()


def test_kills_cost_no_more_and_no_less():
    """A round killed after the start of its upload is charged, or abandoned; no model
    is ever there without its round in the ledger."""
    with federation(8) as f:
        f.start_coordinator("--until-finished", KILL_SYNC=40)
        for name in f.names:
            f.start(name, "--until-finished")
        for number in (60, 75, 90, None):
            process = f.processes["coordinator"]
            process.wait(timeout=120)
            assert process.returncode == -signal.SIGKILL, f.tails()
            marked = sum(kind == RELEASED for kind, _ in entries(f, "coordinator"))
            assert released(f) <= marked, (released(f), entries(f, "coordinator"))
            f.start_coordinator("--until-finished", **({"KILL_SYNC": number} if number else {}))
        f.wait_exit("coordinator", EXIT_BUDGET)
        total, kinds = counted(f, "coordinator")
        # One may have been killed after its model was there and before it was said.
        assert kinds.count(RELEASED) == released(f) >= len(f.completed()), (kinds, released(f))
        assert total == 8 or RESERVED not in kinds, kinds
        for name in f.names:
            f.wait_exit(name, EXIT_BUDGET)
            assert counted(f, name)[0] <= 8, (name, counted(f, name))


def copy_ledger(f, name, folder):
    os.makedirs(folder, exist_ok=True)
    path = ledger_path(f, name)
    for suffix in ("", "-wal"):
        target = os.path.join(folder, "ledger" + suffix)
        if os.path.exists(target):
            os.remove(target)
        if os.path.exists(path + suffix):
            shutil.copy(path + suffix, target)


def restore_ledger(f, name, folder):
    path = ledger_path(f, name)
    for suffix in ("", "-wal", "-shm"):
        if os.path.exists(path + suffix):
            os.remove(path + suffix)
        source = os.path.join(folder, "ledger" + suffix)
        if os.path.exists(source):
            shutil.copy(source, path + suffix)


def restore_record(f, name, folder):
    """The hospital's own record of rounds, of the same time as the ledger."""
    shutil.rmtree(f.state(name))
    shutil.copytree(os.path.join(folder, "state"), f.state(name))


def test_an_old_copy_of_a_hospitals_ledger_is_noticed():
    """By the hospital's own record of rounds; by the coordinator, if that is old too."""
    with federation(1000, 1000) as f:
        f.start_coordinator()
        for name in f.names:
            f.start(name)
        f.wait(lambda: len(f.completed()) >= 2, "two rounds")
        f.kill("h5", signal.SIGTERM)
        old = os.path.join(f.folder, "old")
        copy_ledger(f, "h5", old)
        shutil.copytree(f.state("h5"), os.path.join(old, "state"))
        f.start("h5")
        done = len(f.completed())
        f.wait(lambda: any(e["included"] == 5 for e in f.completed()[done:]), "h5 back")
        f.kill("h5", signal.SIGTERM)
        restore_ledger(f, "h5", old)
        f.start("h5")
        f.wait_exit("h5", 3)
        assert "of this study, in which this hospital took part" in f.log("h5"), f.log("h5")
        restore_record(f, "h5", old)
        before = f.said()
        f.start("h5")
        f.wait(lambda: "restored from an old copy" in f.said(before), "the coordinator's word")
        f.wait(lambda: "this hospital's privacy ledger isn't whole" in f.log("h5"), "the hospital's word")
        done = len(f.completed())
        f.wait(lambda: len(f.completed()) >= done + 2, "rounds without h5")
        assert all(e["included"] == 4 for e in f.completed()[done:]), f.completed()[done:]
        # One that is gone is no fresh start either, with its key or without.
        f.kill("h5", signal.SIGTERM)
        for suffix in ("", "-wal", "-shm"):
            if os.path.exists(ledger_path(f, "h5") + suffix):
                os.remove(ledger_path(f, "h5") + suffix)
        f.start("h5")
        f.wait_exit("h5", 1)
        assert "it was lost or taken away" in f.log("h5"), f.log("h5")
        os.remove(ledger_path(f, "h5") + ".key")
        shutil.rmtree(f.state("h5"))
        run("consent", f.kit("h5"), "--yes")
        before = f.said()
        f.start("h5")
        f.wait(lambda: "hospital h5 takes no part: its privacy ledger is another" in f.said(before),
               "the coordinator's word on a new ledger")


def test_an_old_copy_of_the_coordinators_ledger_is_noticed():
    with federation(40, 40) as f:
        f.start_coordinator()
        for name in f.names:
            f.start(name)
        f.wait(lambda: len(f.completed()) >= 1, "a round")
        f.kill("coordinator", signal.SIGTERM)
        old = os.path.join(f.folder, "old")
        copy_ledger(f, "coordinator", old)
        f.start_coordinator()
        done = len(f.completed())
        f.wait(lambda: len(f.completed()) >= done + 2, "rounds")
        f.kill("coordinator", signal.SIGTERM)
        restore_ledger(f, "coordinator", old)
        f.start_coordinator()
        process = f.processes["coordinator"]
        process.wait(timeout=120)
        assert process.returncode not in (0, -signal.SIGKILL), f.tails()
        assert "restored from an old copy" in f.said(0), f.tails()


def test_damage_is_named():
    with federation(2, 2) as f:
        start_all(f)
        f.wait_exit("coordinator", 0)
        for name in f.names:
            f.wait_exit(name, 0)
        path = ledger_path(f, "h2")
        database = sqlite3.connect(path)
        database.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        database.close()
        with open(path, "rb") as file:
            data = bytearray(file.read())
        (digest,) = sqlite3.connect(path).execute("SELECT digest FROM entry WHERE sequence = 2").fetchone()
        data[data.index(digest)] ^= 1
        with open(path, "wb") as file:
            file.write(data)
        f.start("h2")
        process = f.processes["h2"]
        process.wait(timeout=60)
        assert process.returncode not in (0, EXIT_BUDGET), f.log("h2")
        assert "privacy ledger was changed" in f.log("h2"), f.log("h2")


if __name__ == "__main__":
    sys.exit(main([test for name, test in list(globals().items()) if name.startswith("test_")]))
