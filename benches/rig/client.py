"""One HTTP/1.1 connection over a raw socket: enough to count by, and strict about the answer."""

import socket

HOST = "api.test"
PATH = "/v1/items/42"
BODY = 1024


def target(form):
    return f"http://{HOST}{PATH}" if form == "absolute" else PATH


class Client:
    """A keep-alive connection that sends the same GET again and again."""

    def __init__(self, port, form="absolute", timeout=30):
        self.request = f"GET {target(form)} HTTP/1.1\r\nHost: {HOST}\r\n\r\n".encode()
        self.socket = socket.create_connection(("127.0.0.1", port), timeout=timeout)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.socket.close()

    def get(self):
        """One exchange; anything but a whole 200 with the expected body is an error."""
        self.socket.sendall(self.request)
        data = self.receive(b"")
        while b"\r\n\r\n" not in data:
            data = self.receive(data)
        head, body = data.split(b"\r\n\r\n", 1)
        lines = head.split(b"\r\n")
        length = next((int(l.split(b":")[1]) for l in lines if l.lower().startswith(b"content-length:")), None)
        if not lines[0].startswith(b"HTTP/1.1 200 ") or length != BODY:
            raise ConnectionError(f"unexpected answer: {head.decode(errors='replace')}")
        while len(body) < BODY:
            body = self.receive(body)
        if len(body) != BODY:
            raise ConnectionError(f"{len(body)} bytes of body instead of {BODY}")

    def receive(self, data):
        more = self.socket.recv(65536)
        if not more:
            raise ConnectionError(f"closed after {len(data)} bytes of an answer")
        return data + more


def answers(port, form="absolute"):
    """Whether one request over a new connection succeeds."""
    try:
        with Client(port, form, timeout=2) as client:
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
