# SPDX-License-Identifier: Apache-2.0
"""`status`: the document, the text, and what it does when things are missing."""

import os
import re
import shutil
import stat

import pytest

from conftest import PROJECT
from terminal import on_terminal
from tree import Tree, bundle, load_option, uki

SLOT_KEYS = {"state_known", "version", "source", "complete", "entry", "entry_active", "attempts",
             "tried_unconfirmed", "confirmed", "bad", "cold_boot_proven", "epoch", "installed",
             "signer", "root_hash", "image_sha256", "boot_file_sha256"}
KEYS = {"schema", "version", "compatible", "boot_loader", "efi", "running", "default", "next",
        "next_how", "kexec_booted", "secure_boot",
        "kexec", "esp", "slots", "notes"}


def test_keys(status):
    document = status()
    assert set(document) == KEYS and document["schema"] == 1
    assert set(document["slots"]) == {"A", "B"}
    assert all(set(slot) == SLOT_KEYS for slot in document["slots"].values())
    assert set(document["kexec"]) == {"possible", "reason"}
    assert set(document["esp"]) == {"free", "size"}


def test_factory_state(status):
    document = status()
    assert document["efi"] is True
    assert (document["running"], document["default"], document["next"]) == ("A", "A", "A")
    assert document["next_how"] == "default"
    assert 0 < document["esp"]["free"] <= document["esp"]["size"]
    a, b = document["slots"]["A"], document["slots"]["B"]
    assert a["complete"] and a["state_known"] and a["entry"] == "0001" and a["entry_active"] is True
    assert not b["complete"] and b["entry"] is None and b["entry_active"] is None
    assert a["attempts"] == [] and a["bad"] is False


def test_secure_boot(tree, status, on):
    assert status()["secure_boot"] is False
    tree.set_variable("SecureBoot", b"\1")
    assert status()["secure_boot"] is True
    assert re.search(r"^Secure Boot +on$", on("status").stdout, re.M)


def test_kexec_is_impossible_under_a_root(status):
    kexec = status()["kexec"]
    assert kexec["possible"] is False and kexec["reason"]


def test_after_an_install(installed, status):
    document = status()
    assert (document["running"], document["default"]) == ("A", "A")
    assert (document["next"], document["next_how"]) == ("B", "reboot")
    b = document["slots"]["B"]
    assert b["complete"] and b["version"] == "2" and b["source"].endswith("/bundle.zip")
    assert re.fullmatch("[0-9A-F]{4}", b["entry"]) and b["entry_active"] is True
    attempt, = b["attempts"]
    assert (attempt["how"], attempt["outcome"]) == ("reboot", "pending")
    assert not b["confirmed"] and not b["cold_boot_proven"] and not b["bad"]


def test_a_trial_runs(installed, status):
    assert installed.reboot() == "B"
    document = status()
    assert (document["running"], document["default"], document["next"]) == ("B", "A", "A")
    attempts = document["slots"]["B"]["attempts"]
    assert [attempt["outcome"] for attempt in attempts] == ["running"]


def test_a_trial_failed(installed, status):
    assert installed.reboot() == "B"
    assert installed.reboot() == "A"
    b = status()["slots"]["B"]
    assert b["attempts"][-1]["outcome"] == "failed" and b["tried_unconfirmed"] is True


def test_text(installed, on):
    result = on("status")
    assert result.code == 0 and result.stderr == ""
    text = result.stdout
    for pattern in [r"^Running +slot A", r"^Default +slot A", r"^Next +slot B, once",
                    r"^Secure Boot +off",
                    r"^kexec +not possible: ", r"^ESP +[\d.]+ .iB free of ",
                    r"^Slot A, running, default$",
                    r"^  Version +2$", r"^  State +complete", r"^  Entry +Boot0001 active$",
                    r"^  Cold boot +unproven$",
                    r"^  Attempts +\d{4}-\d\d-\d\d \d\d:\d\d:\d\d UTC +reboot +pending$"]:
        assert re.search(pattern, text, re.M), f"{pattern} not in:\n{text}"
    assert "\x1b" not in text


def test_quiet_still_answers(on):
    def but_for_free_space(text):
        return [line for line in text.splitlines() if " free" not in line]

    quiet = on("status", "-q").stdout
    assert but_for_free_space(quiet) == but_for_free_space(on("status").stdout) != []


def test_lockdown_is_said(tree, status):
    path = tree.root / "sys/kernel/security/lockdown"
    path.parent.mkdir(parents=True)
    for text, said in (("[none] integrity\n", False), ("none [integrity]\n", True)):
        path.write_text(text)
        assert any("lockdown" in note for note in status()["notes"]) is said


def test_colours_only_on_terminals_and_not_with_no_color(start, tree, environment):
    arguments = ["--root", tree.root, "status"]
    assert "\x1b[32m" in on_terminal(start, *arguments)
    assert "\x1b" not in on_terminal(start, *arguments, env={**environment, "NO_COLOR": "1"})
    assert "\x1b" not in on_terminal(start, *arguments, env={**environment, "TERM": "dumb"})
    assert "\x1b[32m" in on_terminal(start, *arguments, env={**environment, "NO_COLOR": ""})


def test_without_efi(run, tmp_path):
    tree = Tree(tmp_path / "bios", efi=False)
    result = run("--root", tree.root, "status")
    assert result.code == 0 and "no EFI variables" in result.stdout, result
    document = run("--root", tree.root, "status", "--json").document
    assert document["efi"] is False and document["running"] == "A"
    assert document["default"] is None and document["slots"]["A"]["entry"] is None


def test_without_an_esp(on, tree):
    shutil.rmtree(tree.esp)
    result = on("status", "--json")
    assert result.code == 0, result
    assert result.document["esp"] is None and result.document["running"] == "A"
    assert "not reachable" in on("status").stdout


def test_unknown_running_slot(on, tree):
    (tree.root / "proc/cmdline").write_text("root=/dev/sda2 quiet\n")
    result = on("status", "--json")
    assert result.code == 0 and result.document["running"] is None, result
    text = on("status").stdout
    assert re.search(r"^Running +unknown", text, re.M) and "cannot tell which slot" in text


def test_both_slots_on_the_command_line(on, tree, bundle_file):
    both = [f"PARTLABEL=METROPOLIS-SYSTEM-{slot}" for slot in "AB"]
    (tree.root / "proc/cmdline").write_text(" ".join(both) + "\n")
    install = on("install", bundle_file)
    assert install.code == 1 and "/proc/cmdline" in install.stderr, install
    result = on("status", "--json")
    assert result.code == 0 and result.document["running"] is None, result


def test_inactive_entry(tree, status):
    option = load_option("Metropolis Slot A", "/EFI/metropolis/boot-a.efi", active=False)
    tree.set_variable("Boot0001", option)
    assert status()["slots"]["A"]["entry_active"] is False


def test_a_damaged_record_is_said(tree, status, on):
    (tree.esp / "EFI/metropolis/boot-b.state").write_text("{ nonsense")
    document = status()
    assert document["slots"]["B"]["state_known"] is False
    assert any("boot-b.state" in note for note in document["notes"]), document["notes"]
    assert document["slots"]["A"]["state_known"] is True
    assert "record cannot be read" in on("status").stdout


def test_hostile_text_cannot_drive_the_terminal(run, on, tree, tmp_path):
    path = tmp_path / "evil\x1b[2J.zip"
    path.write_bytes(bundle(uki("9")))
    result = on("install", path)
    for output in (result.stdout, result.stderr, on("status").stdout):
        assert "\x1b" not in output
    path.unlink()
    result = on("install", path)
    assert result.code == 1 and "\x1b" not in result.stderr


def test_writes_nothing(installed, on):
    before = installed.snapshot()
    on("status")
    on("status", "--json")
    assert installed.snapshot() == before


def as_nobody():
    os.setgroups([])
    os.setgid(65534)
    os.setuid(65534)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become somebody else")
@pytest.mark.parametrize("esp_readable", [True, False])
def test_without_privileges(run, tree, binary, esp_readable, tmp_path):
    private = tmp_path / "bistable"
    shutil.copy(binary, private)  # the build folder may be closed to others
    for folder in [tree.root, *tree.root.parents]:
        if folder.stat().st_uid == os.geteuid() and folder.is_relative_to("/tmp"):
            folder.chmod(folder.stat().st_mode | stat.S_IXOTH | stat.S_IROTH)
    if not esp_readable:
        tree.esp.chmod(0o700)
    result = run("--root", tree.root, "status", "--json", executable=str(private), cwd="/",
                 preexec_fn=as_nobody)
    assert result.code == 0, result
    assert result.document["running"] == "A"
    assert result.document["slots"]["A"]["entry"] == "0001"


def test_a_closed_output_is_an_error(on):
    with open("/dev/full", "wb") as full:
        result = on("status", stdout=full)
    assert result.code == 1 and "standard output" in result.stderr, result


def all_keys(value):
    if isinstance(value, dict):
        return set(value) | set().union(*map(all_keys, value.values()))
    return set().union(*map(all_keys, value)) if isinstance(value, list) else set()


def test_every_key_is_documented(on, tree, bundle_file):
    """docs/formats.md names what a program may rely on."""
    words = set(re.findall(r"`([^`]+)`", (PROJECT / "docs/formats.md").read_text()))
    manual = (PROJECT / "man/bistable.1.scd").read_text()
    found = set()
    for command in (["mark-good"], ["install", bundle_file], ["status"], ["mark-started"],
                    ["mark-bad", "B"], ["doctor"], ["verify"], ["repair"],
                    ["install", bundle_file, "--force"], ["activate"], ["rollback"]):
        result = on(*command, "--json")
        documents = [result.document] if command[0] not in ("install", "repair") else result.events
        found |= set().union(*map(all_keys, documents))
    unknown = {key for key in found - words - {"A", "B"}
               if f'"{key}"' not in manual and f"_{key}_" not in manual}
    assert not unknown
