"""Closed-loop load by wrk, and what the proxy paid for it."""

import json

from . import Failure, client, process, tools

SCRIPT = """
wrk.path = "%s"
wrk.headers["Host"] = "%s"
function done(summary, latency, requests)
  local e = summary.errors
  io.write(string.format('\\nRESULT {"requests":%%d,"us":%%d,"bad":%%d,"p50":%%d,"p99":%%d}\\n',
    summary.requests, summary.duration, e.connect + e.read + e.write + e.status + e.timeout,
    latency:percentile(50), latency:percentile(99)))
end
"""


def wrk(stand, port, seconds, core, connections, form):
    """Runs wrk for the time; its counts as a dict."""
    script = stand.dir / "load.lua"
    script.write_text(SCRIPT % (client.target(form), client.HOST))
    log = stand.dir / "wrk.log"
    log.unlink(missing_ok=True)
    argv = [tools.find("wrk"), "-t1", f"-c{connections}", f"-d{seconds}s", "-s", script, f"http://127.0.0.1:{port}"]
    with process.Process(argv, log, core) as run:
        if not process.wait(lambda: not run.alive(), seconds + 20):
            raise run.complain("wrk does not end")
    for line in log.read_text().splitlines():
        if line.startswith("RESULT "):
            return json.loads(line[7:])
    raise Failure(f"wrk printed no result:\n{log.read_text()[-2000:]}")


def measure(stand, proxy, config, args):
    """One run of one proxy with one configuration; `proxy` None is wrk straight to the backend."""
    if proxy is None:
        wrk(stand, stand.ports["4790"], 1, args.load_core, args.connections, args.form)
        result = wrk(stand, stand.ports["4790"], args.seconds, args.load_core, args.connections, args.form)
        return figures(result, None, None, None)
    with stand.start(proxy, config, args.proxy_core, form=args.form) as running:
        wrk(stand, running.port, 1, args.load_core, args.connections, args.form)
        busy, (user, system) = process.core_busy(args.proxy_core), running.cpu()
        result = wrk(stand, running.port, args.seconds, args.load_core, args.connections, args.form)
        after = running.cpu()
        others = process.core_busy(args.proxy_core) - busy - (after[0] - user) - (after[1] - system)
        if not running.alive():
            raise running.complain(f"{proxy.name} ended under load")
        logged(running, proxy, config, result)
    return figures(result, after[0] - user, after[1] - system, others)


def figures(result, user, system, others):
    requests, seconds = result["requests"], result["us"] / 1e6
    if not requests:
        raise Failure("not one request was answered")
    out = {"rps": requests / seconds, "p50_us": result["p50"], "p99_us": result["p99"], "errors": result["bad"]}
    if user is not None:
        out["cpu_us"] = (user + system) * 1e6 / requests
        out["user_us"] = user * 1e6 / requests
        out["others_share"] = max(0.0, others / seconds)
    return out


def logged(running, proxy, config, result):
    """The full configuration must have written its log, or it was not the full one."""
    if config == "full" and running.access.stat().st_size < 100 * result["requests"]:
        raise Failure(f"{proxy.name} wrote {running.access.stat().st_size} bytes of log for {result['requests']} requests")
