"""A token like an issuer's, as large as most are, and the field that shows it."""

import base64
import hashlib
import hmac
import json
import time

SECRET = "the secret of a benchmark, which is no secret at all"
# Of a token signed by RSA: header, claims and 256 bytes of signature.
SIZE = 900


def field(form):
    """The whole line; as a client of a proxy shows it, or of an origin."""
    name = "Proxy-Authorization" if form == "absolute" else "Authorization"
    return f"{name}: Bearer {token()}\r\n"


def token():
    claims = {"iss": "https://issuer.bench.test/", "aud": "bench", "sub": "client-7", "exp": int(time.time()) + 86400}
    claims["scope"] = "x" * (SIZE * 3 // 4 - 200)
    message = f"{encoded({'alg': 'HS256', 'typ': 'JWT'})}.{encoded(claims)}"
    signature = hmac.new(SECRET.encode(), message.encode(), hashlib.sha256).digest()
    return f"{message}.{b64(signature)}"


def encoded(value):
    return b64(json.dumps(value, separators=(",", ":")).encode())


def b64(data):
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()
