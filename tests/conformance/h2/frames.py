"""HTTP/2 frames by hand (RFC 9113, sections 4 and 6): nothing is checked, so that anything can be sent."""

import struct

from . import hpack

PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"

DATA, HEADERS, PRIORITY, RST_STREAM, SETTINGS, PUSH_PROMISE, PING, GOAWAY, WINDOW_UPDATE, CONTINUATION = range(10)

ACK = END_STREAM = 0x1
END_HEADERS = 0x4
PADDED = 0x8
PRIORITIZED = 0x20

ENABLE_PUSH, MAX_STREAMS, INITIAL_WINDOW, MAX_FRAME, MAX_LIST, ENABLE_CONNECT = 2, 3, 4, 5, 6, 8

CODES = (
    "NO_ERROR",
    "PROTOCOL_ERROR",
    "INTERNAL_ERROR",
    "FLOW_CONTROL_ERROR",
    "SETTINGS_TIMEOUT",
    "STREAM_CLOSED",
    "FRAME_SIZE_ERROR",
    "REFUSED_STREAM",
    "CANCEL",
    "COMPRESSION_ERROR",
    "CONNECT_ERROR",
    "ENHANCE_YOUR_CALM",
    "INADEQUATE_SECURITY",
    "HTTP_1_1_REQUIRED",
)
NUMBER = {name: number for number, name in enumerate(CODES)}


def code(number):
    """An error code's name."""
    return CODES[number] if number < len(CODES) else f"code {number}"


def frame(kind, flags, stream, payload=b"", length=None):
    """A frame; `length` is what its head claims, if not the truth."""
    claimed = len(payload) if length is None else length
    return struct.pack(">I", claimed)[1:] + struct.pack(">BBI", kind, flags, stream) + payload


def headers(stream, fields, end=True, done=True, flags=0, before=b"", after=b""):
    """HEADERS; `fields` are pairs, or a block that is encoded already."""
    block = fields if isinstance(fields, bytes) else hpack.encode(fields)
    flags |= (END_STREAM if end else 0) | (END_HEADERS if done else 0)
    return frame(HEADERS, flags, stream, before + block + after)


def split(stream, block, at, end=True):
    """A header block as HEADERS and CONTINUATIONs, cut at the given places."""
    cuts = [0, *at, len(block)]
    parts = [block[a:b] for a, b in zip(cuts, cuts[1:])]
    out = frame(HEADERS, END_STREAM if end else 0, stream, parts[0])
    for part in parts[1:-1]:
        out += frame(CONTINUATION, 0, stream, part)
    return out + frame(CONTINUATION, END_HEADERS, stream, parts[-1])


def long_headers(stream, fields, end=True, size=16384):
    """A header block of any length, in frames of at most `size`."""
    block = fields if isinstance(fields, bytes) else hpack.encode(fields)
    if len(block) <= size:
        return headers(stream, block, end)
    return split(stream, block, range(size, len(block), size), end)


def data(stream, payload=b"", end=False, pad=None):
    """DATA, perhaps padded."""
    flags = END_STREAM if end else 0
    if pad is None:
        return frame(DATA, flags, stream, payload)
    return frame(DATA, flags | PADDED, stream, bytes([pad]) + payload + bytes(pad))


def settings(*pairs, ack=False):
    """SETTINGS of (identifier, value)."""
    return frame(SETTINGS, ACK if ack else 0, 0, b"".join(struct.pack(">HI", *pair) for pair in pairs))


def ping(payload=b"attached", ack=False):
    return frame(PING, ACK if ack else 0, 0, payload)


def reset(stream, why="CANCEL"):
    return frame(RST_STREAM, 0, stream, struct.pack(">I", NUMBER[why] if isinstance(why, str) else why))


def update(stream, by):
    return frame(WINDOW_UPDATE, 0, stream, struct.pack(">I", by))


def goaway(last=0, why="NO_ERROR", debug=b""):
    return frame(GOAWAY, 0, 0, struct.pack(">II", last, NUMBER[why] if isinstance(why, str) else why) + debug)


def priority(stream, on=0, weight=15):
    return frame(PRIORITY, 0, stream, struct.pack(">IB", on, weight))
