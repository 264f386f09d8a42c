# SPDX-License-Identifier: Apache-2.0
"""As a user who may not: each command says what it may not do and that root may, and changes
nothing."""

import os
import shutil
import stat

import pytest

from old_slot import OldSlot, assert_one_error
from tree import bundle, image, uki

NOBODY = 65534
WRITING = ["install -q os.zip", "install -q --dry-run os.zip", "mark-good -q", "mark-bad",
           "rollback", "activate"]

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="only root can become somebody else")


def become_nobody():
    os.setgroups([])
    os.setgid(NOBODY)
    os.setuid(NOBODY)


def open_to_all(root):
    """As on a real machine: all can read, root can write."""
    for folder in (root, *root.parents):
        if folder.stat().st_uid == 0 and folder.is_relative_to("/tmp"):
            folder.chmod(folder.stat().st_mode | stat.S_IXOTH | stat.S_IROTH)
    for path in root.rglob("*"):
        if not path.is_symlink():
            path.chmod(0o755 if path.is_dir() else 0o644)


def writable_by_all(*paths):
    for top in paths:
        for path in (top, *top.rglob("*")) if top.is_dir() else (top,):
            path.chmod(0o777 if path.is_dir() else 0o666)


@pytest.fixture
def as_nobody(settled, run, binary, tmp_path):
    """as_nobody("mark-bad B") -> Result; `os.zip` in it is a good bundle."""
    program, archive = tmp_path / "bistable", tmp_path / "os.zip"
    shutil.copy(binary, program)  # the build folder may be closed to others
    archive.write_bytes(bundle(uki("3"), image(256 << 10, "three")))
    archive.chmod(0o644)
    open_to_all(settled.root)

    def as_nobody(command):
        words = [str(archive) if word == "os.zip" else word for word in command.split()]
        return run("--root", settled.root, *words, executable=str(program), cwd="/",
                   preexec_fn=become_nobody)

    return as_nobody


@pytest.fixture
def old(settled, status, as_nobody):
    """Looks when the rights are as they shall be."""
    return OldSlot(settled, status)


@pytest.mark.parametrize("command", WRITING)
def test_only_reading(settled, old, as_nobody, command):
    """The ordinary user: nothing can be written, and the first thing tells."""
    result = as_nobody(command)
    assert_one_error(result, 1, "ermi")  # permission denied, operation not permitted
    old.assert_intact()


@pytest.mark.parametrize("command", ["status", "status --json", "doctor", "doctor --json"])
def test_looking_needs_no_right(settled, old, as_nobody, command):
    result = as_nobody(command)
    assert result.code == 0, result
    old.assert_untouched()


def forbid(path):
    path.chmod(0)
    return path


@pytest.mark.parametrize("command", ["status", "doctor", *WRITING])
@pytest.mark.parametrize("what", ["file", "folder", "drop-in"])
def test_unreadable_configuration(settled, old, as_nobody, command, what):
    """Not ignored: what it says might forbid all this."""
    if what == "drop-in":
        folder = settled.config.parent / "bistable.conf.d"
        folder.mkdir()
        (folder / "1.conf").write_text("[system]\nallow-unsigned=no\n")
        closed = forbid(folder / "1.conf")
    else:
        closed = forbid(settled.config if what == "file" else settled.config.parent)
    result = as_nobody(command)
    assert_one_error(result, 2, f"/{settled.config.relative_to(settled.root)}"
                     if what != "drop-in" else str(closed.relative_to(settled.root)))
    closed.chmod(0o755)


@pytest.mark.parametrize("command", [c for c in WRITING if "--dry-run" not in c])
def test_unreadable_variables(settled, as_nobody, command):
    """Everything else would be allowed. It is not taken for a machine without them."""
    writable_by_all(settled.esp, settled.root / "dev")
    before = settled.snapshot()
    closed = forbid(settled.variables)
    results = [as_nobody(word) for word in ("status", "doctor", command)]
    closed.chmod(0o755)
    assert [result.code for result in results] == [0, 0, 1], results
    for result in results:
        assert "Permission denied; run as root" in result.stdout + result.stderr, result
    assert_one_error(results[-1], 1, "/sys/firmware/efi/efivars")
    after = settled.snapshot()
    for name in (name for name in before if "efivars/" in name or "SYSTEM-A" in name):
        assert after[name] == before[name], name


@pytest.mark.parametrize("closed", ["esp", "variables", "partition"])
def test_one_thing_that_may_not_be_written(settled, status, as_nobody, closed):
    """All but one of the things that an install needs."""
    places = {"esp": settled.esp, "variables": settled.variables,
              "partition": settled.partition("B")}
    writable_by_all(*(place for name, place in places.items() if name != closed))
    old = OldSlot(settled, status)
    result = as_nobody("install -q os.zip")
    assert_one_error(result, 1, "ermi")
    # The record may say incomplete by then; nothing else has been done.
    assert status()["next"] == "A" and settled.boot_next() is None
    before, after = old.before, settled.snapshot()
    changed = {name for name in before.keys() | after.keys() if before.get(name) != after.get(name)}
    assert changed <= {"boot/EFI/metropolis/boot-b.state"}, changed


def test_unreadable_esp(settled, old, as_nobody):
    settled.esp.chmod(0o700)
    for command in WRITING:
        assert_one_error(as_nobody(command), 1, "run as root")
    for command in ("status", "doctor"):
        result = as_nobody(command)
        assert result.code == 0 and "root" in result.stdout, result
    settled.esp.chmod(0o755)
    old.assert_intact()


KNOWN_BY_RECORD = ["complete", "confirmed", "bad", "tried_unconfirmed", "cold_boot_proven"]


def test_as_on_a_real_machine(settled, on, as_nobody):
    """The EFI System Partition and the disks are root's alone; what is not seen is not told."""
    assert on("mark-good", "-q").code == 0
    open_to_all(settled.root)
    settled.esp.chmod(0o700)
    for slot in "AB":
        settled.partition(slot).chmod(0o600)
    document = as_nobody("status --json").document
    for slot in document["slots"].values():
        assert slot["state_known"] is False
        assert [slot[key] for key in (*KNOWN_BY_RECORD, "version", "epoch")] == [None] * 7
    assert document["esp"] is None and document["running"] == "A"
    said = as_nobody("status").stdout
    assert said.count("State      unknown") == said.count("Cold boot  unknown") == 2
    for word in ("unproven", "incomplete", "not confirmed"):
        assert word not in said
    checks = as_nobody("doctor --json").document["checks"]
    assert "problem" not in [check["level"] for check in checks]
    for check in checks:
        if "cannot be told" in check["what"] or "ermission denied" in check["what"]:
            assert check["advice"] in ("Run it as root.", "See the check 'esp'."), check
    settled.esp.chmod(0o755)
    assert on("status", "--json").document["slots"]["A"]["cold_boot_proven"] is True


def test_unreadable_command_line(settled, old, as_nobody):
    closed = forbid(settled.root / "proc/cmdline")
    for command in WRITING:
        assert_one_error(as_nobody(command), 1, "/proc/cmdline")
    assert as_nobody("status").code == 0
    closed.chmod(0o644)
    old.assert_intact()


def test_unreadable_bundle(settled, status, as_nobody, tmp_path):
    forbid(tmp_path / "os.zip")
    writable_by_all(settled.esp, settled.variables, settled.partition("B"))
    old = OldSlot(settled, status)
    assert_one_error(as_nobody("install -q os.zip"), 1, "os.zip", "ermission denied")
    old.assert_intact()
