# SPDX-License-Identifier: Apache-2.0
"""Raw disks for the test OS: GPT, ESP, two system slots, data; and what is on them."""

from __future__ import annotations

import hashlib
import os
import tempfile
from dataclasses import dataclass
from pathlib import Path

from . import cache
from .testos import TestOs
from .uki import bound

SECTOR = 512
MIB = 1 << 20


@dataclass(frozen=True)
class Partition:
    number: int
    label: str
    type: str
    uuid: str
    start: int  # bytes
    size: int  # bytes


def _layout() -> dict[str, Partition]:
    """The fixed layout; every partition starts at a MiB."""
    rows = [
        ("ESP", "c12a7328-f81f-11d2-ba4b-00a0c93ec93b", 160),
        ("METROPOLIS-SYSTEM-A", "ee96054b-f6d0-4267-aaaa-724b2afea74c", 48),
        ("METROPOLIS-SYSTEM-B", "ee96054b-f6d0-4267-bbbb-724b2afea74c", 48),
        ("METROPOLIS-NODE-DATA", "9eeec464-6885-414a-b278-4305c51f7966", 4),
    ]
    found, start = {}, MIB
    for number, (label, type_guid, size) in enumerate(rows, 1):
        partition_uuid = f"7e570000-0000-4000-8000-00000000000{number}"
        found[label] = Partition(number, label, type_guid, partition_uuid, start, size * MIB)
        start += size * MIB
    return found


LAYOUT = _layout()
ESP = LAYOUT["ESP"]
SLOT = {slot: LAYOUT[f"METROPOLIS-SYSTEM-{slot}"] for slot in "AB"}
BOOT_FILE = {"A": "/EFI/metropolis/boot-a.efi", "B": "/EFI/metropolis/boot-b.efi"}
REMOVABLE = "/EFI/BOOT/BOOTX64.EFI"


def make_factory_disk(path: Path, system: TestOs, letter: str = "X") -> None:
    """A disk as it leaves the factory.

    Slot A is complete, slot B empty, and the removable path holds a copy of A's boot file.
    """
    with cache.locked():
        key = cache.digest(system.directory.name, letter, Path(__file__))
        master = cache.built("disk", key, lambda work: _build(work / "disk.raw", system, letter))
    cache.tool("cp", "--sparse=always", "--reflink=auto", master / "disk.raw", path)


def _build(path: Path, system: TestOs, letter: str) -> None:
    last = list(LAYOUT.values())[-1]
    with open(path, "wb") as disk:
        disk.truncate(last.start + last.size + MIB)
    lines = ["label: gpt", "label-id: 7e570000-0000-4000-8000-000000000000", "unit: sectors"]
    for p in LAYOUT.values():
        place = f"start={p.start // SECTOR}, size={p.size // SECTOR}"
        lines.append(f'{place}, type={p.type}, uuid={p.uuid}, name="{p.label}"')
    with tempfile.TemporaryDirectory() as directory:
        script = Path(directory) / "script"
        script.write_text("\n".join(lines) + "\n")
        cache.tool("sh", "-c", f'sfdisk --quiet "{path}" <"{script}"')
    # Clusters of 2 KiB: with larger ones there are too few for a FAT32.
    cache.tool(
        *("mkfs.fat", "-F", "32", "-s", "4", "-n", "ESP", "-i", "7e570001"),
        *(f"--offset={ESP.start // SECTOR}", path, str(ESP.size // 1024)),
    )
    variant = system.variant(letter)
    write_partition(path, SLOT["A"], variant.image.read_bytes())
    boot_file = bound(variant.uki.read_bytes(), "A")
    for directory in ("/EFI", "/EFI/BOOT", "/EFI/metropolis"):
        cache.tool("mmd", "-i", f"{path}@@{ESP.start}", f"::{directory}")
    for target in (BOOT_FILE["A"], REMOVABLE):
        put_file(path, target, boot_file)


def put_file(disk: Path, name: str, content: bytes) -> None:
    """Puts a file on the ESP of a disk that no machine is running from."""
    with tempfile.NamedTemporaryFile() as file:
        file.write(content)
        file.flush()
        cache.tool("mcopy", "-o", "-i", f"{disk}@@{ESP.start}", file.name, f"::{name}")


def get_file(disk: Path, name: str) -> bytes:
    """A file of the ESP, as the host reads it."""
    with tempfile.TemporaryDirectory() as directory:
        target = Path(directory) / "file"
        cache.tool("mcopy", "-n", "-i", f"{disk}@@{ESP.start}", f"::{name}", target)
        return target.read_bytes()


def write_partition(disk: Path, partition: Partition, content: bytes, offset: int = 0) -> None:
    if offset + len(content) > partition.size:
        raise ValueError(f"{len(content)} bytes do not fit into {partition.label}")
    with open(disk, "r+b") as file:
        file.seek(partition.start + offset)
        file.write(content)


def read_partition(disk: Path, partition: Partition, size: int | None = None) -> bytes:
    with open(disk, "rb") as file:
        return os.pread(file.fileno(), partition.size if size is None else size, partition.start)


def partition_hash(disk: Path, partition: Partition) -> str:
    return hashlib.sha256(read_partition(disk, partition)).hexdigest()
