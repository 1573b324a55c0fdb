"""An HTTP/2 client with prior knowledge (RFC 9113, section 3.3)."""

import asyncio
import socket

from . import frames as f
from .wire import PATIENCE, Wire

SETTINGS = ((f.ENABLE_PUSH, 0),)


class Client(Wire):
    """Asks for one authority. `fields` are a request's, `ask` sends one, `get` also says what became of it."""

    authority = "x.test"

    def fields(self, method="GET", path="/", extra=(), scheme="http", authority=None):
        """A request's head; a pseudo-field that is None is left out, an authority of "" too."""
        authority = self.authority if authority is None else authority
        pseudo = ((":method", method), (":scheme", scheme), (":authority", authority or None), (":path", path))
        return [(name, value) for name, value in pseudo if value is not None] + list(extra)

    async def ask(self, path="/", stream=1, method="GET", extra=(), body=None, trailers=None, **target):
        """Sends a request, with `body` also its body, as the windows allow."""
        fields = self.fields(method, path, extra, **target)
        await self.send(f.long_headers(stream, fields, end=body is None and trailers is None))
        if body is not None or trailers is not None:
            return await self.pour(stream, body or b"", trailers=trailers)
        return True

    async def get(self, path="/", stream=1, within=PATIENCE, **options):
        await self.ask(path, stream, **options)
        return await self.verdict(stream, within)


async def connect(port, authority, settings=SETTINGS, greet=True, buffer=None):
    """Connected, the preface and SETTINGS sent unless `greet` is off; `buffer` makes the socket's own a small one."""
    sock = socket.socket()
    sock.setblocking(False)
    if buffer:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, buffer)
    await asyncio.get_running_loop().sock_connect(sock, ("127.0.0.1", port))
    reader, writer = await asyncio.open_connection(sock=sock)
    client = Client(reader, writer)
    client.authority = authority
    if greet:
        await client.send(f.PREFACE, f.settings(*settings))
    return client
