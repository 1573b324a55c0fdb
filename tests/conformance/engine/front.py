"""Fronts turn an `Ask` into what a mode's client sends, and fill the stage with what came back.

A front is `async def front(stage, ask)`. It appends to `stage.clients` something with the parts of a `Side` that
`play.look` reads: `reader.messages` (of `wire.Message`), `reader.violations`, `reader.tunnel`, `raw`, `end`, `close()`.
Another mode is added by `FRONTS["h2"] = front`.
"""
from . import client, steps


async def http1(stage, ask):
    await client.play(stage, (render(stage, ask), steps.REPLY))


def render(stage, ask):
    """The request's bytes in HTTP/1.1."""
    target = ask.path if stage.mode != "forward" else b"http://" + stage.host.encode() + ask.path
    lines = [ask.method + b" " + target + b" HTTP/1.1", b"Host: " + stage.host.encode()]
    lines += [name + b": " + value for name, value in ask.fields]
    body = ask.body or b""
    if ask.chunked or ask.trailers:
        lines.append(b"Transfer-Encoding: chunked")
        trailers = b"".join(name + b": " + value + b"\r\n" for name, value in ask.trailers)
        data = b"%x\r\n%s\r\n" % (len(body), body) if body else b""
        body = data + b"0\r\n" + trailers + b"\r\n"
    elif ask.body is not None:
        lines.append(b"Content-Length: %d" % len(body))
    return b"\r\n".join(lines) + b"\r\n\r\n" + body


FRONTS = {"forward": http1, "reverse": http1}
# The kind of origin of a mode, if it is not `Origin`.
ORIGINS = {}
