"""The proxy with a route for each kind, the servers it may and may not tell, and everything it says."""
import base64
import http.client
import http.server
import json
import os
import signal
import socket
import subprocess
import threading
import time

from harness.attache import Broken, Serve, execute

from .callers import Callers
from .kinds import Kinds
from .search import forms

WORD = "APP_TOKEN_PLACEHOLDER"
ADMIN = ["/", "/livez", "/readyz", "/metrics", "/api/v1/status", "/api/v1/config", "/api/v1/routes", "/api/v1/upstreams",
         "/api/v1/breakers"]


class Recorder(http.server.ThreadingHTTPServer):
    """An upstream that keeps every request as text and answers as its path says."""

    daemon_threads = True

    def __init__(self):
        self.seen, self.lock = [], threading.Lock()
        super().__init__(("127.0.0.1", 0), Recorded)
        threading.Thread(target=self.serve_forever, daemon=True).start()

    @property
    def port(self):
        return self.server_address[1]

    def handle_error(self, *_):
        """Broken off on purpose."""

    def text(self):
        with self.lock:
            return "\n".join(self.seen)


class Recorded(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def any(self):
        body = self.rfile.read(int(self.headers.get("content-length") or 0))
        with self.server.lock:
            self.server.seen.append(f"{self.requestline}\n{self.headers}\n{body!r}")
        if isinstance(self.server, Issuer):
            answer = self.server.answer(self.headers.get("authorization"), body)
            self.send_response(200)
            self.send_header("content-type", "application/json")
            self.send_header("content-length", str(len(answer)))
            self.end_headers()
            return self.wfile.write(answer)
        if "/cut" in self.path:
            self.send_response(200)
            self.send_header("content-length", "100")
            self.end_headers()
            self.wfile.write(b"half")
            self.close_connection = True
            return
        status = next((code for code in (302, 401, 403, 500, 503) if f"/{code}" in self.path), 200)
        self.send_response(status)
        if status == 302:
            self.send_header("location", "http://other.test/landed")
        self.send_header("content-length", "3")
        self.end_headers()
        self.wfile.write(b"ok\n")

    do_GET = do_POST = do_PUT = do_HEAD = any

    def log_message(self, *_):
        pass


class Issuer(Recorder):
    """A token endpoint: whoever shows a client's secret gets its token."""

    def __init__(self):
        self.tokens = {}
        super().__init__()

    def answer(self, authorization, body):
        shown = base64.b64decode((authorization or "").removeprefix("Basic ")).decode() + body.decode()
        token = next((token for client, token in self.tokens.items() if client in shown), None)
        return json.dumps({"access_token": token, "token_type": "Bearer", "expires_in": 30}).encode()


class Stage:
    """Runs it all; `surfaces` may be read once the proxy has ended."""

    def __init__(self, binary, directory):
        self.binary, self.directory = binary, directory
        self.told, self.others, self.parent, self.issuer = Recorder(), Recorder(), Recorder(), Issuer()
        self.kinds = kinds = Kinds(directory, self.issuer)
        self.callers = Callers(kinds, directory)
        kinds.plant("parent-password")
        kinds.plant("placed")
        kinds.never += ["caller-key", "caller-password", "caller-jwt-secret", "caller-jwt", "parent-password"]
        home = directory / "home"
        home.mkdir()
        self.env = {"PATH": os.environ["PATH"], "HOME": str(home), "LANG": "C.UTF-8", "RUST_BACKTRACE": "full", "ATTACHE_LOG": "trace"}
        self.answers = []
        resolve = {"other.test": f"127.0.0.1:{self.others.port}"}
        self.config = self._authority() + self.callers.text + self._parent() + self._routes()
        self.serve = Serve(binary, directory, resolve, self.env | kinds.environment, self.config)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        if self.serve.process.poll() is None:
            self.serve.stop()
        for server in (self.told, self.others, self.parent, self.issuer):
            server.shutdown()
            server.server_close()

    def _authority(self):
        """Makes the authority of `intercept`; its key is one more secret."""
        self.certificate, key = (self.directory / name for name in ("ca.crt", "ca.key"))
        text = f"ca: {{ cert: {self.certificate}, key: {key} }}\n"
        alone = self.directory / "ca.yaml"
        alone.write_text(text)
        made = execute([self.binary, "-c", alone, "ca", "init"], self.env, self.directory)
        if made.code != 0:
            raise Broken(f"`attache ca init`: {made.err}")
        self.answers.append(made.out + made.err)
        body = key.read_text().splitlines()[1:-1]
        # As it stands in the file, and the number that it is about (RFC 5915), which follows `04 20`.
        self.kinds.needles["authority-key"] = body[1]
        der = base64.b64decode("".join(body))
        begin = der.index(b"\x04\x20") + 2
        self.kinds.needles["authority-number"] = der[begin:begin + 32].hex()
        return text

    def _parent(self):
        password = f"password: {{ file: {self.directory / 'parent-password.secret'} }}"
        return (
            f"parent: {{ url: 'http://127.0.0.1:{self.parent.port}', for: [far.test], "
            f"auth: {{ basic: {{ user: us, {password} }} }} }}\n"
        )

    def _routes(self):
        told, others = f"http://127.0.0.1:{self.told.port}", f"http://127.0.0.1:{self.others.port}"
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            nobody = probe.getsockname()[1]
        lines = ["routes:"]
        for name, kind in self.kinds.all.items():
            auth = f"    auth: {{ {kind.auth} }}"
            lines += [
                f"  - name: {name}", f"    match: {name}.test", f"    to: {told}", auth,
                "    breaker: false", f"    mirror: {{ to: {others} }}",
                f"    fallback: [{{ on: [503], to: {others} }}]",
                f"  - name: dead-{name}", f"    match: dead-{name}.test", f"    to: http://127.0.0.1:{nobody}",
                "    retry: false", auth,
            ]
        lines += [
            "  - name: asked", "    match: asked.test", f"    to: {told}", "    authenticate: [machines, staff, partner]",
            "  - name: placed", "    match: placed.test", f"    to: {told}",
            f"    auth: {{ bearer: {{ file: {self.directory / 'placed.secret'} }}, placeholder: {WORD} }}",
            "  - name: own", "    match: own.test", f"    to: {told}",
            f"    auth: {{ {self.kinds.all['bearer'].auth} }}",
            "  - name: opened", "    match: opened.test", f"    to: {told}", "    intercept: true",
            f"    auth: {{ {self.kinds.all['bearer'].auth} }}",
        ]
        for index, auth in enumerate(self.kinds.broken):
            lines += [
                f"  - name: broken-{index}", f"    match: broken-{index}.test", f"    to: {told}", "    timeout: { total: 3s }",
                f"    auth: {{ {auth} }}",
            ]
        return "\n".join(lines) + "\n"

    def curl(self, *arguments):
        """A request through the proxy; what the client saw becomes a surface."""
        command = ["curl", "-sS", "-i", "-m", "20", "--proxy", f"http://127.0.0.1:{self.serve.port}", *arguments]
        ended = execute(command, self.env, self.directory)
        self.answers.append(ended.out + ended.err)
        return ended.out

    def exercise(self, report):
        """Every kind on every way, and what clients send of their own."""
        needle = self.kinds.needles
        for name, kind in self.kinds.all.items():
            answer = self.curl(f"http://{name}.test/fine")
            report.check(f"{name}: the upstream sees it", "200" in answer.partition("\n")[0], answer)
            arrived = f"{kind.field}: {kind.value}".lower() in self.told.text().lower()
            report.check(f"{name}: it arrives as it should", arrived, self.told.text()[-600:] if not arrived else "")
            self.curl("-L", f"http://{name}.test/302")
            for path in ("401", "403", "500", "503", "cut"):
                self.curl(f"http://{name}.test/{path}")
            self.curl("-d", "body", f"http://{name}.test/fine")
            self.curl("--http2-prior-knowledge", f"http://{name}.test/fine")
            self.curl(f"http://dead-{name}.test/")
            # Inside a tunnel to one host, another is asked for.
            self.curl("--proxytunnel", "-H", "Host: other.test", f"http://{name}.test:80/inner")
            self.curl("--proxytunnel", "-H", f"Host: {name}.test", "http://other.test:80/inner")
            self.curl("-H", f"Host: {name}.test", "http://other.test/host")
            port = f"http://127.0.0.1:{self.serve.port}"
            self.answers.append(execute(
                ["curl", "-sS", "-i", "-m", "20", f"{port}/r/{name}/fine", "-H", "Origin: http://evil.test"],
                self.env, self.directory,
            ).out)
        for index, auth in enumerate(self.kinds.broken):
            broken = self.curl(f"http://broken-{index}.test/")
            report.check(f"{auth}: refused, since it cannot be sent", " 50" in broken.partition("\n")[0], broken)
        ca = ["--cacert", str(self.certificate)]
        opened = self.curl(*ca, "https://opened.test/opened")
        report.check("opened: the tunnel is opened", "HTTP/1.1 200 OK" in opened or "HTTP/2 200" in opened, opened)
        seen = next((one for one in self.told.seen if "/opened" in one.partition("\n")[0]), "")
        report.check("opened: its credential arrives", self.kinds.all["bearer"].value in seen, seen)
        self.curl(*ca, "-H", "Host: other.test", "https://opened.test/inner")
        self.curl(*ca, "--connect-to", "other.test:443:opened.test:443", "https://other.test/inner")
        self.curl("https://opened.test/untrusted")
        self._ask(report)
        self._place(report)
        far = self.curl("--proxy-user", f"me:{needle['client-proxy-password']}", "http://far.test/far")
        report.check("far.test: its parent is asked", "200" in far.partition("\n")[0], far)
        basic = base64.b64encode(f"us:{needle['parent-password']}".encode()).decode()
        report.check("far.test: the parent sees our password", basic in self.parent.text(), self.parent.text()[-400:])
        report.check("other.test: its requests arrive", "GET /landed" in self.others.text(), self.others.text()[-600:])
        own = [
            "-H", f"Authorization: Bearer {needle['client-authorization']}", "-H", f"Cookie: id={needle['client-cookie']}",
            "--proxy-user", f"me:{needle['client-proxy-password']}",
        ]
        token = needle["client-query-token"]
        for url in ("http://own.test/own", "http://dead-bearer.test/own", "http://nowhere.invalid/own"):
            self.curl(*own, f"{url}?access_token={token}&a=1")
        self.curl(*own, "--proxytunnel", "http://own.test:80/own")

    def _ask(self, report):
        """Callers show who they are, and are let in; or almost."""
        here = f"http://127.0.0.1:{self.serve.port}/r/asked/known"
        for name, (shown, proxy) in self.callers.shown().items():
            answer = self.curl(*shown, "http://asked.test/known") if proxy else self.direct(*shown, here)
            report.check(f"{name}: let in", " 200" in answer.partition("\n")[0], answer)
        for value in self.callers.wrong():
            ways = {
                "proxy-authorization": self.curl("-H", f"Proxy-Authorization: {value}", "http://asked.test/unknown"),
                "authorization": self.direct("-H", f"Authorization: {value}", here),
                "x-api-key": self.direct("-H", f"X-Api-Key: {value}", here),
            }
            for way, answer in ways.items():
                report.check(f"almost right by {way} ({value[:14]}): refused", " 40" in answer.partition("\n")[0], answer)

    def _place(self, report):
        """The app sends a word, and only to the host that it is for it becomes the secret."""
        word = ["-H", f"Authorization: Bearer {WORD}"]
        placed = self.curl(*word, "http://placed.test/placed")
        report.check("placed: the upstream is asked", " 200" in placed.partition("\n")[0], placed)
        report.check("placed: the secret is in the word's place", self.kinds.needles["placed"] in self.told.text())
        self.curl("http://placed.test/without")
        for url in ("http://other.test/word", "http://own.test/word", "http://nowhere.invalid/word"):
            answer = self.curl(*word, url)
            report.check(f"placed: the word does not go to {url}", " 403" in answer.partition("\n")[0], answer)
        report.check("placed: no other host saw the word", WORD not in self.others.text())

    def direct(self, *arguments):
        """The same without a proxy between: to one of our own doors."""
        ended = execute(["curl", "-sS", "-i", "-m", "20", *arguments], self.env, self.directory)
        self.answers.append(ended.out + ended.err)
        return ended.out

    def surfaces(self, report):
        """{name: text} of everything that was said."""
        found = {}
        for path in ADMIN:
            found[f"admin {path}"] = self._admin("GET", path)
        for name in self.kinds.all:
            found[f"admin explain {name}"] = self._admin("GET", f"/api/v1/explain?url=http://{name}.test/x")
        file = self.directory / "serve.yaml"
        for arguments in (
            ["config", "--effective"], ["config"], ["check"], ["check", "--online"], ["status"], ["status", "--json"],
            ["explain", "GET", "http://bearer.test/x"],
            ["explain", "GET", "https://opened.test/x"], ["ca", "show"], ["ca", "show", "--json"], ["ca", "export"], ["ca", "init"],
            ["explain", "--json", "GET", "http://broken-0.test/x"],
        ):
            found[" ".join(arguments)] = self._command(file, *arguments)
        # A secret where none belongs, and a file that is half written.
        good = file.read_text()
        misplaced = self.kinds.needles["misplaced"]
        for name, bad in (
            ("misplaced bearer", good.replace("auth: {", f"auth: {{ bearer: {misplaced}, x: {{", 1)),
            ("misplaced key", good.replace("auth: {", f"auth: {{ {misplaced}: 1, ", 1)),
            ("half", good[: len(good) // 2]),
        ):
            file.write_text(bad)
            found[f"check of {name}"] = self._command(file, "check")
            found[f"reload of {name}"] = self._admin("POST", "/api/v1/reload")
        file.write_text(good)
        found["environment"] = self._environment(report)
        self.serve.process.send_signal(signal.SIGABRT)
        report.check("it ends by the signal", self.serve.process.wait(10) == -signal.SIGABRT)
        dumps = [path for path in self.directory.rglob("core*")]
        report.check("a crash leaves no core", not dumps, dumps)
        found["messages at trace level"] = self.serve.messages.read_text()
        found["access log"] = self.serve.log.read_text()
        for name in self.kinds.never:
            report.check(f"{name} reaches no upstream", not any(
                form in self.told.text() for form in forms(self.kinds.needles[name])
            ))
        found["what the parent's targets would see"] = "\n".join(
            line for line in self.parent.text().splitlines() if not line.lower().startswith("proxy-authorization:")
        )
        found["answers to clients"] = "\n".join(self.answers)
        found["other hosts"] = self.others.text()
        report.check("the log is at its loudest", "DEBUG" in found["messages at trace level"])
        needle = self.kinds.needles
        # What a client sends for its target is its target's; what it shows to a proxy is the proxy's, and the route's
        # credential takes the place of its own.
        told = self.told.text()
        for name, arrives in (("cookie", True), ("query-token", True), ("authorization", False), ("proxy-password", False)):
            report.check(f"client-{name} arrives: {arrives}", (needle[f"client-{name}"] in told) == arrives)
        return found

    def _environment(self, report):
        """What another process of the same user reads of ours."""
        path = f"/proc/{self.serve.process.pid}/environ"
        owner = os.stat(path).st_uid
        report.check("its memory and environment are root's alone", owner == 0, owner)
        return f"owner {owner}"

    def _admin(self, method, path):
        connection = http.client.HTTPConnection("127.0.0.1", self.serve.admin, timeout=10)
        try:
            connection.request(method, path, headers={"x-attache": "1"})
            answer = connection.getresponse()
            return f"{answer.status}\n{answer.getheaders()}\n{answer.read().decode()}"
        except OSError as error:
            raise Broken(f"admin {path}: {error!r}") from error
        finally:
            connection.close()

    def _command(self, file, *arguments):
        admin = ["--admin", f"127.0.0.1:{self.serve.admin}"] if arguments[0] == "status" else []
        ended = execute(
            [self.binary, "-c", file, *admin, *arguments], self.env | self.kinds.environment, self.directory
        )
        return f"{ended.code}\n{ended.out}\n{ended.err}"
