# SPDX-License-Identifier: Apache-2.0
"""Reads files of a FAT32, strictly, from a base image with sectors laid over it."""

from __future__ import annotations

import struct
from collections.abc import Callable

SECTOR = 512
END = 0x0FFFFFF8
DIRECTORY, VOLUME, LONG_NAME = 0x10, 0x08, 0x0F


class Damage(Exception):
    """What the file system says cannot be."""


class Fat32:
    """`read_sector` returns a sector counted from the start of the file system."""

    def __init__(self, read_sector: Callable[[int], bytes]) -> None:
        self._read = read_sector
        boot = read_sector(0)
        size, self._per_cluster, reserved, fats = struct.unpack_from("<HBHB", boot, 11)
        per_fat, _, _, self._root = struct.unpack_from("<IHHI", boot, 36)
        total = struct.unpack_from("<I", boot, 32)[0]
        if size != SECTOR or boot[510:] != b"\x55\xaa" or self._per_cluster == 0:
            raise Damage("no FAT32 with 512 byte sectors")
        self._fat = reserved
        self._data = reserved + fats * per_fat
        self._clusters = (total - self._data) // self._per_cluster

    def read_file(self, path: str) -> bytes | None:
        """The content as the directory entry's size tells; None if there is no such entry."""
        cluster, content = self._root, None
        parts = path.strip("/").split("/")
        for depth, part in enumerate(parts):
            entry = self._find(cluster, part)
            if entry is None:
                return None
            attributes, cluster, size = entry
            if bool(attributes & DIRECTORY) != (depth < len(parts) - 1):
                raise Damage(f"{path}: {part} is of the wrong type")
            content = size
        return self._content(path, cluster, content or 0)

    def _content(self, path: str, cluster: int, size: int) -> bytes:
        if size == 0:
            if cluster != 0:
                raise Damage(f"{path}: size 0 with clusters")
            return b""
        chain = self._chain(path, cluster)
        unit = self._per_cluster * SECTOR
        if len(chain) != (size + unit - 1) // unit:
            raise Damage(f"{path}: {size} bytes in {len(chain)} clusters of {unit}")
        return b"".join(self._cluster(number) for number in chain)[:size]

    def _chain(self, what: str, cluster: int) -> list[int]:
        chain: list[int] = []
        seen: set[int] = set()
        while cluster < END:
            if cluster < 2 or cluster >= self._clusters + 2:
                raise Damage(f"{what}: its chain leads to free or impossible cluster {cluster}")
            if cluster in seen:
                raise Damage(f"{what}: its chain is a loop")
            seen.add(cluster)
            chain.append(cluster)
            sector = self._read(self._fat + cluster * 4 // SECTOR)
            cluster = struct.unpack_from("<I", sector, cluster * 4 % SECTOR)[0] & 0x0FFFFFFF
        return chain

    def _cluster(self, number: int) -> bytes:
        first = self._data + (number - 2) * self._per_cluster
        return b"".join(self._read(first + index) for index in range(self._per_cluster))

    def _find(self, directory: int, name: str) -> tuple[int, int, int] | None:
        """Attributes, first cluster and size of the entry; names compare as FAT does."""
        found = None
        for entry_name, row in self._entries(directory):
            if entry_name.lower() == name.lower():
                if found is not None:
                    raise Damage(f"two entries are named {name}")
                high, low, size = struct.unpack("<H4xHI", row[20:32])
                found = (row[11], high << 16 | low, size)
        return found

    def _entries(self, directory: int) -> list[tuple[str, bytes]]:
        """Every entry under its short name, and under its long one where they differ."""
        data = b"".join(self._cluster(number) for number in self._chain("a directory", directory))
        rows, long_name = [], ""
        for position in range(0, len(data), 32):
            row = data[position : position + 32]
            if row[0] == 0:
                break
            if row[0] == 0xE5:
                long_name = ""
            elif row[11] == LONG_NAME:
                part = (row[1:11] + row[14:26] + row[28:32]).decode("utf-16-le", "replace")
                long_name = part.split("\0")[0].rstrip("\uffff") + long_name
            else:
                if not row[11] & VOLUME:
                    stem, suffix = (row[a:b].decode("cp437").rstrip() for a, b in ((0, 8), (8, 11)))
                    rows.append((long_name or f"{stem}.{suffix}".rstrip("."), row))
                long_name = ""
        return rows
