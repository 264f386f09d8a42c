# SPDX-License-Identifier: Apache-2.0
"""`bundle create`: the format, reproducible bytes, other tools, what cannot be made, what is left
behind."""

import hashlib
import os
import re
import resource
import signal
import struct
import subprocess
import zipfile

import pytest
from bundles import (BOOT, CHUNK, DEFLATED, STORED, SYSTEM, ZSTD, Bundle, make_inputs,
                     make_signers, sha256, unframe)
from conftest import TIMEOUT
from make_uki import MACHINE_ARM64, build_uki, fake_arm64_image, fake_bzimage
from rss import PeakRss
from tree import MIB, uki

CREATED = "--created=2026-11-23T10:00:00Z"
METHODS = {"zstd": ZSTD, "deflate": DEFLATED, "none": STORED}


@pytest.fixture(scope="module")
def inputs(tmp_path_factory):
    return make_inputs(tmp_path_factory.mktemp("inputs"))


@pytest.fixture(scope="module")
def signers(tmp_path_factory):
    folder = tmp_path_factory.mktemp("signers")
    make_signers(folder)
    return folder


@pytest.fixture
def create(run, inputs, tmp_path):
    """create(*options) -> the path of the bundle."""
    def create(*options, name="bundle.zip", files=inputs[:2]):
        result = run("bundle", "create", "--compatible=acme", CREATED, *options, *files,
                     tmp_path / name)
        assert result.code == 0, result
        return tmp_path / name
    return create


def only(folder, *names):
    assert sorted(path.name for path in folder.iterdir()) == sorted(names)


# The format

@pytest.mark.parametrize("compress", METHODS)
@pytest.mark.parametrize("chunk_size", [CHUNK, 4096, MIB])
def test_what_a_bundle_holds(create, run, inputs, compress, chunk_size):
    path = create(f"--compress={compress}", f"--chunk-size={chunk_size}", "--epoch=7",
                  "--description=a text", "--not-after=2036-01-01T00:00:00Z")
    bundle = Bundle(path)
    assert bundle.names == ["manifest.json", f"{BOOT}.chunks", f"{SYSTEM}.chunks", BOOT, SYSTEM]
    contents = {BOOT: inputs[0].read_bytes(), SYSTEM: inputs[1].read_bytes()}
    assert bundle.manifest == {
        "format": 1, "compatible": "acme", "architecture": "x86-64", "version": "2.5", "epoch": 7,
        "created": "2026-11-23T10:00:00Z", "not_after": "2036-01-01T00:00:00Z",
        "description": "a text", "requires": [], "payloads": [
            {"role": role, "name": name, "size": len(contents[name]),
             "sha256": sha256(contents[name]), "chunk_size": chunk_size,
             "chunks_sha256": sha256(bundle.stored(f"{name}.chunks")),
             **({"verity": {"root_hash": inputs[2]}} if role == "system" else {})}
            for role, name in (("boot", BOOT), ("system", SYSTEM))]}
    for entry in bundle.entries:
        assert entry.flag_bits == 0 and entry.extra == b""
        assert entry.date_time == (2026, 11, 23, 10, 0, 0)
        assert entry.external_attr >> 16 == 0o100644
    for name, content in contents.items():
        assert bundle.entries[bundle.names.index(name)].compress_type == METHODS[compress]
        chunks, hints = bundle.chunks(name)
        assert len(hints) == -(-len(content) // 4096)
        for i, (length, digest, at) in enumerate(chunks):
            plain = content[i * chunk_size:(i + 1) * chunk_size]
            assert digest == hashlib.sha256(plain).digest()
            if i in (0, len(chunks) // 2, len(chunks) - 1):
                frame = bundle.data[at:at + length]
                assert unframe(METHODS[compress], frame) == plain
    assert run("bundle", "verify", path).code == 0


def test_hints_are_xxh3_of_blocks(create, inputs):
    """By the reference program, with a last block that is short."""
    content = inputs[0].read_bytes()
    assert len(content) % 4096 != 0
    hints = Bundle(create()).chunks(BOOT)[1]
    for i in (0, 3, len(hints) - 1):
        assert hints[i] == int(xxh3(content[i * 4096:(i + 1) * 4096]), 16)


def xxh3(data):
    done = subprocess.run(["xxhsum", "-H3"], input=data, stdout=subprocess.PIPE, check=True)
    return re.search(rb"[0-9a-f]{16}", done.stdout)[0]


def test_frames_state_their_size_and_have_no_checksum(create):
    bundle = Bundle(create("--compress=zstd"))
    for length, _, at in bundle.chunks(SYSTEM)[0]:
        assert bundle.data[at:at + 4] == struct.pack("<I", 0xFD2FB528)
        descriptor = bundle.data[at + 4]
        assert descriptor >> 5, "single segment or a content size"
        assert not descriptor & 0x07, "neither checksum nor dictionary"


# Reproducible

@pytest.mark.parametrize("compress", METHODS)
def test_the_same_input_gives_the_same_bytes(create, compress):
    first = create(f"--compress={compress}", "--threads=1").read_bytes()
    for i, threads in enumerate((1, 2, 3, 8)):
        again = create(f"--compress={compress}", f"--threads={threads}", name=f"{i}.zip")
        assert again.read_bytes() == first
    later = create(f"--compress={compress}", "--created=2026-11-23T10:00:02Z", name="later.zip")
    assert later.read_bytes() != first


def test_the_time_comes_from_source_date_epoch(run, inputs, environment, tmp_path, create):
    said = {**environment, "SOURCE_DATE_EPOCH": "1795428000"}
    words = ["bundle", "create", "--compatible=acme", *inputs[:2]]
    assert run(*words, tmp_path / "a.zip", env=said).code == 0
    assert (tmp_path / "a.zip").read_bytes() == create(name="b.zip").read_bytes()
    bad = run(*words, tmp_path / "c.zip", env={**said, "SOURCE_DATE_EPOCH": "soon"})
    assert bad.code == 2 and "SOURCE_DATE_EPOCH=soon" in bad.stderr


def test_a_signature_changes_nothing_else(create, signers):
    plain = Bundle(create())
    one = Bundle(create(f"--sign-key={signers}/ec.key", f"--sign-cert={signers}/ec.pem"))
    assert one.names == [plain.names[0], "manifest.p7s", *plain.names[1:]]
    assert all(one.raw(name) == plain.raw(name) for name in plain.names)


# Other tools

GO = """package main
import ("archive/zip"; "crypto/sha256"; "fmt"; "io"; "os")
func main() {
	r, err := zip.OpenReader(os.Args[1])
	if err != nil { panic(err) }
	for _, f := range r.File {
		h := sha256.New()
		in, err := f.Open()
		if err != nil { panic(err) }
		if _, err := io.Copy(h, in); err != nil { panic(err) }
		fmt.Printf("%x  %s\\n", h.Sum(nil), f.Name)
	}
}
"""


@pytest.mark.parametrize("compress", ["deflate", "none"])
def test_any_unzip_can_extract_it(create, inputs, tmp_path, compress):
    path = create(f"--compress={compress}")
    contents = {BOOT: inputs[0].read_bytes(), SYSTEM: inputs[1].read_bytes()}
    done = subprocess.run(["unzip", "-t", path], capture_output=True, text=True)
    assert done.returncode == 0 and "No errors" in done.stdout, done
    with zipfile.ZipFile(path) as archive:
        assert archive.testzip() is None
    for name, content in contents.items():
        unzip = subprocess.run(["unzip", "-p", path, name], capture_output=True, check=True)
        assert unzip.stdout == content and unzip.stderr == b""
        with zipfile.ZipFile(path) as archive:
            assert archive.read(name) == content
        tar = subprocess.run(["bsdtar", "-xOf", path, name], capture_output=True, check=True)
        assert tar.stdout == content


def test_go_can_extract_it(create, inputs, tmp_path):
    """Go is among what tools/setup installs: without it this fails, it is not skipped."""
    (tmp_path / "x.go").write_text(GO)
    done = subprocess.run(
        ["go", "run", tmp_path / "x.go", create("--compress=deflate")], capture_output=True,
        text=True, env={**os.environ, "GOCACHE": str(tmp_path / "cache"), "GO111MODULE": "off",
                        "HOME": str(tmp_path)})
    assert done.returncode == 0, done.stderr
    assert f"{sha256(inputs[0].read_bytes())}  {BOOT}\n" in done.stdout
    assert f"{sha256(inputs[1].read_bytes())}  {SYSTEM}\n" in done.stdout


def test_bsdtar_can_extract_zstd(create, inputs):
    path = create("--compress=zstd")
    for name, file in ((BOOT, inputs[0]), (SYSTEM, inputs[1])):
        tar = subprocess.run(["bsdtar", "-xOf", path, name], capture_output=True, check=True)
        assert tar.stdout == file.read_bytes()


# UKI and image belong together

def image_with(inputs, tmp_path, offset):
    """A copy with a flipped byte."""
    bad = bytearray(inputs[1].read_bytes())
    bad[offset] ^= 1
    (tmp_path / "bad.img").write_bytes(bad)
    return tmp_path / "bad.img"


@pytest.mark.parametrize("offset, code, says", [
    (0, 1, "the data block at byte 0 does not match its hash tree"),
    (5 * 4096 + 17, 1, "the data block at byte 20480 does not match its hash tree"),
    (2 * MIB + 4095, 1, "the data block at byte 2097152 does not match its hash tree"),
    # Superblock, then the tree's top, then its leaves.
    (2 * MIB + 4096 + 4096, 3, "do not belong together"),
    (2 * MIB + 4096 + 8192, 1, "the data block at byte 0 does not match its hash tree"),
    (2 * MIB + 4096 + 12288 + 32, 1, "the data block at byte 528384 does not match"),
])
def test_every_block_is_checked(run, inputs, tmp_path, offset, code, says):
    bad = image_with(inputs, tmp_path, offset)
    result = run("bundle", "create", "--compatible=acme", inputs[0], bad, tmp_path / "b.zip")
    assert result.code == code and says in result.stderr, result
    only(tmp_path, "bad.img")


def test_another_image_is_refused(run, inputs, tmp_path):
    other = make_inputs(tmp_path, size=MIB)
    result = run("bundle", "create", "--compatible=acme", inputs[0], other[1], tmp_path / "b.zip")
    assert result.code == 3 and "do not belong together" in result.stderr, result
    assert inputs[2] in result.stderr and other[2] in result.stderr
    assert not (tmp_path / "b.zip").exists()


def test_a_table_on_the_command_line_tells_where_the_tree_lies(run, tmp_path):
    """Without a superblock, and with a salt."""
    uki_file, data, root = make_inputs(tmp_path, size=MIB)
    whole = bytearray(data.read_bytes())
    whole[MIB:MIB + 512] = bytes(512)
    data.write_bytes(whole)

    def create(root):
        table = (f'dm-mod.create="root,,,ro,0 2048 verity 1 /dev/x /dev/x 4096 4096 256 257 '
                 f'sha256 {root} c0ffee"')
        uki_file.write_bytes(uki("1", cmdline=table.encode()))
        return run("bundle", "create", "--compatible=acme", uki_file, data, tmp_path / "b.zip")

    assert create(root).code == 0
    assert create(root[:-1] + ("0" if root[-1] != "0" else "1")).code == 3
    whole[MIB - 1] ^= 1
    data.write_bytes(whole)
    result = create(root)
    assert result.code == 1 and f"the data block at byte {MIB - 4096} " in result.stderr, result


def test_an_image_without_a_tree_is_said_not_to_be_checked(run, inputs, tmp_path):
    (tmp_path / "plain.img").write_bytes(inputs[1].read_bytes()[:MIB])
    words = ["bundle", "create", "--compatible=acme", inputs[0], tmp_path / "plain.img"]
    result = run(*words, tmp_path / "b.zip")
    assert result.code == 0 and "no hash tree was found" in result.stderr, result
    assert Bundle(tmp_path / "b.zip").payload(SYSTEM)["verity"] == {"root_hash": inputs[2]}


@pytest.mark.parametrize("size", [1, 511, 4096, 4097, 300_000])
def test_odd_sizes(run, tmp_path, size):
    (tmp_path / "u.efi").write_bytes(uki("1"))
    (tmp_path / "x.img").write_bytes(os.urandom(size))
    for compress in METHODS:
        out = tmp_path / f"{compress}.zip"
        result = run("bundle", "create", "--compatible=a", f"--compress={compress}",
                     tmp_path / "u.efi", tmp_path / "x.img", out)
        assert result.code == 0, result
        assert run("bundle", "verify", out).code == 0
        assert "verity" not in Bundle(out).payload(SYSTEM)


# What cannot be made

def words_that_fail(inputs, tmp_path):
    uki_file, data, _ = inputs
    files = [uki_file, data]
    (tmp_path / "empty").write_bytes(b"")
    (tmp_path / "text").write_text("not a UKI")
    (tmp_path / "versionless.efi").write_bytes(uki("1", osrel=None))
    (tmp_path / "hash.efi").write_bytes(uki(cmdline=b"roothash=" + b"a" * 64 + b" usrhash=none"))
    (tmp_path / "arm.efi").write_bytes(build_uki(
        [(".linux", fake_arm64_image(4096)), (".osrel", b"VERSION_ID=9\n")],
        machine=MACHINE_ARM64))
    (tmp_path / "long.efi").write_bytes(uki("1", cmdline=b"x" * 2100))
    (tmp_path / "half.efi").write_bytes(build_uki(
        [(".linux", fake_bzimage(8192)[:4096]), (".osrel", b"VERSION_ID=9\n")]))
    os.mkfifo(tmp_path / "pipe")
    with open(tmp_path / "huge", "wb") as file:
        file.truncate(32 << 30)
    out = tmp_path / "b.zip"
    ok = ["--compatible=acme"]
    return {
        "no compatible": ([*files, out], 2, "needs --compatible"),
        "empty compatible": (["--compatible=", *files, out], 2, "compatible"),
        "no such UKI": ([*ok, tmp_path / "missing", data, out], 1, "missing"),
        "no such image": ([*ok, uki_file, tmp_path / "missing", out], 1, "missing"),
        "not a UKI": ([*ok, tmp_path / "text", data, out], 1, "text"),
        "an empty image": ([*ok, uki_file, tmp_path / "empty", out], 1, "empty"),
        "a pipe": ([*ok, uki_file, tmp_path / "pipe", out], 1, "neither a file nor"),
        "a folder": ([*ok, uki_file, tmp_path, out], 1, "neither a file nor"),
        "no root hash": ([*ok, tmp_path / "hash.efi", data, out], 1, "the root hash 'none'"),
        "no version": ([*ok, tmp_path / "versionless.efi", data, out], 2, "states no version"),
        "a wrong architecture": (
            [*ok, "--architecture=arm64", *files, out], 2, "is for x86-64"),
        "a foreign architecture": (
            [*ok, "--architecture=x86-64", tmp_path / "arm.efi", data, out], 2, "is for arm64"),
        "no folder": ([*ok, *files, tmp_path / "none/b.zip"], 1, "none/b.zip"),
        "a folder to write": ([*ok, *files, tmp_path], 1, "no regular file"),
        "a device to write": ([*ok, *files, "/dev/null"], 1, "no regular file"),
        "over the image": ([*ok, uki_file, data, data], 2, "same file"),
        "over the UKI": ([*ok, uki_file, data, uki_file], 2, "same file"),
        "a level too high": ([*ok, "--level=23", *files, out], 2, "1 to 22"),
        "a level for deflate": (
            [*ok, "--compress=deflate", "--level=10", *files, out], 2, "1 to 9"),
        "level 0": ([*ok, "--level=0", *files, out], 2, "--level=0"),
        "a level for nothing": (
            [*ok, "--compress=none", "--level=9", *files, out], 2, "without compression"),
        "no level": ([*ok, "--level=high", *files, out], 2, "--level=high"),
        "an odd chunk size": ([*ok, "--chunk-size=33000", *files, out], 2, "33000"),
        "a small chunk size": ([*ok, "--chunk-size=2048", *files, out], 2, "2048"),
        "a large chunk size": ([*ok, "--chunk-size=2M", *files, out], 2, "2097152"),
        "no chunk size": ([*ok, "--chunk-size=big", *files, out], 2, "--chunk-size=big"),
        "chunk size 0": ([*ok, "--chunk-size=0", *files, out], 2, "--chunk-size=0"),
        "no threads": ([*ok, "--threads=0", *files, out], 2, "--threads=0"),
        "a wrong epoch": ([*ok, "--epoch=-1", *files, out], 2, "--epoch=-1"),
        "an epoch too large": (
            [*ok, f"--epoch={2**63}", *files, out], 2, f"--epoch={2**63}"),
        "an end in 1970": (
            [*ok, "--not-after=1970-01-01T00:00:00Z", *files, out], 2, "--not-after"),
        "a command line too long": ([*ok, tmp_path / "long.efi", data, out], 1, "at most"),
        "half a kernel": ([*ok, tmp_path / "half.efi", data, out], 1, "half.efi"),
        "a wrong time": ([*ok, "--created=yesterday", *files, out], 2, "--created=yesterday"),
        "a day that is none": (
            [*ok, "--created=2026-02-30T00:00:00Z", *files, out], 2, "2026-02-30"),
        "an end before the begin": (
            [*ok, CREATED, "--not-after=2026-11-23T09:59:59Z", *files, out], 2, "not-after"),
        "a wrong method": ([*ok, "--compress=lzma", *files, out], 2, "--compress=lzma"),
        "half a signer": ([*ok, "--sign-key=k", *files, out], 2, "--sign-cert"),
        "no such key": (
            [*ok, "--sign-key=/none.key", "--sign-cert=/none.pem", *files, out], 2, "/none."),
        "a map too large": (
            [*ok, "--chunk-size=4K", uki_file, tmp_path / "huge", out], 2, "larger chunks"),
        "a control character": ([*ok, "--version=1\n2", *files, out], 2, "version"),
        "a text too long": ([*ok, "--version=" + "1" * 200, *files, out], 2, "version"),
    }


def test_what_cannot_be_made(run, inputs, tmp_path):
    before = [(path, path.read_bytes()) for path in inputs[:2]]
    cases = words_that_fail(inputs, tmp_path)
    there = sorted(path.name for path in tmp_path.iterdir())
    for name, (words, code, says) in cases.items():
        result = run("bundle", "create", *words)
        assert result.code == code, (name, result)
        assert "make the bundle again" not in result.stderr, (name, result)
        assert result.stderr.startswith("bistable: ") and says in result.stderr, (name, result)
        only(tmp_path, *there)
    assert before == [(path, path.read_bytes()) for path in inputs[:2]]


def test_a_uki_for_another_machine(run, inputs, tmp_path):
    """Bundles are made where it suits."""
    arm = tmp_path / "arm.efi"
    arm.write_bytes(build_uki(
        [(".linux", fake_arm64_image(4096)), (".osrel", b"VERSION_ID=9\n")],
        machine=MACHINE_ARM64))
    (tmp_path / "x.img").write_bytes(bytes(5000))
    result = run("bundle", "create", "--compatible=a", "--json", arm, tmp_path / "x.img",
                 tmp_path / "b.zip")
    assert result.code == 0, result
    assert result.event("result")[0]["architecture"] == "arm64"
    assert Bundle(tmp_path / "b.zip").manifest["architecture"] == "arm64"


# What is said

def test_the_result(create, run, inputs, tmp_path):
    result = run("bundle", "create", "--compatible=acme", CREATED, "--version=3",
                 *inputs[:2], tmp_path / "b.zip")
    assert result.code == 0 and "not signed" in result.stdout and "acme 3" in result.stdout
    assert "system: " in result.stderr and "100 %" in result.stderr
    lines = run("bundle", "create", "--json", "--compatible=acme", CREATED, *inputs[:2],
                tmp_path / "b.zip")
    end = lines.event("result")[0]
    assert end["size"] == (tmp_path / "b.zip").stat().st_size
    assert (end["signed"], end["signer"], end["compression"]) == (False, None, "zstd")
    assert {event["phase"] for event in lines.event("progress")} == {"boot", "system"}
    assert [p["size"] for p in end["payloads"]] == [p.stat().st_size for p in inputs[:2]]


# What is left behind

def test_what_is_there_is_replaced_only_by_a_whole_bundle(create, run, inputs, tmp_path):
    path = create()
    old = path.read_bytes()
    bad = image_with(inputs, tmp_path, 2 * MIB)
    words = ["bundle", "create", "--compatible=acme", CREATED, inputs[0]]
    assert run(*words, bad, path).code == 1
    assert path.read_bytes() == old
    assert run(*words, "--version=9", inputs[1], path).code == 0
    assert path.read_bytes() != old
    only(tmp_path, path.name, "bad.img")


@pytest.fixture
def slow(inputs, tmp_path):
    """Words that take a while: 192 MiB at a high level."""
    uki_file = tmp_path / "u.efi"
    uki_file.write_bytes(uki("1"))
    with open(tmp_path / "big.img", "wb") as file:
        for i in range(64):
            file.write(os.urandom(MIB) + b"abcdefgh" * (MIB // 4))
    return ["bundle", "create", "--compatible=acme", "--level=12", "--json", uki_file,
            tmp_path / "big.img", tmp_path / "out/b.zip"]


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGINT, signal.SIGTERM])
def test_nothing_is_left_when_it_is_ended(start, slow, tmp_path, how):
    (tmp_path / "out").mkdir()
    process = start(*slow)
    for line in process.stdout:
        if b'"system"' in line:
            break
    process.send_signal(how)
    assert process.wait(timeout=TIMEOUT) == (-how if how == signal.SIGKILL else 1)
    only(tmp_path / "out")


@pytest.mark.parametrize("limit", [100, 70_000, 1 << 20])
def test_nothing_is_left_when_the_file_cannot_grow(run, inputs, tmp_path, limit):
    """At the spool or at the output: an error as of a full disk."""
    result = run("bundle", "create", "--compatible=acme", *inputs[:2], tmp_path / "b.zip",
                 preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit)))
    assert result.code == 1 and "cannot write" in result.stderr, result
    only(tmp_path)


def test_a_full_disk(run, inputs, tmp_path):
    """What was there stays."""
    disk = tmp_path / "disk"
    disk.mkdir()
    if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=3m", "none", disk]).returncode:
        pytest.skip("no right to mount")
    try:
        (disk / "b.zip").write_bytes(b"old")
        result = run("bundle", "create", "--compatible=acme", "--compress=none", *inputs[:2],
                     disk / "b.zip")
        assert result.code == 1 and "No space left" in result.stderr, result
        only(disk, "b.zip")
        assert (disk / "b.zip").read_bytes() == b"old"
    finally:
        subprocess.run(["umount", disk], check=True)


def test_memory_does_not_grow_with_the_image(start, environment, tmp_path):
    # AddressSanitizer keeps what was freed; OpenSSL takes and frees something for each digest.
    keep = ("quarantine_size_mb=1:thread_local_quarantine_size_kb=64"
            ":detect_stack_use_after_return=0")
    options = environment.get("ASAN_OPTIONS", "") + ":" + keep
    (tmp_path / "u.efi").write_bytes(uki("1"))
    peaks = {}
    for size in (128 * MIB, 1024 * MIB):
        with open(tmp_path / "x.img", "wb") as file:
            file.truncate(size)
        process = start("bundle", "create", "--compatible=a", "--threads=2", "--chunk-size=32K",
                        tmp_path / "u.efi", tmp_path / "x.img", tmp_path / "b.zip",
                        env={**environment, "ASAN_OPTIONS": options})
        watch = PeakRss(process.pid)
        _, stderr = process.communicate(timeout=TIMEOUT)
        assert process.returncode == 0, stderr
        peaks[size] = watch.stop()
    chunk_map = 1024 * MIB // CHUNK * 36 + 1024 * MIB // 4096 * 8
    assert peaks[1024 * MIB] - peaks[128 * MIB] < chunk_map + 8 * MIB
