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
from harness.loader_cases import cases, returning, sections, tiny_kernel, with_headers
from pe_image import PeImage

FIRST = 0x1000  # Boot1000 and following
FOLDER = "/EFI/cases"
RETURNED = "Not Found"  # the kernel's or the changed program's own status
LAST = "13: 120 device trees and 45 profiles"  # a whole system
# What firmware starts and bistable refuses all the same, and why.
STRICTER = {
    r"Subsystem=0x[bc]": "a driver is no UKI",
    r"SectionAlignment=0x3": "no power of two: EDK2 does not notice, others do",
    r"FileAlignment=0x1": "shim: an even number",
    r"\.linux VirtualSize=0x[01]": "nothing is left of the kernel",
    r"\.osrel two sections at one (place|address)": "one section's content would be another's",
    r"\.initrd flags=.*": "shim leaves out what is not readable, or called uninitialized",
    r"no relocations": "shim: a .reloc section is where the header says",
    r"bytes behind the certificates": "shim: certificates end the file",
    r"entry point in data": "memory protection: data is not executable",
}


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
        "12: 120 sections": lambda output: many_sections(output, 120),
    }
    # Of Debian 12: Debian 13's stub says the same, but takes the firmware down when it returns.
    for name, fields in {
        "no SizeOfImage": {"SizeOfImage": 0},
        "another machine": {"Machine": 0xAA64},
        "no EFI stub": {"Magic": 0},
    }.items():
        content = sections() | {".linux": tiny_kernel(**fields)}
        makers[f"12: a kernel with {name}"] = lambda output, content=content: ukify(
            programs, output, stub["12"], content
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
            # With the older stub, what depends on where its sections lie.
            if debian == "13" or re.match(r"as it is|SizeOf|\.", name):
                found[f"{debian}: {name}"] = content
    return found


def whole_system(programs, system, work: Path) -> bytes:
    """The test OS in slot A, as ukify makes it with more than 96 sections."""
    image = PeImage(uki.bound(system.variant("X").uki.read_bytes(), "A"))
    content = {}
    for name in (".linux", ".initrd", ".cmdline", ".osrel"):
        place, size = (image.get(name, field) for field in ("PointerToRawData", "VirtualSize"))
        content[name] = bytes(image.content[place : place + size])
    roomy, output = work / "roomy.stub", work / "whole.efi"
    roomy.write_bytes(with_headers(programs.stub.read_bytes(), 170))
    ukify(programs, output, roomy, content, *many_more(programs, work))
    return output.read_bytes()


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
        (folder / f"{number:04x}.efi").write_bytes(content)
        option = firmware.load_option(name, disk.ESP, f"{FOLDER}/{number:04x}.efi")
        variable = struct.pack("<I", 7) + option
        (folder / f"Boot{number:04X}-{firmware.GLOBAL}").write_bytes(variable)
    cache.tool("mcopy", "-s", "-i", disk.on_esp(machine.disk), folder, "::/EFI")


def outcomes(console: str) -> dict[int, str]:
    """By number: "not loaded", or the status with which the program came back."""
    found = {}
    pattern = r'BdsDxe: failed to (load|start) Boot([0-9A-F]{4}) "[^"]*" from [^\n]*?: ([A-Za-z ]+)'
    for what, number, status in re.findall(pattern, console):
        found[int(number, 16)] = status.strip() if what == "start" else "not loaded"
    return found


def test_firmware_starts_what_is_accepted(machine, system, programs, tmp_path):
    work = tmp_path / "work"
    work.mkdir()
    found = candidates(programs, work)
    judged = list(found)
    found[LAST] = whole_system(programs, system, work)
    offer(machine, work, found)
    machine.boot("X")
    before = firmware.boot_order(firmware.read_variables(machine))
    machine.check(
        f"cd /boot{FOLDER} && for v in Boot*; do "
        f"dd if=$v of={firmware.EFIVARS}/$v bs=65536 count=1 2>/dev/null || exit 1; done"
    )
    numbers = [f"{number:04X}" for number in range(FIRST, FIRST + len(found))]
    firmware.write_variable(machine, "BootOrder", firmware.pack_order(numbers + before))
    machine.send("sync; reboot -f")
    machine.wait_ready("X")
    assert machine.firmware_entry() == LAST

    came = outcomes(machine.console_tail(10**6))
    wrong, starting, refused = [], 0, 0
    for number, name in enumerate(judged, FIRST):
        accepted = is_accepted(work / "cases" / f"{number:04x}.efi")
        starts = came[number] == RETURNED
        stricter = any(re.fullmatch(r"1[23]: " + pattern, name) for pattern in STRICTER)
        starting, refused = starting + starts, refused + (not accepted)
        if accepted != starts and not (stricter and starts):
            wrong.append(f"{name}: {'accepted' if accepted else 'refused'}, {came[number]}")
        if stricter and accepted:
            wrong.append(f"{name}: accepted, although it is among the exceptions")
    assert not wrong, "\n".join(wrong)
    assert starting > 50 and refused > 80, (starting, refused)
    assert is_accepted(work / "cases" / f"{FIRST + len(judged):04x}.efi")


def test_boot_programs_are_told_apart(programs):
    """Of the real packages."""
    kinds = {
        "usr/lib/shim/shimx64.efi.signed": "the boot loader shim",
        "usr/lib/shim/shimx64.efi": "the boot loader shim",
        "usr/lib/shim/mmx64.efi": "a helper of the boot loader shim",
        "usr/lib/shim/fbx64.efi": "a helper of the boot loader shim",
        "usr/lib/grub/x86_64-efi-signed/grubx64.efi.signed": "the boot loader GRUB",
        "usr/lib/grub/x86_64-efi-signed/grubnetx64.efi.signed": "the boot loader GRUB",
        "usr/lib/systemd/boot/efi/systemd-bootx64.efi": "the boot loader systemd-boot",
        "usr/lib/systemd/boot/efi/linuxx64.efi.stub": "systemd-stub without a kernel",
        "usr/lib/systemd/boot/efi/addonx64.efi.stub": "a UKI addon",
    }
    for path, kind in kinds.items():
        with pytest.raises(RuntimeError, match=f"this is {kind}"):
            cache.tool(cache.bistable_binary(), "uki", "inspect", programs.root / path)
