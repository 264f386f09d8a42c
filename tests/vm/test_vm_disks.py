# SPDX-License-Identifier: Apache-2.0
"""Whole updates on disks of each kind: their names, their logical blocks, clones of them."""

from pathlib import Path

import pytest

from harness import disk, firmware
from harness.machine import Machine

BLOCKS_4096 = "logical_block_size=4096,physical_block_size=4096"
# QEMU's device, chipset, logical block, the name of the running root's partition in Linux
KINDS = {
    "virtio-4096": (f"virtio-blk-pci,{BLOCKS_4096}", "q35", 4096, "vda2"),
    "nvme-4096": (f"nvme,serial=1,{BLOCKS_4096}", "q35", 4096, "nvme0n1p2"),
    # As SATA disks are for Linux: libata, an sd name.
    "ata": ("ide-hd,bus=ide.0", "pc", 512, "sda2"),
}


@pytest.mark.long
@pytest.mark.parametrize("kind", KINDS)
def test_update_on(kind, system, bundle, tmp_path):
    attach, chipset, block, name = KINDS[kind]
    machine = Machine(tmp_path, system)
    machine.attach, machine.chipset = attach, chipset
    disk.make_factory_disk(machine.disk, system, sector=block)
    try:
        machine.boot("X")
        whole = name[: -2 if name.startswith("nvme") else -1]
        machine.check(f"grep -qx {block} /sys/class/block/{whole}/queue/logical_block_size")
        # Neither udev nor its links: what is found is found without them.
        machine.check("! test -e /dev/disk && ! test -e /run/udev")

        machine.restart(f"bistable install {bundle('Y')} --activate=reboot --now", "Y")
        # By the entry's short-form HD() node, not by the removable path.
        assert machine.firmware_entry() == "Metropolis Slot B"
        assert machine.firmware_path().endswith("/\\EFI\\metropolis\\boot-b.efi")
        variables = firmware.read_variables(machine)
        entry = f"Boot{firmware.entry_number(variables, 'Metropolis Slot B')}"
        esp = disk.ESP
        expected = (esp.number, esp.start // block, esp.size // block, esp.uuid)
        assert firmware.place(variables[entry]) == expected
        image = system.variant("Y").image.read_bytes()
        assert disk.read_partition(machine.disk, disk.SLOT["B"], len(image)) == image
        machine.check("bistable mark-good")

        if kind == "ata":
            return
        machine.restart(f"bistable install {bundle('Z')} --activate=kexec --now", "Z")
        assert machine.booted_by_kexec()
        machine.check(f"test -e /sys/class/block/{name}/holders/dm-0")
        machine.check("bistable mark-good")
        if kind == "virtio-4096":
            machine.cold_boot("Z")
            assert machine.firmware_entry() == "Metropolis Slot A"
    finally:
        machine.power_cut()


@pytest.mark.long
@pytest.mark.parametrize("root", ["vda", "vdb"])
def test_cloned_disk(root, machine, bundle, tmp_path, system):
    """Two disks equal to the last bit: everything goes to the one that the root lies on."""
    clone = tmp_path / "clone.raw"
    disk.make_factory_disk(clone, system)
    mine, other = "virtio-blk-pci,serial=ROOT,addr=8", "virtio-blk-pci,serial=CLONE,addr="
    # Linux names them in the order of their PCI addresses.
    machine.attach, address = mine, 9 if root == "vda" else 7
    machine.more_disks.append((clone, f"{other}{address}"))
    machine.boot("X")
    machine.check(f"test -e /sys/class/block/{root}2/holders/dm-0")
    machine.check(f"grep -q ROOT /sys/class/block/{root}/serial")
    # The ESP of the first disk is mounted, whichever that is.
    machine.check("grep -q '/dev/vda1 /boot vfat' /proc/mounts")
    # Neither links that lead elsewhere: the root's disk is asked, not they.
    elsewhere = "vdb3" if root == "vda" else "vda3"
    machine.check(
        f"mkdir -p /dev/disk/by-partlabel && ln -s ../../{elsewhere}"
        " /dev/disk/by-partlabel/METROPOLIS-SYSTEM-B"
    )
    twin = "/dev/vdb1" if root == "vda" else "/dev/vda1"
    assert f"{twin} has the same partition GUID" in machine.run("bistable doctor").out
    machine.check("bistable mark-good")
    machine.check(f"bistable install {bundle('Y')} --activate=kexec")
    machine.check("umount /boot")
    assert_only_mine_changed(machine, clone, tmp_path / "factory.raw")

    if root == "vda":
        return
    machine.restart("bistable activate --activate=kexec --now", "Y")
    machine.check("umount /boot")
    machine.check("bistable mark-good")
    assert machine.status()["default"] == "B"
    assert_only_mine_changed(machine, clone, tmp_path / "factory.raw")

    # The firmware takes the first disk's ESP, the clone's, which has no slot B.
    machine.cold_boot("X")
    refused = machine.run("bistable mark-good")
    assert refused.status == 3 and "fell back" in refused.err, refused


def assert_only_mine_changed(machine: Machine, clone: Path, factory: Path) -> None:
    machine.check("sync")
    disk.make_factory_disk(factory, machine.system)
    assert disk.file_hash(clone) == disk.file_hash(factory), "the clone was written to"
    factory.unlink()
    image = machine.system.variant("Y").image.read_bytes()
    assert disk.read_partition(machine.disk, disk.SLOT["B"], len(image)) == image
    assert disk.get_file(machine.disk, "/EFI/metropolis/boot-b.state")
