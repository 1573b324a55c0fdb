"""HEAD, statuses without a body, OPTIONS and TRACE with Max-Forwards: RFC 9110 9.3, 15.3.5, 15.4.5, 7.6.2."""
from engine.accept import sent_on
from engine.case import H1, Ask, family

add = family("methods", "RFC 9110 9.1", "medium", "a proxy forwards methods it does not know", modes=H1)

for method in (b"GET", b"POST", b"PUT", b"DELETE", b"PATCH", b"OPTIONS", b"PROPFIND", b"QUERY", b"M-SEARCH"):
    add(f"method-{method.decode().lower()}", sent_on(), ask=Ask(method, b"/m"))
