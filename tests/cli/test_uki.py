# SPDX-License-Identifier: Apache-2.0
"""`uki inspect`."""

import hashlib
import re

import pytest

from tree import fake_bzimage, uki

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


def test_missing_file(on):
    result = on("uki", "inspect", "/nonexistent/os.efi")
    assert result.code == 1 and "/nonexistent/os.efi" in result.stderr, result
