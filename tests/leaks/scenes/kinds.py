"""Every kind of secret: how it is configured, and what its upstream must see of it."""
import base64
import secrets
import subprocess
from dataclasses import dataclass
from pathlib import Path


@dataclass
class Kind:
    """A route's `auth`, and what proves that it arrived: a field and its value."""

    auth: str
    field: str
    value: str


class Kinds:
    """`all`: {name: Kind}; `needles`: {name: secret}, those that clients send included; `environment` for the process;
    `broken`: `auth`s whose secret is read and cannot be used; `never`: the names of those that not even a route's own
    upstream is sent."""

    def __init__(self, directory: Path, issuer):
        self.directory, self.needles, self.environment, self.never = directory, {}, {}, []
        bearer, password, key, broken = (self.plant(name) for name in ("bearer", "password", "key", "broken"))
        self.all = {
            "bearer": Kind(f"bearer: {{ file: {self._file('bearer')} }}", "authorization", f"Bearer {bearer}"),
            "basic": Kind(
                f"basic: {{ user: me, password: {{ file: {self._file('password')} }} }}",
                "authorization", "Basic " + base64.b64encode(f"me:{password}".encode()).decode(),
            ),
            "header": Kind("header: { name: x-api-key, value: { env: PLANTED_KEY } }", "x-api-key", key),
        }
        self.environment["PLANTED_KEY"] = key
        self._programs()
        self._issued(issuer)
        self._signed()
        self._minted()
        # Read, and refused: it has a line end in its middle.
        self._file("broken").write_text(f"{broken}\n{broken}")
        self.broken = [f"bearer: {{ file: {self._file('broken')} }}", self._complaining()]
        # What clients show to us or send on; none of it is for anybody's log.
        for name in ("client-authorization", "client-cookie", "client-proxy-password", "client-query-token", "misplaced"):
            self.plant(name)

    def _bearer(self, name, auth, token):
        self.all[name] = Kind(auth, "authorization", f"Bearer {token}")

    def _programs(self):
        """What a program says, as text and as JSON, and what systemd hands over."""
        for name, said in (("exec", "$token"), ("exec-json", '{\\"token\\": \\"$token\\", \\"expires_in\\": 30}')):
            token = self.plant(name)
            program = self._program(name, f'token=$(cat {self._file(name)})\necho "{said}"\necho "$token" >&2\n')
            self._bearer(name, f"bearer: {{ exec: [{program}] }}", token)
        unit = self.directory / "credentials"
        unit.mkdir()
        (unit / "handed").write_text(self.plant("systemd-credential"))
        self.environment["CREDENTIALS_DIRECTORY"] = str(unit)
        self._bearer("systemd-credential", "bearer: { credential: handed }", self.needles["systemd-credential"])

    def _complaining(self):
        """A program that fails with the secret on its lips."""
        self.plant("exec-complaint")
        text = f"cat {self._file('exec-complaint')}\ncat {self._file('exec-complaint')} >&2\nexit 3\n"
        return f"bearer: {{ exec: [{self._program('complaint', text)}] }}"

    def _issued(self, issuer):
        """A token from an issuer: its own, and what the client shows for it."""
        for style in ("basic", "post"):
            client, token = self.plant(f"oauth2-{style}-client"), self.plant(f"oauth2-{style}-token")
            issuer.tokens[client] = token
            self.never.append(f"oauth2-{style}-client")
            self._bearer(
                f"oauth2-{style}",
                f"oauth2: {{ token_url: 'http://127.0.0.1:{issuer.port}/token', client_id: me, style: {style}, "
                f"client_secret: {{ file: {self._file(f'oauth2-{style}-client')} }} }}",
                token,
            )

    def _signed(self):
        """A signature: the key is never sent, the session's token is."""
        self.plant("sigv4-key")
        session = self.plant("sigv4-session")
        self.never.append("sigv4-key")
        self.all["sigv4"] = Kind(
            "sigv4: { region: eu-central-1, service: execute-api, access_key_id: AKIDEXAMPLE, "
            f"secret_access_key: {{ file: {self._file('sigv4-key')} }}, session_token: {{ file: {self._file('sigv4-session')} }} }}",
            "x-amz-security-token", session,
        )

    def _minted(self):
        """A token that is signed here: what is sent of the key is a signature."""
        path = self._file("jwt-key")
        command = ["openssl", "genpkey", "-algorithm", "EC", "-pkeyopt", "ec_paramgen_curve:P-256", "-out", path]
        subprocess.run(command, check=True, capture_output=True)
        self.needles["jwt-key"] = path.read_text().splitlines()[1]
        self.never.append("jwt-key")
        self._bearer("jwt", f"jwt: {{ key: {{ file: {path} }}, algorithm: ES256, issuer: us }}", "ey")

    def _program(self, name, text):
        path = self.directory / f"{name}.sh"
        path.write_text(f"#!/bin/sh\n{text}")
        path.chmod(0o700)
        return path

    def plant(self, name):
        secret = f"planted-{name}-{secrets.token_hex(12)}"
        self.needles[name] = secret
        self._file(name).write_text(secret)
        return secret

    def _file(self, name):
        return self.directory / f"{name}.secret"
