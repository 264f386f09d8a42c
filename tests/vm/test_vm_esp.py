# SPDX-License-Identifier: Apache-2.0
"""An EFI System Partition that is read-only, full, missing, or on another disk than the system."""

import shutil

import pytest

from harness import disk, firmware
from harness.machine import Machine
from harness.snapshot import wake

FOLDER = "/boot/EFI/metropolis"
DATA_TYPE = "0fc63daf-8483-4772-8e79-3d69d8477de4"
BASIC = "[system]\\nallow-unsigned=yes\\n[esp]\\n"


def written(machine: Machine) -> tuple:
    """All that an install could change, as far as it can be seen with the ESP mounted at /boot."""
    target = disk.partition_hash(machine.disk, disk.SLOT["B"])
    boot_files = machine.check("ls -lR --full-time /boot/EFI")
    return target, boot_files, firmware.read_variables(machine)


def mount_is_read_only(machine: Machine) -> bool:
    return machine.run("grep -q ' /boot vfat ro,' /proc/mounts").status == 0


def fill(machine: Machine, leave: int) -> None:
    """Fills the ESP but for so many KiB."""
    machine.check(
        "rm -f /boot/filler; free=$(df -k /boot | tail -n 1 | awk '{print $4}');"
        f" dd if=/dev/zero of=/boot/filler bs=1k count=$((free - {leave})) && sync"
    )


def check_read_only(machine: Machine, url: str) -> None:
    machine.check("mount -o remount,ro /boot")
    machine.check(f"printf '{BASIC}remount=no\\n' >/run/no.conf")
    for command in ("mark-good", f"install {url} --activate=none"):
        before = written(machine)
        refused = machine.run(f"bistable {command} --config=/run/no.conf")
        assert refused.status == 1, refused
        assert "mounted read-only" in refused.err and "remount = yes" in refused.err
        # Boot entries may have been repaired; what they start is the same.
        assert written(machine)[:2] == before[:2] and mount_is_read_only(machine)
        status = machine.status()
        assert (status["running"], status["next"], status["default"]) == ("A", "A", "A")
        machine.check(f"bistable {command}")
        assert mount_is_read_only(machine)
    status = machine.status()
    assert status["slots"]["A"]["confirmed"] is status["slots"]["B"]["complete"] is True
    assert status["next"] == "A"
    machine.check("mount -o remount,rw /boot")


def check_full(machine: Machine, urls: dict[str, str], boot_file: int) -> None:
    # No room for the record, nor for anything else: nothing is written, and said why.
    fill(machine, 0)
    before = written(machine)
    full = machine.run(f"bistable install {urls['Z']}")
    assert full.status == 1 and "boot file needs" in full.err, full
    assert written(machine) == before
    status = machine.status()
    assert (status["running"], status["next"], status["default"]) == ("A", "A", "A")
    assert status["slots"]["B"]["complete"] is True

    # No slot B's file to make room with, and too little without: the same.
    machine.check(f"mv {FOLDER}/boot-b.efi /run/ && sync")
    fill(machine, boot_file // 2048)
    before = written(machine)
    full = machine.run(f"bistable install {urls['Z']}")
    assert full.status == 1 and "boot file needs" in full.err, full
    assert written(machine) == before

    # Old and new do not fit together: the target's old one goes first.
    machine.check("rm /boot/filler")
    machine.check(f"bistable install {urls['Y']} --activate=none")
    fill(machine, boot_file // 2048)
    machine.check(f"bistable install {urls['Z']} --activate=reboot")
    status = machine.status()
    assert status["slots"]["B"]["complete"] is True and status["next"] == "B"
    assert status["slots"]["B"]["version"] == "3.0"


def check_missing(machine: Machine, url: str) -> None:
    """No partition has the type of an ESP any more; where it is mounted can still be configured."""
    disk.write_table(machine.disk, retype={"ESP": DATA_TYPE})
    machine.check("sync; echo 3 >/proc/sys/vm/drop_caches")
    for place in ("/boot", ""):
        before = disk.partition_hash(machine.disk, disk.SLOT["A"]), firmware.read_variables(machine)
        for command in (f"install {url}", "mark-good"):
            missing = machine.run(f"bistable {command}")
            assert missing.status == 1, missing
            assert "no EFI System Partition found" in missing.err, missing
            assert "[esp] mount" in missing.err, missing
        machine.check("bistable status")
        after = disk.partition_hash(machine.disk, disk.SLOT["A"]), firmware.read_variables(machine)
        assert after == before
        machine.check(f"printf '{BASIC}mount=/boot\\n' >/run/at.conf")
        configured = machine.run("bistable mark-good --config=/run/at.conf")
        if place:
            assert configured.status == 0, configured
            machine.check("umount /boot")
        else:
            assert configured.status == 1 and "is the ESP mounted there?" in configured.err


@pytest.mark.long
def test_read_only_full_and_missing(machine, bundle, system):
    urls = {letter: bundle(letter) for letter in "YZ"}
    wake(machine)
    check_read_only(machine, urls["Y"])
    check_full(machine, urls, system.variant("Z").uki.stat().st_size)
    machine.restart("reboot -f", "Z")
    assert machine.firmware_entry() == "Metropolis Slot B"
    machine.check("bistable mark-good")
    check_missing(machine, urls["Y"])


@pytest.fixture
def split(machine: Machine):
    """The ESP alone on one disk, the system on another."""
    with_esp = machine.directory / "with-esp.raw"
    shutil.copy(machine.disk, with_esp)
    disk.write_table(machine.disk, without="ESP")
    disk.write_table(with_esp, without=" ".join(label for label in disk.LAYOUT if label != "ESP"))
    machine.more_disks.append((with_esp, "virtio-blk-pci"))
    yield machine
    machine.power_cut()
    with_esp.unlink()


@pytest.mark.long
def test_on_another_disk(split, bundle):
    machine = split
    machine.boot("X")
    # The system's disk comes first, and has none.
    machine.check("test -e /sys/class/block/vda/vda3 && ! test -e /sys/class/block/vda/vda1")
    # Our own mount is nobody else's: remount=no does not forbid to write there.
    machine.check(f"umount /boot; printf '{BASIC}remount=no\\n' >/run/no.conf")
    assert "must not be remounted" not in machine.run("bistable doctor --config=/run/no.conf").out
    command = f"bistable install {bundle('Y')} --config=/run/no.conf"
    machine.restart(f"{command} --activate=reboot --now", "Y")
    assert machine.firmware_entry() == "Metropolis Slot B"
    variables = firmware.read_variables(machine)
    entry = variables[f"Boot{firmware.entry_number(variables, 'Metropolis Slot B')}"]
    esp, block = disk.ESP, disk.SECTOR
    assert firmware.place(entry) == (esp.number, esp.start // block, esp.size // block, esp.uuid)
    machine.check("bistable mark-good")
    assert machine.status()["default"] == "B"
