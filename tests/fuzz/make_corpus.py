#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""Makes the seeds of the fuzz targets: OUT/<target>/<name>.

usage: make_corpus.py OUT

Good inputs, and some that are wrong in ways that a mutation would take long to find.
"""

import hashlib
import io
import json
import struct
import sys
import uuid
import warnings
import zipfile
import zlib
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path[:0] = [str(HERE), str(HERE.parent / "fixtures")]

import make_cms  # noqa: E402
import make_uki  # noqa: E402
import pe_image  # noqa: E402
import regressions  # noqa: E402

PLACEHOLDER = "root=PARTLABEL=SYSTEM-X"
BOOT, SYSTEM = "kernel_efi.efi", "verity_rootfs.img"
HASH = "0123456789abcdef" * 4
ESP = uuid.UUID("8a6cd1c4-0d64-4f0b-a3b3-5a5e1ea3bb1a")


def uki() -> dict[str, bytes]:
    kernel = make_uki.fake_bzimage(2048)
    signed = make_uki.fake_bzimage(2048, certificate=b"\xce" * 64)
    cmdline = (".cmdline", f"{PLACEHOLDER} quiet\n".encode())
    osrel = (".osrel", b"ID=test\nVERSION_ID='1 2'\nIMAGE_VERSION=\"7\\\"8\"\n")
    profiles = [
        (".linux", kernel),
        cmdline,
        (".profile", b"ID=main\n"),
        (".cmdline", b"profile SYSTEM-X SYSTEM-X"),
        (".profile", b"ID=other\n"),
        (".cmdline", b"other"),
    ]
    loaded = [(".linux", kernel), (".ucode", b"u" * 9), (".dtbauto", b"d"), (".pcrsig", b"{}")]
    build = make_uki.build_uki
    block = struct.pack("<IIHH", 0x1000, 12, 0xA008, 0)
    debug = struct.pack("<IIHHIIII", 0, 0, 0, 0, 2, 24, 0x1000, 0)
    resources = struct.pack("<12xHHII", 1, 0, 0x80000018, 0) + "\3HII".encode("utf-16-le")

    def with_directory(index: int, content: bytes) -> bytes:
        image = pe_image.PeImage(build([(".linux", kernel), cmdline, (".data", content)]))
        address = image.get(".data", "VirtualAddress")
        return bytes(image.set_directory(index, address, len(content)))

    return {
        "relocations": build([(".linux", kernel), cmdline, (".reloc", block)]),
        "debug": with_directory(pe_image.DEBUG, debug),
        "resources": with_directory(pe_image.RESOURCES, resources),
        "old-stub": build([(".linux", kernel), cmdline, (".sdmagic", b": systemd-stub 247.3 ")]
                          + [(f".x{i}", b"x") for i in range(95)]),
        "simple": make_uki.simple_uki(PLACEHOLDER, version="1", kernel_size=2048, initrd_size=64),
        "texts": build([cmdline, osrel, (".linux", kernel)]),
        "profiles": build(profiles),
        "not-for-kexec": build(loaded),
        "signed": build([(".linux", kernel)], certificate=b"\xce" * 64),
        "signed-kernel": build([(".linux", signed + bytes(512)), cmdline]),
        "long-cmdline": build([(".linux", kernel), (".cmdline", b"x" * 2100)]),
        "size-of-image": build([(".linux", kernel), cmdline], virtual_sizes={".linux": 0x4000}),
        "overlap": build([(".linux", kernel), cmdline], addresses={".cmdline": 0x1000}),
        "cut": build([(".linux", kernel)])[:-700],
        "kernel": kernel,
        "no-sections": build([]),
    }


def node(kind: int, subtype: int, body: bytes = b"") -> bytes:
    return struct.pack("<BBH", kind, subtype, 4 + len(body)) + body


def hard_drive(signature_type: int = 2) -> bytes:
    return node(4, 1, struct.pack("<IQQ16sBB", 1, 2048, 4096, ESP.bytes_le, 2, signature_type))


def file_node(path: str) -> bytes:
    return node(4, 4, path.encode("utf-16-le") + b"\0\0")


END = node(0x7F, 0xFF)


def devicepath() -> dict[str, bytes]:
    pci = node(2, 1, struct.pack("<II", 0x0A0341D0, 0)) + node(1, 1, b"\0\x1f")
    return {
        "file": hard_drive() + file_node("\\EFI\\metropolis\\boot-a.efi") + END,
        "two-files": hard_drive() + file_node("\\EFI\\") + file_node("boot\u00fc\U0001f600") + END,
        "full": pci + hard_drive() + file_node("\\a") + END,
        "mbr": hard_drive(1) + file_node("\\\\a\\\\b") + END,
        "instances": hard_drive() + node(0x7F, 1) + file_node("x") + END,
        "surrogate": node(4, 4, b"\x00\xd8a\0") + END,
        "odd": node(4, 4, b"\\\0a\0b") + END,
        "no-end": hard_drive(),
        "path": "/EFI//metropolis\\boot-a.efi".encode(),
        "long": ("/" + "ab/" * 400).encode(),
    }


def option(attributes: int, text: str, paths: bytes, optional: bytes = b"") -> bytes:
    return (
        struct.pack("<IH", attributes, len(paths))
        + (text + "\0").encode("utf-16-le")
        + paths
        + optional
    )


def loadopt() -> dict[str, bytes]:
    path = hard_drive() + file_node("\\EFI\\metropolis\\boot-a.efi") + END
    return {
        "ours": option(1, "Metropolis Slot A", path),
        "hidden": option(9, "UEFI Shell", path, b"optional data"),
        "several-paths": option(1, "x", path + path),
        "no-text": option(0, "", END),
        "no-path": option(1, "nothing", b""),
        "cut": option(1, "Slot", path)[:-8],
    }


def bootorder() -> dict[str, bytes]:
    def numbers(*values: int) -> bytes:
        return struct.pack(f"<{len(values)}H", *values)

    return {
        "few": numbers(3, 1, 0, 1, 2, 3),
        "twice": numbers(1, 2, 1, 2, 1, 2, 7),
        "unlisted": numbers(9, 2, 1, 2, 3),
        "mark-unlisted": numbers(9, 8, 1, 2, 3),
        "empty": numbers(1, 2),
        "full": numbers(2000, 5, *range(1024)),
        "over-full": numbers(2000, 5, *range(1025)),
        "name": b"Boot00aF",
    }


class Stream(io.RawIOBase):
    """Cannot seek: zipfile puts a data descriptor behind each entry."""

    def __init__(self):
        self.data = bytearray()

    def writable(self):
        return True

    def write(self, data):
        self.data += data
        return len(data)


def archive(entries, *, method=zipfile.ZIP_DEFLATED, stream=False, comment=b"") -> bytes:
    target = Stream() if stream else io.BytesIO()
    with zipfile.ZipFile(target, "w", method) as made:
        for name, data in entries:
            # Without a date of its own, so that the seeds are the same each time.
            info = zipfile.ZipInfo(name)
            info.compress_type = method
            made.writestr(info, data)
        made.comment = comment
    return bytes(target.data) if stream else target.getvalue()


def with_zip64_end(data: bytes) -> bytes:
    entries, size, offset = struct.unpack("<HII", data[-12:-2])
    start = len(data) - 22
    return (
        data[:start]
        + struct.pack("<IQHHIIQQQQ", 0x06064B50, 44, 45, 45, 0, 0, entries, entries, size, offset)
        + struct.pack("<IIQI", 0x07064B50, 0, start, 1)
        + struct.pack("<IHHHHIIH", 0x06054B50, 0, 0, 0xFFFF, 0xFFFF, 0xFFFFFFFF, 0xFFFFFFFF, 0)
    )


def damage(data: bytes, mark: bytes, distance: int) -> bytes:
    """One bit is wrong, `distance` bytes behind the first `mark`."""
    at = data.index(mark) + len(mark) + distance
    return data[:at] + bytes([data[at] ^ 4]) + data[at + 1 :]


def bundle() -> dict[str, bytes]:
    boot, system = make_uki.pattern(60, 1), b"system " * 40
    entries = [(BOOT, boot), (SYSTEM, system)]
    plain = archive(entries, method=zipfile.ZIP_STORED)
    return {
        "stored": plain,
        "deflated": archive(entries),
        "stream": archive(entries, stream=True),
        "stream-stored": archive(entries, method=zipfile.ZIP_STORED, stream=True),
        "reversed": archive(entries[::-1]),
        "more": archive([("README", b"hello"), *entries, ("folder/", b"")], comment=b"comment"),
        "more-stream": archive([("README", b"hello"), *entries], stream=True),
        "empty-payload": archive([(BOOT, b""), (SYSTEM, system)]),
        "zip64": with_zip64_end(plain),
        "bzip2": archive(entries, method=zipfile.ZIP_BZIP2),
        "damaged": damage(plain, SYSTEM.encode(), 9),
        "damaged-deflated": damage(archive(entries), SYSTEM.encode(), 0),
        "damaged-descriptor": damage(archive(entries, stream=True), b"PK\x07\x08", 1),
        "too-long": damage(archive(entries), b"PK\x03\x04", 18),
        "encrypted": plain.replace(b"PK\x03\x04\x14\0\0", b"PK\x03\x04\x14\0\x01"),
        "missing": archive(entries[:1]),
        "no-entries": archive([]),
        "cut": plain[:-30],
        "made-stored": make_uki.pattern(3000, 2) + b"\x40",
        "made-deflated": b"text " * 90 + b"\x41",
        "made-zip64": b"text " * 9 + b"\x07",
        "made-descriptor": b"text " * 90 + b"\x49",
        "made-bare-descriptor": make_uki.pattern(300, 3) + b"\x4d",
        "made-wide-descriptor": make_uki.pattern(70000, 4) + b"\x51",
        "made-bare-wide-descriptor": b"text " * 90 + b"\x15",
        "web-page": b"<!doctype html><title>Sign in</title>",
    }


def zip_records() -> dict[str, bytes]:
    plain = bundle()["more"]
    central = plain.index(b"PK\x01\x02")
    extra = struct.pack("<HHQQQ", 1, 24, 1 << 33, 1 << 34, 1 << 35)
    name = BOOT.encode()
    wide_local = struct.pack("<IHHHHHIIIHH", 0x04034B50, 45, 8, 8, 0, 33, 7, 0xFFFFFFFF,
                             0xFFFFFFFF, len(name), 20) + name + extra[:4] + extra[4:20]
    wide_central = struct.pack("<IHHHHHHIIIHHHHHII", 0x02014B50, 45, 45, 0, 8, 0, 33, 7,
                               0xFFFFFFFF, 0xFFFFFFFF, len(name), len(extra), 3, 0, 0, 0,
                               0xFFFFFFFF) + name + extra + b"bye"
    actual = struct.pack("<IQQ", 7, 100, 200)
    magic = b"PK\x07\x08"
    empty = archive([])
    return {
        "local": plain,
        "central": plain[central:],
        "end": plain[-29:],
        "end64": with_zip64_end(empty),
        "whole64": bundle()["zip64"],
        "wide-local": wide_local,
        "wide-central": wide_central,
        "descriptor": actual + magic + struct.pack("<III", 7, 100, 200) + b"PK\x01\x02",
        "descriptor-wide": actual + magic + actual + b"PK\x03\x04",
        "descriptor-bare": actual + struct.pack("<III", 7, 100, 200) + b"PK\x05\x06",
        "descriptor-bare-wide": actual + actual + b"PK\x06\x06",
    }


def cmdline() -> dict[str, bytes]:
    table = f"0 8 verity 1 /dev/a /dev/a 4096 4096 1 1 sha256 {HASH} abcd"
    lines = {
        "slot": "root=PARTLABEL=SYSTEM-A bistable.slot=A quiet",
        "pattern": "root=PARTLABEL=SYSTEM-B ro",
        "both": "root=PARTLABEL=SYSTEM-B x=PARTLABEL=SYSTEM-A",
        "quoted": '"bistable-slot=b" x="a b" ""',
        "bind": "root=PARTLABEL=SYSTEM-X SYSTEM-X",
        "root-hash": f"roothash={HASH} usrhash={HASH.upper()}",
        "systemd": f"roothash= rd.usrhash='{HASH[:40]}' systemd.verity_usr_options=hash-offset=4M",
        "flatcar": f"verity.usrhash={HASH}",
        "two-tables": f'dm-mod.create="r,,,ro,{table};u,,,ro,{table.replace(HASH, HASH[:40])}"',
        "table": f'dm-mod.create="verity,,,ro,{table};other,,,rw,0 8 linear /dev/c 0"',
        "table-salt": f'dm-mod.create="v,,3,ro,{table.replace("abcd", "-")} 1 ignore_zero_blocks"',
    }
    return {
        name: f"PARTLABEL=SYSTEM-%s\nSYSTEM-X\nSYSTEM-A\n{line}".encode()
        for name, line in lines.items()
    } | {
        "adjacent": b"x\nSYSTEM-X\nSYSTEM-A\nSYSTEM-XSYSTEM-X",
        "pattern-escapes": b"%%s%l%s\n\n\nx",
    }


def verity() -> dict[str, bytes]:
    def superblock(data_size: int, hash_size: int, blocks: int, salt: bytes) -> bytes:
        return struct.pack("<8sII16s32sIIQH6x256s168x", b"verity", 1, 1, ESP.bytes_le, b"sha256",
                           data_size, hash_size, blocks, len(salt), salt)

    return {
        "usual": superblock(4096, 4096, 5000, b"salt" * 8) + b"\x20",
        "one-block": superblock(512, 512, 1, b"") + b"\x40",
        "largest": superblock(512, 1 << 20, 1 << 54, b"x" * 256) + b"\x14",
        "too-large": superblock(4096, 4096, 1 << 60, b"") + b"\x20",
        "cut": superblock(4096, 4096, 1, b"")[:100],
    }


def state() -> dict[str, bytes]:
    content = {"size": 4096, "sha256": "ab" * 32}
    attempt = {"how": "reboot", "time": 1700000000, "boot_id": str(ESP), "outcome": "confirmed"}
    full = {
        "format": 1,
        "complete": True,
        "version": "1.2 \u00fc\U0001f600",
        "source": "https://example.org/b.zip",
        "installed": 1700000000,
        "payloads": [{"role": "boot", **content}, {"role": "system", **content}],
        "boot_file": content,
        "attempts": [attempt, {**attempt, "how": "kexec", "outcome": "pending"}],
        "confirmed": True,
        "cold_booted": True,
        "confirmation": 3,
        "repairs": 1,
        "bad": False,
        "removable_sha256": "cd" * 32,
        "duplicates_removed": True,
    }
    records = {
        "least": {"format": 1, "complete": False},
        "full": full,
        "many-attempts": {**full, "attempts": [attempt] * 12},
        "unknown-keys": {"format": 1, "complete": True, "colour": [1, 2.5, None, {"a": "b"}]},
        "negative": {"format": 1, "complete": True, "installed": -1},
        "controls": {"format": 1, "complete": True, "version": "\x01\t\x7f\"\\/"},
        "newer": {"format": 2},
        "wrong-types": {"format": 1, "complete": "yes"},
    }
    return {name: json.dumps(record).encode() for name, record in records.items()} | {
        "raw-utf8": json.dumps(full, ensure_ascii=False).encode()
    }


def ini() -> dict[str, bytes]:
    return {
        "usual": b"# comment\n[boot]\nbackend = firmware\n\n; other\n[esp]\nmount=/boot\n",
        "values": b"[a]\nx = 1 = 2 ; # y\ny=\n",
        "blanks": b"[ a ]\r\nx\t=\t1 \r\n\v\n",
        "no-section": b"x=1",
        "indented": b"[a]\nx=1\n y=2\n",
        "open": b"[a\n",
        "neither": b"[a]\nb\n",
    }


def config() -> dict[str, bytes]:
    everything = """
[system]
allow-unsigned = no
[slots]
placeholder = SYSTEM-X
bound = SYSTEM-%s
boot-file = /EFI/x/boot-%l.efi
description = Slot %s
cmdline-match = PARTLABEL=SYSTEM-%s
[partition.system]
device = PARTLABEL=SYSTEM-%s
[esp]
mount = /boot
remount = yes
partition-number = 1
start = 2048
size = 1000
partuuid = 8a6cd1c4-0d64-4f0b-a3b3-5a5e1ea3bb1a
[boot]
backend = firmware
removable-path = false
[activate]
default = kexec
kexec = no
[download]
connect-timeout = 5
stall-timeout = 6
total-timeout = 7
ca-file = /etc/ca.pem
client-cert = /etc/cert.pem
client-key = /etc/key.pem
header = X-Token: a
"""
    return {
        "all": everything.encode(),
        "empty": b"",
        "unknown-key": b"[boot]\nfront = x\n",
        "one-file-twice": b"[slots]\nboot-file = /EFI/x/boot.efi\n",
        "names": b"[slots]\nboot-file = /EFI/x/%s%l%%.d/x\nbound = %%\nplaceholder = %\n",
    }


def http_head() -> dict[str, bytes]:
    ok = b"HTTP/1.1 200 OK\r\nDate: Sun, 06 Nov 1994 08:52:37 GMT\r\n"
    return {
        "etag": ok + b'ETag: "abc"\r\nContent-Length: 100\r\n\r\n',
        "weak": ok + b'ETag: W/"abc"\r\n\r\n',
        "modified": ok + b"Last-Modified: Sun, 06 Nov 1994 08:49:37 GMT\r\n\r\n",
        "partial": b"HTTP/2 206\r\ncontent-range: bytes 10-99/100\r\n\r\n",
        "past-the-end": b"HTTP/2 206\r\ncontent-range: bytes 10-100/100\r\n\r\n",
        "unsatisfied": b"HTTP/1.1 416 Range\r\nContent-Range: bytes */100\r\n\r\n",
        "unknown-total": b"HTTP/1.1 206 x\r\nContent-Range: bytes 10-99/*\r\n\r\n",
        "busy": b"HTTP/1.1 503 x\r\nRetry-After: 120\r\n\r\n",
        "busy-date": ok + b"HTTP/1.1 503 x\r\nRetry-After: Sun, 06 Nov 1994 08:59:37 GMT\r\n\r\n",
        "redirect": b"HTTP/1.1 302 x\r\nLocation: https://example.org/b.zip?a=b\r\n\r\n" + ok,
        "twice": ok + b"ETag: \"a\"\r\nETag: \"b\"\r\nContent-Encoding: gzip\r\n",
        "long": ok + b"ETag: \"" + b"x" * 1100 + b"\"\r\n",
    }


def version() -> dict[str, bytes]:
    pairs = {
        "equal": "systemd-123\nsystemd-123",
        "numbers": "1.010\n1.9",
        "long": "18446744073709551616\n18446744073709551617",
        "marks": "123~rc1-1.a^post\n123-a.1^20160101",
        "separators": "1_2+3\n1.3.3",
        "zero": "0a\na",
        "words": "B\na",
        "minus": "aBB-\n1-_",
        "tilde": "1~\n1~_",
        "empty": "\n~",
        "not-ascii": "11\u03b1\n11\u03b2",
    }
    return {name: pair.encode() for name, pair in pairs.items()}


def manifest() -> dict[str, bytes]:
    def payload(role: str, name: str, **more) -> dict:
        return {"role": role, "name": name, "size": 17617761, "sha256": HASH, "chunk_size": 32768,
                "chunks_sha256": HASH[::-1], **more}

    boot, system = payload("boot", BOOT), payload("system", SYSTEM, verity={"root_hash": HASH})
    head = {"format": 1, "compatible": "acme-gateway", "architecture": "x86-64",
            "version": "2026.11.1", "epoch": 7, "created": "2026-11-23T10:00:00Z"}
    least = {**head, "payloads": [boot, system]}
    per_slot = [{**boot, "slot": "A"}, payload("boot", "other.efi", slot="B"), system]
    extra = payload("seed", "seed.img", optional=True)
    records = {
        "least": least,
        "full": {**head, "not_after": "2027-01-01T00:00:00Z", "description": "Gr\u00f6\u00dfer",
                 "requires": [], "payloads": [*per_slot, extra]},
        "unknown-keys": {**least, "deltas": [1.5, None, {"a": []}]},
        "newer": {**least, "format": 2},
        "requires": {**least, "requires": ["deltas"]},
        "unknown-role": {**head, "payloads": [boot, system, payload("data", "d")]},
        "same-name": {**head, "payloads": [boot, payload("system", BOOT)]},
        "same-role": {**head, "payloads": [boot, payload("boot", "b", slot="A"), system]},
        "map-name": {**head, "payloads": [boot, payload("system", BOOT + ".chunks")]},
        "largest": {**head, "payloads": [boot, {**system, "size": 1 << 40}]},
        "too-large": {**head, "payloads": [boot, {**system, "size": (1 << 40) + 1}]},
        "chunk-size": {**head, "payloads": [boot, {**system, "chunk_size": 49152}]},
        "no-payloads": {**head, "payloads": []},
    }
    return {name: json.dumps(record).encode() for name, record in records.items()} | {
        "indented": json.dumps(records["full"], indent=2, ensure_ascii=False).encode() + b"\n",
        "twice": json.dumps(least).replace('"epoch"', '"version": "2", "epoch"').encode(),
        "deep": b'{"format": 1, "a": ' + b"[" * 3000,
    }


def chunkmap() -> dict[str, bytes]:
    def made(size: int, chunk: int, length: int = 100, extra: bytes = b"") -> bytes:
        chunks, blocks = -(-size // chunk), -(-size // 4096)
        return (
            struct.pack("<QI", size, chunk)
            + struct.pack("<8sIIIIQQ", b"bistchnk", 1, 40, chunk, 4096, size, 0)
            + (struct.pack("<I", length) + b"\xab" * 32) * chunks
            + struct.pack("<Q", 0x1122334455667788) * blocks
            + extra
        )

    usual = made(100000, 32768)
    return {
        "usual": usual,
        "one-byte": made(1, 4096, 65),
        "aligned": made(65536, 4096, 4096),
        "longest": made(32768, 32768, 32768 + 128 + 64),
        "over-long": made(32768, 32768, 32768 + 128 + 65),
        "no-length": made(4096, 4096, 0),
        "other-size": struct.pack("<Q", 99999) + usual[8:],
        "largest": struct.pack("<QI", 1 << 40, 4096) + usual[12:],
        "too-large": struct.pack("<QI", (1 << 64) - 1, 4096) + usual[12:],
        "cut": usual[:-1],
        "longer": made(100000, 32768, extra=b"x"),
        "newer": usual.replace(b"bistchnk\1", b"bistchnk\2"),
    }


def cms() -> dict[str, bytes]:
    def pack(keyring: bytes, crls: bytes, content: bytes, signature: bytes, flags: int = 1):
        sizes = struct.pack("<HHHB", len(keyring), len(crls), len(content), flags)
        return sizes + keyring + crls + content + signature

    content = b'{"format": 1}\n'
    root = make_cms.certificate("Root", "Root", 1, ca=True)
    middle = make_cms.certificate("Middle", "Root", 2, ca=True)
    signer = make_cms.certificate("Signer", "Root", 3)
    deep = make_cms.certificate("Deep", "Middle", 4)
    old = make_cms.certificate("Old", "Root", 5, end="20270101000000Z")
    ring = make_cms.pem("CERTIFICATE", root)
    info = make_cms.signer_info(content, "Root", 3)
    good = make_cms.cms([info], [signer])
    plain = make_cms.signer_info(content, "Root", 3, attributes=False)
    by_old = make_cms.signer_info(content, "Root", 5)
    by_deep = make_cms.signer_info(content, "Middle", 4)

    def revoking(*serials: int) -> bytes:
        return make_cms.pem("X509 CRL", make_cms.crl("Root", *serials))

    return {
        "good": pack(ring, b"", content, good),
        "no-attributes": pack(ring, b"", content, make_cms.cms([plain], [signer])),
        "in-keyring": pack(ring + make_cms.pem("CERTIFICATE", signer), b"", content,
                           make_cms.cms([info], [])),
        "chain": pack(ring, b"", content, make_cms.cms([by_deep], [deep, middle])),
        "by-root": pack(ring, b"", content, make_cms.cms(
            [make_cms.signer_info(content, "Root", 1)], [root]), 0),
        "crl": pack(ring, revoking(9), content, good),
        "revoked": pack(ring, revoking(3, 9), content, good),
        "expired": pack(ring, b"", content, make_cms.cms([by_old], [old])),
        "unknown": pack(make_cms.pem("CERTIFICATE", signer) + ring, b"", content,
                        make_cms.cms([by_deep], [deep])),
        "no-root": pack(make_cms.pem("CERTIFICATE", signer), b"", content, good),
        "no-signer": pack(ring, b"", content, make_cms.cms([info], [])),
        "nobody": pack(ring, b"", content, make_cms.cms([], [signer])),
        "two": pack(ring, b"", content, make_cms.cms([info, plain], [signer])),
        "embedded": pack(ring, b"", content, make_cms.cms([info], [signer], embedded=content)),
        "other-kind": pack(ring, b"", content, make_cms.cms([info], [signer], kind=make_cms.DATA)),
        "other-content": pack(ring, b"", content + b"x", good),
        "trailing": pack(ring, b"", content, good + b"\0"),
        "cut": pack(ring, b"", content, good[:-9]),
    }


def frame() -> dict[str, bytes]:
    text = b"the quick brown fox " * 10

    def seed(method: int, last: int, size: int, data: bytes) -> bytes:
        return struct.pack("<BBH", method, last, size - 1) + data

    def deflate(flush: int) -> bytes:
        maker = zlib.compressobj(6, zlib.DEFLATED, -15)
        return maker.compress(text) + maker.flush(flush)

    # A single segment, its size in a byte, one last raw block.
    zstd = b"\x28\xb5\x2f\xfd\x20" + bytes([len(text)]) + struct.pack("<I", len(text) << 3 | 1)[:3]
    zstd += text
    return {
        "zstd": seed(0, 0, len(text), zstd),
        "zstd-longer": seed(0, 0, len(text), zstd + b"x"),
        "zstd-two": seed(0, 0, len(text), zstd + zstd),
        "zstd-shorter": seed(0, 0, len(text), zstd[:-1]),
        "zstd-other-size": seed(0, 0, len(text) - 1, zstd),
        "deflate": seed(1, 0, len(text), deflate(zlib.Z_FULL_FLUSH)),
        "deflate-last": seed(1, 1, len(text), deflate(zlib.Z_FINISH)),
        "deflate-not-last": seed(1, 0, len(text), deflate(zlib.Z_FINISH)),
        "deflate-longer": seed(1, 1, len(text), deflate(zlib.Z_FINISH) + b"x"),
        "stored": seed(2, 1, len(text), text),
        "stored-shorter": seed(2, 1, len(text), text[:-1]),
    }


def head() -> dict[str, bytes]:
    contents = {BOOT: make_uki.pattern(5000, 1), SYSTEM: b"system " * 1000}
    entries, payloads = [], []
    for role, (name, content) in zip(("boot", "system"), contents.items()):
        chunks = [content[i:i + 4096] for i in range(0, len(content), 4096)]
        chart = struct.pack("<8sIIIIQQ", b"bistchnk", 1, 40, 4096, 4096, len(content), 0)
        for chunk in chunks:
            chart += struct.pack("<I", len(chunk)) + hashlib.sha256(chunk).digest()
        chart += bytes(8 * len(chunks))
        entries.append((f"{name}.chunks", chart))
        payloads.append({
            "role": role, "name": name, "size": len(content), "chunk_size": 4096,
            "sha256": hashlib.sha256(content).hexdigest(),
            "chunks_sha256": hashlib.sha256(chart).hexdigest()})
    manifest = ("manifest.json", json.dumps({
        "format": 1, "compatible": "a", "architecture": "x86-64", "version": "1", "epoch": 0,
        "created": "2026-11-23T10:00:00Z", "requires": [], "payloads": payloads}).encode())
    signature = ("manifest.p7s", b"no signature")

    def make(*parts: tuple[str, bytes]) -> bytes:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of names that are there twice
            return archive(list(parts), method=zipfile.ZIP_STORED)

    good = make(manifest, *entries, *contents.items())
    return {
        "good": good,
        "signed": make(manifest, signature, *entries, *contents.items()),
        "more": make(manifest, ("README", b"hello"), *entries, *contents.items()),
        "no-maps": make(manifest, *contents.items()),
        "a-map-twice": make(manifest, entries[0], *entries, *contents.items()),
        "late-signature": make(manifest, *entries, signature, *contents.items()),
        "cut": good[:700],
        "cut-map": good[:good.index(b"bistchnk") + 100],
        "plain": make(*contents.items()),
    }


def receipt() -> dict[str, bytes]:
    records = manifest()
    signature = ("manifest.p7s", b"no signature" * 20)

    def make(content: bytes, *more: tuple[str, bytes], **how) -> bytes:
        return archive([("manifest.json", content), *more],
                       **{"method": zipfile.ZIP_STORED, **how})

    signed = make(records["full"], signature)
    return {
        "signed": signed,
        "unsigned": make(records["least"]),
        "indented": make(records["indented"], signature, ("README", b"hello")),
        "empty-signature": make(records["least"], ("manifest.p7s", b"")),
        "empty-manifest": make(b"", signature),
        "refused": make(records["requires"], signature),
        "deflated": make(records["least"], signature, method=zipfile.ZIP_DEFLATED),
        "stream": make(records["least"], signature, stream=True),
        "damaged": damage(signed, b"manifest.p7s", 9),
        "no-directory": signed[:signed.index(b"PK\x01\x02")],
        "cut": signed[:signed.index(b"PK\x01\x02") - 5],
        "turned": archive([signature, ("manifest.json", records["least"])],
                          method=zipfile.ZIP_STORED),
        "no-receipt": archive([]),
    }


def with_gap(data: bytes, gap: bytes) -> bytes:
    """Bytes that no entry has, before the central directory."""
    directory = struct.unpack("<I", data[-6:-2])[0]
    return (data[:directory] + gap + data[directory:-6]
            + struct.pack("<IH", directory + len(gap), 0))


def walk() -> dict[str, bytes]:
    good = head()["good"]
    entries = [("manifest.json", b"{}"), (BOOT, b"boot " * 9), ("empty", b""), (SYSTEM, b"s")]
    plain = archive(entries, method=zipfile.ZIP_STORED)
    names = zip_records()
    return {
        "good": good,
        "small": plain,
        "deflated": archive(entries),
        "comment": archive(entries, comment=b"comment"),
        "zip64": with_zip64_end(plain),
        "wide": names["wide-local"] + b"x" * 40,
        "stream": archive(entries, stream=True),
        "twice": head()["a-map-twice"],
        "one": archive(entries[:1]),
        "none": archive([]),
        "gap": with_gap(plain, b"x"),
        "gap-like-a-directory": with_gap(plain, b"PK\x01\x02 and more"),
        "two-directories": with_gap(plain, plain[plain.index(b"PK\x01\x02"):-22]),
        "end-in-comment": archive(entries, comment=archive([])),
        "other-name": plain[:-60] + plain[-60:].replace(SYSTEM.encode(), b"verity_rootfs.imG"),
        "encrypted": plain.replace(b"PK\x03\x04\x14\0\0", b"PK\x03\x04\x14\0\x01"),
        "masked-directory": plain.replace(b"PK\x01\x02\x14\x03\x14\0\0\0",
                                          b"PK\x01\x02\x14\x03\x14\0\0\x20"),
        "too-large": damage(plain, b"PK\x03\x04", 17),
        "cut": plain[:-30],
    }


TARGETS = {
    "uki": uki,
    "loadopt": loadopt,
    "devicepath": devicepath,
    "bootorder": bootorder,
    "zip": zip_records,
    "bundle": bundle,
    "cmdline": cmdline,
    "verity": verity,
    "state": state,
    "ini": ini,
    "config": config,
    "http_head": http_head,
    "version": version,
    "manifest": manifest,
    "chunkmap": chunkmap,
    "cms": cms,
    "frame": frame,
    "head": head,
    "receipt": receipt,
    "walk": walk,
}


def main() -> None:
    out = Path(sys.argv[1])
    for target, make in TARGETS.items():
        folder = out / target
        folder.mkdir(parents=True, exist_ok=True)
        for old in folder.iterdir():
            old.unlink()
        for name, data in make().items():
            (folder / name).write_bytes(data)
        for name, data in regressions.INPUTS.get(target, {}).items():
            (folder / f"regression-{name}").write_bytes(data)
    out.touch()


if __name__ == "__main__":
    main()
