"""An HTTP/2 origin with prior knowledge that records what it is asked and answers by script.

A script is called with the connection and the stream as soon as a request's head has come; scripts of several streams
run side by side. Without one every request is answered, when it is whole, with its path.
"""

import asyncio
import contextlib

from . import frames as f
from .wire import Wire


def answer(status=200, extra=(), body=None, trailers=None, wait=True):
    """The script of a well-behaved origin; without `body` the path is sent back."""

    async def script(wire, it):
        if wait:
            await wire.until(lambda: it.over)
        content = it.field(":path", "").encode("latin-1") if body is None else body
        head = [(":status", str(status)), *extra]
        if body is None and trailers is None:
            head.append(("content-length", str(len(content))))
        if it.field(":method") == "HEAD":
            content = b""
        await wire.send(f.long_headers(it.number, head, end=not content and trailers is None))
        if content or trailers is not None:
            await wire.pour(it.number, content, trailers=trailers)

    return script


def say(*parts, wait=True, then=None):
    """The script that sends these bytes; a part that is called is given the stream's number. `then` is `close`, `fin`
    or `reset`."""

    async def script(wire, it):
        if wait:
            await wire.until(lambda: it.over)
        await wire.send(*(part(it.number) if callable(part) else part for part in parts))
        if then:
            # What was sent is to be read before the end comes.
            await asyncio.sleep(0.05)
            getattr(wire, then)()

    return script


# Parts for `say`, which gives them the number.


def head(*fields, status="200", end=False):
    return lambda number: f.headers(number, [(":status", status), *fields], end=end)


def data(text, end=False):
    return lambda number: f.data(number, text, end)


def reset(why):
    return lambda number: f.reset(number, why)


class Script:
    """What a case has as its `origin` when that speaks HTTP/2: a script for each connection, the last for all further
    ones, and the SETTINGS that open one (None: it says nothing of its own)."""

    def __init__(self, *scripts, settings=()):
        self.scripts, self.settings = scripts or (answer(),), settings


class Origin:
    """Serves one case on a listening socket; `wires` are the connections. What a script raises, `close` raises."""

    def __init__(self, script, stage=None):
        self.script, self.stage = script, stage
        self.wires, self.tasks, self.server = [], [], None

    async def open(self, sock):
        self.server = await asyncio.start_server(self._begin, sock=sock)

    def _begin(self, reader, writer):
        self.tasks.append(asyncio.create_task(self._accept(reader, writer)))

    @property
    def requests(self):
        """The streams with a head, by connection and number."""
        return [it for wire in self.wires for _, it in sorted(wire.streams.items()) if it.head]

    async def _accept(self, reader, writer):
        with contextlib.suppress(asyncio.IncompleteReadError, OSError):
            preface = await reader.readexactly(len(f.PREFACE))
            wire = Wire(reader, writer, server=True)
            wire.stage = self.stage
            self.wires.append(wire)
            if preface != f.PREFACE:
                wire.broken = f"no preface: {preface!r}"
                return
            if self.script.settings is not None:
                await wire.send(f.settings(*self.script.settings))
            await self._serve(wire, self.script.scripts[min(len(self.wires), len(self.script.scripts)) - 1])

    async def _serve(self, wire, script):
        begun = set()
        while True:
            fresh = [number for number, it in wire.streams.items() if it.head and number not in begun]
            for number in fresh:
                begun.add(number)
                self.tasks.append(asyncio.ensure_future(script(wire, wire.streams[number])))
            if wire.closed:
                return
            if not fresh:
                await wire.changed.wait()

    async def close(self):
        self.server.close()
        for task in self.tasks:
            task.cancel()
        for wire in self.wires:
            wire.close()
        for ended in await asyncio.gather(*self.tasks, return_exceptions=True):
            if isinstance(ended, Exception):
                raise ended
