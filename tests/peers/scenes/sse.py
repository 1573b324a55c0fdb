"""Server-sent events, one at a time: the server sends the next only when the last was seen to arrive.

The client writes what it gets to its standard output; what is held back anywhere on the way is a check that is too
late. `next`, `end` and `state` are asked of the server directly.
"""
import http.client
import json
import os
import select
import subprocess
import time
import uuid

CLIENTS = ("curl-forward", "curl-reverse", "curl-connect", "curl-h2c", "node-fetch", "node-http2")
EVENTS = 20
LIMIT = 5
TOLD = 1


def run(client, host, port, control, node, env):
    """The verdicts, and what the client said on stderr."""
    verdicts, name = {}, uuid.uuid4().hex
    command = _command(client, host, f"/events/{name}", port, node)
    process = subprocess.Popen(
        [str(word) for word in command], env=env, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )
    heard = Heard(process.stdout)

    def check(what, work):
        try:
            work()
            verdicts[what] = "ok"
        except AssertionError as wrong:
            verdicts[what] = f"FAILED {wrong}"

    def head():
        heard.until(lambda text: "data:" in text, "the first event")
        text = heard.text.lower()
        assert "200" in text.split("\n", 1)[0], heard.text
        assert "text/event-stream" in text, heard.text
        assert "content-length" not in text and "content-encoding" not in text, heard.text

    def one_by_one():
        for number in range(1, EVENTS + 1):
            event = f"id: {number}\nevent: tick\ndata: {name} {number}\n\n"
            heard.until(lambda text: event in text, f"event {number}")
            _ask(control, f"/next/{name}")

    def request():
        state = _ask(control, f"/state/{name}")
        assert (state["accept"], state["last"]) == ("text/event-stream", "41"), state

    def leaves():
        assert _ask(control, f"/state/{name}")["open"], "it was closed already"
        process.kill()
        process.wait()
        limit = time.monotonic() + TOLD
        while _ask(control, f"/state/{name}")["open"]:
            assert time.monotonic() < limit, f"the server was not told within {TOLD} s"
            time.sleep(0.02)

    try:
        check("head", head)
        check("one-by-one", one_by_one)
        check("request", request)
        check("leaves", leaves)
    finally:
        process.kill()
        err = process.communicate()[1]
    return verdicts, err.decode(errors="replace")


def _command(client, host, path, port, node):
    tool, how = client.split("-")
    if tool == "node":
        return [*node, how, host, path, port]
    proxy = f"http://127.0.0.1:{port}"
    direct = ["--connect-to", f"{host}:80:127.0.0.1:{port}"]
    ways = {
        "forward": ["--proxy", proxy],
        "connect": ["--proxy", proxy, "--proxytunnel"],
        "reverse": direct,
        "h2c": [*direct, "--http2-prior-knowledge"],
    }
    fields = ["-H", "accept: text/event-stream", "-H", "last-event-id: 41"]
    return ["curl", "-q", "-sS", "-N", "-i", "--suppress-connect-headers", *ways[how], *fields, f"http://{host}{path}"]


class Heard:
    """What came on a pipe so far."""

    def __init__(self, pipe):
        self.pipe, self.text = pipe, ""
        os.set_blocking(pipe.fileno(), False)

    def until(self, wanted, what):
        limit = time.monotonic() + LIMIT
        while not wanted(self.text):
            left = limit - time.monotonic()
            assert left > 0, f"{what} did not come within {LIMIT} s: {self.text[-200:]!r}"
            if select.select([self.pipe], [], [], left)[0]:
                part = self.pipe.read()
                assert part != b"", f"{what}: the client ended: {self.text[-200:]!r}"
                self.text += (part or b"").decode().replace("\r\n", "\n")


def _ask(port, path):
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=LIMIT)
    try:
        connection.request("POST", path)
        return json.loads(connection.getresponse().read())
    finally:
        connection.close()
