# SPDX-License-Identifier: Apache-2.0
"""Bundles of `bundle create`, read by who knows only docs/bundle-format.md."""

import zipfile

import pytest
from bundle_reader import entries_of, read_bundle
from bundles import make_signers, sha256
from tree import noise, uki

CHUNK = 8192
METHODS = ("zstd", "deflate", "none")
SIZES = (1, 4095, 4096, 4097, CHUNK - 1, CHUNK, CHUNK + 1, 2 * CHUNK, 2 * CHUNK + 4097)


@pytest.fixture
def create(run, tmp_path):
    """create(image's bytes, *options) -> (the path of the bundle, the UKI's bytes)"""
    def create(image, *options):
        boot = uki("2.5", linux_size=4096)
        (tmp_path / "u.efi").write_bytes(boot)
        (tmp_path / "image").write_bytes(image)
        result = run("bundle", "create", "--compatible=acme", f"--chunk-size={CHUNK}", *options,
                     tmp_path / "u.efi", tmp_path / "image", tmp_path / "bundle.zip")
        assert result.code == 0, result
        return tmp_path / "bundle.zip", boot
    return create


def content(size):
    """Half of it compresses."""
    return (b"bistable" * (size // 16) + noise(size, "image"))[:size]


def place(path, name):
    """Where the data of an entry begin, and how many bytes they are."""
    data = path.read_bytes()
    found = entries_of(data, path)[name][1]
    assert data.count(found) == 1
    return data.index(found), len(found)


def flip(path, at):
    data = bytearray(path.read_bytes())
    data[at] ^= 0x10
    path.write_bytes(data)


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("size", SIZES)
def test_payloads_come_back(create, method, size):
    image = content(size)
    path, boot = create(image, f"--compress={method}")
    payloads, manifest = read_bundle(path)
    assert payloads == {"kernel_efi.efi": boot, "verity_rootfs.img": image}
    assert (manifest["compatible"], manifest["version"]) == ("acme", "2.5")


def test_a_signed_one(create, tmp_path):
    make_signers(tmp_path)
    path, boot = create(content(CHUNK), f"--sign-key={tmp_path}/ec.key",
                        f"--sign-cert={tmp_path}/ec.pem")
    assert read_bundle(path, f"{tmp_path}/root.pem")[0]["kernel_efi.efi"] == boot
    with pytest.raises(ValueError, match="openssl"):
        read_bundle(path, f"{tmp_path}/new.pem")
    assert list(entries_of(path.read_bytes(), path))[1] == "manifest.p7s"


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("where", (0, 0.3, 0.7, 1))
def test_one_flipped_byte_in_a_frame_is_refused(run, create, method, where):
    path, _ = create(content(3 * CHUNK), f"--compress={method}")
    begin, size = place(path, "verity_rootfs.img")
    flip(path, begin + int(where * (size - 1)))
    with pytest.raises(ValueError):
        read_bundle(path)
    assert run("bundle", "verify", path).code == 1


def test_a_wrong_hint_is_refused(create, run, tmp_path):
    """With every digest made to fit it."""
    path, _ = create(content(CHUNK), "--compress=none")
    name, wrong = "verity_rootfs.img.chunks", tmp_path / "wrong.zip"
    entries = {entry: data for entry, (_, data, *_) in
               entries_of(path.read_bytes(), path).items()}
    before = entries[name]
    entries[name] = before[:-1] + bytes([before[-1] ^ 1])
    entries["manifest.json"] = entries["manifest.json"].replace(
        sha256(before).encode(), sha256(entries[name]).encode())
    with zipfile.ZipFile(wrong, "w") as archive:
        for entry, data in entries.items():
            archive.writestr(entry, data)
    with pytest.raises(ValueError, match="hints"):
        read_bundle(wrong)
    result = run("bundle", "verify", wrong)
    assert result.code == 1 and "hint for block 1 is wrong" in result.stderr
