"""An authority of our own, and certificates by it, as PEM files: what a broker with TLS and its
clients need."""

import subprocess
from pathlib import Path

DAYS = "2"


def _openssl(*arguments) -> None:
    subprocess.run(["openssl", *map(str, arguments)], check=True, capture_output=True, timeout=60)


class Authority:
    """A certificate authority in a folder."""

    def __init__(self, folder: Path, name: str = "authority"):
        self.folder = folder
        self.pem, self._key = folder / f"{name}.pem", folder / f"{name}.key"
        _openssl("req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", DAYS, "-subj",
                 f"/CN={name}", "-keyout", self._key, "-out", self.pem)

    def issue(self, name: str, alternatives: str) -> tuple[Path, Path]:
        """A certificate and its key for these alternative names, as in DNS:localhost."""
        pem, key = self.folder / f"{name}.pem", self.folder / f"{name}.key"
        request, extra = self.folder / f"{name}.csr", self.folder / f"{name}.ext"
        extra.write_text(f"subjectAltName={alternatives}\n")
        _openssl("req", "-newkey", "rsa:2048", "-nodes", "-subj", f"/CN={name}", "-keyout", key,
                 "-out", request)
        _openssl("x509", "-req", "-in", request, "-CA", self.pem, "-CAkey", self._key,
                 "-CAcreateserial", "-days", DAYS, "-extfile", extra, "-out", pem)
        return pem, key
