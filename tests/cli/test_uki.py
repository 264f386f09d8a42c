# SPDX-License-Identifier: Apache-2.0
"""`uki inspect`."""

import hashlib
import re

import pytest

from bad_ukis import BAD_UKIS, ODD_UKIS
from make_uki import MACHINE_ARM64, build_uki, fake_arm64_image
from pe_image import PeImage, changed
from tree import bundle, fake_bzimage, uki

KEYS = {"schema", "architecture", "sections", "cmdline", "bound", "version", "kernel", "initrd",
        "kexec", "notes", "warnings"}


@pytest.fixture
def inspect(on, tmp_path):
    """inspect(content, *options) -> Result"""

    def inspect(content, *options):
        path = tmp_path / "os.efi"
        path.write_bytes(content)
        return on("uki", "inspect", path, *options)

    return inspect


def test_document(inspect):
    linux, initrd = fake_bzimage(32768, seed=9), b"initrd " * 99
    content = uki("7", linux=linux, initrd=initrd)
    document = inspect(content, "--json").document
    assert set(document) == KEYS and document["schema"] == 1
    assert document["version"] == "7"
    assert document["cmdline"] == "root=PARTLABEL=METROPOLIS-SYSTEM-X ro quiet"
    assert document["kernel"] == {"size": len(linux), "sha256": hashlib.sha256(linux).hexdigest()}
    assert document["initrd"]["size"] >= len(initrd)
    for section in document["sections"]:
        assert set(section) == {"name", "offset", "size"}
    found = {section["name"]: section for section in document["sections"]}
    at = found[".linux"]["offset"]
    assert content[at:at + found[".linux"]["size"]] == linux


def test_bound_to_a_slot(inspect):
    document = inspect(uki(), "--json", "--slot=B").document
    assert document["cmdline"] == "root=PARTLABEL=METROPOLIS-SYSTEM-B ro quiet"
    assert document["kexec"] == {"possible": True, "reasons": []}


def arm64_uki():
    content = [(".linux", fake_arm64_image(8192)), (".initrd", b"initrd" * 99),
               (".cmdline", b"root=PARTLABEL=METROPOLIS-SYSTEM-X"), (".osrel", b"VERSION_ID=9\n")]
    return build_uki(content, machine=MACHINE_ARM64)


def test_for_another_machine(inspect):
    """Looking into a UKI does not need the machine that it is for; kexec does."""
    document = inspect(arm64_uki(), "--json", "--slot=A").document
    assert document["architecture"] == "arm64" and document["version"] == "9"
    assert document["cmdline"] == "root=PARTLABEL=METROPOLIS-SYSTEM-A"
    assert document["kernel"]["size"] == len(fake_arm64_image(8192))
    assert document["warnings"] == []
    assert document["kexec"] == {
        "possible": False, "reasons": ["the UKI is for arm64, and this machine is x86-64"]}
    text = inspect(arm64_uki()).stdout
    assert re.search(r"^Architecture +arm64$", text, re.M), text


def test_what_would_be_refused_is_told(inspect):
    """A UKI can be looked into although its kernel cannot be started."""
    broken = uki(linux=changed(fake_bzimage(32768), SizeOfImage=0))
    document = inspect(broken, "--json").document
    (warning,) = document["warnings"]
    assert warning.startswith("the UKI cannot be installed: the firmware could not load the kernel")
    result = inspect(broken)
    assert result.code == 0 and warning in result.stderr, result


def test_warnings(inspect):
    content, says = ODD_UKIS["an address that is not aligned"]
    document = inspect(content, "--json").document
    assert len(document["warnings"]) == 1 and says in document["warnings"][0]
    result = inspect(content)
    assert result.code == 0 and says in result.stderr, result
    assert inspect(uki(), "--json").document["warnings"] == []


UNBOUND = "METROPOLIS-SYSTEM-X ([slots] placeholder): nothing was bound to slot B"


@pytest.mark.parametrize("cmdline, says", [
    (b"root=/dev/vda2 quiet", UNBOUND),
    (b"root=PARTLABEL=METROPOLIS-SYSTEM-B", UNBOUND + ", which it names already"),
    (b"root=PARTLABEL=METROPOLIS-SYSTEM-A", UNBOUND + "; it names the other slot"),
], ids=["none", "own", "other"])
def test_without_a_placeholder_nothing_is_bound(inspect, cmdline, says):
    content = uki(cmdline=cmdline)
    document = inspect(content, "--json", "--slot=B").document
    assert document["bound"] is False and document["cmdline"] == cmdline.decode()
    assert len(document["notes"]) == 1 and document["notes"][0].endswith(says)
    assert says + "\n" in inspect(content, "--slot=B").stderr
    # Who asks for no slot is told nothing.
    result = inspect(content)
    assert result.stderr == "" and inspect(content, "--json").document["bound"] is None


def test_bound_is_told(inspect):
    document = inspect(uki(), "--json", "--slot=A").document
    assert document["bound"] is True and document["notes"] == []


def test_another_placeholder(run, tmp_path):
    """Away from the machine, without its configuration, the placeholder is another."""
    (tmp_path / "os.efi").write_bytes(uki(cmdline=b"root=PARTLABEL=ACME-ROOT-X"))
    words = ["--root", tmp_path, "uki", "inspect", "--json", "--slot=B", tmp_path / "os.efi"]
    assert run(*words).document["bound"] is False
    config = tmp_path / "etc/bistable/bistable.conf"
    config.parent.mkdir(parents=True)
    config.write_text("[slots]\nplaceholder=ACME-ROOT-X\nbound=ACME-ROOT-%s\n"
                      "cmdline-match=PARTLABEL=ACME-ROOT-%s\n")
    document = run(*words).document
    assert document["bound"] is True and document["cmdline"] == "root=PARTLABEL=ACME-ROOT-B"


def test_what_kexec_cannot_reproduce_is_a_reason(inspect):
    content = uki(pcrsig=b"{}", dtb=b"\xd0\x0d\xfe\xed")
    kexec = inspect(content, "--json", "--slot=B").document["kexec"]
    assert kexec["possible"] is False
    assert any("pcrsig" in reason for reason in kexec["reasons"])
    assert any("dtb" in reason for reason in kexec["reasons"])


def test_without_an_initrd(inspect):
    document = inspect(uki(initrd=None), "--json").document
    assert document["initrd"] is None
    assert re.search(r"^Initrd +none$", inspect(uki(initrd=None)).stdout, re.M)


def test_text(inspect):
    text = inspect(uki("7"), "--slot=A").stdout
    for pattern in [r"^Version +7$",
                    r"^Command line +root=PARTLABEL=METROPOLIS-SYSTEM-A ro quiet$",
                    r"^Kernel +64.0 KiB, SHA-256 [0-9a-f]{64}$", r"^kexec +possible$",
                    r"^  \.linux +\d+ +65536$"]:
        assert re.search(pattern, text, re.M), f"{pattern} not in:\n{text}"


def test_reasons_in_the_text(inspect):
    text = inspect(uki(pcrsig=b"{}"), "--slot=A").stdout
    assert re.search(r"^kexec +not possible:\n +- .*pcrsig", text, re.M), text


def test_boot_files_on_the_esp(on, tree):
    result = on("uki", "inspect", "--json", tree.boot_file("A"))
    assert result.document["cmdline"] == "root=PARTLABEL=METROPOLIS-SYSTEM-A ro quiet"


def test_over_http(on, web):
    assert on("uki", "inspect", "--json", web.put("/os.efi", uki("7"))).document["version"] == "7"


def test_secrets_of_a_url_are_not_shown(on, web):
    url = web.put("/os.efi", b"no UKI").replace("//", "//joe:PASSWORD@") + "?sig=SECRET"
    result = on("uki", "inspect", "--json", url)
    assert result.code == 1 and "/os.efi" in result.stderr, result
    assert "PASSWORD" not in repr(result) and "SECRET" not in repr(result), result


def test_from_standard_input(on):
    assert on("uki", "inspect", "--json", "-", input=uki("7")).document["version"] == "7"


@pytest.mark.parametrize("content", [b"", b"MZ", b"\0" * 4096, uki()[:3000], uki(linux=None)],
                         ids=["empty", "stub", "zeroes", "cut", "no .linux"])
def test_not_a_uki(inspect, content):
    result = inspect(content, "--json")
    assert result.code == 1, result
    assert "os.efi" in result.document["error"]["text"]


def sdmagic(what):
    return ".sdmagic", f"#### LoaderInfo: systemd-{what} 257.13 ####".encode()


def program(*sections):
    return build_uki([(".text", b"code"), *sections])


ADVICE = "build a UKI of kernel, initrd and command line with ukify"
OTHERS = {
    "empty": (b"", "this is an empty file, not a UKI"),
    "x86 kernel": (fake_bzimage(8192), "this is a bare Linux kernel for x86 (bzImage), not a UKI"),
    "arm64 kernel": (fake_arm64_image(8192), "a bare Linux kernel for arm64 (Image)"),
    "zboot kernel": (b"MZ\0\0zimg" + bytes(4096), "compressed Linux kernel (EFI zboot)"),
    "riscv kernel": (b"MZ".ljust(48, b"\0") + b"RISCV\0\0\0RSC\x05" + bytes(999), "for RISC-V"),
    "vmlinux": (b"\x7fELF\2\1\1" + bytes(999) + b"Linux version 6.1", "(vmlinux)"),
    "systemd-boot": (program(sdmagic("boot")), "this is the boot loader systemd-boot, not a UKI"),
    "shim": (program((".data", b"UEFI SHIM\n$Version: 15.8 $")), "the boot loader shim"),
    "grub": (program(("mods", b"x")), "the boot loader GRUB"),
    "stub": (program(sdmagic("stub")), "systemd-stub without a kernel"),
    "addon": (program(sdmagic("addon"), (".cmdline", b"quiet")), "a UKI addon"),
    "efi program": (program(), "an EFI program without a kernel"),
    "windows program": (changed(program(), Subsystem=3), "a Windows program"),
    "gzip": (b"\x1f\x8b\x08" + bytes(99), "compressed with gzip, not a UKI"),
    "initrd": (b"070701" + bytes(999), "a cpio archive, as an initrd is"),
    "bundle": (bundle(), "'bistable bundle inspect' shows"),
    "disk image": (bytes(512) + b"EFI PART" + bytes(999), "a disk image"),
    "script": (b"#!/bin/sh\n", "a script"),
    "certificate": (b"-----BEGIN CERTIFICATE-----\n", "a certificate or key"),
}


@pytest.mark.parametrize("name", OTHERS)
def test_what_a_file_is(inspect, name):
    content, says = OTHERS[name]
    result = inspect(content)
    assert result.code == 1 and says in result.stderr, result
    assert (ADVICE in result.stderr) == (name in ("initrd", "stub") or name.endswith(" kernel"))


def test_a_file_over_the_cap(on, tmp_path):
    path = tmp_path / "disk.img"
    with open(path, "wb") as file:
        file.write(bytes(512) + b"EFI PART")
        file.truncate((256 << 20) + 4096)
    result = on("uki", "inspect", path)
    assert result.code == 1 and "disk.img is a disk image and larger than" in result.stderr, result


def test_a_folder(on, tmp_path):
    result = on("uki", "inspect", tmp_path)
    assert result.code == 1 and "is a directory, not a file" in result.stderr, result


@pytest.mark.parametrize("name", [name for name in BAD_UKIS if "SizeOfImage" in name])
def test_what_firmware_does_not_load(inspect, name):
    content, says = BAD_UKIS[name]
    result = inspect(content)
    assert result.code == 1 and says in result.stderr, result


def test_a_real_uki_is_told_from_a_damaged_one(inspect):
    """What is wrong with a UKI is said, not that it is none."""
    image = PeImage(uki())
    image["NumberOfRvaAndSizes"] = 99
    result = inspect(bytes(image))
    assert "99 data directories" in result.stderr and "this is" not in result.stderr, result


def test_missing_file(on):
    result = on("uki", "inspect", "/nonexistent/os.efi")
    assert result.code == 1 and "/nonexistent/os.efi" in result.stderr, result
