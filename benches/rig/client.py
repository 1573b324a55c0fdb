"""HTTP/1.1 connections over raw sockets: enough to count by, and strict about the answers."""

import contextlib
import selectors
import socket

HOST = "api.test"
PATH = "/v1/items/42"
BODY = 1024


def target(form):
    return f"http://{HOST}{PATH}" if form == "absolute" else PATH


class Client:
    """A keep-alive connection that sends the same GET again and again, with `fields`, which are whole lines."""

    def __init__(self, port, form="absolute", timeout=30, fields=""):
        self.request = f"GET {target(form)} HTTP/1.1\r\nHost: {HOST}\r\n{fields}\r\n".encode()
        self.socket = socket.create_connection(("127.0.0.1", port), timeout=timeout)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.socket.close()

    def get(self):
        """One exchange; anything but a whole 200 with the expected body is an error."""
        self.ask()
        while not self.answered():
            pass

    def ask(self):
        """Sends the GET."""
        self.data = b""
        self.socket.sendall(self.request)

    def answered(self):
        """Reads once; whether the answer is whole now."""
        self.data = self.receive(self.data)
        if b"\r\n\r\n" not in self.data:
            return False
        head, body = self.data.split(b"\r\n\r\n", 1)
        lines = head.split(b"\r\n")
        length = next((int(l.split(b":")[1]) for l in lines if l.lower().startswith(b"content-length:")), None)
        if not lines[0].startswith(b"HTTP/1.1 200 ") or length != BODY:
            raise ConnectionError(f"unexpected answer: {head.decode(errors='replace')}")
        if len(body) > BODY:
            raise ConnectionError(f"{len(body)} bytes of body instead of {BODY}")
        return len(body) == BODY

    def receive(self, data):
        more = self.socket.recv(65536)
        if not more:
            raise ConnectionError(f"closed after {len(data)} bytes of an answer")
        return data + more


def crowd(port, form, connections, requests, timeout=60, fields=""):
    """`requests` GETs over `connections` keep-alive connections, each with one under way at any time."""
    with selectors.DefaultSelector() as selector, contextlib.ExitStack() as stack:
        clients = [stack.enter_context(Client(port, form, timeout, fields)) for _ in range(connections)]
        for one in clients:
            selector.register(one.socket, selectors.EVENT_READ, one)
        asked = done = 0
        for one in clients[:requests]:
            one.ask()
            asked += 1
        while done < requests:
            ready = selector.select(timeout)
            if not ready:
                raise ConnectionError(f"no answer within {timeout} s")
            for key, _ in ready:
                if key.data.answered():
                    done += 1
                    if asked < requests:
                        key.data.ask()
                        asked += 1


def answers(port, form="absolute", fields=""):
    """Whether one request over a new connection succeeds."""
    try:
        with Client(port, form, 2, fields) as client:
            client.get()
        return True
    except (OSError, ValueError):
        return False


def status(port, path):
    """The status of a GET on an admin port; 0 if there was none."""
    try:
        with socket.create_connection(("127.0.0.1", port), timeout=2) as s:
            s.sendall(f"GET {path} HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nConnection: close\r\n\r\n".encode())
            return int(s.recv(4096).split(b" ")[1])
    except (OSError, ValueError, IndexError):
        return 0
