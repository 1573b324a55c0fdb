"""The engine's cases over HTTP/2: what a front, a client and an origin are to `engine.play`."""

from engine import front

from . import client, judge, origin
from . import frames as f


class View:
    """A client's connection with the parts of an HTTP/1 `Side`; `methods` are those of the requests, by stream. Where
    HTTP/1 ends the connection, the end of all streams is as good."""

    def __init__(self, wire, methods=None):
        self.wire, self.methods, self.closed_first = wire, methods or {}, False
        self.reader = self
        self.tunnel, self.rest = b"", b""

    @property
    def messages(self):
        return judge.responses(self.wire, self.methods)[0]

    @property
    def violations(self):
        return judge.responses(self.wire, self.methods)[1]

    @property
    def raw(self):
        return b"".join(b"%s: %s\n" % field for it in self.wire.streams.values() for field in it.head or ())

    @property
    def end(self):
        if self.wire.closed or not self.wire.streams:
            return self.wire.closed
        if any(it.code for it in self.wire.streams.values()):
            return "rst"
        return "fin" if all(it.over for it in self.wire.streams.values()) else None

    def close(self):
        self.wire.close()


class OriginView:
    """The same for a connection of an origin."""

    def __init__(self, wire):
        self.wire, self.reader = wire, self
        self.tunnel, self.rest = b"", b""

    @property
    def messages(self):
        return judge.requests(self.wire)[0]

    @property
    def violations(self):
        return judge.requests(self.wire)[1]

    @property
    def raw(self):
        return b"".join(b"%s: %s\n" % field for it in self.wire.streams.values() for field in it.head or ())

    @property
    def end(self):
        return self.wire.closed

    def close(self):
        self.wire.close()


async def http2(stage, ask):
    """Plays an `Ask`."""
    wire = await client.connect(stage.port, stage.host)
    stage.clients.append(View(wire, {1: ask.method}))
    fields = [(name.lower(), value) for name, value in ask.fields]
    if ask.body is not None and not ask.chunked and not ask.trailers:
        fields.append((b"content-length", b"%d" % len(ask.body)))
    head = wire.fields(ask.method, ask.path, fields)
    empty = ask.body is None and not ask.trailers and not ask.chunked
    await wire.send(f.long_headers(1, head, end=empty))
    if not empty:
        await wire.pour(1, ask.body or b"", trailers=[(n.lower(), v) for n, v in ask.trailers] or None)
    await wire.verdict(1)


class Lane:
    """An engine's origin that speaks HTTP/2; `sides` are its connections."""

    def __init__(self, host, sock):
        self.host, self.sock, self.port = host, sock, sock.getsockname()[1]
        self.inner = None

    async def open(self, stage, script):
        self.inner = origin.Origin(script or origin.Script(), stage)
        await self.inner.open(self.sock)

    @property
    def sides(self):
        return [OriginView(wire) for wire in self.inner.wires]

    async def close(self):
        await self.inner.close()


front.FRONTS.update({"h2": http2, "floods": http2, "h2-h2": http2, "h1-h2": front.http1})
front.ORIGINS.update({"h1-h2": Lane, "h2-h2": Lane})
