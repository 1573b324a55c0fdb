"""What one cell shows, from three witnesses: the proxy's access log, the origin, and the client's own end.

The letter comes from the log. All three must then tell the same story, or the cell has faults: an answer that
did not arrive, a request the log does not have, a hop-by-hop header that reached the origin, a tunnel that was
not raw, a bypass that was none.
"""
from collections import Counter

# Fields that end at a proxy (RFC 9110 section 7.6.1). Connection and TE are not here: the proxy may send its own.
HOP_BY_HOP = {"keep-alive", "proxy-connection", "proxy-authorization", "upgrade", "http2-settings"}


def judge(scheme, rows, seen, ended, token):
    """The cell's letter and its faults; `rows` and `seen` hold this cell only."""
    tunnels = [row for row in rows if row.get("method") == "CONNECT"]
    requests = [row for row in rows if row.get("method") != "CONNECT"]
    letter = "C" if tunnels else "P" if requests else "-"
    if letter == "-":
        return letter, _bypass(seen, ended)
    faults = _delivery(seen, ended, token)
    faults += [f"CONNECT answered {row.get('status')}" for row in tunnels if row.get("status") != 200]
    faults += _plain(requests, seen) if scheme == "http" else _tunnel(requests, seen)
    return letter, faults


def host_of(row):
    """The row's host, without a port."""
    name = row.get("host") or ""
    host, _, port = name.rpartition(":")
    return host if port.isdigit() else name


def _bypass(seen, ended):
    faults = []
    if ended.code == 0:
        faults.append("the client reports success, yet the access log has no row")
    if ended.code is None:
        faults.append("the client did not end in time")
    if seen:
        faults.append("the origin was reached, yet the access log has no row")
    return faults


def _delivery(seen, ended, token):
    faults = []
    if ended.code != 0:
        faults.append("the client did not end in time" if ended.code is None else f"the client exited {ended.code}")
    elif token not in ended.out:
        faults.append("the client did not print the origin's answer")
    if not seen:
        faults.append("the origin saw nothing")
    return faults


def _plain(requests, seen):
    """Full L7, also inside a CONNECT: each request logged once, regenerated, and marked with Via."""
    logged = Counter((row.get("method"), _path(row.get("path")), row.get("status")) for row in requests)
    arrived = Counter((one.method, _path(one.target), one.status) for one in seen)
    faults = [f"logged, not at the origin: {_tuple(item)}" for item in logged - arrived]
    faults += [f"at the origin, not logged: {_tuple(item)}" for item in arrived - logged]
    faults += [f"logged as {row.get('scheme')}, asked for http" for row in requests if row.get("scheme") != "http"]
    for one in seen:
        if "via" not in one.headers:
            faults.append(f"no Via at the origin: {one.method} {one.target}")
        leaked = sorted(HOP_BY_HOP & one.headers.keys())
        if leaked:
            faults.append(f"reached the origin: {', '.join(leaked)}")
    return faults


def _tunnel(requests, seen):
    """A raw tunnel: nothing inside it is logged or touched."""
    faults = [f"logged inside a raw tunnel: {row.get('method')} {row.get('path')}" for row in requests]
    return faults + [f"a raw tunnel added Via: {one.headers['via']}" for one in seen if "via" in one.headers]


def _path(target):
    """Without the query, whose values the log may hide."""
    return (target or "").partition("?")[0]


def _tuple(item):
    return " ".join(map(str, item))
