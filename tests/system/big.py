# SPDX-License-Identifier: Apache-2.0
"""A federation with a model as large as wanted, and what it costs: the private memory
of each process, the messages on the wire, the bytes, and how long each part takes.

For tests/system/test_memory.py and benchmarks/big_model.py."""

import math
import os
import shutil
import socket
import struct
import sys
import tempfile
import threading
import time

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
from federation import Federation  # noqa: E402

FEATURES, CLASSES = 30, 2  # of the example's study
PIECE = 1 << 20
SAMPLE_S = 0.01
CHUNK = 65536 + 64  # of numbers, and what says which they are
WORDS = {"trained": "trained, loss", "uploaded": "has the whole masked update"}


def widths(parameters):
    """Of two hidden layers; together at most so many parameters, and hardly fewer."""
    first = math.isqrt(parameters)
    return first, (parameters - (FEATURES + 1) * first - CLASSES) // (first + 1 + CLASSES)


def dimension(hidden):
    sizes = [FEATURES, *hidden, CLASSES]
    return sum((inputs + 1) * outputs for inputs, outputs in zip(sizes, sizes[1:]))


def need_room(parameters):
    """Ends the test as skipped where the disk can't hold five parties' models and uploads."""
    needed, free = 4 * parameters * 16, shutil.disk_usage(tempfile.gettempdir()).free
    if free < needed:
        print(f"1..0 # SKIP {tempfile.gettempdir()} has {free >> 20} MiB free, and {needed >> 20} are needed", flush=True)
        sys.exit(0)


class Frames:
    """Reads one direction of a plain stream: the largest message, and all bytes."""

    def __init__(self):
        self.header, self.left, self.largest, self.bytes = b"", 0, 0, 0

    def take(self, data):
        self.bytes += len(data)
        at = 0
        while at < len(data):
            if self.left:
                part = min(self.left, len(data) - at)
                self.left, at = self.left - part, at + part
                continue
            part = data[at:at + 8 - len(self.header)]
            self.header, at = self.header + part, at + len(part)
            if len(self.header) == 8:
                (self.left,) = struct.unpack("<I", self.header[:4])
                self.largest, self.header = max(self.largest, self.left), b""


class Ear:
    """A door to the coordinator that listens to plain messages. It holds none back."""

    def __init__(self, url):
        self.target = ("127.0.0.1", int(url.rsplit(":", 1)[1]))
        self.socket = socket.create_server(("127.0.0.1", 0))
        self.url = "tcp://127.0.0.1:%d" % self.socket.getsockname()[1]
        self.directions = []
        threading.Thread(target=self.listen, daemon=True).start()

    def listen(self):
        while True:
            client, _ = self.socket.accept()
            try:
                server = socket.create_connection(self.target)
            except OSError:
                client.close()
                continue
            for source, sink in ((client, server), (server, client)):
                frames = Frames()
                self.directions.append(frames)
                threading.Thread(target=self.carry, args=(source, sink, frames), daemon=True).start()

    @staticmethod
    def carry(source, sink, frames):
        buffer = memoryview(bytearray(PIECE))
        try:
            while count := source.recv_into(buffer):
                sink.sendall(buffer[:count])
                frames.take(bytes(buffer[:count]))
        except OSError:
            pass
        for one in (source, sink):
            try:
                one.shutdown(socket.SHUT_RDWR)
            except OSError:
                pass

    def largest(self):
        return max((frames.largest for frames in self.directions), default=0)


def anonymous_bytes(pid):
    """RssAnon: memory that belongs to the process alone and to no file. 0 once it is gone."""
    try:
        with open(f"/proc/{pid}/status") as file:
            for line in file:
                if line.startswith("RssAnon:"):
                    return int(line.split()[1]) * 1024
    except OSError:
        pass
    return 0


class Watch(threading.Thread):
    """Samples all processes, and notes when their logs first say what matters."""

    def __init__(self, federation):
        super().__init__(daemon=True)
        self.federation, self.ended = federation, threading.Event()
        self.most, self.seen, self.read = {}, {}, {}
        self.begin = time.monotonic()

    def run(self):
        while not self.ended.wait(SAMPLE_S):
            for name, process in list(self.federation.processes.items()):
                self.most[name] = max(self.most.get(name, 0), anonymous_bytes(process.pid))
                self.look(name)

    def look(self, name):
        path, at = self.federation.log_path(name), self.read.get(name, 0)
        if not os.path.exists(path) or os.path.getsize(path) == at:
            return
        with open(path) as file:
            file.seek(at)
            text = file.read()
            self.read[name] = file.tell()
        words = dict(WORDS, result='"included":') if name == "coordinator" else WORDS
        words = dict(words, connected="connected", study='"event":"start"')
        for key, word in words.items():
            if word in text:
                self.seen.setdefault((key, name), time.monotonic() - self.begin)

    def stop(self):
        self.ended_s = time.monotonic() - self.begin
        self.ended.set()
        self.join()

    def last(self, key, names):
        return max(self.seen.get((key, name), 0) for name in names)


class Big(Federation):
    """One round of the example's data on a network of so many parameters."""

    def __init__(self, parameters, count=4, **training):
        self.hidden = widths(parameters)
        self.model_bytes = 4 * dimension(self.hidden)
        super().__init__(count=count, rounds=1, hidden=self.hidden, learning_rate=0.0001, batch=256, **training)

    def start_plain(self, *options):
        """The coordinator on plain TCP, which messages can be counted on; its URL."""
        path = os.path.join(self.folder, "url")
        self.start("coordinator", "--json", "--listen", "tcp://127.0.0.1:0", "--url-file", path, *options)
        self.wait(lambda: os.path.exists(path), "the coordinator's URL")
        with open(path) as file:
            return file.read()

    def run_round(self, plain):
        """(watch, ear): what it cost. ear is None with TLS."""
        watch = Watch(self)
        watch.start()
        ear = Ear(self.start_plain("--until-finished")) if plain else None
        if not plain:
            self.start_coordinator("--until-finished")
        for name in self.names:
            self.start(name, *(["--address", ear.url] if ear else []), "--until-finished")
        for name in self.names + ["coordinator"]:
            self.wait_exit(name)
        watch.stop()
        watch.look("coordinator")
        for name in self.names:
            assert self.models(name) == 2, f"{name} doesn't have the new model\n{self.tails()}"
        return watch, ear

    def models(self, name):
        """Whole ones in its registry, wherever that is in its state."""
        return sum(file.endswith(".model") for _, _, files in os.walk(self.state(name)) for file in files)
