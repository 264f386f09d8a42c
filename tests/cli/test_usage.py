# SPDX-License-Identifier: Apache-2.0
"""Options, help, wrong usage, configuration errors: what needs no bundle."""

import pytest

import tree as tree_module

COMMANDS = {
    "install": ["SOURCE", "--activate", "--now", "--slot", "--dry-run", "--allow-downgrade",
                "--allow-unsigned", "--force", "--header"],
    "status": [],
    "doctor": [],
    "verify": ["[SLOT]"],
    "repair": ["[SOURCE]", "--allow-unsigned", "--force", "--header"],
    "mark-good": ["--force"],
    "mark-bad": ["SLOT"],
    "mark-started": [],
    "rollback": ["--activate", "--now", "--force"],
    "activate": ["--activate", "--now", "--force"],
    "bundle create": ["UKI IMAGE OUTPUT", "--version=TEXT", "--compatible", "--epoch",
                      "--description", "--architecture", "--created", "--not-after", "--compress",
                      "--level", "--chunk-size", "--threads", "--sign-key", "--sign-cert"],
    "bundle inspect": ["BUNDLE", "--keyring"],
    "bundle verify": ["BUNDLE", "--keyring"],
    "bundle sign": ["BUNDLE [OUTPUT]", "--key=KEY", "--cert=FILE"],
    "uki inspect": ["FILE", "--slot"],
}
GLOBAL = ["--config", "--root", "--json", "--quiet", "--verbose", "--version", "--help"]


@pytest.mark.parametrize("option", ["--help", "-h"])
def test_help_lists_every_command_and_no_other(run, option):
    result = run(option)
    assert result.code == 0 and result.stderr == ""
    listed = result.stdout.split("Commands:\n")[1].split("\n\n")[0].splitlines()
    assert [line.split()[0] for line in listed] == [name.split()[0] for name in COMMANDS]


@pytest.mark.parametrize("command", COMMANDS)
@pytest.mark.parametrize("before", [True, False])
def test_help_of_a_command(run, command, before):
    words = command.split()
    result = run("--help", *words) if before else run(*words, "--help")
    assert result.code == 0 and result.stderr == ""
    assert result.stdout.startswith(f"usage: bistable {command}")
    for word in COMMANDS[command] + GLOBAL:
        assert word in result.stdout
    for option in set(sum(COMMANDS.values(), [])) - set(COMMANDS[command]):
        if option.startswith("--") and "=" in option:
            assert option not in result.stdout
        elif option.startswith("--"):
            assert f"{option} " not in result.stdout and f"{option}=" not in result.stdout


def test_version(run):
    result = run("--version")
    assert result.code == 0
    name, number = result.stdout.split()
    assert name == "bistable" and len(number.split(".")) == 3
    assert run("--version", "--json").document == {"schema": 1, "version": number}


@pytest.mark.parametrize("arguments, said", [
    ([], "no command given"),
    (["--json"], "no command given"),
    (["frobnicate"], "unknown command 'frobnicate'"),
    (["verify", "A", "B"], "'B' is one word too many"),
    (["repair", "a", "b"], "'b' is one word too many"),
    (["doctor", "B"], "'B' is one word too many"),
    (["bundle"], "'bundle' needs a second word"),
    (["bundle", "make"], "unknown command 'bundle make'"),
    (["bundle", "create", "a", "b"], "bundle create needs UKI IMAGE OUTPUT"),
    (["bundle", "create", "a", "b", "c", "--version"], "'--version' needs a value"),
    (["bundle", "create", "a", "b", "c", "--key=k"], "unknown option '--key=k'"),
    (["bundle", "inspect", "a", "--level=3"], "unknown option '--level=3'"),
    (["uki"], "'uki' needs a second word"),
    (["uki", "make"], "unknown command 'uki make'"),
    (["install"], "install needs SOURCE"),
    (["install", "a", "b"], "'b' is one word too many"),
    (["status", "B"], "'B' is one word too many"),
    (["--frob", "status"], "unknown option '--frob'"),
    (["status", "--frob"], "unknown option '--frob'"),
    (["status", "-x"], "unknown option '-x'"),
    (["status", "--now"], "unknown option '--now'"),
    (["rollback", "--dry-run"], "unknown option '--dry-run'"),
    (["install", "a", "--allow-downgrade=yes"], "'--allow-downgrade' takes no value"),
    (["install", "a", "--now=yes"], "'--now' takes no value"),
    (["install", "a", "--slot"], "'--slot' needs a value"),
    (["install", "a", "--slot=C"], "--slot=C: expected A or B"),
    (["install", "a", "--activate=soon"], "expected none, reboot, kexec or kexec-only"),
    (["install", "a", "--activate=default"], "--activate=default: expected"),
    (["install", "a", "--header", "nonsense"], "expected 'Name: value'"),
    (["install", "a", "--header", "X: a\r\nY: b"], "expected 'Name: value'"),
])
def test_wrong_usage(run, arguments, said):
    result = run(*arguments)
    assert result.code == 2, result
    assert result.stderr.startswith("bistable: ") and said in result.stderr, result
    assert "--help" in result.stderr


@pytest.mark.parametrize("command", ["mark-bad", "verify"])
def test_wrong_slot_word(on, command):
    result = on(command, "C")
    assert result.code == 2 and "expected A or B" in result.stderr, result


def test_unknown_command_shows_the_help(run):
    result = run("frobnicate")
    assert result.code == 2 and result.stdout == "" and "mark-good" in result.stderr


@pytest.mark.parametrize("arguments", ["--json status --frob", "status --frob --json"])
def test_wrong_usage_in_json(run, arguments):
    result = run(*arguments.split())
    assert result.code == 2
    document = result.document
    assert document["schema"] == 1
    assert document["error"]["code"] == 2 and document["error"]["errno"] > 0
    assert document["error"]["text"] == "unknown option '--frob'"
    assert result.stderr.startswith("bistable: unknown option '--frob'\n")


@pytest.mark.parametrize("place", ["before", "between", "after"])
def test_global_options_may_stand_anywhere(run, tree, place):
    options = ["--root", tree.root, "--json"]
    words = ["uki", "inspect"]
    words[{"before": 0, "between": 1, "after": 2}[place]:0] = options
    result = run(*words, tree.boot_file("A"))
    assert result.code == 0, result
    assert result.document["version"] == "1"


@pytest.mark.parametrize("text, line, said", [
    ("[system]\nallow-unsigned=yes\nfrobnicate=1\n", 3, "frobnicate"),
    ("[nonsense]\nkey=1\n", 2, "nonsense"),
    ("[system]\n\nallow-unsigned=perhaps\n", 3, "allow-unsigned"),
    ("[activate]\ndefault=soon\n", 2, "default"),
    ("[download]\nstall-timeout=-1\n", 2, "stall-timeout"),
])
def test_wrong_configuration_names_file_and_line(on, tree, text, line, said):
    tree.config.write_text(text)
    result = on("status")
    assert result.code == 2, result
    assert f"/etc/bistable/bistable.conf:{line}: " in result.stderr and said in result.stderr


def test_a_mistyped_header_is_not_shown(on, tree, bundle_file):
    result = on("install", "--header=Authorization Bearer SECRET", bundle_file)
    assert result.code == 2 and "SECRET" not in repr(result), result
    tree.config.write_text("[download]\nheader = Authorization Bearer SECRET\n")
    result = on("status")
    assert result.code == 2 and ":2: 'header'" in result.stderr, result
    assert "SECRET" not in repr(result), result


def test_wrong_configuration_in_a_drop_in(on, tree):
    folder = tree.config.parent / "bistable.conf.d"
    folder.mkdir()
    (folder / "10-mine.conf").write_text("[boot]\nfrob=1\n")
    result = on("status")
    assert result.code == 2 and "bistable.conf.d/10-mine.conf:2: " in result.stderr, result


def test_which_configuration_wins(on, tree):
    """/usr/lib, then /etc, then the drop-ins by name; /etc hides a drop-in of the same name."""
    etc, usr = tree.config.parent, tree.root / "usr/lib/bistable"

    def write(path, text):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)

    kinds = ["K1", "K2", "K3", "K4", "K5"]
    placeholders = " ".join(f"{kind}-S-X" for kind in kinds)
    (tree.root / "two.efi").write_bytes(tree_module.uki(cmdline=f"quiet {placeholders}".encode()))

    def wins():
        text = on("uki", "inspect", "--slot=B", tree.root / "two.efi").stdout
        return [kind for kind in kinds if f"{kind}-B-X" in text]

    def part(kind):
        return f"[slots]\nplaceholder={kind}-S-X\nbound={kind}-%s-X\n"

    write(usr / "bistable.conf", part("K1"))
    assert wins() == ["K1"]
    write(etc / "bistable.conf", part("K2"))
    assert wins() == ["K2"]
    write(usr / "bistable.conf.d/50-x.conf", part("K3"))
    assert wins() == ["K3"]
    write(etc / "bistable.conf.d/40-y.conf", part("K4"))
    assert wins() == ["K3"]
    write(etc / "bistable.conf.d/50-x.conf", part("K5"))
    assert wins() == ["K5"]
    write(etc / "bistable.conf.d/60-note.txt", part("K1"))
    assert wins() == ["K5"]


def test_named_configuration(on, tree):
    (tree.root / "mine.conf").write_text("[system]\nfrob=1\n")
    result = on("status", "--config", "/mine.conf")
    assert result.code == 2 and "/mine.conf:2: " in result.stderr, result
    result = on("status", "--config", "/missing.conf")
    assert result.code == 2 and "/missing.conf" in result.stderr, result


def test_standard_input_must_not_be_a_terminal(on):
    import os
    import pty

    master, slave = pty.openpty()
    result = on("install", "-", stdin=slave)
    os.close(master)
    os.close(slave)
    assert result.code == 2 and "terminal" in result.stderr, result
