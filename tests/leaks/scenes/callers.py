"""What callers show to us: API keys, passwords, tokens; and the ways in which they show it."""
import base64
import crypt  # as long as python3 is Debian 12's
import hashlib
import hmac
import json
import secrets
import time


class Callers:
    """Plants what callers show and what we hold it against; `text` is the configuration's `identities`."""

    def __init__(self, kinds, directory):
        self.key, self.password = kinds.plant("caller-key"), kinds.plant("caller-password")
        shared = kinds.plant("caller-jwt-secret")
        self.token = self._token(shared)
        # A token is its signature to whoever finds it.
        kinds.needles["caller-jwt"] = self.token.rpartition(".")[2]
        keys, users = directory / "keys", directory / "htpasswd"
        keys.write_text(f"machine {hashlib.sha256(self.key.encode()).hexdigest()}\n")
        users.write_text(f"staff:{crypt.crypt(self.password, crypt.mksalt(crypt.METHOD_BLOWFISH, rounds=16))}\n")
        self.text = (
            "identities:\n"
            f"  - {{ name: machines, keys: {{ file: {keys} }} }}\n"
            f"  - {{ name: staff, basic: {{ users: {users} }} }}\n"
            "  - name: partner\n    jwt: { issuer: partner, audience: attache, algorithms: [HS256], "
            f"secret: {{ file: {directory / 'caller-jwt-secret.secret'} }} }}\n"
        )

    def _token(self, shared):
        claims = {"iss": "partner", "aud": "attache", "sub": "app", "exp": int(time.time()) + 600, "jti": secrets.token_hex(8)}
        parts = [
            base64.urlsafe_b64encode(json.dumps(part).encode()).rstrip(b"=")
            for part in ({"alg": "HS256", "typ": "JWT"}, claims)
        ]
        signature = hmac.new(shared.encode(), b".".join(parts), hashlib.sha256).digest()
        return b".".join([*parts, base64.urlsafe_b64encode(signature).rstrip(b"=")]).decode()

    def shown(self):
        """{way: (curl's arguments, whether to the proxy)} that are accepted."""
        basic = base64.b64encode(f"staff:{self.password}".encode()).decode()
        ways = {}
        for name, value in (("password", f"Basic {basic}"), ("token", f"Bearer {self.token}"), ("key", f"Bearer {self.key}")):
            ways[f"{name} to the proxy"] = (["-H", f"Proxy-Authorization: {value}"], True)
            if name != "key":
                ways[f"{name} to the origin"] = (["-H", f"Authorization: {value}"], False)
        ways["key to the origin"] = (["-H", f"X-Api-Key: {self.key}"], False)
        return ways

    def wrong(self):
        """Almost right ones, refused: what is in them is as good as the right ones."""
        basic = base64.b64encode(f"staff:{self.password}x".encode()).decode()
        return [f"Basic {basic}", f"Bearer {self.token}x", f"Bearer {self.key}x", f"Basic {self.key}", f"{self.key}x"]
