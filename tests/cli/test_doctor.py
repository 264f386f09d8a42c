# SPDX-License-Identifier: Apache-2.0
"""`doctor`: the document, the text, the exit code, and what it does when things are missing."""

import fcntl
import os
import re
import shutil
import stat

import pytest

from terminal import on_terminal
from tree import Tree, load_option

NAMES = ["running-slot", "clock", "secure-boot", "kexec", "variables", "entry-a", "entry-b",
         "duplicates", "lost-entries", "boot-order", "boot-next", "boot-loader", "esp",
         "esp-location", "esp-writable", "esp-space", "esp-names", "esp-leftovers",
         "removable-path", "slot-a", "boot-file-a", "partition-a", "slot-b", "boot-file-b",
         "partition-b"]
LEVELS = ["ok", "warning", "problem"]


@pytest.fixture
def doctor(on):
    """doctor() -> (the document, {name: check}); the exit code is looked at as well."""

    def doctor():
        result = on("doctor", "--json")
        assert result.stderr == "", result
        document = result.document
        assert result.code == (1 if document["worst"] == "problem" else 0), result
        return document, {check["name"]: check for check in document["checks"]}

    return doctor


@pytest.fixture
def healthy(tree, on):
    """Slot A runs and is confirmed, kexec is not wanted, foreign entries come after ours."""
    tree.variable_path("Boot0009").unlink()
    tree.set_boot_order([1, 0, 7])
    tree.config.write_text(tree.config.read_text() + "[activate]\nkexec=no\n")
    assert on("mark-good").code == 0
    return tree


def test_keys(doctor):
    document, checks = doctor()
    assert set(document) == {"schema", "worst", "checks"} and document["schema"] == 1
    assert [check["name"] for check in document["checks"]] == NAMES
    for check in checks.values():
        assert set(check) == {"group", "name", "level", "what", "advice"}
        assert check["level"] in LEVELS and check["what"].endswith(".")
        assert (check["advice"] is None) == (check["level"] == "ok")
    assert document["worst"] == max((c["level"] for c in checks.values()), key=LEVELS.index)


def test_healthy(healthy, doctor, on):
    document, _ = doctor()
    assert document["worst"] == "ok", document
    result = on("doctor")
    assert result.code == 0 and "->" not in result.stdout
    assert result.stdout.endswith(f"\n{len(NAMES)} ok, 0 warnings, 0 problems\n"), result


def test_warnings_alone_exit_with_0(healthy, doctor, on):
    healthy.removable.unlink()
    document, checks = doctor()
    assert document["worst"] == "warning" and checks["removable-path"]["level"] == "warning"
    result = on("doctor")
    counted = f"{len(NAMES) - 1} ok, 1 warning, 0 problems"
    assert result.code == 0 and counted in result.stdout, result


def test_a_problem_exits_with_1(healthy, doctor, on):
    boot_file = healthy.boot_file("A")
    boot_file.write_bytes(boot_file.read_bytes()[:-1] + b"?")
    document, checks = doctor()
    assert document["worst"] == "problem" and checks["boot-file-a"]["level"] == "problem"
    result = on("doctor")
    assert result.code == 1 and result.stderr == "", result
    assert re.search(r"^  problem  boot-file-a +/EFI/metropolis/boot-a.efi .*\n +-> ",
                     result.stdout, re.M), result


def test_text(on):
    result = on("doctor")
    assert result.code == 0 and result.stderr == "", result
    groups = re.findall(r"^\S.*$", result.stdout, re.M)[:-1]
    assert groups == ["Machine", "Firmware", "EFI System Partition", "Slots"]
    names = re.findall(r"^  (?:ok|warning|problem) +(\S+) ", result.stdout, re.M)
    assert names == NAMES
    for pattern in [r"^  ok +running-slot +Slot A runs\.$",
                    r"^  warning  boot-order +Boot0000 'UiApp' comes before both slots",
                    r"^  warning  variables +.*Boot0009", r"^ +-> \S.*\.$"]:
        assert re.search(pattern, result.stdout, re.M), f"{pattern} not in:\n{result.stdout}"
    assert "\x1b" not in result.stdout


def test_quiet_still_answers(on):
    quiet = on("doctor", "-q")
    assert quiet.code == 0 and "removable-path" in quiet.stdout


def test_colours_only_on_terminals_and_not_with_no_color(start, tree, environment):
    arguments = ["--root", tree.root, "doctor"]
    assert "\x1b[33m" in on_terminal(start, *arguments)
    assert "\x1b" not in on_terminal(start, *arguments, env={**environment, "NO_COLOR": "1"})


def test_writes_nothing(installed, on):
    before = installed.snapshot()
    on("doctor")
    on("doctor", "--json")
    assert installed.snapshot() == before


def test_waits_for_nobody(healthy, on, doctor, bundle_file):
    folder = os.open(healthy.boot_file("A").parent, os.O_RDONLY | os.O_DIRECTORY)
    fcntl.flock(folder, fcntl.LOCK_EX)
    assert on("install", bundle_file).code == 4
    document, _ = doctor()
    assert document["worst"] == "ok"
    os.close(folder)


def test_after_an_install(healthy, on, doctor, bundle_file):
    assert on("install", bundle_file).code == 0
    document, checks = doctor()
    assert document["worst"] == "ok", document
    assert checks["boot-next"]["what"] == "Slot B starts next, once."
    assert checks["boot-file-b"]["what"].endswith("is what was installed.")


def test_a_trial_and_a_failed_one(healthy, on, doctor, bundle_file):
    assert on("install", bundle_file).code == 0
    assert healthy.reboot() == "B"
    _, checks = doctor()
    assert checks["slot-b"]["level"] == "warning" and "not confirmed" in checks["slot-b"]["what"]
    assert healthy.reboot() == "A"
    document, checks = doctor()
    assert checks["slot-b"]["level"] == "warning" and "failed" in checks["slot-b"]["what"]
    assert document["worst"] == "warning", document


def test_without_efi(run, tmp_path):
    tree = Tree(tmp_path / "bios", efi=False)
    result = run("--root", tree.root, "doctor", "--json")
    checks = {check["name"]: check for check in result.document["checks"]}
    assert result.code == 1 and checks["variables"]["level"] == "problem", result
    assert "efivarfs" in checks["variables"]["what"]
    for name in ["entry-a", "entry-b", "duplicates", "boot-order", "boot-next"]:
        assert checks[name]["level"] == "warning"
    assert checks["slot-a"]["level"] == "ok" and checks["esp"]["level"] == "ok"


def test_without_an_esp(tree, doctor):
    shutil.rmtree(tree.esp)
    document, checks = doctor()
    assert document["worst"] == "problem" and checks["esp"]["level"] == "problem"
    assert checks["slot-a"]["level"] == "warning" and checks["entry-a"]["level"] == "ok"


def test_partitions(installed, doctor):
    with open(installed.partition("B"), "r+b") as partition:
        partition.truncate(1 << 20)  # the image has 2 MiB
    installed.partition("A").unlink()
    _, checks = doctor()
    assert checks["partition-a"]["level"] == checks["partition-b"]["level"] == "problem"
    assert "METROPOLIS-SYSTEM-A" in checks["partition-a"]["what"]
    assert "image of 2.0 MiB" in checks["partition-b"]["what"]


def test_unknown_running_slot(tree, doctor):
    (tree.root / "proc/cmdline").write_text("root=/dev/sda2 quiet\n")
    _, checks = doctor()
    assert checks["running-slot"]["level"] == "problem"
    assert "PARTLABEL=METROPOLIS-SYSTEM-%s" in checks["running-slot"]["what"]


def test_inactive_entry(tree, doctor):
    option = load_option("Metropolis Slot A", "/EFI/metropolis/boot-a.efi", active=False)
    tree.set_variable("Boot0001", option)
    _, checks = doctor()
    assert checks["entry-a"]["level"] == checks["boot-order"]["level"] == "problem"


@pytest.mark.parametrize("name, level", [("boot-b.efi.new", "warning"),
                                         ("boot-b.state.new.lost0", "problem")])
def test_leftovers(tree, doctor, name, level):
    (tree.boot_file("A").parent / name).write_bytes(b"half")
    _, checks = doctor()
    assert checks["esp-leftovers"]["level"] == level
    assert f"/EFI/metropolis/{name}" in checks["esp-leftovers"]["what"]


def test_hostile_text_cannot_drive_the_terminal(tree, on):
    tree.set_variable("Boot0000", load_option("evil\x1b[2J", "/EFI/firmware/ui.efi"))
    result = on("doctor")
    assert "evil?[2J" in result.stdout and "\x1b" not in result.stdout, result


def as_nobody():
    os.setgroups([])
    os.setgid(65534)
    os.setuid(65534)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become somebody else")
@pytest.mark.parametrize("closed", [None, "esp", "record"])
def test_without_privileges(run, healthy, binary, closed, tmp_path):
    private = tmp_path / "bistable"
    shutil.copy(binary, private)  # the build folder may be closed to others
    for folder in [healthy.root, *healthy.root.parents]:
        if folder.stat().st_uid == os.geteuid() and folder.is_relative_to("/tmp"):
            folder.chmod(folder.stat().st_mode | stat.S_IXOTH | stat.S_IROTH)
    for path in healthy.esp.rglob("*"):
        path.chmod(0o755)  # as on vfat, where the mount decides
    if closed == "esp":
        healthy.esp.chmod(0o700)
    if closed == "record":
        (healthy.boot_file("A").parent / "boot-a.state").chmod(0o600)
    result = run("--root", healthy.root, "doctor", "--json", executable=str(private), cwd="/",
                 preexec_fn=as_nobody)
    assert result.code == 0, result
    levels = {check["name"]: check["level"] for check in result.document["checks"]}
    assert levels["running-slot"] == levels["entry-a"] == "ok"
    expected = {None: "ok", "esp": "warning", "record": "warning"}[closed]
    assert levels["slot-a"] == result.document["worst"] == expected, result.stdout
    assert levels["esp"] == ("warning" if closed == "esp" else "ok")
    if closed:
        advice = [check["advice"] or "" for check in result.document["checks"]]
        assert any(text.startswith("Run it as root.") for text in advice)


def test_usage(on):
    assert on("doctor", "extra").code == 2
    assert on("doctor", "--force").code == 2
    help = on("doctor", "--help")
    assert help.code == 0 and "problem" in help.stdout


def test_a_closed_output_is_an_error(on):
    with open("/dev/full", "wb") as full:
        result = on("doctor", stdout=full)
    assert result.code == 1 and "standard output" in result.stderr, result
