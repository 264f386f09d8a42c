# SPDX-License-Identifier: Apache-2.0
"""What happens to firmware variables, ours and others'."""

import pytest

from harness import disk
from harness.firmware import (
    boot_order,
    description,
    load_option,
    pack_order,
    read_variables,
    write_variable,
)
from harness.snapshot import wake


@pytest.mark.long
def test_wiped_variables_boot_the_confirmed_slot(machine, bundle):
    """Without entries of ours the firmware takes the removable path: the confirmed slot's."""
    wake(machine)
    machine.restart(f"bistable install {bundle('Y')} --activate=kexec --now", "Y")
    machine.check("bistable mark-good")
    machine.power_cut()
    boot_file = disk.get_file(machine.disk, disk.BOOT_FILE["B"])
    assert disk.get_file(machine.disk, disk.REMOVABLE) == boot_file
    machine.fresh_variables()
    machine.boot("Y")
    assert not machine.firmware_entry().startswith("Metropolis")
    machine.check("bistable mark-good")
    after = read_variables(machine)
    entries = [description(after[f"Boot{number}"]) for number in boot_order(after)]
    assert entries.count("Metropolis Slot B") == 1


@pytest.mark.long
def test_foreign_entries_survive(machine, bundle):
    wake(machine)
    before = read_variables(machine)
    elsewhere = load_option("Elsewhere", disk.ESP, "/EFI/elsewhere/boot.efi")
    data = bytes(range(256))
    with_data = load_option("With data", disk.ESP, "/EFI/data/boot.efi", data, attributes=0)
    write_variable(machine, "Boot0042", elsewhere)
    write_variable(machine, "Boot00A0", with_data)
    write_variable(machine, "BootOrder", pack_order(["0042", *boot_order(before), "00A0"]))
    before = read_variables(machine)
    assert (before["Boot0042"], before["Boot00A0"]) == (elsewhere, with_data)

    machine.restart(f"bistable install {bundle('Y')} --activate=reboot --now", "Y")
    machine.check("bistable mark-good")
    machine.restart(f"bistable install {bundle('Z')} --activate=kexec --now", "Z")
    machine.check("bistable mark-good")
    machine.check("bistable rollback --activate=reboot")
    machine.check("bistable mark-bad B")

    after = read_variables(machine)
    foreign = boot_order(before)
    for number in foreign:
        assert after[f"Boot{number}"] == before[f"Boot{number}"], number
    assert [number for number in boot_order(after) if number in foreign] == foreign
    ours = [number for number in boot_order(after) if number not in foreign]
    names = [description(after[f"Boot{number}"]) for number in ours]
    assert names == ["Metropolis Slot A", "Metropolis Slot B"]
