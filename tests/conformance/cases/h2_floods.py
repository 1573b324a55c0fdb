"""Floods over HTTP/2: what costs a client little must not cost the proxy, the origin or others much.

RFC 9113, section 10.5, and the CVEs of the years in which it was learnt.
"""

import asyncio

from engine.case import FLOODS, family
from engine.steps import HEAD, MESSAGE, Await, Signal
from h2 import frames as f
from h2 import hpack
from h2.flood import CONNECTION, STREAM, flood, repeat, request
from h2.script import HOLD, get, post


def section(source, why, severity="high"):
    return family("h2-floods", source, severity, why, modes=FLOODS)


def numbered(make):
    """Streams 1, 3, 5, ..."""
    return lambda wire, n: make(wire, 2 * n + 1)


add = section("CVE-2023-44487", "a request that is reset at once is work for the origin, and free for the client")
RAPID = numbered(lambda wire, n: request(wire, n) + f.reset(n))
add("rapid-reset", **flood(repeat(RAPID, 10000, ends=False)))
add("rapid-reset-slow-origin", origin=HOLD, **flood(repeat(RAPID, 10000, ends=False)))
add("rapid-reset-one-by-one", origin=HOLD, **flood(repeat(RAPID, 3000, ends=False, batch=1)))
add(
    "rapid-reset-of-uploads",
    origin=HOLD,
    **flood(
        repeat(numbered(lambda w, n: request(w, n, method="POST") + f.data(n, b"x") + f.reset(n)), 10000, ends=False)
    ),
)

add = section("CVE-2025-8671", "a client that makes the server reset its streams does no less harm")
for name, provoke in (
    ("update-of-zero", lambda n: f.update(n, 0)),
    ("update-overflow", lambda n: f.update(n, 2**31 - 1)),
    ("data-after-end", lambda n: f.data(n, b"x")),
    ("headers-after-end", lambda n: f.headers(n, [("x", "y")])),
    ("priority-of-4", lambda n: f.frame(f.PRIORITY, 0, n, bytes(4))),
):
    add(
        f"made-you-reset-{name}",
        origin=HOLD,
        **flood(repeat(numbered(lambda w, n, p=provoke: request(w, n) + p(n)), 5000, ends=False)),
    )
add(
    "made-you-reset-malformed",
    **flood(repeat(numbered(lambda w, n: f.headers(n, w.fields(extra=[("te", "gzip")]))), 10000, ends=False)),
)
add(
    "made-you-reset-length",
    origin=HOLD,
    **flood(
        repeat(
            numbered(
                lambda w, n: (
                    f.headers(n, w.fields("POST", extra=[("content-length", "1")]), end=False) + f.data(n, b"xx")
                )
            ),
            5000,
            ends=False,
        )
    ),
)

add = section("RUSTSEC-2024-0332, VU#421644", "a header block without an end is given up")
OPEN = (lambda w: f.headers(1, w.fields(), done=False),)
FIELD = hpack.literal("x-flood", "y" * 1000)
add("continuation", **flood(repeat(lambda w, n: f.frame(f.CONTINUATION, 0, 1, FIELD), 20000, OPEN)))
add("continuation-empty", **flood(repeat(lambda w, n: f.frame(f.CONTINUATION, 0, 1), 50000, OPEN)))
add("continuation-of-one-octet", **flood(repeat(lambda w, n: f.frame(f.CONTINUATION, 0, 1, b"\x88"), 50000, OPEN)))
add(
    "continuation-in-trailers",
    **flood(
        repeat(
            lambda w, n: f.frame(f.CONTINUATION, 0, 1, FIELD),
            20000,
            (post(), lambda w: f.headers(1, [("x", "y")], done=False)),
        )
    ),
)

add = section("CVE-2019-9512, -9515, RFC 9113 10.5", "what asks for an answer is not queued without an end")
add("ping", **flood(repeat(lambda w, n: f.ping(), 30000, ends=False)))
add("settings", **flood(repeat(lambda w, n: f.settings(), 20000, ends=False)))
add(
    "settings-that-change-windows",
    origin=HOLD,
    **flood(
        repeat(
            lambda w, n: f.settings((f.INITIAL_WINDOW, 65535 + n % 2)),
            3000,
            tuple(get(n) for n in range(1, 401, 2)),
            ends=False,
        )
    ),
)


def deaf(make, count):
    """The answers are never read."""
    inner = repeat(make, count, ends=False)

    async def attack(wire, stage):
        await wire.until(lambda: wire.acks)
        wire.reader._transport.pause_reading()
        await inner(wire, stage)

    return attack


add("ping-unread", **flood(deaf(lambda w, n: f.ping(), 200000), buffer=4096))
add("settings-unread", **flood(deaf(lambda w, n: f.settings(), 200000), buffer=4096))
add(
    "errors-unread",
    **flood(deaf(numbered(lambda w, n: f.headers(n, w.fields(extra=[("te", "gzip")]))), 30000), buffer=4096),
)
add("requests-unread", **flood(deaf(numbered(request), 20000), buffer=4096))

add = section("CVE-2019-9513, -9518, RFC 9113 10.5", "frames that say nothing cost nothing")
add("priority", **flood(repeat(lambda w, n: f.priority(2 * n + 1, on=2 * n + 3), 30000, ends=False)))
add("window-update", **flood(repeat(lambda w, n: f.update(0, 1), 30000, ends=False)))
add("unknown-frames", **flood(repeat(lambda w, n: f.frame(0xBB, 0, 0, b"?" * 100), 30000, ends=False)))
add("goaway", **flood(repeat(lambda w, n: f.goaway(0, 0, b"?" * 100), 30000, ends=False)))
add("reset-of-closed", **flood(repeat(lambda w, n: f.reset(1), 30000, (get(),), ends=False)))
add("data-empty", origin=HOLD, **flood(repeat(lambda w, n: f.data(1), 30000, (post(),), ends=False)))
add("data-padding", origin=HOLD, **flood(repeat(lambda w, n: f.data(1, pad=255), 4000, (post(),), ends=False)))

add = section("RFC 9113 10.5.1", "a head has a limit, whatever it is made of")


def bomb(c):
    """4,000 octets, said once and repeated by a byte each: 64 MB."""
    known = hpack.encode(c.fields()) + hpack.remembered("x-bomb", "y" * 3900)
    return f.long_headers(1, known + hpack.indexed(62) * 16000)


def refused(*parts, **how):
    """The stream or the connection ends, and the origin hears nothing of it."""

    async def attack(wire, stage):
        await wire.until(lambda: wire.acks)
        reached = len(stage.origin.sides[0].reader.messages)
        await wire.send(*(part(wire) for part in parts))
        verdict = await wire.verdict(within=2.0)
        if verdict in ("200", "silent", "stalled"):
            return f"{verdict} for it"
        got = [m for side in stage.origin.sides for m in side.reader.messages if m.target != b"/neighbour"]
        return f"it reached the origin ({reached}): {str(got[0])[:100]}" if got else None

    attack.endless = False
    return flood(attack, **how)


add("hpack-bomb", **refused(bomb))
add(
    "head-of-1-mib",
    **refused(lambda c: f.long_headers(1, c.fields(extra=[(f"x-{n}", "y" * 1000) for n in range(1000)]))),
)
add(
    "head-of-10000-fields",
    **refused(lambda c: f.long_headers(1, c.fields(extra=[(f"x-{n}", "") for n in range(10000)]))),
)
add(
    "cookie-of-10000-crumbs",
    **refused(lambda c: f.long_headers(1, c.fields(extra=[("cookie", f"a{n}=b") for n in range(10000)]))),
)
add("empty-names", source="CVE-2019-9516", **refused(lambda c: f.long_headers(1, c.fields(extra=[("", "")] * 20000))))
add("path-of-100-kib", **refused(lambda c: f.long_headers(1, c.fields(path="/" + "a" * 100000))))

add = section("CVE-2019-9511, -9517; RFC 9113 5.2", "who does not read does not make the proxy remember")
LARGE = 8 << 20


def large(size=LARGE):
    return (MESSAGE, b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % size, bytes(size))


def stalled(streams):
    """Asks for so many large answers and opens no window."""

    async def attack(wire, _stage):
        wire.credit = False
        await wire.until(lambda: wire.acks)
        await wire.send(*(get(2 * n + 1, path="/large")(wire) for n in range(streams)))
        await wire.until(lambda: all(wire.stream(2 * n + 1).head for n in range(streams)), 1.5)
        # Now it is seen whether more is read than was asked for.
        await asyncio.sleep(0.7)

    return attack


add("stalled-stream", origin=large(), **flood(stalled(1), bound=STREAM))
add("stalled-streams", origin=large(1 << 20), **flood(stalled(100)))
add("stalled-at-nought", origin=large(1 << 20), **flood(stalled(100), settings=((f.INITIAL_WINDOW, 0),)))


async def _unread(wire, _stage):
    await wire.until(lambda: wire.acks)
    await wire.send(f.update(0, 2**30), *(get(2 * n + 1, path="/large")(wire) for n in range(20)))
    await asyncio.sleep(0.1)
    wire.reader._transport.pause_reading()
    await asyncio.sleep(1.2)


add("windows-open-but-unread", origin=large(), **flood(_unread, settings=((f.INITIAL_WINDOW, 2**30),), buffer=4096))
add("data-dribble", origin=large(1 << 16), **flood(stalled(100), settings=((f.INITIAL_WINDOW, 1),)))


def uploads(streams):
    """As much as the windows allow, to an origin that does not read."""

    async def attack(wire, stage):
        await wire.until(lambda: wire.acks)
        for n in range(streams):
            await wire.send(post(2 * n + 1)(wire))
        await stage.signal("begun").wait()
        pouring = [asyncio.ensure_future(wire.pour(2 * n + 1, bytes(LARGE))) for n in range(streams)]
        blind = set()
        for _ in range(100):
            for side in stage.origin.sides:
                if side not in blind and any(m.method == b"POST" for m in side.reader.messages):
                    side.writer.transport.pause_reading()
                    blind.add(side)
            await asyncio.sleep(0.01)
        for task in pouring:
            task.cancel()

    return attack


BLIND = (HEAD, Signal("begun"), Await("never"))
add("upload-unread", origin=BLIND, **flood(uploads(1), bound=STREAM))
add("uploads-unread", origin=BLIND, **flood(uploads(20), bound=CONNECTION))

add = section("RFC 9113 5.1.2", "many small messages are no attack")


async def _thousand(wire, _stage):
    await wire.until(lambda: wire.acks)
    window = asyncio.Semaphore(100)

    async def one(number):
        async with window:
            return await wire.get(f"/tiny-{number}", number)

    verdicts = await asyncio.gather(*(one(number) for number in range(1, 2001, 2)))
    wrong = [v for v in verdicts if v != "200"]
    mixed = [n for n in range(1, 2001, 2) if bytes(wire.stream(n).data) != b"/tiny-%d" % n]
    return f"{len(wrong)} of 1,000 got {wrong[0]}" if wrong else f"stream {mixed[0]} got another's" if mixed else None


_thousand.endless = False
add("thousand-tiny-messages", **flood(_thousand))


async def _tiny(wire, _stage):
    await wire.until(lambda: wire.acks)
    await wire.send(post()(wire))
    for _ in range(200):
        await wire.send(f.data(1, b"x") * 50)
        await asyncio.sleep(0)
    await wire.send(f.data(1, b"", True))
    verdict = await wire.verdict(within=2.0)
    # Frames of an octet may be an attack to a proxy; to be told is enough.
    return None if verdict in ("200", "goaway ENHANCE_YOUR_CALM", "rst ENHANCE_YOUR_CALM", "closed") else verdict


_tiny.endless = False
add("ten-thousand-frames-of-an-octet", **flood(_tiny))
