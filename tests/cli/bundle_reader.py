# SPDX-License-Identifier: Apache-2.0
"""Reads a bundle of format 1 and refuses a broken one: written from bundle-format.md alone.
read_bundle(path, keyring=None) -> ({payload name: plain bytes}, manifest); ValueError: why not.
entries_of(data, path) -> {name: (method, raw bytes, plain size, CRC-32)}, in the file's order."""
import hashlib, json, pathlib, re, struct, subprocess, tempfile, zlib
TEXT, SHA, TIME = r'"(\\["\\]|[^\\\x7f-\x9f]){1,128}"', '"[0-9a-fA-F]{64}"', r'"[-T:0-9]{19}Z"'
TOP = {"format": "1", "requires": r"(\[\])?", "compatible": TEXT, "architecture": TEXT,
       "version": TEXT, "epoch": r"\d+", "created": TIME, "not_after": f"({TIME})?",
       "description": f"({TEXT})?".replace("128", "4096"), "payloads": r"\[\{.*\}\]"}
NAME = r'"(?!\.|manifest\.(json|p7s)")[A-Za-z0-9._+-]{1,64}(?<!\.chunks)"'
PAYLOAD = {"role": '"[a-z0-9-]{1,15}"', "name": NAME, "size": r"[1-9]\d{0,12}", "sha256": SHA,
           "chunk_size": "4096|8192|16384|32768|65536|131072|262144|524288|1048576",
           "chunks_sha256": SHA, "slot": '|"[AB]"', "optional": "|true|false", "verity": r"|\{.*\}"}
VERIFY = """openssl cms -verify -binary -inform DER -content "$1" -in "$2" -purpose any \
    -CAfile "$0" -certfile "$0" -no-CApath -no-CAstore -auth_level 2 -verify_depth 8"""
def need(ok, why):
    if not ok: raise ValueError(why)
def unpack(form, data, at, magic=b""):
    good = at + struct.calcsize(form) <= len(data) and data[at:at + len(magic)] == magic
    return struct.unpack_from(form, data, at) if good else need(0, f"no {form} {magic} at {at}")
def tail_of(data, at, n, e):  # n bytes before at: the name, and e of extra fields, which it checks
    while e:
        ident, size = unpack("<HH", data[at - e:at], 0)
        need(ident != 1 and 4 + size <= e, "extra field: cut off, or ZIP64 (left out here)")
        e -= 4 + size
    return data[at - n:at]
def entries_of(data, path):
    at, entries, heads = 0, {}, []
    while data[at:at + 4] == b"PK\3\4":
        flags, method, crc, packed, plain, n, e = unpack("<6xHH4xIIIHH", data, begin := at)
        at += 30 + n + e + packed
        raw, name = data[at - packed:at], tail_of(data, at - packed, n + e, e)[:n].decode("latin-1")
        need(at <= len(data) and not flags & 0x2049 and 1 <= n <= 4096 and "\0" not in name and name
             not in entries and (method or (packed, zlib.crc32(raw)) == (plain, crc)), f"{name!r}")
        entries[name] = method, raw, plain, crc
        heads.append((name, method, crc, packed, plain, begin))
    top = at
    for head in heads:
        flags, *same, n, e, c, disk, place = unpack("<8xHH4xIIIHHHH6xI", data, at, b"PK\1\2")
        at += 46 + n + e + c
        name = tail_of(data, at - c, n + e, e)[:n].decode("latin-1")
        need((name, *same, place) == head and not flags & 0x2041 and not disk % 65535, "directory")
    *end, comment = unpack("<4xHHHHIIH", data, at, b"PK\5\6")
    need([*end, at + 22 + comment] == [0, 0, *[len(heads)] * 2, at - top, top, len(data)], "end")
    return entries
def each_file(blobs, suffix, *commands):  # their outputs, and what they left without the suffix
    with tempfile.TemporaryDirectory() as folder:
        files = [pathlib.Path(folder, f"{i}x{suffix}") for i in range(len(blobs))]
        for file, blob in zip(files, blobs): file.write_bytes(blob)
        out = [subprocess.check_output([*c, *files], stderr=subprocess.DEVNULL) for c in commands]
        return b"".join(out).decode(), [file.with_suffix("").read_bytes() for file in files]
def inflated(frame, size, last):
    z = zlib.decompressobj(-15)
    out, ended = z.decompress(frame, size + 1), z.eof
    more = b"" if last else z.decompress(b"\1\0\0\xff\xff")  # fits only behind the end of a block
    return need(ended == last and z.eof and not z.unused_data + z.unconsumed_tail + more, 8) or out
def plain_chunks(method, frames, sizes):
    if method == 8: return [inflated(f, s, f is frames[-1]) for f, s in zip(frames, sizes)]
    if method == 0: return frames
    need(method == 93 and all(f[4:] and f[4] & 0xE0 for f in frames), "method, or no content size")
    listing, plain = each_file(frames, ".zst", ("zstd", "-l"), ("zstd", "-dqf"))
    return need(len(re.findall("(?m)^ *1 +0 .*zst *$", listing)) == len(frames), "frames") or plain
def payload_of(entries, /, name, size, chunk_size, sha256, chunks_sha256, **_):
    (method, raw, plain, crc), (stored, table, *_) = entries[name], entries[name + ".chunks"]
    sha, cut = lambda data: hashlib.sha256(data).digest(), 40 - 36 * (-size // chunk_size)
    need(not stored and len(table) == cut - 8 * (-size // 4096) <= 2**28, f"{name}: map's size")
    head = struct.pack("<8s4IQQ", b"bistchnk", 1, 40, chunk_size, 4096, size, 0)
    need(table[:40] == head and sha(table).hex() == chunks_sha256.lower(), f"{name}: map")
    lengths, digests = zip(*struct.iter_unpack("<I32s", table[40:cut]))
    sizes = [min(chunk_size, size - i) for i in range(0, size, chunk_size)]
    need(all(1 <= n <= s + s // 256 + 64 for n, s in zip(lengths, sizes)), f"{name}: a length")
    chunks = plain_chunks(method, struct.unpack("".join(f"{n}s" for n in lengths), raw), sizes)
    need([(len(c), sha(c)) for c in chunks] == [*zip(sizes, digests)], f"{name}: chunk's SHA-256")
    data = b"".join(chunks)
    need((sha(data).hex(), zlib.crc32(data), size) == (sha256.lower(), crc, plain), "digest, CRC")
    out, _ = each_file([data[i:i + 4096] for i in range(0, size, 4096)], "", ("xxhsum", "-H3"))
    hints = b"".join(bytes.fromhex(h)[::-1] for h in re.findall("(?m)= ([0-9a-f]{16})$", out))
    return need(hints == table[cut:], f"{name}: hints") or data
def unique(items):
    return need(len(dict(items)) == len(items), "manifest: a key stands twice") or dict(items)
def checked(thing, rules):  # each value as json.dumps writes it, "" when it is missing
    for k, rule in rules.items():
        need(re.fullmatch(rule, json.dumps(thing[k], ensure_ascii=False) if k in thing else ""), k)
def read_bundle(path, keyring=None):
    names = [*(entries := entries_of(pathlib.Path(path).read_bytes(), path))]
    head = [entries[n] for n in ("manifest.json", "manifest.p7s") if n in names[:2]]
    need(names[:1] == ["manifest.json"] and "manifest.p7s" not in names[2:] and all(
         h[0] == 0 and 1 <= h[2] <= most for h, most in zip(head, (2**18, 2**16))), "head")
    try:
        if keyring: each_file([h[1] for h in head], "", ("sh", "-c", VERIFY, keyring))
        checked(manifest := json.loads(head[0][1].decode(), object_pairs_hook=unique), TOP)
        for p in (payloads := manifest["payloads"]): checked(p, PAYLOAD)
        boots, rest = ([p for p in payloads if (p["role"] == "boot") == b] for b in (True, False))
        maps, boot, other = ([names.index(p["name"] + end) for p in ps] for ps, end in (
            (payloads, ".chunks"), (boots, ""), (rest, "")))
        need(max(maps) < min(boot) and max(boot) < min(other), "order of the payloads' entries")
        need(sorted(p.get("slot", "") for p in boots) in ([""], ["A"], ["B"], ["A", "B"]), "slots")
        need(len({p["role"] for p in rest} | {"system"}) == len(rest) and all("slot" not in p and (
             p["role"] == "system" or p.get("optional")) for p in rest), "roles")
        return {p["name"]: payload_of(entries, **p) for p in payloads}, manifest
    except Exception as error: raise ValueError(str(error)[:200]) from error
