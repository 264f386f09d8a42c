# SPDX-License-Identifier: Apache-2.0
"""Raw disks for the test OS: GPT, ESP, two system slots, data; and what is on them."""

from __future__ import annotations

import hashlib
import os
import tempfile
from dataclasses import replace
from pathlib import Path, PurePosixPath

from . import cache, gpt
from .gpt import Partition
from .layout import MIB
from .system import System
from .testos import LAYOUT
from .uki import bound

SECTOR = 512
DISK_UUID = "7e570000-0000-4000-8000-000000000000"
ESP = LAYOUT["ESP"]
SLOT = {slot: LAYOUT[f"METROPOLIS-SYSTEM-{slot}"] for slot in "AB"}  # the test OS's
BOOT_FILE = {"A": "/EFI/metropolis/boot-a.efi", "B": "/EFI/metropolis/boot-b.efi"}
REMOVABLE = "/EFI/BOOT/BOOTX64.EFI"


def make_factory_disk(path: Path, system: System, letter: str = "X", sector: int = SECTOR) -> None:
    """A disk as it leaves the factory, with logical blocks of `sector` bytes.

    Slot A is complete, slot B empty, and the removable path holds a copy of A's boot file.
    """
    sources = [Path(__file__), Path(gpt.__file__)]
    system.variant(letter)  # which may take longer than the lock should be held
    with cache.locked():
        key = cache.digest(system.name, letter, *sources)
        name = f"disk{system.kind}{letter}{sector}"
        build = lambda work: _build(work / "disk.raw", system, letter, sector)  # noqa: E731
        master = cache.built(name, key, build)
    cache.tool("cp", "--sparse=always", "--reflink=auto", master / "disk.raw", path)


def write_table(disk: Path, without: str = "", retype: dict[str, str] | None = None) -> None:
    """Rewrites the table of a disk with 512 byte blocks: labels left out, types changed."""
    types = retype or {}
    rows = [p for p in LAYOUT.values() if p.label not in without.split()]
    rows = [replace(p, type=types.get(p.label, p.type)) for p in rows]
    gpt.write_table(disk, rows, SECTOR, DISK_UUID)


def _build(path: Path, system: System, letter: str, sector: int) -> None:
    rows = list(system.layout.values())
    with open(path, "wb") as disk:
        disk.truncate(rows[-1].start + rows[-1].size + MIB)
    gpt.write_table(path, rows, sector, DISK_UUID)
    variant = system.variant(letter)
    slot = system.layout["METROPOLIS-SYSTEM-A"]
    cache.tool(
        *("dd", "conv=notrunc,sparse", "bs=1M", f"seek={slot.start // MIB}"),
        *(f"if={variant.image}", f"of={path}"),
    )
    with tempfile.TemporaryDirectory() as directory:
        files = Path(directory) / "esp"
        _make_file_system(files, sector)
        cache.tool(
            *("dd", "conv=notrunc,sparse", "bs=1M", f"seek={ESP.start // MIB}"),
            *(f"if={files}", f"of={path}"),
        )
    for directory in ("/EFI", "/EFI/BOOT", "/EFI/metropolis"):
        cache.tool("mmd", "-i", on_esp(path), f"::{directory}")
    boot_file = bound(variant.uki.read_bytes(), "A")
    for target in (BOOT_FILE["A"], REMOVABLE):
        put_file(path, target, boot_file)


def _make_file_system(path: Path, sector: int) -> None:
    with open(path, "wb") as file:
        file.truncate(ESP.size)
    # Clusters of 2 KiB: with larger ones there are too few for a FAT32. With sectors of 4 KiB
    # there are too few in any case, and it is a FAT16.
    kind = ["-F", "32", "-s", "4"] if sector == 512 else ["-F", "16", "-s", "1"]
    cache.tool("mkfs.fat", *kind, "-S", str(sector), "-n", "ESP", "-i", "7e570001", path)


def on_esp(disk: Path) -> str:
    """The ESP of a disk that no machine is running from, as mtools name it."""
    return f"{disk}@@{ESP.start}"


def fill_esp(disk: Path, files: dict[str, bytes]) -> None:
    """Nothing else is on it afterwards."""
    for name in cache.tool("mdir", "-b", "-i", on_esp(disk), "::/").split():
        cache.tool("mdeltree", "-i", on_esp(disk), name)
    folders = {str(parent) for name in files for parent in PurePosixPath(name).parents}
    for folder in sorted(folders - {"/"}):
        cache.tool("mmd", "-i", on_esp(disk), f"::{folder}")
    for name, content in files.items():
        put_file(disk, name, content)


def put_file(disk: Path, name: str, content: bytes) -> None:
    """Puts a file on the ESP of a disk that no machine is running from."""
    with tempfile.NamedTemporaryFile() as file:
        file.write(content)
        file.flush()
        cache.tool("mcopy", "-o", "-i", on_esp(disk), file.name, f"::{name}")


def remove_file(disk: Path, name: str) -> None:
    cache.tool("mdel", "-i", on_esp(disk), f"::{name}")


def get_file(disk: Path, name: str) -> bytes:
    """A file of the ESP, as the host reads it."""
    with tempfile.TemporaryDirectory() as directory:
        target = Path(directory) / "file"
        cache.tool("mcopy", "-n", "-i", on_esp(disk), f"::{name}", target)
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


def file_hash(path: Path) -> str:
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
