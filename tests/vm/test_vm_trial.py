# SPDX-License-Identifier: Apache-2.0
"""A started slot is on trial until it is confirmed: what the next start is, in each case."""

import pytest

from harness import disk
from harness.snapshot import wake


@pytest.mark.long
def test_confirmed_and_rolled_back(machine, bundle):
    """A slot that was confirmed after a kexec survives a power cut; then back, in both ways."""
    wake(machine)
    machine.restart(f"bistable install {bundle('Y')} --activate=kexec --now", "Y")
    machine.check("bistable mark-good")
    machine.cold_boot("Y")
    assert machine.firmware_entry() == "Metropolis Slot B"
    assert machine.status()["running"] == "B"

    machine.restart("bistable rollback --activate=kexec --now", "X")
    assert machine.booted_by_kexec()
    assert machine.firmware_boots() == 1
    assert machine.status()["default"] == "B"
    machine.cold_boot("Y")

    machine.restart("bistable rollback --activate=reboot --now", "X")
    # Confirming stays X's business: until then the default is Y.
    assert machine.status()["default"] == "B"
    machine.check("bistable mark-good")
    machine.cold_boot("X")


@pytest.mark.long
def test_unconfirmed_after_kexec_falls_back_at_a_power_cut(machine, bundle):
    wake(machine)
    machine.restart(f"bistable install {bundle('Y')} --activate=kexec --now", "Y")
    machine.cold_boot("X")
    status = machine.status()
    assert (status["running"], status["default"]) == ("A", "A")
    assert status["slots"]["B"]["confirmed"] is False
    assert status["slots"]["B"]["tried_unconfirmed"] is True


def test_panic_after_kexec_falls_back(machine, bundle):
    wake(machine)
    machine.restart(f"bistable install {bundle('P')} --activate=kexec --now", "X")
    assert "testos: this variant panics" in machine.console_tail(200)
    assert machine.firmware_boots() == 2
    status = machine.status()
    assert status["running"] == "A"
    assert status["slots"]["B"]["tried_unconfirmed"] is True


def test_damaged_image_falls_back(machine, bundle):
    """The image is damaged after its installation: verity refuses it, the old slot starts."""
    wake(machine)
    machine.check(f"bistable install {bundle('Y')} --activate=reboot")
    # In the block of erofs' superblock, beside the superblock itself: only verity notices.
    machine.check(
        "event=$(grep -lx PARTNAME=METROPOLIS-SYSTEM-B /sys/class/block/*/uevent)"
        " && device=/dev/$(echo $event | cut -d/ -f5)"
        " && printf damage | dd of=$device bs=1 seek=3000 conv=notrunc && sync"
    )
    machine.restart("reboot -f", "X")
    assert machine.firmware_boots() == 3
    assert "verity" in machine.console_tail(200)
    damaged = disk.read_partition(machine.disk, disk.SLOT["B"], 3006)
    assert damaged[3000:] == b"damage"
    status = machine.status()
    assert status["running"] == "A"
    assert status["next"] == "A"
    assert status["slots"]["B"]["confirmed"] is False
    assert status["slots"]["B"]["tried_unconfirmed"] is True
    assert [attempt["outcome"] for attempt in status["slots"]["B"]["attempts"]] == ["failed"]


@pytest.mark.long
def test_kernel_refuses_kexec(machine, bundle):
    """Said in the kernel's words; the slot starts by the firmware instead."""
    wake(machine)
    machine.check(f"bistable install {bundle('Y')} --activate=kexec")
    assert (machine.status()["next"], machine.status()["next_how"]) == ("B", "kexec")
    machine.check("echo 1 >/proc/sys/kernel/kexec_load_disabled")
    # What is staged is Y itself, and it cannot be unloaded any more: nothing may be written.
    stopped = machine.run(f"bistable install {bundle('Z')} --activate=reboot")
    assert stopped.status == 1 and "reboot first" in stopped.err
    assert machine.status()["slots"]["B"]["complete"] is True

    machine.cold_boot("X")
    machine.check("echo 1 >/proc/sys/kernel/kexec_load_disabled")
    assert "kexec_load_disabled" in machine.status()["kexec"]["reason"]
    only = machine.run("bistable activate --activate=kexec-only")
    assert only.status == 1 and "kexec_load_disabled" in only.err
    fell_back = machine.check("bistable activate --activate=kexec")
    assert "kexec_load_disabled" in fell_back
    machine.restart("reboot -f", "Y")
    assert machine.firmware_entry() == "Metropolis Slot B"
