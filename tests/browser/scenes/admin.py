"""Admin, from a foreign page: nothing is read and nothing changes."""
import json
from urllib.parse import quote

READ = ["/", "/metrics", "/livez", "/api/v1/status", "/api/v1/config", "/api/v1/routes", "/api/v1/breakers"]
CHANGE = ["/api/v1/reload", "/api/v1/drain"]


def state(stage):
    """What may not change: the generation, that it runs, and every breaker."""
    admin = stage.proxy.admin
    status = json.loads(stage.ask(admin, "GET", "/api/v1/status")[1])
    breakers = json.loads(stage.ask(admin, "GET", "/api/v1/breakers")[1])["breakers"]
    # The browser's own calls home are nobody's doing.
    breakers = [(one["id"], one["state"], one["forced"]) for one in breakers if one["upstream"] != "_default"]
    return status.get("generation"), stage.ask(admin, "GET", "/readyz")[0], breakers


def run(stage, report):
    admin, pages = stage.proxy.admin, stage.pages.port
    before = state(stage)
    report.check("admin: there is a state to change", before[0] and before[1] == 200, before)
    for host in ["127.0.0.1", "localhost", "evil.test"]:
        places = {path: f"http://{host}:{admin}{path}" for path in READ + CHANGE}
        said = stage.browse(f"http://evil.test:{pages}/doors.html#{quote(json.dumps(places))}")
        report.check(f"admin at {host}: a page reads nothing", not said["read"], said["read"])
    after = state(stage)
    report.check("admin: a page changes nothing", before == after, (before, after))
    status, _ = stage.ask(admin, "POST", "/api/v1/reload", {"x-attache": "1"})
    report.check("admin: a program changes something", status == 200 and state(stage) != before, status)
