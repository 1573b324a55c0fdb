"""One end of an HTTP/2 connection: sends whatever it is given, keeps what comes, and can wait for it.

What a well-behaved peer owes is done by itself (SETTINGS and PING acknowledged, windows opened) unless a case takes
it over with `polite` and `credit`.
"""

import asyncio
import socket
import struct

from . import frames as f
from .hpack import Broken, Decoder

PATIENCE = 3.0


class Stream:
    """What came on one stream."""

    def __init__(self, number, window):
        self.number, self.window = number, window
        self.interim, self.head, self.trailers = [], None, None
        self.data, self.pieces = bytearray(), []
        self.ended, self.code, self.pushed = False, None, False

    def field(self, name, default=None):
        """The first value of a field of the head, as text."""
        return next(iter(self.values(name)), default)

    def values(self, name):
        return [v.decode("latin-1") for n, v in self.head or () if n == name.encode()]

    @property
    def status(self):
        return self.field(":status")

    @property
    def over(self):
        return self.ended or self.code is not None


class Wire:
    """The connection. `server` says that the other end makes the requests. `frames` are all that came, as (type,
    flags, stream, length)."""

    def __init__(self, reader, writer, server=False):
        self.reader, self.writer, self.server, self.stage = reader, writer, server, None
        self.polite, self.credit, self.reading = True, True, asyncio.Event()
        self.reading.set()
        self.decoder, self.buffer, self.got = Decoder(), bytearray(), 0
        self.streams, self.frames = {}, []
        self.settings, self.acks, self.pongs, self.pings = None, 0, [], 0
        self.goaway, self.last, self.closed, self.broken = None, None, None, None
        self.block = None
        self.window, self.initial, self.largest = 65535, 65535, 16384
        self.changed = asyncio.Event()
        self.task = asyncio.ensure_future(self._receive())

    # Sending.

    async def send(self, *parts):
        """All of it, or until the other end closes; whether it could be written."""
        if self.closed or self.writer.is_closing():
            return False
        try:
            self.writer.write(b"".join(parts))
            await self.writer.drain()
        except OSError:
            return False
        return not self.closed

    def put(self, *parts):
        """Without waiting."""
        if not self.closed and not self.writer.is_closing():
            self.writer.write(b"".join(parts))

    async def pour(self, stream, body, end=True, trailers=None):
        """A body of any length, as the windows allow; whether all of it went out."""
        it, body = self.stream(stream), memoryview(bytes(body))
        if not body and end and trailers is None:
            return await self.send(f.data(stream, b"", True))
        while body:
            if not await self.until(lambda: it.over or min(self.window, it.window) > 0) or it.code is not None:
                return False
            if it.over and not self.server and min(self.window, it.window) <= 0:
                return False
            room = min(len(body), self.window, it.window, self.largest)
            last = room == len(body) and end and trailers is None
            if not await self.send(f.data(stream, bytes(body[:room]), last)):
                return False
            self.window, it.window, body = self.window - room, it.window - room, body[room:]
        if trailers is not None:
            return await self.send(f.headers(stream, trailers))
        return True

    def stream(self, number):
        if number not in self.streams:
            self.streams[number] = Stream(number, self.initial)
        return self.streams[number]

    # Reading.

    async def until(self, condition, within=PATIENCE):
        """Waits for the condition; whether it came true in time and before the peer ended."""
        try:
            async with asyncio.timeout(within):
                while not condition():
                    if self.closed:
                        return False
                    await self.changed.wait()
        except TimeoutError:
            return bool(condition())
        return True

    async def _receive(self):
        try:
            while True:
                await self.reading.wait()
                data = await self.reader.read(1 << 16)
                if not data:
                    break
                self.got += len(data)
                self.buffer += data
                self._parse()
                self._wake()
            self.closed = "fin"
        except OSError:
            self.closed = "rst"
        self._wake()

    def _wake(self):
        self.changed.set()
        self.changed = asyncio.Event()

    def _parse(self):
        while len(self.buffer) >= 9 and not self.broken:
            length = int.from_bytes(self.buffer[:3], "big")
            if len(self.buffer) < 9 + length:
                return
            kind, flags, stream = struct.unpack(">BBI", self.buffer[3:9])
            payload = bytes(self.buffer[9 : 9 + length])
            del self.buffer[: 9 + length]
            self._take(kind, flags, stream & 0x7FFFFFFF, payload)

    def _take(self, kind, flags, stream, payload):
        self.frames.append((kind, flags, stream, len(payload)))
        if kind == f.SETTINGS:
            self._settings(flags, payload)
        elif kind == f.PING and flags & f.ACK:
            self.pongs.append(payload)
        elif kind == f.PING:
            self.pings += 1
            if self.polite:
                self.put(f.ping(payload, ack=True))
        elif kind == f.GOAWAY:
            self.last, self.goaway = struct.unpack(">II", payload[:8])
            self.last &= 0x7FFFFFFF
        elif kind == f.WINDOW_UPDATE:
            by = int.from_bytes(payload, "big") & 0x7FFFFFFF
            if stream:
                self.stream(stream).window += by
            else:
                self.window += by
        elif kind == f.RST_STREAM:
            self.stream(stream).code = int.from_bytes(payload, "big")
        elif kind in (f.HEADERS, f.CONTINUATION):
            self._headers(kind, flags, stream, payload)
        elif kind == f.PUSH_PROMISE:
            self.stream(stream).pushed = True
        elif kind == f.DATA:
            self._data(flags, stream, payload)

    def _settings(self, flags, payload):
        if flags & f.ACK:
            self.acks += 1
            return
        said = dict(struct.unpack(">HI", payload[at : at + 6]) for at in range(0, len(payload), 6))
        self.settings = {**(self.settings or {}), **said}
        if f.INITIAL_WINDOW in said:
            for stream in self.streams.values():
                stream.window += said[f.INITIAL_WINDOW] - self.initial
            self.initial = said[f.INITIAL_WINDOW]
        self.largest = said.get(f.MAX_FRAME, self.largest)
        if self.polite:
            self.put(f.settings(ack=True))

    def _headers(self, kind, flags, stream, payload):
        if kind == f.HEADERS:
            if flags & f.PADDED:
                payload = payload[1 : len(payload) - payload[0]]
            if flags & f.PRIORITIZED:
                payload = payload[5:]
            self.block = [flags & f.END_STREAM, payload]
        elif self.block:
            self.block[1] += payload
        if not flags & f.END_HEADERS or not self.block:
            return
        (end, block), self.block = self.block, None
        it = self.stream(stream)
        try:
            fields = self.decoder.decode(block)
        except (Broken, IndexError) as error:
            self.broken = f"header block: {error}"
            return
        status = dict(fields).get(b":status", b"")
        if not self.server and it.head is None and len(status) == 3 and status[:1] == b"1" and not end:
            it.interim.append(fields)
        elif it.head is None:
            it.head = fields
        else:
            it.trailers = fields
        it.ended = it.ended or bool(end)

    def _data(self, flags, stream, payload):
        it, size = self.stream(stream), len(payload)
        if flags & f.PADDED:
            payload = payload[1 : size - payload[0]]
        it.data += payload
        it.pieces.append(len(payload))
        it.ended = it.ended or bool(flags & f.END_STREAM)
        if self.credit and size:
            self.put(f.update(0, size), b"" if it.ended else f.update(stream, size))

    # Judging.

    async def alive(self, within=PATIENCE):
        """A PING comes back: what was sent before it was read."""
        mark = f"ping{len(self.pongs):04d}".encode()
        return await self.send(f.ping(mark)) and await self.until(lambda: mark in self.pongs, within)

    async def verdict(self, stream=1, within=PATIENCE):
        """What became of a stream, in a word or two: the status of a whole response, `cut` (a response without an
        end), or how the stream or the connection ended, with the code."""
        it = self.stream(stream)
        await self.until(lambda: it.over or (self.goaway and not it.head), within)
        if it.head and it.ended and it.code in (None, 0):
            return it.status or "no status"
        if it.head:
            return "cut" if it.over or self.closed or self.goaway else "stalled"
        if it.code is not None:
            return "rst " + f.code(it.code)
        return await self.ending(within=0) or "silent"

    async def ending(self, within=PATIENCE):
        """How the connection was ended, or nothing."""
        await self.until(lambda: self.goaway, within)
        if self.goaway:
            return "goaway " + f.code(self.goaway)
        return "closed" if self.closed else ""

    def fin(self):
        try:
            if not self.writer.is_closing():
                self.writer.write_eof()
        except OSError:
            pass

    def close(self):
        self.task.cancel()
        self.writer.close()

    def reset(self):
        """Ends the TCP connection with a reset."""
        self.task.cancel()
        sock = self.writer.get_extra_info("socket")
        if sock is not None and sock.fileno() >= 0:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.writer.transport.abort()
