# SPDX-License-Identifier: Apache-2.0
"""Updates of a real Debian: what systemd starts, confirms, stops and mounts."""

import re

import pytest

from harness import disk
from harness.debian import VERSIONS
from harness.machine import Machine
from harness.uki import bound
from harness.webserver import WebServer


class Life:
    """One machine from the factory on: each step starts from what the one before it left."""

    def __init__(self, machine: Machine, web: WebServer) -> None:
        self.machine = machine
        self.web = web

    def url(self, letter: str) -> str:
        system = self.machine.system
        return self.web.offer(system.variant(letter).signed, f"{system.kind}-{letter}.bundle")

    def settled(self) -> str:
        """Waits until systemd has started all that there is to start; returns its verdict."""
        return self.machine.run("systemctl is-system-running --wait").out.strip()

    def failed_units(self) -> list[str]:
        listed = self.machine.check("systemctl list-units --failed --plain --no-legend")
        return [line.split()[0] for line in listed.splitlines()]

    def assert_confirmed(self, slot: str, letter: str) -> None:
        """By the unit: nobody else called mark-good."""
        machine = self.machine
        assert (self.settled(), self.failed_units()) == ("running", [])
        said = machine.check("journalctl -b -o cat -u bistable-mark-good")
        assert f"Slot {slot} is confirmed" in said, said
        status = machine.status()
        assert (status["running"], status["default"], status["next"]) == (slot, slot, slot)
        assert status["slots"][slot]["confirmed"] is True
        assert status["slots"][slot]["version"] == VERSIONS[letter]

    # Steps

    def leaves_the_factory(self) -> None:
        machine = self.machine
        machine.boot("X")
        self.assert_confirmed("A", "X")
        assert machine.check("cat /proc/1/comm") == "systemd\n"
        machine.check("grep -q '^/dev/mapper/root / erofs ro' /proc/mounts")
        for unit in ("systemd-logind", "dbus", "systemd-udevd", "systemd-journald"):
            machine.check(f"systemctl is-active {unit}.service")

    def updates_through_the_automount(self) -> None:
        """Nothing but systemd-gpt-auto-generator says where the ESP is; Y is staged."""
        machine = self.machine
        machine.check("! grep -v '^#' /etc/fstab | grep -i -E 'vfat|efi|esp'")
        mounts = re.findall(r"^\S+ (/\S+) autofs ", machine.check("cat /proc/mounts"), re.M)
        (place,) = set(mounts) & {"/efi", "/boot"}
        machine.check(f"systemctl stop $(systemd-escape -p --suffix=mount {place})")
        machine.check("! grep ' vfat ' /proc/mounts")
        machine.check(f"bistable install {self.url('Y')} --activate=kexec")
        for process in ("1", "self"):
            seen = machine.check(f"grep ' vfat ' /proc/{process}/mounts").splitlines()
            assert [line.split()[:2] for line in seen] == [["/dev/vda1", place]]
        boot_file = bound(machine.system.variant("Y").uki.read_bytes(), "B")
        machine.check("sync")
        assert disk.get_file(machine.disk, disk.BOOT_FILE["B"]) == boot_file
        machine.check(f"test -s {place}/EFI/metropolis/boot-b.efi")

    def starts_by_kexec(self, command: str, letter: str) -> None:
        """After an orderly end: what the old system stops comes to its end before that."""
        machine = self.machine
        before = machine.check("cat /proc/sys/kernel/random/boot_id").strip()
        boots = machine.firmware_boots()
        machine.restart(command, letter)
        assert machine.booted_by_kexec() and machine.firmware_boots() == boots
        stopped = machine.check("cat /var/lib/stopped").split()
        assert stopped[-4:] == ["application", before, "database", before]
        console = machine.console_tail(1000)
        ends = ["Stopped application.service", "Stopped database.service", "Unmounted var.mount"]
        order = [console.rindex(words) for words in (*ends, "Starting systemd-kexec.service")]
        assert order == sorted(order), console

    def confirms_and_survives_a_power_cut(self) -> None:
        machine = self.machine
        self.assert_confirmed("B", "Y")
        assert machine.status()["slots"]["B"]["cold_boot_proven"] is False
        machine.cold_boot("Y")
        assert machine.firmware_entry() == "Metropolis Slot B"
        self.assert_confirmed("B", "Y")
        assert machine.status()["slots"]["B"]["cold_boot_proven"] is True

    def fails_its_health_check(self) -> None:
        """Started by the firmware, and never confirmed."""
        machine = self.machine
        machine.restart(f"bistable install {self.url('H')} --activate=reboot --now", "H")
        assert machine.firmware_boots() == 2 and not machine.booted_by_kexec()
        assert machine.firmware_entry() == "Metropolis Slot A"
        assert (self.settled(), self.failed_units()) == ("degraded", ["health.service"])
        status = machine.status()
        assert (status["running"], status["default"]) == ("A", "B")
        assert status["slots"]["A"]["confirmed"] is False

        machine.cold_boot("Y")
        self.assert_confirmed("B", "Y")
        tried = machine.status()["slots"]["A"]
        assert (tried["confirmed"], tried["tried_unconfirmed"]) == (False, True)
        assert [attempt["outcome"] for attempt in tried["attempts"]] == ["failed"]


START = "bistable activate --activate=kexec --now"


@pytest.mark.parametrize("suite", ["bookworm"])
def test_whole_life(debian, web):
    life = Life(debian, web)
    life.leaves_the_factory()
    life.updates_through_the_automount()
    life.starts_by_kexec(START, "Y")
    life.confirms_and_survives_a_power_cut()
    life.fails_its_health_check()


@pytest.mark.parametrize("suite", ["trixie"])
def test_sample(debian, web):
    life = Life(debian, web)
    life.leaves_the_factory()
    life.updates_through_the_automount()
    life.starts_by_kexec(START, "Y")
    life.confirms_and_survives_a_power_cut()
