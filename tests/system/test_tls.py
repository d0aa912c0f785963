#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""The listener against the real tools: what `openssl s_client` is told when it
comes with TLS 1.2, without a certificate, with a foreign, a revoked or an
expired one. The alert is what tells, and the listener logs the reason.

usage: test_tls.py TLS_PEER          TAP output
"""

import os
import queue
import subprocess
import sys
import tempfile
import threading

TIMEOUT_S = 60


class Peer:
    """The test server; its lines are read by a thread of their own."""

    def __init__(self, program, folder):
        self.process = subprocess.Popen(
            [program, folder], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        self.lines = queue.Queue()
        threading.Thread(target=self._read, daemon=True).start()
        word, self.port = self.line().split()
        assert word == "READY", word

    def _read(self):
        for line in self.process.stdout:
            self.lines.put(line.strip())
        self.lines.put(None)

    def line(self):
        text = self.lines.get(timeout=TIMEOUT_S)
        if text is None:
            raise RuntimeError("the test server ended early")
        return text

    def stop(self):
        self.process.stdin.close()
        return self.process.wait(timeout=TIMEOUT_S)


def s_client(port, *options, keep_open=False):
    """Runs openssl s_client; returns all it printed. With keep_open it waits
    for the server to hang up, else it ends with its input."""
    process = subprocess.Popen(
        ["openssl", "s_client", "-connect", f"127.0.0.1:{port}", *options],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    try:
        if keep_open:
            output = process.stdout.read()
        else:
            output, _ = process.communicate(timeout=TIMEOUT_S)
    finally:
        process.stdin.close()
        process.stdout.close()
        process.wait(timeout=TIMEOUT_S)
    return output.decode(errors="replace")


def credentials(folder, name):
    return ["-cert", os.path.join(folder, name + ".crt"), "-key", os.path.join(folder, name + ".key")]


def make_rsa(folder):
    subprocess.run(
        ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", "/CN=rsa",
         "-keyout", os.path.join(folder, "rsa.key"), "-out", os.path.join(folder, "rsa.crt")],
        check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)


class Tap:
    def __init__(self):
        self.count = 0
        self.failed = 0

    def check(self, what, good, details=""):
        self.count += 1
        self.failed += not good
        print(f"{'ok' if good else 'not ok'} {self.count} - {what}")
        if not good:
            for line in details.splitlines():
                print("# " + line)
        sys.stdout.flush()


def refusals(tap, peer, folder):
    """(what, options of s_client, what s_client must show, what the listener must log)"""
    cases = [
        ("TLS 1.2", ["-tls1_2", *credentials(folder, "hospital")],
         "alert protocol version", "REFUSED it doesn't offer TLS 1.3"),
        ("TLS 1.1", ["-tls1_1", "-cipher", "ALL:@SECLEVEL=0", *credentials(folder, "hospital")],
         "alert protocol version", "REFUSED it doesn't offer TLS 1.3"),
        ("no certificate", ["-tls1_3"],
         "alert certificate required", "REFUSED it showed no certificate; the roster's are required"),
        ("foreign certificate", credentials(folder, "foreign"),
         "alert unknown ca", "is not in the roster"),
        ("foreign RSA certificate", credentials(folder, "rsa"),
         "alert unknown ca", "is not in the roster"),
        ("revoked certificate", credentials(folder, "revoked"),
         "alert certificate revoked", "is revoked in the roster"),
        ("expired certificate", credentials(folder, "expired"),
         "alert certificate expired", "has expired"),
    ]
    for what, options, alert, logged in cases:
        output = s_client(peer.port, *options, keep_open=True)
        tap.check(f"{what}: s_client sees '{alert}'", alert in output, output)
        line = peer.line()
        tap.check(f"{what}: the listener logs why", line.startswith("REFUSED ") and logged in line, line)


def good_handshake(tap, peer, folder):
    session = os.path.join(folder, "session.pem")
    output = s_client(peer.port, *credentials(folder, "hospital"), "-sess_out", session)
    tap.check("the hospital's certificate: TLS 1.3", "New, TLSv1.3" in output, output)
    tap.check("no session ticket", "New Session Ticket" not in output and not os.path.exists(session), output)
    tap.check("no early data", "Max Early Data: 0" in output or "Early data was not sent" in output, output)
    line = peer.line()
    tap.check("TLS alone doesn't open a link", line.startswith("REFUSED "), line)
    for group, good in (("X25519", True), ("P-256", True), ("P-384", False)):
        output = s_client(peer.port, *credentials(folder, "hospital"), "-groups", group)
        tap.check(f"group {group} {'agreed' if good else 'refused'}", ("New, TLSv1.3" in output) == good, output)
        peer.line()


def main():
    program = sys.argv[1] if len(sys.argv) > 1 else os.environ["CNS_TLS_PEER"]
    tap = Tap()
    with tempfile.TemporaryDirectory(prefix="cns-tls-") as folder:
        peer = Peer(program, folder)
        try:
            make_rsa(folder)
            good_handshake(tap, peer, folder)
            refusals(tap, peer, folder)
            good_handshake(tap, peer, folder)
            tap.check("the listener ends cleanly", peer.stop() == 0)
        finally:
            if peer.process.poll() is None:
                peer.process.kill()
                peer.process.wait()
    print(f"1..{tap.count}")
    return 1 if tap.failed else 0


if __name__ == "__main__":
    sys.exit(main())
