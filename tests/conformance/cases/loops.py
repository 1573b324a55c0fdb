"""Requests that come back, and destinations that are the proxy itself: RFC 9110 7.6.3, semantics 7."""

from engine import client
from engine.accept import either, rejected, sent_on
from engine.case import H1, family
from engine.steps import PROBE, REPLY

add = family("loops", "RFC 9110 7.6.3", "high", "a proxy sees its own name in Via and stops", modes=H1)


def with_own_via(before=b"", after=b""):
    """Learns the proxy's Via from a first request, then sends it back."""

    async def play(stage):
        await client.play(stage, (b"GET <T>/first HTTP/1.1\r\nHost: <H>\r\n\r\n", REPLY))
        own = [request.get("via") or b"" for side in stage.origin.sides for request in side.reader.messages]
        stage.notes["via"] = own
        via = before + (own[0] if own else b"") + after
        await client.play(stage, (b"GET <T>/second HTTP/1.1\r\nHost: <H>\r\nVia: " + via + b"\r\n\r\n", REPLY))

    return play


def stopped(seen):
    if not seen.notes.get("via") or not seen.notes["via"][0]:
        return "no Via to be seen"
    if any(b"/second" in m.target for m in seen.requests):
        return "the request went round again"
    return None if seen.replies[-1].status in (400, 403, 508, 502, 500) else f"status {seen.replies[-1].status}"


add("via-own", stopped, play=with_own_via())
add("via-own-among", stopped, play=with_own_via(b"1.0 fred, ", b", 1.1 other"))
add("via-own-commented", stopped, play=with_own_via(b"1.1 a (b, c) , "), severity="medium")
add(
    "via-other",
    sent_on(),
    client=(b"GET <T>/l HTTP/1.1\r\nHost: <H>\r\nVia: 1.1 attache, 1.1 attache-0000, 1.0 proxy\r\n\r\n", REPLY, PROBE),
    why="another proxy of the same kind is no loop",
)
add(
    "via-odd",
    either(sent_on(), rejected()),
    client=(b"GET <T>/l HTTP/1.1\r\nHost: <H>\r\nVia: ,,(((\r\n\r\n", REPLY, PROBE),
    severity="medium",
    why="a Via that is none harms nothing",
)


def to_itself(target, host, connect=False):
    async def play(stage):
        port = b"%d" % stage.port
        method = b"CONNECT " if connect else b"GET "
        raw = (
            method + target.replace(b"PORT", port) + b" HTTP/1.1\r\nHost: " + host.replace(b"PORT", port) + b"\r\n\r\n"
        )
        await client.play(stage, (raw, REPLY))
        # And it still serves.
        await client.play(stage, (b"GET <T>/after HTTP/1.1\r\nHost: <H>\r\n\r\n", REPLY))

    return play


def alive(seen):
    if not seen.replies or seen.replies[0].status not in (400, 403, 404, 405, 421, 502, 503, 508):
        return f"the first answer is {seen.replies[:1]}"
    return None if seen.replies[-1].status == 200 else f"it no longer serves: {seen.replies[-1]}"


itself = family(
    "loops",
    "semantics 7",
    "high",
    "its own listeners are no destination: a self-request once stopped another proxy",
    modes=("forward",),
)
for name, host in {
    "loopback": b"127.0.0.1",
    "localhost": b"localhost",
    "other-loopback": b"127.0.0.2",
    "mapped": b"[::ffff:127.0.0.1]",
    "zero": b"0.0.0.0",
    "six": b"[::1]",
    "decimal": b"2130706433",
    "short": b"127.1",
}.items():
    itself(f"self-{name}", alive, play=to_itself(b"http://" + host + b":PORT/", host + b":PORT"))
    itself(
        f"self-connect-{name}",
        alive,
        play=to_itself(host + b":PORT", host + b":PORT", True),
        needs=frozenset({"connect"}),
    )
