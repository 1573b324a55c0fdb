"""The servers, the proxy between them, and a browser that opens one page at a time."""
import http.client
import http.server
import json
import os
import queue
import signal
import socket
import subprocess
import threading
import time

START_LIMIT = 20
PAGE_LIMIT = 90
PAGES = os.path.join(os.path.dirname(os.path.dirname(os.path.abspath(__file__))), "pages")
SECRET = "planted-2f9c41d7"

# The browser must not protect us: what newer versions refuse by themselves, older ones and other makers' do not.
LENIENT = ",".join([
    "LocalNetworkAccessChecks", "BlockInsecurePrivateNetworkRequests", "PrivateNetworkAccessSendPreflights",
    "PrivateNetworkAccessRespectPreflightResults", "HttpsUpgrades", "HttpsFirstBalancedModeAutoEnable",
])


class Broken(Exception):
    """Nothing can be said: the reason, for the reader."""


class Server:
    """An HTTP server on a free port (or `port`) that `answer`s each request by (handler, body)."""

    def __init__(self, answer, port=0):
        class Handler(http.server.BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def handle_any(self):
                body = self.rfile.read(int(self.headers.get("content-length") or 0))
                try:
                    answer(self, body)
                except (BrokenPipeError, ConnectionResetError):
                    self.close_connection = True

            do_GET = do_POST = do_PUT = do_HEAD = do_OPTIONS = handle_any

            def log_message(self, *_):
                pass

        class Listener(http.server.ThreadingHTTPServer):
            allow_reuse_address = daemon_threads = True

            def handle_error(self, *_):
                """A browser drops what it no longer needs."""

        self.server = Listener(("127.0.0.1", port), Handler)
        self.port = self.server.server_port
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    def stop(self):
        self.server.shutdown()
        self.server.server_close()


def reply(handler, status, kind, body, **fields):
    handler.send_response(status)
    handler.send_header("content-type", kind)
    handler.send_header("content-length", str(len(body)))
    for name, value in fields.items():
        handler.send_header(name.replace("_", "-"), value)
    handler.end_headers()
    if handler.command != "HEAD":
        handler.wfile.write(body)


class Stage:
    """Everything that runs; left, it is all stopped."""

    def __init__(self, binary, chromium, directory):
        self.binary, self.chromium, self.directory = binary, chromium, directory
        self.arrived, self.reports = [], queue.Queue()
        self.lock = threading.Lock()
        self.proxies = []
        # The worst of upstreams: it lets every page read every answer.
        self.api = Server(self._api)
        self.pages = Server(self._page)
        (directory / "token").write_text(SECRET)
        self.proxy = self.start(*self.two_ports())

    def __enter__(self):
        return self

    def __exit__(self, *_):
        for process in self.proxies:
            process.terminate()
            process.wait()
        self.api.stop()
        self.pages.stop()

    def two_ports(self):
        sockets = [socket.create_server(("127.0.0.1", 0)) for _ in range(2)]
        ports = [one.getsockname()[1] for one in sockets]
        for one in sockets:
            one.close()
        return ports

    def start(self, port, admin):
        """Attaché, with an open and a guarded way to the same upstream."""
        api = f"http://127.0.0.1:{self.api.port}"
        listed = f"http://listed.test:{self.pages.port}"
        file = self.directory / f"attache-{port}.yaml"
        authority = f"ca: {{ cert: {self.directory / 'ca.crt'}, key: {self.directory / 'ca.key'} }}\n"
        file.write_text(authority)
        env = {"PATH": os.environ["PATH"], "HOME": str(self.directory)}
        if not (self.directory / "ca.crt").exists():
            subprocess.run([self.binary, "-c", file, "ca", "init"], env=env, check=True, capture_output=True)
        file.write_text(
            f"{authority}listen: 127.0.0.1:{port}\nadmin: 127.0.0.1:{admin}\nworkers: 1\n"
            f"resolve: {{ evil.test: 127.0.0.1, listed.test: 127.0.0.1, guarded.test: '127.0.0.1:{self.api.port}' }}\n"
            f"log: {{ access: false }}\n"
            f"routes:\n"
            f"  - {{ name: open, match: open.test, to: '{api}/open', intercept: true }}\n"
            f"  - name: guarded\n    match: guarded.test\n    to: '{api}/guarded'\n    intercept: true\n"
            f"    auth: {{ bearer: {{ file: {self.directory / 'token'} }} }}\n"
            f"    browser_origins: ['{listed}']\n"
        )
        errors = open(self.directory / f"attache-{port}.err", "wb")
        process = subprocess.Popen(
            [self.binary, "serve", "-c", file], stdin=subprocess.DEVNULL, stdout=errors, stderr=errors, env=env
        )
        self.proxies.append(process)
        process.port, process.admin = port, admin
        limit = time.monotonic() + START_LIMIT
        while time.monotonic() < limit and process.poll() is None:
            try:
                if self.ask(admin, "GET", "/readyz")[0] == 200:
                    return process
            except OSError:
                time.sleep(0.05)
        raise Broken(f"`attache serve` is not ready:\n{(self.directory / f'attache-{port}.err').read_text()}")

    def ask(self, port, method, path, headers=None):
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=5)
        try:
            connection.request(method, path, headers=headers or {})
            response = connection.getresponse()
            return response.status, response.read().decode(errors="replace")
        finally:
            connection.close()

    def _api(self, handler, _):
        with self.lock:
            self.arrived.append((handler.path, handler.headers.get("authorization"), handler.command))
        reply(
            handler, 200, "text/plain", b"the answer", access_control_allow_origin="*",
            access_control_allow_headers="*", access_control_allow_methods="*",
        )

    def _page(self, handler, body):
        path = handler.path.partition("?")[0]
        if path == "/report":
            self.reports.put(json.loads(body))
            return reply(handler, 200, "text/plain", b"", access_control_allow_origin="*")
        if path.endswith((".html", ".js")) and "/" not in path[1:] and os.path.exists(PAGES + path):
            with open(PAGES + path, "rb") as file:
                kind = "text/html" if path.endswith(".html") else "text/javascript"
                return reply(handler, 200, kind, file.read(), x_page="1", connection="close", access_control_allow_origin="*")
        return reply(handler, 404, "text/plain", b"", x_page="1", connection="close")

    def take(self):
        """What came to the upstream since the last time."""
        with self.lock:
            arrived, self.arrived = self.arrived, []
        return arrived

    def browse(self, url, *flags, meanwhile=None):
        """Opens a page and returns what it reports at its end."""
        while not self.reports.empty():
            self.reports.get()
        profile = self.directory / "profile"
        command = [
            self.chromium, "--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--no-first-run",
            "--disable-popup-blocking", "--disable-background-networking", "--disable-component-update",
            f"--user-data-dir={profile}", f"--disable-features={LENIENT}",
            "--host-resolver-rules=MAP *.test 127.0.0.1", *(flags or ["--no-proxy-server"]), url,
        ]
        env = {"PATH": os.environ["PATH"], "HOME": str(self.directory)}
        errors = open(self.directory / "chromium.err", "wb")
        process = subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=errors, stderr=errors, env=env, process_group=0
        )
        try:
            if meanwhile:
                meanwhile()
            return self.reports.get(timeout=PAGE_LIMIT)
        except queue.Empty:
            raise Broken(f"the page said nothing; chromium: {(self.directory / 'chromium.err').read_text()[-800:]}")
        finally:
            os.killpg(process.pid, signal.SIGTERM)
            try:
                process.wait(10)
            except subprocess.TimeoutExpired:
                os.killpg(process.pid, signal.SIGKILL)
                process.wait()
