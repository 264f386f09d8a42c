# SPDX-License-Identifier: Apache-2.0
"""Names on the EFI System Partition are found as the firmware finds them: in any case. What differs
in nothing else is told, and nothing is written there."""

import os
import shutil

import pytest

CHECK = "esp-names"


def names(tree):
    """All paths below the ESP, as they are spelled."""
    return sorted(str(path.relative_to(tree.esp)) for path in tree.esp.rglob("*"))


@pytest.fixture
def factory(tree):
    """As mtools leave the ESP: 8.3 names in lower case below, in upper case above."""
    metropolis, removable = tree.esp / "EFI/METROPOLIS", tree.esp / "EFI/boot"
    removable.mkdir()
    shutil.copy(tree.boot_file("A"), removable / "bootx64.efi")
    os.rename(tree.boot_file("A").parent, metropolis)
    os.rename(metropolis / "boot-a.efi", metropolis / "BOOT-A.EFI")
    os.rename(tree.esp / "EFI", tree.esp / "efi")
    return tree


def test_mark_good_twice(factory, on):
    before = names(factory)
    done = on("mark-good")
    assert done.code == 0, done
    assert "BOOTX64" not in done.stderr, "what is there already is not written"
    assert names(factory) == sorted([*before, "efi/METROPOLIS/boot-a.state"])
    snapshot = factory.snapshot()
    assert on("mark-good").code == 0
    assert factory.snapshot() == snapshot


def test_a_life(factory, on, status, bundle_file):
    done = on("install", bundle_file)
    assert done.code == 0, done
    files = {"BOOT-A.EFI", "boot-b.efi", "boot-b.state"}
    assert set(os.listdir(factory.esp / "efi/METROPOLIS")) >= files
    factory.start("B")
    assert on("mark-good").code == 0
    # Replaced where it is, under its own name.
    removable = factory.esp / "efi/boot/bootx64.efi"
    assert removable.read_bytes() == (factory.esp / "efi/METROPOLIS/boot-b.efi").read_bytes()
    found = on("install", bundle_file)
    assert found.code == 0, found
    assert (factory.esp / "efi/METROPOLIS/BOOT-A.EFI").read_bytes() != removable.read_bytes()
    assert sorted(os.listdir(factory.esp / "efi")) == ["METROPOLIS", "boot", "firmware"]
    assert len({name.lower() for name in names(factory)}) == len(names(factory))
    assert status()["slots"]["A"]["complete"] is status()["slots"]["B"]["complete"] is True
    assert on("verify").code == 0


def test_records_of_any_spelling(installed, on, status):
    folder = installed.boot_file("A").parent
    for name in os.listdir(folder):
        os.rename(folder / name, folder / name.upper())
    slot = status()["slots"]["B"]
    assert slot["state_known"] is slot["complete"] is True and slot["version"] == "2"
    assert on("mark-bad").code == 0
    assert sorted(os.listdir(folder)) == ["BOOT-A.EFI", "BOOT-B.EFI", "BOOT-B.STATE"]


def second_folder(tree):
    """What an older program made where Linux does not fold case."""
    other = tree.esp / "EFI/METROPOLIS"
    other.mkdir()
    return '"metropolis" and "METROPOLIS" in /EFI'


def second_efi(tree):
    (tree.esp / "efi/boot").mkdir(parents=True)
    return '"EFI" and "efi" in /'


def second_file(tree):
    tree.boot_file("A").with_name("Boot-A.efi").write_bytes(b"MZ of some other time")
    return '"Boot-A.efi" and "boot-a.efi" in /EFI/metropolis'


def second_leftover(tree):
    for name in ("boot-b.state.new", "BOOT-B.STATE.NEW"):
        tree.boot_file("A").with_name(name).write_bytes(b"half")
    return '"BOOT-B.STATE.NEW" and "boot-b.state.new" in /EFI/metropolis'


@pytest.mark.parametrize("make", [second_folder, second_efi, second_file, second_leftover])
@pytest.mark.parametrize("command", [
    ["mark-good"], ["mark-bad"], ["rollback"], ["activate"], ["repair"],
    ["install", "BUNDLE"], ["install", "BUNDLE", "--dry-run"],
])
def test_two_of_one_name_are_not_written(settled, on, bundle_file, make, command):
    expected = make(settled)
    before = settled.snapshot()
    words = [str(bundle_file) if word == "BUNDLE" else word for word in command]
    refused = on(*words)
    assert refused.code == 3, refused
    assert expected in refused.stderr and "check=s" in refused.stderr, refused
    assert settled.snapshot() == before


@pytest.mark.parametrize("make", [second_folder, second_efi, second_file, second_leftover])
def test_two_of_one_name_are_told(settled, on, status, make):
    expected = make(settled)
    before = settled.snapshot()
    assert any(expected in note for note in status()["notes"])
    result = on("doctor", "--json")
    assert result.code == 1, result
    check = next(check for check in result.document["checks"] if check["name"] == CHECK)
    assert check["level"] == "problem" and expected in check["what"], check
    assert "check=s" in check["advice"]
    assert settled.snapshot() == before


def test_two_on_the_removable_path(settled, on, status):
    """They are in nobody's way but their own."""
    for name in ("BOOT", "Boot"):
        (settled.esp / "EFI" / name).mkdir()
    done = on("mark-good")
    assert done.code == 0 and '"BOOT" and "Boot" in /EFI' in done.stderr, done
    assert os.listdir(settled.esp / "EFI/BOOT") == os.listdir(settled.esp / "EFI/Boot") == []
    checks = on("doctor", "--json").document["checks"]
    assert [check["level"] for check in checks if check["name"] == CHECK] == ["problem"]


def test_somebody_elses_names(settled, on):
    """Two entries beside our way are nobody's business."""
    for name in ("Vendor", "VENDOR"):
        (settled.esp / "EFI" / name).mkdir()
    assert on("mark-good").code == 0
    checks = on("doctor", "--json").document["checks"]
    assert [check["level"] for check in checks if check["name"] == CHECK] == ["ok"]


def test_dots_and_blanks_at_the_end(tree, on, bundle_file):
    """No FAT has them: Linux drops the dots, the firmware the blanks as well."""
    text = tree.config.read_text()
    tree.config.write_text(text + "[slots]\nboot-file=/EFI/metropolis./boot-%l.efi .\n")
    done = on("install", bundle_file)
    assert done.code == 0, done
    found = names(tree)
    assert "EFI/metropolis/boot-b.efi" in found and "EFI/metropolis." not in found, found
