"""The recording origin: a listener of its own for each case, so that no case inherits another's connections.

A script is a sequence of steps for every connection; a list of scripts is for the first, the second, ... connection,
the last for all further ones. Behind its script, and without one, a connection is served plainly: 200 with the
request's target as body, or 400 and the end where the strict reader finds a violation.
"""
import asyncio
import base64
import hashlib
import socket

from . import steps
from .side import Side


class Origin:
    """`sides` are the connections, in the order in which they came."""

    def __init__(self, host, sock):
        self.host, self.sock = host, sock
        self.port = sock.getsockname()[1]
        self.sides = []
        self.stage = self.server = self.script = None
        self.tasks = []

    def again(self):
        """The same, with nothing seen yet."""
        sock = socket.create_server(("127.0.0.1", self.port))
        sock.setblocking(False)
        return type(self)(self.host, sock)

    async def open(self, stage, script):
        self.stage, self.script = stage, script
        self.server = await asyncio.start_server(self.accept, sock=self.sock)

    def accept(self, reader, writer):
        side = Side(reader, writer, self.stage, responses=False)
        self.sides.append(side)
        script = self.script
        if isinstance(script, list):
            script = script[min(len(self.sides), len(script)) - 1]
        self.tasks.append(asyncio.create_task(run(side, script, len(self.sides))))

    async def close(self):
        self.server.close()
        for task in self.tasks:
            task.cancel()
        for side in self.sides:
            side.close()
        for ended in await asyncio.gather(*self.tasks, return_exceptions=True):
            if isinstance(ended, Exception):
                raise ended


async def run(side, script, number):
    for step in script:
        if await side.common(step):
            if step in (steps.CLOSE, steps.RST):
                return
        elif step is steps.HEAD:
            await side.until(lambda: len(side.reader.messages) > side.taken)
        elif step is steps.MESSAGE:
            await side.until(lambda: whole(side) > side.taken)
            side.taken += 1
        elif step is steps.ECHO and whole(side) < side.taken:
            # It was broken off before it was whole.
            return
        elif step is steps.ECHO:
            await echo(side, number)
        elif step is steps.SWITCH:
            await switch(side)
        else:
            raise TypeError(f"an origin cannot {step!r}")
    await plain(side, number)


def whole(side):
    return sum(message.complete for message in side.reader.messages)


async def plain(side, number):
    while await side.until(lambda: whole(side) > side.taken):
        side.taken += 1
        await echo(side, number)
    if side.reader.violations:
        await side.send(b"HTTP/1.1 400 Origin Objects\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")
    if side.end or side.reader.violations:
        side.fin()


async def echo(side, number):
    """The target as body, so that the client can tell whose answer it got."""
    request = side.reader.messages[side.taken - 1]
    body = b"" if request.method == b"HEAD" else request.target
    head = f"HTTP/1.1 200 OK\r\nX-Origin: {number}\r\nContent-Length: {len(request.target)}\r\n\r\n"
    await side.send(head.encode() + body)


async def switch(side):
    key = side.reader.messages[-1].get("sec-websocket-key") or b""
    proof = base64.b64encode(hashlib.sha1(key + b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11").digest())
    await side.send(
        b"HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: websocket\r\n"
        b"Sec-WebSocket-Accept: " + proof + b"\r\n\r\n"
    )
