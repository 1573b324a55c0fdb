"""The stand: a temporary directory, the nginx backend, and proxies started from the committed configurations.

Those files name the ports 4780 (listener), 4781 (admin), 4790 (backend), 4791 (backend over TLS; of a storm the
second endpoint, and 4792 the third) and the directory /tmp/attache-bench, so that each can be read and used as it is; here the names are replaced.
"""

import pathlib
import random
import re
import shutil
import socket
import subprocess
import tempfile

from . import CONFIGS, Failure, client, jwt, process, tools

DIRECTORY = "/tmp/attache-bench"


class Stand:
    """Owns the directory and the backend; as a context manager it removes both. With `backends`, so many free ports
    are what stands in for it: whoever asked for them serves them."""

    def __init__(self, core, backends=0):
        self.core = core
        self.backends = backends

    def __enter__(self):
        self.dir = pathlib.Path(tempfile.mkdtemp(prefix="attache-bench-"))
        try:
            (self.dir / "token").write_text("s3cr3t\n")
            (self.dir / "token").chmod(0o600)
            (self.dir / "secret").write_text(jwt.SECRET)
            if self.backends:
                self.ports = {str(4790 + n): free() for n in range(self.backends)}
                return self
            certificates(self.dir)
            self.ports = {"4790": free(), "4791": free()}
            conf = self.place(CONFIGS / "backend.conf", {})
            argv = [tools.find("nginx"), "-p", self.dir, "-c", conf]
            self.backend = process.Process(argv, self.dir / "backend.log", self.core)
            if not process.wait(lambda: client.answers(self.ports["4790"]), 10):
                raise self.backend.complain("the backend does not answer")
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_):
        if getattr(self, "backend", None):
            self.backend.stop()
        shutil.rmtree(self.dir, ignore_errors=True)

    def place(self, source, ports):
        """Copies a configuration into the directory with its ports and paths replaced; the copy's path."""
        text = pathlib.Path(source).read_text()
        for name, port in {**self.ports, **ports}.items():
            text = re.sub(rf"\b{name}\b", str(port), text)
        text = text.replace(DIRECTORY, str(self.dir)).replace("BODY", "x" * client.BODY)
        copy = self.dir / pathlib.Path(source).name
        copy.write_text(text)
        return copy

    def start(self, proxy, config, core=None, wrap=(), patience=20, form="absolute", edit=lambda text: text, fields=""):
        """Starts a proxy on fresh ports, with its configuration edited, and waits until it answers."""
        log = self.dir / "proxy.log"
        access = self.dir / "access.log"
        for old in (log, access):
            old.unlink(missing_ok=True)
        ports = {"4780": free(), "4781": free()}
        placed = self.place(proxy.config(config), ports)
        placed.write_text(edit(placed.read_text()))
        running = process.Process([*wrap, *proxy.command(placed)], log, core)
        running.port, running.admin = ports["4780"], ports["4781"]
        running.access = access if access_file(placed) else log

        def ready():
            if not running.alive():
                raise running.complain(f"{proxy.name} does not start with {placed.name}")
            if proxy.ready and client.status(ports["4781"], proxy.ready) != 200:
                return False
            return client.answers(running.port, form, fields)

        try:
            if not process.wait(ready, patience):
                raise running.complain(f"{proxy.name} does not answer with {placed.name}")
        except BaseException:
            running.stop()
            raise
        return running


def access_file(placed):
    return "access.log" in placed.read_text()


def free():
    """A free port below the ephemeral range, where no outgoing connection takes it meanwhile."""
    for _ in range(1000):
        port = random.randint(20000, 32000)
        with socket.socket() as s:
            try:
                s.bind(("127.0.0.1", port))
                return port
            except OSError:
                continue
    raise Failure("no free port on 127.0.0.1")


def certificates(directory):
    """A CA and a leaf for localhost and 127.0.0.1, for the TLS shape."""
    new = ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "2"]
    ca = [*new, "-subj", "/CN=bench CA", "-keyout", "ca.key", "-out", "ca.pem"]
    leaf = [*new, "-subj", "/CN=localhost", "-keyout", "server.key", "-out", "server.pem", "-CA", "ca.pem"]
    leaf += ["-CAkey", "ca.key", "-addext", "subjectAltName=DNS:localhost,IP:127.0.0.1"]
    leaf += ["-addext", "basicConstraints=critical,CA:FALSE"]
    for argv in (ca, leaf):
        made = subprocess.run(argv, cwd=directory, capture_output=True, text=True)
        if made.returncode:
            raise Failure(f"openssl cannot make a certificate (3.0 or newer is needed): {made.stderr}")
