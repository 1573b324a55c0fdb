"""Streams that outlive their request's head: early answers, many at once, CONNECT and WebSocket.

RFC 9113, sections 5, 8.1 and 8.5, and RFC 8441.
"""

import asyncio

from engine.case import family
from engine.steps import CLOSE, FIN, HEAD, PEER_END, RST, SWITCH, Bytes, Pause, Signal
from h2 import frames as f
from h2.script import HOLD, case, get, post

H2 = ("h2",)


def section(source, why, severity="medium"):
    return family("h2-translation", source, severity, why, modes=H2)


add = section("RFC 9113 8.1", "an answer before the upload is over arrives whole", "high")


@case(
    add,
    "early-answer",
    origin=(HEAD, b"HTTP/1.1 413 Too Large\r\nContent-Length: 3\r\nConnection: close\r\n\r\nbig", Pause(0.3), CLOSE),
)
async def _(wire, _stage):
    await wire.send(post()(wire), f.data(1, b"x" * 1000))
    it = wire.stream(1)
    for _ in range(150):
        if it.over:
            break
        await wire.send(f.data(1, b"x" * 100))
        await asyncio.sleep(0.01)
    await wire.until(lambda: it.ended)
    if it.status != "413" or bytes(it.data) != b"big" or not it.ended:
        return f"{await wire.verdict(1, 0)} {bytes(it.data)!r}"
    # The rest of the upload is no error of the connection's.
    await wire.send(f.data(1, b"x" * 100))
    return None if await wire.alive() else f"then the connection ended: {await wire.ending(0)}"


@case(
    add,
    "early-answer-stops-the-upload",
    severity="medium",
    origin=(HEAD, b"HTTP/1.1 413 Too Large\r\nContent-Length: 3\r\nConnection: close\r\n\r\nbig", Pause(0.1), CLOSE),
)
async def _(wire, _stage):
    await wire.send(post()(wire), f.data(1, b"x" * 1000))
    it = wire.stream(1)
    await wire.until(lambda: it.ended)
    await wire.until(lambda: it.code is not None, 1.0)
    return None if it.code in (0, 8) else f"no RST_STREAM(NO_ERROR), but {it.code}"


add = section("RFC 9113 5, 8.1", "streams do not wait for, nor mix with, each other", "critical")


@case(add, "hundred-streams-do-not-mix")
async def _(wire, _stage):
    numbers = range(1, 201, 2)
    await wire.send(*(get(n, path=f"/stream-{n}")(wire) for n in numbers))
    for number in numbers:
        verdict = await wire.verdict(number)
        data = bytes(wire.stream(number).data)
        if verdict != "200" or data != b"/stream-%d" % number:
            return f"stream {number}: {verdict} {data!r}"
    return None


@case(add, "slow-stream-does-not-block", severity="high", origin=[HOLD, ()])
async def _(wire, stage):
    await wire.send(get(1, path="/slow")(wire))
    await wire.alive()
    verdict = await wire.get("/fast", 3, within=1.5)
    stage.signal("go").set()
    return None if verdict == "200" and bytes(wire.stream(3).data) == b"/fast" else verdict


@case(
    add,
    "uploads-do-not-mix",
    severity="critical",
    also=lambda seen: None if sorted(m.body for m in seen.requests) == [b"a" * 500, b"b" * 500] else f"{seen.requests}",
)
async def _(wire, _stage):
    await wire.send(
        post(1)(wire),
        post(3)(wire),
        *[f.data(1, b"a" * 50), f.data(3, b"b" * 50)] * 10,
        f.data(3, b"", True),
        f.data(1, b"", True),
    )
    verdicts = [await wire.verdict(1), await wire.verdict(3)]
    return None if verdicts == ["200", "200"] else f"{verdicts}"


# CONNECT.

add = section("RFC 9113 8.5", "CONNECT makes a tunnel of a stream", "high")
CONNECT = frozenset({"h2-connect"})


def connect(c, port=443, stream=1):
    return f.headers(stream, [(":method", "CONNECT"), (":authority", f"{c.authority}:{port}")], end=False)


@case(add, "connect-tunnel", needs=CONNECT, also=None, origin=(Bytes(4), b"\x01pong", PEER_END, b"more", FIN))
async def _(wire, _stage):
    await wire.send(connect(wire))
    it = wire.stream(1)
    await wire.until(lambda: it.head or it.over)
    if it.status != "200" or it.ended:
        return f"{it.head} {it.code}"
    if it.field("content-length") or it.field("transfer-encoding"):
        return f"a body is announced: {it.head}"
    await wire.send(f.data(1, b"\x00ping"))
    if not await wire.until(lambda: bytes(it.data) == b"\x01pong"):
        return f"the tunnel brought {bytes(it.data)!r}"
    await wire.send(f.data(1, b"", True))
    await wire.until(lambda: it.over)
    return None if bytes(it.data) == b"\x01pongmore" and it.ended else f"after half-close {bytes(it.data)!r}, {it.code}"


@case(
    add,
    "connect-reset-by-origin",
    needs=CONNECT,
    also=None,
    origin=(Bytes(4), b"\x01part", Pause(0.1), RST),
    severity="critical",
)
async def _(wire, _stage):
    await wire.send(connect(wire), f.data(1, b"\x00ping"))
    it = wire.stream(1)
    await wire.until(lambda: it.over)
    return None if it.code is not None else "a reset of the origin looks like its end"


@case(add, "connect-reset-by-client", needs=CONNECT, also=None, origin=(Bytes(4), Signal("begun"), PEER_END))
async def _(wire, stage):
    await wire.send(connect(wire), f.data(1, b"\x00ping"))
    await stage.signal("begun").wait()
    await wire.send(f.reset(1))
    for _ in range(75):
        if all(side.end for side in stage.origin.sides):
            return None
        await asyncio.sleep(0.02)
    return "the origin is not told within 1.5 s"


@case(add, "connect-port-refused", needs=CONNECT, also=lambda seen: "connected" if seen.origins else None)
async def _(wire, _stage):
    await wire.send(connect(wire, 25))
    verdict = await wire.verdict()
    return None if verdict in ("403", "rst CONNECT_ERROR") else verdict


@case(add, "connect-refused-is-one-stream", needs=CONNECT)
async def _(wire, _stage):
    await wire.send(connect(wire, 25), f.data(1, b"GET /smuggled HTTP/1.1\r\n\r\n"))
    await wire.until(lambda: wire.stream(1).head)
    verdict = await wire.get("/next", 3)
    return None if verdict == "200" else f"{verdict} for the next stream"


# WebSocket.

add = section("RFC 8441", "a WebSocket over HTTP/2 is bridged to one over HTTP/1", "medium")
WEBSOCKET = [("sec-websocket-version", "13")]


def extended(c, *more):
    pseudo = [(":method", "CONNECT"), (":protocol", "websocket"), (":scheme", "http"), (":path", "/ws")]
    return f.headers(1, [*pseudo, (":authority", c.authority), *WEBSOCKET, *more], end=False)


@case(add, "websocket-offered", needs=CONNECT)
async def _(wire, _stage):
    await wire.until(lambda: wire.settings is not None)
    return None if wire.settings.get(f.ENABLE_CONNECT) == 1 else "no SETTINGS_ENABLE_CONNECT_PROTOCOL"


@case(add, "websocket-bridged", needs=CONNECT, also=None, origin=(HEAD, SWITCH, b"\x81\x02hi", PEER_END, FIN))
async def _(wire, stage):
    await wire.send(extended(wire))
    it = wire.stream(1)
    await wire.until(lambda: it.data or it.over)
    if it.status != "200" or bytes(it.data) != b"\x81\x02hi":
        return f"{await wire.verdict(1, 0)} {bytes(it.data)!r}"
    asked = stage.origin.sides[0].reader.messages[0]
    if asked.method != b"GET" or asked.get("upgrade") != b"websocket" or not asked.get("sec-websocket-key"):
        return f"the origin was asked {asked}"
    if any(name in (b"connection", b"upgrade", b"sec-websocket-accept") for name, _ in it.head):
        return f"fields of HTTP/1's handshake: {it.head}"
    await wire.send(f.data(1, b"\x88\x80\0\0\0\0", True))
    await wire.until(lambda: it.over)
    return None if it.ended else f"its end is {it.code}"


@case(
    add, "websocket-refused-by-origin", needs=CONNECT, origin=(HEAD, b"HTTP/1.1 403 No\r\nContent-Length: 2\r\n\r\nno")
)
async def _(wire, _stage):
    await wire.send(extended(wire))
    verdict = await wire.verdict()
    return None if verdict == "403" else verdict


@case(
    add,
    "websocket-cut-is-a-reset",
    needs=CONNECT,
    also=None,
    # Not high: a WebSocket ends with its own Close frame (RFC 6455 7.1.5), without which no end looks clean.
    origin=(HEAD, SWITCH, b"\x81\x05he", Pause(0.1), RST),
)
async def _(wire, _stage):
    await wire.send(extended(wire))
    it = wire.stream(1)
    await wire.until(lambda: it.over)
    if it.status != "200":
        return f"{await wire.verdict(1, 0)}: no tunnel"
    return "a reset of the origin looks like its end" if it.ended else None
