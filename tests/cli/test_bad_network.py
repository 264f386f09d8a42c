# SPDX-License-Identifier: Apache-2.0
"""Installs from web servers that misbehave: they end well or with a clear error, the old slot
starts, and memory stays flat whatever comes."""

import ssl
import subprocess

import pytest

import make_bundle
from bad_servers import CLOSE, ENDLESS, FAULTS, LATER, SIZE
from conftest import TIMEOUT, Result
from http_server import Server
from old_slot import OldSlot, assert_one_error
from pki import tls_server
from rss import PeakRss
from tree import MIB, Tree, bundle, noise, uki

BOOT, SYSTEM = uki("3", linux_size=16384), noise(850_000 // 4096 * 4096, "three")
# By format: one, and another one that comes under the same URL.
BUNDLES = {
    "plain": (bundle(BOOT, SYSTEM), bundle(BOOT, SYSTEM[:-4096])),
    "chunked": (make_bundle.make(BOOT, SYSTEM), make_bundle.make(BOOT, SYSTEM[:-4096])),
}
FLAT = 10 * MIB  # above what an install over a good line takes

# Short, so that what never comes is given up soon.
PATIENCE = "[download]\nconnect-timeout=2\nstall-timeout=1\ntotal-timeout={}\n"

assert all(abs(len(good) - SIZE) < 50_000 for good, _ in BUNDLES.values())


@pytest.fixture
def patient(settled):
    """patient(seconds) sets the total timeout."""
    def patient(seconds):
        settled.config.write_text(settled.config.read_text() + PATIENCE.format(seconds))
    return patient


@pytest.fixture
def install(settled, start, environment):
    """install(url, *options) -> (Result, peak of RssAnon)"""
    # What is freed is freed, with the sanitizer too: else memory that is used again would count.
    options = environment.get("ASAN_OPTIONS", "")
    keep = "quarantine_size_mb=1:detect_stack_use_after_return=0"
    env = {**environment, "ASAN_OPTIONS": f"{options}:{keep}"}

    def install(url, *options):
        process = start("--root", settled.root, "install", "-q", *options, url, env=env)
        watch = PeakRss(process.pid)
        stdout, stderr = process.communicate(timeout=TIMEOUT)
        result = Result(process, stdout, stderr)
        assert result.code >= 0 and "Sanitizer" not in result.stderr, result
        return result, watch.stop()

    return install


@pytest.fixture
def flat(settled, settled_template, install, web):
    """A peak of RssAnon that is not to be exceeded."""
    good = bundle(BOOT, noise(MIB, "good"))  # large enough to be read ahead
    result, peak = install(web.put("/good.zip", good, ranges=False))
    assert result.code == 0 and peak > 0, result
    settled.become(settled_template)
    return peak + FLAT


def expand(fault, good, other):
    """What tests/fixtures/bad_servers.py leaves to the bundle."""
    if not fault:
        return fault
    fault = dict(fault)
    if "cut_share" in fault:
        fault["cut"] = int(len(good) * fault.pop("cut_share"))
    if fault.pop("other_content", False):
        fault["content"] = other
    if "patch" in fault:
        fault["patch"] = {name: value and value.replace("{size}", str(len(good)))
                          for name, value in fault["patch"].items()}
    return fault


@pytest.mark.parametrize("format", BUNDLES)
@pytest.mark.parametrize("name", FAULTS)
def test_fault(settled, settled_status, status, install, patient, web, name, format):
    fault = FAULTS[name]
    good, other = BUNDLES[format]
    patient(2 if fault.forever else 20)
    faults = [expand(one, good, other) for one in fault.faults or []] + [fault.forever] * 500
    url = web.put("/os.zip", good, faults=faults, patch=fault.patch, **(fault.always or {}))
    old = OldSlot(settled, status, settled_status)
    result, _ = install(url)
    if fault.says is None:
        assert result.code == 0, result
        assert settled.partition("B").read_bytes()[:len(SYSTEM)] == SYSTEM
        assert settled.reboot() == "B"
    else:
        assert_one_error(result, 1, fault.says, "os.zip")
        old.assert_intact(may_begin=fault.begun)


@pytest.fixture(scope="session")
def later_count(binary, settled_template, tmp_path_factory):
    """Requests of a good install of a chunked bundle."""
    tree = Tree(tmp_path_factory.mktemp("later") / "root")
    tree.become(settled_template)
    with Server() as server:
        subprocess.run([binary, "--root", tree.root, "install", "-q",
                        server.put("/os.zip", BUNDLES["chunked"][0])], check=True, timeout=TIMEOUT)
        return len(server.requests)


@pytest.mark.parametrize("name", LATER)
def test_later_fault(settled, settled_template, settled_status, status, install, patient, web,
                     later_count, name):
    """At every request but the first: the directory's, the boot file's, the image's."""
    fault, says, may_pass = (*LATER[name], False)[:3]
    good, other = BUNDLES["chunked"]
    assert later_count >= 4
    for place in range(1, later_count):
        settled.become(settled_template)
        patient(20)
        old = OldSlot(settled, status, settled_status)
        result, _ = install(web.put("/os.zip", good, faults=[None] * place + [
            expand(fault, good, other)]))
        if says is None or may_pass and result.code == 0:
            assert result.code == 0, (place, result)
            assert settled.partition("B").read_bytes()[:len(SYSTEM)] == SYSTEM
            assert settled.reboot() == "B"
        else:
            assert_one_error(result, 1, says, "os.zip")
            old.assert_intact(may_begin=True)


def test_redirects_in_a_circle(settled, settled_status, status, install):
    old = OldSlot(settled, status, settled_status)
    with Server() as one, Server() as two:
        for server, other in ((one, two), (two, one)):
            location = {"status": 307, "headers": {"Location": other.url("/os.zip")}}
            server.put("/os.zip", b"", faults=[location] * 99)
        result, _ = install(one.url("/os.zip"))
        assert len(one.requests) + len(two.requests) <= 12
    assert_one_error(result, 1, "redirect", "os.zip")
    old.assert_intact()


# Memory


@pytest.mark.parametrize("name", ENDLESS)
def test_endless(settled, settled_status, status, install, patient, web, flat, name):
    make, piece, says = ENDLESS[name]
    patient(2)
    url = web.put("/os.zip", make(BOOT), ranges=False, patch=CLOSE,
                  faults=[{"endless": piece}] * 99)
    old = OldSlot(settled, status, settled_status)
    result, peak = install(url)
    assert_one_error(result, 1, says)
    assert peak <= flat, f"{peak} bytes, {flat} are allowed"
    if "did not end" in says:
        assert web.endless > FLAT + 2 * MIB  # a client that kept it would have been seen
    old.assert_intact(may_begin=name == "the image")


CHUNKED = b"Transfer-Encoding: chunked\r\n\r\n"


def raw(head, piece):
    return {"raw": b"HTTP/1.1 200 OK\r\n" + head, "endless_raw": piece}


@pytest.mark.parametrize("fault, says", [
    (raw(b"", b"X-Filler: " + b"x" * 1000 + b"\r\n"), "128 KiB of headers"),
    (raw(b"X-Filler: ", b"x" * 1000), "a header without end"),
    ({"raw": b"", "endless_raw": b"HTTP/1.1 100 Continue\r\n\r\n" * 50}, "128 KiB of headers"),
    ({"raw": b"", "endless_raw": b"SSH-2.0-OpenSSH_9.2\r\n" * 50}, "no HTTP server"),
    (raw(CHUNKED + b"1;", b"x" * 1000), "sent nothing for 1 s"),
    (raw(CHUNKED, b"0" * 1000), "hexadecimal number"),
    (raw(CHUNKED + b"0\r\n", b"X-Trailer: 1\r\n" * 50), "128 KiB of headers"),
    ({"status": 302, "headers": {"Location": "/os.zip"}, "body": bytes(8 * MIB)}, "redirect"),
    ({"status": 503, "body": bytes(8 * MIB), "retry_after": "0"}, "did not end within"),
    ({"status": 404, "body": bytes(8 * MIB)}, "HTTP 404"),
    ({"drip": 20_000, "seconds": 0.1}, "did not end within"),
    ({"cut": 700_000}, "did not end within"),
], ids=["headers", "one header", "informational answers", "another protocol",
        "a chunk's extension", "a chunk's size", "trailers", "redirect loop", "storm",
        "error page", "drip", "cuts"])
def test_flat(settled, settled_status, status, install, patient, web, flat, fault, says):
    patient(2)
    url = web.put("/os.zip", BUNDLES["plain"][0], ranges=False, faults=[fault] * 500)
    old = OldSlot(settled, status, settled_status)
    result, peak = install(url)
    assert_one_error(result, 1, says, "os.zip")
    assert peak <= flat, f"{peak} bytes, {flat} are allowed"
    old.assert_intact(may_begin=True)


# TLS


@pytest.mark.parametrize("certificate, ca, version, says", [
    ("elsewhere", "ca", None, ["check the URL"]),
    ("here", "other-ca", None, ["certificate", "ca-file"]),
    ("here", None, None, ["certificate", "ca-file"]),
    ("self", "ca", None, ["self-signed", "ca-file"]),
    ("expired", "ca", None, ["expired", "the clock"]),
    # Every certificate looks like this to a machine whose clock says 1970.
    ("future", "ca", None, ["not yet valid", "the clock"]),
    ("here", "ca", ssl.TLSVersion.TLSv1, ["protocol"]),
    ("here", "ca", ssl.TLSVersion.TLSv1_1, ["protocol"]),
    ("here", "ca", ssl.TLSVersion.TLSv1_2, None),
    ("here", "ca", ssl.TLSVersion.TLSv1_3, None),
    ("self", "self", None, None),
], ids=["wrong name", "unknown CA", "not the system's CA", "self-signed", "expired",
        "not yet valid", "TLS 1.0", "TLS 1.1", "TLS 1.2", "TLS 1.3", "self-signed, trusted"])
def test_tls(settled, settled_status, status, install, pki, certificate, ca, version, says):
    text = settled.config.read_text() + PATIENCE.format(20)
    settled.config.write_text(text + (f"ca-file={pki}/{ca}.pem\n" if ca else ""))
    old = OldSlot(settled, status, settled_status)
    with tls_server(pki, certificate, version=version) as server:
        result, _ = install(server.put("/os.zip", BUNDLES["chunked"][0]))
        if says:
            assert not server.requests
    if says:
        assert_one_error(result, 1, "os.zip", *says)
        old.assert_intact()
    else:
        assert result.code == 0, result
