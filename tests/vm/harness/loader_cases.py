# SPDX-License-Identifier: Apache-2.0
"""UKIs for firmware's loader to judge: every field of a PE header, changed one way or another.

They are real UKIs whose code at the entry point is replaced by a return, so that a program that was
loaded is over at once and the firmware tries the next. What would end the run is not among them:
an entry point outside of the image, to which EDK2 jumps, and a VirtualSize that wraps, so that EDK2
clears the memory of others.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterator

from make_uki import fake_bzimage
from pe_image import (
    DEBUG,
    RELOCATIONS,
    RESOURCES,
    SECTION_HEADER_SIZE,
    SECURITY,
    PeImage,
    changed,
)

# mov rax, EFI_NOT_FOUND; ret: the firmware goes on only after an error.
RETURN = b"\x48\xb8" + struct.pack("<Q", 1 << 63 | 14) + b"\xc3"
COMMAND_LINE = b"root=PARTLABEL=METROPOLIS-SYSTEM-X quiet"


def returning(content: bytes) -> bytes:
    """A copy that returns as soon as it is started."""
    image = PeImage(content)
    return bytes(image.write(image["AddressOfEntryPoint"], RETURN))


def tiny_kernel(**fields: int) -> bytes:
    """A kernel that returns when it is started, with these header fields."""
    return changed(returning(fake_bzimage(16384)), **fields)


def sections() -> dict[str, bytes]:
    """What a UKI adds to its stub."""
    found = {".osrel": b"ID=case\n", ".cmdline": COMMAND_LINE, ".initrd": b"initrd " * 300}
    return found | {".linux": tiny_kernel()}


def with_headers(content: bytes, room: int) -> bytes:
    """The stub as one built for `room` more sections: all addresses and offsets move up.

    What is relocated refers to ImageBase, which moves down by as much.
    """
    image = PeImage(content)
    more = -(-room * SECTION_HEADER_SIZE // 0x1000) * 0x1000
    end = min(image.get(name, "PointerToRawData") for name, _ in image.names())
    block, size = image.directory(RELOCATIONS)
    place, last = image.place(block), image.place(block) + size
    while place < last:
        page, length = struct.unpack_from("<II", image.content, place)
        struct.pack_into("<I", image.content, place, page + more)
        place += length
    for name, _ in list(image.names()):
        image.set(
            name,
            VirtualAddress=image.get(name, "VirtualAddress") + more,
            PointerToRawData=image.get(name, "PointerToRawData") + more,
        )
    image.set_directory(RELOCATIONS, block + more, size)
    image["ImageBase"] -= more
    image["AddressOfEntryPoint"] += more
    image["SizeOfImage"] += more
    image["SizeOfHeaders"] += more
    image.content[end:end] = bytes(more)
    return bytes(image)


def header_cases(image: PeImage) -> Iterator[tuple[str, dict[str, int]]]:
    """Header fields by name."""
    names = [name for name, _ in image.names()]
    headers_end = image.section_headers() + SECTION_HEADER_SIZE * len(names)
    first = min(image.get(name, "VirtualAddress") for name in names)
    end = max(image.get(name, "VirtualAddress") + image.get(name, "VirtualSize") for name in names)
    flags, directories = image["Characteristics"], image["NumberOfRvaAndSizes"]
    values = {
        "SizeOfImage": [0, headers_end, first, end - 1, end, end + 0x10000, 1 << 29, 1 << 30,
                        0xFFFFF000, 0xFFFFFFFF],
        "SizeOfHeaders": [0, headers_end - SECTION_HEADER_SIZE, headers_end - 1, headers_end,
                          first + 1, len(image.content), end, 0xFFFFFFFF],
        "SectionAlignment": [0, 1, 3, 0x200, 0x1000, 0x10000, 1 << 31],
        "FileAlignment": [0, 1, 0x20, 0x1000],
        "NumberOfRvaAndSizes": [0, 5, directories - 1, directories + 1, 0xFFFFFFFF],
        "SizeOfOptionalHeader": [0, 111, 232, 248],
        "NumberOfSections": [len(names) + 1, 0xFFFF],
        "Characteristics": [0, flags | 1, flags | 0x2000],
        "Machine": [0, 0x14C, 0xAA64],
        "Magic": [0, 0x10B],
        "Subsystem": [0, 3, 11, 12, 13, 16],
        "ImageBase": [0, 1, 0x100000, 0x140000001, 0xFFFFFFFFFFFFF000],
        "DllCharacteristics": [0, 0x100, 0xFFFF],
    }  # fmt: skip
    for name, numbers in values.items():
        for number in numbers:
            yield f"{name}={number:#x}", {name: number}


def section_cases(image: PeImage) -> Iterator[tuple[str, str, dict[str, int]]]:
    """A section and its fields."""
    end, size = image["SizeOfImage"], len(image.content)
    names = [name for name, _ in image.names()]
    last = max(names, key=lambda name: image.get(name, "VirtualAddress"))
    address = image.get(last, "VirtualAddress")
    yield "last section ends at SizeOfImage", last, {"VirtualSize": end - address}
    yield "last section ends behind SizeOfImage", last, {"VirtualSize": end - address + 1}
    for number in (0, 0x100, address + 0x10, end - 1, end, 0xB2090000, 0xFFFFFFFF):
        yield f"VirtualAddress={number:#x}", last, {"VirtualAddress": number}
    for number in (0, 1, 0x7FFFFFFF):
        yield f"VirtualSize={number:#x}", last, {"VirtualSize": number}
    other = image.get(".cmdline", "VirtualAddress")
    yield "two sections at one address", ".osrel", {"VirtualAddress": other}
    other = image.get(".cmdline", "PointerToRawData")
    yield "two sections at one place", ".osrel", {"PointerToRawData": other}
    for number in (0, 0x100, size - 1, size, 0xFFFFFE00, 0xFFFFFFFF):
        yield f"PointerToRawData={number:#x}", ".osrel", {"PointerToRawData": number}
    for number in (0, 1, size, 0xFFFFFFFF):
        yield f"SizeOfRawData={number:#x}", ".osrel", {"SizeOfRawData": number}
    for number in (0, 0x40, 0x40000080):
        yield f"flags={number:#x}", ".initrd", {"Characteristics": number}


def block(page: int, entry: int, size: int = 12) -> bytes:
    return struct.pack("<IIHH", page, size, entry, 0)


def codeview(size: int, address: int, offset: int) -> bytes:
    return struct.pack("<IIHHIIII", 0, 0, 0, 0, 2, size, address, offset)


def directory_cases(content: bytes) -> Iterator[tuple[str, bytes]]:
    """Data directories, and what lies there."""
    address, size = PeImage(content).directory(RELOCATIONS)
    end, page = PeImage(content)["SizeOfImage"], PeImage(content).get(".osrel", "VirtualAddress")
    harmless = PeImage(content).get(".initrd", "VirtualAddress")

    def directory(index: int, *place: int) -> bytes:
        return bytes(PeImage(content).set_directory(index, *place))

    def relocations(new: bytes) -> bytes:
        image = PeImage(content).set_directory(RELOCATIONS, address, len(new))
        return bytes(image.write(address, new))

    def data(index: int, new: bytes, length: int | None = None) -> bytes:
        image = PeImage(content).write(harmless, new)
        return bytes(image.set_directory(index, harmless, length or len(new)))

    yield "no relocations", directory(RELOCATIONS, 0, 0)
    yield "relocations at 0", directory(RELOCATIONS, 0, size)
    yield "relocations behind the image", directory(RELOCATIONS, end, size)
    yield "relocations end behind the image", directory(RELOCATIONS, address, end)
    yield "relocations wrap", directory(RELOCATIONS, address, 0xFFFFFFFF - address)
    yield "relocations of type 1", relocations(block(page, 0x1000))
    yield "relocations of type 2", relocations(block(page, 0x2000))
    yield "relocations of type 3", relocations(block(page, 0x3000))
    yield "relocations of type 10", relocations(block(page, 0xA000))
    yield "relocations of type 4", relocations(block(page, 0x4000))
    yield "relocations of type 9", relocations(block(page, 0x9000))
    yield "a block of 10 bytes", relocations(block(page, 0, 10)[:10])
    yield "a block of 0 bytes", relocations(block(page, 0, 0))
    yield "a block of 13 bytes", relocations(block(page, 0, 13))
    yield "a block of 4 GiB", relocations(block(page, 0, 0xFFFFFFF0))
    yield "a block behind the image", relocations(block(end, 0xA000))
    yield "an entry behind the image", relocations(block((end & ~0xFFF) - 0x800, 0xAFF8))
    yield "debug data", data(DEBUG, codeview(24, page, 0))
    yield "debug data behind the image", data(DEBUG, codeview(24, end, 0))
    yield "debug directory cut", data(DEBUG, bytes(28), 0x100000)
    yield "debug directory nowhere", directory(DEBUG, end + 0x1000, 28)
    yield "no resources", data(RESOURCES, bytes(16))
    yield "resources that do not fit", data(RESOURCES, struct.pack("<12xHH", 0, 9))
    yield "a name that does not fit", data(
        RESOURCES, struct.pack("<12xHHII", 1, 0, 0x80001000, 0)
    )
    yield "resources behind the image", directory(RESOURCES, end, 16)
    length = len(content)
    yield "certificates", bytes(
        PeImage(content + bytes(64)).set_directory(SECURITY, length, 64)
    )
    yield "certificates end behind the file", directory(SECURITY, length - 32, 64)
    yield "certificates wrap", directory(SECURITY, length - 64, 0xFFFFFFFF)
    yield "bytes behind the certificates", bytes(
        PeImage(content + bytes(128)).set_directory(SECURITY, length, 64)
    )
    yield "cut by a byte", content[:-1]
    yield "cut in the headers", content[:512]
    yield "bytes behind the end", content + bytes(777)
    for place in (0, 60, length - 100, 0xFFFFFFFF):
        yield f"e_lfanew={place:#x}", content[:60] + struct.pack("<I", place) + content[64:]


def entry_cases(content: bytes) -> Iterator[tuple[str, bytes]]:
    """Other places to begin at, with the same code."""
    image = PeImage(content)
    at = image.get(".initrd", "VirtualAddress")
    image.write(at, RETURN)
    image["AddressOfEntryPoint"] = at
    yield "entry point in data", bytes(image)


def cases(content: bytes) -> Iterator[tuple[str, bytes]]:
    """All changes of one UKI that returns at its entry point."""
    yield "as it is", content
    for name, fields in header_cases(PeImage(content)):
        yield name, changed(content, **fields)
    for name, section, fields in section_cases(PeImage(content)):
        yield f"{section} {name}", bytes(PeImage(content).set(section, **fields))
    make: Callable[[bytes], Iterator[tuple[str, bytes]]]
    for make in (directory_cases, entry_cases):
        yield from make(content)
