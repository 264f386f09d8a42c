# SPDX-License-Identifier: Apache-2.0
"""Certificates for the tests, and a web server that has one."""

import ssl
import subprocess

from http_server import Server


def openssl(directory, *args):
    subprocess.run(["openssl", *args], cwd=directory, check=True, capture_output=True)


def make_pki(d):
    """ca.pem, other-ca.pem and a server key with certificates for 127.0.0.1 and for elsewhere."""
    new_key = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes"]
    for ca in ("ca", "other-ca"):
        openssl(d, "req", "-x509", *new_key, "-subj", f"/CN={ca}", "-days", "2",
                "-keyout", f"{ca}.key", "-out", f"{ca}.pem")
    for name, san in (("here", "IP:127.0.0.1"), ("elsewhere", "DNS:bundle.invalid"),
                      ("client", "DNS:client")):
        (d / "ext").write_text(f"subjectAltName={san}\n")
        openssl(d, "req", "-new", *new_key, "-subj", f"/CN={name}", "-keyout", f"{name}.key",
                "-out", "csr")
        openssl(d, "x509", "-req", "-in", "csr", "-CA", "ca.pem", "-CAkey", "ca.key",
                "-CAcreateserial", "-days", "2", "-extfile", "ext", "-out", f"{name}.pem")


def tls_server(pki, name, client_ca=None):
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(pki / f"{name}.pem", pki / f"{name}.key")
    if client_ca:
        context.verify_mode = ssl.CERT_REQUIRED
        # With 1.3 the refusal comes after the handshake and may lose a race with the request.
        context.maximum_version = ssl.TLSVersion.TLSv1_2
        context.load_verify_locations(pki / client_ca)
    return Server(tls=context)
