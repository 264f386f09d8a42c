# SPDX-License-Identifier: Apache-2.0
"""What has to be fetched of a bundle, worked out from the images and files alone, and what a server
was asked for."""

import io
import struct
import zipfile

from make_bundle import BLOCK, CHUNK, pieces

GAP, RUN = 12 << 10, 2 << 20  # src/engine/chunkfetch.c
STEP = 512  # src/engine/oldfiles.c
IMAGE, BOOT_FILE = "verity_rootfs.img", "kernel_efi.efi"


def blocks_of(content):
    return pieces(content, BLOCK)


class Expected:
    """Bytes of `image` by what becomes of them when the target holds `present`, and `running` is
    what can be copied from."""

    def __init__(self, image, present, running):
        have = {*blocks_of(running), bytes(BLOCK)}
        self.kept = self.copied = self.written = 0
        self.fetched = []  # chunks
        parts = pieces(image, CHUNK)
        for i, (new, old) in enumerate(zip(parts, pieces(present, CHUNK))):
            if new == old:
                self.kept += CHUNK
                continue
            changed = [a for a, b in zip(blocks_of(new), blocks_of(old)) if a != b]
            self.written += len(changed) * BLOCK
            if all(block in have for block in changed):
                self.copied += CHUNK
            else:
                self.fetched.append(i)
        # The first block is zeroed before all else, and comes last.
        if self.written and image[:BLOCK] == present[:BLOCK]:
            self.written += BLOCK


def missing_chunks(boot, *olds):
    """Of a boot file: those of which a block lies at no 512-byte place of the old files."""
    sizes = {len(block) for block in blocks_of(boot)}
    have = {bytes(BLOCK)} | {old[i:i + size] for old in olds for size in sizes
                             for i in range(0, len(old) - size + 1, STEP)}
    return [i for i, chunk in enumerate(pieces(boot, CHUNK))
            if not all(block in have for block in blocks_of(chunk))]


def bytes_of(chunks, content):
    return sum(len(content[i * CHUNK:(i + 1) * CHUNK]) for i in chunks)


def place(bundle, name):
    """Where the data of an entry begin."""
    header = zipfile.ZipFile(io.BytesIO(bundle)).getinfo(name).header_offset
    lengths = struct.unpack("<HH", bundle[header + 26:header + 30])
    return header + 30 + sum(lengths)


def runs_of(chunks):
    """Chunks that are asked for together: nothing compresses, so frames are as long as they."""
    runs = []
    for chunk in chunks:
        if runs and (chunk - runs[-1][1] - 1) * CHUNK <= GAP \
                and (chunk + 1 - runs[-1][0]) * CHUNK <= RUN:
            runs[-1][1] = chunk
        else:
            runs.append([chunk, chunk])
    return runs


def asked(web, begin, end):
    """The ranges inside of these bytes that were asked for, each with its last byte."""
    ranges = sorted(tuple(map(int, text.removeprefix("bytes=").split("-")))
                    for text in web.ranges() if text and not text.endswith("-"))
    return [(first, last) for first, last in ranges if begin <= first < end]
