# SPDX-License-Identifier: Apache-2.0
"""Damaged state records, and those of a newer version: what each command does with them."""

import hashlib

import pytest

from bad_records import BAD_RECORDS, GOOD, record
from old_slot import OldSlot, assert_one_error
from tree import bundle, image, uki

SYSTEM = image(256 << 10, "three")
every_record = pytest.mark.parametrize("name", BAD_RECORDS)


@pytest.fixture
def put(settled):
    """put(slot, content) -> the path of the slot's record."""

    def put(slot, content):
        path = settled.boot_file(slot).with_suffix(".state")
        path.write_bytes(content)
        return path

    return put


@pytest.fixture
def archive(tmp_path):
    path = tmp_path / "os.zip"
    path.write_bytes(bundle(uki("3"), SYSTEM))
    return path


def assert_said(on, status, slot, says):
    """`status` answers, and says what is wrong with it; `doctor` finds it."""
    document = status()
    assert document["slots"][slot]["state_known"] is False
    assert document["slots"][slot]["complete"] is None
    name = f"boot-{slot.lower()}.state"
    assert any(name in note and says in note for note in document["notes"]), document["notes"]
    doctor = on("doctor", "--json")
    check, = [c for c in doctor.document["checks"] if c["name"] == f"slot-{slot.lower()}"]
    assert doctor.code == 1 and check["level"] == "problem" and check["advice"], check


@every_record
def test_the_other_slots_record(settled, on, status, put, archive, name):
    """The slot counts as incomplete: it is not started, and an install makes it whole."""
    content, says = BAD_RECORDS[name]
    path = put("B", content)
    old = OldSlot(settled, status)
    assert_said(on, status, "B", says)
    assert_one_error(on("activate"), 3, "slot B is not complete", path.name, says)
    assert_one_error(on("rollback"), 5, "slot B is not complete", path.name, says)
    old.assert_intact()
    result = on("mark-good")
    assert result.code == 0 and path.read_bytes() == content, result
    assert settled.reboot() == "A"
    result = on("install", archive)
    assert result.code == 0 and status()["slots"]["B"]["complete"], result
    assert settled.reboot() == "B"


@every_record
def test_the_running_slots_record(settled, on, status, put, archive, name):
    """Whether it was confirmed cannot be told: nothing is overwritten before somebody says so."""
    content, says = BAD_RECORDS[name]
    path = put("A", content)
    old = OldSlot(settled, status)
    assert_said(on, status, "A", says)
    for command in (["install", archive], ["install", "--dry-run", archive], ["mark-good"]):
        assert_one_error(on(*command), 3, path.name, says, "--force")
    old.assert_intact()
    result = on("mark-good", "--force")
    assert result.code == 0, result
    assert status()["slots"]["A"]["state_known"] and status()["default"] == "A"
    assert on("install", archive).code == 0


def test_both_records(settled, on, status, put, archive):
    """Nothing tells which slot is whole: the running one stays the default."""
    for slot in "AB":
        put(slot, BAD_RECORDS["truncated"][0])
    old = OldSlot(settled, status)
    for command, code in (("install", 3), ("mark-good", 3), ("activate", 3), ("rollback", 5),
                          ("mark-bad", 3)):
        assert_one_error(on(command, *([archive] if command == "install" else [])), code)
    old.assert_intact()
    assert on("install", "--force", archive).code == 0
    assert settled.boot_next() in settled.entries("B")


def test_rollback_beside_a_damaged_one(settled, on, put):
    """The running slot's record says nothing of the other slot, and is left as it is."""
    path = put("A", BAD_RECORDS["of the next format"][0])
    before = path.read_bytes()
    assert on("rollback").code == 0 and settled.reboot() == "B"
    assert path.read_bytes() == before


def test_a_folder_instead(settled, on, status, archive):
    path = settled.boot_file("B").with_suffix(".state")
    path.unlink()
    path.mkdir()
    old = OldSlot(settled, status)
    assert status()["slots"]["B"]["complete"] is None
    assert_one_error(on("activate"), 3, path.name)
    assert_one_error(on("install", "-q", archive), 1, path.name)
    old.assert_intact()


def test_an_empty_one_is_none(settled, on, status, put):
    """A power cut leaves it when the first record is made: nothing of the slot has changed yet."""
    put("B", b"")
    assert status()["slots"]["B"]["complete"] and on("activate").code == 0
    assert settled.reboot() == "B"


def test_unknown_keys_are_not_damage(settled, on, status, put):
    content = settled.boot_file("A").read_bytes()
    digest = hashlib.sha256(content).hexdigest()
    put("A", record(later={"a": [1]}, version="1",
                    boot_file={"size": len(content), "sha256": digest}))
    assert status()["slots"]["A"]["state_known"] and "later" not in GOOD
    assert on("mark-good").code == 0
