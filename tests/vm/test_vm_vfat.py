# SPDX-License-Identifier: Apache-2.0
"""Replacing files on the real vfat: whatever a power cut leaves, a file is its old or its new
content, and the slot's record says nothing that is not true.

A machine runs on a disk whose writes QEMU logs. Then every state is built that a power cut may have
left, prefixes and reorderings within a flush epoch, and read by our own strict FAT32 reader.
"""

import hashlib
import json
import os
import random
import shutil
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pytest

from harness import disk, fat32, testos, uki, writelog

RECORD = "/EFI/metropolis/boot-b.state"
NAIVE = "/EFI/metropolis/naive.efi"


def small_uki(system, seed: int, size: int) -> bytes:
    """A UKI that passes every check and boots nothing."""
    kernel = uki.tiny_kernel(system.kernel.image.read_bytes(), random.Random(seed).randbytes(size))
    path = system.directory.parent / f".small-{os.getpid()}.efi"
    sections = {
        ".osrel": testos.os_release("Y"),
        ".cmdline": b"root=PARTLABEL=METROPOLIS-SYSTEM-X",
        ".uname": system.kernel.release.encode(),
        ".linux": kernel,
        ".initrd": random.Random(seed).randbytes(4096),
    }
    uki.build_uki(path, sections)
    data = path.read_bytes()
    path.unlink()
    return data


def outcomes(base: Path, log: Path, judge: Callable[[fat32.Fat32], str]) -> Counter:
    """How often each judgement is passed on the file system, over all power cuts."""
    epochs = writelog.read_epochs(log, disk.ESP.start, disk.ESP.start + disk.ESP.size)
    assert epochs, "nothing was written to the ESP"
    first = disk.ESP.start // disk.SECTOR
    found: Counter = Counter()
    with open(base, "rb") as image:
        for _, overlay in writelog.states(epochs):

            def read_sector(number: int) -> bytes:
                number += first
                if number in overlay:
                    return overlay[number]
                return os.pread(image.fileno(), disk.SECTOR, number * disk.SECTOR)

            try:
                found[judge(fat32.Fat32(read_sector))] += 1
            except fat32.Damage as damage:
                found[str(damage)] += 1
    return found


def judge_record(record: bytes | None, boot_file: bytes) -> str:
    """What the slot's record says, and whether that is true of the boot file found with it."""
    if record is None:
        return "no record"
    try:
        fields = json.loads(record)
    except ValueError:
        return "unreadable record"
    if not fields["complete"]:
        return "incomplete"
    true = fields["boot_file"]["sha256"] == hashlib.sha256(boot_file).hexdigest()
    return "complete" if true else "a record of something else"


def record(machine, tmp_path: Path, command: str) -> Path:
    """Runs a command on a machine whose disk is logged; returns the disk as it was before."""
    base = tmp_path / "base.raw"
    shutil.copy(machine.disk, base)
    machine.write_log = tmp_path / "writes.log"
    machine.boot("X")
    machine.check(command)
    machine.power_cut()
    return base


@pytest.mark.long
def test_the_checker_finds_a_naive_replacement(machine, web, tmp_path):
    """Temporary file and rename, each synced, is not safe on vfat: the checker must see it."""
    old, new = random.Random(1).randbytes(64 << 10), random.Random(2).randbytes(80 << 10)
    disk.put_file(machine.disk, NAIVE, old)
    (tmp_path / "new.bin").write_bytes(new)
    command = f"wget -q -O /run/new {web.offer(tmp_path / 'new.bin')} && cd /boot/EFI/metropolis"
    command += " && cp /run/new new.tmp && sync && mv new.tmp naive.efi && sync"
    base = record(machine, tmp_path, command)
    names = {old: "old", new: "new"}

    def judge(files: fat32.Fat32) -> str:
        return names.get(files.read_file(NAIVE), "something else")

    found = outcomes(base, machine.write_log, judge)
    assert found["old"] and found["new"]
    assert set(found) - {"old", "new"}, f"the checker sees no damage: {found}"


def test_boot_file_is_replaced_safely(machine, web, system, tmp_path):
    old, new = small_uki(system, 1, 60_000), small_uki(system, 2, 90_000)
    old, bound_new = uki.bound(old, "B"), uki.bound(new, "B")
    disk.put_file(machine.disk, disk.BOOT_FILE["B"], old)
    others = (disk.BOOT_FILE["A"], disk.REMOVABLE)
    untouched = {name: disk.get_file(machine.disk, name) for name in others}
    testos.make_bundle(tmp_path / "small.zip", new, random.Random(3).randbytes(64 << 10))
    url = web.offer(tmp_path / "small.zip")
    base = record(machine, tmp_path, f"bistable install {url} --activate=none")

    assert disk.get_file(machine.disk, disk.BOOT_FILE["B"]) == bound_new
    names = {old: "old", bound_new: "new"}

    def judge(files: fat32.Fat32) -> str:
        boot_file = files.read_file(disk.BOOT_FILE["B"])
        if boot_file not in names:
            return "something else"
        return f"{names[boot_file]}, {judge_record(files.read_file(RECORD), boot_file)}"

    found = outcomes(base, machine.write_log, judge)
    assert found["old, incomplete"] and found["new, incomplete"] and found["new, complete"], found
    possible = {"old, no record", "old, incomplete", "new, incomplete", "new, complete"}
    assert set(found) <= possible, found
    for name, content in untouched.items():
        assert disk.get_file(machine.disk, name) == content
