# SPDX-License-Identifier: Apache-2.0
"""Firmware variables as a guest sees them in efivarfs, and boot entries made by others."""

from __future__ import annotations

import base64
import struct
from uuid import UUID

from .disk import SECTOR, Partition
from .machine import Machine

GLOBAL = "8be4df61-93ca-11d2-aa0d-00e098032b8c"
EFIVARS = "/sys/firmware/efi/efivars"
ACTIVE = 1


def load_option(
    text: str, partition: Partition, path: str, data: bytes = b"", attributes: int = ACTIVE
) -> bytes:
    """An EFI_LOAD_OPTION (UEFI 2.10 3.1.3) with an HD() and a File() node."""
    hard_drive = struct.pack(
        "<BBHIQQ16sBB",
        *(4, 1, 42, partition.number, partition.start // SECTOR, partition.size // SECTOR),
        *(UUID(partition.uuid).bytes_le, 2, 2),
    )
    file_name = path.replace("/", "\\").encode("utf-16-le") + b"\0\0"
    file = struct.pack("<BBH", 4, 4, 4 + len(file_name)) + file_name
    nodes = hard_drive + file + bytes.fromhex("7fff0400")
    name = text.encode("utf-16-le") + b"\0\0"
    return struct.pack("<IH", attributes, len(nodes)) + name + nodes + data


def place(option: bytes) -> tuple[int, int, int, str]:
    """Number, start and size (logical blocks) and GUID of the partition in a leading HD() node."""
    start = option.index(b"\0\0\0", 6) + 3
    kind, size, number, first, blocks, signature, form, by_guid = struct.unpack_from(
        "<HHIQQ16sBB", option, start
    )
    assert (kind, size, form, by_guid) == (0x0104, 42, 2, 2), option[start : start + 42].hex()
    return number, first, blocks, str(UUID(bytes_le=signature))


def description(option: bytes) -> str:
    return option[6:].decode("utf-16-le", "replace").split("\0")[0]


def read_variables(machine: Machine) -> dict[str, bytes]:
    """All Boot#### and the BootOrder, without their attributes."""
    names = f"ls {EFIVARS} | grep -E '^Boot([0-9A-Fa-f]{{4}}|Order)-{GLOBAL}'"
    script = f'for f in $({names}); do echo "$f $(base64 -w 0 {EFIVARS}/$f)"; done'
    rows = (line.split(" ", 1) for line in machine.check(script).splitlines())
    return {name.removesuffix(f"-{GLOBAL}"): base64.b64decode(value)[4:] for name, value in rows}


def write_variable(machine: Machine, name: str, value: bytes) -> None:
    """Writes a non-volatile boot variable in one write, as efivarfs wants it."""
    octal = "".join(f"\\{byte:03o}" for byte in struct.pack("<I", 7) + value)
    machine.check(f"printf '{octal}' >/run/variable")
    machine.check(f"dd if=/run/variable of={EFIVARS}/{name}-{GLOBAL} bs=65536 count=1")


def boot_order(variables: dict[str, bytes]) -> list[str]:
    raw = variables["BootOrder"]
    return [f"{number:04X}" for number in struct.unpack(f"<{len(raw) // 2}H", raw)]


def pack_order(numbers: list[str]) -> bytes:
    return b"".join(struct.pack("<H", int(number, 16)) for number in numbers)


def entry_number(variables: dict[str, bytes], text: str) -> str:
    """The number of the one boot entry with this description."""
    (number,) = [n for n in boot_order(variables) if description(variables[f"Boot{n}"]) == text]
    return number
