# SPDX-License-Identifier: Apache-2.0
"""The HTTP source against a server that misbehaves: exact bytes, exact requests, exact errors."""

import email.utils
import os
import pathlib
import random
import subprocess
import time

import pytest

from conftest import TIMEOUT
from http_server import Server, free_port
from pki import tls_server

PROJECT = pathlib.Path(__file__).resolve().parents[2]
CAT = os.environ.get("SOURCE_CAT", str(PROJECT / "build-asan/tests/source_cat"))

DATA = random.Random(1).randbytes(1_500_000)
OTHER = random.Random(2).randbytes(1_500_000)
LONG_AGO = "Mon, 01 Jan 2024 00:00:00 GMT"
# Also when the test comes an hour after this line.
JUST_NOW = email.utils.formatdate(time.time() + 3600, usegmt=True)


class Result:
    def __init__(self, code, out, err, seconds):
        self.code, self.out, self.seconds = code, out, seconds
        lines = err.decode().splitlines()
        self.notes = [line[6:] for line in lines if line.startswith("note: ")]
        self.errors = [line[7:] for line in lines if line.startswith("error: ")]
        self.open = "".join(line for line in lines if line.startswith("open: "))
        self.err = err.decode()
        assert "Sanitizer" not in self.err and "runtime error" not in self.err, self.err

    @property
    def error(self):
        assert self.code == 1 and len(self.errors) == 1, (self.code, self.err)
        return self.errors[0]


def cat(url, *options, mode="cat", env=None):
    environ = {k: v for k, v in os.environ.items() if not k.lower().endswith("_proxy")}
    start = time.monotonic()
    done = subprocess.run([CAT, "--retry=5", "--total=10", "--stall=1", *options, mode, url],
                          capture_output=True, env={**environ, **(env or {})}, timeout=TIMEOUT)
    return Result(done.returncode, done.stdout, done.stderr, time.monotonic() - start)


def good(result, data=DATA):
    assert result.code == 0, result.err
    assert result.out == data
    return result


@pytest.fixture
def server():
    with Server() as s:
        yield s


# What is learned from the first answer.

@pytest.mark.parametrize("properties, size, seekable", [
    ({}, len(DATA), True),
    ({"etag": None, "last_modified": LONG_AGO}, len(DATA), True),
    ({"etag": None, "last_modified": JUST_NOW}, len(DATA), False),
    ({"etag": None}, len(DATA), False),
    ({"etag": 'W/"one"'}, len(DATA), False),
    ({"etag": 'W/"one"', "last_modified": LONG_AGO}, len(DATA), False),
    ({"etag": "one"}, len(DATA), False),
    ({"ranges": False}, len(DATA), False),
    ({"ranges": False, "chunked": True}, -1, False),
    ({"chunked": True}, len(DATA), True),
    ({"ranges": False, "patch": {"Content-Length": None, "Connection": "close"}}, -1, False),
])
def test_plain(server, properties, size, seekable):
    faults = [{"cut": len(DATA)}] if "patch" in properties else []
    result = good(cat(server.put("/b", DATA, faults=faults, **properties)))
    assert f"size={size} seekable={int(seekable)}" in result.open
    assert server.ranges() == ["bytes=0-"]
    headers = server.requests[0]["headers"]
    assert headers["accept-encoding"] == "identity"
    assert headers["user-agent"] == "bistable"


@pytest.mark.parametrize("ranges", [True, False])
def test_empty(server, ranges):
    result = good(cat(server.put("/b", b"", ranges=ranges)), b"")
    assert "size=0" in result.open


def test_one_byte(server):
    good(cat(server.put("/b", b"x")), b"x")


def test_unknown_total_is_asked_again_without_range(server):
    url = server.put("/b", DATA, faults=[{"patch": {
        "Content-Range": f"bytes 0-{len(DATA) - 1}/*"}}])
    result = good(cat(url))
    assert server.ranges() == ["bytes=0-", None]
    assert "seekable=0" in result.open and not result.notes


def test_unsatisfiable_from_zero_is_asked_again_without_range(server):
    good(cat(server.put("/b", DATA, faults=[{"status": 416}])))
    assert server.ranges() == ["bytes=0-", None]


@pytest.mark.parametrize("content_range", [
    "bytes 1-1499999/1500000", "bytes 0-1499999/1499999", "bytes 0-1499999", "bytes 0-/1500000",
    "bytes 0-1499999/99999999999999999999", "bytes -1-1499999/1500000", "0-1499999/1500000",
    "bytes 0-1499999/1500000 ", "bytes 0-1499998/1500000", "bytes */1500000", None,
])
def test_invalid_content_range(server, content_range):
    url = server.put("/b", DATA, patch={"Content-Range": content_range})
    result = cat(url)
    if content_range and content_range.endswith(" "):  # trailing blanks belong to no field
        good(result)
    else:
        assert result.error.startswith("EPROTO") and url in result.error
        assert len(server.requests) == 1


def test_content_encoding_is_refused(server):
    url = server.put("/b", DATA, patch={"Content-Encoding": "gzip"})
    assert "EOPNOTSUPP" in cat(url).error


def test_two_different_etags_are_refused(server):
    url = server.put("/b", DATA, patch={"Etag": '"two"'})
    assert "ETag" in cat(url).error


def test_oversized_head_is_refused(server):
    patch = {f"X-{i}": "x" * 1000 for i in range(90)}
    assert cat(server.put("/ok", DATA, patch=patch)).code == 0
    assert "EPROTO" in cat(server.put("/b", DATA, patch={"ETag": "x" * 1100})).error
    patch = {f"X-{i}": "x" * 8000 for i in range(20)}
    assert "128 KiB of headers" in cat(server.put("/b", DATA, patch=patch)).error


# Going on where it broke.

@pytest.mark.parametrize("cut", [0, 1, 16384, 700_000, len(DATA) - 1])
def test_resume(server, cut):
    result = good(cat(server.put("/b", DATA, faults=[{"cut": cut}])))
    assert server.ranges() == ["bytes=0-", f"bytes={cut}-"]
    # Before the first byte of the body nothing is known yet.
    assert server.requests[1]["headers"].get("if-range") == ('"one"' if cut else None)
    assert len(result.notes) == 1 and "trying again in" in result.notes[0]


def test_resume_by_date(server):
    url = server.put("/b", DATA, etag=None, last_modified=LONG_AGO,
                     faults=[{"cut": 5000}, {"patch": {"Last-Modified": None}, "cut": 1000}])
    good(cat(url))
    assert server.ranges() == ["bytes=0-", "bytes=5000-", "bytes=6000-"]
    assert server.requests[1]["headers"]["if-range"] == LONG_AGO


def test_many_cuts(server):
    good(cat(server.put("/b", DATA, faults=[{"cut": 100_000}] * 12)))
    assert server.ranges() == [f"bytes={i * 100_000}-" for i in range(13)]


def test_chunked_cut(server):
    good(cat(server.put("/b", DATA, chunked=True, faults=[{"cut": 100_000}])))
    assert server.ranges() == ["bytes=0-", "bytes=100000-"]


def test_server_that_serves_pieces(server):
    def piece(first):
        return {"patch": {"Content-Range": f"bytes {first}-{first + 499_999}/{len(DATA)}",
                          "Content-Length": "500000"}, "cut": 500_000}
    result = good(cat(server.put("/b", DATA, faults=[piece(0), piece(500_000)])))
    assert server.ranges() == ["bytes=0-", "bytes=500000-", "bytes=1000000-"]
    assert not result.notes


def test_pieces_without_validator(server):
    url = server.put("/b", DATA, etag=None, faults=[
        {"patch": {"Content-Range": f"bytes 0-499999/{len(DATA)}", "Content-Length": "500000"},
         "cut": 500_000}])
    good(cat(url))
    assert server.ranges() == ["bytes=0-", None]


def test_stall(server):
    result = good(cat(server.put("/b", DATA, faults=[{"stall": 300_000}])))
    assert server.ranges() == ["bytes=0-", "bytes=300000-"]
    assert "sent nothing for 1 s" in result.notes[0]
    assert 1 <= result.seconds < 20


def test_slow_reader_is_no_stall(server):
    # 1.5 MB in pieces of 64 KiB with 60 ms after each: more than the stall timeout in all.
    good(cat(server.put("/b", DATA), "--pause=60"))
    assert len(server.requests) == 1


def test_storm(server):
    url = server.put("/b", DATA, faults=[
        {"status": 503, "retry_after": "1"}, {"status": 429}, {"status": 500}, {"status": 502},
        {"status": 504}, {"status": 520}, {"status": 425}, {"reset": True}, {"cut": 1000},
        {"status": 503, "retry_after": email.utils.formatdate(time.time() - 5, usegmt=True)}])
    result = good(cat(url))
    assert server.ranges() == ["bytes=0-"] * 9 + ["bytes=1000-"] * 2
    times = [request["time"] for request in server.requests]
    assert times[1] - times[0] >= 0.95
    assert "HTTP 503" in result.notes[0] and len(result.notes) == 10


def test_retry_after_date(server):
    # The server's clock counts, not ours.
    now = 1_700_000_000
    url = server.put("/b", DATA, faults=[{"status": 503, "headers": {
        "Date": email.utils.formatdate(now, usegmt=True),
        "Retry-After": email.utils.formatdate(now + 1, usegmt=True)}}])
    good(cat(url))
    assert server.requests[1]["time"] - server.requests[0]["time"] >= 0.95


def test_retry_after_beyond_total_timeout_is_cut_short(server):
    url = server.put("/b", DATA, faults=[{"status": 503, "retry_after": "3600"}])
    assert 0.9 < good(cat(url, "--total=2")).seconds < 20


def test_total_timeout(server):
    url = server.put("/b", DATA, faults=[{"status": 503}] * 1000)
    result = cat(url, "--total=1", "--retry=50")
    assert result.error.startswith("ETIMEDOUT")
    assert "HTTP 503" in result.error and "failed attempts" in result.error
    assert "safe to run the install again" in result.error
    assert result.seconds < 20
    assert len(server.requests) > 2


def test_total_timeout_while_receiving(server):
    result = cat(server.put("/b", DATA, faults=[{"stall": 1000}]), "--total=1", "--stall=20")
    assert result.error.startswith("ETIMEDOUT") and "too slow" in result.error
    assert result.seconds < 20


def test_nobody_listens():
    port = free_port()
    result = cat(f"http://127.0.0.1:{port}/b", "--total=1")
    assert result.error.startswith("ETIMEDOUT") and str(port) in result.error


def test_server_comes_up_later(server):
    url = server.put("/b", DATA, faults=[{"reset": True}] * 5)
    good(cat(url))


def test_cancel(server):
    result = cat(server.put("/b", DATA, faults=[{"stall": 1000}]), "--stall=20", "--cancel=300")
    assert result.error.startswith("ECANCELED")
    assert 0.3 <= result.seconds < 20


def test_limits_hold_while_bytes_come(server):
    url = server.put("/b", DATA)
    result = cat(url, "--pause=50", "--cancel=300")
    assert result.error.startswith("ECANCELED") and len(result.out) < len(DATA)
    result = cat(url, "--pause=100", "--total=1")
    assert result.error.startswith("ETIMEDOUT") and "too slow" in result.error
    assert 0 < len(result.out) < len(DATA)


def test_cancel_while_waiting(server):
    url = server.put("/b", DATA, faults=[{"status": 503, "retry_after": "8"}])
    result = cat(url, "--cancel=300")
    assert result.error.startswith("ECANCELED") and result.seconds < 7


# What waiting does not change.

@pytest.mark.parametrize("status, errno", [
    (404, "ENOENT"), (410, "ENOENT"), (401, "EACCES"), (403, "EACCES"), (400, "EPROTO"),
    (501, "EPROTO"), (505, "EPROTO"), (599, "EPROTO"), (204, "EPROTO"), (304, "EPROTO"),
    (300, "EPROTO"), (302, "EPROTO")])
def test_final_status(server, status, errno):
    body = b"" if status in (204, 304) else b"no"
    url = server.put("/b", DATA, faults=[{"status": status, "body": body}] * 9)
    result = cat(url)
    assert result.error.startswith(errno) and f"HTTP {status}" in result.error
    assert url in result.error
    assert len(server.requests) == 1 and result.seconds < 20


def test_gone_in_the_middle(server):
    url = server.put("/b", DATA, faults=[{"cut": 5000}, {"status": 404}])
    result = cat(url)
    assert "HTTP 404" in result.error and result.out == DATA[:5000]
    assert len(server.requests) == 2


def test_credentials_are_used_and_not_shown(server):
    server.put("/b", DATA, faults=[{"status": 404}] * 2)
    result = cat(server.url("/b", user="joe:secret@") + "?token=hidden")
    assert "HTTP 404" in result.error
    assert server.url("/b") + "?..." in result.error
    assert "secret" not in result.err and "hidden" not in result.err and "joe" not in result.err
    assert server.requests[0]["headers"]["authorization"].startswith("Basic ")
    assert server.requests[0]["path"] == "/b?token=hidden"


@pytest.mark.parametrize(
    "url", ["http://", "http://127.0.0.1:99999/", "http://a b/", "https://[::1"]
)
def test_invalid_url(url):
    assert cat(url).error.startswith("EINVAL")


@pytest.mark.parametrize("url", ["ftp://127.0.0.1/b", "file:///etc/passwd", "s3://x/y"])
def test_unsupported_scheme(url):
    assert cat(url).error.startswith("EINVAL")


@pytest.mark.parametrize("header", [
    "no colon", ": x", "A B: x", "Range: bytes=0-1", "accept-encoding: gzip", "X: a\r\nY: b", "X:"])
def test_invalid_header(server, header):
    result = cat(server.put("/b", DATA), f"--header={header}")
    assert result.error.startswith("EINVAL") and not server.requests


def test_more_than_announced(server):
    # What lies behind the announced length is the next answer, and not a valid one.
    good(cat(server.put("/b", DATA, faults=[{"extra": b"more"}])))


# The content changes on the server.

@pytest.mark.parametrize("fault", [
    pytest.param({"content": OTHER, "etag": '"two"'}, id="200, as If-Range does not match"),
    pytest.param({"content": OTHER + b"x"}, id="another total"),
    pytest.param({"patch": {"ETag": '"two"'}}, id="If-Range is ignored"),
    pytest.param({"patch": {"ETag": None}}, id="no ETag any more"),
    pytest.param({"ranges": False}, id="no ranges any more"),
    pytest.param({"content": DATA[:1000]}, id="416"),
])
def test_changed(server, fault):
    url = server.put("/b", DATA, faults=[{"cut": 200_000}, fault])
    result = cat(url)
    assert result.error.startswith("ESTALE")
    assert "changed while it was being downloaded" in result.error
    assert result.out == DATA[:200_000]
    assert len(server.requests) == 2


def test_wrong_start(server):
    url = server.put("/b", DATA, faults=[{"cut": 1000}, {"patch": {
        "Content-Range": f"bytes 0-{len(DATA) - 1001}/{len(DATA)}"}}])
    assert "another range" in cat(url).error


@pytest.mark.parametrize("properties", [
    {"etag": None}, {"ranges": False}, {"ranges": False, "chunked": True},
    {"etag": None, "last_modified": JUST_NOW}])
def test_restart_same_content(server, properties):
    faults = [{"cut": 400_000}, {"cut": 200_000}, {"status": 503}, {"cut": 400_000},
              {"cut": 900_000}, {"cut": 900_000}]
    good(cat(server.put("/b", DATA, faults=faults, **properties)))
    assert len(server.requests) == 7
    assert not any("if-range" in request["headers"] for request in server.requests)


@pytest.mark.parametrize("properties, other", [
    pytest.param({"etag": None}, DATA[:399_999] + b"\0" + DATA[400_000:], id="last byte"),
    pytest.param({"ranges": False}, b"\0" + DATA[1:], id="first byte"),
    pytest.param({"ranges": False, "chunked": True}, OTHER, id="all"),
    pytest.param({"ranges": False, "chunked": True}, DATA[:399_999], id="shorter, unknown size"),
    pytest.param({"etag": None}, DATA + b"x", id="longer"),
    pytest.param({"etag": None}, DATA[:1000], id="shorter")])
def test_restart_other_content(server, properties, other):
    faults = [{"cut": 400_000}, {"content": other}]
    result = cat(server.put("/b", DATA, faults=faults, **properties))
    assert result.error.startswith("ESTALE")
    assert result.out == DATA[:400_000]


# Seeking.

def test_seek(server):
    result = good(cat(server.put("/b", DATA, faults=[None, None, {"cut": 10}]), mode="seek"))
    assert "seekable=1" in result.open
    assert len(server.requests) >= 20


def test_failures_at_several_places(server):
    """They are not in a row: none waits for longer than the first."""
    busy = {"status": 503}
    result = good(cat(server.put("/b", DATA, faults=[None] + 40 * [busy, None]), mode="seek"))
    assert len(result.notes) >= 20
    assert all("trying again in 0.0 s" in note for note in result.notes), result.notes


@pytest.mark.parametrize("faults, times", [([], 1), ([None, None, {"status": 503}], 2)])
def test_names_are_not_looked_up_for_each_request(server, faults, times):
    """Again only after a failure, by each connection."""
    url = server.put("/b", DATA, faults=faults).replace("127.0.0.1", "bundle.test")
    result = good(cat(url, "--resolve=127.0.0.1", mode="seek"))
    assert len(server.requests) >= 20
    assert result.err.count("resolve: bundle.test\n") == times, result.err


def test_seek_after_change(server):
    url = server.put("/b", DATA, faults=[None, None, {"content": OTHER, "etag": '"two"'}])
    assert cat(url, mode="seek").error.startswith("ESTALE")


def test_keep_alive(server):
    # The tail is read to its end: the next request uses the same connection.
    cat(server.put("/b", DATA), mode="seek")
    ports = [request["port"] for request in server.requests]
    assert ports[1] == ports[2]


# Redirects.

def redirect(location, status=302):
    return {"status": status, "headers": {"Location": location}}


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
def test_redirect(server, status):
    server.put("/b", DATA)
    url = server.put("/r", b"", faults=[redirect("/b", status)])
    good(cat(url, "--header=X-Token: 1"))
    assert [r["path"] for r in server.requests] == ["/r", "/b"]
    assert all(r["headers"]["x-token"] == "1" for r in server.requests)
    assert len({r["port"] for r in server.requests}) == 1


def test_redirect_keeps_the_user_on_the_same_server(server):
    server.put("/b", DATA)
    server.put("/r", b"", faults=[redirect(server.url("/b"))] * 2)
    good(cat(server.url("/r", user="joe:secret@")))
    assert all("authorization" in request["headers"] for request in server.requests)


def test_redirect_to_another_server(server):
    with Server() as other:
        target = other.put("/b", DATA, faults=[{"cut": 1000}])
        server.put("/r", b"", faults=[redirect(target)] * 2)
        good(cat(server.url("/r", user="joe:secret@"), "--header=X-Token: 1",
                 "--header=Authorization: x"))
        # A break starts at the original URL again: signed targets expire.
        assert len(server.requests) == 2
        assert other.ranges() == ["bytes=0-", "bytes=1000-"]
        assert server.requests[0]["headers"]["x-token"] == "1"
        assert "authorization" in server.requests[0]["headers"]
        for request in other.requests:
            assert "x-token" not in request["headers"]
            assert "authorization" not in request["headers"]


def test_redirect_big_body(server):
    server.put("/b", DATA)
    url = server.put("/r", b"", faults=[{**redirect("b"), "body": b"x" * 1_000_000}])
    good(cat(url))


@pytest.mark.parametrize("location", ["file:///etc/passwd", "ftp://127.0.0.1/b", "gopher://x/"])
def test_redirect_to_another_scheme(server, location):
    url = server.put("/r", b"", faults=[redirect(location)])
    result = cat(url)
    assert result.error.startswith("EPROTO") and "refused" in result.error
    assert result.out == b""


def test_redirect_loop(server):
    url = server.put("/r", b"", faults=[redirect("/r")] * 50)
    assert cat(url).error.startswith("ELOOP")
    assert len(server.requests) == 11


def test_redirect_to_nonsense(server):
    url = server.put("/r", b"", faults=[redirect("http://[")])
    assert cat(url).error.startswith("EPROTO")


# Proxies and TLS.

def test_proxy(server):
    server.put("/b", DATA)
    good(cat("http://bundle.invalid/b", env={"http_proxy": server.url("/")}))
    assert server.requests[0]["path"] == "http://bundle.invalid/b"


def test_no_proxy(server):
    url = server.put("/b", DATA)
    good(cat(url, env={"http_proxy": f"http://127.0.0.1:{free_port()}", "no_proxy": "127.0.0.1"}))


def test_proxy_refuses_tunnel(server):
    result = cat("https://bundle.invalid/b", env={"https_proxy": server.url("/")})
    assert result.error.startswith("EPROTO") and "403" in result.error
    assert len(server.requests) == 1


def test_https(pki):
    with tls_server(pki, "here") as server:
        url = server.put("/b", DATA, faults=[{"cut": 100_000}])
        good(cat(url, f"--ca={pki}/ca.pem"))
        assert server.ranges() == ["bytes=0-", "bytes=100000-"]


def test_handshake_after_other_failures(pki):
    """One that breaks is an accident, whatever went wrong before."""
    busy = {"status": 503, "headers": {"Connection": "close"}}
    with tls_server(pki, "here") as server:
        server.hang_up_on = (4,)
        good(cat(server.put("/b", DATA, faults=3 * [busy]), f"--ca={pki}/ca.pem"))
        assert server.connections == 5
    with tls_server(pki, "here") as server:
        server.hang_up_on = range(1, 9)
        assert cat(server.put("/b", DATA), f"--ca={pki}/ca.pem").error.startswith("EPROTO")
        assert server.connections == 3


@pytest.mark.parametrize("name, ca", [("elsewhere", "ca.pem"), ("here", "other-ca.pem"),
                                      ("here", None)])
def test_https_not_trusted(pki, name, ca):
    with tls_server(pki, name) as server:
        result = cat(server.put("/b", DATA), *([f"--ca={pki}/{ca}"] if ca else []))
        assert result.error.startswith("EPROTO") and "ca-file" in result.error
        assert not server.requests and result.seconds < 20 and not result.notes


def test_https_bad_ca_file(pki):
    with tls_server(pki, "here") as server:
        result = cat(server.put("/b", DATA), f"--ca={pki}/missing.pem")
        assert "ca-file" in result.error and not result.notes


def test_https_client_certificate(pki):
    with tls_server(pki, "here", client_ca="ca.pem") as server:
        url = server.put("/b", DATA)
        good(cat(url, f"--ca={pki}/ca.pem", f"--cert={pki}/client.pem", f"--key={pki}/client.key"))
        result = cat(url, f"--ca={pki}/ca.pem")
        assert result.error.startswith("EPROTO") and "client-cert" in result.error


def test_https_to_http_redirect_is_refused(pki, server):
    with tls_server(pki, "here") as secure:
        target = server.put("/b", DATA)
        url = secure.put("/r", b"", faults=[redirect(target)])
        assert "from https to http" in cat(url, f"--ca={pki}/ca.pem").error
        assert not server.requests


def test_http_to_https_redirect(pki, server):
    with tls_server(pki, "here") as secure:
        target = secure.put("/b", DATA)
        good(cat(server.put("/r", b"", faults=[redirect(target)]), f"--ca={pki}/ca.pem"))


def test_https_url_of_an_http_server(server):
    result = cat(server.url("/b").replace("http:", "https:"))
    assert result.error.startswith("EPROTO") and len(result.notes) == 2
