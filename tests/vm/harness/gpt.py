# SPDX-License-Identifier: Apache-2.0
"""Writes a GUID partition table (UEFI 2.10 5.3) for logical blocks of any size."""

from __future__ import annotations

import struct
import zlib
from dataclasses import dataclass
from pathlib import Path
from uuid import UUID

ENTRIES, ENTRY_SIZE = 128, 128


@dataclass(frozen=True)
class Partition:
    number: int
    label: str
    type: str
    uuid: str
    start: int  # bytes
    size: int  # bytes


def write_table(disk: Path, partitions: list[Partition], sector: int, disk_uuid: str) -> None:
    """Overwrites both tables and the protective MBR; `sector` is the logical block's size."""
    total = disk.stat().st_size // sector
    table = bytearray(ENTRIES * ENTRY_SIZE)
    for p in partitions:
        last = (p.start + p.size) // sector - 1
        row = UUID(p.type).bytes_le + UUID(p.uuid).bytes_le
        row += struct.pack("<QQQ", p.start // sector, last, 0) + p.label.encode("utf-16-le")
        table[(p.number - 1) * ENTRY_SIZE : p.number * ENTRY_SIZE] = row.ljust(ENTRY_SIZE, b"\0")
    blocks = -(-len(table) // sector)

    def header(here: int, there: int, entries: int) -> bytes:
        def fields(crc: int) -> bytes:
            return struct.pack(
                "<8sIIIIQQQQ16sQIII",
                *(b"EFI PART", 0x10000, 92, crc, 0, here, there, 2 + blocks, total - 2 - blocks),
                *(UUID(disk_uuid).bytes_le, entries, ENTRIES, ENTRY_SIZE, zlib.crc32(table)),
            )

        return fields(zlib.crc32(fields(0)))

    mbr = bytearray(512)
    mbr[446:462] = struct.pack("<8BII", 0, 0, 2, 0, 0xEE, 255, 255, 255, 1, total - 1)
    mbr[510:] = b"\x55\xaa"
    with open(disk, "r+b") as file:
        for number, data in (
            (0, mbr),
            (1, header(1, total - 1, 2)),
            (2, table),
            (total - 1 - blocks, table),
            (total - 1, header(total - 1, 1, total - 1 - blocks)),
        ):
            file.seek(number * sector)
            file.write(data)
