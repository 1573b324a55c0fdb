"""HTTP/2 by hand for the conformance suite: a client and an origin that can say anything.

`hpack` and `frames` make bytes, `wire` is one end of a connection, `client` and `origin` are its two kinds, `front` plays
the engine's cases over HTTP/2.
"""
