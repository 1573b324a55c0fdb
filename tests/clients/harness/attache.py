"""The binary under test: its configuration, `serve` and `run`, and its own account of what it saw.

The account is the JSON access log. It is read only after the process ended, when nothing more can be added, so
that "it saw nothing" is a fact and not a matter of waiting.
"""
import http.client
import json
import os
import re
import signal
import socket
import subprocess
import time
from dataclasses import dataclass

CLIENT_LIMIT = 60
START_LIMIT = 10
DRAIN_LIMIT = 45


class Broken(Exception):
    """The table cannot be made: the reason, for the reader."""


@dataclass
class Ended:
    """How a command ended; `code` is None when it had to be stopped."""

    code: int | None
    out: str
    err: str


def config(path, log, resolve, doors=""):
    """Writes a configuration that resolves the made-up names and logs every request to `log`."""
    names = "".join(f"  {name}: {address}\n" for name, address in sorted(resolve.items()))
    path.write_text(f"{doors}workers: 1\nresolve:\n{names}log:\n  access: {{ path: {log}, format: json }}\n")
    return path


def access_rows(log, ended=True):
    """The access log; while the process lives its last line may be a part, which is left out."""
    text = log.read_text() if log.exists() else ""
    if not ended:
        text = text[: text.rfind("\n") + 1]
    try:
        return [json.loads(line) for line in text.splitlines()]
    except ValueError as error:
        raise Broken(f"{log}: not JSON lines: {error}") from error


def execute(command, env, cwd):
    """One command in a process group of its own, stopped as a group when it takes too long."""
    pipes = {"stdin": subprocess.DEVNULL, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    process = subprocess.Popen(command, env=env, cwd=cwd, process_group=0, **pipes)
    try:
        out, err = process.communicate(timeout=CLIENT_LIMIT)
        code = process.returncode
    except subprocess.TimeoutExpired:
        out, err = _break_off(process)
        code = None
    return Ended(code, out.decode(errors="replace"), err.decode(errors="replace"))


def _break_off(process):
    """TERM first, so that `run` takes its child along wherever that is."""
    for number in (signal.SIGTERM, signal.SIGKILL):
        os.killpg(process.pid, number)
        try:
            return process.communicate(timeout=5)
        except subprocess.TimeoutExpired:
            continue
    return process.communicate()


class Serve:
    """`attache serve` on free ports, ready when this returns; `extra` is further configuration."""

    def __init__(self, binary, directory, resolve, env, extra=""):
        self.port, self.admin = _free_port(), _free_port()
        self.log, self.messages = directory / "access.jsonl", directory / "serve.err"
        doors = f"listen: 127.0.0.1:{self.port}\nadmin: 127.0.0.1:{self.admin}\n{extra}"
        file = config(directory / "serve.yaml", self.log, resolve, doors)
        with open(self.messages, "wb") as err:
            self.process = subprocess.Popen(
                [binary, "serve", "-c", file], env=env, cwd=directory, stdin=subprocess.DEVNULL, stdout=err, stderr=err
            )
        limit = time.monotonic() + START_LIMIT
        while not self._ready():
            if self.process.poll() is not None or time.monotonic() > limit:
                self.stop()
                raise Broken(f"`attache serve` is not ready:\n{self.messages.read_text()}")
            time.sleep(0.05)

    def variables(self):
        """The plain variables, both cases, and nothing else."""
        url = f"http://127.0.0.1:{self.port}"
        return {name: url for name in ("http_proxy", "HTTP_PROXY", "https_proxy", "HTTPS_PROXY")}

    def counted(self):
        """`attache_requests_total` by method, from /metrics."""
        counts = {}
        for line in self._get("/metrics")[1].splitlines():
            if line.startswith("attache_requests_total{"):
                label = re.search(r'[{,]method="([^"]*)"', line)
                method = label.group(1) if label else "without a method"
                counts[method] = counts.get(method, 0) + int(float(line.rpartition("}")[2].split()[0]))
        return counts

    def stop(self):
        """TERM, and the exit code; None when it had to be killed."""
        self.process.terminate()
        try:
            return self.process.wait(DRAIN_LIMIT)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
            return None

    def _ready(self):
        try:
            return self._get("/readyz")[0] == 200
        except Broken:
            return False

    def _get(self, path):
        connection = http.client.HTTPConnection("127.0.0.1", self.admin, timeout=5)
        try:
            connection.request("GET", path)
            answer = connection.getresponse()
            return answer.status, answer.read().decode()
        except (OSError, http.client.HTTPException) as error:
            raise Broken(f"admin {path}: {error!r}\n{self.messages.read_text()}") from error
        finally:
            connection.close()


def _free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]
