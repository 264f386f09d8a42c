# SPDX-License-Identifier: Apache-2.0
"""Updates of a real Debian: what systemd starts, confirms, stops and mounts."""

import json
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

    def hold(self, mode: str, command: str) -> None:
        """Somebody has a say in restarts, for as long as the command runs."""
        machine = self.machine
        machine.check(
            "systemd-run -q --unit=writer systemd-inhibit --what=shutdown "
            f"--mode={mode} --who='the tester' --why='writes the firmware' sh -c '{command}'"
        )
        machine.check("until systemd-inhibit --list | grep -q tester; do sleep 0.2; done")

    # Steps

    def leaves_the_factory(self) -> None:
        """With no boot entry, and one UKI, on the removable path."""
        machine, uki = self.machine, self.machine.system.variant("X").uki.read_bytes()
        disk.remove_file(machine.disk, disk.BOOT_FILE["A"])
        machine.boot("X")
        assert not machine.firmware_entry().startswith("Metropolis")
        self.assert_confirmed("A", "X")
        (root_hash,) = re.findall(rb"roothash=([0-9a-f]{64})", uki)
        assert machine.status()["slots"]["A"]["root_hash"] == root_hash.decode()
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
        said = machine.check(f"bistable install {self.url('Y')} --activate=kexec")
        assert "Start it with 'systemctl kexec'" in said
        for process in ("1", "self"):
            seen = machine.check(f"grep ' vfat ' /proc/{process}/mounts").splitlines()
            assert [line.split()[:2] for line in seen] == [["/dev/vda1", place]]
        machine.check("sync")
        uki = {letter: machine.system.variant(letter).uki.read_bytes() for letter in "XY"}
        for slot, letter in (("A", "X"), ("B", "Y")):
            boot_file = bound(uki[letter], slot)
            assert disk.get_file(machine.disk, disk.BOOT_FILE[slot]) == boot_file
        machine.check(f"test -s {place}/EFI/metropolis/boot-b.efi")
        words = {"bookworm": "'systemctl reboot' goes through the firmware",
                 "trixie": "or 'systemctl reboot', which does the same here"}
        assert words[machine.system.kind] in said

    def goes_through_the_firmware(self) -> None:
        """As `systemctl reboot` does before systemd 253: the trial never began."""
        machine = self.machine
        machine.restart("systemctl reboot", "X")
        assert not machine.booted_by_kexec()
        assert machine.firmware_entry() == "Metropolis Slot A"
        assert (self.settled(), self.failed_units()) == ("running", [])
        said = machine.check("journalctl -b -o cat -u bistable-mark-good")
        assert "Slot A is confirmed" in said and "failed" not in said, said
        other = machine.status()["slots"]["B"]
        assert [attempt["outcome"] for attempt in other["attempts"]] == ["not-started"]
        assert other["tried_unconfirmed"] is False

    def is_not_started(self, command: str) -> None:
        """A restart that somebody forbids is not carried out."""
        self.hold("block", "sleep infinity")
        refused = self.machine.run(command)
        assert refused.status == 3, refused
        for word in ("the tester", "writes the firmware", "--force"):
            assert word in refused.err, refused

    def is_delayed(self) -> None:
        """Whoever is asked to wait for has its time."""
        self.machine.check("systemctl stop writer; systemctl reset-failed writer || true")
        self.hold("delay", "sleep 3; cat /proc/sys/kernel/random/boot_id >/var/lib/delayed; sync")

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
        steps = ["Stopped application.service", "Stopped database.service", "Unmounted var.mount",
                 "(Starting|Finished) systemd-kexec.service"]
        found = [[match.start() for match in re.finditer(step, console)] for step in steps]
        assert all(found), console
        order = [places[-1] for places in found]
        assert order == sorted(order), console

    def was_delayed(self, boot: str) -> None:
        assert self.machine.check("cat /var/lib/delayed").strip() == boot

    def survives_a_power_cut(self, slot: str, letter: str) -> None:
        machine = self.machine
        machine.cold_boot(letter)
        assert machine.firmware_entry() == f"Metropolis Slot {slot}"
        self.assert_confirmed(slot, letter)
        assert machine.status()["slots"][slot]["cold_boot_proven"] is True

    def fails_its_health_check(self) -> None:
        """Started by kexec, and never confirmed."""
        machine = self.machine
        machine.check(f"bistable install {self.url('H')} --activate=kexec")
        self.starts_by_kexec("systemctl kexec", "H")
        assert "Finished bistable-kexec" in machine.console_tail(1000)
        assert (self.settled(), self.failed_units()) == ("degraded", ["health.service"])
        status = machine.status()
        assert (status["running"], status["default"]) == ("A", "B")
        assert status["slots"]["A"]["confirmed"] is False
        doctor = machine.run("bistable doctor --json")
        (problem,) = [check for check in json.loads(doctor.out)["checks"]
                      if check["level"] == "problem"]
        assert doctor.status == 1 and "health.service" in problem["what"], problem
        assert "bistable rollback" in problem["advice"], problem

        self.survives_a_power_cut("B", "Y")
        tried = machine.status()["slots"]["A"]
        assert (tried["confirmed"], tried["tried_unconfirmed"]) == (False, True)
        assert [attempt["outcome"] for attempt in tried["attempts"]] == ["failed"]
        refused = machine.run("bistable rollback")
        assert refused.status == 3 and "--force" in refused.err, refused


@pytest.mark.parametrize("suite", ["bookworm"])
def test_whole_life(debian, web):
    life = Life(debian, web)
    start = "bistable activate --activate=kexec --now"
    life.leaves_the_factory()
    life.updates_through_the_automount()
    life.goes_through_the_firmware()
    life.is_not_started(start)
    life.is_delayed()
    boot = debian.check("cat /proc/sys/kernel/random/boot_id").strip()
    life.starts_by_kexec(start, "Y")
    life.was_delayed(boot)
    assert debian.status()["slots"]["B"]["cold_boot_proven"] is False
    life.assert_confirmed("B", "Y")
    life.fails_its_health_check()


@pytest.mark.parametrize("suite", ["trixie"])
def test_sample(debian, web):
    life = Life(debian, web)
    life.leaves_the_factory()
    life.updates_through_the_automount()
    life.is_not_started("bistable activate --activate=kexec --now")
    debian.check("systemctl stop writer")
    life.starts_by_kexec("systemctl reboot", "Y")
    life.assert_confirmed("B", "Y")


@pytest.mark.long
@pytest.mark.parametrize("suite", ["trixie"])
def test_back_by_force(debian, web):
    life = Life(debian, web)
    life.leaves_the_factory()
    life.updates_through_the_automount()
    life.starts_by_kexec("systemctl reboot", "Y")
    life.assert_confirmed("B", "Y")
    back = "bistable rollback --activate=kexec --now"
    life.is_not_started(back)
    life.starts_by_kexec(f"{back} --force", "X")
    life.assert_confirmed("A", "X")
    life.survives_a_power_cut("A", "X")
