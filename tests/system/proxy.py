# SPDX-License-Identifier: Apache-2.0
"""A bad network: a TCP proxy with one door for each hospital, whose connections
can be cut, stalled, slowed and damaged."""

import asyncio
import socket
import struct
import threading

PIECE = 16384
TICK_S = 0.01


class Records:
    """Where in a stream TLS records have their contents: a damaged length would only
    make the receiver wait for more."""

    def __init__(self):
        self.header, self.left = b"", 0

    def contents(self, data):
        """(offset, length) of the contents in the next piece of the stream."""
        found, at = [], 0
        while at < len(data):
            if self.left == 0:
                more = data[at:at + 5 - len(self.header)]
                self.header, at = self.header + more, at + len(more)
                if len(self.header) == 5:
                    self.header, self.left = b"", struct.unpack(">H", self.header[3:])[0]
            else:
                length = min(self.left, len(data) - at)
                found.append((at, length))
                self.left, at = self.left - length, at + length
        return found


def damage(data, contents, where):
    at = int(where * sum(length for _, length in contents))
    for offset, length in contents:
        if at < length:
            damaged = bytearray(data)
            damaged[offset + at] ^= 0x10
            return bytes(damaged)
        at -= length
    raise AssertionError("nothing to damage")


class Way:
    """One direction of a door, over all of its connections."""

    def __init__(self):
        self.stalled = False
        self.rate = None  # bytes a second
        self.latency_s = 0
        self.flips = []  # for each byte to be damaged: where in the records of its piece, 0 to 1
        self.bytes = 0
        self.every = None  # a cut after each so many bytes
        self.cuts = 0

    def is_cut(self, count):
        """So many bytes came: does the connection end with them?"""
        before, self.bytes = self.bytes, self.bytes + count
        cut = bool(self.every) and self.bytes // self.every > before // self.every
        self.cuts += cut
        return cut


class Door:
    def __init__(self, proxy, name):
        self.proxy, self.name = proxy, name
        self.up, self.down = Way(), Way()
        self.closed = False  # new connections are reset at once
        self.pairs = set()
        self.accepted = 0
        self.socket = socket.create_server(("127.0.0.1", 0))
        self.socket.setblocking(False)
        self.url = "tls+tcp://127.0.0.1:%d" % self.socket.getsockname()[1]

    def stall(self, value):
        self.up.stalled = self.down.stalled = value

    def cut(self, reset=True):
        """Both sides of all connections, by RST or FIN; returns how many."""
        return self.proxy.call(self.cut_now, reset)

    async def cut_now(self, reset):
        pairs = list(self.pairs)
        for pair in pairs:
            pair.cut(reset)
        return len(pairs)

    def lose_client(self):
        """The hospital's side is reset; the coordinator's stays open and silent."""
        return self.proxy.call(self.lose_client_now)

    async def lose_client_now(self):
        pairs = list(self.pairs)
        for pair in pairs:
            pair.lose_client()
        return len(pairs)

    async def listen(self):
        loop = asyncio.get_running_loop()
        while True:
            client, _ = await loop.sock_accept(self.socket)
            self.accepted += 1
            if self.closed:
                shut(client, True)
                continue
            server = socket.socket()
            for one in (client, server):  # little is on its way when it is cut, as on a thin line
                one.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4 * PIECE)
                one.setblocking(False)
                one.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            self.pairs.add(Pair(self, client, server))


def shut(one, reset):
    if reset:
        one.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    one.close()


class Pair:
    """A connection of a hospital and the one it stands for."""

    def __init__(self, door, client, server):
        self.door, self.client, self.server, self.tasks = door, client, server, []
        self.task = asyncio.ensure_future(self.run())

    async def run(self):
        loop = asyncio.get_running_loop()
        try:
            await loop.sock_connect(self.server, self.door.proxy.target)
            self.tasks = [asyncio.ensure_future(self.carry(self.client, self.server, self.door.up)),
                          asyncio.ensure_future(self.carry(self.server, self.client, self.door.down))]
            try:
                await asyncio.wait(self.tasks, return_when=asyncio.FIRST_COMPLETED)
            finally:
                for task in self.tasks:
                    task.cancel()
                await asyncio.gather(*self.tasks, return_exceptions=True)
            if self.client.fileno() < 0:
                await self.silence()
        except OSError:
            pass  # the coordinator is away
        finally:
            self.door.pairs.discard(self)
            self.client.close()
            self.server.close()

    def cut(self, reset):
        if self.client.fileno() < 0 or self not in self.door.pairs:
            return
        self.door.pairs.discard(self)
        if reset:
            for one in (self.client, self.server):
                one.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.task.cancel()

    def lose_client(self):
        self.door.pairs.discard(self)
        for task in self.tasks:
            task.cancel()
        shut(self.client, True)

    async def silence(self):
        """Takes what comes, until the other side closes."""
        loop = asyncio.get_running_loop()
        while await loop.sock_recv(self.server, PIECE):
            pass

    async def carry(self, source, sink, way):
        loop, records = asyncio.get_running_loop(), Records()
        try:
            while True:
                while way.stalled:
                    await asyncio.sleep(TICK_S)
                data = await loop.sock_recv(source, PIECE)
                if not data:
                    return
                while way.stalled:
                    await asyncio.sleep(TICK_S)
                if way.latency_s:
                    await asyncio.sleep(way.latency_s)
                if way.rate:
                    await asyncio.sleep(len(data) / way.rate)
                contents = records.contents(data)
                if way.flips and contents:
                    data = damage(data, contents, way.flips.pop(0))
                if way.is_cut(len(data)):
                    self.cut(True)
                    return
                await loop.sock_sendall(sink, data)
        except OSError:
            return


class Proxy:
    def __init__(self, names, target_url):
        host, port = target_url.split("//")[1].rsplit(":", 1)
        self.target = (host, int(port))
        self.doors = {name: Door(self, name) for name in names}
        self.loop = asyncio.new_event_loop()
        self.thread = threading.Thread(target=self.loop.run_forever, daemon=True)
        self.thread.start()
        for door in self.doors.values():
            asyncio.run_coroutine_threadsafe(door.listen(), self.loop)

    def call(self, function, *arguments):
        return asyncio.run_coroutine_threadsafe(function(*arguments), self.loop).result(30)

    def bytes_up(self):
        return sum(door.up.bytes for door in self.doors.values())

    async def close_now(self):
        others = [task for task in asyncio.all_tasks() if task is not asyncio.current_task()]
        for task in others:
            task.cancel()
        await asyncio.gather(*others, return_exceptions=True)
        for door in self.doors.values():
            door.socket.close()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.call(self.close_now)
        self.loop.call_soon_threadsafe(self.loop.stop)
        self.thread.join()
        self.loop.close()
