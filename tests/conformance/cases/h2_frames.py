"""Frames that are none, and unusual ones that are: RFC 9113, sections 3.4, 4 and 6, each rule of 6.1 to 6.10."""

import struct

from engine.case import family
from h2 import frames as f
from h2 import hpack
from h2.script import HOLD, case, get, kills, post, refuses, serves


def section(number, why, severity="medium"):
    return family("h2-framing", f"RFC 9113 {number}", severity, why, modes=("h2",))


add = section("3.4", "a connection begins with the preface and SETTINGS, and with nothing else")
add("preface-wrong", **kills(b"PRI * HTTP/2.0\r\n\r\nXX\r\n\r\n", greet=False))
add("preface-then-ping", **kills(f.PREFACE, f.ping(), greet=False))
add("preface-then-headers", **kills(f.PREFACE, get(), greet=False))
add("preface-settings-request-at-once", **serves(f.PREFACE, f.settings(), get(), greet=False))


@case(add, "first-frame-is-settings")
async def _(wire, _stage):
    await wire.until(lambda: wire.acks)
    kind = wire.frames[0][:2] if wire.frames else None
    if kind != (f.SETTINGS, 0):
        return f"the first frame is {kind}"
    return None if wire.acks else "SETTINGS are not acknowledged"


@case(add, "server-settings-are-legal")
async def _(wire, _stage):
    await wire.until(lambda: wire.settings is not None)
    said = wire.settings or {}
    if said.get(f.ENABLE_PUSH):
        return "a server enables push (6.5.2)"
    if said.get(f.INITIAL_WINDOW, 0) > 2**31 - 1 or not 16384 <= said.get(f.MAX_FRAME, 16384) < 2**24:
        return f"values out of range: {said}"
    return None


add = section("4.1, 5.5", "what is unknown is ignored: extensions are built on that")
add("unknown-frame-ignored", **serves(f.frame(0xBB, 0xFF, 0, b"?" * 40), get()))
add("unknown-frame-on-stream-ignored", **serves(post(1), f.frame(0xBB, 0, 1, b"?"), f.data(1, b"x", True)))
add("unknown-flags-ignored", **serves(f.frame(f.PING, 0xFE, 0, bytes(8)), f.frame(f.SETTINGS, 0xFE, 0), get()))
add("reserved-bit-ignored", **serves(lambda c: f.headers(1 | 1 << 31, c.fields())))
add("unknown-flags-on-headers-ignored", **serves(lambda c: f.headers(1, c.fields(), flags=0x42)))

add = section("4.2", "a frame above SETTINGS_MAX_FRAME_SIZE is an error")
LARGE = bytes(16385)
add("size-data-largest", **serves(post(), f.data(1, bytes(16384)), f.data(1, b"", True)))
add("size-data-too-large", **refuses(post(), f.data(1, LARGE, True), statuses=()))
add("size-headers-too-large", **kills(lambda c: f.headers(1, c.fields(extra=[("x", LARGE)]))))
add("size-settings-too-large", **kills(f.settings(*[(0xF0F0, 0)] * 2731)))
add("size-claimed-16-mib", **kills(post(), f.frame(f.DATA, 0, 1, bytes(20), length=2**24 - 1)))

add = section("4.3; RFC 7541 2-6", "a header block that cannot be decoded ends the connection", "high")


def block(*elements):
    """HEADERS of a request whose block goes on with these."""
    return lambda c: f.headers(1, hpack.encode(c.fields()) + b"".join(elements))


add("hpack-index-zero", **kills(block(b"\x80")))
add("hpack-index-beyond-table", **kills(block(hpack.indexed(70))))
add("hpack-name-index-beyond-table", **kills(block(b"\x0f\x46", hpack.string("v"))))
add("hpack-integer-without-end", **kills(block(b"\xff" + b"\x80" * 12 + b"\x01")))
add("hpack-integer-cut", **kills(block(b"\xff\x80")))
add("hpack-string-cut", **kills(block(b"\x00\x01x\x7f\x20abc")))
add("hpack-huffman-padding-zeros", **kills(block(b"\x00\x01x\x81\x18")))
add("hpack-huffman-padding-long", **kills(block(b"\x00\x01x\x82\x1f\xff")))
add("hpack-huffman-eos", **kills(block(b"\x00\x01x\x84\xff\xff\xff\xff")))
add("hpack-resize-above-limit", **kills(lambda c: f.headers(1, hpack.resize(1 << 20) + hpack.encode(c.fields()))))
add("hpack-resize-after-field", **kills(block(hpack.resize(0))))

add = section("4.3, 6.10; RFC 7541 2-6", "all that HPACK allows is understood")


def cut(where):
    """A request's block in pieces; `where` gives the cuts, from its length."""

    def part(c):
        whole = hpack.encode(c.fields())
        return f.split(1, whole, where(len(whole)))

    return part


def compact(c):
    """Static indices, and Huffman."""
    block = hpack.indexed(2) + hpack.indexed(6) + b"\x01" + hpack.string(c.authority, True) + hpack.indexed(4)
    return f.headers(1, block)


def taught(c):
    """Two fields go into the dynamic table."""
    known = [hpack.remembered(":authority", c.authority), (":path", "/"), hpack.remembered("x-a", "b")]
    return f.headers(1, [*c.fields(authority="", path=None), *known])


def recalled(c):
    """And come from there."""
    return f.headers(3, [hpack.indexed(63), *c.fields(authority=""), hpack.indexed(62)])


add("hpack-static-and-huffman", **serves(compact))
add("hpack-dynamic-table", **serves(taught, recalled, stream=3))
add("hpack-resize-to-zero", **serves(lambda c: f.headers(1, hpack.resize(0) + hpack.encode(c.fields()))))
add("continuation-anywhere", **serves(cut(lambda size: [1, 2, size // 2, size - 1])))
add("continuation-empty-ones", **serves(cut(lambda size: [0, 0, 5, 5, 5, size])))

add = section("6.1", "DATA")
add("data-on-stream-0", **kills(f.data(0, b"x")))
add("data-padding-as-long-as-the-payload", **kills(post(), f.frame(f.DATA, f.PADDED | f.END_STREAM, 1, b"\x06hello")))
add("data-padding-beyond-the-payload", **kills(post(), f.frame(f.DATA, f.PADDED | f.END_STREAM, 1, b"\xffhello")))
add("data-padded-without-length", **kills(post(), f.frame(f.DATA, f.PADDED, 1)))
add("data-padding-only", **serves(post(), f.data(1, b"", pad=255), f.data(1, b"", True, pad=0)))


def hello(seen):
    bodies = [request.body for request in seen.requests]
    return None if bodies == [b"hello world"] else f"the origin read {bodies}"


add(
    "data-padding-is-no-content",
    severity="high",
    **serves(post(), f.data(1, b"hello ", pad=200), f.data(1, b"world", True, pad=7), also=hello),
)

add = section("6.2", "HEADERS")


def open_block(c):
    return f.headers(1, c.fields(), done=False)


def padded(c):
    return f.headers(1, c.fields(), flags=f.PADDED, before=b"\xff")


def padded_with_priority(c):
    before = b"\x09" + struct.pack(">IB", 0, 20)
    return f.headers(1, c.fields(), flags=f.PADDED | f.PRIORITIZED, before=before, after=bytes(9))


add("headers-on-stream-0", **kills(lambda c: f.headers(0, c.fields())))
add("headers-padding-too-long", **kills(padded))
add("headers-priority-cut", **kills(f.frame(f.HEADERS, f.PRIORITIZED | f.END_HEADERS | f.END_STREAM, 1, b"\0\0\0")))
add("headers-padded-with-priority", **serves(padded_with_priority))
add("headers-interrupted-by-priority", **kills(open_block, f.priority(1)))
add("headers-interrupted-by-another-stream", **kills(open_block, get(3)))
add("headers-interrupted-by-data", **kills(open_block, f.data(1, b"x")))
add("headers-interrupted-by-unknown", **kills(open_block, f.frame(0xBB, 0, 1, b"?")))
add("headers-interrupted-by-ping", **kills(open_block, f.ping()))

add = section("6.3", "PRIORITY, deprecated, must still be five octets on a stream", "low")
add("priority-on-stream-0", **kills(f.priority(0)))
add("priority-of-4-octets", **refuses(post(), f.frame(f.PRIORITY, 0, 1, bytes(4)), statuses=()))
add("priority-on-idle-and-closed", **serves(f.priority(9), get(11), f.priority(1), get(13), stream=13))
add("priority-on-itself", **refuses(f.priority(1, on=1), get(), statuses=("200",)))

add = section("6.4", "RST_STREAM")
add("reset-on-stream-0", **kills(f.frame(f.RST_STREAM, 0, 0, bytes(4))))
add("reset-on-idle", **kills(f.reset(7)))
add("reset-of-3-octets", **kills(post(), f.frame(f.RST_STREAM, 0, 1, bytes(3))))
add("reset-of-5-octets", **kills(post(), f.frame(f.RST_STREAM, 0, 1, bytes(5))))

add = section("6.5", "SETTINGS")
add("settings-on-a-stream", **kills(f.frame(f.SETTINGS, 0, 1, bytes(6))))
add("settings-ack-with-payload", **kills(f.frame(f.SETTINGS, f.ACK, 0, bytes(6))))
add("settings-of-5-octets", **kills(f.frame(f.SETTINGS, 0, 0, bytes(5))))
add("settings-push-2", **kills(f.settings((f.ENABLE_PUSH, 2))))
add("settings-window-too-large", **kills(f.settings((f.INITIAL_WINDOW, 2**31))))
add("settings-frame-size-too-small", **kills(f.settings((f.MAX_FRAME, 16383))))
add("settings-frame-size-too-large", **kills(f.settings((f.MAX_FRAME, 2**24))))
add("settings-unknown-ignored", **serves(f.settings((0xF0F0, 1), (0, 7), (0xFFFF, 2**32 - 1)), get()))


@case(add, "settings-each-acknowledged-in-order")
async def _(wire, _stage):
    await wire.send(f.settings((f.INITIAL_WINDOW, 9)) * 3, f.settings((f.INITIAL_WINDOW, 9), (f.INITIAL_WINDOW, 3)))
    if not await wire.until(lambda: wire.acks == 5):
        return f"{wire.acks} of 5 are acknowledged"
    wire.credit = False
    await wire.ask("/twelve-octets")
    await wire.until(lambda: wire.stream(1).data)
    await wire.alive()
    size = len(wire.stream(1).data)
    return None if size == 3 else f"{size} octets of DATA where the last value allows 3"


def promise(c):
    return f.frame(f.PUSH_PROMISE, f.END_HEADERS, 1, struct.pack(">I", 2) + hpack.encode(c.fields()))


add = section("6.6, 8.4", "a client cannot push")
add("push-promise-from-client", **kills(post(), promise))

add = section("6.7", "PING")
add("ping-on-a-stream", **kills(f.frame(f.PING, 0, 1, bytes(8))))
add("ping-of-7-octets", **kills(f.frame(f.PING, 0, 0, bytes(7))))
add("ping-of-9-octets", **kills(f.frame(f.PING, 0, 0, bytes(9))))


@case(add, "ping-comes-back-as-it-was")
async def _(wire, _stage):
    await wire.send(f.ping(b"\0\xff\r\n12ab", ack=True), f.ping(b"\0\xff\r\nabcd"))
    await wire.until(lambda: wire.pongs)
    return None if wire.pongs == [b"\0\xff\r\nabcd"] else f"answered {wire.pongs}"


add = section("6.8", "GOAWAY")
add("goaway-on-a-stream", **kills(f.frame(f.GOAWAY, 0, 1, bytes(8))))
add("goaway-of-7-octets", **kills(f.frame(f.GOAWAY, 0, 0, bytes(7))))


@case(add, "goaway-from-client-ends-nothing-that-runs", severity="high")
async def _(wire, _stage):
    await wire.send(post(1)(wire), f.goaway(0, "NO_ERROR", b"leaving"), f.data(1, b"late", True))
    verdict = await wire.verdict()
    return None if verdict == "200" else f"{verdict} for a request before the client's GOAWAY"


add = section("6.9", "WINDOW_UPDATE")
add("update-of-zero-on-stream", **refuses(post(), f.update(1, 0), statuses=()))
add("update-of-zero-on-connection", **kills(f.update(0, 0)))
add("update-of-3-octets", **kills(f.frame(f.WINDOW_UPDATE, 0, 0, bytes(3))))
add("update-on-idle", **kills(f.update(5, 1)))
add("update-overflow-connection", **kills(f.update(0, 2**31 - 1), f.update(0, 2**31 - 1)))
add("update-overflow-stream", **refuses(post(), f.update(1, 2**31 - 1), statuses=()))
add("update-on-half-closed", **serves(get(1), f.update(1, 10), get(3), stream=3))


def again(stream=1):
    return f.frame(f.CONTINUATION, f.END_HEADERS, stream, hpack.literal("x", "y"))


add = section("6.10", "CONTINUATION follows a head that is not at its end, on its stream")
add("continuation-without-headers", **kills(again()))
add("continuation-on-stream-0", **kills(open_block, again(0)))
add("continuation-on-another-stream", **kills(open_block, again(3)))
add("continuation-after-end-headers", **kills(post(), again()))
add("continuation-after-data", **kills(post(), f.data(1, b"x"), again()))

add = section("7", "unknown error codes change nothing", "low")
add("reset-unknown-code", **serves(post(1), f.reset(1, 0xFFFF), get(3), stream=3))


@case(add, "goaway-unknown-code")
async def _(wire, _stage):
    await wire.send(post(1)(wire), f.goaway(0, 0xBEEF), f.data(1, b"x", True))
    verdict = await wire.verdict()
    return None if verdict == "200" else verdict


add = section("5.4, 7", "an error has the code that the rule names", "low")
add("code-compression", **kills(block(b"\x80"), exact=("COMPRESSION_ERROR",)))
add("code-frame-size-of-ping", **kills(f.frame(f.PING, 0, 0, bytes(7)), exact=("FRAME_SIZE_ERROR",)))
add("code-frame-size-of-all", **kills(f.settings(*[(0xF0F0, 0)] * 2731), exact=("FRAME_SIZE_ERROR",)))
add("code-window-in-settings", **kills(f.settings((f.INITIAL_WINDOW, 2**31)), exact=("FLOW_CONTROL_ERROR",)))
add("code-window-overflow", **kills(f.update(0, 2**31 - 1), f.update(0, 2**31 - 1), exact=("FLOW_CONTROL_ERROR",)))
add("code-stream-closed", origin=HOLD, **refuses(get(), f.data(1, b"x", True), exact=("STREAM_CLOSED",), statuses=()))
