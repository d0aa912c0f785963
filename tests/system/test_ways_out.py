# SPDX-License-Identifier: Apache-2.0
"""Ways out of a hospital: a real proxy (tinyproxy) that wants a password, and what is said when it doesn't let a
hospital through; WebSockets; unix sockets; NAT."""

import json
import os
import shutil
import socket
import subprocess
import sys
import tempfile
import time

from federation import PROGRAM, Federation, main

USER, PASSWORD, WRONG = "agent", "OpenSesame7", "not the password"


def tool(name):
    """Daemons of Debian lie in sbin, which isn't on everybody's path."""
    return shutil.which(name) or shutil.which(name, path="/usr/sbin:/sbin")


def edit(f, name, **fields):
    path = os.path.join(f.kit(name), "config.json")
    with open(path) as file:
        config = json.load(file)
    config.update(fields)
    with open(path, "w") as file:
        json.dump(config, file)


class Proxy:
    """tinyproxy on loopback."""

    def __init__(self, folder, password=None, connect_port=None):
        with socket.create_server(("127.0.0.1", 0)) as free:
            self.port = free.getsockname()[1]
        self.url = f"http://127.0.0.1:{self.port}"
        self.log_path = os.path.join(folder, f"proxy-{self.port}.log")
        self.config = os.path.join(folder, f"proxy-{self.port}.conf")
        lines = [f"Port {self.port}", "Listen 127.0.0.1", "Timeout 600", "MaxClients 50", "LogLevel Connect",
                 f'LogFile "{self.log_path}"', 'DefaultErrorFile "/nonexistent"']
        if password:
            lines.append(f"BasicAuth {USER} {password}")
        if connect_port:
            lines.append(f"ConnectPort {connect_port}")
        with open(self.config, "w") as file:
            file.write("\n".join(lines) + "\n")
        self.process = None

    def start(self):
        self.process = subprocess.Popen([tool("tinyproxy"), "-d", "-c", self.config], stdin=subprocess.DEVNULL,
                                        stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        end = time.monotonic() + 60
        while True:
            try:
                socket.create_connection(("127.0.0.1", self.port), 5).close()
                return self
            except OSError:
                assert self.process.poll() is None and time.monotonic() < end, "tinyproxy doesn't start"
                time.sleep(0.02)

    def log(self):
        with open(self.log_path, errors="replace") as file:
            return file.read()

    def stop(self):
        self.process.kill()
        self.process.wait()

    def __enter__(self):
        return self.start()

    def __exit__(self, *_):
        self.stop()


def password_file(f, password, mode=0o600):
    path = os.path.join(f.folder, "proxy.password")
    with open(path, "w") as file:
        file.write(password + "\n")
    os.chmod(path, mode)
    return path


def through(f, proxy, password):
    for name in f.names:
        edit(f, name, proxy={"url": proxy.url, "user": USER, "password_file": password_file(f, password)})


def start(f, *options):
    f.start_coordinator(*options)
    return lambda: [f.start(name) for name in f.names]


def included(f, *counts):
    """Rounds complete, each with so many hospitals."""
    f.wait(lambda: len(f.completed()) >= len(counts), "rounds")
    assert tuple(event["included"] for event in f.completed()) == counts, f.tails()


def nothing_said(f, *secrets):
    for name in ["coordinator"] + f.names:
        if os.path.exists(f.log_path(name)):
            for secret in secrets:
                assert secret not in f.log(name), f"{name} says the password"


def test_round_behind_a_proxy_that_wants_a_password():
    with Federation(count=4, rounds=2) as f, Proxy(f.folder, PASSWORD) as proxy:
        hospitals = start(f)
        through(f, proxy, PASSWORD)
        hospitals()
        included(f, 4, 4)
        assert proxy.log().count("CONNECT") >= 4, proxy.log()
        for name in f.names:
            assert "connections go through the proxy 127.0.0.1" in f.log(name), f.log(name)
        nothing_said(f, PASSWORD)


def test_wrong_password_is_said_and_mended():
    with Federation(count=4, rounds=1) as f, Proxy(f.folder, PASSWORD) as proxy:
        hospitals = start(f)
        through(f, proxy, WRONG)
        hospitals()
        f.wait(lambda: all("doesn't accept the password of user 'agent'" in f.log(name) for name in f.names),
               "the refusal")
        assert not f.completed()
        for name in f.names:
            f.kill(name)
        through(f, proxy, PASSWORD)
        hospitals()
        included(f, 4)
        nothing_said(f, WRONG, PASSWORD)


def test_what_else_a_proxy_refuses():
    with Federation(count=4, rounds=1) as f, Proxy(f.folder, PASSWORD) as proxy, \
            Proxy(f.folder, connect_port=443) as strict:
        start(f)
        f.start("h1", "--proxy", proxy.url)
        f.start("h2", "--proxy", strict.url)
        with socket.create_server(("127.0.0.1", 0)) as free:
            nobody = free.getsockname()[1]
        f.start("h3", "--proxy", f"http://127.0.0.1:{nobody}")
        edit(f, "h4", proxy="environment")
        os.environ["HTTPS_PROXY"] = f"http://{USER}:{WRONG.replace(' ', '%20')}@127.0.0.1:{proxy.port}"
        try:
            f.start("h4")
        finally:
            del os.environ["HTTPS_PROXY"]
        for name, words in {"h1": "asks for a user and a password (407), and none is given",
                            "h2": "ask its operators to allow CONNECT to 127.0.0.1:",
                            "h3": f"can't reach the proxy 127.0.0.1:{nobody}",
                            "h4": "doesn't accept the password of user 'agent'"}.items():
            f.wait(lambda name=name, words=words: words in f.log(name), words)
        f.kill("h4")
        with open(f.log_path("h4"), "a") as log:  # and straight, although the environment names one
            environment = dict(os.environ, HTTPS_PROXY=proxy.url, NO_PROXY="127.0.0.1")
            f.processes["h4"] = subprocess.Popen([PROGRAM, "hospital", f.kit("h4")], stdin=subprocess.DEVNULL,
                                                 stdout=log, stderr=log, env=environment)
        f.wait(lambda: "connected to the coordinator" in f.log("h4"), "the straight way")
        nothing_said(f, WRONG, WRONG.replace(" ", "%20"))


def test_mistakes_are_told_at_the_start():
    with Federation(count=4, rounds=1) as f:
        def fails(expect, says, *options):
            done = subprocess.run([PROGRAM, "hospital", f.kit("h1"), *options], stdin=subprocess.DEVNULL,
                                  capture_output=True, text=True, timeout=120)
            assert done.returncode == expect and says in done.stderr, done
            assert PASSWORD not in done.stderr, done.stderr

        fails(2, "a password on the command line can be seen", "--proxy", f"http://u:{PASSWORD}@proxy:1")
        fails(2, "begin with http://", "--proxy", "proxy:3128")
        fails(2, "no https://, no SOCKS", "--proxy", "socks5://proxy:1080")
        path = password_file(f, PASSWORD, 0o644)
        edit(f, "h1", proxy={"url": "http://proxy:3128", "user": USER, "password_file": path})
        fails(4, "can be read by others than its owner: run chmod 600")
        edit(f, "h1", proxy={"url": "http://proxy:3128", "user": USER})
        fails(1, "both \"user\" and \"password_file\"")
        edit(f, "h1", proxy={"url": "http://proxy:3128", "user": USER, "password_file": "nowhere"})
        fails(4, "password file")
        edit(f, "h1", proxy="straight")
        fails(1, "proxy must be")


def test_proxy_is_restarted_within_a_round():
    with Federation(count=4, rounds=4, hidden=(256, 128)) as f:
        proxy = Proxy(f.folder, PASSWORD).start()
        try:
            hospitals = start(f)
            through(f, proxy, PASSWORD)
            hospitals()
            for done in (1, 2):
                f.wait(lambda done=done: len(f.completed()) >= done, "a round")
                proxy.stop()
                f.wait(lambda: all("is gone" in f.log(name) for name in f.names), "the end of the links")
                proxy.start()
            f.wait(lambda: len(f.completed()) >= 4, "the last round")
            assert [event["round"] for event in f.completed()] == [1, 2, 3, 4], f.tails()
            assert all("can't reach the proxy" in f.log(name) or "hung up" in f.log(name) or
                       "is gone" in f.log(name) for name in f.names), f.tails()
        finally:
            proxy.stop()


def listening(url):
    """A federation whose coordinator listens there."""
    kind = type("Listening", (Federation,), {"listen": url})
    return kind(count=4, rounds=2)


def test_round_over_wss():
    with listening("wss://127.0.0.1:0/study") as f:
        start(f)()
        included(f, 4, 4)
        with open(os.path.join(f.kit("h1"), "config.json")) as file:
            address = json.load(file)["address"]
        assert address.startswith("wss://127.0.0.1:") and address.endswith("/study"), address


def test_round_over_wss_behind_a_proxy():
    with listening("wss://127.0.0.1:0") as f, Proxy(f.folder, PASSWORD) as proxy:
        hospitals = start(f)
        through(f, proxy, PASSWORD)
        hospitals()
        included(f, 4, 4)


def test_round_over_a_unix_socket():
    with tempfile.TemporaryDirectory(prefix="cns-") as folder:
        with listening(f"ipc://{folder}/socket") as f:
            start(f)()
            included(f, 4, 4)


class Namespaces:
    """Hospitals in a network of their own (10.87.1.0/24) behind a router that masks their addresses; the
    coordinator in another one (10.87.2.0/24), behind a router that shows it at port 443 of 10.87.3.2 alone."""

    def __init__(self):
        self.names = {role: f"cns-{role}-{os.getpid()}" for role in ("h", "hr", "cr", "c")}

    def inside(self, role, *command):
        return [tool("ip"), "netns", "exec", self.names[role], *command]

    def do(self, *command, **options):
        subprocess.run(command, check=True, capture_output=True, text=True, timeout=60, **options)

    def link(self, a, a_address, b, b_address):
        ends = f"{a}{b}a{os.getpid()}"[-15:], f"{a}{b}b{os.getpid()}"[-15:]
        ip = tool("ip")
        self.do(ip, "link", "add", ends[0], "netns", self.names[a], "type", "veth", "peer", "name", ends[1], "netns",
                self.names[b])
        for role, end, address in ((a, ends[0], a_address), (b, ends[1], b_address)):
            self.do(ip, "-n", self.names[role], "address", "add", address, "dev", end)
            self.do(ip, "-n", self.names[role], "link", "set", end, "up")
        return ends

    def rules(self, role, text):
        self.do(*self.inside(role, tool("nft"), "-f", "-"),
                input=f"table ip nat {{\n chain way {{\n type nat hook {text}\n }}\n}}\n")

    def __enter__(self):
        ip = tool("ip")
        try:
            for name in self.names.values():
                self.do(ip, "netns", "add", name)
                self.do(ip, "-n", name, "link", "set", "lo", "up")
            self.link("h", "10.87.1.2/24", "hr", "10.87.1.1/24")
            out, _ = self.link("hr", "10.87.3.1/24", "cr", "10.87.3.2/24")
            self.link("cr", "10.87.2.1/24", "c", "10.87.2.2/24")
            self.do(ip, "-n", self.names["h"], "route", "add", "default", "via", "10.87.1.1")
            self.do(ip, "-n", self.names["c"], "route", "add", "default", "via", "10.87.2.1")
            for role in ("hr", "cr"):
                self.do(*self.inside(role, "sh", "-c", "echo 1 >/proc/sys/net/ipv4/ip_forward"))
            self.rules("hr", f"postrouting priority 100\n oifname {out} masquerade")
            self.rules("cr", "prerouting priority -100\n ip daddr 10.87.3.2 tcp dport 443 dnat to 10.87.2.2:7443")
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_):
        for name in self.names.values():
            subprocess.run([tool("ip"), "netns", "del", name], capture_output=True, timeout=60)


def why_no_namespaces():
    """The reason why networks of one's own can't be made here, or None."""
    if not tool("ip") or not tool("nft"):
        return "ip or nft isn't installed"
    if os.geteuid() != 0:
        return "network namespaces need root"
    try:
        with Namespaces():
            return None
    except (subprocess.SubprocessError, OSError) as error:
        said = (getattr(error, "stderr", "") or str(error)).strip().splitlines()
        return "network namespaces or NAT aren't permitted here: " + (said[-1] if said else "no reason is given")


def test_round_behind_nat_with_another_public_port():
    reason = why_no_namespaces()
    if reason:
        print(f"# SKIPPED: {reason}", flush=True)
        return
    public, listen = "tls+tcp://10.87.3.2:443", "tls+tcp://10.87.2.2:7443"
    with Federation(count=4, rounds=2, init=("--address", public, "--listen", listen)) as f, Namespaces() as nets:
        for name in f.names:  # what init has made of the two addresses
            with open(os.path.join(f.kit(name), "config.json")) as file:
                assert json.load(file)["address"] == public
        with open(os.path.join(f.kit("coordinator"), "config.json")) as file:
            assert json.load(file)["listen"] == listen
        for name, role, verb, options in [("coordinator", "c", "coordinator", ("--json",))] + [
                (name, "h", "hospital", ()) for name in f.names]:
            with open(f.log_path(name), "a") as log:
                f.processes[name] = subprocess.Popen(nets.inside(role, PROGRAM, verb, f.kit(name), *options),
                                                     stdin=subprocess.DEVNULL, stdout=log, stderr=log)
        included(f, 4, 4)
        # The address that the coordinator sees is the router's, and nobody minds.
        assert "is connected from 10.87.3.1:" in f.log("coordinator"), f.tails()
        assert "10.87.1.2" not in f.log("coordinator"), f.tails()


if __name__ == "__main__":
    tests = [one for name, one in list(globals().items()) if name.startswith("test_")]
    if not tool("tinyproxy"):  # the packages that ./dev test installs have it
        print("Bail out! tinyproxy isn't installed")
        sys.exit(1)
    sys.exit(main([one for one in tests if not sys.argv[1:] or any(word in one.__name__ for word in sys.argv[1:])]))
