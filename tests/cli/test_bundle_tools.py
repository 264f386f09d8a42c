# SPDX-License-Identifier: Apache-2.0
"""`bundle inspect`, `bundle verify`, `bundle sign`."""

import json
import struct
import zipfile

import pytest
from bundles import BOOT, SYSTEM, Bundle, make_inputs, make_signers, sha256
from make_bundle import make
from make_zip import Entry, make_zip
from tree import noise, uki

CREATED = "--created=2026-11-23T10:00:00Z"


@pytest.fixture(scope="module")
def signers(tmp_path_factory):
    folder = tmp_path_factory.mktemp("signers")
    make_signers(folder)
    return folder


@pytest.fixture(scope="module")
def inputs(tmp_path_factory):
    return make_inputs(tmp_path_factory.mktemp("inputs"), size=300 * 4096)


@pytest.fixture
def create(run, inputs, tmp_path):
    def create(*options, name="bundle.zip", files=inputs[:2]):
        result = run("bundle", "create", "--compatible=acme", CREATED, *options, *files,
                     tmp_path / name)
        assert result.code == 0, result
        return tmp_path / name
    return create


@pytest.fixture
def signed(create, signers):
    return create(f"--sign-key={signers}/ec.key", f"--sign-cert={signers}/ec.pem")


# inspect

def test_inspect_in_json(run, create, inputs):
    path = create("--epoch=7", "--description=for \"you\"", "--not-after=2036-01-01T00:00:00Z")
    result = run("bundle", "inspect", "--json", path)
    assert result.code == 0 and result.stderr == "", result
    bundle, document = Bundle(path), result.document
    payloads = document.pop("payloads")
    assert document == {
        "schema": 1, "compatible": "acme", "architecture": "x86-64", "version": "2.5", "epoch": 7,
        "description": "for \"you\"", "created": 1795428000, "not_after": 2082758400,
        "requires": [], "compression": "zstd", "size": path.stat().st_size, "signed": False,
        "signer": None}
    for payload, name, file in zip(payloads, (BOOT, SYSTEM), inputs):
        begin, end = bundle.place(name)
        assert payload == {
            "role": "boot" if name == BOOT else "system", "name": name,
            "size": file.stat().st_size, "compressed": end - begin,
            "sha256": sha256(file.read_bytes()), "chunk_size": 32768,
            "chunks": -(-file.stat().st_size // 32768), "slot": None, "optional": False,
            "root_hash": inputs[2] if name == SYSTEM else None}


def test_inspect_for_people(run, signed, signers):
    said = run("bundle", "inspect", signed).stdout
    for words in ("acme", "2.5", "x86-64", "2026-11-23 10:00:00 UTC", BOOT, SYSTEM, "zstd",
                  "not verified"):
        assert words in said
    said = run("bundle", "inspect", f"--keyring={signers}/root.pem", signed).stdout
    assert "good, by" in said and "ec signer" in said


def test_inspect_reads_only_the_head(run, create, tmp_path):
    """Also of what cannot seek; what lies behind it may be missing or damaged."""
    path = create()
    begin = Bundle(path).place(BOOT)[0]
    expected = run("bundle", "inspect", "--json", path).document
    head = path.read_bytes()[:begin]
    for junk in (b"", bytes(100_000)):
        (tmp_path / "head").write_bytes(head + junk)
        assert run("bundle", "inspect", "--json", tmp_path / "head").document == {
            **expected, "size": begin + len(junk)}
        piped = run("bundle", "inspect", "--json", "-", input=head + junk)
        assert piped.document == {**expected, "size": None}
    result = run("bundle", "inspect", "-", input=head[:-1])
    assert result.code == 1 and "truncated" in result.stderr, result


STRIDE = 256 << 10


def ranges(web):
    found = []
    for request in web.requests:
        first, last = request["headers"]["range"].removeprefix("bytes=").split("-")
        found.append((int(first), int(last)))
    return found


@pytest.mark.parametrize("chunk_size", ["32K", "4K"])
def test_inspect_fetches_only_the_head(run, create, inputs, tmp_path, web, chunk_size):
    """Also when the head is large enough to be read ahead of: counted at the server."""
    with open(tmp_path / "big.img", "wb") as file:
        file.write(noise(8 << 20, "big"))
        file.truncate((8 if chunk_size == "32K" else 160) << 20)
    (tmp_path / "u.efi").write_bytes(uki("1"))
    path = create(f"--chunk-size={chunk_size}", files=(tmp_path / "u.efi", tmp_path / "big.img"))
    head = Bundle(path).place(BOOT)[0]
    assert head < STRIDE if chunk_size == "32K" else head > 6 * STRIDE
    result = run("bundle", "inspect", "--json", web.put("/b.zip", path.read_bytes()))
    assert result.code == 0, result
    assert result.document == run("bundle", "inspect", "--json", path).document
    count = -(-head // STRIDE)
    assert ranges(web) == [(i * STRIDE, (i + 1) * STRIDE - 1) for i in range(count)]
    assert len({request["port"] for request in web.requests}) == 1, "one connection"


@pytest.mark.parametrize("patch", [{"ranges": False}, {"etag": None}, {"chunked": True}])
def test_inspect_of_servers_that_know_less(run, create, web, tmp_path, patch):
    """Without ranges, without a validator to put pieces together, without a length."""
    with open(tmp_path / "big.img", "wb") as file:
        file.write(noise(9 << 20, "big"))
    (tmp_path / "u.efi").write_bytes(uki("1"))
    path = create("--chunk-size=4K", files=(tmp_path / "u.efi", tmp_path / "big.img"))
    known = run("bundle", "inspect", "--json", path).document
    result = run("bundle", "inspect", "--json", web.put("/b.zip", path.read_bytes(), **patch))
    assert result.code == 0, result
    assert {**result.document, "size": 0} == {**known, "size": 0}


def test_inspect_of_a_bundle_that_changes(run, create, web, tmp_path):
    """Between two requests: never put together."""
    with open(tmp_path / "big.img", "wb") as file:
        file.write(noise(24 << 20, "big"))
    (tmp_path / "u.efi").write_bytes(uki("1"))
    path = create("--chunk-size=4K", files=(tmp_path / "u.efi", tmp_path / "big.img"))
    data = path.read_bytes()
    url = web.put("/b.zip", data, faults=[None, {"content": data[::-1], "etag": '"two"'}])
    result = run("bundle", "inspect", url)
    assert result.code == 1 and "changed" in result.stderr, result


def test_a_plain_bundle_is_told_from_one(run, bundle_file):
    for command in ("inspect", "verify", "sign"):
        options = ["--key=k", "--cert=c"] if command == "sign" else []
        result = run("bundle", command, *options, bundle_file)
        assert result.code == 1 and "plain bundle" in result.stderr, result


# verify

def patch(path, changes):
    data = bytearray(path.read_bytes())
    for offset, value in changes:
        data[offset:offset + len(value)] = value
    path.write_bytes(data)


def flip(bundle, offset):
    return [(offset, bytes([bundle.data[offset] ^ 1]))]


def damage(bundle):
    """{what: (changes, what is said)}"""
    chunks = bundle.chunks(SYSTEM)[0]
    middle = chunks[len(chunks) // 2]
    chart = bundle.place(f"{SYSTEM}.chunks")[0]
    entries = {entry.filename: entry.header_offset for entry in bundle.entries}
    directory = bundle.data.index(b"PK\1\2")
    return {
        "a byte of a frame": (flip(bundle, middle[2] + middle[0] // 2),
                              f"'{SYSTEM}', chunk {len(chunks) // 2} ({middle[0]} bytes at byte "
                              f"{middle[2]})"),
        "the last byte of the last frame": (
            flip(bundle, bundle.place(SYSTEM)[1] - 1), f"chunk {len(chunks) - 1}"),
        "a boot file's byte": (flip(bundle, bundle.place(BOOT)[0] + 700), f"'{BOOT}', chunk 0"),
        "a digest in a chunk map": (flip(bundle, chart + 50), "CRC-32"),
        "the manifest": (flip(bundle, bundle.place("manifest.json")[0] + 30), "CRC-32"),
        "a CRC in a local header": (
            flip(bundle, entries[SYSTEM] + 14), "a different CRC-32"),
        "a method in a local header": (
            flip(bundle, entries[SYSTEM] + 8), "a different method"),
        "a name in the directory": (
            flip(bundle, bundle.data.index(SYSTEM.encode(), directory)), "a different name"),
        "a size in the directory": (flip(bundle, directory + 24), "a different size"),
        "the place of an entry": (flip(bundle, directory + 42), "begins at byte 1"),
        "the end record": (flip(bundle, len(bundle.data) - 22), "no ZIP end record"),
    }


@pytest.mark.parametrize("compress", ["zstd", "deflate", "none"])
def test_verify_says_what_is_damaged_where(run, create, compress):
    path = create(f"--compress={compress}")
    whole, bundle = path.read_bytes(), Bundle(path)
    for what, (changes, says) in damage(bundle).items():
        path.write_bytes(whole)
        patch(path, changes)
        result = run("bundle", "verify", path)
        assert result.code == 1 and says in result.stderr, (what, result)
        assert str(path) in result.stderr or "bundle.zip" in result.stderr
    for size in (0, 1, 100, len(whole) // 2, len(whole) - 1):
        path.write_bytes(whole[:size])
        result = run("bundle", "verify", path)
        assert result.code == 1 and str(path) in result.stderr, (size, result)
    path.write_bytes(whole + b"x")
    assert "follow its end" in run("bundle", "verify", path).stderr


def rebuild(bundle, changes=None, order=None, frames=None, extra=()):
    """The bundle again with other contents, and all digests of the chunk maps and of the manifest
    made to fit: what somebody with the key could have signed. `changes` are of the manifest."""
    contents = {name: bundle.raw(name) for name in bundle.names}
    contents.update(frames or {})
    manifest = json.loads(json.dumps(bundle.manifest))
    for payload in manifest["payloads"]:
        payload["chunks_sha256"] = sha256(contents[payload["name"] + ".chunks"])
    (changes or (lambda manifest: None))(manifest)
    contents["manifest.json"] = json.dumps(manifest).encode()
    plain = {entry.filename: entry for entry in bundle.entries}
    entries = []
    for name in order or bundle.names:
        same = {}
        if plain[name].compress_type:
            same = {field: {"crc": plain[name].CRC, "size": plain[name].file_size}
                    for field in ("local", "central")}
        entries.append(Entry(name, contents[name], method=plain[name].compress_type,
                             data=contents[name], **same))
    return make_zip(*entries, *extra)


def chart(bundle, name, change):
    """The chunk map with its records changed: change(lengths, digests, hints)."""
    chunks, hints = bundle.chunks(name)
    lengths, digests, hints = [c[0] for c in chunks], [c[1] for c in chunks], list(hints)
    change(lengths, digests, hints)
    records = b"".join(struct.pack("<I", n) + d for n, d in zip(lengths, digests))
    return bundle.raw(f"{name}.chunks")[:40] + records + struct.pack(f"<{len(hints)}Q", *hints)


def wrong_chart(bundle, change):
    return {f"{SYSTEM}.chunks": chart(bundle, SYSTEM, change)}


def longer_frame(bundle):
    """A byte behind the second frame, which the chunk map counts."""
    lengths = [c[0] for c in bundle.chunks(SYSTEM)[0]]
    at = lengths[0] + lengths[1]
    raw = bundle.raw(SYSTEM)
    return {SYSTEM: raw[:at] + b"\0" + raw[at:],
            **wrong_chart(bundle, lambda lengths, d, h: lengths.__setitem__(1, lengths[1] + 1))}


def test_verify_finds_bytes_that_belong_to_no_entry(run, create):
    path = create()
    bundle = Bundle(path)
    entries = [Entry(entry.filename, data=bundle.raw(entry.filename), method=entry.compress_type,
                     **{field: {"crc": entry.CRC, "size": entry.file_size}
                        for field in ("local", "central")}) for entry in bundle.entries]
    for where, says in (({}, None), ({"between": b"junk"}, "the last entry ends at byte"),
                        ({"before": b"junk"}, "no ZIP header at byte 0")):
        path.write_bytes(make_zip(*entries, **where))
        result = run("bundle", "verify", path)
        assert result.code == (1 if says else 0) and (says or "") in result.stderr, result


def swap(items):
    items[0], items[1] = items[1], items[0]


def test_verify_finds_what_somebody_with_the_key_got_wrong(run, create, tmp_path):
    bundle = Bundle(create())
    names = bundle.names
    other = tmp_path / "other.zip"

    def payload(change):
        return {"changes": lambda manifest: change(manifest["payloads"][1])}

    cases = {
        "nothing": ({}, None),
        "a hint": ({"frames": wrong_chart(bundle, lambda n, d, h: h.__setitem__(9, 1))},
                   "hint for block 9"),
        "chunks swapped": ({"frames": wrong_chart(bundle, lambda n, d, h: swap(d))},
                           f"'{SYSTEM}', chunk 0"),
        "bytes behind a frame": ({"frames": longer_frame(bundle)}, "1 bytes follow the end"),
        "lengths that leave a rest": (
            {"frames": wrong_chart(bundle, lambda n, d, h: n.__setitem__(0, n[0] - 1))},
            "compressed); manifest and chunk map say"),
        "a digest of the whole": (payload(lambda p: p.update(sha256="0" * 64)),
                                  f"'{SYSTEM}' does not have the SHA-256"),
        "a digest of a map": (payload(lambda p: p.update(chunks_sha256="0" * 64)),
                              "does not have the SHA-256 that the manifest gives"),
        "another size": (payload(lambda p: p.update(size=p["size"] + 32768)), ".chunks' has"),
        "the image first": ({"order": [*names[:3], SYSTEM, BOOT]}, "lies behind another payload"),
        "the manifest second": ({"order": [names[1], names[0], *names[2:]]}, "no 'manifest.json'"),
        "a map too late": ({"order": [names[0], names[1], BOOT, names[2], SYSTEM]},
                           "no chunk map"),
        "an image missing": ({"order": names[:4]}, "is missing"),
        "two manifests": ({"order": [names[0], *names]}, "second 'manifest.json'"),
        "a late signature": ({"extra": [Entry("manifest.p7s", b"x", method=0)]},
                             "is not the second entry"),
        "an unknown entry": ({"extra": [Entry("README", b"hello", method=0)]}, None),
        "a descriptor": ({"extra": [Entry("README", b"hello", descriptor=True)]}, "descriptor"),
        "another architecture": ({"changes": lambda m: m.update(architecture="arm64")},
                                 "is for x86-64, the manifest says arm64"),
    }
    for what, (arguments, says) in cases.items():
        other.write_bytes(rebuild(bundle, **arguments))
        result = run("bundle", "verify", other)
        if says is None:
            assert result.code == 0, (what, result)
        else:
            assert result.code == 1 and says in result.stderr, (what, result)


def test_verify_names_a_method_that_it_does_not_know(run, create):
    path = create()
    data = bytearray(path.read_bytes())
    for entry in Bundle(path).entries:
        if entry.filename == SYSTEM:
            data[entry.header_offset + 8] = 12  # bzip2
    at = data.rindex(b"PK\1\2")
    data[at + 10] = 12
    path.write_bytes(data)
    result = run("bundle", "verify", path)
    assert result.code == 1 and f"'{SYSTEM}': ZIP method 12" in result.stderr, result


def test_verify_finds_another_root_hash(run, create, tmp_path):
    bundle = Bundle(create())

    def change(manifest):
        manifest["payloads"][1]["verity"]["root_hash"] = "ab" * 32

    (tmp_path / "o.zip").write_bytes(rebuild(bundle, change))
    result = run("bundle", "verify", tmp_path / "o.zip")
    assert result.code == 3 and "do not belong together" in result.stderr, result


def test_verify_finds_a_uki_that_nobody_can_start(run, tmp_path):
    path = tmp_path / "long.zip"
    for size, code in ((2000, 0), (2100, 1)):
        path.write_bytes(make(uki("3", cmdline=b"x" * size), noise(1 << 20, "long")))
        result = run("bundle", "verify", path)
        assert result.code == code and (code == 0 or "at most" in result.stderr), result


def test_verify_in_json(run, signed, signers):
    result = run("bundle", "verify", "--json", f"--keyring={signers}/root.pem", signed)
    assert result.code == 0, result
    end = result.event("result")[0]
    assert end["signed"] and "ec signer" in end["signer"]["subject"]
    assert len(end["signer"]["sha256"]) == 64
    assert {event["phase"] for event in result.event("progress")} == {"boot", "system"}
    patch(signed, flip(Bundle(signed), Bundle(signed).place(SYSTEM)[1] - 1))
    result = run("bundle", "verify", "--json", signed)
    assert result.event("error")[0]["code"] == 1


def test_verify_needs_a_file_that_seeks(run, create, web):
    data = create().read_bytes()
    result = run("bundle", "verify", "-", input=data)
    assert result.code == 1 and "can only be read once" in result.stderr, result
    assert run("bundle", "verify", web.put("/b.zip", data)).code == 0


# sign

def test_sign_through_a_link(run, create, signers, tmp_path):
    """The bundle is signed, not the link; who may read it stays."""
    bundle = create()
    bundle.chmod(0o640)
    link = tmp_path / "latest.zip"
    link.symlink_to(bundle.name)
    result = run("bundle", "sign", f"--key={signers}/ec.key", f"--cert={signers}/ec.pem", link)
    assert result.code == 0, result
    assert link.is_symlink() and bundle.stat().st_mode & 0o777 == 0o640
    assert run("bundle", "verify", f"--keyring={signers}/root.pem", bundle).code == 0


def test_an_input_that_looks_temporary(run, create, signers, tmp_path):
    bundle = create(name="b.zip.tmp")
    before = bundle.read_bytes()
    result = run("bundle", "sign", f"--key={signers}/ec.key", f"--cert={signers}/ec.pem", bundle,
                 tmp_path / "b.zip")
    assert result.code == 0 and bundle.read_bytes() == before
    assert run("bundle", "verify", tmp_path / "b.zip").code == 0


def test_sign_and_rotate(run, create, signers, tmp_path):
    path = create()
    plain = Bundle(path)

    def verify(ca):
        return run("bundle", "verify", f"--keyring={signers}/{ca}.pem", path)

    def sign(name, *output):
        return run("bundle", "sign", f"--key={signers}/{name}.key", f"--cert={signers}/{name}.pem",
                   path, *output)

    result = verify("root")
    assert result.code == 3 and "not signed" in result.stderr, result
    for name, good, bad in (("ec", "root", "new"), ("rsa", "new", "root")):
        result = sign(name)
        assert result.code == 0 and "Wrote" in result.stdout, result
        assert verify(good).code == 0 and verify(bad).code == 3
        now = Bundle(path)
        assert now.names == [plain.names[0], "manifest.p7s", *plain.names[1:]]
        assert all(now.raw(entry) == plain.raw(entry) for entry in plain.names)
        assert [e.date_time for e in now.entries] == [(2026, 11, 23, 10, 0, 0)] * 6
        assert sorted(p.name for p in tmp_path.iterdir()) == ["bundle.zip"]
    before = path.read_bytes()
    assert sign("ec", tmp_path / "new.zip").code == 0
    assert path.read_bytes() == before
    result = run("bundle", "verify", f"--keyring={signers}/root.pem", tmp_path / "new.zip")
    assert result.code == 0, result


def test_sign_keeps_what_others_added(run, create, signers):
    path = create()
    with zipfile.ZipFile(path, "a") as archive:
        archive.writestr("Gr\u00fc\u00dfe.txt", "hello")
    done = run("bundle", "sign", f"--key={signers}/ec.key", f"--cert={signers}/ec.pem", path)
    assert done.code == 0, done
    with zipfile.ZipFile(path) as archive:
        assert archive.read("Gr\u00fc\u00dfe.txt") == b"hello"


def test_created_signed_and_signed_later_are_the_same(create, run, signers):
    """RSA signatures do not vary, but for the time that they state."""
    words = (f"--sign-key={signers}/rsa.key", f"--sign-cert={signers}/rsa.pem")
    at_once, later = create(*words, name="a.zip"), create(name="b.zip")
    done = run("bundle", "sign", f"--key={signers}/rsa.key", f"--cert={signers}/rsa.pem", later)
    assert done.code == 0
    a, b = Bundle(at_once), Bundle(later)
    assert a.names == b.names
    assert all(a.raw(name) == b.raw(name) for name in a.names if name != "manifest.p7s")


def test_a_changed_manifest_is_refused_before_it_is_parsed(run, signed, signers, tmp_path):
    bundle = Bundle(signed)

    def change(manifest):
        manifest["version"] = "9"

    for what in (change, lambda manifest: manifest.clear()):
        (tmp_path / "o.zip").write_bytes(rebuild(bundle, what))
        for command in ("verify", "inspect"):
            result = run("bundle", command, f"--keyring={signers}/root.pem", tmp_path / "o.zip")
            assert result.code == 3 and "signature" in result.stderr, result


def test_sign_that_cannot_be(run, create, signers, tmp_path):
    path = create()
    before = path.read_bytes()
    key, cert = f"--key={signers}/ec.key", f"--cert={signers}/ec.pem"
    for words, code, says in (
            ([key, path], 2, "--cert"), ([cert, path], 2, "--key"),
            ([key, f"--cert={signers}/rsa.pem", path], 2, "rsa.pem"),
            ([key, cert, tmp_path / "missing"], 1, "missing"),
            ([key, cert, path, tmp_path / "none/x.zip"], 1, "none/x.zip")):
        result = run("bundle", "sign", *words)
        assert result.code == code and says in result.stderr, (words, result)
        assert path.read_bytes() == before
        assert [p.name for p in tmp_path.iterdir()] == ["bundle.zip"]
    path.write_bytes(before[:-30])
    assert run("bundle", "sign", key, cert, path).code == 1
    assert path.read_bytes() == before[:-30]


def test_keyrings_that_are_none(run, signed, tmp_path):
    (tmp_path / "empty.pem").write_text("")
    for name in ("missing.pem", "empty.pem"):
        result = run("bundle", "verify", f"--keyring={tmp_path / name}", signed)
        assert result.code in (1, 2) and name in result.stderr, result
