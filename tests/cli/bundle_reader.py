# SPDX-License-Identifier: Apache-2.0
"""A reader of bundles of format 1, after docs/bundle-format.md alone. Python's standard library has
neither zstd nor XXH3: the programs `zstd` and `xxhsum` do that. No signature is verified."""
import hashlib
import json
import re
import struct
import subprocess
import tempfile
import zipfile
import zlib

STORED, DEFLATED, ZSTD = METHODS = 0, 8, 93


def need(condition, what):
    if not condition:
        raise ValueError(what)


def entries_of(data, path):
    """{name: (method, its bytes in the file, plain size, CRC-32)}, in the file's order."""
    found, at = {}, 0
    with zipfile.ZipFile(path) as archive:
        for info in archive.infolist():
            local = struct.unpack_from("<IHHHIIIIHH", data, at)
            begin = at + 30 + local[8] + local[9]
            need(info.header_offset == at and local[0] == 0x04034b50, f"a header at byte {at}")
            need(not (info.flag_bits | local[2]) & 0x2049, "no such flags")
            said = data[at + 30:at + 30 + local[8]].decode(), local[3], local[5]
            need(said == (info.filename, info.compress_type, info.CRC), "a fitting local header")
            at = begin + info.compress_size
            found[info.filename] = info.compress_type, data[begin:at], info.file_size, info.CRC
        need(at == archive.start_dir and len(found) == len(archive.infolist()), "gap, double name")
    return found


def stored(entries, name, most):
    method, data, size, crc = entries[name]
    need(method == STORED and 0 < len(data) == size <= most and zlib.crc32(data) == crc, name)
    return data


def unframe(method, frame, size, last):
    if method == ZSTD:
        single, width = frame[4] >> 5 & 1, (frame[4] >> 5 & 1, 2, 4, 8)[frame[4] >> 6]
        stated = int.from_bytes(frame[6 - single:6 - single + width], "little")
        need(frame[:4] == b"\x28\xb5\x2f\xfd" and not frame[4] & 3, "a frame without dictionary")
        need(width and stated + (256 if width == 2 else 0) == size, "the size in the frame")
        done = subprocess.run(["zstd", "-dcq"], input=frame, capture_output=True)
        need(done.returncode == 0, "a whole zstd frame")
        return done.stdout
    if method == DEFLATED:
        inflate = zlib.decompressobj(-15)
        frame = inflate.decompress(frame)
        need(inflate.eof == last and not inflate.unused_data, "the end of a deflate frame")
    return frame


def hints_of(plain):
    with tempfile.TemporaryDirectory() as folder:
        names = [str(at) for at in range(0, len(plain), 4096)]
        for name in names:
            with open(f"{folder}/{name}", "wb") as file:
                file.write(plain[int(name):int(name) + 4096])
        said = subprocess.check_output(["xxhsum", "-H3", *names], cwd=folder)
    return [int(hint, 16) for hint in re.findall(rb"[0-9a-f]{16}", said)]


def read_payload(entries, name, size, chunk_size, sha256, chunks_sha256, **_):
    count, blocks = -(-size // chunk_size), -(-size // 4096)
    table, whole, at = stored(entries, f"{name}.chunks", 256 << 20), b"", 0
    head = struct.pack("<8s4I2Q", b"bistchnk", 1, 40, chunk_size, 4096, size, 0)
    need(hashlib.sha256(table).hexdigest() == chunks_sha256.lower(), "chunk map: SHA-256")
    need(table[:40] == head and len(table) == 40 + 36 * count + 8 * blocks, "chunk map: header")
    method, data, stated, crc = entries[name]
    for i in range(count):
        length, digest = struct.unpack_from("<I32s", table, 40 + 36 * i)
        plain = min(chunk_size, size - i * chunk_size)
        need(1 <= length <= plain + plain // 256 + 64 and method in METHODS, f"chunk {i}: length")
        chunk = unframe(method, data[at:at + length], plain, i == count - 1)
        need(len(chunk) == plain and hashlib.sha256(chunk).digest() == digest, f"chunk {i}")
        whole, at = whole + chunk, at + length
    need(at == len(data) and (stated, crc) == (size, zlib.crc32(whole)), f"{name}: size, CRC-32")
    need(hashlib.sha256(whole).hexdigest() == sha256.lower(), f"{name}: SHA-256")
    need(hints_of(whole) == [*struct.unpack_from(f"<{blocks}Q", table, 40 + 36 * count)], "hints")
    return whole


def read_bundle(path):
    """({payload's name: its bytes}, the manifest). ValueError, zlib.error, IndexError: damaged."""
    entries = entries_of(path.read_bytes(), path)
    manifest = json.loads(stored(entries, "manifest.json", 256 << 10))
    order, payloads = [*entries], manifest["payloads"]
    maps_end = max(order.index(f"{payload['name']}.chunks") for payload in payloads)
    places = sorted((order.index(payload["name"]), payload["role"]) for payload in payloads)
    need(manifest["format"] == 1 and not manifest.get("requires"), "format 1")
    need(order[0] == "manifest.json" and "manifest.p7s" not in order[2:], "the first entries")
    need(maps_end < places[0][0] and places[0][1] == "boot", "maps, then boot, then the others")
    return {p["name"]: read_payload(entries, **p) for p in payloads}, manifest
