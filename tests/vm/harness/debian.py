# SPDX-License-Identifier: Apache-2.0
"""A real Debian with bistable in it: images, UKIs and signed bundles of several versions."""

from __future__ import annotations

import shutil
import tempfile
from dataclasses import dataclass
from pathlib import Path

from . import cache, machine, pki, verity
from .debian_root import FILES, Root, get_root
from .layout import Layout, divide
from .machine import Machine
from .pki import Signer
from .testos import SIGNER, TESTOS, Variant, make_signed
from .uki import build_uki

FACTORY = "X"
# H has a health check that fails.
VERSIONS = {"X": "1.0", "Y": "2.0", "Z": "3.0", "H": "4.0"}
COMPATIBLE = "debian"
LAYOUT = divide(slot=128, data=64)
UNITS = "agent application database systemd-networkd bistable-mark-good"
COMMAND_LINE = (
    "console=ttyS0 no_timer_check mitigations=off panic=10 oops=panic loglevel=4 "
    "systemd.show_status=yes rd.shell=0 rd.emergency=reboot "
    "root=/dev/mapper/root rootfstype=erofs ro "
)
# How the initrd finds the hash tree behind the file system.
VERITY = {
    "bookworm": "rd.systemd.verity=no systemd.verity=no "
    "image.data=PARTLABEL=METROPOLIS-SYSTEM-X image.hash-offset={offset} roothash={hash}",
    "trixie": "systemd.verity_root_data=PARTLABEL=METROPOLIS-SYSTEM-X "
    "systemd.verity_root_hash=PARTLABEL=METROPOLIS-SYSTEM-X "
    "systemd.verity_root_options=hash-offset={offset},panic-on-corruption roothash={hash}",
}


@dataclass(frozen=True)
class Debian:
    root: Root
    directory: Path  # the finished tree, and the signer's keys

    @property
    def layout(self) -> Layout:
        return LAYOUT

    @property
    def kind(self) -> str:
        return self.root.suite

    @property
    def name(self) -> str:
        """Changes with everything that it is made of."""
        return self.directory.name

    def variant(self, letter: str) -> Variant:
        """Built when it is asked for first."""
        return _get_variant(self, letter)

    def signer(self, name: str = SIGNER) -> Signer:
        return Signer(name, self.directory)


def factory_machine(directory: Path, system: Debian) -> Machine:
    """A machine fresh from the factory, with X in slot A."""
    made = machine.factory_machine(directory, system)
    made.orderly = True
    return made


def get_debian(suite: str) -> Debian:
    """Debian `suite` around the current bistable binary, built if it is not in the cache."""
    root = get_root(suite)
    with cache.locked(suite):
        files = cache.files_below(FILES / "image", TESTOS)
        files += [Path(__file__), Path(pki.__file__), cache.bistable_binary()]
        key = cache.digest(root.directory.name, *files)
        build = lambda work: _build(work, root)  # noqa: E731
        directory = cache.built(f"{suite}-image", key, build)
        return Debian(root, directory)


def _build(work: Path, root: Root) -> None:
    tree = work / "root"
    cache.tool("cp", "-a", root.tree, tree)
    shutil.rmtree(tree / "boot")
    for name in ("boot", "efi"):
        (tree / name).mkdir()
    cache.tool("cp", "-R", f"{FILES}/image/.", tree)
    shutil.copy(TESTOS / "agent", tree / "usr/local/bin/agent")
    (tree / "usr/local/bin/agent").chmod(0o755)
    (tree / "etc/machine-id").write_text("")
    (tree / "etc/hostname").write_text("debian\n")
    program = cache.bistable_binary()
    # As `make install` does.
    cache.tool("meson", "install", "-C", program.parent, "--no-rebuild", "--destdir", tree)
    cache.tool("chroot", tree, "systemctl", "enable", *UNITS.split())
    signer = Signer(SIGNER, work)
    pki.make_signer(signer)
    shutil.copy(signer.root, tree / "etc/bistable/keyring.pem")


def _get_variant(system: Debian, letter: str) -> Variant:
    suite = system.root.suite
    with cache.locked(suite):
        key = cache.digest(system.name, *cache.files_below(FILES / f"variant-{letter}"))
        build = lambda work: _build_variant(work, system, letter)  # noqa: E731
        return Variant(letter, cache.built(f"{suite}-{letter}", key, build))


def _build_variant(work: Path, system: Debian, letter: str) -> None:
    variant, root = Variant(letter, work), system.root
    with tempfile.TemporaryDirectory(dir=work) as directory:
        tree = Path(directory) / "root"
        # Links: what differs is put beside them, never into them.
        cache.tool("cp", "-al", system.directory / "root", tree)
        extra = FILES / f"variant-{letter}"
        if extra.exists():
            cache.tool("cp", "-R", "--remove-destination", f"{extra}/.", tree)
            units = [path.name for path in (extra / "etc/systemd/system").iterdir()]
            cache.tool("chroot", tree, "systemctl", "enable", *units)
        _write(tree / "etc/testos-variant", f"{letter}\n")
        release = (tree / "usr/lib/os-release").read_text()
        release += f"IMAGE_ID=debian\nIMAGE_VERSION={VERSIONS[letter]}\n"
        _write(tree / "usr/lib/os-release", release)
        cache.tool("mkfs.erofs", "-zlz4", "-T", "1", "-U", verity.UUID, variant.image, tree)
    root_hash, offset = verity.add_tree(variant.image)
    command_line = COMMAND_LINE + VERITY[root.suite].format(offset=offset, hash=root_hash)
    sections = {
        ".osrel": release.encode(),
        ".cmdline": command_line.encode(),
        ".uname": root.release.encode(),
        ".linux": root.kernel.read_bytes(),
        ".initrd": root.initrd.read_bytes(),
    }
    build_uki(variant.uki, sections, root.stub)
    if letter != FACTORY:
        make_signed(variant.signed, variant, system.signer(), COMPATIBLE, options=["--level=3"])


def _write(path: Path, text: str) -> None:
    path.unlink(missing_ok=True)
    path.write_text(text)
