# SPDX-License-Identifier: Apache-2.0
"""A federation of real processes over TLS on loopback, for system tests.

Needs CNS_PROGRAM, CNS_SOURCE_ROOT and CNS_FAULT (the preloaded fault.c)."""

import csv
import json
import os
import shutil
import signal
import struct
import subprocess
import tempfile
import time
import traceback

PROGRAM = os.environ["CNS_PROGRAM"]
EXAMPLE = os.path.join(os.environ["CNS_SOURCE_ROOT"], "examples", "breast-cancer")
# Sanitizers make everything slower; a wait that long means that it will not come.
PATIENCE_S = 120


def run(*arguments, expect=0):
    done = subprocess.run([PROGRAM, *arguments], stdin=subprocess.DEVNULL, capture_output=True, text=True,
                          timeout=PATIENCE_S)
    assert done.returncode == expect, f"{arguments}: exit {done.returncode}: {done.stdout}{done.stderr}"
    return done.stdout + done.stderr


class Federation:
    """init, data, consents; start and stop daemons; read what they say."""

    listen = "tls+tcp://127.0.0.1:0"

    def __init__(self, count=5, rounds=3, hidden=(16,), init=(), privacy=None, model=None, weighting=None, **training):
        self.folder = tempfile.mkdtemp(prefix="consilium-test-")
        self.names = [f"h{k + 1}" for k in range(count)]
        self.rounds = rounds
        self.processes = {}
        self.starts = 0
        with open(os.path.join(EXAMPLE, "study.json")) as file:
            study = json.load(file)
        study["model"]["hidden"] = list(hidden)
        if model:
            study["model"] = model
        study["training"].update({"rounds": rounds, "local_epochs": 1, **training})
        if privacy:
            study["privacy"] = privacy
            study["training"]["momentum"] = 0
            study["validation_share"] = 0
        if weighting:
            study["weighting"] = weighting
        study_path = os.path.join(self.folder, "study.json")
        with open(study_path, "w") as file:
            json.dump(study, file)
        self.root = os.path.join(self.folder, "f")
        run("init", self.root, "--study", study_path, "--hospitals", ",".join(self.names), *init)
        self.write_data()
        for name in self.names:
            run("consent", self.kit(name), "--yes")

    def write_data(self):
        with open(os.path.join(EXAMPLE, "wdbc.csv"), newline="") as file:
            rows = list(csv.reader(file))
        for k, name in enumerate(self.names):
            with open(os.path.join(self.kit(name), "data.csv"), "w", newline="") as file:
                csv.writer(file).writerows([rows[0]] + rows[1 + k::len(self.names)])

    def kit(self, name):
        return os.path.join(self.root, "coordinator") if name == "coordinator" else os.path.join(
            self.root, "hospitals", name)

    def state(self, name):
        return os.path.join(self.kit(name), "state")

    def log_path(self, name):
        return os.path.join(self.folder, name + ".log")

    def log(self, name):
        with open(self.log_path(name)) as file:
            return file.read()

    def said(self, since=None):
        """What the coordinator said, after an earlier length; without one, that length."""
        text = self.log("coordinator") if os.path.exists(self.log_path("coordinator")) else ""
        return len(text) if since is None else text[since:]

    def start(self, name, *options, **faults):
        """faults: KILL_SYNC=N and so on, see fault.c."""
        environment = dict(os.environ)
        if faults:
            environment["LD_PRELOAD"] = os.environ["CNS_FAULT"]
            environment["ASAN_OPTIONS"] = "verify_asan_link_order=0:" + environment.get("ASAN_OPTIONS", "")
            environment.update({"CNS_FAULT_" + key: str(value) for key, value in faults.items()})
        verb = "coordinator" if name == "coordinator" else "hospital"
        with open(self.log_path(name), "a") as log:
            self.processes[name] = subprocess.Popen([PROGRAM, verb, self.kit(name), *options], stdin=subprocess.DEVNULL,
                                                    stdout=log, stderr=log, env=environment)
        return self.processes[name]

    def start_coordinator(self, *options, **faults):
        """On a free port the first time, and on the same one from then on."""
        url_file = os.path.join(self.folder, "url")
        if os.path.exists(url_file):
            with open(url_file) as file:
                return self.start("coordinator", "--json", "--listen", file.read(), *options, **faults)
        process = self.start("coordinator", "--json", "--listen", self.listen, "--url-file", url_file,
                             *options, **faults)
        self.wait(lambda: os.path.exists(url_file), "the coordinator's URL")
        with open(url_file) as file:
            url = file.read()
        for name in self.names:
            path = os.path.join(self.kit(name), "config.json")
            with open(path) as file:
                config = json.load(file)
            config["address"] = url
            with open(path, "w") as file:
                json.dump(config, file, indent=2, sort_keys=True)
        return process

    def start_all(self, *options):
        process = self.start_coordinator("--until-finished", *options)
        for name in self.names:
            self.start(name)
        return process

    def events(self):
        """Everything the coordinator said, as objects."""
        found = []
        for line in self.log("coordinator").splitlines():
            if line.startswith("{"):
                found.append(json.loads(line))
        return found

    def completed(self):
        return [event for event in self.events() if event.get("included")]

    def wait(self, condition, what, seconds=PATIENCE_S):
        end = time.monotonic() + seconds
        while not condition():
            if time.monotonic() > end:
                raise AssertionError(f"waited {seconds} s for {what}\n{self.tails()}")
            time.sleep(0.02)

    def wait_exit(self, name, expect=0):
        process = self.processes[name]
        try:
            code = process.wait(timeout=PATIENCE_S)
        except subprocess.TimeoutExpired:
            raise AssertionError(f"{name} doesn't end\n{self.tails()}") from None
        assert code == expect, f"{name}: exit {code}, expected {expect}\n{self.tails()}"

    def kill(self, name, signum=signal.SIGKILL):
        process = self.processes[name]
        process.send_signal(signum)
        process.wait(timeout=PATIENCE_S)

    def tails(self):
        texts = []
        for name in ["coordinator"] + self.names:
            if os.path.exists(self.log_path(name)):
                texts.append(f"--- {name}\n" + "\n".join(self.log(name).splitlines()[-12:]))
        return "\n".join(texts)

    def model(self):
        """All parameters of the newest model, exported."""
        path = os.path.join(self.folder, "model.safetensors")
        run("model", "export", self.kit("coordinator"), "--out", path)
        with open(path, "rb") as file:
            data = file.read()
        (header,) = struct.unpack("<Q", data[:8])
        body = data[8 + header:]
        return struct.unpack(f"<{len(body) // 4}f", body)

    def check_logs(self):
        for name in ["coordinator"] + self.names:
            if os.path.exists(self.log_path(name)):
                text = self.log(name)
                for word in ("AddressSanitizer", "runtime error", "ThreadSanitizer", "Assertion"):
                    assert word not in text, f"{name}: {word}\n{text[-4000:]}"

    def close(self):
        for process in self.processes.values():
            if process.poll() is None:
                process.kill()
                process.wait()
        shutil.rmtree(self.folder, ignore_errors=True)

    def __enter__(self):
        return self

    def __exit__(self, kind, *_):
        try:
            if kind is None:
                self.check_logs()
        finally:
            self.close()


def main(tests):
    """TAP over functions named test_..."""
    failed = 0
    print(f"1..{len(tests)}", flush=True)
    for number, test in enumerate(tests, 1):
        name = test.__name__.removeprefix("test_").replace("_", " ")
        try:
            test()
            print(f"ok {number} - {name}", flush=True)
        except Exception:
            failed += 1
            print(f"not ok {number} - {name}", flush=True)
            for line in traceback.format_exc().splitlines():
                print(f"# {line}", flush=True)
    return 1 if failed else 0
