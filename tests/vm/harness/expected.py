# SPDX-License-Identifier: Apache-2.0
"""What installing a chunked bundle takes, worked out from the images and boot files alone."""

from __future__ import annotations

import hashlib
import struct
import zipfile
from pathlib import Path

from .testos import BLOCK, IMAGE_IN_BUNDLE, KERNEL_IN_BUNDLE

CHUNK = 32 << 10
GAP, RUN = 12 << 10, 2 << 20  # what one request takes along, and brings (chunkfetch.c)
STEP = 512  # where a block of a boot file may lie (oldfiles.c)


def pieces(content: bytes, size: int) -> list[bytes]:
    return [content[i : i + size] for i in range(0, len(content), size)]


class Expected:
    """Bytes of `image` by what becomes of them, where the target holds `present` and blocks can be
    copied from `running`."""

    def __init__(self, image: bytes, present: bytes, running: bytes) -> None:
        self.kept = self.copied = self.written = 0
        self.fetched: list[int] = []  # chunks
        blocks = {*pieces(running, BLOCK), bytes(BLOCK)}
        chunks = zip(pieces(image, CHUNK), pieces(present, CHUNK), strict=True)
        for number, (new, old) in enumerate(chunks):
            pairs = zip(pieces(new, BLOCK), pieces(old, BLOCK), strict=True)
            wrong = [block for block, there in pairs if block != there]
            self.written += len(wrong) * BLOCK
            if not wrong:
                self.kept += len(new)
            elif blocks.issuperset(wrong):
                self.copied += len(new)
            else:
                self.fetched.append(number)
        # The first block is zeroed before any other is written, and comes last.
        if self.written and image[:BLOCK] == present[:BLOCK]:
            self.written += BLOCK


def missing(boot_file: bytes, *olds: bytes) -> list[int]:
    """The chunks of a boot file of which a block lies at no 512-byte place of the old ones."""

    def digest(block: bytes) -> bytes:
        return hashlib.md5(block).digest()

    sizes = {len(block) for block in pieces(boot_file, BLOCK)}
    have = {digest(bytes(BLOCK))}
    for old in olds:
        for size in sizes:
            have |= {digest(old[at : at + size]) for at in range(0, len(old) - size + 1, STEP)}
    chunks = enumerate(pieces(boot_file, CHUNK))
    return [i for i, chunk in chunks if not have.issuperset(map(digest, pieces(chunk, BLOCK)))]


class Frames:
    """Where a payload's frames lie in a bundle."""

    def __init__(self, bundle: Path, name: str) -> None:
        with zipfile.ZipFile(bundle) as archive:
            table = archive.read(f"{name}.chunks")
            entry = archive.getinfo(name)
        with open(bundle, "rb") as file:
            file.seek(entry.header_offset)
            header = file.read(30)
        self.size, self.plain_size = entry.compress_size, entry.file_size
        self.start = entry.header_offset + 30 + sum(struct.unpack("<HH", header[26:]))
        self._frames, place = [], self.start
        for number in range(-(-entry.file_size // CHUNK)):
            (length,) = struct.unpack_from("<I", table, 40 + 36 * number)
            self._frames.append((place, place + length))
            place += length

    def bytes_of(self, chunks: list[int]) -> int:
        return sum(end - start for start, end in (self._frames[chunk] for chunk in chunks))

    def plain_bytes_of(self, chunks: list[int]) -> int:
        return sum(min(CHUNK, self.plain_size - chunk * CHUNK) for chunk in chunks)

    def ranges_of(self, chunks: list[int]) -> list[tuple[int, int]]:
        """First byte and end of each request that brings these chunks."""
        runs: list[tuple[int, int]] = []
        for start, end in (self._frames[chunk] for chunk in chunks):
            if runs and start - runs[-1][1] <= GAP and end - runs[-1][0] <= RUN:
                start, _ = runs.pop()
            runs.append((start, end))
        return runs


def frames(bundle: Path) -> tuple[Frames, Frames]:
    """Of the boot file, and of the image."""
    return Frames(bundle, KERNEL_IN_BUNDLE), Frames(bundle, IMAGE_IN_BUNDLE)
