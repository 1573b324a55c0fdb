"""The two origins, http and https on loopback, which record what reached them.

They are found only by made-up names that the proxy alone resolves, so whatever arrives here came through it.
Any path answers with the run's token, below `/intercept/` at the second time; below `/<mode>/repo.git/` lies a bare repository for git's dumb protocol.
"""
import ssl
import subprocess
import sys
import threading
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


# The mode in which the first request for anything gets 503.
FLAKY = "intercept"


@dataclass
class Seen:
    """One request as the origin read it."""

    host: str
    mode: str
    method: str
    target: str
    status: int
    headers: dict


class Origin(ThreadingHTTPServer):
    """One listener on a free port; `seen` fills as requests arrive."""

    daemon_threads = True
    request_queue_size = 64

    def __init__(self, token, repository, tls=None):
        super().__init__(("127.0.0.1", 0), Answer)
        self.token, self.repository, self.tls = token, repository, tls
        self.seen, self.broken, self.lock = [], [], threading.Lock()
        threading.Thread(target=self.serve_forever, daemon=True).start()

    @property
    def port(self):
        return self.server_address[1]

    def of(self, host, mode):
        """What arrived for one cell."""
        with self.lock:
            return [seen for seen in self.seen if (seen.host, seen.mode) == (host, mode)]

    def finish_request(self, request, client_address):
        if self.tls is None:
            return super().finish_request(request, client_address)
        with self.tls.wrap_socket(request, server_side=True) as inside:
            return super().finish_request(inside, client_address)

    def handle_error(self, request, client_address):
        with self.lock:
            self.broken.append(repr(sys.exc_info()[1]))


class Answer(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    timeout = 60

    def do_GET(self):
        host = self.headers.get("host", "").rpartition(":")[0] or self.headers.get("host", "")
        mode = self.path.lstrip("/").partition("/")[0]
        headers = {name.lower(): value for name, value in self.headers.items()}
        with self.server.lock:
            # The first of each is turned away, so that a retry shows.
            again = any((one.host, one.target) == (host, self.path) for one in self.server.seen)
        status, body = (503, b"not yet") if mode == FLAKY and not again else self._body()
        with self.server.lock:
            self.server.seen.append(Seen(host, mode, self.command, self.path, status, headers))
        self.send_response(status)
        self.send_header("content-length", str(len(body)))
        self.send_header("content-type", "text/plain")
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    do_HEAD = do_GET

    def _body(self):
        _, git, inside = self.path.partition("/repo.git/")
        if not git:
            return 200, f"{self.server.token}\n".encode()
        file = self.server.repository / inside.partition("?")[0]
        return (200, file.read_bytes()) if file.is_file() else (404, b"")

    def log_message(self, *_):
        pass


def tls(certs):
    """The https origin's side of the handshake; no ALPN, so every client speaks HTTP/1.1 inside."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certs.cert, certs.key)
    return context


def repository(directory, token, git, env):
    """A bare repository of one commit whose file `token` holds the token, ready for dumb http."""
    work, bare = directory / "work", directory / "repo.git"

    def do(*words):
        subprocess.run([git, *words], check=True, capture_output=True, env=env)

    do("init", "-q", "-b", "main", work)
    (work / "token").write_text(f"{token}\n")
    author = ["-c", "user.name=test", "-c", "user.email=test@origin.test"]
    do("-C", work, "add", "token")
    do("-C", work, *author, "commit", "-q", "-m", "token")
    do("clone", "-q", "--bare", work, bare)
    do("-C", bare, "update-server-info")
    return bare
