# SPDX-License-Identifier: Apache-2.0
"""A folder that looks like a machine to `bistable --root`, and bundles to install into it."""

import hashlib
import io
import random
import shutil
import struct
import uuid
import zipfile
from pathlib import Path

from make_uki import build_uki, fake_bzimage

EFI_GLOBAL = "8be4df61-93ca-11d2-aa0d-00e098032b8c"
ESP_UUID = uuid.UUID("11111111-2222-3333-4444-555555555555")
ESP_NUMBER, ESP_START, ESP_SIZE = 1, 2048, 524288
BOOT_ATTRIBUTES = 7  # non-volatile, boot services, runtime
ACTIVE = 1
MIB = 1 << 20
PARTITION_SIZE = 4 * MIB

CONFIG = f"""\
[system]
allow-unsigned=yes
[esp]
partition-number={ESP_NUMBER}
start={ESP_START}
size={ESP_SIZE}
partuuid={ESP_UUID}
"""


def noise(size, seed):
    """Bytes that do not compress, the same for the same seed."""
    return random.Random(seed).randbytes(size)


def uki(version="2", linux_size=65536, initrd=b"initrd " * 1000, cmdline=None, **sections):
    """A small valid UKI; keywords add sections (dtb=b"...") or leave one out (linux=None)."""
    content = {
        "osrel": f'ID=test\nIMAGE_VERSION="{version}"\n'.encode(),
        "cmdline": cmdline or b"root=PARTLABEL=METROPOLIS-SYSTEM-X ro quiet",
        "uname": b"6.1.0-test",
        "linux": fake_bzimage(linux_size, seed=sum(version.encode())),
        "initrd": initrd,
    }
    content.update(sections)
    return build_uki([("." + name, data) for name, data in content.items() if data is not None])


def image(size=2 * MIB, seed="image"):
    """An image for the system partition; the second half compresses well."""
    half = size // 2
    return noise(half, seed) + b"bistable" * ((size - half) // 8)


def bundle(boot=None, system=None, method=zipfile.ZIP_DEFLATED, names=None):
    """A plain bundle, as any zip tool makes it."""
    boot = uki() if boot is None else boot
    system = image() if system is None else system
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", method) as archive:
        for name in names or ("kernel_efi.efi", "verity_rootfs.img"):
            content = boot if name == "kernel_efi.efi" else system
            archive.writestr(zipfile.ZipInfo(name), content, method)
    return out.getvalue()


def damage(archive, name):
    """The same ZIP with a wrong CRC-32 of one entry, in the local and in the central header."""
    with zipfile.ZipFile(io.BytesIO(archive)) as reader:
        crc = struct.pack("<I", reader.getinfo(name).CRC)
    assert archive.count(crc) == 2
    return archive.replace(crc, bytes(byte ^ 0xFF for byte in crc))


def load_option(description, path, active=True, tail=b"", number=ESP_NUMBER, partuuid=ESP_UUID):
    """EFI_LOAD_OPTION with HD() and File() nodes."""
    name = path.replace("/", "\\").encode("utf-16-le") + b"\0\0"
    place = struct.pack("<IQQ", number, ESP_START, ESP_SIZE)
    nodes = struct.pack("<BBH", 4, 1, 42) + place + partuuid.bytes_le + b"\x02\x02"
    nodes += struct.pack("<BBH", 4, 4, 4 + len(name)) + name + b"\x7f\xff\x04\x00"
    head = struct.pack("<IH", ACTIVE if active else 0, len(nodes))
    return head + description.encode("utf-16-le") + b"\0\0" + nodes + tail


class Tree:
    """The tree: slot A runs, B is empty, somebody else's boot entries lie around ours."""

    FOREIGN = {
        "Boot0000": load_option("UiApp", "/EFI/firmware/ui.efi", tail=b"\x01\x02trailing"),
        "Boot0007": load_option(
            "Other OS", "/EFI/other/boot-b.efi", number=5, partuuid=uuid.UUID(int=7)
        ),
        "Boot0009": b"\xff",  # not a load option at all
    }

    def __init__(self, root, efi=True, partition_size=PARTITION_SIZE):
        self.root = Path(root)
        self.esp = self.root / "boot"
        self.variables = self.root / "sys/firmware/efi/efivars"
        self.boots = 0
        self._write("etc/bistable/bistable.conf", CONFIG)
        self.start("A")
        self.boot_files = {}
        for slot in "AB":
            self._write(f"dev/disk/by-partlabel/METROPOLIS-SYSTEM-{slot}", bytes(partition_size))
        self.boot_file("A").parent.mkdir(parents=True)
        cmdline = b"root=PARTLABEL=METROPOLIS-SYSTEM-A ro quiet"
        self.boot_file("A").write_bytes(uki("1", cmdline=cmdline))
        self._write("boot/EFI/firmware/ui.efi", "no program")
        if efi:
            self._make_variables()

    def become(self, other):
        """From here on this is a copy of another machine."""
        shutil.rmtree(self.root)
        shutil.copytree(other.root, self.root, symlinks=True)
        self.boots = other.boots

    def _write(self, path, content):
        path = self.root / path
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content if isinstance(content, bytes) else content.encode())

    def _make_variables(self):
        self.variables.mkdir(parents=True)
        for name, option in self.FOREIGN.items():
            self.set_variable(name, option)
        option = load_option("Metropolis Slot A", "/EFI/metropolis/boot-a.efi")
        self.set_variable("Boot0001", option)
        self.set_boot_order([0, 1, 7])

    # What the machine looks like

    def partition(self, slot):
        return self.root / f"dev/disk/by-partlabel/METROPOLIS-SYSTEM-{slot}"

    def boot_file(self, slot):
        return self.esp / f"EFI/metropolis/boot-{slot.lower()}.efi"

    @property
    def removable(self):
        return self.esp / "EFI/BOOT/BOOTX64.EFI"

    @property
    def config(self):
        return self.root / "etc/bistable/bistable.conf"

    def variable_path(self, name):
        return self.variables / f"{name}-{EFI_GLOBAL}"

    def set_variable(self, name, data):
        self.variable_path(name).write_bytes(struct.pack("<I", BOOT_ATTRIBUTES) + data)

    def variable(self, name):
        """The data of a variable, or None."""
        path = self.variable_path(name)
        return path.read_bytes()[4:] if path.exists() else None

    def set_boot_order(self, numbers):
        self.set_variable("BootOrder", struct.pack(f"<{len(numbers)}H", *numbers))

    def boot_order(self):
        data = self.variable("BootOrder")
        return list(struct.unpack(f"<{len(data) // 2}H", data))

    def boot_next(self):
        data = self.variable("BootNext")
        return None if data is None else struct.unpack("<H", data)[0]

    def entries(self, slot):
        """{number: active} of the entries that name the slot's boot file on our ESP."""
        path = f"\\EFI\\metropolis\\boot-{slot.lower()}.efi".lower()
        found = {}
        for file in self.variables.glob(f"Boot[0-9A-F][0-9A-F][0-9A-F][0-9A-F]-{EFI_GLOBAL}"):
            data = file.read_bytes()[4:]
            if ESP_UUID.bytes_le not in data or data == self.FOREIGN.get(file.name.split("-")[0]):
                continue
            text = [data[i:].decode("utf-16-le", "ignore").lower() for i in (0, 1)]
            if any(path in t for t in text):
                found[int(file.name[4:8], 16)] = bool(data[0] & ACTIVE)
        return found

    # What happens to the machine

    def start(self, slot):
        """As after a boot into the slot by the firmware or by kexec: command line and boot id."""
        self.boots += 1
        self._write("proc/cmdline", f"root=PARTLABEL=METROPOLIS-SYSTEM-{slot} ro quiet\n")
        self._write("proc/sys/kernel/random/boot_id", f"{uuid.UUID(int=self.boots)}\n")

    def reboot(self):
        """What the firmware does: BootNext once, active or not, else our first active entry.
        The slot that starts."""
        number = self.boot_next()
        candidates = ([] if number is None else [number]) + self.boot_order()
        self.variable_path("BootNext").unlink(missing_ok=True)
        entries = {n: (slot, active) for slot in "AB" for n, active in self.entries(slot).items()}
        slot = next(entries[n][0] for n in candidates
                    if n in entries and (n == number or entries[n][1]))
        self.start(slot)
        return slot

    def snapshot(self):
        """{path: (kind, digest, time of the last change)} of everything below the root."""
        found = {}
        for path in sorted(self.root.rglob("*")):
            stat = path.lstat()
            digest = hashlib.sha256(path.read_bytes()).hexdigest() if path.is_file() else ""
            changed = stat.st_mtime_ns if path.is_file() else 0
            found[str(path.relative_to(self.root))] = (stat.st_mode, digest, changed)
        return found
