# SPDX-License-Identifier: Apache-2.0
"""An EFI System Partition whose names the factory spelled its own way, on mounts that do not fold
case: Linux has to find what the firmware finds."""

import pytest

from harness import cache, disk
from harness.luggage import load_modules
from harness.machine import Machine

# Each of them makes Linux distinguish, or spell, the names otherwise.
MOUNTS = ["iocharset=utf8", "iocharset=utf8,shortname=win95", "check=s,shortname=lower"]
FACTORY = "METROPOLIS/BOOT-A.EFI boot/bootx64.efi"


@pytest.fixture
def spelled(machine: Machine) -> Machine:
    """As mtools leave it: 8.3 names whose lower case is a flag."""
    boot_file = disk.get_file(machine.disk, disk.REMOVABLE)
    esp = disk.on_esp(machine.disk)
    cache.tool("mdeltree", "-i", esp, "::/EFI")
    for folder in ("/efi", "/efi/METROPOLIS", "/efi/boot"):
        cache.tool("mmd", "-i", esp, f"::{folder}")
    for name in FACTORY.split():
        disk.put_file(machine.disk, f"/efi/{name}", boot_file)
    return machine


def mount(machine: Machine, options: str) -> None:
    machine.check(f"umount /boot; mount -t vfat -o noatime,{options} /dev/vda1 /boot")


def names(machine: Machine) -> str:
    """All names, as they are on the disk, and when what they name was changed."""
    mount(machine, "iocharset=utf8")
    return machine.check("cd /boot && find . -exec stat -c '%n %s %Y' {} + | sort")


def esp_of(machine: Machine) -> str:
    machine.check("umount /boot; sync")
    return disk.partition_hash(machine.disk, disk.ESP)


def test_a_life(spelled, bundle, web):
    machine = spelled
    machine.boot("X")
    load_modules(machine, web, ["nls_utf8"])
    mount(machine, "iocharset=utf8")
    machine.check("test -e /boot/efi/METROPOLIS/BOOT-A.EFI && test -e /boot/efi/boot/bootx64.efi")
    machine.check("! test -e /boot/EFI && ! test -e /boot/efi/boot/BOOTX64.EFI")

    machine.check("bistable mark-good")
    first = names(machine)
    for options in MOUNTS:
        mount(machine, options)
        before = esp_of(machine)
        mount(machine, options)
        machine.check("bistable mark-good")
        assert machine.status()["slots"]["A"]["confirmed"] is True
        assert esp_of(machine) == before, f"mark-good wrote to a disk mounted with {options}"
    assert names(machine) == first

    # An older program has made what it did not find.
    machine.check("mkdir /boot/efi/metropolis")
    clash = '"metropolis" and "METROPOLIS" in /EFI'
    before = esp_of(machine)
    mount(machine, "iocharset=utf8")
    for command in (f"install {bundle('Y')}", "mark-good"):
        refused = machine.run(f"bistable {command}")
        assert refused.status == 3 and clash in refused.err, refused
    assert clash in machine.run("bistable doctor").out
    assert esp_of(machine) == before
    mount(machine, "check=s")
    machine.check("rmdir /boot/efi/metropolis && test -e /boot/efi/METROPOLIS/BOOT-A.EFI")

    mount(machine, "iocharset=utf8")
    machine.restart(f"bistable install {bundle('Y')} --activate=reboot --now", "Y")
    assert machine.firmware_entry() == "Metropolis Slot B"
    load_modules(machine, web, ["nls_utf8"])
    mount(machine, "iocharset=utf8")
    machine.check("bistable mark-good")
    listing = names(machine)
    found = [line.split()[0] for line in listing.splitlines()]
    assert len({name.lower() for name in found}) == len(found), listing
    assert "./efi/METROPOLIS/boot-b.efi" in found, listing
    assert {f"./efi/{name}" for name in FACTORY.split()} <= set(found), listing
    assert machine.check("cmp /boot/efi/boot/bootx64.efi /boot/efi/METROPOLIS/boot-b.efi") == ""

    machine.power_cut()
    machine.fresh_variables()
    machine.boot("Y")  # by the removable path
