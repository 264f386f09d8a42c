# SPDX-License-Identifier: Apache-2.0
"""What the firmware of a tree would start if power failed now, and that this is never a trial."""

import hashlib
import re
import struct
from pathlib import Path

from pe_image import PeImage
from tree import ACTIVE, EFI_GLOBAL, ESP_NUMBER, ESP_UUID

REMOVABLE = "\\EFI\\BOOT\\BOOTX64.EFI"


def _variable(root: Path, name: str) -> bytes | None:
    try:
        return (root / f"sys/firmware/efi/efivars/{name}-{EFI_GLOBAL}").read_bytes()[4:]
    except OSError:
        return None


def _on_esp(root: Path, path: str) -> bytes | None:
    """The file at that path, found as firmware finds it: in any case."""
    place = root / "boot"
    try:
        for part in path.strip("\\").split("\\"):
            place = next(entry for entry in place.iterdir() if entry.name.lower() == part.lower())
        return place.read_bytes()
    except (OSError, StopIteration):
        return None


def _loads(content: bytes) -> bool:
    """A PE loader takes it, as far as headers tell."""
    image = PeImage(content)
    try:
        if (content[:2] != b"MZ" or content[image.header:image.header + 4] != b"PE\0\0"
                or (image["Machine"], image["Magic"], image["Subsystem"]) != (0x8664, 0x20B, 10)):
            return False
        for name, header in image.names():
            size, address, raw_size, raw = struct.unpack_from("<4I", content, header + 8)
            if address + size > image["SizeOfImage"] or raw + raw_size > len(content):
                return False
    except (struct.error, UnicodeDecodeError):
        return False
    return True


def _path_of(option: bytes) -> str | None:
    """The file on the tree's ESP that an active load option names."""
    try:
        attributes, _ = struct.unpack_from("<IH", option)
        at = 6
        while struct.unpack_from("<H", option, at) != (0,):
            at += 2
        at, here = at + 2, False
        while attributes & ACTIVE and option[at] != 0x7F:
            kind, subtype, size = struct.unpack_from("<BBH", option, at)
            if (kind, subtype) == (4, 1):
                (number,) = struct.unpack_from("<I", option, at + 4)
                here = (number, option[at + 24:at + 40]) == (ESP_NUMBER, ESP_UUID.bytes_le)
            elif (kind, subtype) == (4, 4) and here:
                return option[at + 4:at + size].decode("utf-16-le").rstrip("\0")
            if size < 4:
                return None
            at += size
    except (struct.error, IndexError, UnicodeDecodeError):
        pass
    return None


def _whose(root: Path, path: str, content: bytes) -> str:
    """By the slots' records, the command line, or the name it has; else its digest."""
    digest = hashlib.sha256(content).hexdigest()
    for slot in "AB":
        record = _on_esp(root, f"\\EFI\\metropolis\\boot-{slot}.state")
        if record and digest.encode() in record:
            return slot
    named = (re.search(rb"METROPOLIS-SYSTEM-([AB])", content)
             or re.search(rb"metropolis\\boot-([ab])\.efi$", path.encode()))
    return named[1].decode().upper() if named else digest


def cold_start(root: Path) -> str | None:
    """Whose UKI starts, BootNext spent: "A", "B", or the digest of another; None: nothing."""
    order = _variable(root, "BootOrder") or b""
    numbers = dict.fromkeys(struct.unpack_from(f"<{len(order) // 2}H", order))
    options = [_variable(root, f"Boot{number:04X}") for number in numbers]
    for path in [*filter(None, (option and _path_of(option) for option in options)), REMOVABLE]:
        content = _on_esp(root, path)
        if content is not None and _loads(content):
            return _whose(root, path, content)
    return None


def running(root: Path) -> str | None:
    try:
        slot = re.search(r"METROPOLIS-SYSTEM-([AB])", (root / "proc/cmdline").read_text())
        return slot and slot[1]
    except (OSError, UnicodeDecodeError):
        return None


class ColdBoot:
    """Checked around one run of the program on a tree: power may fail right after it."""

    confirmed: dict[Path, str] = {}  # by root: the slot that mark-good confirmed last

    def __init__(self, arguments: list[str]) -> None:
        self.arguments = arguments
        self.root = (Path(arguments[arguments.index("--root") + 1])
                     if "--root" in arguments[:-1] else None)
        self.before = self.root and cold_start(self.root)

    def _besides(self) -> str | None:
        """What the operation is to let start."""
        here = running(self.root)
        # A slot that is repaired must not start meanwhile; the other one has been confirmed, too.
        if {"mark-good", "--force", "repair"} & set(self.arguments):
            return here
        if "mark-bad" in self.arguments:
            bad = next((word.upper() for word in self.arguments if word in "ABab"), None)
            return {"A": "B", "B": "A"}.get(bad, here)
        return None

    def check(self, code: int) -> None:
        if not self.root:
            return
        if "mark-good" in self.arguments and code == 0:
            self.confirmed[self.root] = running(self.root)
        now = cold_start(self.root)
        allowed = [self.before, self._besides(), self.confirmed.get(self.root)]
        if self.before is None:
            allowed.append(running(self.root))
        assert now in allowed, (f"after {self.arguments} a cold boot starts {now}, and before it"
                                f" {self.before}; allowed: {allowed}")
