"""One run's servers, the proxy between, and the ways through it.

A name is a server and how it is reached: `wspy-tls.test` is the Python WebSocket server behind a route that speaks TLS
to it. What has no route (`*.direct`) is reached through a tunnel only, sealed or not.
"""
import json
import os
import select
import subprocess
import time
from pathlib import Path

from harness import attache
from harness.certs import Certs

from . import sse

PROGRAMS = Path(__file__).resolve().parent.parent / "programs"
START_LIMIT = 20
SERVERS = {"wspy": "ws_server.py", "wsnode": "ws_server.mjs", "grpc": "grpc_server.py", "sse": "sse_server.mjs"}


class Stage:
    """Everything that runs; left, it is all stopped."""

    def __init__(self, binary, directory, python, node, modules):
        self.directory, self.python, self.node, self.modules = directory, python, node, modules
        home = directory / "home"
        home.mkdir()
        # Nothing of the caller's proxy settings may leak into a peer.
        self.env = {"PATH": os.environ["PATH"], "HOME": str(home), "LANG": "C.UTF-8", "PYTHONDONTWRITEBYTECODE": "1"}
        self.servers, self.ports, self.serve = [], {}, None
        self.certs = Certs(directory)
        self.certs.issue([f"{name}.direct" for name in SERVERS], "openssl")
        try:
            for name, program in SERVERS.items():
                self.ports[name] = self._server(program)
            self.serve = attache.Serve(binary, directory, self._resolve(), self.env, self._routes())
        except BaseException:
            self.__exit__()
            raise

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.stop()
        for server in self.servers:
            server.kill()
            server.wait()

    def stop(self):
        """The proxy's exit code; None if it had to be killed, or does not run."""
        serve, self.serve = self.serve, None
        return serve.stop() if serve else None

    def rows(self):
        """`{name: run}`; what a run returns are its verdicts and what its client said beside them."""
        rows = {}
        for client in ("py", "node"):
            for server in ("wspy", "wsnode"):
                for door in ("reverse", "connect") if client == "py" else ("reverse", "forward", "connect"):
                    rows[f"ws-{client}-{door}-{server}-h1"] = self._ws(client, door, f"ws://{server}-h1.test")
                    rows[f"ws-{client}-{door}-{server}-tls"] = self._ws(client, door, f"ws://{server}-tls.test")
                rows[f"ws-{client}-sealed-{server}-tls"] = self._ws(
                    client, "connect", f"wss://{server}.direct:{self.ports[server]['tls']}"
                )
        for door, name, port in (
            ("reverse", "grpc-h2c.test", 80),
            ("reverse", "grpc-tls.test", 80),
            ("connect", "grpc-h2c.test", 80),
            ("connect", "grpc-tls.test", 80),
            ("connect", "grpc.direct", self.ports["grpc"]["h2c"]),
            ("sealed", "grpc.direct", self.ports["grpc"]["tls"]),
        ):
            what = {"grpc.direct": "tls" if door == "sealed" else "h2c-unnamed"}.get(name, name[5:-5])
            rows[f"grpc-{door}-{what}"] = self._grpc(door, f"{name}:{port}" if door != "reverse" else name)
        for client in sse.CLIENTS:
            for upstream in ("h1", "h2c", "h1tls", "h2tls"):
                rows[f"sse-{client}-{upstream}"] = self._sse(client, upstream)
        return rows

    def _ws(self, client, door, url):
        program = self._command(f"ws_client.{'py' if client == 'py' else 'mjs'}")
        return lambda: self._checks([*program, door, url, self.serve.port, self.certs.ca])

    def _grpc(self, door, authority):
        program = self._command("grpc_client.py")
        return lambda: self._checks([*program, door, authority, self.serve.port, self.certs.ca])

    def _sse(self, client, upstream):
        node = self._command("sse_client.mjs")
        return lambda: sse.run(
            client, f"sse-{upstream}.test", self.serve.port, self.ports["sse"]["control"], node, self.env
        )

    def _checks(self, command):
        ended = attache.execute([str(word) for word in command], self.env, self.directory)
        lines = [line.split(" ", 1) for line in ended.out.splitlines() if " " in line]
        fate = [] if ended.code == 0 else [f"exit code {ended.code}"]
        return dict(lines), "\n".join([*fate, *ended.err.splitlines()])

    def _command(self, program):
        """Python programs run where they are; those of Node.js beside their modules."""
        if program.endswith(".py"):
            return [str(self.python), str(PROGRAMS / program)]
        return [str(self.node), str(self.modules / program)]

    def _server(self, program):
        command = [*self._command(program), str(self.certs.cert), str(self.certs.key)]
        with open(self.directory / f"{program}.err", "wb") as err:
            server = subprocess.Popen(
                command, env=self.env, cwd=self.directory, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=err
            )
        self.servers.append(server)
        begun = time.monotonic()
        while time.monotonic() < begun + START_LIMIT and server.poll() is None:
            if select.select([server.stdout], [], [], 0.1)[0]:
                if line := server.stdout.readline():
                    return json.loads(line)
        raise attache.Broken(f"{program} did not start:\n{(self.directory / f'{program}.err').read_text()}")

    def _resolve(self):
        return {f"{name}.direct": "127.0.0.1" for name in SERVERS}

    def _routes(self):
        """A route for each port of each server; its name is the host without `.test`."""
        ca = f"    tls: {{ ca: {self.certs.ca} }}\n"
        text = 'destinations: { connect_ports: [80, "1024-65535"] }\nroutes:\n'
        for server, ports in self.ports.items():
            for kind, port in ports.items():
                scheme = "h2c" if kind == "h2c" else "https" if kind.endswith("tls") else "http"
                text += f"  - name: {server}-{kind}\n    match: {server}-{kind}.test\n"
                text += f"    to: {scheme}://{server}.direct:{port}\n" + (ca if scheme == "https" else "")
        return text
