# SPDX-License-Identifier: Apache-2.0
"""An EFI System Partition on a mirror of two disks: Linux writes to both through the array, the
firmware starts from either as if it were alone."""

import shutil
from dataclasses import replace
from pathlib import Path

import pytest

from harness import cache, disk, firmware, gpt, luggage
from harness.machine import Machine

SECOND = "7e570000-0000-4000-8000-0000000000b1"
ARRAY = "--run --metadata=1.0 --level=1 --raid-devices=2 --assume-clean"
RECORD = "/EFI/metropolis/boot-b.state"


def shrink_esp(machine: Machine) -> None:
    """Its file system leaves the end of the partition to the array's superblock."""
    boot_file = disk.get_file(machine.disk, disk.REMOVABLE)
    files = machine.directory / "files"
    with open(files, "wb") as file:
        file.truncate(disk.ESP.size - disk.MIB)
    cache.tool("mkfs.fat", "-F", "32", "-s", "4", "-n", "ESP", "-i", "7e570001", files)
    disk.write_partition(machine.disk, disk.ESP, files.read_bytes())
    files.unlink()
    for folder in ("/EFI", "/EFI/BOOT", "/EFI/metropolis"):
        cache.tool("mmd", "-i", disk.on_esp(machine.disk), f"::{folder}")
    for target in (disk.BOOT_FILE["A"], disk.REMOVABLE):
        disk.put_file(machine.disk, target, boot_file)


@pytest.fixture
def second(machine: Machine) -> Path:
    """The other disk: it has an ESP and nothing else. The machine has both."""
    shrink_esp(machine)
    path = machine.directory / "second.raw"
    shutil.copy(machine.disk, path)
    partition = replace(disk.ESP, uuid=SECOND)
    gpt.write_table(path, [partition], disk.SECTOR, "7e570000-0000-4000-8000-0000000000b0")
    machine.more_disks.append((path, "virtio-blk-pci"))
    yield path
    machine.power_cut()
    path.unlink()


def bring(machine: Machine, web) -> None:
    luggage.load_modules(machine, web, ["raid1"])
    luggage.bring_programs(machine, web, ["mdadm", "dmsetup"])
    machine.check("umount /boot")  # the test OS mounts whatever says that it is one


def places(machine: Machine, slot: str) -> list:
    """Where the slot's boot entries lead, in BootOrder's order."""
    variables = firmware.read_variables(machine)
    options = [variables[f"Boot{number}"] for number in firmware.boot_order(variables)]
    text = f"Metropolis Slot {slot}"
    return [firmware.place(option) for option in options if firmware.description(option) == text]


def place_of(uuid: str) -> tuple:
    esp, block = disk.ESP, disk.SECTOR
    return esp.number, esp.start // block, esp.size // block, uuid


def test_mirrored_esp(machine, second, bundle, web):
    mdadm = f"{luggage.FOLDER}/mdadm"
    machine.boot("X")
    bring(machine, web)
    machine.check(f"{mdadm} --create /dev/md0 {ARRAY} /dev/vda1 /dev/vdb1 </dev/null")
    machine.check("mount -t vfat /dev/md0 /boot")
    assert "its partition 1, in use as /dev/md0" in machine.run("bistable doctor").out
    machine.check("bistable mark-good")
    assert places(machine, "A") == [place_of(disk.ESP.uuid)]
    machine.restart(f"bistable install {bundle('Y')} --activate=reboot --now", "Y")
    assert machine.firmware_entry() == "Metropolis Slot B"
    assert disk.ESP.uuid.upper() in machine.firmware_path().upper()

    # Without the array its members are not touched, mounted or not.
    machine.check("grep -q '/dev/vda1 /boot vfat' /proc/mounts")
    for _ in ("mounted", "not mounted"):
        refused = machine.run("bistable mark-good")
        assert refused.status == 1 and "array that does not run" in refused.err, refused
        assert "array that does not run" in machine.run("bistable doctor").out
        if machine.run("grep -q vfat /proc/mounts").status == 0:
            bring(machine, web)
    machine.check(f"{mdadm} --assemble /dev/md0 /dev/vda1 /dev/vdb1")
    machine.check("bistable mark-good && sync && ! grep -q vfat /proc/mounts")
    assert machine.status()["slots"]["B"]["confirmed"] is True
    assert disk.get_file(second, RECORD) == disk.get_file(machine.disk, RECORD)
    assert places(machine, "B") == [place_of(disk.ESP.uuid)]

    # A member is lost: the entries lead to the other one from now on.
    machine.check(f"{mdadm} /dev/md0 --fail /dev/vda1 && {mdadm} /dev/md0 --remove /dev/vda1")
    lost = disk.partition_hash(machine.disk, disk.ESP)
    assert "The array /dev/md0 lacks a member" in machine.run("bistable doctor").out
    place = zip(("partition-number", "start", "size", "partuuid"), place_of(disk.ESP.uuid))
    lines = "".join(f"{key}={value}\\n" for key, value in place)
    machine.check(f"printf '[esp]\\n{lines}' >/run/lost.conf")
    told = machine.run("bistable doctor --config=/run/lost.conf")
    assert told.status == 1 and "is /dev/vda1, but the EFI System Partition" in told.out, told
    machine.check("bistable mark-good && sync")
    assert place_of(SECOND) in places(machine, "B")
    assert disk.partition_hash(machine.disk, disk.ESP) == lost
    machine.cold_boot("Y")
    assert SECOND.upper() in machine.firmware_path().upper()

    # The same disk as multipath maps it, and its partition as kpartx does.
    bring(machine, web)
    esp = place_of(SECOND)
    machine.check(f"{mdadm} --zero-superblock /dev/vdb1; {mdadm} --zero-superblock /dev/vda1")
    machine.check(
        f"export DM_DISABLE_UDEV=1 PATH=$PATH:{luggage.FOLDER}; size=$(cat /sys/block/vdb/size);"
        " dmsetup create disk -u mpath-1 --table \"0 $size linear /dev/vdb 0\" &&"
        " dmsetup create part1 -u part1-mpath-1"
        f" --table '0 {esp[2]} linear /dev/mapper/disk {esp[1]}'"
    )
    machine.check("mount -t vfat /dev/mapper/part1 /boot")
    machine.check("printf '[esp]\\nmount=/boot\\n' >/run/mapped.conf")
    told = machine.run("bistable doctor --config=/run/mapped.conf")
    assert "its partition 1, in use as /dev/dm-" in told.out, told
    variables = firmware.read_variables(machine)
    machine.check("bistable mark-good --config=/run/mapped.conf")
    assert firmware.read_variables(machine) == variables
    assert machine.status("--config=/run/mapped.conf")["default"] == "B"
