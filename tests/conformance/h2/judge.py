"""What a strict peer makes of HTTP/2 messages (RFC 9113, section 8): the engine's messages, and what is wrong with them.

So the same accept sets judge HTTP/1 and HTTP/2, and no proxy can pass something malformed on unseen.
"""

import re

from engine.wire import TOKEN, VALUE, Message

CONNECTION = {b"connection", b"proxy-connection", b"keep-alive", b"transfer-encoding", b"upgrade"}
REQUEST = {b":method", b":scheme", b":authority", b":path", b":protocol"}
BODYLESS = (b"204", b"304")


def responses(wire, methods):
    """The messages and violations of a client's connection; `methods` are those of the streams' requests."""
    messages, wrong = [], [wire.broken] if wire.broken else []
    for number, it in sorted(wire.streams.items()):
        method = methods.get(number, b"GET")
        for fields in it.interim:
            messages.append(response(fields, b"", None, True, method, wrong))
        if it.head:
            whole = it.ended and it.code in (None, 0)
            messages.append(response(it.head, bytes(it.data), it.trailers, whole, method, wrong))
        elif it.data:
            wrong.append(f"DATA before a head on stream {number}")
        if it.pushed:
            wrong.append(f"a push on stream {number}")
    return messages, wrong


def response(fields, body, trailers, whole, method, wrong):
    pseudo, plain = split(fields, {b":status"}, wrong)
    status = pseudo.get(b":status", b"")
    if not re.fullmatch(rb"[1-9][0-9][0-9]", status):
        wrong.append(f"a :status that is none: {status!r}")
        status = b"0"
    if status == b"101":
        wrong.append("a 101 over HTTP/2")
    bare = method == b"HEAD" or status in BODYLESS or status[:1] == b"1"
    if bare and body:
        wrong.append(f"a body with {status.decode()} to {method.decode()}")
    if not bare and not (method == b"CONNECT" and status[:1] == b"2"):
        measure(plain, body, whole, wrong)
    return message((b"HTTP/2", status, b""), plain, body, trailers, whole, wrong)


def requests(wire):
    """The messages and violations of an origin's connection."""
    messages, wrong = [], [wire.broken] if wire.broken else []
    for _, it in sorted(wire.streams.items()):
        if it.head:
            messages.append(request(it, wrong))
    return messages, wrong


def request(it, wrong):
    pseudo, plain = split(it.head, REQUEST, wrong)
    method = pseudo.get(b":method", b"")
    expected = (
        {b":method", b":authority"}
        if method == b"CONNECT" and b":protocol" not in pseudo
        else {b":method", b":scheme", b":path"}
    )
    if missing := expected - pseudo.keys():
        wrong.append(f"without {sorted(missing)}: {it.head}")
    if not TOKEN.match(method):
        wrong.append(f"a :method that is none: {method!r}")
    path = pseudo.get(b":path", b"/")
    if not re.fullmatch(rb"(/[\x21\x22\x24-\x7e\x80-\xff]*|\*)", path):
        wrong.append(f"a :path that is none: {path!r}")
    if not re.fullmatch(rb"[\x21-\x7e]*", pseudo.get(b":authority", b"")) or b"@" in pseudo.get(b":authority", b""):
        wrong.append(f"an :authority that is none: {pseudo[b':authority']!r}")
    hosts = [value for name, value in plain if name == b"host"]
    if len(hosts) > 1 or (hosts and b":authority" in pseudo and hosts[0] != pseudo[b":authority"]):
        wrong.append(f"Host differs from :authority: {it.head}")
    if not hosts and b":authority" in pseudo:
        plain.append((b"host", pseudo[b":authority"]))
    if any(value != b"trailers" for name, value in plain if name == b"te"):
        wrong.append(f"TE other than trailers: {it.head}")
    body, whole = bytes(it.data), it.ended and it.code is None
    measure(plain, body, whole, wrong)
    return message((method, path, b"HTTP/2"), plain, body, it.trailers, whole, wrong)


def message(start, plain, body, trailers, whole, wrong):
    found = Message(start, plain, "frames", body, complete=bool(whole))
    if trailers:
        pseudo, found.trailers = split(trailers, set(), wrong)
    return found


def split(fields, known, wrong):
    """Pseudo-fields and the others."""
    pseudo, plain = {}, []
    for name, value in fields:
        if name[:1] == b":":
            if name not in known or name in pseudo or plain:
                wrong.append(f"a pseudo-field out of place: {name!r} in {fields}")
            pseudo[name] = value
        else:
            if not TOKEN.match(name) or name != name.lower() or name in CONNECTION:
                wrong.append(f"a field name that may not be: {name!r}")
            plain.append((name, value))
        if not VALUE.match(value) or value != value.strip(b" \t"):
            wrong.append(f"a field value that may not be: {name!r}: {value!r}")
    return pseudo, plain


def measure(plain, body, whole, wrong):
    """RFC 9113, section 8.1.1: the DATA is as long as `content-length` says."""
    said = [value for name, value in plain if name == b"content-length"]
    if len(said) > 1 or (said and not re.fullmatch(rb"[0-9]+", said[0])):
        wrong.append(f"a content-length that is none: {said}")
    elif said and (len(body) > int(said[0]) or (whole and len(body) != int(said[0]))):
        wrong.append(f"content-length {said[0].decode()} and {len(body)} octets of DATA")
