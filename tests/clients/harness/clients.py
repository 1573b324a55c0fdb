"""The rows: for each client the command that GETs one URL, and how it is told of the test's CA.

A command prints what it was given and exits 0, or exits otherwise. Nothing here names a proxy: that is the
mode's part. The clients run with their defaults, so that the row shows what a user of them gets.
"""
from dataclasses import dataclass, field

from .certs import PASSWORD


@dataclass
class Client:
    """One row; `argv` takes the URL's base and a scratch directory."""

    name: str
    argv: object
    env: dict = field(default_factory=dict)

    def host(self, scheme):
        """A name of its own per scheme, so that one log line never fits two cells."""
        return f"{self.name}.{'secure' if scheme == 'https' else 'origin'}.test"


def rows(tools, certs):
    """All rows, in the table's order."""
    openssl = {"SSL_CERT_FILE": str(certs.ca)}
    node = {"NODE_EXTRA_CA_CERTS": str(certs.ca)}
    git = {"GIT_CONFIG_NOSYSTEM": "1", "GIT_TERMINAL_PROMPT": "0", "GIT_SSL_CAINFO": str(certs.ca)}
    trust = [f"-Djavax.net.ssl.trustStore={certs.store}", f"-Djavax.net.ssl.trustStorePassword={PASSWORD}"]
    programs = tools["programs"]

    def get(*command):
        return lambda base, _: [*map(str, command), f"{base}/hello"]

    def python(name):
        return get(tools["python"], programs / f"get_{name}.py")

    def javascript(name):
        return get(tools["node"], tools["modules"] / f"get_{name}.mjs")

    def java(name):
        return get(tools["java"], *trust, "-cp", tools["classes"], name)

    def clone(base, scratch):
        script = '"$0" clone -q "$1" "$2" && cat "$2/token"'
        return ["sh", "-c", script, tools["git"], f"{base}/repo.git", str(scratch / "clone")]

    return [
        Client("curl", get(tools["curl"], "-sSf", "--cacert", certs.ca)),
        Client("wget", get(tools["wget"], "-nv", "-O", "-", "--tries=1", f"--ca-certificate={certs.ca}")),
        Client("git", clone, git),
        Client("urllib", python("urllib"), openssl),
        Client("requests", python("requests"), {"REQUESTS_CA_BUNDLE": str(certs.ca)}),
        Client("httpx", python("httpx"), openssl),
        Client("aiohttp-trust-env", python("aiohttp"), openssl),
        Client("axios", javascript("axios"), node),
        Client("undici-agent", javascript("undici"), node),
        Client("java-httpclient", java("GetHttpClient")),
        Client("java-urlconnection", java("GetUrlConnection")),
        Client("go-net-http", get(tools["get-go"]), openssl),
    ]
