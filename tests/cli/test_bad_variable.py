# SPDX-License-Identifier: Apache-2.0
"""Firmware variables in every state but a good one: never aborted on, never made worse."""

import shutil

import pytest

from bad_variables import ATTRIBUTES, BAD_ORDERS, ODD_ORDERS, bad_options, bad_paths
from old_slot import OldSlot, assert_one_error, variables
from tree import bundle, image, load_option, uki

SYSTEM = image(256 << 10, "three")
OURS = load_option("Metropolis Slot A", "/EFI/metropolis/boot-a.efi")
THEIRS = load_option("Other OS", "/EFI/other/os.efi")
VOLATILE = "RTStorageVolatile-b2ac5fc9-92b7-4acd-aeac-11e818c3130c"


@pytest.fixture
def archive(tmp_path):
    path = tmp_path / "os.zip"
    path.write_bytes(bundle(uki("3"), SYSTEM))
    return path


def assert_installed(tree, on, archive, unchanged=()):
    """Installed, A comes before B in BootOrder, and what belongs to others is as it was."""
    before = variables(tree)
    result = on("install", archive)
    assert result.code == 0, result
    (a,), (b,) = (sorted(tree.entries(slot)) for slot in "AB")
    order = tree.boot_order()
    assert order.index(a) < order.index(b) and len(set(order)) == len(order)
    assert tree.entries("A")[a] and tree.boot_next() == b
    after = variables(tree)
    for name in {*unchanged, *tree.FOREIGN} & set(before):
        assert after[name] == before[name], name
    assert tree.reboot() == "B"
    return result


@pytest.mark.parametrize("name", BAD_ORDERS)
def test_an_unusable_boot_order(settled, settled_template, settled_status, on, status, archive,
                                name):
    """Nothing is changed until somebody asks for a new one; then every entry is in it."""
    settled.variable_path("BootOrder").write_bytes(BAD_ORDERS[name])
    before = settled.snapshot()
    for command in (["install", "-q", archive], ["rollback"], ["activate"], ["mark-bad"]):
        assert_one_error(on(*command), 3, "BootOrder exists but cannot be used", "--force")
        assert settled.snapshot() == before
    document = status()
    assert document["default"] is None and document["running"] == "A"
    assert any("BootOrder" in note for note in document["notes"])
    assert on("doctor").code == 1
    result = on("mark-good")
    assert result.code == 3 and "BootOrder exists but cannot be used" in result.stderr, result
    assert settled.variable_path("BootOrder").read_bytes() == BAD_ORDERS[name]
    assert on("mark-good", "--force").code == 0
    assert set(settled.boot_order()) >= {0, 1, 7} and settled.reboot() == "A"
    assert_installed(settled, on, archive)


@pytest.mark.parametrize("name", ODD_ORDERS)
def test_an_odd_boot_order(settled, on, archive, name):
    settled.variable_path("BootOrder").write_bytes(ODD_ORDERS[name])
    assert_installed(settled, on, archive)


@pytest.mark.parametrize("content", [b"", ATTRIBUTES[:2], ATTRIBUTES, ATTRIBUTES + b"\1",
                                     ATTRIBUTES + b"\1\0\1", ATTRIBUTES + b"\x99\0"],
                         ids=["0 bytes", "2 bytes", "no data", "odd", "3 bytes", "dangling"])
@pytest.mark.parametrize("variable", ["BootNext", "BootCurrent", "SecureBoot", "Timeout"])
def test_other_variables(settled, on, status, archive, variable, content):
    settled.variable_path(variable).write_bytes(content)
    assert status()["running"] == "A" and status()["default"] == "A"
    assert_installed(settled, on, archive)


@pytest.mark.parametrize("name", {**bad_options(THEIRS), **bad_paths(THEIRS)})
def test_somebody_elses_bad_entry(settled, on, status, archive, name):
    """Skipped with a word, or not ours, and left as it is."""
    bad = bad_options(THEIRS)
    settled.set_variable("Boot0005", {**bad, **bad_paths(THEIRS)}[name])
    settled.set_boot_order([5, *settled.boot_order()])
    assert any("Boot0005" in note for note in status()["notes"])
    assert on("mark-good").code == 0
    result = assert_installed(settled, on, archive, unchanged=["Boot0005"])
    assert ("Boot0005 is skipped" in result.stderr) is (name in bad), result


@pytest.mark.parametrize("name", {**bad_options(OURS), **bad_paths(OURS)})
def test_our_own_bad_entry(settled, on, archive, name):
    """It cannot be told to be ours: a new one is made, and the old one left."""
    bad = {**bad_options(OURS), **bad_paths(OURS)}[name]
    settled.set_variable("Boot0001", bad)
    result = on("mark-good")
    assert result.code == 0 and "Created boot entry Metropolis Slot A" in result.stderr, result
    assert settled.variable("Boot0001") == bad
    settled.variable_path("Boot0001").unlink()
    assert_installed(settled, on, archive)


def test_no_boot_variables_at_all(settled, on, status, archive):
    """As after a reset of the firmware's set-up."""
    for path in settled.variables.iterdir():
        path.unlink()
    document = status()
    assert (document["efi"], document["running"], document["default"]) == (True, "A", None)
    assert on("doctor").code == 1
    result = assert_installed(settled, on, archive)
    assert "Metropolis Slot A" in result.stderr and "Metropolis Slot B" in result.stderr, result


def test_no_efivarfs(settled, on, archive):
    shutil.rmtree(settled.variables)
    before = settled.snapshot()
    for command in (["install", "-q", archive], ["rollback"]):
        assert_one_error(on(*command), 1, "EFI")
        assert settled.snapshot() == before


def test_variables_that_do_not_last(settled, on, status, archive):
    """U-Boot: what a running system writes is gone after the reset."""
    (settled.variables / VOLATILE).write_bytes(ATTRIBUTES + b"\1")
    old = OldSlot(settled, status)
    for command in (["install", "-q", archive], ["rollback"], ["activate"], ["mark-bad"]):
        assert_one_error(on(*command), 1, "RTStorageVolatile")
        old.assert_untouched()
    assert on("mark-good").code == 1
    assert on("status").code == 0 and on("doctor").code == 1
