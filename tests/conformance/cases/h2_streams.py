"""The life of streams and their windows: RFC 9113, sections 5.1, 5.2, 5.4 and 6.9."""

import asyncio

from engine.case import family
from engine.steps import HEAD, Await, Signal
from h2 import frames as f
from h2.script import HOLD, case, get, kills, post, refuses, serves


def section(number, why, severity="medium"):
    return family("h2-framing", f"RFC 9113 {number}", severity, why, modes=("h2",))


add = section("5.1", "frames that a stream's state does not allow")
add("idle-data", **kills(f.data(1, b"x", True)))
add("half-closed-data", origin=HOLD, severity="high", **refuses(get(), f.data(1, b"x", True), statuses=()))
add("half-closed-headers", origin=HOLD, severity="high", **refuses(get(), f.headers(1, [("x-late", "1")]), statuses=()))
add("half-closed-continuation", origin=HOLD, **kills(get(), f.frame(f.CONTINUATION, f.END_HEADERS, 1)))
# Both cross on the wire what a server may have thrown away already: it may also say nothing.
add("data-after-own-reset", **refuses(post(), f.reset(1), f.data(1, b"x", True), statuses=("silent",)))
add("headers-after-own-reset", **refuses(post(), f.reset(1), get(1), statuses=("silent",)))


async def closed(wire, part):
    """What a frame on a stream that is over brings."""
    if await wire.get() != "200":
        return "no first answer"
    await wire.send(part)
    await wire.until(lambda: wire.stream(1).code is not None or wire.goaway, 1.5)
    if wire.closed or wire.goaway in (1, 5) or wire.stream(1).code in (1, 5):
        return None
    return f"no STREAM_CLOSED: {wire.frames[-3:]}"


@case(add, "closed-data")
async def _(wire, _stage):
    return await closed(wire, f.data(1, b"x", True))


@case(add, "closed-headers")
async def _(wire, _stage):
    return await closed(wire, get(1, path="/again")(wire))


@case(add, "reset-during-the-answer-is-no-error")
async def _(wire, _stage):
    await wire.send(get(1)(wire), f.reset(1), f.update(1, 5), get(3)(wire))
    verdict = await wire.verdict(3)
    return None if verdict == "200" and await wire.alive() else f"{verdict} for the next request"


add = section("5.1.1", "stream numbers are odd and grow")
add("number-even", **kills(get(2)))
add("number-smaller", **kills(get(5), get(3)))
add("number-gap", **serves(get(1), get(1001), stream=1001))
add("number-last", **serves(get(2**31 - 1), stream=2**31 - 1))

add = section("5.1.2", "more streams than allowed are refused", "high")


@case(add, "streams-beyond-the-limit", origin=HOLD)
async def _(wire, _stage):
    await wire.until(lambda: wire.settings is not None)
    limit = wire.settings.get(f.MAX_STREAMS, 0)
    if not 0 < limit <= 4096:
        return f"SETTINGS_MAX_CONCURRENT_STREAMS is {limit or 'not set'}"
    numbers = range(1, 2 * limit + 2, 2)
    await wire.send(*(f.headers(n, wire.fields("POST"), end=False) for n in numbers))
    verdict = await wire.verdict(numbers[-1])
    return (
        None if verdict in ("rst REFUSED_STREAM", "rst PROTOCOL_ERROR", "goaway PROTOCOL_ERROR", "closed") else verdict
    )


add = section("5.2, 6.9", "windows bind both sides", "high")


@case(add, "window-of-one", settings=((f.INITIAL_WINDOW, 1),))
async def _(wire, _stage):
    verdict = await wire.get("/one-octet-at-a-time")
    it = wire.stream(1)
    if verdict != "200" or bytes(it.data) != b"/one-octet-at-a-time":
        return f"{verdict} {bytes(it.data)!r}"
    return None if max(it.pieces) == 1 else f"DATA of {max(it.pieces)} octets in a window of 1"


@case(add, "window-of-zero", settings=((f.INITIAL_WINDOW, 0),))
async def _(wire, _stage):
    await wire.ask("/nothing-yet")
    await wire.until(lambda: wire.stream(1).head)
    await wire.alive()
    if wire.stream(1).data:
        return f"{len(wire.stream(1).data)} octets in a window of 0"
    await wire.send(f.update(1, 1000))
    verdict = await wire.verdict()
    return None if verdict == "200" else f"{verdict} after the window opened"


@case(add, "window-changed-by-settings", settings=((f.INITIAL_WINDOW, 4),))
async def _(wire, _stage):
    wire.credit = False
    await wire.ask("/abcdefghijklmnop")
    await wire.until(lambda: len(wire.stream(1).data) == 4)
    # The window becomes negative, and stays shut until it is above nought again (6.9.2).
    await wire.send(f.settings((f.INITIAL_WINDOW, 0)), f.update(1, 4))
    await wire.alive()
    if len(wire.stream(1).data) != 4:
        return f"{len(wire.stream(1).data)} octets while the window is not above 0"
    await wire.send(f.settings((f.INITIAL_WINDOW, 100)))
    verdict = await wire.verdict()
    return None if verdict == "200" else f"{verdict} after the window opened by SETTINGS"


@case(add, "window-of-the-connection", settings=((f.INITIAL_WINDOW, 2**20),))
async def _(wire, _stage):
    wire.credit = False
    # The answer repeats the path.
    long, numbers = "/" + "a" * 6000, range(1, 25, 2)
    for number in numbers:
        await wire.ask(long, number)
    await wire.until(lambda: sum(len(it.data) for it in wire.streams.values()) >= 65535)
    await wire.alive()
    total = sum(len(it.data) for it in wire.streams.values())
    if total != 65535:
        return f"{total} octets in a connection's window of 65,535"
    await wire.send(f.update(0, 2**20))
    verdicts = {await wire.verdict(number) for number in numbers}
    return None if verdicts == {"200"} else f"{verdicts}"


@case(add, "window-overrun-by-client", origin=(HEAD, Signal("begun"), Await("never")), also=None)
async def _(wire, stage):
    await wire.until(lambda: wire.acks)
    await wire.send(post()(wire))
    await stage.signal("begun").wait()
    # What is not read is not granted anew, once all buffers on the way are full.
    for side in stage.origin.sides:
        side.writer.transport.pause_reading()
    for _ in range(48):
        if wire.goaway or wire.stream(1).over or not await wire.send(f.data(1, bytes(16384)) * 64):
            break
    verdict = await wire.verdict()
    return None if verdict in ("rst FLOW_CONTROL_ERROR", "goaway FLOW_CONTROL_ERROR", "closed") else verdict


@case(add, "window-padding-is-credited-back")
async def _(wire, _stage):
    await wire.until(lambda: wire.acks)
    await wire.send(post()(wire))
    it = wire.stream(1)
    for _ in range(1500):
        if not await wire.until(lambda: min(wire.window, it.window) >= 257):
            return "padding is not credited back: the upload is stuck"
        wire.window, it.window = wire.window - 257, it.window - 257
        await wire.send(f.data(1, b"x", pad=255))
    await wire.send(f.data(1, b"", True))
    verdict = await wire.verdict()
    return None if verdict == "200" else verdict


add = section("5.4", "the end of one stream is not that of the others", "high")


@case(add, "reset-does-not-hurt-the-neighbour", origin=HOLD)
async def _(wire, stage):
    await wire.send(get(1, path="/kept")(wire), get(3, path="/left")(wire))
    await wire.alive()
    await wire.send(f.reset(3))
    await asyncio.sleep(0.1)
    stage.signal("go").set()
    verdict = await wire.verdict(1)
    return None if verdict == "200" and bytes(wire.stream(1).data) == b"/kept" else verdict
