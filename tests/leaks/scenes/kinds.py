"""Every kind of secret: how it is configured, and what its upstream must see of it."""
import base64
import secrets
from dataclasses import dataclass
from pathlib import Path


@dataclass
class Kind:
    """A route's `auth`, and what proves that it arrived: a field and its value."""

    auth: str
    field: str
    value: str


class Kinds:
    """`all`: {name: Kind}; `needles`: {name: secret}, those that clients send included; `environment` for the process."""

    def __init__(self, directory: Path):
        self.directory, self.needles, self.environment = directory, {}, {}
        bearer, password, key, broken = (self._plant(name) for name in ("bearer", "password", "key", "broken"))
        self.all = {
            "bearer": Kind(f"bearer: {{ file: {self._file('bearer')} }}", "authorization", f"Bearer {bearer}"),
            "basic": Kind(
                f"basic: {{ user: me, password: {{ file: {self._file('password')} }} }}",
                "authorization", "Basic " + base64.b64encode(f"me:{password}".encode()).decode(),
            ),
            "header": Kind("header: { name: x-api-key, value: { env: PLANTED_KEY } }", "x-api-key", key),
        }
        self.environment["PLANTED_KEY"] = key
        # Read, and refused: it has a line end in its middle.
        self._file("broken").write_text(f"{broken}\n{broken}")
        self.broken = f"bearer: {{ file: {self._file('broken')} }}"
        # What clients show to us or send on; none of it is for anybody's log.
        for name in ("client-authorization", "client-cookie", "client-proxy-password", "client-query-token", "misplaced"):
            self._plant(name)

    def _plant(self, name):
        secret = f"planted-{name}-{secrets.token_hex(12)}"
        self.needles[name] = secret
        self._file(name).write_text(secret)
        return secret

    def _file(self, name):
        return self.directory / f"{name}.secret"
