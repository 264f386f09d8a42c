# SPDX-License-Identifier: Apache-2.0
"""Plain bundles as zip tools make them, from every kind of source."""

import hashlib
import io
import os
import pathlib
import random
import struct
import subprocess
import zipfile

import pytest

from conftest import TIMEOUT
from http_server import Server

PROJECT = pathlib.Path(__file__).resolve().parents[2]
CAT = os.environ.get("SOURCE_CAT", str(PROJECT / "build-asan/tests/source_cat"))

BOOT, SYSTEM = "kernel_efi.efi", "verity_rootfs.img"
CONTENT = {
    BOOT: b"MZ" + random.Random(1).randbytes(200_000),
    SYSTEM: (random.Random(2).randbytes(4096) + bytes(4096)) * 150,
}


class Pipe(io.RawIOBase):
    """A file that cannot seek: zipfile writes data descriptors to it."""

    def __init__(self):
        self.data = b""

    def writable(self):
        return True

    def write(self, data):
        self.data += bytes(data)
        return len(data)


def by_zipfile(names=(BOOT, SYSTEM), method=zipfile.ZIP_DEFLATED, zip64=False, stream=False):
    out = Pipe() if stream else io.BytesIO()
    with zipfile.ZipFile(out, "w", method) as archive:
        for name in names:
            with archive.open(name, "w", force_zip64=zip64) as entry:
                entry.write(CONTENT[name])
    return out.data if stream else out.getvalue()


def by_zip(tmp_path, *options, names=(BOOT, SYSTEM), to_pipe=False):
    for name in names:
        (tmp_path / name).write_bytes(CONTENT[name])
    command = ["zip", "-q", *options, "-" if to_pipe else "made.zip", *names]
    done = subprocess.run(command, cwd=tmp_path, check=True, capture_output=True)
    return done.stdout if to_pipe else (tmp_path / "made.zip").read_bytes()


# name: how it is made, whether it can be streamed
MADE = {
    "zipfile": (lambda _: by_zipfile(), True),
    "zipfile, other order": (lambda _: by_zipfile((SYSTEM, BOOT)), True),
    "zipfile, stored": (lambda _: by_zipfile(method=zipfile.ZIP_STORED), True),
    "zipfile, ZIP64": (lambda _: by_zipfile(zip64=True), True),
    "zipfile, stored, ZIP64": (lambda _: by_zipfile(method=zipfile.ZIP_STORED, zip64=True), True),
    "zipfile, to a pipe": (lambda _: by_zipfile(stream=True), True),
    "zipfile, to a pipe, ZIP64": (lambda _: by_zipfile(stream=True, zip64=True), True),
    "zipfile, to a pipe, stored":
        (lambda _: by_zipfile(stream=True, method=zipfile.ZIP_STORED), False),
    "zip": (by_zip, True),
    "zip -0": (lambda d: by_zip(d, "-0", names=(SYSTEM, BOOT)), True),
    "zip -fz": (lambda d: by_zip(d, "-fz"), True),
    "zip -fd": (lambda d: by_zip(d, "-fd"), True),
    "zip -0 -fd": (lambda d: by_zip(d, "-0", "-fd"), True),
    "zip to a pipe": (lambda d: by_zip(d, to_pipe=True), True),
}


def run(source, stdin=None):
    environ = {k: v for k, v in os.environ.items() if not k.lower().endswith("_proxy")}
    done = subprocess.run([CAT, "--retry=5", "--total=10", "--stall=1", "bundle", str(source)],
                          input=stdin, capture_output=True, env=environ, timeout=TIMEOUT)
    err = done.stderr.decode()
    assert "Sanitizer" not in err and "runtime error" not in err, err
    return done.returncode, done.stdout.decode().splitlines(), err


def expect_good(result, boot_first=False):
    code, lines, err = result
    assert code == 0, err
    payloads = [line.split()[1:] for line in lines if line.startswith("payload ")]
    assert sorted(payloads) == sorted(
        [name, str(len(data)), hashlib.sha256(data).hexdigest()] for name, data in CONTENT.items())
    assert lines[-1].startswith("end ")
    if boot_first:
        assert payloads[0][0] == BOOT
        assert [line.split()[1] for line in lines[:2]] == [BOOT, SYSTEM]


def expect_bad(result, errno, *texts):
    code, lines, err = result
    assert code == 1 and f"error: {errno} " in err, err
    for text in texts:
        assert text in err
    return lines


@pytest.mark.parametrize("made", MADE)
def test_made(tmp_path, made):
    make, streamable = MADE[made]
    data = make(tmp_path)
    path = tmp_path / "bundle.zip"
    path.write_bytes(data)
    expect_good(run(path), boot_first=True)
    piped = run("-", stdin=data)
    with Server() as server:
        expect_good(run(server.put("/ranges", data)), boot_first=True)
        url = server.put("/plain", data, ranges=False, faults=[{"cut": 5000}])
        fetched = run(url)
    for result in (piped, fetched):
        if streamable:
            expect_good(result)
        else:
            expect_bad(result, "EOPNOTSUPP", "cannot be streamed", "stored without its size")


def test_fifo(tmp_path):
    path = tmp_path / "fifo"
    os.mkfifo(path)
    by_zip(tmp_path)
    with subprocess.Popen(["sh", "-c", "sleep 0.3; cat made.zip >fifo"], cwd=tmp_path):
        expect_good(run(path))


@pytest.mark.parametrize("path, errno", [("/nonexistent/bundle", "ENOENT"), ("/tmp", "EISDIR")])
def test_no_such_file(path, errno):
    expect_bad(run(path), errno, path)


def test_empty_stdin():
    expect_bad(run("-", stdin=b""), "EBADMSG", "'standard input' is empty")


@pytest.mark.parametrize("share", [0.1, 0.5, 0.9, 0.9999])
def test_truncated(tmp_path, share):
    data = by_zipfile()
    data = data[:int(len(data) * share)]
    path = tmp_path / "bundle.zip"
    path.write_bytes(data)
    expect_bad(run(path), "EBADMSG", "truncated")
    expect_bad(run("-", stdin=data), "EBADMSG", f"it ends at byte {len(data)}")
    with Server() as server:
        expect_bad(run(server.put("/b", data)), "EBADMSG", "truncated")


def test_encrypted(tmp_path):
    data = by_zip(tmp_path, "-P", "password")
    expect_bad(run(tmp_path / "made.zip"), "EOPNOTSUPP", "encrypted")
    expect_bad(run("-", stdin=data), "EOPNOTSUPP", "encrypted")


def test_other_method(tmp_path):
    data = by_zipfile(method=zipfile.ZIP_BZIP2)
    (tmp_path / "b.zip").write_bytes(data)
    assert not expect_bad(run(tmp_path / "b.zip"), "EOPNOTSUPP", "ZIP method 12")
    assert not expect_bad(run("-", stdin=data), "EOPNOTSUPP", "ZIP method 12")


def test_wrong_crc(tmp_path):
    data = bytearray(by_zipfile(method=zipfile.ZIP_STORED))
    data[1000] ^= 1
    (tmp_path / "b.zip").write_bytes(data)
    for result in (run(tmp_path / "b.zip"), run("-", stdin=bytes(data))):
        lines = expect_bad(result, "EBADMSG", BOOT, "CRC-32")
        assert not any(line.startswith("payload") for line in lines)


def test_web_page():
    with Server() as server:
        expect_bad(run(server.put("/b", b"<!DOCTYPE html><title>Log in</title>")), "EBADMSG",
                   "web page", server.url("/b"))


def test_seekable_requests():
    """The start, the directory, then the payloads: nothing is fetched that is not needed."""
    data = by_zipfile((SYSTEM, BOOT), method=zipfile.ZIP_STORED)
    with Server() as server:
        expect_good(run(server.put("/b", data)), boot_first=True)
        boot = data.index(b"PK\3\4", len(CONTENT[SYSTEM]))
        starts = [int(r[len("bytes="):-1]) for r in server.ranges()]
        assert len(starts) == 4
        assert starts[0] == 0 and boot < starts[1] < len(data) - 65_557 and starts[2:] == [boot, 0]


def test_broken_line_in_every_phase():
    data = by_zipfile((SYSTEM, BOOT))
    with Server() as server:
        url = server.put("/b", data, faults=[{"cut": 100}, {"cut": 50}, {"status": 503},
                                             {"cut": 10_000}, {"reset": True}, {"cut": 1}])
        expect_good(run(url), boot_first=True)


def test_bundle_replaced_between_directory_and_payload():
    data = by_zipfile((SYSTEM, BOOT), method=zipfile.ZIP_STORED)
    with Server() as server:
        url = server.put("/b", data, faults=[None, {"content": data[::-1], "etag": '"two"'}])
        expect_bad(run(url), "ESTALE", "changed while it was being downloaded")


def test_directory_that_lies_about_sizes(tmp_path):
    """Claims beyond the file are refused before anything is read."""
    data = bytearray(by_zipfile(method=zipfile.ZIP_STORED))
    central = data.index(b"PK\1\2")
    struct.pack_into("<II", data, central + 20, 0x7fffffff, 0x7fffffff)
    (tmp_path / "b.zip").write_bytes(data)
    assert not expect_bad(run(tmp_path / "b.zip"), "EBADMSG", "outside the bundle")
