"""A translator from HTTP/2 to HTTP/1 that checks nothing: the subject that must fail the malformed messages.

It writes down what it is given, as the first gateways did. A case that it passes bites nothing.
"""

import asyncio

from engine.splice import HOST, Splice

from . import frames as f
from .wire import Wire


class Naive(Splice):
    """A subject in this process."""

    name, modes, area = "naive", ("h2",), "h2-messages"

    async def relay(self, reader, writer):
        await reader.readexactly(len(f.PREFACE))
        wire, begun = Wire(reader, writer, server=True), set()
        await wire.send(f.settings())
        while not wire.closed and not wire.broken:
            for number in [number for number, it in wire.streams.items() if it.head and number not in begun]:
                begun.add(number)
                asyncio.ensure_future(self.translate(wire, wire.streams[number]))
            await wire.changed.wait()
        wire.close()

    async def translate(self, wire, it):
        await wire.until(lambda: it.over)
        try:
            status = await self.exchange(it)
        except (OSError, LookupError):
            status = b"404"
        await wire.send(f.headers(it.number, [(b":status", status)]))

    async def exchange(self, it):
        """The request as it is, and the status that comes back."""
        pseudo = dict(it.head)
        host = pseudo.get(b":authority", pseudo.get(b"host", b""))
        lane = HOST.search(host)
        if not lane:
            raise LookupError(host)
        reader, writer = await asyncio.open_connection("127.0.0.1", self.ports[lane.group()])
        fields = [field for field in it.head if field[0][:1] != b":"]
        if it.data and b"content-length" not in pseudo:
            fields.append((b"content-length", b"%d" % len(it.data)))
        lines = [b"%s %s HTTP/1.1" % (pseudo.get(b":method", b"GET"), pseudo.get(b":path", b"/")), b"host: " + host]
        lines += [name + b": " + value for name, value in fields]
        writer.write(b"\r\n".join(lines) + b"\r\n\r\n" + it.data)
        try:
            async with asyncio.timeout(0.5):
                return (await reader.readline()).split()[1][:3]
        except (TimeoutError, IndexError):
            return b"504"
        finally:
            writer.close()
