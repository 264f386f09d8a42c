# SPDX-License-Identifier: Apache-2.0
"""The firmware's loader as the judge: what is accepted starts, and what does not start is refused.

One boot entry per UKI, all of them before the good one. The firmware tries one after the other and
says of each what became of it. They return EFI_NOT_FOUND once their code runs: those whose entry
point was replaced at once, and real ones when their stub has started the tiny kernel.
"""

import json
import re
import struct
from pathlib import Path

import pytest

from harness import cache, disk, firmware, uki
from harness.boot_programs import get_boot_programs
from harness.loader_cases import (
    COMMAND_LINE,
    cases,
    changed,
    returning,
    sections,
    tiny_kernel,
    with_headers,
)

FIRST = 0x1000  # Boot1000 and following
FOLDER = "/EFI/cases"
ANY_STUB = r"(12|13): "
# What firmware starts and bistable refuses all the same, and why.
STRICTER = {
    r"Subsystem=0x[bc]": "firmware takes drivers, too; a UKI is an application",
    r"SectionAlignment=0x3": "no power of two: EDK2 does not notice, others do",
    r"FileAlignment=0x1": "shim: an even number",
    r"SizeOfOptionalHeader=0xf8": "one header is taken for another: no .linux is found",
    r"\.\w+ VirtualSize=0x[01]": "the kernel is cut off",
    r"\.osrel two sections at one (place|address)": "what a section holds would be another's",
    r"\.initrd flags=.*": "shim: sections that are not readable, or uninitialized, are left out",
    r"no relocations": "shim: a .reloc section has to be where the header says",
    r"relocations of type .*": "",
    r"debug data behind the image": "",
    r"bytes behind the certificates": "shim: certificates end the file",
    r"entry point in data": "memory protection: data is not executable",
    r"e_lfanew=.*": "shim",
}


@pytest.fixture(scope="session")
def programs():
    with cache.locked():
        return get_boot_programs()


def recipe(output: Path, stub: Path) -> None:
    """Debian 12's dracut --uefi and many a tutorial: objcopy with fixed addresses."""
    addresses = {".osrel": 0x20000, ".cmdline": 0x30000, ".linux": 0x2000000, ".initrd": 0x3000000}
    words: list[str | Path] = ["objcopy"]
    for name, content in sections().items():
        path = output.with_name("section" + name)
        path.write_bytes(content)
        words += ["--add-section", f"{name}={path}"]
        words += ["--change-section-vma", f"{name}={addresses[name]:#x}"]
    cache.tool(*words, stub, output)


def ukify(programs, output: Path, stub: Path, content: dict[str, bytes], *words: str) -> None:
    for name, section in content.items():
        output.with_name(name[1:]).write_bytes(section)
    linux, initrd, cmdline, osrel = (
        output.with_name(name) for name in ("linux", "initrd", "cmdline", "osrel")
    )
    programs.ukify(
        output, stub, f"--linux={linux}", f"--initrd={initrd}", f"--cmdline=@{cmdline}",
        f"--os-release=@{osrel}", "--uname=6.1", *words
    )  # fmt: skip


def many_sections(output: Path, count: int) -> None:
    """Debian 12's stub with `count` sections in all."""
    own = 8
    more = {f".x{i}": b"x" for i in range(count - own - len(sections()))}
    uki.build_uki(output, more | sections())


def many_more(programs, work: Path) -> list[str]:
    """ukify's options for 120 device trees and 45 profiles."""
    addon, profile = programs.stub.with_name("addonx64.efi.stub"), work / "profile.efi"
    programs.ukify(profile, addon, "--profile=ID=other\n")
    words = [f"--join-profile={profile}"] * 45
    for number in range(120):
        path = work / f"{number}.dtb"
        path.write_bytes(struct.pack(">II", 0xD00DFEED, 64).ljust(64, b"\0"))
        words.append(f"--devicetree-auto={path}")
    return words


def real_ones(programs, work: Path) -> dict[str, bytes]:
    """UKIs as tools make them, on the stubs of Debian 12 and 13."""
    stub = {"12": uki.STUB, "13": programs.stub}
    makers = {
        "12: recipe": lambda output: recipe(output, stub["12"]),
        "13: recipe": lambda output: recipe(output, stub["13"]),
        "12: ukify": lambda output: ukify(programs, output, stub["12"], sections()),
        "12: 96 sections": lambda output: many_sections(output, 96),
        "12: 97 sections": lambda output: many_sections(output, 97),
    }
    for debian in stub:
        for name, fields in {
            "no SizeOfImage": {"SizeOfImage": 0},
            "another machine": {"Machine": 0xAA64},
            "no EFI stub": {"Magic": 0},
        }.items():
            content = sections() | {".linux": tiny_kernel(**fields)}
            makers[f"{debian}: a kernel with {name}"] = (
                lambda output, debian=debian, content=content: ukify(
                    programs, output, stub[debian], content
                )
            )
    found = {}
    for name, make in makers.items():
        output = work / "made.efi"
        make(output)
        found[name] = output.read_bytes()
    return found


def candidates(programs, work: Path) -> dict[str, bytes]:
    found = real_ones(programs, work)
    for debian, stub in {"12": uki.STUB, "13": programs.stub}.items():
        ukify(programs, work / "made.efi", stub, sections())
        for name, content in cases(returning((work / "made.efi").read_bytes())):
            found[f"{debian}: {name}"] = content
    return found


def is_accepted(path: Path) -> bool:
    words = [str(cache.bistable_binary()), "uki", "inspect", "--json", str(path)]
    try:
        document = json.loads(cache.tool(*words))
    except RuntimeError:
        return False
    return document["architecture"] == "x86-64" and not any(
        "cannot be installed" in warning for warning in document["warnings"]
    )


def offer(machine, work: Path, found: dict[str, bytes]) -> None:
    """Puts the files on the ESP, and beside them the variables of their boot entries."""
    folder = work / "cases"
    folder.mkdir()
    for number, (name, content) in enumerate(found.items(), FIRST):
        path = f"{FOLDER}/{number:04x}.efi"
        (folder / f"{number:04x}.efi").write_bytes(content)
        option = firmware.load_option(name, disk.ESP, path)
        variable = struct.pack("<I", 7) + option
        (folder / f"Boot{number:04X}-{firmware.GLOBAL}").write_bytes(variable)
    cache.tool("mcopy", "-s", "-i", f"{machine.disk}@@{disk.ESP.start}", folder, "::/EFI")


def outcomes(console: str) -> dict[int, str]:
    """By number: "not loaded", or the status with which the program came back."""
    found = {}
    pattern = r'BdsDxe: failed to (load|start) Boot([0-9A-F]{4}) "[^"]*" from [^\n]*?: ([A-Za-z ]+)'
    for what, number, status in re.findall(pattern, console):
        found[int(number, 16)] = status.strip() if what == "start" else "not loaded"
    return found


def test_firmware_starts_what_is_accepted(machine, programs, tmp_path):
    work = tmp_path / "work"
    work.mkdir()
    found = candidates(programs, work)
    offer(machine, work, found)
    machine.boot("X")
    before = firmware.boot_order(firmware.read_variables(machine))
    machine.check(
        f"cd /boot{FOLDER} && for v in Boot*; do "
        f"dd if=$v of={firmware.EFIVARS}/$v bs=65536 count=1 2>/dev/null || exit 1; done",
        timeout=1200,
    )
    numbers = [f"{number:04X}" for number in range(FIRST, FIRST + len(found))]
    firmware.write_variable(machine, "BootOrder", firmware.pack_order(numbers + before))
    machine.send("sync; reboot -f")
    machine.wait_ready("X", timeout=1200)
    came = outcomes(machine.console_tail(10**6))
    (Path("/tmp/pe") / "console").write_text(machine.console_tail(10**6))
    wrong = []
    for number, name in enumerate(found, FIRST):
        accepted = is_accepted(work / "cases" / f"{number:04x}.efi")
        print(name, accepted, came.get(number))
    assert not wrong
