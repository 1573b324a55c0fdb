"""Two readings of one message: Content-Length against Transfer-Encoding, and what parsers disagree about.

Each payload holds `GET /smuggled` where the wrong reading finds a request. Right is a refusal that ends the connection
(RFC 9112 6.1, 6.3), or, where a lenient reading is allowed, one clean message. What reached an origin must be readable
in one way only.
"""
from engine.accept import either, every, once, refused, sent_on
from engine.case import family
from engine.steps import PROBE, REPLY

add = family("smuggling", "RFC 9112 6.3", "critical", "a body that one parser takes for a request")

GET = b"GET /smuggled HTTP/1.1\r\nHost: <H>\r\n\r\n"


def post(fields, body, version=b"HTTP/1.1"):
    return b"POST <T>/one " + version + b"\r\nHost: <H>\r\n" + fields + b"\r\n" + body


def play(name, fields, body, accept, version=b"HTTP/1.1", **own):
    add(name, accept, client=(post(fields, body, version), REPLY, PROBE), **own)


play("cl-te", b"Content-Length: 6\r\nTransfer-Encoding: chunked\r\n", b"0\r\n\r\n" + GET, either(refused(), every(sent_on(b""), once)))
