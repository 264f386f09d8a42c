# SPDX-License-Identifier: Apache-2.0
"""Who signs bundles: a signer whose root certificate every test OS carries, and a stranger."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from . import cache

DAYS = "7300"  # the test OS may stay in the cache for long
NEW_KEY = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", DAYS]
FOR_SIGNING = [
    *("-addext", "basicConstraints=critical,CA:FALSE", "-addext", "keyUsage=digitalSignature"),
    *("-addext", "extendedKeyUsage=codeSigning"),
]


@dataclass(frozen=True)
class Signer:
    name: str
    directory: Path

    @property
    def key(self) -> Path:
        return self.directory / f"{self.name}.key"

    @property
    def certificate(self) -> Path:
        return self.directory / f"{self.name}.pem"

    @property
    def root(self) -> Path:
        return self.directory / f"{self.name}-root.pem"

    @property
    def root_key(self) -> Path:
        return self.directory / f"{self.name}-root.key"


def make_signer(signer: Signer) -> None:
    """A root certificate, and the signer's that it vouches for."""
    new_root = ["-subj", f"/CN=Root of {signer.name}", "-keyout", signer.root_key]
    cache.tool("openssl", "req", "-x509", *NEW_KEY, *new_root, "-out", signer.root)
    issuer = ["-CA", signer.root, "-CAkey", signer.root_key]
    new = ["-subj", f"/CN={signer.name}", "-keyout", signer.key, "-out", signer.certificate]
    cache.tool("openssl", "req", "-x509", *NEW_KEY, *issuer, *FOR_SIGNING, *new)
