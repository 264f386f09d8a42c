# SPDX-License-Identifier: Apache-2.0
"""Machines as factories and other tools leave them: whatever is tried, the firmware starts no trial
after a power cut. (tests/sim/layouts.c has more of them.)"""

from dataclasses import replace
from pathlib import Path

import pytest

from harness import disk, firmware
from harness.machine import Machine
from harness.snapshot import wake
from harness.uki import bound
from pe_image import PeImage

BOOT_A, BOOT_B = (f"/boot{path}" for path in disk.BOOT_FILE.values())
SLOT_A, SLOT_B = "Metropolis Slot A", "Metropolis Slot B"
REMOVABLE = f"/boot{disk.REMOVABLE}"
SYSTEMD_BOOT = "/usr/lib/systemd/boot/efi/systemd-bootx64.efi"
TYPE2 = "/EFI/Linux/testos-1.efi"


def assert_cold_boot(machine: Machine, letter: str, entry: str) -> None:
    """Pulls the plug: the firmware starts this variant, by this entry."""
    machine.cold_boot(letter)
    assert machine.firmware_entry() == entry
    status = machine.status()
    slot = "B" if letter == "Y" else "A"
    assert (status["running"], status["next"], status["default"]) == (slot, slot, slot)


def add_entries(machine: Machine, entries: dict[str, tuple[str, str]], esp=disk.ESP) -> None:
    """By number: description and path; in front of BootOrder."""
    order = firmware.boot_order(firmware.read_variables(machine))
    for number, (text, path) in entries.items():
        option = firmware.load_option(text, esp, path)
        firmware.write_variable(machine, f"Boot{number}", option)
    firmware.write_variable(machine, "BootOrder", firmware.pack_order([*entries, *order]))


def remove_variables(machine: Machine) -> None:
    for pattern in ("Boot[0-9A-F][0-9A-F][0-9A-F][0-9A-F]", "BootOrder"):
        machine.check(f"rm {firmware.EFIVARS}/{pattern}-{firmware.GLOBAL}")


def removable_only(machine: Machine) -> None:
    """A factory machine that runs X, without entries of ours as ever, and without its boot file."""
    wake(machine)
    machine.check(f"rm {BOOT_A} && sync")


def test_only_the_removable_path(machine, bundle):
    removable_only(machine)
    machine.check(f"bistable install {bundle('Y')} --activate=kexec")
    assert_cold_boot(machine, "X", SLOT_A)
    machine.check(f"cmp {BOOT_A} {REMOVABLE}")
    machine.restart("bistable activate --activate=kexec --now", "Y")
    assert_cold_boot(machine, "X", SLOT_A)


@pytest.mark.long
def test_no_variables(machine, bundle):
    removable_only(machine)
    remove_variables(machine)
    machine.restart(f"bistable install {bundle('Y')} --activate=kexec --now", "Y")
    assert_cold_boot(machine, "X", SLOT_A)


@pytest.mark.long
def test_dead_entries_of_ours(machine, bundle):
    """The trial comes by BootNext, which is spent by then."""
    removable_only(machine)
    dead = {"0041": (SLOT_B, disk.BOOT_FILE["B"]), "0040": (SLOT_A, disk.BOOT_FILE["A"])}
    add_entries(machine, dead)
    machine.restart(f"bistable install {bundle('Y')} --activate=reboot --now", "Y")
    assert machine.firmware_entry() == SLOT_B
    assert_cold_boot(machine, "X", SLOT_A)
    order = firmware.boot_order(firmware.read_variables(machine))
    assert order[:2] == ["0040", "0041"]


@pytest.mark.long
def test_entry_of_the_removable_path(machine, bundle):
    """It stays the first one, and starts what is confirmed."""
    removable_only(machine)
    add_entries(machine, {"0020": ("UEFI OS", disk.REMOVABLE)})
    machine.restart("reboot -f", "X")
    assert machine.firmware_entry() == "UEFI OS"
    machine.restart(f"bistable install {bundle('Y')} --activate=kexec --now", "Y")
    machine.check("bistable mark-good")
    assert_cold_boot(machine, "Y", SLOT_B)


@pytest.mark.long
def test_slots_of_somebody_else(machine, web, system, tmp_path):
    """No records, B runs, and BootOrder has A first. Both entries are of a time when the partition
    had another number: the firmware does not find it by that, and takes the removable path."""
    wake(machine)
    made = tmp_path / "somebody.efi"
    made.write_bytes(bound(system.variant("Y").uki.read_bytes(), "B"))
    machine.check(f"wget -q -O {BOOT_B} {web.offer(made)} && cp {BOOT_B} {REMOVABLE} && sync")
    machine.check(f"wget -q -O - {web.offer(system.variant('Y').image)} | dd of=/dev/vda3 bs=1M")
    old = replace(disk.ESP, number=7, start=4096, size=disk.ESP.size // 2)
    entries = {"0040": (SLOT_A, disk.BOOT_FILE["A"]), "0041": (SLOT_B, disk.BOOT_FILE["B"])}
    add_entries(machine, entries, old)
    machine.restart("reboot -f", "Y")
    assert "failed to load Boot0041" in machine.console_tail(30)
    status = machine.status()
    assert (status["running"], status["default"]) == ("B", "A")
    assert [status["slots"][slot]["version"] for slot in "AB"] == ["1.0", "2.0"]
    assert "states another place" in machine.run("bistable doctor").out

    machine.check("bistable mark-good")
    variables = firmware.read_variables(machine)
    here = disk.ESP.number, disk.ESP.start // 512, disk.ESP.size // 512, disk.ESP.uuid
    assert {firmware.place(variables[f"Boot{number}"]) for number in entries} == {here}
    assert "states another place" not in machine.run("bistable doctor").out
    assert_cold_boot(machine, "Y", SLOT_B)


# --- boot loaders ---


def sections(uki: bytes) -> dict[str, bytes]:
    image, found = PeImage(uki), {}
    for name in (".linux", ".initrd", ".cmdline"):
        start, size = (image.get(name, field) for field in ("PointerToRawData", "VirtualSize"))
        found[name] = bytes(image.content[start : start + size])
    return found


def with_shim_and_grub(programs, uki: bytes) -> dict[str, bytes]:
    """No UKI at all: kernel and initrd are files of their own."""
    parts = sections(uki)
    command_line = parts[".cmdline"].decode().rstrip("\0")
    script = f"linux /linux {command_line}\ninitrd /initrd\nboot\n"
    shim, grub = "shim/shimx64.efi.signed", "grub/x86_64-efi-signed/grubx64.efi.signed"
    return {
        disk.REMOVABLE: (programs.root / "usr/lib" / shim).read_bytes(),
        "/EFI/BOOT/grubx64.efi": (programs.root / "usr/lib" / grub).read_bytes(),
        "/EFI/debian/grub.cfg": script.encode(),
        "/linux": parts[".linux"],
        "/initrd": parts[".initrd"],
    }


def written(machine: Machine) -> tuple:
    """All that firmware looks at. (Whoever takes the lock makes its folder, which stays empty.)"""
    files = machine.check("cd /boot && find . -type f -exec sha256sum {} + | sort")
    return files, firmware.read_variables(machine)


def assert_named(machine: Machine, loader: str) -> None:
    assert machine.status()["boot_loader"] == loader
    assert loader in machine.check("bistable status")
    assert f"This machine was started by {loader}" in machine.run("bistable doctor").out


def test_boot_loaders(machine, programs, system, bundle):
    uki = bound(system.variant("X").uki.read_bytes(), "A")
    disk.fill_esp(machine.disk, with_shim_and_grub(programs, uki))
    machine.boot("X")
    loader = f"the boot loader shim ({disk.REMOVABLE})"
    assert_named(machine, loader)
    before = written(machine)
    for command in (f"install {bundle('Y')}", f"install {bundle('Y')} --dry-run", "mark-good"):
        refused = machine.run(f"bistable {command}")
        assert refused.status == 3, refused
        assert f"this machine was started by {loader}" in refused.err, refused
        assert f"Copy the UKI that runs to {disk.BOOT_FILE['A']}" in refused.err, refused
    assert written(machine) == before

    # Among its UKIs is the one that runs: a start without the loader can be made.
    machine.power_cut()
    systemd_boot = Path(SYSTEMD_BOOT).read_bytes()
    disk.fill_esp(machine.disk, {disk.REMOVABLE: systemd_boot, TYPE2: uki})
    machine.boot("X")
    assert_named(machine, f"the boot loader systemd-boot ({disk.REMOVABLE})")
    machine.restart(f"bistable install {bundle('Y')} --activate=kexec --now", "Y")
    assert_cold_boot(machine, "X", SLOT_A)
    assert machine.status()["boot_loader"] is None
    machine.check(f"cmp {BOOT_A} /boot{TYPE2}")
    assert disk.get_file(machine.disk, disk.REMOVABLE) == systemd_boot
