# SPDX-License-Identifier: Apache-2.0
"""Certificates for the tests, and a web server that has one."""

import ssl
import subprocess
import warnings

from http_server import Server


def openssl(directory, *args):
    subprocess.run(["openssl", *args], cwd=directory, check=True, capture_output=True)


def make_pki(d):
    """ca.pem, other-ca.pem and server keys with certificates: for 127.0.0.1, for elsewhere, for
    another time, and by no CA."""
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
    make_outdated(d)
    make_self_signed(d)


def make_outdated(d):
    """Certificates for 127.0.0.1 that are over, and that begin in the far future: for a machine
    whose clock says 1970, every good one does."""
    new_key = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes"]
    (d / "index").write_text("")
    (d / "ca.cnf").write_text(
        "[ca]\ndefault_ca=it\n[it]\nnew_certs_dir=.\ndatabase=index\nserial=ca.srl\n"
        "default_md=sha256\npolicy=any\nunique_subject=no\n[any]\ncommonName=supplied\n")
    (d / "ext").write_text("subjectAltName=IP:127.0.0.1\n")
    for name, begin, end in (("expired", "20000101000000Z", "20010101000000Z"),
                             ("future", "20900101000000Z", "20910101000000Z")):
        openssl(d, "req", "-new", *new_key, "-subj", f"/CN={name}", "-keyout", f"{name}.key",
                "-out", "csr")
        openssl(d, "ca", "-batch", "-config", "ca.cnf", "-cert", "ca.pem", "-keyfile", "ca.key",
                "-startdate", begin, "-enddate", end, "-in", "csr", "-extfile", "ext",
                "-out", f"{name}.pem", "-notext")


def make_self_signed(d):
    openssl(d, "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes",
            "-subj", "/CN=127.0.0.1", "-addext", "subjectAltName=IP:127.0.0.1", "-days", "2",
            "-keyout", "self.key", "-out", "self.pem")


def tls_server(pki, name, client_ca=None, version=None):
    """`version`: the only protocol version that it speaks."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    if version:
        context.set_ciphers("DEFAULT:@SECLEVEL=0")  # else OpenSSL itself refuses the old ones
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)
            context.minimum_version = context.maximum_version = version
    context.load_cert_chain(pki / f"{name}.pem", pki / f"{name}.key")
    if client_ca:
        context.verify_mode = ssl.CERT_REQUIRED
        # With 1.3 the refusal comes after the handshake and may lose a race with the request.
        context.maximum_version = ssl.TLSVersion.TLSv1_2
        context.load_verify_locations(pki / client_ca)
    return Server(tls=context)
