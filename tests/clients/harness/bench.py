"""One run's origins, names and files, and the two modes in which every row is tried.

Rows share nothing but the two origins, and each has its own names, so several run at once.
"""
import json
import os
import re
import secrets
import time
from collections import Counter

from . import attache, clients, origin, verdict
from .certs import Certs

SCHEMES = ("http", "https")
SETTLE_LIMIT = 5

# What `run` promises its child beside the proxy variables; the metadata addresses must stay direct.
NO_PROXY = {"localhost", "127.0.0.1", "::1", "169.254.169.254", "169.254.170.2", "fd00:ec2::254"}
PROXY_VARIABLES = ("http_proxy", "HTTP_PROXY", "https_proxy", "HTTPS_PROXY")
# Asks the proxy of `run` for its metrics.
SCRAPE = 'curl -sS --noproxy "*" --unix-socket "$ATTACHE_ADMIN_SOCKET" http://localhost/metrics'
ABSENT = ("ALL_PROXY", "all_proxy", "SSL_CERT_FILE", "NODE_EXTRA_CA_CERTS")


class Bench:
    """Everything a cell needs; `results` and `checks` fill as the modes run."""

    def __init__(self, binary, tools, directory):
        self.binary, self.directory, self.token = binary, directory, secrets.token_hex(16)
        home = directory / "home"
        home.mkdir()
        # Nothing of the caller's proxy, CA or client settings may leak into a cell.
        self.env = {"PATH": os.environ["PATH"], "HOME": str(home), "LANG": "C.UTF-8"}
        self.tools, self.certs = tools, Certs(directory)
        certs = self.certs
        self.rows = clients.rows(tools, certs)
        certs.issue([client.host("https") for client in self.rows], tools["openssl"], tools["keytool"])
        repository = origin.repository(directory, self.token, tools["git"], self.env)
        self.origins = {
            "http": origin.Origin(self.token, repository),
            "https": origin.Origin(self.token, repository, origin.tls(certs)),
        }
        self.resolve = {
            client.host(scheme): f"127.0.0.1:{self.origins[scheme].port}" for client in self.rows for scheme in SCHEMES
        }
        self.results, self.checks = {}, []

    def plain_environment(self, rows, pool):
        """All rows against one `attache serve`; judged when that has ended and its log is whole."""
        serve = attache.Serve(self.binary, self.directory, self.resolve, self.env)
        cells = [(client, scheme) for client in rows for scheme in SCHEMES]
        try:
            ended = list(pool.map(lambda cell: self._get(*cell, "env", variables=serve.variables()), cells))
            counted = _settled(serve)
        finally:
            code = serve.stop()
        log = attache.access_rows(serve.log)
        for (client, scheme), end in zip(cells, ended):
            self._judge(client, scheme, "env", end, log)

        logged = _by_method(log)
        agree = [] if counted == logged else [f"/metrics has {counted}, the access log {logged}"]
        self.checks.append(("serve: attache_requests_total agrees with the access log", agree, ""))
        drained = [] if code == 0 else ["had to be killed" if code is None else f"exited {code}"]
        self.checks.append(("serve: TERM drains and exits 0", drained, serve.messages.read_text()))

    def under_run(self, rows, pool):
        """Each cell under an `attache run` of its own, with a log of its own."""

        def cell(client, scheme):
            log, prefix = self._run(f"{client.name}-{scheme}")
            return self._get(client, scheme, "run", prefix=prefix), log

        cells = [(client, scheme) for client in rows for scheme in SCHEMES]
        for (client, scheme), (end, log) in zip(cells, pool.map(lambda each: cell(*each), cells)):
            self._judge(client, scheme, "run", end, attache.access_rows(log))

    def under_intercept(self, only, pool):
        """HTTPS under an `attache run --intercept` of its own each, to an origin that turns the first request away. The
        clients are told of no CA, and the retry is inside their tunnel: nobody but the proxy can have made it."""
        extra = f"default: {{ tls: {{ ca: {self.certs.ca} }}, retry: {{ backoff: 10ms }} }}\n"
        clients_ = [client for client in clients.untold(self.tools) if client.name in only]

        def one(client):
            name = f"intercept-{client.name}"
            log, scrape = self.directory / f"{name}.jsonl", self.directory / f"{name}.metrics"
            file = attache.config(self.directory / f"{name}.yaml", log, self.resolve, extra)
            then = f"\"$@\"; code=$?; {SCRAPE} >{scrape}; exit $code"
            prefix = [self.binary, "run", "--intercept", "-c", file, "--", "sh", "-c", then, "sh"]
            return self._get(client, "https", origin.FLAKY, prefix=prefix), log, scrape

        for client, (ended, log, scrape) in zip(clients_, pool.map(one, clients_)):
            faults, rows = [], [row for row in attache.access_rows(log) if row.get("method") != "CONNECT"]
            if ended.code != 0 or self.token not in ended.out:
                faults.append(f"ended with {ended.code}, and {ended.out[:80]!r}")
            if not any(row["scheme"] == "https" and len(row["attempts"]) > 1 and row["status"] == 200 for row in rows):
                faults.append("no request inside its tunnel was tried again and answered with 200")
            if any(row["status"] == 503 for row in rows):
                faults.append("it was shown a 503")
            text = scrape.read_text() if scrape.exists() else ""
            if not re.search(r"^attache_retries_total\{[^}]*\} [1-9]", text, re.M):
                faults.append("/metrics has no retry")
            context = [f"log: {json.dumps(row)}" for row in attache.access_rows(log)]
            context += [f"stderr: {line}" for line in ended.err.splitlines()[-12:]]
            self.checks.append((f"run --intercept: {client.name} gets 200 after a retry", faults, "\n".join(context)))

    def promises_of_run(self, python):
        """The child's environment and its exit code."""
        show = "import json, os; print(json.dumps(dict(os.environ)))"
        mine = {**self.env, "JAVA_TOOL_OPTIONS": "-Dmine=1"}
        ended = attache.execute([*self._run("environment")[1], python, "-c", show], mine, self.directory)
        faults = _environment(json.loads(ended.out)) if ended.code == 0 else [f"exited {ended.code}"]
        self.checks.append(("run: the child's environment", faults, ended.err))
        for script, want in (("exit 7", 7), ("kill -TERM $$", 143)):
            ended = attache.execute([*self._run("exit")[1], "sh", "-c", script], self.env, self.directory)
            faults = [] if ended.code == want else [f"exited {ended.code}"]
            self.checks.append((f"run: `{script}` ends it with {want}", faults, ended.err))

    def _run(self, name):
        log = self.directory / f"run-{name}.jsonl"
        file = attache.config(self.directory / f"run-{name}.yaml", log, self.resolve)
        return log, [self.binary, "run", "-c", file, "--"]

    def _get(self, client, scheme, mode, prefix=(), variables=None):
        scratch = self.directory / f"{client.name}-{mode}-{scheme}"
        scratch.mkdir()
        command = [*prefix, *client.argv(f"{scheme}://{client.host(scheme)}/{mode}", scratch)]
        return attache.execute(command, {**self.env, **client.env, **(variables or {})}, scratch)

    def _judge(self, client, scheme, mode, ended, log):
        host, origin_side = client.host(scheme), self.origins[scheme]
        rows, seen = [row for row in log if verdict.host_of(row) == host], origin_side.of(host, mode)
        letter, faults = verdict.judge(scheme, rows, seen, ended, self.token)
        if mode == "run" and len(rows) != len(log):
            faults.append("the log of this one command has requests for other hosts")
            rows = log
        context = [f"log: {json.dumps(row)}" for row in rows]
        context += [f"origin: {one.method} {one.target} {one.status} {one.headers}" for one in seen]
        context += [f"a handshake at the origin failed: {error}" for error in origin_side.broken]
        context += [f"stderr: {line}" for line in ended.err.splitlines()[-12:]]
        self.results[client.name, mode, scheme] = letter, faults, "\n".join(context)


def _settled(serve):
    """The counters once they agree with the log so far, or as they stand after a while."""
    limit = time.monotonic() + SETTLE_LIMIT
    while True:
        counted, logged = serve.counted(), _by_method(attache.access_rows(serve.log, ended=False))
        if counted == logged or time.monotonic() > limit:
            return counted
        time.sleep(0.1)


def _by_method(rows):
    return dict(Counter(row.get("method") for row in rows))


def _environment(child):
    faults = []
    proxies = {name: child.get(name) for name in PROXY_VARIABLES}
    proxy = proxies["http_proxy"] or ""
    host, _, port = proxy.removeprefix("http://").rstrip("/").partition(":")
    if len(set(proxies.values())) != 1 or host != "127.0.0.1" or not port.isdigit():
        faults.append(f"one http://127.0.0.1:PORT in all four, not {proxies}")
    for name in ("no_proxy", "NO_PROXY"):
        if set(child.get(name, "").split(",")) != NO_PROXY:
            faults.append(f"{name}={child.get(name)}, not {','.join(sorted(NO_PROXY))}")
    if child.get("NODE_USE_ENV_PROXY") != "1":
        faults.append(f"NODE_USE_ENV_PROXY={child.get('NODE_USE_ENV_PROXY')}")
    options = child.get("JAVA_TOOL_OPTIONS", "").split()
    wanted = [f"-D{scheme}.proxy{part}" for scheme in SCHEMES for part in (f"Host={host}", f"Port={port}")]
    for option in ["-Dmine=1", *wanted]:
        if option not in options:
            faults.append(f"JAVA_TOOL_OPTIONS lacks {option}: {options}")
    return faults + [f"sets {name}={child[name]}" for name in ABSENT if name in child]
