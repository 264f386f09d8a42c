# SPDX-License-Identifier: Apache-2.0
"""Whole updates: X to Y to Z, through the firmware and by kexec."""

import pytest

from harness import firmware
from harness.snapshot import wake


def assert_trial(status: dict, slot: str) -> None:
    """The running slot is started, and not confirmed yet."""
    assert status["running"] == slot
    assert status["slots"][slot]["complete"] is True
    assert status["slots"][slot]["confirmed"] is False


def assert_settled(status: dict, slot: str, version: str) -> None:
    assert status["running"] == slot
    assert status["default"] == slot
    assert status["next"] == slot
    assert status["next_how"] == "default"
    assert status["slots"][slot]["confirmed"] is True
    assert status["slots"][slot]["entry_active"] is True
    assert status["slots"][slot]["version"] == version


def test_by_reboot(machine, bundle, web):
    machine.boot("X")
    machine.check(f"bistable install {bundle('Y')} --activate=reboot")
    pending = machine.status()
    assert (pending["running"], pending["default"]) == ("A", "A")
    assert (pending["next"], pending["next_how"]) == ("B", "reboot")
    machine.restart("reboot -f", "Y")
    assert machine.firmware_entry() == "Metropolis Slot B"
    assert not machine.booted_by_kexec()
    assert_trial(machine.status(), "B")
    machine.check("bistable mark-good")
    assert_settled(machine.status(), "B", "2.0")

    bundle("Z")
    without_range = web.url("plain/Z.zip")
    machine.restart(f"bistable install {without_range} --activate=reboot --now", "Z")
    assert_trial(machine.status(), "A")
    machine.check("bistable mark-good")
    machine.cold_boot("Z")
    assert machine.firmware_entry() == "Metropolis Slot A"
    assert_settled(machine.status(), "A", "3.0")
    assert machine.status()["slots"]["A"]["cold_boot_proven"] is True


@pytest.mark.long
def test_by_kexec(machine, bundle):
    """The firmware starts once; its variables can be written in each system."""
    wake(machine)
    for letter, slot in (("Y", "B"), ("Z", "A")):
        machine.restart(f"bistable install {bundle(letter)} --activate=kexec --now", letter)
        assert machine.booted_by_kexec()
        assert machine.firmware_boots() == 1
        status = machine.status()
        assert status["kexec_booted"] is True
        assert_trial(status, slot)
        name = f"{firmware.EFIVARS}/Written{letter}-7e570000-0000-4000-8000-000000000000"
        machine.check(f"printf '\\007\\000\\000\\000by {letter}' >{name}")
        machine.check(f"grep -q 'by {letter}' {name}")
        machine.check("bistable mark-good")
        assert machine.status()["default"] == slot
    assert machine.status()["slots"]["A"]["cold_boot_proven"] is False
    machine.cold_boot("Z")
    machine.check(f"grep -q 'by Y' {firmware.EFIVARS}/WrittenY-*")
