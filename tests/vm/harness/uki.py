# SPDX-License-Identifier: Apache-2.0
"""Unified Kernel Images, made with objcopy from systemd-boot-efi's stub."""

from __future__ import annotations

import struct
import tempfile
from pathlib import Path

from pe_image import SECURITY, PeImage

from . import cache

STUB = Path("/usr/lib/systemd/boot/efi/linuxx64.efi.stub")
PLACEHOLDER = b"METROPOLIS-SYSTEM-X"
PAGE = 4096


def build_uki(output: Path, sections: dict[str, bytes], stub: Path = STUB) -> None:
    """Adds the sections to the stub one after the other, at addresses that cannot overlap."""
    image = stub.read_bytes()
    optional = struct.unpack_from("<I", image, 0x3C)[0] + 24
    base = struct.unpack_from("<Q", image, optional + 24)[0]
    address = base + struct.unpack_from("<I", image, optional + 56)[0]
    words: list[str | Path] = ["objcopy"]
    with tempfile.TemporaryDirectory() as directory:
        for name, content in sections.items():
            path = Path(directory) / name
            path.write_bytes(content)
            address += -address % PAGE
            words += ["--add-section", f"{name}={path}"]
            words += ["--change-section-vma", f"{name}={address:#x}"]
            address += len(content)
        cache.tool(*words, stub, output)


def bound(uki: bytes, slot: str) -> bytes:
    """The copy of a UKI for one slot, as bistable writes it to the ESP."""
    return uki.replace(PLACEHOLDER, b"METROPOLIS-SYSTEM-" + slot.encode())


def tiny_kernel(real: bytes, filling: bytes) -> bytes:
    """A few sectors that pass for a bzImage by their header, and boot nothing: for small bundles.

    The header is a real kernel's; setup_sects and syssize (Linux Documentation/arch/x86/boot.rst),
    and what firmware's loader looks at, are changed to what is there: one section.
    """
    body = filling + bytes(-len(filling) % 16)
    size = 4096 * 2 + len(body)
    image = PeImage(real[: 4096 * 2] + body)
    image.content[0x1F1] = 4096 * 2 // 512 - 1
    struct.pack_into("<I", image.content, 0x1F4, len(body) // 16)
    (section, _), *_ = image.names()
    image["NumberOfSections"] = 1
    image.set(
        section,
        VirtualAddress=4096,
        VirtualSize=size - 4096,
        PointerToRawData=4096,
        SizeOfRawData=size - 4096,
        Characteristics=0x60000020,
    )
    image.set_directory(SECURITY, 0, 0)
    image["AddressOfEntryPoint"] = image["SizeOfHeaders"] = 4096
    image["SizeOfImage"] = size
    return bytes(image)
