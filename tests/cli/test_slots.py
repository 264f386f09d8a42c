# SPDX-License-Identifier: Apache-2.0
"""`mark-good`, `mark-bad`, `rollback`, `activate`: what starts, and what stays as it is."""

import fcntl
import os
import signal
from pathlib import Path

import pytest

from conftest import TIMEOUT, wait_until_idle
from tree import MIB, Tree, bundle, damage, image, load_option, uki


@pytest.fixture
def trial(installed):
    """Slot B runs for the first time."""
    assert installed.reboot() == "B"
    return installed


@pytest.fixture
def confirmed(trial, on):
    """Slot B runs and is confirmed; A is the old system."""
    result = on("mark-good")
    assert result.code == 0, result
    return trial


def assert_foreign_entries_stay(tree):
    for name, data in tree.FOREIGN.items():
        content = tree.variable_path(name).read_bytes()
        assert content == b"\7\0\0\0" + data, name
    assert [number for number in tree.boot_order() if number in (0, 7)] == [0, 7]


# mark-good


def test_mark_good(trial, on, status):
    assert status()["default"] == "A"
    result = on("mark-good")
    assert result.code == 0 and "Slot B is confirmed" in result.stdout, result
    document = status()
    assert document["default"] == "B" and document["next"] == "B"
    b = document["slots"]["B"]
    assert b["confirmed"] and b["cold_boot_proven"] and not b["tried_unconfirmed"]
    assert [attempt["outcome"] for attempt in b["attempts"]] == ["confirmed"]
    assert trial.reboot() == "B"


def test_mark_good_json(trial, on):
    document = on("mark-good", "--json").document
    assert document["schema"] == 1 and document["slot"] == "B"
    assert isinstance(document["notes"], list) and isinstance(document["warnings"], list)


def test_mark_good_twice_changes_nothing(confirmed, on):
    before = confirmed.snapshot()
    result = on("mark-good")
    assert result.code == 0, result
    assert confirmed.snapshot() == before


def test_mark_good_on_a_factory_image(tree, on, status):
    assert on("mark-good").code == 0
    before = tree.snapshot()
    assert on("mark-good").code == 0
    assert tree.snapshot() == before
    assert status()["default"] == "A" and status()["slots"]["A"]["confirmed"]


def test_mark_good_keeps_foreign_entries_and_their_order(confirmed):
    assert_foreign_entries_stay(confirmed)
    order = confirmed.boot_order()
    (b, _), = confirmed.entries("B").items()
    assert order.index(b) < order.index(1) and len(order) == 4
    assert order[0] == 0  # not before what was first


def test_mark_good_makes_the_others_missing_entry_again(confirmed, on):
    confirmed.variable_path("Boot0001").unlink()
    result = on("mark-good")
    assert result.code == 0 and "Metropolis Slot A" in result.stderr, result
    (a, active), = confirmed.entries("A").items()
    (b, _), = confirmed.entries("B").items()
    order = confirmed.boot_order()
    assert active and order.index(b) < order.index(a)


def test_mark_good_makes_its_own_missing_entry_again(confirmed, on):
    (b, _), = confirmed.entries("B").items()
    confirmed.variable_path(f"Boot{b:04X}").unlink()
    confirmed.set_boot_order([0, 1, 7])
    result = on("mark-good")
    assert result.code == 0 and "Metropolis Slot B" in result.stderr, result
    (b, active), = confirmed.entries("B").items()
    order = confirmed.boot_order()
    assert active and order.index(b) < order.index(1)
    assert confirmed.reboot() == "B"


def test_mark_good_without_efi(run, tmp_path):
    tree = Tree(tmp_path / "bios", efi=False)
    result = run("--root", tree.root, "mark-good")
    assert result.code == 1 and "EFI" in result.stderr, result


@pytest.mark.parametrize("number", [None, signal.SIGINT])
def test_mark_good_waits_for_an_install(start, trial, status, number):
    folder = os.open(trial.esp / "EFI/metropolis", os.O_RDONLY | os.O_DIRECTORY)
    try:
        fcntl.flock(folder, fcntl.LOCK_EX)
        process = start("--root", trial.root, "mark-good")
        wait_until_idle(process)
        assert process.poll() is None
        if number:
            process.send_signal(number)
            assert process.wait(TIMEOUT) == 1
            assert b"interrupted" in process.stderr.read()
    finally:
        os.close(folder)
    assert process.wait(TIMEOUT) == (1 if number else 0)
    assert status()["default"] == ("A" if number else "B")


def test_mark_good_after_the_firmware_fell_back(confirmed, on, status):
    """B is the confirmed default, nobody asked for A, and A runs."""
    confirmed.start("A")
    before = confirmed.snapshot()
    result = on("mark-good")
    assert result.code == 3 and "fell back" in result.stderr and "--force" in result.stderr, result
    assert confirmed.snapshot() == before
    assert on("mark-good", "--force").code == 0
    assert status()["default"] == "A"


# the removable path


def test_removable_path_is_made_when_absent(confirmed):
    assert confirmed.removable.read_bytes() == confirmed.boot_file("B").read_bytes()


def test_removable_path_follows_when_ours(confirmed, on, bundle_file):
    bundle_file.write_bytes(bundle(uki("3"), image(seed="three")))
    assert on("install", bundle_file).code == 0
    assert confirmed.reboot() == "A"
    assert confirmed.removable.read_bytes() == confirmed.boot_file("B").read_bytes()
    assert on("mark-good").code == 0
    assert confirmed.removable.read_bytes() == confirmed.boot_file("A").read_bytes()


def test_removable_path_of_somebody_else_stays(trial, on):
    trial.removable.parent.mkdir(parents=True)
    trial.removable.write_bytes(b"MZ somebody's shim")
    assert on("mark-good").code == 0
    assert trial.removable.read_bytes() == b"MZ somebody's shim"
    assert trial.reboot() == "B"


def test_removable_path_can_be_switched_off(trial, on):
    trial.config.write_text(trial.config.read_text() + "[boot]\nremovable-path=no\n")
    assert on("mark-good").code == 0
    assert not trial.removable.exists()


# rollback and activate


def test_rollback_without_another_system(tree, on):
    before = tree.snapshot()
    result = on("rollback")
    assert result.code == 5 and "slot B" in result.stderr, result
    assert tree.snapshot() == before
    assert on("rollback", "--json").document["error"]["code"] == 5


def test_rollback(confirmed, on, status):
    result = on("rollback")
    assert result.code == 0 and "Slot A" in result.stdout and "next reboot" in result.stdout, result
    document = status()
    assert (document["default"], document["next"], document["next_how"]) == ("B", "A", "reboot")
    assert confirmed.boot_next() == 1
    assert_foreign_entries_stay(confirmed)
    assert confirmed.reboot() == "A"
    assert status()["default"] == "B"  # not confirmed yet
    assert on("mark-good").code == 0
    assert status()["default"] == "A"


def test_rollback_of_a_trial(trial, on):
    assert on("rollback").code == 0
    assert trial.reboot() == "A"


def test_rollback_json(confirmed, on):
    document = on("rollback", "--json").document
    assert {"schema": 1, "slot": "A", "activation": "reboot", "fallback": None,
            "restarting": False}.items() <= document.items()


@pytest.mark.parametrize("command", ["rollback", "activate"])
def test_by_kexec_falls_back(confirmed, on, command):
    result = on(command, "--activate=kexec")
    assert result.code == 0 and "Not by kexec: " in result.stdout, result
    assert confirmed.boot_next() == 1
    assert on(command, "--activate=kexec-only").code == 1


def test_activate_after_install_none(on, tree, bundle_file, status):
    assert on("install", "--activate=none", bundle_file).code == 0
    assert tree.boot_next() is None
    result = on("activate")
    assert result.code == 0 and "Slot B, version 2" in result.stdout, result
    assert (status()["next"], status()["next_how"]) == ("B", "reboot")
    assert tree.reboot() == "B"


def test_activate_is_refused_without_a_system(tree, on):
    before = tree.snapshot()
    result = on("activate")
    assert result.code == 3 and "slot B" in result.stderr, result
    assert tree.snapshot() == before


# mark-bad


def test_mark_bad(installed, on, status, bundle_file):
    result = on("mark-bad")
    assert result.code == 0 and "Slot B is marked bad" in result.stdout, result
    b = status()["slots"]["B"]
    assert b["bad"] is True and b["entry_active"] is False
    assert status()["next"] == "A" and installed.reboot() == "A"
    for command in ("activate", "rollback"):
        assert on(command).code == 3
    assert installed.boot_next() is None
    assert on("install", bundle_file).code == 0
    b = status()["slots"]["B"]
    assert b["bad"] is False and b["entry_active"] is True


def test_mark_bad_of_the_running_slot(confirmed, on, status):
    result = on("mark-bad", "b", "--json")
    assert result.code == 0 and result.document["slot"] == "B", result
    assert status()["default"] == "A" and status()["slots"]["B"]["bad"] is True
    assert confirmed.reboot() == "A"


def test_mark_bad_needs_a_counterpart(tree, on):
    before = tree.snapshot()
    result = on("mark-bad", "A")
    assert result.code == 3 and "slot B" in result.stderr, result
    assert tree.snapshot() == before


def test_mark_bad_keeps_foreign_entries(installed, on):
    assert on("mark-bad").code == 0
    assert_foreign_entries_stay(installed)


# What firmware does to entries


def test_a_duplicate_of_our_entry(confirmed, on):
    (b, _), = confirmed.entries("B").items()
    confirmed.set_variable("Boot0022", confirmed.variable(f"Boot{b:04X}"))
    confirmed.set_boot_order([0x22, *confirmed.boot_order()])
    assert on("mark-good").code == 0
    assert len(confirmed.entries("B")) == 1
    assert confirmed.reboot() == "B"


def test_every_entry_of_the_target_is_inactive_while_it_is_incomplete(on, tree, tmp_path):
    """Firmware's own entry for our file must not start half of a system."""
    for number in (0x20, 0x21):
        option = load_option(f"own {number}", "/EFI/Metropolis/BOOT-B.efi")
        tree.set_variable(f"Boot{number:04X}", option)
    tree.set_boot_order([0x20, 0x21, 1])
    path = tmp_path / "bundle.zip"
    path.write_bytes(damage(bundle(), "verity_rootfs.img"))
    assert on("install", path).code == 1
    assert len(tree.entries("B")) >= 2 and not any(tree.entries("B").values())
    assert tree.reboot() == "A"


# How much is read


def bytes_read():
    """By this process and those it has waited for."""
    lines = Path("/proc/self/io").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("rchar:"))


@pytest.mark.parametrize("command", ["doctor", "rollback", "mark-good"])
def test_boot_files_are_read_once(on, start, tree, tmp_path, command):
    """There are three programs on the ESP, and everything is asked of them."""
    path, big = tmp_path / "big.zip", 2 * MIB
    tree.boot_file("A").write_bytes(uki("1", big, cmdline=b"root=PARTLABEL=METROPOLIS-SYSTEM-A"))
    path.write_bytes(bundle(uki("2", big), image()))
    for words in (["mark-good"], ["install", path], ["mark-good"]):
        assert on(*words).code == 0
    programs = [tree.boot_file("A"), tree.boot_file("B"), tree.removable]
    sizes = sum(program.stat().st_size for program in programs)
    assert sizes > 3 * big
    before = bytes_read()
    process = start("--root", tree.root, command)
    process.communicate(timeout=TIMEOUT)
    assert process.returncode == 0
    assert bytes_read() - before < sizes + MIB
