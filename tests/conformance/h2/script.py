"""How cases over HTTP/2 are written: a `scene` is a function of client and stage that says what is wrong, if anything;
`kills`, `refuses` and `serves` are the usual ones, made of frames. Each gives a case's `play` and `accept`.
"""

import functools

from engine.accept import clean
from engine.steps import ECHO, MESSAGE, Await

from . import client
from . import frames as f
from .front import View

SOON = 1.5
# An HTTP/1 origin that answers only when the case has signalled `go`.
HOLD = (MESSAGE, Await("go"), ECHO)


def scene(test, also=clean, **how):
    """`also` judges what the origin saw."""

    async def play(stage):
        wire = await client.connect(stage.port, stage.host, **how)
        stage.clients.append(View(wire))
        stage.notes["wrong"] = await test(wire, stage)

    def accept(seen):
        return seen.notes.get("wrong", "it came to no end in time") or (also(seen) if also else None)

    return {"play": play, "accept": accept}


def get(stream=1, end=True, **how):
    """A request's HEADERS, for the client that there will be."""
    return lambda wire: f.long_headers(stream, wire.fields(**how), end)


def post(stream=1, **how):
    """The same without an end."""
    return get(stream, end=False, method="POST", **how)


async def send(wire, parts):
    await wire.send(*(part(wire) if callable(part) else part for part in parts))


# What an error may be called that is not the one the RFC names: the end is what counts, and `exact` cases look at names.
ERRORS = ("PROTOCOL_ERROR", "INTERNAL_ERROR", "FLOW_CONTROL_ERROR", "STREAM_CLOSED", "FRAME_SIZE_ERROR",
          "COMPRESSION_ERROR", "ENHANCE_YOUR_CALM")  # fmt: skip


def kills(*parts, exact=(), **how):
    """The connection ends with an error, `exact` being its code (RFC 9113, section 5.4.1)."""
    wanted = {f"goaway {code}" for code in exact or ERRORS} | {"closed"}

    async def test(wire, _):
        await send(wire, parts)
        # Soon: that a timer ends it is no answer to the error.
        ending = await wire.ending(SOON)
        if ending not in wanted:
            return f"{ending or 'the connection lives'}, not {named(exact)}"
        await wire.until(lambda: wire.closed)
        return None if wire.closed else f"{ending}, but the connection is not closed"

    return scene(test, **how)


def refuses(*parts, stream=1, statuses=("400",), exact=(), also=clean, **how):
    """The stream ends with an error or one of the statuses, or the connection does (section 5.4)."""
    codes = exact or ERRORS
    wanted = {f"rst {code}" for code in codes} | {f"goaway {code}" for code in codes} | {"closed", *statuses}

    async def test(wire, _):
        await send(wire, parts)
        verdict = await wire.verdict(stream)
        return None if verdict in wanted else f"{verdict}, not {' or '.join((named(exact), *statuses))}"

    return scene(test, also, **how)


def named(exact):
    return " or ".join(exact) or "an error"


def serves(*parts, stream=1, body=None, also=clean, **how):
    """The request is answered as if nothing were, and the connection lives on."""

    async def test(wire, _):
        await send(wire, parts)
        verdict = await wire.verdict(stream)
        if verdict != "200":
            return f"{verdict}, not 200"
        if body is not None and bytes(wire.streams[stream].data) != body:
            return f"the body {bytes(wire.streams[stream].data)[:80]!r}, not {body[:80]!r}"
        return None if await wire.alive() else f"after that the connection is over: {await wire.ending(0)}"

    return scene(test, also, **how)


def case(add, name, **given):
    """A scene as a decorator."""

    def register(test):
        how = {key: given.pop(key) for key in ("settings", "greet", "buffer", "also") if key in given}
        add(name, **scene(test, **how), **given)
        return functools.wraps(test)(test)

    return register
