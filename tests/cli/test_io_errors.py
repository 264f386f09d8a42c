# SPDX-License-Identifier: Apache-2.0
"""Real disks that are full, files that may not grow: the kernel's ENOSPC, EFBIG, short writes."""

import resource
import zipfile

import pytest

from small_disk import small_disk
from test_install import UNBOUND, assert_broken_off, assert_holds
from tree import MIB, PARTITION_SIZE, bundle, image, noise, uki


@pytest.fixture
def full_esp(tree):
    """full_esp(files): from now on so many more files fit on the ESP; None: any number."""
    with small_disk(tree.esp, "size=64m") as limit:

        def allow(files):
            # The root folder counts as well.
            used = 1 + sum(1 for _ in tree.esp.rglob("*"))
            limit(f"nr_inodes={used + files if files is not None else 1000}")

        yield allow


def assert_no_leftovers(tree):
    assert [path.name for path in tree.esp.rglob("*.new*")] == []


def assert_a_starts(tree, status):
    document = status()
    assert (document["running"], document["next"]) == ("A", "A")
    assert tree.boot_next() is None and not any(tree.entries("B").values())


@pytest.mark.parametrize("room", [0, 4096, MIB // 2 + 4096, MIB])
def test_the_disk_under_the_partition_is_full(on, tree, bundle_file, status, room):
    """The partition is a file with holes: the kernel writes what fits, and then no more."""
    disk = tree.root / "disk"
    with small_disk(disk, f"size={room + 4096}") as limit:
        tree.partition("B").unlink()
        tree.partition("B").symlink_to("/disk/b")
        (disk / "b").touch()
        with open(disk / "b", "r+b") as partition:
            partition.truncate(PARTITION_SIZE)
        (disk / "ballast").write_bytes(b"x" * 4096)
        result = on("install", bundle_file)
        assert result.code == 1 and "No space left on device" in result.stderr, result
        assert "METROPOLIS-SYSTEM-B at offset" in result.stderr
        assert_broken_off(tree, status)
        assert (disk / "b").read_bytes()[:4096] == bytes(4096)
        limit("size=16m")
        assert on("install", bundle_file).code == 0
        assert (disk / "b").read_bytes()[:2 * MIB] == image()
        assert tree.reboot() == "B"


def test_no_more_files_fit_on_the_esp(on, tree, full_esp, bundle_file, status):
    """The free space says that there is room: only the write itself can find out."""
    failures = 0
    for files in range(10):
        full_esp(files)
        result = on("install", bundle_file)
        if result.code == 0:
            break
        failures += 1
        assert result.code == 1 and "No space left on device" in result.stderr, result
        assert "on the ESP" in result.stderr
        assert_a_starts(tree, status)
        assert_no_leftovers(tree)
    assert 2 <= failures < 9
    full_esp(None)
    assert on("install", bundle_file).code == 0
    assert_holds(tree, "B")
    assert tree.reboot() == "B"


def test_mark_good_on_a_full_esp(on, tree, full_esp, bundle_file, status):
    full_esp(None)
    assert on("install", bundle_file).code == 0
    assert tree.reboot() == "B"
    full_esp(0)
    result = on("mark-good")
    assert result.code == 1 and "No space left on device" in result.stderr, result
    assert "BOOTX64.EFI was not refreshed" in result.stderr
    assert status()["slots"]["B"]["confirmed"] is False
    assert_no_leftovers(tree)
    full_esp(None)
    assert on("mark-good").code == 0
    assert status()["slots"]["B"]["confirmed"] is True and status()["default"] == "B"


def may_write(size):
    return lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (size, size))


# Of a variable, which must not be gone on with; of the record.
@pytest.mark.parametrize("limit, said", [(1, "variable Boot0002"), (100, "variable Boot0002"),
                                         (150, "boot-a.state")])
def test_small_files_may_not_grow(on, tree, status, limit, said):
    result = on("mark-good", preexec_fn=may_write(limit))
    assert result.code == 1 and said in result.stderr, result
    assert_a_starts(tree, status)
    assert_no_leftovers(tree)
    assert on("mark-good").code == 0
    assert status()["slots"]["A"]["confirmed"] is True


# The boot file is known not to fit before anything is touched; beyond the limit a write to the
# partition is short, and the next one fails.
@pytest.mark.parametrize("limit, said", [
    (1, "the boot file needs"), (4096, "the boot file needs"), (70_000, "the boot file needs"),
    (80_000, "METROPOLIS-SYSTEM-B"), (300_000, "METROPOLIS-SYSTEM-B"),
    (MIB - 1, "METROPOLIS-SYSTEM-B")])
def test_files_may_not_grow(on, tree, tmp_path, status, limit, said):
    path = tmp_path / "bundle.zip"
    boot, system = uki(), noise(MIB, "image")
    path.write_bytes(bundle(boot, system, zipfile.ZIP_STORED))
    result = on("install", path, preexec_fn=may_write(limit))
    assert result.code == 1 and said in result.stderr, result
    assert "File too large" in result.stderr
    assert_a_starts(tree, status)
    assert_no_leftovers(tree)
    assert not tree.boot_file("B").exists()
    assert on("install", path).code == 0
    assert tree.partition("B").read_bytes()[:len(system)] == system
    bound = UNBOUND.replace(b"SYSTEM-X", b"SYSTEM-B")
    assert tree.boot_file("B").read_bytes() == boot.replace(UNBOUND, bound)
    assert tree.reboot() == "B"
