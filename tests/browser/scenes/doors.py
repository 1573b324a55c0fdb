"""The doors of the data port, from a foreign page, a listed one, and a browser that uses us as its proxy."""
import json
from urllib.parse import quote

from .stage import SECRET


def run(stage, report):
    port, pages = stage.proxy.port, stage.pages.port
    local = {
        "prefix": lambda route: f"http://127.0.0.1:{port}/r/{route}/x",
        "prefix-name": lambda route: f"http://localhost:{port}/r/{route}/x",
        "prefix-sub": lambda route: f"http://any.localhost:{port}/r/{route}/x",
        "host": lambda route: f"http://{route}.test:{port}/x",
    }
    proxied = {"proxy": lambda route: f"http://{route}.test/x", "opened": lambda route: f"https://{route}.test/x"}
    for page in ["http://evil.test", "http://localhost"]:
        hostile(stage, report, f"{page}:{pages}", local)
    flags = [f"--proxy-server=http://127.0.0.1:{port}", "--proxy-bypass-list=localhost;127.0.0.1"]
    # As a browser that trusts the authority of `intercept`.
    flags.append("--ignore-certificate-errors")
    hostile(stage, report, f"http://evil.test:{pages}", proxied, *flags)
    listed(stage, report, f"http://listed.test:{pages}", {"prefix": local["prefix"], "host": local["host"]})


def tried(stage, page, doors, route, *flags):
    """Every attempt at the doors to `route`: what arrived upstream, what the page read, what was tried."""
    stage.take()
    places = {f"{route}-{name}": url(route) for name, url in doors.items()}
    said = stage.browse(f"{page}/doors.html#{quote(json.dumps(places))}", *flags)
    return stage.take(), said["read"], said["attempts"]


def hostile(stage, report, page, doors, *flags):
    arrived, _, attempts = tried(stage, page, doors, "open", *flags)
    for door in doors:
        there = {path.partition("try=")[2].partition("&")[0] for path, _, _ in arrived}
        missing = [name for name in attempts if f"open-{door}.{name}" not in there]
        # A door that nobody guards lets all in: else the guard's silence means nothing. `put` ends at its preflight.
        report.check(f"{page} {door}: {len(attempts)} attempts arrive where nothing guards", len(missing) <= 4, missing)
    arrived, read, _ = tried(stage, page, doors, "guarded", *flags)
    for door in doors:
        mine = [one for one in arrived if f"guarded-{door}." in one[0]]
        report.check(f"{page} {door}: none arrives with the credential", not with_secret(mine), with_secret(mine))
        report.check(f"{page} {door}: none arrives at all", not mine, mine)
        seen = [one for one in read if one[0].startswith(f"guarded-{door}.") and "the answer" in one[1]]
        report.check(f"{page} {door}: nothing of the upstream is read", not seen, seen)


def with_secret(arrived):
    return [(path, method) for path, authorization, method in arrived if authorization and SECRET in authorization]


def listed(stage, report, page, doors):
    arrived, _, _ = tried(stage, page, doors, "guarded")
    for door in doors:
        mine = with_secret([one for one in arrived if f"guarded-{door}." in one[0]])
        report.check(f"{page} {door}: a listed page's requests arrive with the credential", len(mine) >= 3, mine)
