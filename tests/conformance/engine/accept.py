"""Accept sets: functions from what was seen to nothing, or to what is wrong with it. They compose.

Where the RFCs leave a proxy a choice, a case takes `either` of several. The base of nearly all of them is `clean`: what
reached an origin is beyond reproach for a strict reader, and so is what reached the client.
"""


def short(data):
    """Bytes for a message: the beginning and the length."""
    return f"{bytes(data[:80])!r}" + (f".. ({len(data)} bytes)" if len(data) > 80 else "")


def either(*ways):
    """At least one of the ways."""

    def accept(seen):
        wrong = []
        for way in ways:
            what = way(seen)
            if not what:
                return None
            wrong.append(what)
        return " / ".join(dict.fromkeys(wrong))

    return accept


def every(*parts):
    """All parts; the first that is wrong is told."""

    def accept(seen):
        for part in parts:
            if what := part(seen):
                return what
        return None

    return accept


def check(what, test):
    """A predicate with a name for its failure; `what` may be a function of what was seen."""

    def accept(seen):
        if test(seen):
            return None
        return what(seen) if callable(what) else what

    return accept


def clean(seen):
    """No reader on either side had to object, and nothing came after the last response."""
    if seen.violations:
        return f"an origin got {seen.violations[0]}"
    if seen.faults:
        return f"the client got {seen.faults[0]}"
    return None


def nothing_smuggled(seen):
    """No origin read a request that the client had put in a body, or anything no strict reader takes."""
    if seen.violations:
        return f"an origin got {seen.violations[0]}"
    for request in seen.requests:
        if b"smuggled" in request.target:
            return f"an origin read the smuggled request: {request}"
    return None


def status(*wanted):
    """The first final response has one of these statuses."""

    def accept(seen):
        if seen.status in wanted:
            return None
        got = f"status {seen.status}" if seen.status else "no response" + (" in time" if seen.late else "")
        return f"{got}, not {' or '.join(map(str, wanted))}"

    return accept


def unsent(seen):
    """No byte of the request reached an origin; a probe may."""
    for side in seen.origins:
        if side.raw and (side.reader.rest or side.reader.violations or own(side.reader.messages)):
            return f"it reached the origin: {bytes(side.raw[:160])!r}"
    return None


def own(requests):
    """Requests of the case, without the probe's."""
    return [request for request in requests if b"/probe" not in request.target]


def dropped(seen):
    """The connection ended without a response."""
    if seen.raw:
        return f"there was a response: {seen.raw[:80]!r}"
    return None if seen.end else "the connection stays open"


def once(seen):
    """One response, after which the connection is over."""
    if len(seen.replies) > 1:
        return f"served on after the refusal: {seen.replies[1]}"
    return None if seen.end else "the connection stays open after the refusal"


def refused(*statuses):
    """An error response (400 unless told), nothing sent on, and the connection over: what follows is no request."""
    return every(status(*(statuses or (400,))), unsent, once)


def rejected(*statuses):
    """The same, where the connection may stay: the message was understood, only not wanted."""
    return every(status(*(statuses or (400,))), unsent)


def count(number):
    """Origins read so many requests, all whole, and the probe's are not counted."""

    def accept(seen):
        if what := nothing_smuggled(seen):
            return what
        found = own(seen.requests)
        if len(found) != number or not all(request.complete for request in found):
            return f"the origin read {len(found)} requests, not {number}: {found}"
        return None

    return accept


def got(request):
    """The first request an origin read passes a test: a function from it to what is wrong."""

    def accept(seen):
        if not seen.requests:
            return f"nothing reached the origin (status {seen.status})"
        return request(seen.requests[0])

    return accept


def body(data):
    """The origin read this request body."""
    return got(lambda m: None if m.body == data and m.complete else f"the origin read the body {m.body[:80]!r} of {m}")


def sent_on(data=None, number=1):
    """Forwarded as clean messages, each answer for its own request; `data` is the body the origin must have read."""
    parts = [clean, count(number), status(200), answers_match]
    return every(*parts, *([] if data is None else [body(data)]))


def broken_body(seen):
    """The client's body is no message: no origin may take it for whole, and the connection is over."""
    if what := nothing_smuggled(seen):
        return what
    whole = [request for request in own(seen.requests) if request.complete]
    if whole:
        return f"an origin read a whole message: {whole[0]}"
    if seen.replies and seen.status not in (400, 408, 413, 431, 501):
        return f"status {seen.status}, not 400"
    return once(seen)


def answers_match(seen):
    """Each plain answer is for the request it follows: the origin echoes targets."""
    for number, reply in enumerate(seen.replies):
        if reply.body == b"/probe" and number == 0:
            return "the probe's answer came first"
        if reply.body != b"/probe" and number and b"/probe" in reply.body:
            return f"a mixed answer: {reply}"
    return None


def reply(test):
    """The first final response passes a test: a function from it to what is wrong."""

    def accept(seen):
        if not seen.replies:
            return f"no response{' in time' if seen.late else ''}; {seen.faults or seen.raw[:80]!r}"
        return test(seen.replies[0])

    return accept


def relayed(wanted, data=None):
    """This status reached the client, whole, with this body."""

    def test(message):
        if message.status != wanted:
            return f"status {message.status}, not {wanted}"
        if not message.complete:
            return f"an incomplete response: {message}"
        if data is not None and message.body != data:
            return f"the body {message.body[:80]!r}, not {data[:80]!r}"
        return None

    return every(clean, reply(test))


def cut(seen):
    """The client can tell that the response is not whole."""
    if not seen.replies:
        return None if seen.end else "no response and no end"
    first = seen.replies[0]
    if first.framing == "close" and seen.end == "rst":
        return None
    if first.complete:
        return f"a broken message looks complete: {first}"
    return None if seen.end or seen.faults else f"left hanging: {first}"


def failed(*statuses):
    """The proxy says that the upstream is at fault: 502 by RFC 9110 15.6.3, but the others tell the client as much."""
    return status(*(statuses or (500, 502, 503, 504)))


def request_field(name, *wanted, absent=False):
    """A field of the request as an origin read it: one of the values, or not there."""
    return got(lambda m: field_of(m, name, wanted, absent))


def reply_field(name, *wanted, absent=False):
    return reply(lambda m: field_of(m, name, wanted, absent))


def field_of(message, name, wanted, absent):
    value = message.get(name)
    if absent:
        return None if value is None else f"{name}: {value!r} is still there"
    return None if value in wanted else f"{name}: {value!r}, not {' or '.join(map(repr, wanted))}"
