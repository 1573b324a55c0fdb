"""Many streams over one connection to an HTTP/2 origin: RFC 9113, sections 5.1.2, 6.8 and 6.9."""

import asyncio

from engine.case import TO_H2, family
from h2 import frames as f
from h2.origin import Script, answer
from h2.script import case, get, post


def section(source, why, severity="high"):
    return family("h2-upstream", source, severity, why, modes=TO_H2)


add = family("h2-upstream", "RFC 9113 5.1.2, 6.8", "high", "streams over one connection to an origin", modes=("h2-h2",))


@case(add, "hundred-streams-do-not-mix", severity="critical")
async def _(wire, _stage):
    numbers = range(1, 201, 2)
    await wire.send(*(get(n, path=f"/stream-{n}")(wire) for n in numbers))
    for number in numbers:
        verdict = await wire.verdict(number)
        if verdict != "200" or bytes(wire.stream(number).data) != b"/stream-%d" % number:
            return f"stream {number}: {verdict} {bytes(wire.stream(number).data)!r}"
    return None


def kept(seen):
    return seen.notes.get("above")


async def _counting(wire, it):
    """Two at a time are allowed."""
    open_now = [other for other in wire.streams.values() if other.head and not getattr(other, "answered", False)]
    if len(open_now) > 2:
        wire.stage.notes["above"] = f"{len(open_now)} streams where 2 are allowed"
    await asyncio.sleep(0.02)
    it.answered = True
    await answer()(wire, it)


@case(add, "limit-of-the-origin-is-kept", also=kept, origin=Script(_counting, settings=((f.MAX_STREAMS, 2),)))
async def _(wire, _stage):
    # The first request may be sent before the origin's SETTINGS are there.
    await wire.get(stream=1)
    await wire.send(*(get(n)(wire) for n in range(3, 23, 2)))
    verdicts = {await wire.verdict(n) for n in range(3, 23, 2)}
    return None if verdicts == {"200"} else f"{verdicts}"


async def _shut(wire, it):
    """Grants nothing before it has seen that nothing comes."""
    if it.number > 1:
        await wire.until(lambda: it.data, 0.3)
        if it.data:
            wire.stage.notes["above"] = f"{len(it.data)} octets in a window of 0"
        await wire.send(f.update(it.number, 1000))
    await answer()(wire, it)


@case(add, "window-of-zero", also=kept, origin=Script(_shut, settings=((f.INITIAL_WINDOW, 0),)))
async def _(wire, _stage):
    await wire.get()
    verdict = await wire.get(stream=3, method="POST", body=b"hello")
    return None if verdict == "200" else verdict


async def _leave_after_one(wire, it):
    await answer()(wire, it)
    await wire.send(f.goaway(it.number))


@case(add, "goaway-moves-to-a-new-connection", origin=Script(_leave_after_one))
async def _(wire, _stage):
    for number in (1, 3, 5):
        verdict = await wire.get(stream=number)
        if verdict != "200":
            return f"{verdict} for request {number}"
        await asyncio.sleep(0.05)
    return None


async def _wait(wire, it):
    wire.stage.signal("begun").set()
    await wire.until(lambda: it.over)


async def gone(stage):
    """The origin learns of the client's end within a second or so."""
    for _ in range(60):
        its = stage.origin.inner.requests
        if its and all(it.code is not None for it in its) or all(wire.closed for wire in stage.origin.inner.wires):
            return None
        await asyncio.sleep(0.02)
    return "the origin is not told within 1.2 s"


@case(add, "client-reset-goes-on", origin=Script(_wait))
async def _(wire, stage):
    await wire.send(post()(wire))
    await stage.signal("begun").wait()
    await wire.send(f.reset(1))
    return await gone(stage)


@case(add, "client-gone-goes-on", origin=Script(_wait))
async def _(wire, stage):
    await wire.send(post()(wire))
    await stage.signal("begun").wait()
    wire.reset()
    return await gone(stage)


@case(
    add,
    "upload-cut-is-no-end",
    severity="critical",
    origin=Script(_wait),
    also=lambda seen: "the origin read a whole message" if any(m.complete for m in seen.requests) else None,
)
async def _(wire, stage):
    await wire.send(post()(wire), f.data(1, b"hello"))
    await stage.signal("begun").wait()
    wire.reset()
    return await gone(stage)


async def _refuse_second(wire, it):
    if it.number == 1:
        await wire.send(f.headers(1, [(":status", "200")], end=False), f.data(1, b"a"))
        await wire.stage.signal("go").wait()
        await wire.send(f.data(1, b"b", True))
    else:
        await wire.send(f.reset(it.number, "INTERNAL_ERROR"))


@case(add, "reset-of-one-leaves-the-other", origin=Script(_refuse_second))
async def _(wire, stage):
    await wire.send(get(1)(wire))
    await wire.until(lambda: wire.stream(1).data)
    other = await wire.get(stream=3, method="POST")
    stage.signal("go").set()
    verdict = await wire.verdict(1)
    if verdict != "200" or bytes(wire.stream(1).data) != b"ab":
        return f"the neighbour got {verdict}"
    return None if other in ("502", "rst INTERNAL_ERROR") else f"the reset one got {other}"


add = section("RFC 9113 8.3.1", "a request for https is not sent in the clear", "critical")


@case(
    add,
    "scheme-https-is-no-http",
    modes=("h2-h2",),
    needs=frozenset({"guard"}),
    also=lambda seen: f"sent in the clear: {seen.requests[0]}" if seen.requests else None,
)
async def _(wire, _stage):
    # The client speaks in the clear to the proxy, as it does for CONNECT; the proxy may not do so to the origin.
    await wire.send(get(scheme="https", extra=[("authorization", "Basic c2VjcmV0")])(wire))
    await wire.verdict()
    return None
