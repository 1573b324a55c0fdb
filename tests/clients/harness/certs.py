"""A certificate authority for one run, and a leaf for the https names: in PEM, and as a Java trust store."""
import subprocess

PASSWORD = "changeit"

CONFIG = """
[req]
distinguished_name = name
prompt = no
[name]
CN = {common_name}
[ca]
basicConstraints = critical, CA:true
keyUsage = critical, keyCertSign
subjectKeyIdentifier = hash
[leaf]
basicConstraints = critical, CA:false
keyUsage = critical, digitalSignature
extendedKeyUsage = serverAuth
subjectKeyIdentifier = hash
authorityKeyIdentifier = keyid
subjectAltName = {names}
"""


class Certs:
    """Files in `directory`, there after `issue`: `ca`, `cert`, `key` (PEM) and, with keytool, `store` (PKCS#12, for Java)."""

    def __init__(self, directory):
        self.directory = directory
        self.ca, self.cert, self.key = (directory / name for name in ("ca.pem", "cert.pem", "key.pem"))
        self.store = directory / "ca.p12"

    def issue(self, names, openssl, keytool=None):
        """Makes the authority and one leaf for all `names`."""
        ca_key, request, config = (self.directory / name for name in ("ca.key", "leaf.csr", "openssl.cnf"))
        alternatives = ", ".join(f"DNS:{name}" for name in names)
        fresh = [openssl, "req", "-config", config, "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes"]

        config.write_text(CONFIG.format(common_name="Attache test CA", names=alternatives))
        _do([*fresh, "-x509", "-extensions", "ca", "-days", "2", "-keyout", ca_key, "-out", self.ca])
        config.write_text(CONFIG.format(common_name="Attache test origin", names=alternatives))
        _do([*fresh, "-keyout", self.key, "-out", request])
        _do([openssl, "x509", "-req", "-in", request, "-CA", self.ca, "-CAkey", ca_key, "-CAcreateserial",
             "-days", "2", "-extfile", config, "-extensions", "leaf", "-out", self.cert])
        if keytool:
            _do([keytool, "-importcert", "-noprompt", "-alias", "test", "-file", self.ca,
                 "-keystore", self.store, "-storetype", "PKCS12", "-storepass", PASSWORD])


def _do(command):
    subprocess.run(command, check=True, capture_output=True)
