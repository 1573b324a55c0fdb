"""Clients that are slow on purpose, over HTTP/2. They wait for timers, all at once, so memory is not measured."""

import asyncio

from engine.case import family
from engine.steps import MESSAGE
from h2 import frames as f
from h2.script import case, get, post

LARGE = 8 << 20
add = family(
    "h2-floods",
    "RFC 9110 15.5.9, RFC 9113 10.5",
    "high",
    "who is slow on purpose is given up",
    modes=("h2",),
    limit=9.0,
)
TIMERS = 7.0


async def ended(wire, stream=None):
    done = await wire.until(lambda: wire.goaway is not None or (stream and wire.stream(stream).over), TIMERS)
    return None if done or wire.closed else f"still there after {TIMERS:.0f} s"


@case(add, "slow-nothing-sent", greet=False)
async def _(wire, _stage):
    return await ended(wire)


@case(add, "slow-half-a-preface", greet=False)
async def _(wire, _stage):
    await wire.send(f.PREFACE[:10])
    return await ended(wire)


@case(add, "slow-preface-only", greet=False)
async def _(wire, _stage):
    await wire.send(f.PREFACE)
    return await ended(wire)


@case(add, "slow-idle-connection", severity="medium")
async def _(wire, _stage):
    return await ended(wire)


@case(add, "slow-head")
async def _(wire, _stage):
    await wire.send(f.headers(1, wire.fields(), done=False))
    return await ended(wire, 1)


@case(add, "slow-head-drop-by-drop")
async def _(wire, _stage):
    await wire.send(f.headers(1, wire.fields(), done=False))
    for _ in range(int(TIMERS / 0.25)):
        if wire.goaway is not None or not await wire.send(f.frame(f.CONTINUATION, 0, 1, b"\x88")):
            return None
        await asyncio.sleep(0.25)
    return "the head is still awaited after 7 s"


@case(add, "slow-half-a-frame")
async def _(wire, _stage):
    await wire.send(f.headers(1, wire.fields())[:12])
    return await ended(wire)


@case(add, "slow-pings-keep-nothing-alive", severity="medium")
async def _(wire, _stage):
    for _ in range(int(TIMERS / 0.5)):
        if wire.goaway is not None or not await wire.send(f.ping()):
            return None
        await asyncio.sleep(0.5)
    return "PINGs alone keep it for 7 s"


@case(add, "slow-body")
async def _(wire, _stage):
    await wire.send(post()(wire), f.data(1, b"x"))
    return await ended(wire, 1)


@case(add, "slow-reader", origin=(MESSAGE, b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % LARGE, bytes(LARGE)))
async def _(wire, _stage):
    wire.credit = False
    await wire.send(get()(wire))
    await wire.until(lambda: wire.stream(1).head)
    return await ended(wire, 1)
