# SPDX-License-Identifier: Apache-2.0
"""The test OS: per variant an erofs image with its dm-verity tree, a UKI, and bundles of both."""

from __future__ import annotations

import random
import re
import shutil
import tempfile
import zipfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from . import cache, cpio, pki, uki, verity
from .kernel import Kernel, get_kernel
from .layout import Layout, divide
from .pki import Signer
from .uki import STUB, build_uki
from .verity import BLOCK

BUSYBOX = Path("/bin/busybox")
TESTOS = cache.SOURCES / "testos"
MODULES = [
    "virtio_pci",
    "virtio_blk",
    "virtio_net",
    "virtio_console",
    "ata_piix",
    "sd_mod",
    "dm-verity",
    "erofs",
    "vfat",
    "nls_cp437",
    "nls_ascii",
    "efivarfs",
    "loop",
]
# P panics as soon as its root runs.
VERSIONS = {"X": "1.0", "Y": "2.0", "Z": "3.0", "P": "4.0"}
SIGNED = "YZ"  # there are signed bundles of these
LAYOUT = divide(slot=48, data=4)
COMPATIBLE = "testos"
EPOCH = 1
SIGNER, STRANGER = "signer", "stranger"  # whom the test OS trusts, and whom it does not
KERNEL_IN_BUNDLE = "kernel_efi.efi"
IMAGE_IN_BUNDLE = "verity_rootfs.img"


@dataclass(frozen=True)
class Variant:
    letter: str
    directory: Path

    @property
    def version(self) -> str:
        return VERSIONS[self.letter]

    @property
    def image(self) -> Path:
        return self.directory / f"{self.letter}.img"

    @property
    def uki(self) -> Path:
        return self.directory / f"{self.letter}.efi"

    @property
    def bundle(self) -> Path:
        return self.directory / f"{self.letter}.zip"

    @property
    def signed(self) -> Path:
        """The signed, chunked bundle."""
        return self.directory / f"{self.letter}.bundle"


@dataclass(frozen=True)
class TestOs:
    __test__ = False  # not a test class, whatever pytest thinks of its name
    directory: Path
    kernel: Kernel

    @property
    def kind(self) -> str:
        return "testos"

    @property
    def layout(self) -> Layout:
        return LAYOUT

    @property
    def name(self) -> str:
        """Changes with everything that it is made of."""
        return self.directory.name

    def variant(self, letter: str) -> Variant:
        return Variant(letter, self.directory)

    def signer(self, name: str = SIGNER) -> Signer:
        return Signer(name, self.directory)


def get_testos() -> TestOs:
    """The test OS around the current bistable binary, built if it is not in the cache."""
    with cache.locked():
        kernel = get_kernel()
        program = cache.bistable_binary()
        modules = [pki, uki, verity]
        files = [*sorted(TESTOS.iterdir()), Path(__file__)]
        files += [Path(module.__file__) for module in modules]
        files += [path for path in [BUSYBOX, STUB, program] if path.exists()]
        key = cache.digest(kernel.release, *files)
        directory = cache.built("testos", key, lambda work: _build(work, kernel, program))
        return TestOs(directory, kernel)


def _build(work: Path, kernel: Kernel, program: Path) -> None:
    initrd = _initrd(kernel)
    signer = Signer(SIGNER, work)
    for each in (signer, Signer(STRANGER, work)):
        pki.make_signer(each)
    for letter in VERSIONS:
        variant = Variant(letter, work)
        with tempfile.TemporaryDirectory() as directory:
            root = Path(directory) / "root"
            _fill_root(root, letter, program)
            shutil.copy(signer.root, root / "etc/bistable/keyring.pem")
            verity = _make_image(root, variant.image)
        build_uki(variant.uki, _sections(letter, kernel, initrd, verity))
        make_bundle(variant.bundle, variant.uki.read_bytes(), variant.image)
        if letter in SIGNED and program.exists():
            make_signed(variant.signed, variant, signer)


def _sections(
    letter: str, kernel: Kernel, initrd: bytes, verity: tuple[str, int]
) -> dict[str, bytes]:
    root_hash, hash_offset = verity
    command_line = (
        "console=ttyS0 panic=1 oops=panic loglevel=5 no_timer_check mitigations=off "
        f"root=PARTLABEL=METROPOLIS-SYSTEM-X roothash={root_hash} testos.hashoffset={hash_offset}"
    )
    return {
        ".osrel": os_release(letter),
        ".cmdline": command_line.encode(),
        ".uname": kernel.release.encode(),
        ".linux": kernel.image.read_bytes(),
        ".initrd": initrd,
    }


def os_release(letter: str) -> bytes:
    version = VERSIONS[letter]
    lines = [f'NAME="Test OS {letter}"', "ID=testos", "IMAGE_ID=testos"]
    lines += [f"VERSION_ID={version}", f"IMAGE_VERSION={version}"]
    return "".join(f"{line}\n" for line in lines).encode()


def make_bundle(path: Path, uki: bytes, image: Path | bytes) -> None:
    """A plain bundle, as any zip tool makes it."""
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as archive:
        archive.writestr(KERNEL_IN_BUNDLE, uki)
        if isinstance(image, bytes):
            archive.writestr(IMAGE_IN_BUNDLE, image)
        else:
            archive.write(image, IMAGE_IN_BUNDLE)


def make_signed(
    path: Path,
    variant: Variant,
    signer: Signer,
    compatible: str = COMPATIBLE,
    epoch: int = EPOCH,
    version: str | None = None,
    options: Sequence[str] = (),
) -> None:
    """A signed, chunked bundle, as the product itself makes it; `version`: else the UKI's."""
    words = [f"--compatible={compatible}", f"--epoch={epoch}", *options]
    words += [f"--version={version}"] if version else []
    words += [f"--sign-key={signer.key}", f"--sign-cert={signer.certificate}"]
    program = cache.bistable_binary()
    cache.tool(program, "bundle", "create", "-q", *words, variant.uki, variant.image, path)


def change(variant: Variant, directory: Path, blocks: dict[int, bytes]) -> Variant:
    """The variant with other blocks in its image; its verity tree and root hash fit them."""
    changed = Variant(variant.letter, directory)
    old = variant.uki.read_bytes()
    found = re.search(rb"roothash=([0-9a-f]{64}) testos.hashoffset=(\d+)", old)
    assert found is not None, f"{variant.uki} has no root hash"
    content = bytearray(variant.image.read_bytes()[: int(found[2])])
    for number, block in blocks.items():
        content[number * BLOCK : (number + 1) * BLOCK] = block
    changed.image.write_bytes(content)
    root_hash, _ = verity.add_tree(changed.image)
    changed.uki.write_bytes(old.replace(found[1], root_hash.encode()))
    return changed


def common_content() -> bytes:
    """Of /usr/share/common, the same in all variants. Nothing compresses it, so that it lies in
    the images as it is."""
    return random.Random("common").randbytes(4 << 20)


def own_content(letter: str) -> bytes:
    """Of /usr/share/own, which each variant has for itself; else as common_content()."""
    return random.Random(letter).randbytes(1 << 20)


def _initrd(kernel: Kernel) -> bytes:
    archive = cpio.Archive()
    for name in ("bin", "dev", "modules"):
        archive.directory(name)
    archive.node("dev/console", 5, 1)
    archive.file("bin/busybox", BUSYBOX, 0o755)
    archive.file("init", TESTOS / "initrd-init", 0o755)
    with tempfile.TemporaryDirectory() as directory:
        program = Path(directory) / "verity-open"
        source = TESTOS / "verity-open.c"
        cache.tool("cc", "-std=gnu17", "-O2", "-static", "-s", "-o", program, source)
        archive.file("bin/verity-open", program, 0o755)
    modules = kernel.with_dependencies(MODULES)
    archive.file("modules.order", "".join(f"{path.stem}\n" for path in modules).encode())
    for path in modules:
        archive.file(f"modules/{path.name}", path)
    return archive.finish()


def _fill_root(root: Path, letter: str, program: Path) -> None:
    names = "boot dev etc/bistable mnt proc run sbin sys tmp usr/bin usr/lib usr/share var"
    for name in names.split():
        (root / name).mkdir(parents=True)
    (root / "bin").symlink_to("usr/bin")
    shutil.copy(BUSYBOX, root / "usr/bin/busybox")
    for applet in cache.tool(BUSYBOX, "--list").split():
        if applet != "busybox":
            (root / "usr/bin" / applet).symlink_to("busybox")
    shutil.copy(TESTOS / "agent", root / "usr/bin/agent")
    shutil.copy(TESTOS / "init", root / "sbin/init")
    for path in ("usr/bin/agent", "sbin/init"):
        (root / path).chmod(0o755)
    (root / "etc/testos-variant").write_text(f"{letter}\n")
    if letter == "P":
        (root / "etc/testos-panic").touch()
    (root / "usr/lib/os-release").write_bytes(os_release(letter))
    (root / "etc/os-release").symlink_to("../usr/lib/os-release")
    accounts = "root:x:0:0:root:/:/bin/sh\nnobody:x:65534:65534:nobody:/:/bin/false\n"
    (root / "etc/passwd").write_text(accounts)
    (root / "etc/group").write_text("root:x:0:\nnogroup:x:65534:\n")
    configuration = f"[system]\nallow-unsigned=yes\ncompatible={COMPATIBLE}\n"
    (root / "etc/bistable/bistable.conf").write_text(configuration)
    # Images of one system differ in part: 4 MiB are the same in all variants, 1 MiB is its own.
    (root / "usr/share/common").write_bytes(common_content())
    (root / "usr/share/own").write_bytes(own_content(letter))
    if program.exists():
        _copy_program(program, root)


def _copy_program(program: Path, root: Path) -> None:
    """The program and the shared libraries that ldd names, where the dynamic linker finds them."""
    shutil.copy(program, root / "usr/bin/bistable")
    for library in re.findall(r"(/\S+) \(0x", cache.tool("ldd", program)):
        target = root / library.lstrip("/")
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(library, target)
        target.chmod(0o755)


def _make_image(root: Path, image: Path) -> tuple[str, int]:
    """Writes erofs and its verity tree into one file; returns the root hash and the offset."""
    cache.tool("mkfs.erofs", "-zlz4hc", "-T", "1", "-U", verity.UUID, "--all-root", image, root)
    return verity.add_tree(image)
