#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""An upload and a download of 100 MiB over a connection that is cut every 10 MiB: each
goes on where it was, and costs at most 1.15 times its bytes. TAP. With --slow the line
carries 3 MiB a second and is cut every 10 s, which takes some minutes."""

import os
import sys
import threading

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
import federation  # noqa: E402
from big import Big, need_room  # noqa: E402
from proxy import Proxy  # noqa: E402

PARAMETERS = 25 << 20  # 100 MiB
EVERY = 10 << 20
SLOW = "--slow" in sys.argv
RATE, CUT_S = 3 << 20, 10
federation.PATIENCE_S = 900


def cut_by_the_clock(door, ended):
    seen = {door.up: 0, door.down: 0}
    while not ended.wait(CUT_S):
        growing = max((door.up, door.down), key=lambda way: way.bytes - seen[way])
        growing.cuts += door.cut()
        seen.update({way: way.bytes for way in seen})


def check(f, what, way):
    times = way.bytes / f.model_bytes
    print(f"# {what}: {way.bytes} bytes over {way.cuts} cuts, {times:.3f} times the model's {f.model_bytes}")
    assert times <= 1.15, (what, way.bytes, f.model_bytes)


def test_a_cut_upload_and_download_go_on_where_they_were():
    with Big(PARAMETERS) as f:
        f.start_coordinator()
        with open(os.path.join(f.folder, "url")) as file:
            url = file.read()
        with Proxy(["h1"], url) as proxy:
            door, ended = proxy.doors["h1"], threading.Event()
            if SLOW:
                door.up.rate = door.down.rate = RATE
                threading.Thread(target=cut_by_the_clock, args=(door, ended), daemon=True).start()
            else:
                door.up.every = door.down.every = EVERY
            for name in f.names:
                f.start(name, "--until-finished", *(["--address", door.url] if name == "h1" else []))
            for name in f.names:
                f.wait_exit(name)
            ended.set()
            (event,) = f.completed()
            assert event["included"] == 4, event
            check(f, "up", door.up)
            check(f, "down", door.down)
            assert SLOW or (door.up.cuts >= 9 and door.down.cuts >= 9), (door.up.cuts, door.down.cuts)
            assert "begins anew" not in f.log("coordinator")


if __name__ == "__main__":
    need_room(PARAMETERS)
    sys.exit(federation.main([test_a_cut_upload_and_download_go_on_where_they_were]))
