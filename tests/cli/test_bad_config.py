# SPDX-License-Identifier: Apache-2.0
"""Configurations that are refused: by file and line, by every command, before anything is done."""

import pytest

from bad_configs import BAD_CONFIGS
from old_slot import assert_one_error

PLACES = {"etc/bistable/bistable.conf": [], "usr/lib/bistable/bistable.conf": [],
          "etc/bistable/bistable.conf.d/50-x.conf": [], "mine.conf": ["--config=/mine.conf"]}


@pytest.mark.parametrize("name", BAD_CONFIGS)
def test_bad_configuration(settled, on, bundle_file, name):
    text, line, says = BAD_CONFIGS[name]
    for place, options in PLACES.items():
        path = settled.root / place
        path.parent.mkdir(parents=True, exist_ok=True)
        kept = path.read_bytes() if path.exists() else None
        path.write_text(text)
        before = settled.snapshot()
        assert_one_error(on("install", *options, bundle_file), 2, f"/{place}:{line}: ", says)
        assert settled.snapshot() == before
        path.unlink()
        if kept is not None:
            path.write_bytes(kept)


@pytest.mark.parametrize("command", ["status", "doctor", "mark-good", "mark-bad", "rollback",
                                     "activate", "install x.zip", "uki inspect x.efi"])
def test_by_every_command(settled, on, command):
    settled.config.write_text("[system]\nfrobnicate=1\n")
    before = settled.snapshot()
    says = ("/etc/bistable/bistable.conf:2: unknown key 'frobnicate' in section [system]",)
    assert_one_error(on(*command.split()), 2, *says)
    result = on(*command.split(), "--json")
    assert result.code == 2 and says[0] in result.stdout and says[0] in result.stderr, result
    assert settled.snapshot() == before


def test_another_file_may_replace_a_value(settled, on):
    """Twice in one file is a slip; in two files it is what drop-ins are for."""
    folder = settled.config.parent / "bistable.conf.d"
    folder.mkdir()
    (folder / "1.conf").write_text("[system]\nallow-unsigned=no\n[download]\nheader=A: 1\n")
    (folder / "2.conf").write_text("[system]\nallow-unsigned=yes\n[download]\n"
                                   "header=B: 2\nheader=B: 3\n")
    assert on("status").code == 0


@pytest.mark.parametrize("slots", ["AB", "BA", "AAB"])
@pytest.mark.parametrize("form", ["root=PARTLABEL=METROPOLIS-SYSTEM-{}", "bistable.slot={}"])
def test_two_letters_on_the_command_line(settled, on, bundle_file, slots, form):
    """Which slot runs cannot be told: nothing is written, whatever is asked for."""
    text = " ".join(form.format(slot) for slot in slots)
    (settled.root / "proc/cmdline").write_text(text + " quiet\n")
    before = settled.snapshot()
    for command in (["install", "-q", bundle_file], ["install", "-q", "--slot=B", bundle_file],
                    ["mark-good"], ["mark-good", "--force"], ["mark-bad"], ["rollback"],
                    ["activate"]):
        assert_one_error(on(*command), 1, "/proc/cmdline", "both slots")
    document = on("status", "--json").document
    assert document["running"] is None
    assert any("both slots" in note for note in document["notes"])
    assert on("doctor").code == 1
    assert settled.snapshot() == before


@pytest.mark.parametrize("word", ["C", "", "AB", "A B"])
def test_a_slot_that_is_none(settled, on, word):
    (settled.root / "proc/cmdline").write_text(f'quiet bistable.slot="{word}"\n')
    before = settled.snapshot()
    result = on("mark-good")
    assert result.code == 1 and "bistable.slot" in result.stderr, result
    assert settled.snapshot() == before
