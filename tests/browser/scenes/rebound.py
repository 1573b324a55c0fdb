"""A page whose own name is bound to our address while it stands: to the browser, we are then its own origin."""
import json
from urllib.parse import quote

from .doors import with_secret
from .stage import PAGE_LIMIT, Broken, Server

DATA = {"prefix": "/r/guarded/x", "root": "/"}
ADMIN = {"status": "/api/v1/status", "config": "/api/v1/config", "metrics": "/metrics", "reload": "/api/v1/reload"}


def run(stage, report):
    for name, paths in (("data", DATA), ("admin", ADMIN)):
        ports = stage.two_ports()
        own = ports[0] if name == "data" else ports[1]
        page = Server(stage._page, own)
        to = f"http://evil.test:{stage.pages.port}/report"
        stage.take()

        def swap(page=page, ports=ports):
            if stage.reports.get(timeout=PAGE_LIMIT).get("stage") != "ready":
                raise Broken("the page did not begin")
            page.stop()
            stage.start(*ports)

        wanted = quote(json.dumps({"paths": paths, "to": to}))
        said = stage.browse(f"http://rebind.test:{own}/rebound.html#{wanted}", meanwhile=swap)
        report.check(f"rebound to {name}: the page meets us as its own origin", said.get("there"), said)
        seen = with_secret(stage.take())
        report.check(f"rebound to {name}: nothing is sent with the credential", not seen, seen)
        answers = [one for one in said["read"] if len(one) == 3 and one[1] < 400]
        report.check(f"rebound to {name}: every request is refused", not answers, answers)
