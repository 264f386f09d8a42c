# SPDX-License-Identifier: Apache-2.0
"""Inputs for `bundle create`, keys to sign with, and a look into bundles that shares no code with
the program."""

import hashlib
import json
import struct
import subprocess
import zipfile
import zlib

from pki import openssl
from tree import image, uki

CHUNK = 32 << 10
STORED, DEFLATED, ZSTD = 0, 8, 93
BOOT, SYSTEM = "kernel_efi.efi", "verity_rootfs.img"


def make_inputs(folder, size=(2 << 20) + 4096, cmdline="root=PARTLABEL=METROPOLIS-SYSTEM-X ro"):
    """u.efi and data.img, which carries a verity tree that the UKI names the root hash of."""
    data = folder / "data.img"
    data.write_bytes(image(size))
    subprocess.run(["veritysetup", "format", "--hash-offset", str(size), "--salt=c0ffee",
                    "--uuid=11111111-2222-3333-4444-555555555555",
                    "--root-hash-file", folder / "root.txt", data, data],
                   check=True, capture_output=True)
    root = (folder / "root.txt").read_text().strip()
    (folder / "u.efi").write_bytes(uki("2.5", cmdline=f"{cmdline} roothash={root}".encode()))
    return folder / "u.efi", data, root


def make_signers(folder):
    """NAME.pem, NAME.key of the signers "ec" (by the CA root.pem) and "rsa" (by new.pem)."""
    kinds = {"ec": ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256"],
             "rsa": ["-newkey", "rsa:2048"]}
    (folder / "ext").write_text("keyUsage=critical,digitalSignature\n"
                                "extendedKeyUsage=codeSigning\n")
    for ca, name in (("root", "ec"), ("new", "rsa")):
        openssl(folder, "req", "-x509", *kinds["ec"], "-nodes", "-subj", f"/CN={ca}", "-days", "2",
                "-keyout", f"{ca}.key", "-out", f"{ca}.pem")
        openssl(folder, "req", "-new", *kinds[name], "-nodes", "-subj", f"/CN={name} signer",
                "-keyout", f"{name}.key", "-out", "csr")
        openssl(folder, "x509", "-req", "-in", "csr", "-CA", f"{ca}.pem", "-CAkey", f"{ca}.key",
                "-CAcreateserial", "-days", "2", "-extfile", "ext", "-out", f"{name}.pem")


class Bundle:
    """What a bundle holds, read with zipfile."""

    def __init__(self, path):
        self.data = path.read_bytes()
        with zipfile.ZipFile(path) as archive:
            self.entries = archive.infolist()
            assert archive.comment == b""
        self.manifest = json.loads(self.stored("manifest.json"))

    @property
    def names(self):
        return [entry.filename for entry in self.entries]

    def place(self, name):
        """Where the entry's data begins and ends."""
        entry = self.entries[self.names.index(name)]
        lengths = struct.unpack_from("<HH", self.data, entry.header_offset + 26)
        begin = entry.header_offset + 30 + sum(lengths)
        return begin, begin + entry.compress_size

    def raw(self, name):
        begin, end = self.place(name)
        return self.data[begin:end]

    def stored(self, name):
        assert self.entries[self.names.index(name)].compress_type == STORED
        return self.raw(name)

    def payload(self, name):
        return next(p for p in self.manifest["payloads"] if p["name"] == name)

    def chunks(self, name):
        """(compressed length, digest, offset in the bundle) of each chunk, and the hints."""
        size, chunk_size = self.payload(name)["size"], self.payload(name)["chunk_size"]
        chart = self.stored(name + ".chunks")
        assert chart[:40] == struct.pack("<8sIIIIQQ", b"bistchnk", 1, 40, chunk_size, 4096, size, 0)
        count, blocks = -(-size // chunk_size), -(-size // 4096)
        assert len(chart) == 40 + 36 * count + 8 * blocks
        found, at = [], self.place(name)[0]
        for i in range(count):
            length, digest = struct.unpack_from("<I32s", chart, 40 + 36 * i)
            found.append((length, digest, at))
            at += length
        assert at == self.place(name)[1]
        return found, struct.unpack_from(f"<{blocks}Q", chart, 40 + 36 * count)


def unframe(method, frame):
    """One chunk, without those before it."""
    if method == DEFLATED:
        return zlib.decompressobj(-15).decompress(frame)
    if method == ZSTD:
        return subprocess.run(["zstd", "-dcq"], input=frame, stdout=subprocess.PIPE,
                              check=True).stdout
    return frame


def sha256(data):
    return hashlib.sha256(data).hexdigest()
